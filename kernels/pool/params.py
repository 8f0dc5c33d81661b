"""What slides in pooling; the sizes, padding rules and messages are those of convolution."""
from dataclasses import dataclass

from ..conv.params import check_4d, check_pixels, dims, pair, per_side_padding, window_output


@dataclass(frozen=True)
class PoolParams:
    """A pooling window. Checked; made by `pool_params`."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right), in pixels
    dilation: tuple[int, int]
    output: tuple[int, int]  # OH, OW
    count_include_pad: bool = True  # average pooling: does the divisor count the padding?


def pool_params(
    x_shape, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, count_include_pad=True, op="Pool2d"
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
    return PoolParams(kernel, stride, padding, dilation, output, count_include_pad)
