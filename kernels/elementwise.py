"""Element by element over large arrays, on all threads: one pass over memory, which is all that counts here.

Arrays of one shape and layout are seen as one run of numbers, whatever the order of their dimensions; what has another
layout, or is small, goes to NumPy as it is.
"""
from functools import lru_cache
from math import gcd

import numpy as np

from .arrays import device_of
from .buffers import empty, empty_like
from .rows import LARGE as LARGE_ROWS
from .rows import matrices, memory_order
from .threads import share_out

LARGE = 1 << 18  # elements from which it pays to wake another thread
LITTLE = 1 << 16  # the same, where the other thread has just been at work, and this one reads what that one wrote
SMALL = 1 << 12  # elements up to which NumPy is as good as a loop of ours
WIDTH = 1024  # numbers in a run, about, along which a vector is added to each of many short rows


def apply(ufunc, *operands):
    """ufunc(*operands) for arrays of one float dtype (and numbers): the same result, layout kept."""
    if device_of(operands[0]) != "cpu" or device_of(operands[-1]) != "cpu":
        return ufunc(*operands)
    arrays = [a for a in operands if isinstance(a, np.ndarray)]
    if arrays[0].size <= SMALL:
        return ufunc(*operands)
    runs = flat(*arrays) if arrays[0].size >= LARGE else None
    if runs is None:
        return _apply_along_rows(ufunc, *operands) if len(arrays) == 2 else ufunc(*operands)
    y = empty_like(arrays[0])
    (out,), left = flat(y), iter(runs)
    given = [next(left) if isinstance(a, np.ndarray) else a for a in operands]

    def piece(first, last):
        part = slice(first, last)
        ufunc(*(a[part] if isinstance(a, np.ndarray) else a for a in given), out=out[part])

    share_out(piece, y.size)
    return y


def _apply_along_rows(ufunc, x, b):
    """ufunc(x, b); where b is one row, broadcast to all rows of x in memory (a bias), many rows count as one.

    And where only rows are without gaps, as in some channels of a channels-last array, row by row.
    """
    if b.shape != x.shape or b.dtype != x.dtype or x.dtype.kind != "f":
        return ufunc(x, b)
    order = memory_order(x)
    row = b.transpose(order)
    if any(row.strides[:-1]) or not row.strides[-1]:
        return _apply_row_by_row(ufunc, order, x, b)
    (run,) = flat(x) or (None,)
    c = row.shape[-1]
    if run is None or 2 * c > WIDTH:
        return ufunc(x, b)
    together = gcd(x.size // c, 1 << (WIDTH // c).bit_length())
    long = np.tile(row[(0,) * (x.ndim - 1)], together)
    y = empty_like(x)
    wide, out = run.reshape(-1, long.size), flat(y)[0].reshape(-1, long.size)

    def piece(first, last):
        ufunc(wide[first:last], long, out=out[first:last])

    share_out(piece, len(wide), pieces=None if x.size >= LARGE else 1)
    return y


def _apply_row_by_row(ufunc, order, x, b):
    """ufunc(x, b) on all threads where both are whole rows in this order; NumPy's own else."""
    parts = matrices(order, x, b)
    if parts is None or x.size < LARGE_ROWS:
        return ufunc(x, b)
    y = empty([x.shape[i] for i in order], x.dtype)
    out = y.reshape(parts[0].shape)

    def piece(first, last):
        ufunc(*(part[first:last] for part in parts), out=out[first:last])

    share_out(piece, len(out))
    return y.transpose(np.argsort(order))


def rectify(x):
    """max(x, 0), NaN where x is NaN."""
    (run,) = (x.size > SMALL and device_of(x) == "cpu" and flat(x)) or (None,)
    if run is None:
        return np.maximum(x, 0)
    y = empty_like(x)
    share_out(_loops()[0], x.size, run, *flat(y), pieces=None if x.size >= LARGE else 1)
    return y


def join(y, plus, relu):
    """y + plus, and with relu the positive part of it, put into y itself: for a y that nobody has seen yet."""
    runs = flat(y, plus)
    if runs is None:
        np.add(y, plus, out=y)
        return np.maximum(y, 0, out=y) if relu else y
    share_out(_loops()[1], y.size, *runs, 0.0 if relu else -np.inf, pieces=None if y.size >= LITTLE else 1)
    return y


def flat(*arrays):
    """The arrays as views of one dimension, in the order of memory; None unless they are all laid out in one way."""
    first = arrays[0]
    order = sorted(range(first.ndim), key=lambda i: -first.strides[i])
    if any(a.strides != first.strides or a.shape != first.shape or a.dtype != first.dtype for a in arrays[1:]):
        return None
    if first.dtype.kind != "f" or not first.transpose(order).flags.c_contiguous:
        return None
    return [a.transpose(order).reshape(-1) for a in arrays]


@lru_cache(1)
def _loops():
    """The loops of `rectify` and `join`: made on first use, so that importing this file does not import Numba.

    They take slices first: only indices that start at 0 are vectorised.
    """
    from .jit import jit

    @jit
    def rectify_run(first, last, x, y):
        zero, x, y = x.dtype.type(0), x[first:last], y[first:last]
        for i in range(x.size):
            y[i] = zero if x[i] <= zero else x[i]

    @jit
    def join_run(first, last, y, plus, low):
        low, y, plus = y.dtype.type(low), y[first:last], plus[first:last]
        for i in range(y.size):
            total = y[i] + plus[i]
            y[i] = low if total <= low else total

    return rectify_run, join_run
