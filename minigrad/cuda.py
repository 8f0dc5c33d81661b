"""CUDA: a training step as a graph (cuda_graph.py), and the memory of a GPU: what is in use, what is kept for reuse.

CuPy takes memory from the driver in blocks and keeps what arrays no longer need in a pool, from which the next array is
served: asking the driver costs more than most kernels. A training step takes what the one before it gave back, so that
after the first few hardly anything is asked for. Other programs see all of the pool as used.
"""
from .cuda_graph import graph
from .device import check_device

__all__ = ["empty_cache", "graph", "memory_summary"]


def memory_summary():
    """A text of five lines: the GPU's memory, in MiB. Raises RuntimeError without a GPU or CuPy.

    arrays: what they occupy. kept: free, in CuPy's pool, for the next arrays. others: other programs, compiled kernels,
    recorded graphs with their arrays, and the libraries' own. free: what can still be asked for. total: the sum of
    the four.
    """
    pool, (free, total) = _pool(), _free_and_total()
    used, kept = pool.used_bytes(), pool.free_bytes()
    lines = {"arrays": used, "kept": kept, "others": total - free - used - kept, "free": free, "total": total}
    return "\n".join(f"{name:6} {size / 2**20:10.1f} MiB" for name, size in lines.items())


def empty_cache():
    """Give the memory that CuPy keeps for reuse back to the driver, for other programs. Arrays stay as they are."""
    _pool().free_all_blocks()


def _pool():
    check_device("cuda")
    import cupy

    return cupy.get_default_memory_pool()


def _free_and_total():
    import cupy

    return cupy.cuda.runtime.memGetInfo()
