"""Examples of losses."""
import numpy as np

from .. import nn, ops
from ..tensor import Tensor
from .recipes import LABELS, on

PIXELS = np.array([[0, 1], [2, 2]])
FACTORS = Tensor([0.5, 1.0, 2.0], "float64")
REDUCTIONS = ("mean", "sum", "none")


def pairs(loss, **options):
    """Examples of a loss of x and a target of its shape, both differentiated, with every reduction."""
    return [on(lambda x, t, r=r: loss(x, t, reduction=r, **options), (4, 3), (4, 3)) for r in REDUCTIONS]


def of_probabilities(x, target, **options):
    """Binary cross-entropy of the sigmoid of x."""
    return ops.binary_cross_entropy(ops.sigmoid(x), target, **options)


CASES = {
    "nll_loss": [
        on(lambda x: ops.nll_loss(x, LABELS), (3, 4)),
        on(lambda x: ops.nll_loss(x**2, PIXELS, FACTORS, reduction="none"), (2, 3, 2)),
        on(lambda x, w: ops.nll_loss(x**2, LABELS, w, ignore_index=1), (3, 3), ("positive", (3,))),
    ],
    "cross_entropy": [
        on(lambda x: ops.cross_entropy(x, LABELS), (3, 4)),
        on(lambda x: ops.cross_entropy(x, LABELS, reduction="none", label_smoothing=0.1), (3, 4)),
        on(lambda x: ops.cross_entropy(x, LABELS, FACTORS, ignore_index=0), (3, 3)),
        on(lambda x: ops.cross_entropy(x, LABELS, FACTORS, ignore_index=0, label_smoothing=0.3), (3, 3)),
        on(lambda x, p: ops.cross_entropy(x, p, label_smoothing=0.2), (3, 4), ("probabilities", (3, 4))),
        on(lambda x, p: ops.cross_entropy(x, p, FACTORS), (4, 3), ("probabilities", (4, 3))),
        on(lambda x: ops.cross_entropy(x, PIXELS, reduction="sum"), (2, 3, 2)),
    ],
    "binary_cross_entropy": [*pairs(of_probabilities), *pairs(of_probabilities, weight=FACTORS)],
    "binary_cross_entropy_with_logits": [
        *pairs(ops.binary_cross_entropy_with_logits),
        *pairs(ops.binary_cross_entropy_with_logits, weight=FACTORS.reshape(3, 1)[:1], pos_weight=FACTORS),
    ],
    "mse_loss": pairs(ops.mse_loss),
    "l1_loss": pairs(ops.l1_loss),
    "nn.NLLLoss": [on(lambda x: nn.NLLLoss(FACTORS)(x**2, LABELS), (3, 3))],
    "nn.CrossEntropyLoss": [on(lambda x: nn.CrossEntropyLoss(label_smoothing=0.1)(x, LABELS), (3, 4))],
    "nn.BCELoss": [on(lambda x, t: nn.BCELoss(FACTORS)(ops.sigmoid(x), t), (4, 3), (4, 3))],
    "nn.BCEWithLogitsLoss": [on(nn.BCEWithLogitsLoss(pos_weight=FACTORS), (4, 3), (4, 3))],
    "nn.MSELoss": [on(nn.MSELoss(), (4, 3), (4, 3))],
    "nn.L1Loss": [on(nn.L1Loss("sum"), (4, 3), (4, 3))],
}
