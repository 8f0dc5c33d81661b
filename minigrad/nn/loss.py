"""Losses as modules."""
from .. import ops
from ..tensor import as_tensor
from .module import Module


class CrossEntropyLoss(Module):
    """-ln softmax(scores)[target], averaged; see `ops.cross_entropy`. forward(scores N x C x ..., target N x ...).

    weight: C factors, a buffer of the module; the other options are those of the function.
    """

    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__()
        self.register_buffer("weight", None if weight is None else as_tensor(weight))
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, scores, target):
        return ops.cross_entropy(
            scores, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )
