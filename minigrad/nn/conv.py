"""Convolution layers."""
from minigrad.kernels.conv.params import integer, pair, per_side_padding

from .. import ops
from ..creation import zeros
from ..ops.conv import check_algorithm, single
from . import init
from .module import Module, Parameter


class _Conv(Module):
    """What the convolution layers share: numbers that are checked, weights, and what PyTorch prints of them."""

    flip, output_padding = False, None
    fused_relu = False  # only Conv2d uses it, and only `fuse` sets it

    def _set_channels(self, in_channels, out_channels, groups, padding_mode, op):
        self.in_channels = integer(in_channels, "in_channels", op, 1)
        self.out_channels = integer(out_channels, "out_channels", op, 1)
        self.groups = integer(groups, "groups", op, 1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{op}: {in_channels} -> {out_channels} channels cannot be split into {groups} groups")
        if padding_mode != "zeros":
            raise ValueError(f"{op}: only padding_mode='zeros' exists, got {padding_mode!r}")

    def _set_weights(self, bias, *shape):
        self.weight = Parameter(zeros(*shape))
        self.register_parameter("bias", Parameter(zeros(self.out_channels)) if bias else None)
        init.default_(self.weight, self.bias)

    def extra_repr(self):
        none = (0,) * len(self.stride)
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        parts += [f"padding={self.padding}"] if self.padding != none else []
        parts += [f"dilation={self.dilation}"] if set(self.dilation) != {1} else []
        parts += [f"output_padding={self.output_padding}"] if self.output_padding not in (None, none) else []
        parts += [f"groups={self.groups}"] if self.groups != 1 else []
        parts += ["bias=False"] if self.bias is None else []
        parts += ["flip=True"] if self.flip else []
        parts += [f"algorithm={self.algorithm!r}"] if self.algorithm != "auto" else []
        parts += ["fused_relu=True"] if self.fused_relu else []
        return ", ".join(parts)


class Conv1d(_Conv):
    """Convolution of N x in_channels x L into N x out_channels x OL; see `ops.conv1d` for the sizes.

    kernel_size, stride, dilation, padding: int or (int,); padding also "same" or "valid". algorithm: as in Conv2d.
    weight: out x in/groups x K, bias: out, both uniform in +-1 / sqrt(in/groups K) at first. Raises ValueError for
    values that do not fit.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
        padding_mode="zeros", algorithm="auto",
    ):
        super().__init__()
        self._set_channels(in_channels, out_channels, groups, padding_mode, "Conv1d")
        self.kernel_size = (single(kernel_size, "kernel_size", "Conv1d"),)
        self.stride = (single(stride, "stride", "Conv1d"),)
        self.dilation = (single(dilation, "dilation", "Conv1d"),)
        if isinstance(padding, str):
            per_side_padding(padding, (1, *self.kernel_size), (1, *self.stride), (1, *self.dilation), "Conv1d")
        else:
            padding = (single(padding, "padding", "Conv1d", minimum=0),)
        self.padding, self.algorithm = padding, check_algorithm(algorithm)
        self._set_weights(bias, out_channels, in_channels // groups, *self.kernel_size)

    def forward(self, x):
        return ops.conv1d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, self.algorithm
        )


class Conv2d(_Conv):
    """Convolution of N x in_channels x H x W into N x out_channels x OH x OW; see `ops.conv2d` for the sizes.

    kernel_size, stride, dilation: int or (vertical, horizontal). padding: int, pair, ((top, bottom), (left, right)),
    "same" or "valid", filled with zeros. flip: true convolution (the kernel rotated by 180 degrees) instead of
    cross-correlation. algorithm: "auto" or a row of the table in `kernels/conv/`. weight: out x in/groups x KH x KW,
    bias: out, both uniform in +-1 / sqrt(in/groups KH KW) at first. The attribute fused_relu, which `nn.fuse` sets,
    makes the output max(y, 0) for good. Raises ValueError for values that do not fit.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
        padding_mode="zeros", flip=False, algorithm="auto",
    ):
        super().__init__()
        self._set_channels(in_channels, out_channels, groups, padding_mode, "Conv2d")
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size", "Conv2d"), pair(stride, "stride", "Conv2d")
        self.dilation = pair(dilation, "dilation", "Conv2d")
        sides = per_side_padding(padding, self.kernel_size, self.stride, self.dilation, "Conv2d")
        self.padding = padding if isinstance(padding, str) else _as_printed(sides)
        if not (flip and algorithm == "flipped"):
            check_algorithm(algorithm)
        self.flip, self.algorithm = flip, algorithm
        self._set_weights(bias, out_channels, in_channels // groups, *self.kernel_size)

    def forward(self, x, relu=False, plus=None):
        """x, convolved. relu, plus: see `ops.conv2d`; `in_turn` sets them."""
        convolve = ops.convolve2d if self.flip else ops.conv2d
        return convolve(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, self.algorithm,
            self.fused_relu or relu, plus,
        )


class ConvTranspose2d(_Conv):
    """Transposed convolution of N x in_channels x H x W into N x out_channels x OH x OW; see `ops.conv_transpose2d`.

    kernel_size, stride, padding, output_padding, dilation: int or pair; padding also ((top, bottom), (left, right)).
    The order of the arguments is PyTorch's. weight: in x out/groups x KH x KW, bias: out, both uniform in
    +-1 / sqrt(out/groups KH KW) at first. Raises ValueError for values that do not fit.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
        dilation=1, padding_mode="zeros", algorithm="auto",
    ):
        op = "ConvTranspose2d"
        super().__init__()
        self._set_channels(in_channels, out_channels, groups, padding_mode, op)
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size", op), pair(stride, "stride", op)
        self.dilation = pair(dilation, "dilation", op)
        self.output_padding = pair(output_padding, "output_padding", op, minimum=0)
        if isinstance(padding, str):
            raise ValueError(f"{op}: padding must be numbers, got {padding!r}")
        self.padding = _as_printed(per_side_padding(padding, self.kernel_size, self.stride, self.dilation, op))
        self.algorithm = check_algorithm(algorithm)
        self._set_weights(bias, in_channels, out_channels // groups, *self.kernel_size)

    def forward(self, x, output_size=None):
        """output_size: (OH, OW) or the whole shape, one of the `stride` sizes possible; replaces output_padding."""
        extra = self.output_padding if output_size is None else self._extra(x.shape, output_size)
        return ops.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation, self.algorithm
        )

    def _extra(self, x_shape, output_size):
        """The output_padding that gives this output size."""
        sizes = output_size if isinstance(output_size, (tuple, list)) else ()
        if len(sizes) not in (2, 4) or len(x_shape) != 4:
            raise ValueError(f"ConvTranspose2d: output_size must be (OH, OW) for a 4-D x, got {output_size!r}")
        sides = per_side_padding(self.padding, self.kernel_size, self.stride, self.dilation, "ConvTranspose2d")
        smallest = tuple(
            (size - 1) * s - sum(side) + d * (k - 1) + 1
            for size, s, side, d, k in zip(
                x_shape[2:], self.stride, sides, self.dilation, self.kernel_size, strict=True
            )
        )
        extra = tuple(size - least for size, least in zip(output_size[-2:], smallest, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            largest = tuple(least + s - 1 for least, s in zip(smallest, self.stride, strict=True))
            raise ValueError(f"ConvTranspose2d: output_size {output_size[-2:]} is not from {smallest} to {largest}")
        return extra


def _as_printed(sides):
    """((top, bottom), (left, right)) as PyTorch's (vertical, horizontal) where that says it all."""
    (top, bottom), (left, right) = sides
    return (top, left) if (top, left) == (bottom, right) else sides
