"""Dropout in CUDA: the grid and the arguments. The kernel is in dropout.cu."""
import numpy as np

from .cuda import contiguous, empty, launch
from .dropout import RUN


def drop(x, key, threshold, scale):
    """x, times 0 where its random word is below the threshold, times `scale` elsewhere; contiguous."""
    y = empty(x.shape, x.dtype, x)
    arguments = contiguous(x), contiguous(key), y, np.int64(x.size), threshold, float(scale)
    launch("dropout.cu", "drop", -(-x.size // (4 * RUN)), RUN, arguments)
    return y
