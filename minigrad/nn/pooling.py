"""Pooling layers: N x C x H x W -> N x C x OH x OW, those in one dimension N x C x L -> N x C x OL."""
from minigrad.kernels.conv.params import pair, per_side_padding
from minigrad.kernels.pool.params import single

from .. import ops
from ..ops.lp_pool import check_norm
from .module import Module


def _check_window(op, kernel_size, stride, padding=0, dilation=1):
    """ValueError for a window that fits no image."""
    kernel, stride = pair(kernel_size, "kernel_size", op), pair(1 if stride is None else stride, "stride", op)
    per_side_padding(padding, kernel, stride, pair(dilation, "dilation", op), op)


def _check_window_1d(op, kernel_size, stride, padding, dilation=1):
    """ValueError for a window that fits no signal."""
    for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        if value is not None:
            single(value, name, op)
    single(padding, "padding", op, minimum=0)


class _MaxPool(Module):
    """What the max pooling layers share."""

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        self.check(type(self).__name__, kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.return_indices, self.ceil_mode = padding, dilation, return_indices, ceil_mode

    def forward(self, x):
        return self.pool(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self):
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The maximum of each window; see `ops.max_pool1d`. stride=None: windows that do not overlap."""

    check, pool = staticmethod(_check_window_1d), staticmethod(ops.max_pool1d)


class MaxPool2d(_MaxPool):
    """The maximum of each window; see `ops.max_pool2d`. stride=None: windows that do not overlap."""

    check, pool = staticmethod(_check_window), staticmethod(ops.max_pool2d)


class MaxUnpool2d(Module):
    """The inverse of MaxPool2d but for what it dropped; see `ops.max_unpool2d`. Called with x and indices."""

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        self.kernel_size = pair(kernel_size, "kernel_size", "MaxUnpool2d")
        self.stride = self.kernel_size if stride is None else pair(stride, "stride", "MaxUnpool2d")
        self.padding = pair(padding, "padding", "MaxUnpool2d", minimum=0)

    def forward(self, x, indices, output_size=None):
        return ops.max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(Module):
    """The mean of each window; see `ops.avg_pool1d`. stride=None: windows that do not overlap."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        _check_window_1d("AvgPool1d", kernel_size, stride, padding)
        stride = kernel_size if stride is None else stride
        self.kernel_size, self.stride, self.padding = (
            (single(value, name, "AvgPool1d", minimum=0),)
            for value, name in ((kernel_size, "kernel_size"), (stride, "stride"), (padding, "padding"))
        )
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x):
        return ops.avg_pool1d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window; see `ops.avg_pool2d`. stride=None: windows that do not overlap."""

    def __init__(
        self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ):
        super().__init__()
        _check_window("AvgPool2d", kernel_size, stride, padding)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x):
        return ops.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class LPPool2d(Module):
    """The p-norm of each window, p = norm_type; see `ops.lp_pool2d`. stride=None: windows that do not overlap."""

    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False):
        super().__init__()
        check_norm(norm_type)
        _check_window("LPPool2d", kernel_size, stride)
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, x):
        return ops.lp_pool2d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self):
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class AdaptiveAvgPool2d(Module):
    """Means over a grid of output_size windows that cover the image; see `ops.adaptive_avg_pool2d`."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x):
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """Maxima over a grid of output_size windows that cover the image; see `ops.adaptive_max_pool2d`."""

    def __init__(self, output_size, return_indices=False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x):
        return ops.adaptive_max_pool2d(x, self.output_size, self.return_indices)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class GlobalAvgPool2d(Module):
    """The mean of each feature map, N x C x 1 x 1. Lin, Chen & Yan 2013, "Network in network", section 3.2."""

    def forward(self, x):
        return ops.global_avg_pool2d(x)
