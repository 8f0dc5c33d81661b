"""Dropout: each number of an array times 0, with probability p, or else times 1 / (1 - p).

Which numbers are dropped follows from a key and from their places alone, by the random numbers of Philox4x32-10
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a function of a counter and a key, without a state.
So whoever has the key can do the same again, for a gradient, in any order, on any number of threads, and a GPU drops
the same numbers as the CPU. The loop is in dropout_loops.py, the kernel in dropout.cu.
"""
import math

import numpy as np

from .arrays import device_of
from .buffers import empty
from .threads import share_out

RUN = 256  # the four words of a counter are for four numbers, so far apart
LARGE = 1 << 16  # elements from which it pays to wake another thread


def drop(x, key, p):
    """x dropped. key: two words of 32 bits, uint32, on the device of x; 0 < p <= 1.

    Whatever its strides, the numbers of N x C x ... are counted channels-last, and the result is channels-last.
    """
    order = (0, *range(2, x.ndim), 1) if x.ndim > 2 else tuple(range(x.ndim))
    threshold, scale = np.uint32(min(math.ceil(p * 2**32), 2**32 - 1)), 1.0 / (1.0 - p) if p < 1 else 0.0
    x = x.transpose(order)
    if device_of(x) == "cpu":
        y = _on_cpu(x, key, threshold, scale)
    else:
        from . import dropout_cuda

        y = dropout_cuda.drop(x, key, threshold, scale)
    return y.transpose(np.argsort(order))


def _on_cpu(x, key, threshold, scale):
    if x.dtype not in (np.float32, np.float64):  # which the loop is not made for
        return (x * _on_cpu(np.ones(x.shape, np.float32), key, threshold, scale)).astype(x.dtype)
    from . import dropout_loops  # not before: importing this file does not import Numba

    y = empty(x.shape, x.dtype)
    arrays = np.ascontiguousarray(x).reshape(-1), y.reshape(-1)
    units = -(-x.size // (4 * RUN))
    share_out(dropout_loops.drop, units, *arrays, key, threshold, scale, pieces=None if x.size >= LARGE else 1)
    return y
