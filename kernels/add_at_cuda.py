"""Adding at places that may repeat, in CUDA: places are sorted here, sums taken by the kernel of add_at.cu."""
import math

import numpy as np

from .cuda import contiguous, launch, over, zeros


def add_at(shape, index, g):
    """As `add_at.add_at`."""
    gx = zeros(shape, g.dtype, g)
    numbers = np.arange(math.prod(shape), like=g).reshape(shape)
    places = numbers[index].reshape(-1)
    order = np.argsort(places, kind="stable")
    grid, block = over(g.size)
    arguments = contiguous(places[order]), contiguous(order), contiguous(g), gx, g.size
    launch("add_at.cu", "add_runs", grid, block, arguments, dtype=g.dtype)
    return gx
