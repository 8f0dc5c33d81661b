"""Examples of normalisation and dropout."""
from .. import nn, ops
from ..tensor import Tensor
from .recipes import layer, on, seeded

KRIZHEVSKY = {"size": 5, "alpha": 0.5, "beta": 0.75, "k": 2.0}


def evaluated(x, w, b, z):
    """Batch norm with a ReLU in evaluation, of an x that is large, but of few different numbers."""
    x, z = (t.expand(2, 2, 3, 400) for t in (x, z))
    return ops.batch_norm(x, Tensor([0.1, 0.2]), Tensor([1.0, 2.0]), w, b, relu=True, plus=z).mean(3)


CASES = {
    "batch_norm": [
        on(lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True), (3, 2, 2, 2), (2,), (2,)),
        on(
            lambda x, w, b: ops.batch_norm(x, Tensor([0.1, 0.2], "float64"), Tensor([1.0, 2.0], "float64"), w, b),
            (3, 2), (2,), (2,),
        ),
        on(evaluated, (2, 2, 3, 1), (2,), (2,), (2, 2, 3, 1)),
        on(lambda x, b: ops.batch_norm(x, None, None, None, b, training=True), (3, 2, 2), (2,)),
        on(lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True, relu=True), (3, 2, 2, 2), (2,), (2,)),
        on(
            lambda x, w, b, z: ops.batch_norm(x, None, None, w, b, training=True, relu=True, plus=z),
            (3, 2, 2), (2,), (2,), (3, 2, 2),
        ),
        on(lambda x, z: ops.batch_norm(x, training=True, plus=z), (3, 2, 2), (3, 2, 1)),
        on(lambda w, b: ops.batch_norm(Tensor([[0.1, 1.5], [1, 0]], "float64"), None, None, w, b, True), (2,), (2,)),
    ],
    "layer_norm": [
        on(lambda x, w, b: ops.layer_norm(x, 4, w, b), (3, 4), (4,), (4,)),
        on(lambda x, w: ops.layer_norm(x, (2, 2, 3), w), (2, 2, 2, 3), (2, 2, 3)),
        on(lambda x: ops.layer_norm(x, (3, 2)), (3, 2)),
    ],
    "group_norm": [
        on(lambda x, w, b: ops.group_norm(x, 2, w, b), (2, 4, 2, 3), (4,), (4,)),
        on(lambda x, w, b: ops.group_norm(x, 2, w, b), (2, 4), (4,), (4,)),
        on(lambda x: ops.group_norm(x, 2), (2, 2, 3)),
    ],
    "local_response_norm": [
        on(lambda x: ops.local_response_norm(x, **KRIZHEVSKY), (2, 6, 2, 2)),
        on(lambda x: ops.local_response_norm(x, 4, 0.9, 0.6, 1.0), (2, 3, 2)),
    ],
    "dropout": [on(seeded(lambda x: ops.dropout(x, 0.4)), (3, 4))],
    "dropout2d": [on(seeded(lambda x: ops.dropout2d(x, 0.4)), (2, 3, 2, 2))],
    "nn.BatchNorm1d": [
        layer(lambda: nn.BatchNorm1d(2), (4, 2)),
        layer(lambda: nn.BatchNorm1d(2), (2, 2, 3)),
        layer(lambda: nn.BatchNorm1d(2), (2, 2, 3), train=False),
    ],
    "nn.BatchNorm2d": [
        layer(lambda: nn.BatchNorm2d(2), (2, 2, 3, 2)),
        layer(lambda: nn.BatchNorm2d(2), (2, 2, 3, 2), train=False),
        layer(lambda: nn.BatchNorm2d(2, affine=False, track_running_stats=False), (2, 2, 3, 2), train=False),
    ],
    "nn.LayerNorm": [
        layer(lambda: nn.LayerNorm(4), (2, 3, 4)), layer(lambda: nn.LayerNorm((3, 2), bias=False), (2, 2, 3, 2)),
    ],
    "nn.GroupNorm": [layer(lambda: nn.GroupNorm(2, 4), (2, 4, 3)), layer(lambda: nn.GroupNorm(1, 2), (2, 2, 2, 2))],
    "nn.LocalResponseNorm": [layer(lambda: nn.LocalResponseNorm(3, alpha=0.7), (2, 5, 2, 2))],
    "nn.Dropout": [on(seeded(nn.Dropout(0.4)), (3, 4)), layer(nn.Dropout, (3, 4), train=False)],
    "nn.Dropout2d": [on(seeded(nn.Dropout2d(0.4)), (2, 3, 2, 2)), layer(nn.Dropout2d, (2, 3, 2, 2), train=False)],
}
