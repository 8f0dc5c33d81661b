"""Examples of normalisation and dropout."""
from .. import nn, ops
from ..tensor import Tensor
from .recipes import layer, on, seeded

CASES = {
    "batch_norm": [
        on(lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True), (3, 2, 2, 2), (2,), (2,)),
        on(
            lambda x, w, b: ops.batch_norm(x, Tensor([0.1, 0.2], "float64"), Tensor([1.0, 2.0], "float64"), w, b),
            (3, 2), (2,), (2,),
        ),
    ],
    "dropout": [on(seeded(lambda x: ops.dropout(x, 0.4)), (3, 4))],
    "dropout2d": [on(seeded(lambda x: ops.dropout2d(x, 0.4)), (2, 3, 2, 2))],
    "nn.BatchNorm2d": [
        layer(lambda: nn.BatchNorm2d(2), (2, 2, 3, 2)),
        layer(lambda: nn.BatchNorm2d(2), (2, 2, 3, 2), train=False),
        layer(lambda: nn.BatchNorm2d(2, affine=False, track_running_stats=False), (2, 2, 3, 2), train=False),
    ],
    "nn.Dropout": [on(seeded(nn.Dropout(0.4)), (3, 4)), layer(nn.Dropout, (3, 4), train=False)],
    "nn.Dropout2d": [on(seeded(nn.Dropout2d(0.4)), (2, 3, 2, 2)), layer(nn.Dropout2d, (2, 3, 2, 2), train=False)],
}
