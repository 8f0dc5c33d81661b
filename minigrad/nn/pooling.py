"""Pooling layers: N x C x H x W -> N x C x OH x OW."""
from minigrad.kernels.conv.params import pair, per_side_padding

from .. import ops
from .module import Module


def _check_window(op, kernel_size, stride, padding, dilation=1):
    """ValueError for a window that fits no image."""
    kernel, stride = pair(kernel_size, "kernel_size", op), pair(1 if stride is None else stride, "stride", op)
    per_side_padding(padding, kernel, stride, pair(dilation, "dilation", op), op)


class MaxPool2d(Module):
    """The maximum of each window; see `ops.max_pool2d`. stride=None: windows that do not overlap."""

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        _check_window("MaxPool2d", kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.return_indices, self.ceil_mode = padding, dilation, return_indices, ceil_mode

    def forward(self, x):
        return ops.max_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self):
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window; see `ops.avg_pool2d`. stride=None: windows that do not overlap."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        _check_window("AvgPool2d", kernel_size, stride, padding)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, x):
        return ops.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over a grid of output_size windows that cover the image; see `ops.adaptive_avg_pool2d`."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x):
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class GlobalAvgPool2d(Module):
    """The mean of each feature map, N x C x 1 x 1. Lin, Chen & Yan 2013, "Network in network", section 3.2."""

    def forward(self, x):
        return ops.global_avg_pool2d(x)
