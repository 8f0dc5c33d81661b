"""The CUDA side: kernels in .cu files, launched on a GPU through CuPy, or on the CPU by a simulator.

module.py launches a kernel; grids.py says on how many threads, arguments.py how arrays and numbers become its
parameters; device.cuh and pixel.cuh hold what kernels may use beside CUDA C; source.py puts the text together. Without
a GPU simulator.py runs the same source, with the same launch code, on arrays of simulated.py;
nvrtc.py compiles it for real GPUs. graphs.py records work and launches it again; recording.py does so without a GPU.
"""
from .arguments import aligned, several, strided, window
from .grids import over, over_channels_and_pixels
from .memory import contiguous, empty, zeros
from .module import launch
from .precision import on_tensor_cores
from .source import accumulator

__all__ = [
    "accumulator", "aligned", "contiguous", "empty", "launch", "on_tensor_cores", "over", "over_channels_and_pixels",
    "several", "strided", "window", "zeros",
]
