"""Convolution layers."""
from minigrad.kernels.conv.params import integer, pair, per_side_padding

from .. import ops
from ..creation import zeros
from ..ops.conv import check_algorithm
from . import init
from .module import Module, Parameter


class Conv2d(Module):
    """Convolution of N x in_channels x H x W into N x out_channels x OH x OW; see `ops.conv2d` for the sizes.

    kernel_size, stride, dilation: int or (vertical, horizontal). padding: int, pair, ((top, bottom), (left, right)),
    "same" or "valid", filled with zeros. flip: true convolution (the kernel rotated by 180 degrees) instead of
    cross-correlation. algorithm: "auto" or a row of the table in `kernels/conv/`. weight: out x in/groups x KH x KW,
    bias: out, both uniform in +-1 / sqrt(in/groups KH KW) at first. Raises ValueError for values that do not fit.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
        padding_mode="zeros", flip=False, algorithm="auto",
    ):
        super().__init__()
        self.in_channels = integer(in_channels, "in_channels", "Conv2d", 1)
        self.out_channels = integer(out_channels, "out_channels", "Conv2d", 1)
        self.groups = integer(groups, "groups", "Conv2d", 1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: {in_channels} -> {out_channels} channels cannot be split into {groups} groups")
        if padding_mode != "zeros":
            raise ValueError(f"Conv2d: only padding_mode='zeros' exists, got {padding_mode!r}")
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size", "Conv2d"), pair(stride, "stride", "Conv2d")
        self.dilation = pair(dilation, "dilation", "Conv2d")
        (top, bottom), (left, right) = per_side_padding(
            padding, self.kernel_size, self.stride, self.dilation, "Conv2d"
        )
        if not isinstance(padding, str):
            padding = (top, left) if (top, left) == (bottom, right) else ((top, bottom), (left, right))
        if not (flip and algorithm == "flipped"):
            check_algorithm(algorithm)
        self.padding, self.flip, self.algorithm = padding, flip, algorithm
        self.weight = Parameter(zeros(out_channels, in_channels // groups, *self.kernel_size))
        self.register_parameter("bias", Parameter(zeros(out_channels)) if bias else None)
        init.default_(self.weight, self.bias)

    def forward(self, x):
        convolve = ops.convolve2d if self.flip else ops.conv2d
        return convolve(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, self.algorithm
        )

    def extra_repr(self):
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        parts += [f"padding={self.padding}"] if self.padding != (0, 0) else []
        parts += [f"dilation={self.dilation}"] if self.dilation != (1, 1) else []
        parts += [f"groups={self.groups}"] if self.groups != 1 else []
        parts += ["bias=False"] if self.bias is None else []
        parts += ["flip=True"] if self.flip else []
        parts += [f"algorithm={self.algorithm!r}"] if self.algorithm != "auto" else []
        return ", ".join(parts)
