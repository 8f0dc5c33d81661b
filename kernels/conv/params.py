"""Sizes, padding rules and their error messages, worked out once for convolution and pooling alike.

Follows Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016): sections 2 (sizes and
padding), 4 (transposed convolution) and 5.1 (dilation).
"""
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral


@dataclass(frozen=True)
class ConvParams:
    """How a kernel slides: everything about a convolution but its two arrays. Checked; made by `conv_params`."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))  # (top, bottom), (left, right), in pixels
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def dims(shape):
    """(8, 3, 32, 32) -> "8x3x32x32", as the error messages write shapes."""
    return "x".join(map(str, shape)) or "scalar"


def integer(value, name, op, minimum):
    """`value` as an int that is at least `minimum`, or an error that names it."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{op}: {name} must be an integer >= {minimum}, got {value!r}")
    return int(value)


def pair(value, name, op, minimum=1):
    """An int, or a pair of ints, as a (vertical, horizontal) pair of ints >= `minimum`."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{op}: {name} must be an int or a pair, got {value!r}")
        return integer(value[0], name, op, minimum), integer(value[1], name, op, minimum)
    return (integer(value, name, op, minimum),) * 2


def same_padding(kernel, dilation):
    """The (before, after) zeros that keep the size at stride 1; an odd one goes after, as in PyTorch."""
    total = dilation * (kernel - 1)
    return total // 2, total - total // 2


def per_side_padding(padding, kernel, stride, dilation, op):
    """Any accepted padding as ((top, bottom), (left, right)).

    padding: int p; pair (vertical, horizontal); ((top, bottom), (left, right)); "valid" (none); or "same"
    (output size = input size, stride 1 only). kernel, stride, dilation: pairs.
    """
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding != "same":
            raise ValueError(f"{op}: padding must be 'same', 'valid' or numbers, got {padding!r}")
        if stride != (1, 1):
            raise ValueError(f"{op}: padding='same' needs stride 1, got stride {stride}")
        return same_padding(kernel[0], dilation[0]), same_padding(kernel[1], dilation[1])
    if isinstance(padding, (tuple, list)) and any(isinstance(side, (tuple, list)) for side in padding):
        if len(padding) != 2 or not all(isinstance(side, (tuple, list)) for side in padding):
            raise ValueError(f"{op}: padding per side is ((top, bottom), (left, right)), got {padding!r}")
        return tuple(pair(side, "padding", op, minimum=0) for side in padding)
    vertical, horizontal = pair(padding, "padding", op, minimum=0)
    return (vertical, vertical), (horizontal, horizontal)


def output_size(size, kernel, stride=1, padding=(0, 0), dilation=1, ceil_mode=False):
    """How often a window fits: floor((size + before + after - dilation (kernel - 1) - 1) / stride) + 1.

    With ceil_mode the division rounds up, but a window that would start beyond the input and its `before`
    padding does not count (PyTorch's rule). Zero or less means that the window does not fit at all.
    """
    free = size + sum(padding) - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return free // stride + 1
    count = -(-free // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding[0] else count


def window_output(x_shape, kernel, stride, padding, dilation, op, ceil_mode=False):
    """(OH, OW) of a window sliding over x (N x C x H x W), or an error that gives every number."""
    sizes = tuple(
        output_size(size, k, s, side, d, ceil_mode)
        for size, k, s, side, d in zip(x_shape[2:], kernel, stride, padding, dilation, strict=True)
    )
    if min(sizes) < 1:
        raise ValueError(
            f"{op}: kernel {dims(kernel)} with dilation {dims(dilation)} does not fit into x ({dims(x_shape)}) "
            f"padded by {padding}: the output would be {dims(sizes)}"
        )
    return sizes


def conv_params(x_shape, w_shape, stride=1, padding=0, dilation=1, groups=1, op="Conv2d"):
    """Normalise and check one convolution's parameters against its shapes.

    x_shape: N x C x H x W. w_shape: OC x C/G x KH x KW. stride, dilation: int or pair. padding: see
    `per_side_padding`. Raises ValueError, naming `op` and the offending value.
    """
    check_4d(x_shape, "x", "N x C x H x W", op)
    check_weight(w_shape, "OC x C/groups x KH x KW", op)
    groups = integer(groups, "groups", op, 1)
    oc, cg, kh, kw = w_shape
    if oc % groups:
        raise ValueError(f"{op}: {oc} output channels cannot be split into {groups} groups (weight: {dims(w_shape)})")
    if x_shape[1] != cg * groups:
        raise ValueError(
            f"{op}: weight expects {cg * groups} input channels, got x with {x_shape[1]} "
            f"(x: {dims(x_shape)}, weight: {dims(w_shape)}, groups: {groups})"
        )
    stride, dilation = pair(stride, "stride", op), pair(dilation, "dilation", op)
    p = ConvParams(stride, per_side_padding(padding, (kh, kw), stride, dilation, op), dilation, groups)
    window_output(x_shape, (kh, kw), p.stride, p.padding, p.dilation, op)
    return p


def conv_output_shape(x_shape, w_shape, p):
    """N x OC x OH x OW of a convolution whose parameters are checked."""
    return _conv_output_shape(tuple(x_shape), tuple(w_shape), p)


@lru_cache(1024)
def _conv_output_shape(x_shape, w_shape, p):
    return x_shape[0], w_shape[0], *window_output(x_shape, w_shape[2:], p.stride, p.padding, p.dilation, "Conv2d")


def conv_transpose_params(x_shape, w_shape, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """A transposed convolution as the input gradient of a convolution: its (ConvParams, output shape).

    x_shape: N x C x H x W, seen as that convolution's output. w_shape: C x OC/G x KH x KW. The output has
    OH = (H - 1) stride - top - bottom + dilation (KH - 1) + output_padding + 1 rows (Dumoulin & Visin, 4.6). With
    output_padding >= stride that convolution's output has more rows than x: those are zeros below x.
    Raises ValueError, naming the offending value.
    """
    op = "ConvTranspose2d"
    check_4d(x_shape, "x", "N x C x H x W", op)
    check_pixels(x_shape, op)
    check_weight(w_shape, "C x OC/groups x KH x KW", op)
    groups = integer(groups, "groups", op, 1)
    if x_shape[1] != w_shape[0] or w_shape[0] % groups:
        raise ValueError(
            f"{op}: weight expects {w_shape[0]} input channels in {groups} groups, got x with {x_shape[1]} "
            f"(x: {dims(x_shape)}, weight: {dims(w_shape)})"
        )
    if isinstance(padding, str):
        raise ValueError(f"{op}: padding must be numbers, got {padding!r}")
    kernel, stride, dilation = w_shape[2:], pair(stride, "stride", op), pair(dilation, "dilation", op)
    extra = pair(output_padding, "output_padding", op, minimum=0)
    for e, s, d in zip(extra, stride, dilation, strict=True):
        if e >= max(s, d):
            raise ValueError(f"{op}: output_padding {extra} must be below stride {stride} or dilation {dilation}")
    padding = per_side_padding(padding, kernel, stride, dilation, op)
    sizes = tuple(
        (size - 1) * s - sum(side) + d * (k - 1) + e + 1
        for size, s, side, d, k, e in zip(x_shape[2:], stride, padding, dilation, kernel, extra, strict=True)
    )
    if min(sizes) < 1:
        raise ValueError(f"{op}: the output of x ({dims(x_shape)}) would be {dims(sizes)} (padding {padding})")
    p = ConvParams(stride, padding, dilation, groups)
    return p, (x_shape[0], w_shape[1] * groups, *sizes)


def check_4d(shape, name, layout, op):
    """A 4-D shape, or an error that says which layout is expected."""
    if len(shape) != 4:
        raise ValueError(f"{op}: {name} must be 4-D ({layout}), got {len(shape)}-D ({dims(shape)})")


def check_weight(shape, layout, op):
    """The shape of a weight: 4-D, nothing empty. Or an error that says so."""
    check_4d(shape, "weight", layout, op)
    if min(shape) < 1:
        raise ValueError(f"{op}: weight has an empty dimension ({dims(shape)})")


def check_pixels(shape, op):
    """A shape N x C x H x W with at least one pixel, or an error."""
    if min(shape[2:]) < 1:
        raise ValueError(f"{op}: x has no pixels ({dims(shape)})")
