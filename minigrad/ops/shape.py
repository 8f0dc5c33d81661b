"""Rearranging: reshape, permute, expand, join, cut and pad. Views share memory with their input where NumPy can."""
import math
from itertools import accumulate
from numbers import Integral

from minigrad.kernels import rows

from ..autograd import Function
from ..device import array_module
from ..tensor import as_tensor
from .dims import normal_dim, normal_dims
from .promotion import same_dtype


class Reshape(Function):
    """y = x with another shape and the same elements in row-major order."""

    def forward(self, x):
        self.x_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, gy):
        return gy.reshape(self.x_shape)


class Permute(Function):
    """y = x with its dimensions in another order."""

    def forward(self, x):
        return x.transpose(self.dims)

    def backward(self, gy):
        return gy.permute(*(self.dims.index(i) for i in range(len(self.dims))))


class Expand(Function):
    """y = x repeated along dimensions of size 1 and new leading ones, as a view. This is broadcasting."""

    def forward(self, x):
        self.x_shape = x.shape
        return array_module(x).broadcast_to(x, self.shape)

    def backward(self, gy):
        new = gy.ndim - len(self.x_shape)
        stretched = [new + i for i, n in enumerate(self.x_shape) if n == 1 and gy.shape[new + i] != 1]
        return gy.sum((*range(new), *stretched)).reshape(self.x_shape)


class Concatenate(Function):
    """y = the inputs joined along `dim`."""

    def forward(self, *arrays):
        self.sizes = [a.shape[self.dim] for a in arrays]
        return rows.concatenate(arrays, self.dim)

    def backward(self, gy):
        return split(gy, self.sizes, self.dim)


class Pad(Function):
    """y = x with `value` around it; widths holds (before, after) for each dimension."""

    def forward(self, x):
        self.inside = tuple(slice(before, before + n) for (before, _), n in zip(self.widths, x.shape, strict=True))
        shape = [before + n + after for (before, after), n in zip(self.widths, x.shape, strict=True)]
        y = array_module(x).full_like(x, self.value, shape=shape)
        y[self.inside] = x
        return y

    def backward(self, gy):
        return gy[self.inside]


def reshape(x, *shape):
    """x with another shape; one entry may be -1. Raises ValueError if the number of elements differs.

    An empty batch keeps its other sizes: 0 x 3 x 4 reshaped to (0, -1) is 0 x 12.
    """
    x = as_tensor(x)
    shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if -1 in shape and x.shape.count(0) == shape.count(0) == 1:  # NumPy refuses, although it is clear
        unknown = math.prod(n for n in x.shape if n) // max(math.prod(n for n in shape if n > 0), 1)
        shape = tuple(unknown if n == -1 else n for n in shape)
    try:
        return Reshape(shape=shape)(x)
    except ValueError:
        raise ValueError(f"reshape: {x.numel()} elements of shape {x.shape} do not fit into {shape}") from None


def permute(x, *dims):
    """x with its dimensions in the order `dims`."""
    x = as_tensor(x)
    dims = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    if sorted(d % x.ndim if -x.ndim <= d < x.ndim else d for d in dims) != list(range(x.ndim)):
        raise ValueError(f"permute: {dims} does not name each of {x.ndim} dimensions once")
    return Permute(dims=tuple(d % x.ndim for d in dims))(x)


def transpose(x, dim0, dim1):
    """x with two dimensions exchanged."""
    x = as_tensor(x)
    dim0, dim1 = normal_dim(dim0, x.ndim), normal_dim(dim1, x.ndim)
    if x.ndim == 0:
        return x
    dims = list(range(x.ndim))
    dims[dim0], dims[dim1] = dim1, dim0
    return permute(x, *dims)


def t(x):
    """x with its dimensions reversed (also `x.T`)."""
    x = as_tensor(x)
    return permute(x, *reversed(range(x.ndim)))


def expand(x, *shape):
    """x repeated, without copying, to `shape`; -1 keeps a dimension. Raises ValueError if it does not broadcast."""
    x = as_tensor(x)
    shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    new = len(shape) - x.ndim
    full = tuple(x.shape[i - new] if n == -1 and i >= new else n for i, n in enumerate(shape))
    if full == x.shape:
        return x
    if new < 0 or any(a not in (1, b) for a, b in zip(x.shape, full[new:], strict=True)):
        raise ValueError(f"expand: shape {x.shape} does not broadcast to {shape}")
    return Expand(shape=full)(x)


def expand_as(x, other):
    """x repeated, without copying, to the shape of `other`."""
    return expand(x, other.shape)


def flatten(x, start_dim=0, end_dim=-1):
    """x with the dimensions start_dim ... end_dim made one."""
    x = as_tensor(x)
    if x.ndim == 0:
        return x.reshape(1)
    start, end = normal_dim(start_dim, x.ndim), normal_dim(end_dim, x.ndim)
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def squeeze(x, dim=None):
    """x without its dimensions of size 1, or without those among `dim` that have size 1."""
    x = as_tensor(x)
    dims = normal_dims(dim, x.ndim)
    return x.reshape(tuple(n for i, n in enumerate(x.shape) if i not in dims or n != 1))


def unsqueeze(x, dim):
    """x with a dimension of size 1 inserted before position `dim`."""
    x = as_tensor(x)
    dim = normal_dim(dim, x.ndim + 1)
    return x.reshape(*x.shape[:dim], 1, *x.shape[dim:])


def concatenate(tensors, dim=0):
    """The tensors joined along `dim` (also `cat`). Raises ValueError if they differ in another dimension."""
    tensors = same_dtype(*tensors)
    if not tensors:
        raise ValueError("concatenate: no tensors given")
    if any(a.ndim == 0 for a in tensors):
        raise ValueError("concatenate: a 0-d tensor cannot be joined; stack makes a new dimension")
    dim = normal_dim(dim, tensors[0].ndim)
    rests = [(*a.shape[:dim], *a.shape[dim + 1 :]) for a in tensors]
    if any(a.ndim != tensors[0].ndim for a in tensors) or any(r != rests[0] for r in rests):
        raise ValueError(f"concatenate: shapes {[a.shape for a in tensors]} differ beyond dimension {dim}")
    return Concatenate(dim=dim)(*tensors)


def stack(tensors, dim=0):
    """The tensors, all of one shape, joined along a new dimension."""
    return concatenate([unsqueeze(as_tensor(a), dim) for a in tensors], dim)


def split(x, split_size_or_sections, dim=0):
    """x cut along `dim` into pieces of one size (the last may be smaller) or of the listed sizes: a tuple of views."""
    x = as_tensor(x)
    dim = _cut_dim("split", x, dim)
    n, sizes = x.shape[dim], split_size_or_sections
    if isinstance(sizes, Integral):
        if sizes < 1:
            raise ValueError(f"split: the size must be at least 1, got {sizes}")
        sizes = [min(sizes, n - start) for start in range(0, n, sizes)] or [0]
    if sum(sizes) != n or min(sizes, default=0) < 0:
        raise ValueError(f"split: sections {list(sizes)} do not add up to {n}, the size of dimension {dim}")
    lead = (slice(None),) * dim
    return tuple(x[(*lead, slice(stop - size, stop))] for stop, size in zip(accumulate(sizes), sizes, strict=True))


def chunk(x, chunks, dim=0):
    """x cut along `dim` into `chunks` pieces, the last ones smaller or missing if it does not divide evenly."""
    x = as_tensor(x)
    dim = _cut_dim("chunk", x, dim)
    if chunks < 1:
        raise ValueError(f"chunk: the number of pieces must be at least 1, got {chunks}")
    return split(x, max(-(-x.shape[dim] // chunks), 1), dim)


def _cut_dim(name, x, dim):
    if x.ndim == 0:
        raise ValueError(f"{name}: a 0-d tensor cannot be cut")
    return normal_dim(dim, x.ndim)


def flip(x, dims):
    """x with the order of elements reversed along `dims`."""
    x = as_tensor(x)
    dims = normal_dims(dims, x.ndim)
    return x[tuple(slice(None, None, -1) if i in dims else slice(None) for i in range(x.ndim))]


def pad(x, pad, mode="constant", value=0.0):
    """x with `value` around it. pad: (left, right, top, bottom, ...) from the last dimension on, as in PyTorch."""
    x = as_tensor(x)
    if mode != "constant":
        raise ValueError(f"pad: only mode='constant' exists, got {mode!r}")
    if len(pad) % 2 or len(pad) > 2 * x.ndim or min(pad, default=0) < 0:
        raise ValueError(f"pad: expected up to {x.ndim} pairs of numbers >= 0, got {tuple(pad)}")
    pairs = [tuple(pad[i : i + 2]) for i in range(0, len(pad), 2)]
    return Pad(widths=((0, 0),) * (x.ndim - len(pairs)) + tuple(reversed(pairs)), value=value)(x)
