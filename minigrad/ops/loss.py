"""Losses."""
import numpy as np

from ..tensor import as_tensor
from .activation import log_softmax
from .elementwise import where
from .index import gather
from .promotion import as_float
from .reduce import mean, sum

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-ln softmax(x)[target], from raw scores ("logits").

    x: N x C or N x C x ... scores. target: N (x ...) class indices, or probabilities of the shape of x. weight: C
    factors. ignore_index: targets of this value count nothing. reduction: "mean" (weighted by `weight`), "sum" or
    "none". label_smoothing: the share of the target spread evenly over all classes (Szegedy et al. 2016, section 7).
    Raises ValueError or IndexError where shapes, names or class indices do not fit.
    """
    x, target = as_float(x), as_tensor(target)
    if reduction not in REDUCTIONS:
        raise ValueError(f"cross_entropy: reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if x.ndim < 2:
        raise ValueError(f"cross_entropy: expected scores N x C, got a {x.ndim}-d tensor")
    classes = x.shape[1]
    weight = None if weight is None else as_tensor(weight)
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"cross_entropy: weight must hold {classes} factors, one per class, got shape {weight.shape}")
    log_p = log_softmax(x, 1)
    if weight is not None:
        weight = weight.reshape(1, classes, *(1,) * (x.ndim - 2)).expand(x.shape)
    if target.is_floating_point():
        losses, count = _from_probabilities(log_p, target, weight, label_smoothing)
    else:
        losses, count = _from_indices(log_p, target, weight, ignore_index, label_smoothing)
    if reduction == "none":
        return losses
    return sum(losses) if reduction == "sum" else sum(losses) / count


def _from_indices(log_p, target, weight, ignore_index, label_smoothing):
    """Losses of the shape of target, and what their mean divides by."""
    if target.shape != (log_p.shape[0], *log_p.shape[2:]):
        raise ValueError(f"cross_entropy: scores of shape {log_p.shape} do not fit targets of shape {target.shape}")
    counted = target._data != ignore_index
    safe = np.where(counted, target._data, 0).astype(np.int64)
    if counted.any() and not (safe.min() >= 0 and safe.max() < log_p.shape[1]):
        wrong = safe.min() if safe.min() < 0 else safe.max()
        raise IndexError(f"cross_entropy: target {wrong} is not one of {log_p.shape[1]} classes")
    index = as_tensor(safe).unsqueeze(1)
    weights = as_tensor(counted).astype(log_p.dtype)
    if weight is not None:
        weights = weights * gather(weight, 1, index).squeeze(1)
    losses = -gather(log_p, 1, index).squeeze(1) * weights
    if label_smoothing:
        uniform = -mean(log_p if weight is None else log_p * weight, 1)
        losses = (1.0 - label_smoothing) * losses + label_smoothing * uniform
    return where(counted, losses, 0.0), sum(weights)  # not a factor 0: ignored scores may be infinite


def _from_probabilities(log_p, target, weight, label_smoothing):
    """Losses of the shape of target without its class dimension, and what their mean divides by."""
    if target.shape != log_p.shape:
        raise ValueError(f"cross_entropy: scores of shape {log_p.shape} do not fit probabilities of {target.shape}")
    if label_smoothing:
        target = target * (1.0 - label_smoothing) + label_smoothing / log_p.shape[1]
    losses = -sum((log_p if weight is None else log_p * weight) * target, 1)
    return losses, losses.numel()
