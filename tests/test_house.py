"""The laws of the house: imports run one way, `import minigrad` is light, files and functions stay small."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad
import minigrad.kernels
import minigrad.models

FOLDERS = {
    "minigrad": Path(minigrad.__file__).parent,
    "minigrad.kernels": Path(minigrad.kernels.__file__).parent,
    "minigrad.models": Path(minigrad.models.__file__).parent,
}


def modules():
    """{full module name: path} of everything the package has."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(p for p in parts if p != "__init__")))] = path
    return found


MODULES = modules()


def imports(name):
    """Full names of the minigrad modules that a module imports, wherever in its code."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            target = ".".join(filter(None, (base, node.module)))
            yield target
            yield from (f"{target}.{a.name}" for a in node.names)


def inside(name, *packages):
    return any(name == p or name.startswith(p + ".") for p in packages)


# who -> what it must not import
FORBIDDEN = {
    "minigrad.kernels": ["minigrad.tensor", "minigrad.autograd", "minigrad.ops", "minigrad.nn", "minigrad.models",
                         "minigrad.optim", "minigrad.data", "minigrad.device", "minigrad.train", "minigrad.cli"],
    "minigrad.tensor": ["minigrad.autograd", "minigrad.ops", "minigrad.nn", "minigrad.models", "minigrad.optim"],
    "minigrad.autograd": ["minigrad.ops", "minigrad.nn", "minigrad.models", "minigrad.optim"],
    "minigrad.ops": ["minigrad.nn", "minigrad.models", "minigrad.optim", "minigrad.data", "minigrad.train"],
    "minigrad.nn": ["minigrad.models", "minigrad.optim", "minigrad.data", "minigrad.train"],
    "minigrad.models": ["minigrad.optim", "minigrad.data", "minigrad.train"],
}


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name):
    for owner, forbidden in FORBIDDEN.items():
        if inside(name, owner):
            assert [i for i in imports(name) if inside(i, *forbidden)] == []


@pytest.mark.parametrize("name", MODULES)
def test_files_and_functions_stay_small_and_say_what_they_are_for(name):
    text = MODULES[name].read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= 400
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


@pytest.mark.parametrize("name", MODULES)
def test_public_classes_and_functions_have_docstrings(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


CUDA_FILES = sorted(p for p in FOLDERS["minigrad.kernels"].rglob("*") if p.suffix in (".cu", ".cuh", ".h"))


@pytest.mark.parametrize("path", CUDA_FILES, ids=lambda path: path.name)
def test_cuda_files_stay_small_say_what_they_are_for_and_add_in_a_fixed_order(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400 and max(map(len, lines)) <= 120
    assert lines[0].startswith("// ")
    assert "atomic" not in "\n".join(lines).lower()


@pytest.mark.parametrize("name", FOLDERS)
def test_every_folder_with_code_is_a_package_that_setup_finds(name):
    for path in FOLDERS[name].rglob("*.py"):
        assert (path.parent / "__init__.py").exists(), path


def test_importing_minigrad_loads_no_heavy_library_and_compiles_nothing():
    heavy = {"numba", "cupy", "matplotlib", "tqdm", "torch", "scipy"}
    code = f"import sys, minigrad; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
