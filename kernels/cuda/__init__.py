"""The CUDA side: kernels in .cu files, launched on a GPU through CuPy, or on the CPU by a simulator.

module.py launches a kernel; arguments.py says how arrays and numbers become its parameters; device.cuh holds what
kernels may use beside CUDA C; source.py puts the text together. Without a GPU simulator.py runs the same source, with
the same launch code, on arrays of simulated.py; nvrtc.py compiles it for real GPUs.
"""
from .arguments import strided, window
from .memory import contiguous, empty, zeros
from .module import launch
from .source import accumulator

__all__ = ["accumulator", "contiguous", "empty", "launch", "strided", "window", "zeros"]
