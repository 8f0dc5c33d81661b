"""Adding at places that may repeat, each sum in the order in which its terms come: the gradient of indexing by arrays.

NumPy's `add.at` does so. CuPy's adds in the order in which threads happen to run, so on a GPU the terms are sorted by
their places first, and one thread for each place takes them one after another (add_at.cu).
"""
import numpy as np

from .arrays import device_of


def add_at(shape, index, g):
    """Zeros of this shape, to which g is added at `index`, of arrays as in NumPy's advanced indexing."""
    if device_of(g) == "cpu":
        gx = np.zeros(shape, g.dtype)
        np.add.at(gx, index, g)
        return gx
    from . import add_at_cuda

    return add_at_cuda.add_at(shape, index, g)
