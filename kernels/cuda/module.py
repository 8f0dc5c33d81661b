"""Launching kernels: a kernel file is compiled on first use, for a dtype and macros, and its kernels run by name.

On a GPU CuPy compiles with NVRTC and keeps the result in its cache (~/.cupy); on the simulated device simulator.py
does, with g++. Which of the two is decided by the arrays among the arguments, so the code that computes grids and
arguments is the same on both.
"""
from functools import lru_cache

from ..arrays import device_of
from .arguments import arrays, packed
from .recording import done
from .source import accumulator, check_dtype, device_source

OPTIONS = ("--std=c++17",)
LIMITS = (2**31 - 1, 65535, 65535)  # blocks in a grid, along each axis
SHARED = 48 << 10  # bytes of shared memory for which a kernel need not ask


def launch(file, kernel, grid, block, args, *, dtype=None, shared=0, **macros):
    """Run a kernel: launch("conv/direct.cu", "forward", (blocks, 1), (32, 4), (x, strided(w), 3), FLIP=1).

    file: below kernels/, or a path. grid, block: an int, or up to three of them. args: see arguments.py; at least one
    is an array, all on one device. dtype: what T is, that of the first array if left out. shared: bytes of dynamic
    shared memory. macros: ints, known to the compiler. A grid without blocks is no launch. Raises ValueError for a grid
    or block that no GPU takes.
    """
    grid, block = (_three(sizes) for sizes in (grid, block))
    if 0 in grid:
        return
    threads = block[0] * block[1] * block[2]
    if any(g > limit for g, limit in zip(grid, LIMITS, strict=True)) or not 0 < threads <= 1024 or block[2] > 64:
        raise ValueError(f"{kernel} of {file}: no GPU takes a grid {grid} of blocks {block}")
    on_device = arrays(args)
    dtype = check_dtype(dtype or on_device[0].dtype)
    device = device_of(on_device[0])
    function = _module(device, str(file), dtype, tuple(sorted(macros.items()))).get_function(kernel)
    if device == "cuda-sim":
        done(function, grid, block, args, shared_mem=shared)
        return
    if shared > SHARED:
        function.max_dynamic_shared_size_bytes = shared
    values = tuple(packed(a, accumulator(dtype), lambda array: array.data.ptr) for a in args)
    function(grid, block, values, shared_mem=shared)


def _three(sizes):
    sizes = (sizes,) if isinstance(sizes, int) else sizes
    return (*map(int, sizes), 1, 1)[:3]


@lru_cache(None)
def _module(device, file, dtype, macros):
    if device == "cuda-sim":
        from .simulator import Module

        return Module(file, dtype, macros)
    import cupy

    return cupy.RawModule(code=device_source(file, dtype, macros), options=OPTIONS, backend="nvrtc")
