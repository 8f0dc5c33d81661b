"""The compiled loops of dropout.py: Philox4x32-10, and dropout by it.

Numbers of 32 bits are multiplied as ones of 64, and a round is taken for RUN counters before the next: so the compiler
makes vectors of it.
"""
import numpy as np

from .dropout import RUN
from .jit import jit

LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
FACTOR0, FACTOR1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
STEP0, STEP1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # of the key, from round to round


@jit
def philox(first, key0, key1, words):
    """words[j RUN + i]: word j for the counter first + i, whose upper half is 0. words: 4 RUN, uint32."""
    a, b, c, d = words[:RUN], words[RUN : 2 * RUN], words[2 * RUN : 3 * RUN], words[3 * RUN :]
    for i in range(RUN):
        counter = first + np.uint64(i)
        a[i], b[i], c[i], d[i] = counter & LOW, counter >> HALF, 0, 0
    for _ in range(10):
        for i in range(RUN):
            one, two = np.uint64(a[i]) * FACTOR0, np.uint64(c[i]) * FACTOR1
            a[i] = (two >> HALF) ^ np.uint64(b[i]) ^ key0
            b[i] = two & LOW
            c[i] = (one >> HALF) ^ np.uint64(d[i]) ^ key1
            d[i] = one & LOW
        key0, key1 = (key0 + STEP0) & LOW, (key1 + STEP1) & LOW


@jit
def drop(first, last, x, y, key, threshold, scale):
    """y = x dropped, its numbers from 4 RUN first to 4 RUN last. x, y: of one dimension."""
    zero, scale = x.dtype.type(0), x.dtype.type(scale)
    words = np.empty(4 * RUN, np.uint32)
    for unit in range(first, last):
        philox(np.uint64(unit * RUN), np.uint64(key[0]), np.uint64(key[1]), words)
        some, out = x[unit * 4 * RUN : (unit + 1) * 4 * RUN], y[unit * 4 * RUN : (unit + 1) * 4 * RUN]
        for i in range(some.size):
            out[i] = some[i] * (scale if words[i] >= threshold else zero)
