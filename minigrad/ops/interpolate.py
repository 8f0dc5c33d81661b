"""Changing the size of images by interpolation, one axis after the other.

Along an axis every output is a weighted sum of few inputs. A `Taps` table lists, for each output, which inputs and
how much of each; the same table seen from the inputs lists where each of them went. So the adjoint is a gather as well,
deterministic, and one Function is its own backward with the table turned round.
"""
from numbers import Real

import numpy as np

from minigrad.kernels.conv.params import check_4d, check_pixels, dims, pair

from ..autograd import Function
from ..device import array_module
from .promotion import as_float


class Taps:
    """Which inputs make each output: index and weight, both T x OUT; weight None means that every weight is 1."""

    def __init__(self, inputs, index, weight=None, turned=None):
        self.inputs, self.index, self.weight, self._turned = inputs, index, weight, turned

    def turned(self):
        """The same weights seen from the inputs: which outputs each of them went into."""
        if self._turned is None:
            self._turned = self._turn()
        return self._turned

    def _turn(self):
        source = self.index.T.ravel()  # of every tap, in the order of the outputs
        outputs = np.repeat(np.arange(self.index.shape[1]), self.index.shape[0])
        weight = np.ones(len(source)) if self.weight is None else self.weight.T.ravel()
        order = np.argsort(source, kind="stable")
        counts = np.bincount(source, minlength=self.inputs)
        row = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
        index = np.zeros((counts.max(), self.inputs), np.int64)
        weights = np.zeros(index.shape)  # where an input has fewer taps than others the rest of its column stays 0
        index[row, source[order]], weights[row, source[order]] = outputs[order], weight[order]
        return Taps(self.index.shape[1], index, None if (weights == 1).all() else weights, turned=self)


class Resample(Function):
    """y = x with axis `dim` made anew from `taps`, in the memory layout of x."""

    def forward(self, x):
        xp, (count, size) = array_module(x), self.taps.index.shape
        y = xp.empty_like(x, shape=(*x.shape[: self.dim], size, *x.shape[self.dim + 1 :]))
        order = sorted(range(x.ndim), key=lambda d: -y.strides[d])  # from the slowest axis in memory to the fastest
        axis, x_memory, y_memory = order.index(self.dim), x.transpose(order), y.transpose(order)
        for i in range(count):
            part = xp.take(x_memory, xp.asarray(self.taps.index[i]), axis)
            if self.taps.weight is not None:
                weight = xp.asarray(self.taps.weight[i], x.dtype)
                part *= weight.reshape(-1, *(1,) * (x.ndim - 1 - axis))
                xp.moveaxis(part, axis, 0)[weight == 0] = 0  # also of what is infinite or NaN: it is not looked at
            if i == 0:
                y_memory[...] = part
            else:
                y_memory += part
        return y

    def backward(self, gy):
        return Resample(taps=self.taps.turned(), dim=self.dim)(gy)


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
    """x, N x C x H x W, as N x C x OH x OW: PyTorch's resizing of images.

    Either size, an int or (OH, OW), or scale_factor, a number or one for each of H and W: OH = floor(H scale_factor).
    mode: "nearest", the pixel at floor(i H / OH), or "bilinear", between the four pixels around. align_corners, for
    "bilinear": the centres of the corner pixels stay where they are, else their outer corners do. Positions are
    computed with scale_factor itself, or with recompute_scale_factor=True from the two sizes, which differs where
    floor rounds. Raises ValueError for what does not fit.
    """
    x = as_float(x)
    check_mode(size, scale_factor, mode, align_corners, recompute_scale_factor, "interpolate")
    check_4d(x.shape, "x", "N x C x H x W", "interpolate")
    check_pixels(x.shape, "interpolate")
    if size is not None:
        sizes, factors = pair(size, "size", "interpolate"), (None, None)
    else:
        factors = _factors(scale_factor)
        sizes = tuple(int(n * factor) for n, factor in zip(x.shape[2:], factors, strict=True))
        if min(sizes) < 1:
            raise ValueError(f"interpolate: scale_factor {scale_factor} leaves no pixel of x ({dims(x.shape)})")
        if recompute_scale_factor:
            factors = (None, None)
    y = x
    for dim, out, factor in zip((2, 3), sizes, factors, strict=True):
        if out != x.shape[dim]:
            inputs = x.shape[dim]
            taps = _nearest(inputs, out, factor) if mode == "nearest" else _linear(inputs, out, factor, align_corners)
            y = Resample(taps=taps, dim=dim)(y)
    return y.clone() if y is x else y


def check_mode(size, scale_factor, mode, align_corners, recompute_scale_factor, op):
    """Raise ValueError where the options of `interpolate` contradict each other."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{op}: give size or scale_factor, one of them (size={size}, scale_factor={scale_factor})")
    if size is None:
        _factors(scale_factor, op)
    else:
        pair(size, "size", op)
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"{op}: mode must be 'nearest' or 'bilinear', got {mode!r}")
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f"{op}: align_corners is for mode='bilinear' only, got {align_corners} with {mode!r}")
    if recompute_scale_factor and size is not None:
        raise ValueError(f"{op}: recompute_scale_factor means nothing where size is given ({size})")


def _factors(scale_factor, op="interpolate"):
    factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
    good = all(isinstance(f, Real) and not isinstance(f, bool) and 0 < f < float("inf") for f in factors)
    if len(factors) != 2 or not good:
        raise ValueError(f"{op}: scale_factor must be a positive number or a pair of them, got {scale_factor!r}")
    return factors


def _nearest(inputs, outputs, factor):
    """Taps of "nearest", in float32 arithmetic, which decides where floor is close.

    PyTorch does so too, but for contiguous float64 images, where it can differ from itself by a pixel.
    """
    if outputs == 2 * inputs:
        return Taps(inputs, np.arange(outputs)[None] // 2)
    step = np.float32(inputs) / np.float32(outputs) if factor is None else np.float32(1.0 / factor)
    index = np.floor(np.arange(outputs, dtype=np.float32) * step).astype(np.int64)
    return Taps(inputs, np.minimum(index, inputs - 1)[None])


def _linear(inputs, outputs, factor, align_corners):
    """Taps of linear interpolation; beyond the first and the last centre the edge is repeated."""
    if align_corners:
        position = np.arange(outputs) * ((inputs - 1) / (outputs - 1) if outputs > 1 else 0.0)
    else:
        step = inputs / outputs if factor is None else 1.0 / factor
        position = np.maximum((np.arange(outputs) + 0.5) * step - 0.5, 0.0)
    before = np.minimum(position.astype(np.int64), inputs - 1)
    after = np.minimum(before + 1, inputs - 1)
    share = np.clip(position - before, 0.0, 1.0)
    return Taps(inputs, np.stack([before, after]), np.stack([1.0 - share, share]))
