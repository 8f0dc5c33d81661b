"""Which positions a window touches and which windows touch a position, as arithmetic progressions per axis.

Loops that walk `for h in range(start, stop, step)` with these numbers need no test for the image's edge, and are the
same for sliding and for adaptive windows. A table of spans has one row (start, stop, step) per window or position.
"""
from functools import lru_cache
from math import gcd

import numpy as np

from .params import AdaptiveParams


@lru_cache(256)
def windows(p, size):
    """The taps of every window inside an image of `size` = (H, W): spans OH x 3 of rows, and OW x 3 of columns."""
    return tuple(_windows(p, axis, n) for axis, n in enumerate(size))


@lru_cache(256)
def coverings(p, size):
    """The windows that have a tap at each position of an image of `size`: spans H x 3 of rows, and W x 3 of columns."""
    return tuple(_coverings(p, axis, n) for axis, n in enumerate(size))


@lru_cache(256)
def divisors(p, size, dtype):
    """What the average of each window divides by, OH x OW: how many of its rows count, times how many columns."""
    if not isinstance(p, AdaptiveParams) and p.divisor is not None:
        return np.full(p.output, p.divisor, dtype)
    return np.multiply.outer(*(_counts(p, axis, n) for axis, n in enumerate(size))).astype(dtype)


@lru_cache(256)
def partition(p, size):
    """Whether the windows cover every position of an image of `size` exactly once."""
    return all((np.diff(_coverings(p, axis, n)[:, :2]) == 1).all() for axis, n in enumerate(size)) and all(
        (_windows(p, axis, n)[:, 2] == 1).all() for axis, n in enumerate(size)
    )


def _windows(p, axis, size):
    o, output = np.arange(p.output[axis]), p.output[axis]
    if isinstance(p, AdaptiveParams):
        return _table(o * size // output, -(-(o + 1) * size // output), 1)
    kernel, dilation = p.kernel[axis], p.dilation[axis]
    first = o * p.stride[axis] - p.padding[axis][0]
    start = first + dilation * np.maximum(0, -(first // dilation))  # the first tap at or after 0
    return _table(start, np.minimum(first + dilation * (kernel - 1) + 1, size), dilation)


def _coverings(p, axis, size):
    i, output = np.arange(size), p.output[axis]
    if isinstance(p, AdaptiveParams):
        return _table(i * output // size, ((i + 1) * output - 1) // size + 1, 1)
    kernel, stride, dilation = p.kernel[axis], p.stride[axis], p.dilation[axis]
    tap = i + p.padding[axis][0]  # window o has its taps at o stride, o stride + dilation, ...
    stop = np.minimum(tap // stride + 1, output)
    lowest = np.maximum(0, -((dilation * (kernel - 1) - tap) // stride))
    step = dilation // gcd(stride, dilation)  # after so many windows the taps fall on the same positions again
    start = stop.copy()
    for o in (lowest + ahead for ahead in reversed(range(step))):
        start = np.where((tap - o * stride) % dilation == 0, o, start)
    return _table(start, stop, step)


def _counts(p, axis, size):
    if isinstance(p, AdaptiveParams):
        start, stop, _ = _windows(p, axis, size).T
        return stop - start
    before, after = p.padding[axis]
    first, last = (-before, size + after) if p.count_include_pad else (0, size)
    start = np.arange(p.output[axis]) * p.stride[axis] - before
    return np.minimum(start + p.kernel[axis], last) - np.maximum(start, first)


def _table(start, stop, step):
    return np.stack([start, stop, np.full_like(start, step)], axis=1)
