"""Normalisation layers."""
from minigrad.kernels.conv.params import integer

from .. import ops
from ..creation import ones, tensor, zeros
from ..tensor import as_tensor
from .module import Module, Parameter


class BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share; see `ops.batch_norm`. Ioffe & Szegedy 2015.

    eps: added to the variance. momentum: how far the running statistics move with each batch (None: their plain mean).
    affine: learn a factor (`weight`) and an offset (`bias`) per channel. track_running_stats: keep running_mean,
    running_var and num_batches_tracked and use them in evaluation; without them the batch's own are used always.
    State without num_batches_tracked, as PyTorch wrote it before version 0.4.1, loads too.
    """

    optional_state = frozenset({"num_batches_tracked"})
    accepts = {}  # number of dimensions -> what they are

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__()
        self.num_features = integer(num_features, "num_features", type(self).__name__, 1)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", Parameter(ones(num_features)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features)) if affine else None)
        self.register_buffer("running_mean", zeros(num_features) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0) if track_running_stats else None)

    def forward(self, x, relu=False, plus=None):
        """x, normalised. relu, plus: see `ops.batch_norm`; `in_turn` sets them."""
        x = as_tensor(x)
        if x.ndim not in self.accepts:
            shapes = " or ".join(f"a {n}-D tensor {names}" for n, names in self.accepts.items())
            raise ValueError(f"{type(self).__name__}: expected {shapes}, got {x.ndim}-D of shape {x.shape}")
        moving = self.training and self.track_running_stats
        momentum = self.momentum
        if moving and self.num_batches_tracked is not None:
            self.num_batches_tracked._data += 1  # not add_, which asks what this means for the graph
            self.num_batches_tracked.mark_modified()
            if momentum is None:
                momentum = 1.0 / self.num_batches_tracked.item()
        use_batch = self.training or (self.running_mean is None and self.running_var is None)
        mean, var = (self.running_mean, self.running_var) if moving or not use_batch else (None, None)
        momentum = 0.0 if momentum is None else momentum
        return ops.batch_norm(x, mean, var, self.weight, self.bias, use_batch, momentum, self.eps, relu, plus)

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(BatchNorm):
    """Normalise each channel of N x C or N x C x L over the batch (and L); see `BatchNorm`."""

    accepts = {2: "N x C", 3: "N x C x L"}


class BatchNorm2d(BatchNorm):
    """Normalise each channel of N x C x H x W over the batch and all pixels; see `BatchNorm`."""

    accepts = {4: "N x C x H x W"}


class LayerNorm(Module):
    """Normalise each example over its last dimensions, `normalized_shape` (an int or several); see `ops.layer_norm`.

    elementwise_affine: learn a factor (`weight`) and, with bias, an offset (`bias`) for each normalised element. Raises
    ValueError for a normalized_shape that is empty or not made of positive integers. Ba, Kiros & Hinton 2016.
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__()
        shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        if not shape:
            raise ValueError("LayerNorm: normalized_shape must have at least one dimension, got ()")
        self.normalized_shape = tuple(integer(n, "normalized_shape", "LayerNorm", 1) for n in shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", Parameter(ones(*shape)) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(zeros(*shape)) if elementwise_affine and bias else None)

    def forward(self, x):
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Normalise the num_channels of N x C x ... in num_groups groups, for each image; see `ops.group_norm`.

    affine: learn a factor (`weight`) and an offset (`bias`) per channel. Raises ValueError where the channels cannot be
    split into that many groups. Wu & He 2018.
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        super().__init__()
        self.num_groups = integer(num_groups, "num_groups", "GroupNorm", 1)
        self.num_channels = integer(num_channels, "num_channels", "GroupNorm", 1)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_channels} channels cannot be split into {num_groups} groups")
        self.eps, self.affine = eps, affine
        self.register_parameter("weight", Parameter(ones(num_channels)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_channels)) if affine else None)

    def forward(self, x):
        x = as_tensor(x)
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"GroupNorm: expected N x {self.num_channels} x ..., got x of shape {x.shape}")
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class LocalResponseNorm(Module):
    """Divide each channel by a power of the mean square of its neighbours; see `ops.local_response_norm`.

    AlexNet's k = 2, n = 5, alpha = 1e-4, beta = 0.75 (Krizhevsky et al. 2012, section 3.3) is
    LocalResponseNorm(5, alpha=5e-4, k=2.0): PyTorch's alpha is divided by the size. Raises ValueError for a size that
    is no positive integer.
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size = integer(size, "size", "LocalResponseNorm", 1)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, x):
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
