"""Element by element over large arrays, on all threads: one pass over memory, which is all that counts here.

Arrays are seen as rows: those of one shape and layout as one run of numbers, whatever the order of their dimensions,
that is cut into rows; some channels of a channels-last array as the rows that they are; a bias as a row that comes
again and again. What has another layout, or is small, goes to NumPy as it is.
"""
import operator
from functools import lru_cache
from math import gcd

import numpy as np

from .buffers import empty_like
from .rows import address, matrices, memory_order
from .threads import share_out

LARGE = 1 << 17  # elements from which it pays to call another thread
LITTLE = 1 << 16  # the same, where the other thread has just been at work, and this one reads what that one wrote
SMALL = 1 << 12  # elements up to which NumPy is as good as a loop of ours
ROW = 1 << 12  # numbers of a run that are a row
WIDTH = 1024  # numbers in a row, about, where a vector is combined with each of many short rows
SHORT = 32  # numbers of a row below which NumPy spends its time between rows
OPERATIONS = {np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul}


def apply(ufunc, a, b):
    """ufunc(a, b): the same result, layout kept."""
    if ufunc not in OPERATIONS or not (_suits(a) and _suits(b)) or a.shape != b.shape or a.dtype != b.dtype:
        return ufunc(a, b)
    like, other = (b, a) if _repeated(memory_order(b), a) else (a, b)
    order = memory_order(like)
    short = like.shape[order[-1]] < SHORT and _repeated(order, other)
    if a.size < 2 * LARGE and not short:  # NumPy begins sooner
        return ufunc(a, b)
    y = empty_like(like)
    rows = _as_rows(y, a, b)
    if rows is None:
        return ufunc(a, b)
    _run(_loops()[ufunc], rows, y, LARGE)
    return y


def join(y, plus, relu=False):
    """y + plus, and with relu the positive part of it, put into y itself: for a y that nobody else looks at."""
    alike = y.shape == plus.shape and y.dtype == plus.dtype
    rows = _as_rows(y, plus) if alike and _suits(y) and _suits(plus) else None
    if rows is None:
        np.add(y, plus, out=y)
        return np.maximum(y, 0, out=y) if relu else y
    _run(_loops()["join"], rows, y, LITTLE, 0.0 if relu else -np.inf)
    return y


def rectify(x):
    """max(x, 0), NaN where x is NaN."""
    rows = None
    if _suits(x):
        y = empty_like(x)
        rows = _as_rows(y, x)
    if rows is None:
        return np.maximum(x, 0)
    _run(_loops()["rectify"], rows, y, LARGE)
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


def _suits(a):
    """Whether there are loops for this array, and it is worth one."""
    return type(a) is np.ndarray and a.size > SMALL and a.dtype in (np.float32, np.float64)


def _repeated(order, a):
    """Whether a is one row of its last dimension in this order, or one number, broadcast to the others."""
    return not any(a.strides[i] for i in order[:-1]) and a.strides[order[-1]] in (0, a.itemsize)


def _as_rows(y, *arrays):
    """How the loops find their numbers: (rows, numbers of a row, of all rows, [(array, address, bytes from row to
    row) of each]), or None. The arrays, of y's shape and dtype, may be laid out as y is, or be rows in the same order
    of the dimensions, or one row or one number that is broadcast."""
    n, size, order = y.size, y.itemsize, memory_order(y)
    if y.transpose(order).flags.c_contiguous and all(a.strides == y.strides for a in arrays):
        return -(-n // ROW), min(n, ROW), n, [(a, address(a), ROW * size) for a in (y, *arrays)]
    repeated = [False, *(_repeated(order, a) for a in arrays)]
    arrays = y, *arrays
    whole = [a for a, again in zip(arrays, repeated, strict=True) if not again]
    if flat(*whole) and not any(again and any(a.strides) for a, again in zip(arrays, repeated, strict=True)):
        c = width = min(n, ROW)
        steps = [width * size] * len(whole)
    else:
        c, parts = y.shape[order[-1]], matrices(order, *whole)
        if parts is None:
            return None
        gaps = any(part.strides[0] != c * size for part in parts)
        width = c if gaps else c * gcd(n // c, 1 << max(0, (WIDTH // c).bit_length() - 1))
        steps = [part.strides[0] * (width // c) for part in parts]
    places, steps = [], iter(steps)
    for a, again in zip(arrays, repeated, strict=True):
        row = a.transpose(order)[(0,) * (a.ndim - 1)] if again else a
        if again:
            row = np.tile(row, width // c) if row.strides[0] else np.full(width, row[0])
        places.append((row, address(row), 0 if again else next(steps)))
    return -(-n // width), width, n, places


def _run(loop, rows, y, large, *numbers):
    """A loop over all rows, on all threads if there are so many numbers."""
    count, width, total, places = rows
    given = (number for _, *place in places for number in place)
    like = np.empty(0, y.dtype)
    share_out(loop, count, width, total, like, *given, *numbers, pieces=None if y.size >= large else 1)


@lru_cache(1)
def _loops():
    """The loops: made on first use, so that importing this file does not import Numba."""
    from .jit import jit
    from .memory import numbers

    def combining(operation):
        @jit
        def combine(first, last, width, total, like, y, y_step, a, a_step, b, b_step):
            for row in range(first, last):
                n = min(width, total - row * width)
                to, one = numbers(y + row * y_step, n, like), numbers(a + row * a_step, n, like)
                two = numbers(b + row * b_step, n, like)
                for i in range(n):
                    to[i] = operation(one[i], two[i])

        return combine

    @jit
    def rectify_rows(first, last, width, total, like, y, y_step, x, x_step):
        zero = like.dtype.type(0)
        for row in range(first, last):
            n = min(width, total - row * width)
            to, given = numbers(y + row * y_step, n, like), numbers(x + row * x_step, n, like)
            for i in range(n):
                to[i] = zero if given[i] <= zero else given[i]

    @jit
    def join_rows(first, last, width, total, like, y, y_step, plus, plus_step, low):
        low = like.dtype.type(low)
        for row in range(first, last):
            n = min(width, total - row * width)
            to, given = numbers(y + row * y_step, n, like), numbers(plus + row * plus_step, n, like)
            for i in range(n):
                both = to[i] + given[i]
                to[i] = low if both <= low else both

    return {**{u: combining(operation) for u, operation in OPERATIONS.items()}, "rectify": rectify_rows,
            "join": join_rows}
