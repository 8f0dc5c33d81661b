"""Package metadata. `kernels/` and `models/` stand beside `minigrad/` in the repository and are
installed inside it, as `minigrad.kernels` and `minigrad.models`: the names are too general for the top level."""
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
FOLDERS = {"minigrad": "minigrad", "minigrad.kernels": "kernels", "minigrad.models": "models"}


def packages():
    """Every package under the three folders, by its installed name."""
    found = []
    for name, folder in FOLDERS.items():
        for init in sorted((HERE / folder).rglob("__init__.py")):
            below = init.parent.relative_to(HERE / folder).parts
            found.append(".".join((name, *below)))
    return found


setup(
    name="minigrad",
    version="0.1.0",
    description="A deep-learning framework from scratch on NumPy and Numba, built to be read",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=packages(),
    package_dir=FOLDERS,
    package_data={"minigrad.data": ["digits.npz"], "minigrad.kernels": ["*.cu", "*/*.cu", "*/*.cuh", "*/*.h"]},
    install_requires=["numpy>=2.0", "numba>=0.60", "tqdm>=4.60", "safetensors>=0.4"],
    extras_require={
        "cuda12": ["cupy-cuda12x>=13"],
        "cuda13": ["cupy-cuda13x>=13.6"],
        "cuda-test": [  # compiles the kernels for GPUs that need not be there; no newer than a GPU's driver knows
            "nvidia-cuda-nvrtc==13.0.*", "nvidia-cuda-runtime==13.0.*", "nvidia-cuda-cccl==13.0.*", "ml-dtypes>=0.4",
        ],
        "plot": ["matplotlib>=3.7"],
        "images": ["pillow>=10"],
        "test": ["pytest>=7.4", "hypothesis>=6.80", "pillow>=10"],
        "parity": ["torch>=2.4", "scipy>=1.11"],
        "dev": ["ruff>=0.6"],
    },
    entry_points={"console_scripts": ["minigrad=minigrad.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
