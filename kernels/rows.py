"""Arrays whose rows are whole in memory but may lie apart, such as some channels of a channels-last array: seen as
matrices, and joined or copied, on all threads."""
from functools import lru_cache

import numpy as np

from .buffers import empty
from .threads import share_out

SMALL, LARGE = 1 << 12, 1 << 17  # elements up to which NumPy does it; from which it pays to call another thread


def memory_order(a):
    """The dimensions of a, the innermost in memory last."""
    return sorted(range(a.ndim), key=lambda i: -a.strides[i])


def address(a):
    """Where the first number of an array is."""
    return a.ctypes.data


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
    y = _side_by_side(parts, size)
    shape = [y.shape[1] if i == dim else arrays[0].shape[i] for i in order]
    return y.reshape(shape).transpose(np.argsort(order))


def contiguous(a):
    """np.ascontiguousarray; of an array whose rows lie apart, on all threads."""
    if a.flags.c_contiguous or a.size <= SMALL:
        return np.ascontiguousarray(a)
    parts = matrices(range(a.ndim), a)
    return np.ascontiguousarray(a) if parts is None else _side_by_side(parts, a.size).reshape(a.shape)


def _side_by_side(parts, size):
    """Matrices of the same number of rows, `size` elements in all, as one."""
    rows, width = len(parts[0]), size // len(parts[0])
    y = empty((rows, width), parts[0].dtype)
    table = np.array([(address(part), part.strides[0], part.shape[1] * part.itemsize) for part in parts], np.int64)
    share_out(_loop(), rows, table, address(y), width * y.itemsize, pieces=None if size >= LARGE else 1)
    return y


@lru_cache(1)
def _loop():
    """The loop of `concatenate`: made on first use, so that importing this file does not import Numba."""
    from .jit import jit
    from .memory import copy

    @jit
    def concatenate_rows(first, last, table, y, step):
        """table: address, bytes from row to row and bytes of a row of each part."""
        for row in range(first, last):
            to = y + row * step
            for part in range(len(table)):
                start, apart, size = table[part]
                copy(to, start + row * apart, size)
                to += size

    return concatenate_rows
