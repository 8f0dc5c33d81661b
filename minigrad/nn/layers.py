"""Layers with weights: convolution, linear and batch normalisation."""
from minigrad.kernels.conv.params import integer, pair, per_side_padding

from .. import ops
from ..creation import ones, tensor, zeros
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


class Linear(Module):
    """y = x weight^T + bias. x: ... x in_features -> ... x out_features. Initialised like Conv2d."""

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.in_features = integer(in_features, "in_features", "Linear", 1)
        self.out_features = integer(out_features, "out_features", "Linear", 1)
        self.weight = Parameter(zeros(out_features, in_features))
        self.register_parameter("bias", Parameter(zeros(out_features)) if bias else None)
        init.default_(self.weight, self.bias)

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class BatchNorm2d(Module):
    """Normalise each channel of N x C x H x W over the batch; see `ops.batch_norm`.

    eps: added to the variance. momentum: how far the running statistics move with each batch (None: their plain mean).
    affine: learn a factor (`weight`) and an offset (`bias`) per channel. track_running_stats: keep running_mean,
    running_var and num_batches_tracked and use them in evaluation; without them the batch's own are used always.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__()
        self.num_features = integer(num_features, "num_features", "BatchNorm2d", 1)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", Parameter(ones(num_features)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features)) if affine else None)
        self.register_buffer("running_mean", zeros(num_features) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0) if track_running_stats else None)

    def forward(self, x):
        if x.ndim != 4:
            raise ValueError(f"BatchNorm2d: expected a 4-D tensor N x C x H x W, got {x.ndim}-D of shape {x.shape}")
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1.0 / self.num_batches_tracked.item()
        return ops.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, 0.0 if momentum is None else momentum, self.eps,
        )

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
