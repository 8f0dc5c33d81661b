"""Normalisation layers."""
from minigrad.kernels.conv.params import integer

from .. import ops
from ..creation import ones, tensor, zeros
from .module import Module, Parameter


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
