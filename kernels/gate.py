"""The gradient of a ReLU, and with it the sum over each channel, which is the gradient of a bias before the ReLU.

Where nobody else needs the gradient that comes in, it is blocked in its place and added up while it is at hand: three
walks through memory in place of five. A few numbers at a time are added in the array's dtype, those sums in float64,
in parts that do not depend on the number of threads.
"""
from functools import lru_cache
from math import gcd

import numpy as np

from .arrays import device_of
from .buffers import empty_like
from .elementwise import LARGE, apply, flat
from .threads import scratch, share_out

TERMS = 64  # numbers that are added up in the array's dtype
PART = 1 << 16  # elements of a part, about; each has sums of its own
PIECES = 8  # of work that are handed out
WIDTH = 256  # narrower rows of channels are taken together


def gate(gy, y, free=False):
    """gy where y > 0 or y is NaN, 0 elsewhere: the gradient of a ReLU with output y; on the CPU laid out as y is.

    free: nobody needs gy any more, so that the result may take its place.
    """
    return gate_and_sum(gy, y, free)[0]


def gate_and_sum(gy, y, free=False):
    """The same, and its sum over all dimensions but the second; None where that would take another walk.

    free changes no bit of either.
    """
    if device_of(gy) != "cpu" or gy.shape != y.shape or gy.dtype != y.dtype or flat(y) is None or y.size == 0:
        return np.where(y <= 0, gy.dtype.type(0), gy), None
    if gy.strides != y.strides:  # as after a flatten: everything that follows would stumble over it
        given, gy = gy, empty_like(y)
        np.copyto(gy, given)
    elif not free:
        gy = apply(np.multiply, gy, np.broadcast_to(gy.dtype.type(1), gy.shape))  # a copy, on all threads
    plain, summing = _loops()
    pieces = PIECES if y.size >= LARGE else 1
    channels = y.shape[1] if y.ndim > 1 else 1
    if channels > 1 and y.strides[1] != y.itemsize:
        share_out(plain, y.size, *flat(gy), *flat(y), pieces=pieces)
        return gy, None
    rows = y.size // channels
    together = gcd(rows, 1 << max(0, (WIDTH // channels).bit_length() - 1))
    wide = together * channels
    sums = scratch("gate sums", (max(1, min(y.size // PART, y.size // wide)), wide), np.float64)
    share_out(summing, len(sums), *flat(gy), *flat(y), sums, pieces=pieces)
    return gy, sums.reshape(-1, channels).sum(0)


@lru_cache(1)
def _loops():
    """The loops without and with sums: made on first use, so that importing this file does not import Numba.

    They take slices first: only indices that start at 0 are vectorised; and read what they may not need: a branch would
    not be.
    """
    from .jit import jit

    @jit
    def gate_in_place(first, last, gy, y):
        zero, gy, y = gy.dtype.type(0), gy[first:last], y[first:last]
        for i in range(gy.size):
            passed = gy[i]
            gy[i] = zero if y[i] <= zero else passed

    @jit
    def gate_in_place_and_sum(first, last, gy, y, sums):
        parts, K = sums.shape
        M, zero, some = gy.size // K, gy.dtype.type(0), np.empty(K, gy.dtype)
        for part in range(first, last):
            sums[part] = 0
            start, stop = M * part // parts, M * (part + 1) // parts
            for block in range(start, stop, TERMS):
                for k in range(K):
                    some[k] = 0
                for m in range(block, min(block + TERMS, stop)):
                    row, given = gy[m * K : (m + 1) * K], y[m * K : (m + 1) * K]
                    for k in range(K):
                        passed = row[k]
                        passed = zero if given[k] <= zero else passed
                        row[k] = passed
                        some[k] += passed
                for k in range(K):
                    sums[part, k] += some[k]

    return gate_in_place, gate_in_place_and_sum
