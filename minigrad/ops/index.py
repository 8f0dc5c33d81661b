"""Picking elements: slices, masks and index arrays. Reading and adding-at are each other's gradients."""
import numpy as np

from minigrad.kernels.add_at import add_at

from ..autograd import Function
from ..device import array_module, device_of, to_device
from ..tensor import Tensor, as_tensor
from .dims import normal_dim


class Index(Function):
    """y = x[index], NumPy's basic and advanced indexing."""

    def forward(self, x):
        self.x_shape = x.shape
        return x[self.index]

    def backward(self, gy):
        return IndexAdd(index=self.index, x_shape=self.x_shape)(gy)


class IndexAdd(Function):
    """gx = zeros of x_shape, to which g is added at `index`; repeated positions add up, in order."""

    def forward(self, g):
        if not is_basic(self.index):
            return add_at(self.x_shape, self.index, g)
        gx = array_module(g).zeros(self.x_shape, g.dtype)
        gx[self.index] = g
        return gx

    def backward(self, ggx):
        return Index(index=self.index)(ggx)


def is_basic(index):
    """Whether an index names each element once and can be a view: ints, slices, None and Ellipsis only."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, (int, np.integer, slice)) for p in parts)


def plain_index(index, x):
    """An index of x with arrays, its own copies and where x is, in place of Tensors, arrays and lists.

    Copies, because backward will need it unchanged.
    """
    if isinstance(index, tuple):
        return tuple(plain_index(i, x) for i in index)
    if isinstance(index, list):
        index = np.array(index, dtype=None if index else np.int64)
    elif isinstance(index, Tensor):
        index = index._data.copy()
    elif isinstance(index, np.ndarray):
        index = index.copy()
    else:
        return index
    return to_device(index, device_of(x._data))


def getitem(x, index):
    """x[index]: ints, slices, None, Ellipsis, bool masks, integer arrays or Tensors, and tuples of them."""
    index = plain_index(index, x)
    if is_basic(index):  # the Ellipsis makes NumPy return a view also where only one element is left
        index = index if isinstance(index, tuple) else (index,)
        index = index if Ellipsis in index else (*index, Ellipsis)
    return Index(index=index)(x)


def gather(x, dim, index):
    """y[i, j, k] = x[index[i, j, k], j, k] for dim 0, and so on: one element of x per element of `index`.

    index: integer Tensor with as many dimensions as x, in no other dimension longer than x. Raises IndexError where
    an index is negative or too large.
    """
    x, index = as_tensor(x), as_tensor(index)
    dim = normal_dim(dim, x.ndim)
    if index.ndim != x.ndim or index.dtype.kind not in "iu":
        raise ValueError(f"gather: index must be an integer {x.ndim}-d tensor, got {index.ndim}-d {index.dtype}")
    size = x.shape[dim] if x.ndim else 1
    if index.numel() and not (index._data.min() >= 0 and index._data.max() < size):
        wrong = index._data.min() if index._data.min() < 0 else index._data.max()
        raise IndexError(f"gather: index {wrong} is out of range for dimension {dim} of size {size}")
    for i, (n, limit) in enumerate(zip(index.shape, x.shape, strict=True)):
        if i != dim and n > limit:
            raise ValueError(f"gather: index {index.shape} is longer than x {x.shape} in dimension {i}")
    if x.ndim == 0:
        return x[()]
    xp = array_module(x._data)
    grid = list(xp.ogrid[tuple(slice(n) for n in index.shape)])
    grid[dim] = index._data.copy()
    return Index(index=tuple(grid))(x)
