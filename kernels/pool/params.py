"""What slides in pooling; the sizes, padding rules and messages are those of convolution."""
from dataclasses import dataclass

import numpy as np

from ..conv.params import check_4d, check_pixels, dims, integer, pair, per_side_padding, window_output


@dataclass(frozen=True)
class PoolParams:
    """A pooling window. Checked; made by `pool_params` or `pool_params_1d`."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right), in pixels
    dilation: tuple[int, int]
    output: tuple[int, int]  # OH, OW
    count_include_pad: bool = True  # average pooling: does the divisor count the padding?
    divisor: int | None = None  # average pooling: what to divide by instead of the window's area


@dataclass(frozen=True)
class AdaptiveParams:
    """A grid of windows that cover the image: window i of O is floor(i H / O) ... ceil((i + 1) H / O), per axis."""

    output: tuple[int, int]  # OH, OW


def pool_params(
    x_shape, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, count_include_pad=True, divisor=None,
    op="Pool2d",
):
    """Normalise and check pooling over x (N x C x H x W). stride=None means stride = kernel, as in PyTorch.

    Raises ValueError, naming `op` and the value, where the window does not fit, the padding is more than half of it
    (dilation counted), or a window, dilated, steps over all of x.
    """
    check_4d(x_shape, "x", "N x C x H x W", op)
    check_pixels(x_shape, op)
    kernel = pair(kernel, "kernel_size", op)
    stride = kernel if stride is None else pair(stride, "stride", op)
    dilation = pair(dilation, "dilation", op)
    padding = per_side_padding(padding, kernel, stride, dilation, op)
    divisor = divisor if divisor is None else integer(divisor, "divisor_override", op, 1)
    output = _checked_output(x_shape, kernel, stride, padding, dilation, ceil_mode, op)
    return PoolParams(kernel, stride, padding, dilation, output, bool(count_include_pad), divisor)


def pool_params_1d(
    x_shape, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, count_include_pad=True, op="Pool1d"
):
    """Pooling over x (N x C x L) as pooling over N x C x 1 x L: everything is an int or a tuple of one.

    Raises ValueError, naming `op` and the value, under the conditions of `pool_params`.
    """
    if len(x_shape) != 3:
        raise ValueError(f"{op}: x must be 3-D (N x C x L) or 2-D (C x L), got {len(x_shape)}-D ({dims(x_shape)})")
    check_pixels(x_shape, op)
    kernel = single(kernel, "kernel_size", op)
    stride = kernel if stride is None else single(stride, "stride", op)
    padding, dilation = single(padding, "padding", op, minimum=0), single(dilation, "dilation", op)
    padding = (padding, padding)
    (output,) = _checked_output(x_shape, (kernel,), (stride,), (padding,), (dilation,), ceil_mode, op)
    return PoolParams(
        (1, kernel), (1, stride), ((0, 0), padding), (1, dilation), (1, output), bool(count_include_pad)
    )


def adaptive_params(x_shape, output_size, op="AdaptivePool2d"):
    """Normalise and check adaptive pooling over x (N x C x H x W). output_size: int or pair; None keeps that size.

    Raises ValueError, naming `op` and the value, for other output sizes and for an x that is not 4-D or has no pixels.
    """
    check_4d(x_shape, "x", "N x C x H x W", op)
    check_pixels(x_shape, op)
    size = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(size) != 2:
        raise ValueError(f"{op}: output_size must be an int or a pair, got {output_size!r}")
    size = (n if s is None else s for s, n in zip(size, x_shape[2:], strict=True))
    return AdaptiveParams(tuple(integer(s, "output_size", op, 1) for s in size))


def unpool_size(x_shape, kernel, stride=None, padding=0, output_size=None, op="MaxUnpool2d"):
    """(H, W) that max pooling may have turned into x (N x C x OH x OW).

    Without output_size the smallest one without a rest: (OH - 1) stride - 2 padding + kernel. output_size: (H, W), or
    a whole shape, that differs from it by less than a stride. Raises ValueError, naming `op` and the value.
    """
    check_4d(x_shape, "x", "N x C x OH x OW", op)
    kernel = pair(kernel, "kernel_size", op)
    stride = kernel if stride is None else pair(stride, "stride", op)
    padding = pair(padding, "padding", op, minimum=0)
    default = tuple(
        (o - 1) * s - 2 * p + k for o, s, p, k in zip(x_shape[2:], stride, padding, kernel, strict=True)
    )
    if output_size is None:
        size = default
    else:
        if not isinstance(output_size, (tuple, list)) or len(output_size) not in (2, 4):
            raise ValueError(f"{op}: output_size must be (H, W) or a 4-D shape, got {output_size!r}")
        size = tuple(integer(n, "output_size", op, 1) for n in output_size[-2:])
        if any(abs(n - d) >= s for n, d, s in zip(size, default, stride, strict=True)):
            raise ValueError(
                f"{op}: output_size {size} differs from {default} by stride {stride} or more (x: {dims(x_shape)})"
            )
    if min(size) < 1:
        raise ValueError(f"{op}: the output of x ({dims(x_shape)}) would be {dims(size)} (padding {padding})")
    return size


def index_dtype(size):
    """The integers that count the pixels of an H x W map: int32, as wide as a float, if it can."""
    return np.int32 if size[0] * size[1] < 1 << 31 else np.int64


def single(value, name, op, minimum=1):
    """An int, or a tuple of one int, as an int >= `minimum`; or ValueError."""
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise ValueError(f"{op}: {name} must be an int or a tuple of one, got {value!r}")
        (value,) = value
    return integer(value, name, op, minimum)


def _checked_output(x_shape, kernel, stride, padding, dilation, ceil_mode, op):
    """The output's size per axis of x after N x C, or an error that gives every number."""
    for k, d, side in zip(kernel, dilation, padding, strict=True):
        if max(side) > (d * (k - 1) + 1) // 2:
            raise ValueError(
                f"{op}: padding {padding} exceeds half the kernel {dims(kernel)} with dilation {dims(dilation)}"
            )
    output = window_output(x_shape, kernel, stride, padding, dilation, op, ceil_mode)
    for size, o, s, d, (before, _) in zip(x_shape[2:], output, stride, dilation, padding, strict=True):
        if any((i * s - before) % d >= size for i in range(o) if i * s < before):  # first tap at or after 0
            raise ValueError(
                f"{op}: kernel {dims(kernel)} with dilation {dims(dilation)} and padding {padding} has a window "
                f"that touches no pixel of x ({dims(x_shape)})"
            )
    return output
