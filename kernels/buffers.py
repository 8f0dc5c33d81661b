"""Where large results live: memory that is handed out again as soon as nobody holds it.

A training step makes the same arrays over and over. Fresh from the system each costs a page fault for every 4 KiB, more
time than many kernels take to fill it; so the memory of an array that has died waits here for the next of its size.
"""
import math

import numpy as np

SMALL = 1 << 16  # bytes below which the C library does this well enough
LIMIT = 1 << 30  # bytes that may wait; beyond that everything that waits goes back to the system

_waiting = {}  # bytes -> memory of so many bytes, of arrays that have died


class _Owner:
    """Stands behind an array and all its views; when the last of them dies, their memory waits for the next."""

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory):
        self.memory, self.__array_interface__ = memory, memory.__array_interface__

    def __del__(self):
        if keep is not None:  # at the end of the process modules are taken apart
            keep(self.memory)


def empty(shape, dtype):
    """An uninitialised array like np.empty, in recycled memory if it is large."""
    size = math.prod(shape if isinstance(shape, (tuple, list)) else (shape,)) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    return np.asarray(_Owner(_take(capacity(size))))[:size].view(dtype).reshape(shape)


def empty_like(a):
    """`empty`, of the shape, dtype and order of dimensions of a."""
    order = sorted(range(a.ndim), key=lambda i: -a.strides[i])
    back = sorted(range(a.ndim), key=order.__getitem__)
    return empty([a.shape[i] for i in order], a.dtype).transpose(back)


def capacity(size):
    """The bytes set aside for `size`: rounded up by an eighth at most, so that similar arrays can take turns."""
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step


def _take(size):
    try:
        return _waiting[size].pop()
    except (KeyError, IndexError):  # another thread may have been faster
        return np.empty(size, np.uint8)


def keep(memory):
    """Let memory wait for the next array of its capacity."""
    if waiting() + memory.size > LIMIT:
        release()
    if memory.size <= LIMIT:
        _waiting.setdefault(memory.size, []).append(memory)


def waiting():
    """How many bytes wait."""
    return sum(size * len(found) for size, found in list(_waiting.items()))


def release():
    """Give all memory that waits back to the system."""
    _waiting.clear()
