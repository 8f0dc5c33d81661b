"""Pooling by maxima and means, sliding, adaptive and global: the calculus. The loops are in `kernels/pool/`."""
import numpy as np

from minigrad.kernels import pool

from ..autograd import Function
from ..device import device_of
from ..tensor import Tensor
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


# --- sliding windows


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window. x: N x C x H x W -> N x C x OH x OW.

    kernel_size, stride (default: kernel_size), padding, dilation: int or pair; padded positions never win. ceil_mode:
    round the output size up. return_indices: also return the positions h W + w of the maxima (int64).
    Raises ValueError where the window does not fit. The gradient goes to the first of equal maxima.
    """
    x = as_float(x)
    p = pool.pool_params(x.shape, kernel_size, stride, padding, dilation, ceil_mode, op="MaxPool2d")
    return _maxima(x, p, return_indices)


def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window. x: N x C x L -> N x C x OL, or C x L -> C x OL.

    Everything else as in `max_pool2d`, with ints or tuples of one; an index is a position in 0 ... L - 1.
    """
    x = as_float(x)
    images = _rows_of_images(x)
    p = pool.pool_params_1d(images.shape, kernel_size, stride, padding, dilation, ceil_mode, op="MaxPool1d")
    y, index = _maxima(images.unsqueeze(2), p, True)
    y, index = _back_to_rows(y, x), _back_to_rows(index, x)
    return (y, index) if return_indices else y


def avg_pool2d(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """The mean of each window. x: N x C x H x W -> N x C x OH x OW.

    kernel_size, stride (default: kernel_size), padding: int or pair. count_include_pad: whether the divisor counts the
    zeros of the padding. divisor_override: an int to divide by instead of the number of elements, in every window.
    Raises ValueError where the window does not fit.
    """
    x = as_float(x)
    p = pool.pool_params(
        x.shape, kernel_size, stride, padding, 1, ceil_mode, count_include_pad, divisor_override, op="AvgPool2d"
    )
    return AvgPool2d(p=p)(x)


def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window. x: N x C x L -> N x C x OL, or C x L -> C x OL.

    Everything else as in `avg_pool2d`, with ints or tuples of one.
    """
    x = as_float(x)
    images = _rows_of_images(x)
    p = pool.pool_params_1d(
        images.shape, kernel_size, stride, padding, 1, ceil_mode, count_include_pad, op="AvgPool1d"
    )
    return _back_to_rows(AvgPool2d(p=p)(images.unsqueeze(2)), x)


# --- windows that cover the image


def adaptive_max_pool2d(x, output_size, return_indices=False):
    """Maxima over a grid of output_size windows that cover the image. x: N x C x H x W -> N x C x OH x OW.

    output_size: int or (OH, OW), None keeps that size; the windows are those of `adaptive_avg_pool2d`.
    return_indices: also return the positions h W + w of the maxima (int64). Raises ValueError for other output sizes
    and for an x that is not 4-D or has no pixels. The gradient goes to the first of equal maxima.
    """
    x = as_float(x)
    return _maxima(x, pool.adaptive_params(x.shape, output_size, "AdaptiveMaxPool2d"), return_indices)


def adaptive_avg_pool2d(x, output_size):
    """Means over a grid of output_size windows that cover the image. x: N x C x H x W -> N x C x OH x OW.

    output_size: int or (OH, OW); None keeps that size. Window i covers floor(i H / OH) ... ceil((i + 1) H / OH), so
    they overlap where sizes do not divide. Raises ValueError for other output sizes and for an x that is not 4-D or
    has no pixels.
    """
    x = as_float(x)
    return _adaptive_means(x, pool.adaptive_params(x.shape, output_size, "AdaptiveAvgPool2d"))


def global_avg_pool2d(x):
    """The mean of each feature map. x: N x C x H x W -> N x C x 1 x 1. Source: Lin, Chen & Yan 2013, section 3.2."""
    x = as_float(x)
    return _adaptive_means(x, pool.adaptive_params(x.shape, 1, "GlobalAvgPool2d"))


def _adaptive_means(x, p):
    return x.clone() if p.output == x.shape[2:] else AvgPool2d(p=p)(x)


def _maxima(x, p, return_indices):
    f = MaxPool2d(p=p)
    y = f(x)
    return (y, Tensor(f.index.astype(np.int64))) if return_indices else y  # a copy: backward needs its own unchanged


def _rows_of_images(x):
    """C x L as a batch of one; anything else as it is."""
    return x.unsqueeze(0) if x.ndim == 2 else x


def _back_to_rows(y, x):
    """N x C x 1 x OL without its 1, and without N where x has none."""
    y = y.squeeze(2)
    return y.squeeze(0) if x.ndim == 2 else y
