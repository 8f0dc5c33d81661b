"""Pooling: the calculus. The loops are in `kernels/pool/`."""
import numpy as np

from minigrad.kernels import pool
from minigrad.kernels.conv.params import check_4d, check_pixels, integer

from ..autograd import Function
from ..device import device_of
from ..tensor import Tensor
from .linalg import matmul
from .promotion import as_float


class MaxPool2d(Function):
    """y = the maximum of each window. Keeps where the maxima stand in `self.index`."""

    def forward(self, x):
        self.x_shape = x.shape
        y, self.index = pool.lookup(device_of(x)).max_forward(x, self.p)
        return y

    def backward(self, gy):
        return MaxPool2dInputGrad(p=self.p, index=self.index, x_shape=self.x_shape)(gy)


class MaxPool2dInputGrad(Function):
    """gx: each gy goes to where its maximum stood. For fixed positions this is linear, and so is its gradient."""

    def forward(self, gy):
        return pool.lookup(device_of(gy)).max_grad_input(gy, self.index, self.p, self.x_shape)

    def backward(self, ggx):
        return MaxPool2dGather(p=self.p, index=self.index, x_shape=self.x_shape)(ggx)


class MaxPool2dGather(Function):
    """y = x at the positions of the maxima."""

    def forward(self, x):
        return pool.lookup(device_of(x)).max_gather(x, self.index)

    def backward(self, gy):
        return MaxPool2dInputGrad(p=self.p, index=self.index, x_shape=self.x_shape)(gy)


class AvgPool2d(Function):
    """y = the mean of each window."""

    def forward(self, x):
        self.x_shape = x.shape
        return pool.lookup(device_of(x)).avg_forward(x, self.p)

    def backward(self, gy):
        return AvgPool2dInputGrad(p=self.p, x_shape=self.x_shape)(gy)


class AvgPool2dInputGrad(Function):
    """gx: each gy is shared out equally over its window."""

    def forward(self, gy):
        return pool.lookup(device_of(gy)).avg_grad_input(gy, self.p, self.x_shape)

    def backward(self, ggx):
        return AvgPool2d(p=self.p)(ggx)


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window. x: N x C x H x W -> N x C x OH x OW.

    kernel_size, stride (default: kernel_size), padding, dilation: int or pair; padded positions never win. ceil_mode:
    round the output size up. return_indices: also return the positions h W + w of the maxima (int64).
    Raises ValueError where the window does not fit. The gradient goes to the first of equal maxima.
    """
    x = as_float(x)
    f = MaxPool2d(p=pool.pool_params(x.shape, kernel_size, stride, padding, dilation, ceil_mode, op="MaxPool2d"))
    y = f(x)
    return (y, Tensor(f.index)) if return_indices else y


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window. x: N x C x H x W -> N x C x OH x OW.

    kernel_size, stride (default: kernel_size), padding: int or pair. count_include_pad: whether the divisor counts the
    zeros of the padding. Raises ValueError where the window does not fit.
    """
    x = as_float(x)
    p = pool.pool_params(x.shape, kernel_size, stride, padding, 1, ceil_mode, count_include_pad, op="AvgPool2d")
    return AvgPool2d(p=p)(x)


def adaptive_avg_pool2d(x, output_size):
    """Means over a grid of output_size windows that cover the image. x: N x C x H x W -> N x C x OH x OW.

    output_size: int or (OH, OW); None keeps that size. Window i covers floor(i H / OH) ... ceil((i + 1) H / OH), so
    they overlap where sizes do not divide. Averaging rows and columns are two matrix products. Raises ValueError for
    other output sizes and for an x that is not 4-D or has no pixels.
    """
    x = _image(x, "AdaptiveAvgPool2d")
    size = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(size) != 2:
        raise ValueError(f"AdaptiveAvgPool2d: output_size must be an int or a pair, got {output_size!r}")
    size = [n if s is None else s for s, n in zip(size, x.shape[2:], strict=True)]
    oh, ow = (integer(s, "output_size", "AdaptiveAvgPool2d", 1) for s in size)
    if (oh, ow) == (1, 1):
        return global_avg_pool2d(x)
    rows, columns = (Tensor(averaging_matrix(n, o, x.dtype)) for n, o in zip(x.shape[2:], (oh, ow), strict=True))
    return matmul(matmul(rows, x), columns.transpose(0, 1))


def averaging_matrix(size, output, dtype):
    """The output x size matrix whose row i averages elements floor(i size / output) ... ceil((i + 1) size / output)."""
    m = np.zeros((output, size), dtype)
    for i in range(output):
        start, stop = i * size // output, -(-(i + 1) * size // output)
        m[i, start:stop] = 1 / (stop - start)
    return m


def global_avg_pool2d(x):
    """The mean of each feature map. x: N x C x H x W -> N x C x 1 x 1. Source: Lin, Chen & Yan 2013, section 3.2."""
    return _image(x, "GlobalAvgPool2d").mean((2, 3), keepdim=True)


def _image(x, op):
    """x as a floating-point Tensor, N x C x H x W with at least one pixel, or ValueError."""
    x = as_float(x)
    check_4d(x.shape, "x", "N x C x H x W", op)
    check_pixels(x.shape, op)
    return x
