"""Sums over some dimensions of a large array, in one pass over its memory and on all threads.

Whatever the order of its dimensions, an array without gaps is a few long dimensions in memory, summed or kept in turn.
If the innermost one is summed, it is rows to be added up, else columns; what is left is small, and NumPy sums it. A few
numbers at a time are added in the array's dtype, those sums in float64, in parts that do not depend on the number of
threads.
"""
from functools import lru_cache

import numpy as np

from .jit import jit
from .threads import share_out

TERMS = 64  # numbers that are added up in the array's dtype
PART = 1 << 16  # elements of a piece of work, about: a part of the columns, or some rows
LARGE, PIECES = 1 << 17, 8  # elements from which it pays to call another thread; pieces that are handed out
WIDTH = 256  # narrower rows are taken together


def total(x, dims):
    """The sum of x over dims as a float64 array, dims kept with size 1; None for a layout with gaps.

    x: of a float dtype, not empty.
    """
    order, back, kept, sizes, summed = _layout(x.shape, x.strides, dims)
    flat = x.transpose(order)
    if not flat.flags.c_contiguous:
        return None
    flat = flat.reshape(-1)
    if not sizes or not any(summed):
        y = flat.astype(np.float64)
    elif summed[-1]:
        y = rows(flat.reshape(-1, sizes[-1]))
        y = y.reshape(sizes[:-1]).sum(axis=tuple(i for i, s in enumerate(summed[:-1]) if s))
    else:
        y = columns(flat.reshape(-1, *sizes[-2:]))
        y = y.reshape(*sizes[:-2], sizes[-1]).sum(axis=tuple(i for i, s in enumerate(summed[:-2]) if s))
    return y.reshape(kept).transpose(back)


@lru_cache(256)
def _layout(shape, strides, dims):
    """The dimensions in the order of memory, and what brings them back; their sizes in the sum; `_merged`."""
    order = sorted(range(len(shape)), key=lambda i: -strides[i])
    kept = [1 if i in dims else shape[i] for i in order]
    merged = _merged([(shape[i], i in dims) for i in order if shape[i] > 1])
    return order, [order.index(i) for i in range(len(order))], kept, *merged


def _merged(dimensions):
    """Neighbouring dimensions that are both summed, or both kept, as one: their sizes, and which are summed."""
    sizes, summed = [], []
    for size, is_summed in dimensions:
        if summed and summed[-1] == is_summed:
            sizes[-1] *= size
        else:
            sizes.append(size)
            summed.append(is_summed)
    return sizes, summed


def rows(x):
    """The sum of each row, float64. x: R x K, contiguous."""
    y = np.empty(len(x))
    share_out(_rows, len(x), x, y, pieces=PIECES if x.size >= LARGE else 1)
    return y


def columns(x):
    """The sums of the columns of each matrix, B x K, float64. x: B x M x K, contiguous."""
    b, m, k = x.shape
    together = max(1, min(m, WIDTH // k))  # so many rows as one: loops need long ones
    body = m - m % together
    parts = max(1, min(b * m * k // PART, body // together) // b)
    sums = np.empty((b, parts, together * k))
    wide = x.reshape(b, m * k)[:, : body * k]
    share_out(_columns, b * parts, wide, sums, pieces=PIECES if x.size >= LARGE else 1)
    y = sums.reshape(b, parts * together, k).sum(axis=1)
    return y + x[:, body:].sum(axis=1, dtype=np.float64) if body < m else y


@jit
def _rows(first, last, x, y):
    K = x.shape[1]
    for r in range(first, last):
        total = 0.0
        for start in range(0, K, TERMS * 16):
            some = x[r, start : min(start + TERMS * 16, K)]
            part = x.dtype.type(0)
            for k in range(some.size):
                part += some[k]
            total += part
        y[r] = total


@jit
def _columns(first, last, x, sums):
    _, parts, K = sums.shape
    M = x.shape[1] // K
    some = np.empty(K, x.dtype)
    for unit in range(first, last):
        b, part = unit // parts, unit % parts
        for k in range(K):
            sums[b, part, k] = 0
        start, stop = M * part // parts, M * (part + 1) // parts
        for block in range(start, stop, TERMS):
            for k in range(K):
                some[k] = 0
            for m in range(block, min(block + TERMS, stop)):
                row = x[b, m * K : (m + 1) * K]
                for k in range(K):
                    some[k] += row[k]
            for k in range(K):
                sums[b, part, k] += some[k]
