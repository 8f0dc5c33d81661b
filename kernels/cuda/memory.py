"""Memory on the device of another array."""
import numpy as np

from ..arrays import device_of


def empty(shape, dtype, like):
    """An uninitialised array, contiguous, on the device of the array `like`."""
    if device_of(like) == "cuda":
        import cupy

        return cupy.empty(shape, dtype)
    from .simulated import poison

    return poison(shape, dtype)


def zeros(shape, dtype, like):
    """Zeros, contiguous, on the device of the array `like`."""
    array = empty(shape, dtype, like)
    array.fill(np.dtype(dtype).type(0))
    return array


def contiguous(array):
    """The array with its elements next to each other, in the order of its dimensions: itself if it is so already."""
    return array if array.flags.c_contiguous else array.copy(order="C")
