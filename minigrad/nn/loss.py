"""Losses as modules. Each takes the options of its function in `ops/loss.py` and calls it."""
from .. import ops
from ..tensor import as_tensor
from .module import Module


def _optional_tensor(values):
    return None if values is None else as_tensor(values)


class NLLLoss(Module):
    """-x[target], averaged; see `ops.nll_loss`. forward(log-probabilities N x C x ..., target N x ...).

    weight: C factors, a buffer of the module; the other options are those of the function.
    """

    def __init__(self, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__()
        self.register_buffer("weight", _optional_tensor(weight))
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, x, target):
        return ops.nll_loss(x, target, self.weight, self.ignore_index, self.reduction)


class CrossEntropyLoss(Module):
    """-ln softmax(scores)[target], averaged; see `ops.cross_entropy`. forward(scores N x C x ..., target N x ...).

    weight: C factors, a buffer of the module; the other options are those of the function.
    """

    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__()
        self.register_buffer("weight", _optional_tensor(weight))
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, scores, target):
        return ops.cross_entropy(
            scores, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class BCELoss(Module):
    """Binary cross-entropy of probabilities; see `ops.binary_cross_entropy`. forward(x, target), of one shape.

    weight: factors of the losses, a buffer of the module.
    """

    def __init__(self, weight=None, reduction="mean"):
        super().__init__()
        self.register_buffer("weight", _optional_tensor(weight))
        self.reduction = reduction

    def forward(self, x, target):
        return ops.binary_cross_entropy(x, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy of raw scores; see `ops.binary_cross_entropy_with_logits`. forward(x, target), of one shape.

    weight, pos_weight: factors of the losses and of their first terms, buffers of the module.
    """

    def __init__(self, weight=None, reduction="mean", pos_weight=None):
        super().__init__()
        self.register_buffer("weight", _optional_tensor(weight))
        self.register_buffer("pos_weight", _optional_tensor(pos_weight))
        self.reduction = reduction

    def forward(self, x, target):
        return ops.binary_cross_entropy_with_logits(x, target, self.weight, self.reduction, self.pos_weight)


class MSELoss(Module):
    """(x - target)^2, averaged; see `ops.mse_loss`. forward(x, target), of one shape."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, x, target):
        return ops.mse_loss(x, target, self.reduction)


class L1Loss(Module):
    """|x - target|, averaged; see `ops.l1_loss`. forward(x, target), of one shape."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, x, target):
        return ops.l1_loss(x, target, self.reduction)
