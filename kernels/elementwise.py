"""Element by element over large arrays, on all threads: one pass over memory, which is all that counts here.

Arrays of one shape and layout are seen as one run of numbers, whatever the order of their dimensions; what has another
layout, or is small, goes to NumPy as it is.
"""
from functools import lru_cache

import numpy as np

from .buffers import empty_like
from .threads import share_out

LARGE = 1 << 16  # elements from which it pays to wake another thread


def apply(ufunc, *operands):
    """ufunc(*operands) for arrays of one float dtype (and Python numbers): the same result, layout kept."""
    arrays = [a for a in operands if isinstance(a, np.ndarray)]
    runs = flat(*arrays) if arrays[0].size >= LARGE else None
    if runs is None:
        return ufunc(*operands)
    y = empty_like(arrays[0])
    (out,), left = flat(y), iter(runs)
    given = [next(left) if isinstance(a, np.ndarray) else a for a in operands]

    def piece(first, last):
        part = slice(first, last)
        ufunc(*(a[part] if isinstance(a, np.ndarray) else a for a in given), out=out[part])

    share_out(piece, y.size)
    return y


def gate(gy, y):
    """gy where y > 0 or y is NaN, 0 elsewhere: the gradient of a ReLU with output y."""
    runs = flat(gy, y)
    if runs is None:
        return np.where(y <= 0, gy.dtype.type(0), gy)
    gx = empty_like(gy)
    share_out(_gate(), gy.size, *runs, *flat(gx), pieces=None if gy.size >= LARGE else 1)
    return gx


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
def _gate():
    """The loop of `gate`: made on first use, so that importing this file does not import Numba."""
    from .jit import jit

    @jit
    def loop(first, last, gy, y, gx):
        zero = gy.dtype.type(0)
        for i in range(first, last):
            passed = gy[i]  # read in any case: with a branch around it the loop would not be vectorised
            gx[i] = zero if y[i] <= zero else passed

    return loop
