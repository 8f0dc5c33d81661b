"""Reductions: sums, means, variances, extremes and logsumexp over some dimensions.

`dim` is None (all of them), an int or a tuple of ints; with keepdim the reduced dimensions stay, with size 1.
"""
import builtins
from typing import NamedTuple

import numpy as np

from ..autograd import Function
from ..device import array_module, device_of
from ..tensor import Tensor, as_tensor
from .dims import kept_shape, left, normal_dim, normal_dims
from .elementwise import exp, isnan, log, logical_or, maximum, minimum, sqrt, where
from .index import gather
from .promotion import as_float

LARGE = 1 << 14  # elements from which a loop of ours beats NumPy's float64 sum


class Sum(Function):
    """y = the sum of x over dims."""

    def forward(self, x):
        self.x_shape = x.shape
        if x.dtype.kind != "f":
            return x.sum(axis=self.dims, keepdims=self.keepdim, dtype=np.int64)
        if x.size > LARGE and device_of(x) == "cpu":
            from minigrad.kernels.reduce import total  # loads Numba

            y = total(x, self.dims)
            if y is not None:
                return y.astype(x.dtype).reshape(y.shape if self.keepdim else left(x.shape, self.dims))
        # over dimensions that are not the innermost in memory NumPy adds one by one: in float32, digits would get lost
        return x.sum(axis=self.dims, keepdims=self.keepdim, dtype=np.float64).astype(x.dtype)

    def backward(self, gy):
        return gy.reshape(kept_shape(self.x_shape, self.dims)).expand(self.x_shape)


class Amax(Function):
    """y = the maximum of x over dims; equal maxima share the gradient evenly."""

    def forward(self, x):
        y = x.max(axis=self.dims, keepdims=True)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        is_extreme = logical_or(x == y, isnan(x)).astype(gy.dtype)
        return (gy / is_extreme.sum(self.dims, keepdim=True)) * is_extreme


class Amin(Amax):
    """y = the minimum of x over dims; equal minima share the gradient evenly."""

    def forward(self, x):
        y = x.min(axis=self.dims, keepdims=True)
        self.save(x, y)
        return y


class Extreme(NamedTuple):
    """What max and min over one dimension return."""

    values: Tensor
    indices: Tensor


def sum(x, dim=None, keepdim=False):
    """The sum over `dim`; integers and bools are summed as int64."""
    x = as_tensor(x)
    return Sum(dims=normal_dims(dim, x.ndim), keepdim=keepdim)(x)


def mean(x, dim=None, keepdim=False):
    """The mean over `dim`. Raises TypeError for integer tensors (PyTorch does too)."""
    x = as_tensor(x)
    if not x.is_floating_point():
        raise TypeError(f"mean: expected a floating-point tensor, got {x.dtype}")
    return sum(x, dim, keepdim) / count(x, dim)


def count(x, dim):
    """How many elements a reduction over `dim` takes together."""
    return int(np.prod([x.shape[d] for d in normal_dims(dim, x.ndim)], dtype=np.int64))


def var(x, dim=None, correction=1, keepdim=False):
    """The variance over `dim`, divided by the number of elements less `correction` (1: unbiased, 0: population)."""
    centred = x - mean(x, dim, keepdim=True)
    return sum(centred * centred, dim, keepdim) / builtins.max(count(x, dim) - correction, 0)


def std(x, dim=None, correction=1, keepdim=False):
    """The standard deviation over `dim`; see `var`."""
    return sqrt(var(x, dim, correction, keepdim))


def amax(x, dim=None, keepdim=False):
    """The maximum over `dim` (one or several); equal maxima share the gradient evenly."""
    return _amax_or_amin(Amax, "amax", x, dim, keepdim)


def amin(x, dim=None, keepdim=False):
    """The minimum over `dim` (one or several); equal minima share the gradient evenly."""
    return _amax_or_amin(Amin, "amin", x, dim, keepdim)


def _amax_or_amin(function, name, x, dim, keepdim):
    x = as_tensor(x)
    dims = normal_dims(dim, x.ndim)
    if 0 in (x.shape[d] for d in dims):
        raise ValueError(f"{name}: no elements to choose from in a tensor of shape {x.shape} over dimensions {dims}")
    y = function(dims=dims)(x)
    return y if keepdim else y.reshape(left(x.shape, dims))


def max(x, dim=None, keepdim=False):
    """The maximum of all elements; with an int `dim` a pair (values, indices), indices of the first maximum.

    With a Tensor in place of `dim`: the larger of each two elements, as `maximum`.
    """
    if isinstance(dim, Tensor):
        return maximum(x, dim)
    return amax(x) if dim is None else _extreme(x, argmax(x, dim, keepdim=True), dim, keepdim)


def min(x, dim=None, keepdim=False):
    """The minimum of all elements; with an int `dim` a pair (values, indices), indices of the first minimum.

    With a Tensor in place of `dim`: the smaller of each two elements, as `minimum`.
    """
    if isinstance(dim, Tensor):
        return minimum(x, dim)
    return amin(x) if dim is None else _extreme(x, argmin(x, dim, keepdim=True), dim, keepdim)


def _extreme(x, indices, dim, keepdim):
    values = gather(x, dim, indices)
    return Extreme(values, indices) if keepdim else Extreme(values.squeeze(dim), indices.squeeze(dim))


def argmax(x, dim=None, keepdim=False):
    """The position of the first maximum along `dim` (in the flattened tensor for None), int64; no gradient."""
    return _position("argmax", x, dim, keepdim)


def argmin(x, dim=None, keepdim=False):
    """The position of the first minimum along `dim` (in the flattened tensor for None), int64; no gradient."""
    return _position("argmin", x, dim, keepdim)


def _position(name, x, dim, keepdim):
    x = as_tensor(x)
    if dim is not None:
        dim = normal_dim(dim, x.ndim)
    axis = dim if x.ndim else None
    if 0 in (x.shape if axis is None else (x.shape[axis],)):
        raise ValueError(f"{name}: no elements to choose from in a tensor of shape {x.shape} over dimension {dim}")
    function = getattr(array_module(x._data), name)
    return Tensor(function(x._data, axis=axis, keepdims=keepdim)).astype(np.int64)


def any(x, dim=None, keepdim=False):
    """Whether any element over `dim` is not 0; bool, no gradient."""
    x = as_tensor(x)
    return Tensor(x._data.any(axis=normal_dims(dim, x.ndim), keepdims=keepdim))


def all(x, dim=None, keepdim=False):
    """Whether no element over `dim` is 0; bool, no gradient."""
    x = as_tensor(x)
    return Tensor(x._data.all(axis=normal_dims(dim, x.ndim), keepdims=keepdim))


def logsumexp(x, dim=None, keepdim=False):
    """ln(sum over dim of e ** x), without overflow."""
    x = as_float(x)
    if count(x, dim) == 0:
        return log(sum(x, dim, keepdim))  # the sum of nothing is 0, and its logarithm -infinity
    largest = amax(x.detach(), dim, keepdim=True)
    largest = where(largest.isfinite(), largest, 0.0)  # an infinite shift would turn inf - inf into NaN
    total = log(sum(exp(x - largest), dim, keepdim))
    return total + largest.reshape(total.shape)
