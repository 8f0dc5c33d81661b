"""The memory layouts in which kernels are given their arrays: the same N x C x H x W values, other strides."""
import numpy as np


def contiguous(a):
    return np.ascontiguousarray(a)


def channels_last(a):
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def sliced(a):
    """The same values with gaps in all four axes."""
    wide = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    part = wide[tuple(slice(1, 2 * n + 1, 2) for n in a.shape)]
    part[...] = a
    return part


def reversed_strides(a):
    """The same values, every stride negative."""
    return np.ascontiguousarray(a[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1]


def width_first(a):
    """The same values with the axes in the opposite order in memory."""
    return np.asfortranarray(a)


LAYOUTS = (contiguous, channels_last, sliced, reversed_strides, width_first)
