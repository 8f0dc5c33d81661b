"""Examples of pooling."""
import numpy as np

from minigrad.kernels.pool import pool_params

from .. import nn, ops
from ..ops.pool import MaxPool2d, MaxPool2dGather
from ..tensor import Tensor
from .recipes import IMAGE, layer, on, spread

SIGNAL = (2, 2, 7)
POSITIVE = ("positive", IMAGE)
POSITIONS = np.arange(40).reshape(2, 2, 5, 2)[..., ::-1] * 3 % 19  # some occur more than once in a feature map


def max_pool_gather(x):
    """The elements at fixed positions: a Function that otherwise occurs in second derivatives only."""
    f = MaxPool2d(p=pool_params(x.shape, 2))
    f(Tensor(spread(np.random.default_rng(1), x.shape)))
    return MaxPool2dGather(p=f.p, index=f.index, x_shape=x.shape)(x)


def unpool_layer(x):
    """Pooling, and unpooling of something else to the places of the maxima."""
    y, index = nn.MaxPool2d(2, return_indices=True)(x)
    return nn.MaxUnpool2d(2)(y * y, index, x.shape)


CASES = {
    "max_pool1d": [
        on(lambda x: ops.max_pool1d(x, 2), SIGNAL),
        on(lambda x: ops.max_pool1d(x, 3, 2, 1, 1, True), SIGNAL),
        on(lambda x: ops.max_pool1d(x, 2, dilation=3), (2, 7)),
    ],
    "max_pool2d": [
        on(lambda x: ops.max_pool2d(x, 2), IMAGE),
        on(lambda x: ops.max_pool2d(x, (3, 2), stride=1, padding=1, dilation=(1, 2), ceil_mode=True), IMAGE),
        on(max_pool_gather, IMAGE),
    ],
    "max_unpool2d": [
        on(lambda x: ops.max_unpool2d(x, POSITIONS, 2, output_size=(10, 4)), (2, 2, 5, 2)),
        on(lambda x: ops.max_unpool2d(x, POSITIONS, 3, (2, 3), 1), (2, 2, 5, 2)),
    ],
    "avg_pool1d": [
        on(lambda x: ops.avg_pool1d(x, 2), SIGNAL),
        on(lambda x: ops.avg_pool1d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 6)),
    ],
    "avg_pool2d": [
        on(lambda x: ops.avg_pool2d(x, 2), IMAGE),
        on(lambda x: ops.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
        on(lambda x: ops.avg_pool2d(x, (3, 2), 1, divisor_override=4), IMAGE),
    ],
    "lp_pool2d": [
        *(on(lambda x, p=p: ops.lp_pool2d(x, p, (3, 2), (1, 2)), POSITIVE) for p in (1, 1.5, 3, 50)),
        *(on(lambda x, p=p: ops.lp_pool2d(x, p, 2, ceil_mode=True), IMAGE) for p in (1, 2, 4.0)),
    ],
    "adaptive_max_pool2d": [
        on(lambda x: ops.adaptive_max_pool2d(x, (3, 2)), IMAGE), on(lambda x: ops.adaptive_max_pool2d(x, 6), IMAGE),
    ],
    "adaptive_avg_pool2d": [
        on(lambda x: ops.adaptive_avg_pool2d(x, (3, 2)), IMAGE), on(lambda x: ops.adaptive_avg_pool2d(x, 6), IMAGE),
        on(lambda x: ops.adaptive_avg_pool2d(x * x, (5, 4)), IMAGE),
    ],
    "global_avg_pool2d": [on(ops.global_avg_pool2d, IMAGE)],
    "nn.MaxPool1d": [layer(lambda: nn.MaxPool1d(3, 2, padding=1), SIGNAL)],
    "nn.MaxPool2d": [layer(lambda: nn.MaxPool2d(3, 2, padding=1), IMAGE)],
    "nn.MaxUnpool2d": [on(unpool_layer, IMAGE)],
    "nn.AvgPool1d": [layer(lambda: nn.AvgPool1d(3, 2, padding=1), SIGNAL)],
    "nn.AvgPool2d": [layer(lambda: nn.AvgPool2d(3, 2, padding=1, divisor_override=5), IMAGE)],
    "nn.LPPool2d": [layer(lambda: nn.LPPool2d(2, 3, 2, ceil_mode=True), IMAGE)],
    "nn.AdaptiveAvgPool2d": [layer(lambda: nn.AdaptiveAvgPool2d((2, None)), IMAGE)],
    "nn.AdaptiveMaxPool2d": [layer(lambda: nn.AdaptiveMaxPool2d((2, None)), IMAGE)],
    "nn.GlobalAvgPool2d": [layer(nn.GlobalAvgPool2d, IMAGE)],
}
