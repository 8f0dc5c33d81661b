"""Arrays whose rows are whole in memory but may lie apart, such as some channels of a channels-last array: seen as
matrices, and joined, on all threads."""
import numpy as np

from .buffers import empty
from .threads import share_out

SMALL, LARGE = 1 << 12, 1 << 18  # elements up to which NumPy does it; from which it pays to wake another thread


def memory_order(a):
    """The dimensions of a, the innermost in memory last."""
    return sorted(range(a.ndim), key=lambda i: -a.strides[i])


def matrices(order, *arrays):
    """The arrays, their dimensions put in this order, as matrices R x C of the same memory, C the last dimension.

    None where one has not its last dimension without gaps, or its rows at one distance.
    """
    result = []
    for a in arrays:
        a = a.transpose(order)
        above = zip(a.strides[:-2], a.strides[1:-1], a.shape[1:-1], strict=True)
        if a.size == 0 or a.strides[-1] != a.itemsize or any(far != near * n for far, near, n in above):
            return None
        result.append(a.reshape(-1, a.shape[-1]))
    return result


def concatenate(arrays, dim):
    """np.concatenate; channels of channels-last arrays, or what else is innermost in memory, on all threads."""
    size = sum(a.size for a in arrays)
    if size <= SMALL or not all(type(a) is np.ndarray and a.dtype == arrays[0].dtype for a in arrays):
        return np.concatenate(arrays, dim)
    order = memory_order(max(arrays, key=lambda a: a.size))
    parts = matrices(order, *arrays) if order[-1] == dim else None
    if parts is None:
        return np.concatenate(arrays, dim)
    rows, width = len(parts[0]), size // len(parts[0])
    y = empty((rows, width), arrays[0].dtype)

    def piece(first, last):
        start = 0
        for part in parts:
            stop = start + part.shape[1]
            y[first:last, start:stop] = part[first:last]
            start = stop

    share_out(piece, rows, pieces=None if size >= LARGE else 1)
    shape = [width if i == dim else arrays[0].shape[i] for i in order]
    return y.reshape(shape).transpose(np.argsort(order))
