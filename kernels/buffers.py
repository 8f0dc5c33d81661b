"""Where large results live: memory that is handed out again as soon as nobody holds it.

A training step makes the same arrays over and over. Fresh from the system each costs a page fault for every 4 KiB, more
time than many kernels take to fill it; so the memory of an array that has died waits here for the next of its size.
What waits never makes the whole larger than the arrays alone have been at some time (or it is not worth mentioning).
"""
import math
from threading import RLock
from typing import NamedTuple

import numpy as np

LINE = 64  # bytes of a cache line, at which every array begins: a vector across two of them is loaded twice
SMALL = 1 << 16  # bytes below which the C library does this well enough
LITTLE = 1 << 26  # bytes that may wait in any case

_lock = RLock()  # a dying array may come at any time, also from the garbage collector in the middle of `empty`
_waiting = {}  # capacity -> Blocks of arrays that have died; what died last is at the end
_bytes = {"used": 0, "waiting": 0, "most used": 0}


class _Owner:
    """Stands behind an array and all its views; when the last of them dies, their memory waits for the next."""

    __slots__ = ("__array_interface__", "block")

    def __init__(self, block, shape, dtype):
        self.block = block
        self.__array_interface__ = {"data": (block.start, False), "shape": shape, "typestr": dtype.str, "version": 3}

    def __del__(self):
        if _keep is not None:  # at the end of the process modules are taken apart
            _keep(self.block)


class _Block(NamedTuple):
    """Memory of some capacity, and the address of its first line."""

    memory: np.ndarray
    capacity: int
    start: int


def empty(shape, dtype):
    """An uninitialised array like np.empty, in recycled memory if it is large."""
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    return np.asarray(_Owner(_take(capacity(size)), shape, dtype)).view()  # a view: it and its views have one base


def empty_like(a):
    """`empty`, of the shape, dtype and order of dimensions of a."""
    order = sorted(range(a.ndim), key=lambda i: -a.strides[i])
    back = sorted(range(a.ndim), key=order.__getitem__)
    return empty([a.shape[i] for i in order], a.dtype).transpose(back)


def capacity(size):
    """The bytes set aside for `size`: rounded up by a sixteenth at most, so that similar arrays can take turns."""
    step = 1 << max(0, size.bit_length() - 5)
    return -(-size // step) * step


def _take(size):
    with _lock:
        _bytes["used"] += size
        _bytes["most used"] = max(_bytes["most used"], _bytes["used"])
        if _waiting.get(size):
            _bytes["waiting"] -= size
            return _waiting[size].pop()
        _shrink(max(LITTLE, _bytes["most used"] - _bytes["used"]))
    memory = np.empty(size + LINE, np.uint8)
    return _Block(memory, size, -(-memory.ctypes.data // LINE) * LINE)


def _keep(block):
    """Let memory wait for the next array of its capacity."""
    size = block.capacity
    with _lock:
        _bytes["used"] -= size
        _bytes["waiting"] += size
        _waiting[size] = [*_waiting.pop(size, ()), block]


def _shrink(most):
    """Give memory back to the system until at most so many bytes wait; first of the sizes nobody asked for lately."""
    for size in list(_waiting):
        while _waiting[size] and _bytes["waiting"] > most:
            _waiting[size].pop()
            _bytes["waiting"] -= size
        if not _waiting[size]:
            del _waiting[size]


def waiting():
    """How many bytes wait."""
    return _bytes["waiting"]


def release():
    """Give all memory that waits back to the system."""
    with _lock:
        _shrink(0)
        _bytes["most used"] = _bytes["used"]
