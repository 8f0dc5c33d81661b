"""Examples of pooling."""
import numpy as np

from minigrad.kernels.pool import pool_params

from .. import nn, ops
from ..ops.pool import MaxPool2d, MaxPool2dGather
from ..tensor import Tensor
from .recipes import IMAGE, layer, on, spread


def max_pool_gather(x):
    """The elements at fixed positions: a Function that otherwise occurs in second derivatives only."""
    f = MaxPool2d(p=pool_params(x.shape, 2))
    f(Tensor(spread(np.random.default_rng(1), x.shape)))
    return MaxPool2dGather(p=f.p, index=f.index, x_shape=x.shape)(x)


CASES = {
    "max_pool2d": [
        on(lambda x: ops.max_pool2d(x, 2), IMAGE),
        on(lambda x: ops.max_pool2d(x, (3, 2), stride=1, padding=1, dilation=(1, 2), ceil_mode=True), IMAGE),
        on(max_pool_gather, IMAGE),
    ],
    "avg_pool2d": [
        on(lambda x: ops.avg_pool2d(x, 2), IMAGE),
        on(lambda x: ops.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    ],
    "adaptive_avg_pool2d": [on(lambda x: ops.adaptive_avg_pool2d(x, (3, 2)), IMAGE)],
    "global_avg_pool2d": [on(ops.global_avg_pool2d, IMAGE)],
    "nn.MaxPool2d": [layer(lambda: nn.MaxPool2d(3, 2, padding=1), IMAGE)],
    "nn.AvgPool2d": [layer(lambda: nn.AvgPool2d(3, 2, padding=1), IMAGE)],
    "nn.AdaptiveAvgPool2d": [layer(lambda: nn.AdaptiveAvgPool2d((2, None)), IMAGE)],
    "nn.GlobalAvgPool2d": [layer(nn.GlobalAvgPool2d, IMAGE)],
}
