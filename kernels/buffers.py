"""Where large results live: memory that is handed out again as soon as nobody holds it.

A training step makes the same arrays over and over. Fresh from the system each costs a page fault for every 4 KiB, more
time than many kernels take to fill it; so memory is asked for in large pieces, and cut up here. An array gets the first
gap that is large enough, and gaps that touch become one (Knuth, The Art of Computer Programming 1, section 2.5). So in
networks of many different sizes, too, the whole takes little more than its arrays do.
"""
import math
import os
from bisect import bisect
from collections import deque
from threading import Lock
from typing import NamedTuple

import numpy as np

LINE = 64  # bytes of a cache line, at which every array begins: a vector across two of them is loaded twice
SMALL = 1 << 16  # bytes below which the C library does this well enough
HOT = 1 << 22  # bytes that may still be in a cache when their array has just died
PIECE, LARGEST = 1 << 26, 1 << 30  # bytes to ask the system for: at first, and at most unless an array needs more

_lock = Lock()
_pieces = []  # in the order in which they are searched
_dead = deque()  # blocks of arrays that died; that happens at any time, also in the middle of what has the lock


class _Piece:
    """Memory from the system, and its gaps: addresses and sizes, in order. Pages nobody used yet take no memory."""

    def __init__(self, size):
        self.memory = np.empty(size + LINE, np.uint8)
        self.whole = -(-self.memory.ctypes.data // LINE) * LINE, size
        self.gaps = [self.whole]

    def cut(self, size):
        """The address of `size` bytes, which are no gap any more, or None."""
        for i, (start, room) in enumerate(self.gaps):
            if room >= size:
                self.gaps[i : i + 1] = [(start + size, room - size)] if room > size else []
                return start
        return None

    def close(self, start, size):
        """Make them a gap again."""
        first = last = bisect(self.gaps, (start,))
        if first and sum(self.gaps[first - 1]) == start:
            first, start, size = first - 1, self.gaps[first - 1][0], size + self.gaps[first - 1][1]
        if last < len(self.gaps) and self.gaps[last][0] == start + size:
            last, size = last + 1, size + self.gaps[last][1]
        self.gaps[first:last] = [(start, size)]


class _Block(NamedTuple):
    """What one array has of a piece."""

    piece: _Piece
    start: int
    size: int


class _Owner:
    """Stands behind an array and all its views; when the last of them dies, their memory is free."""

    __slots__ = ("__array_interface__", "block")

    def __init__(self, block, shape, dtype):
        self.block = block
        self.__array_interface__ = {"data": (block.start, False), "shape": shape, "typestr": dtype.str, "version": 3}

    def __del__(self):
        if _dead is not None:  # at the end of the process modules are taken apart
            _dead.append(self.block)


def empty(shape, dtype):
    """An uninitialised array like np.empty, in recycled memory if it is large."""
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    block = _take(-(-size // LINE) * LINE)
    return np.asarray(_Owner(block, shape, dtype)).view()  # a view, so that it and its views have one base


def empty_like(a):
    """`empty`, of the shape, dtype and order of dimensions of a."""
    order = sorted(range(a.ndim), key=lambda i: -a.strides[i])
    back = sorted(range(a.ndim), key=order.__getitem__)
    return empty([a.shape[i] for i in order], a.dtype).transpose(back)


def _take(size):
    with _lock:
        if size <= HOT:
            for i in reversed(range(len(_dead))):
                block = _dead[i]
                if block.size == size:
                    del _dead[i]
                    return block
        _bury()
        for piece in _pieces:
            start = piece.cut(size)
            if start is not None:
                return _Block(piece, start, size)
        total = sum(piece.whole[1] for piece in _pieces)
        _pieces.append(_Piece(max(size, min(max(PIECE, total), LARGEST))))  # twice what there was: so they stay few
        return _Block(_pieces[-1], _pieces[-1].cut(size), size)


def _bury():
    """Make gaps of what the dead arrays had."""
    while _dead:
        piece, start, size = _dead.popleft()
        piece.close(start, size)


def release():
    """Give the pieces of memory that no array has a part of back to the system."""
    with _lock:
        _bury()
        _pieces[:] = [piece for piece in _pieces if piece.gaps != [piece.whole]]


if hasattr(os, "register_at_fork"):  # a child must not find the lock held by a thread that it does not have
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
