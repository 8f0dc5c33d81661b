"""Examples of losses."""
import numpy as np

from .. import nn, ops
from ..tensor import Tensor
from .recipes import LABELS, on

CASES = {
    "cross_entropy": [
        on(lambda x: ops.cross_entropy(x, LABELS), (3, 4)),
        on(lambda x: ops.cross_entropy(x, LABELS, reduction="none", label_smoothing=0.1), (3, 4)),
        on(lambda x: ops.cross_entropy(x, LABELS, Tensor([0.5, 1.0, 2.0], "float64"), ignore_index=0), (3, 3)),
        on(lambda x, p: ops.cross_entropy(x, p, label_smoothing=0.2), (3, 4), ("probabilities", (3, 4))),
        on(lambda x: ops.cross_entropy(x, np.array([[0, 1], [2, 2]]), reduction="sum"), (2, 3, 2)),
    ],
    "nn.CrossEntropyLoss": [on(lambda x: nn.CrossEntropyLoss(label_smoothing=0.1)(x, LABELS), (3, 4))],
}
