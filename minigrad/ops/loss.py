"""Losses: of class scores (negative log-likelihood, cross-entropy), of yes-or-no scores, and distances.

All take the reduction "mean", "sum" or "none". Shapes must agree exactly: nothing is broadcast but weights.
"""
import math

import numpy as np

from minigrad.kernels import cross_entropy as kernel

from ..autograd import Function
from ..device import array_module, on_one_device
from ..modes import is_recorded
from ..tensor import Tensor, as_tensor
from .activation import log_softmax, softmax, softplus
from .elementwise import absolute, clip, log, where
from .index import gather, getitem
from .promotion import as_float, same_dtype
from .reduce import mean, sum

REDUCTIONS = ("mean", "sum", "none")


# --- classes


def nll_loss(x, target, weight=None, ignore_index=-100, reduction="mean"):
    """-x[target], from log-probabilities ("negative log-likelihood").

    x: N x C or N x C x ... log-probabilities. target: N (x ...) class indices. weight: C factors. ignore_index: targets
    of this value count nothing. reduction: "mean" (weighted by `weight`), "sum" or "none". Raises ValueError,
    IndexError or TypeError where shapes, names or class indices do not fit.
    """
    x, target, weight = _scores("nll_loss", x, target, weight, reduction)
    losses, _, count = _picked("nll_loss", x, target, weight, ignore_index)
    return _reduced(losses, reduction, count)


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-ln softmax(x)[target], from raw scores ("logits"): nll_loss(log_softmax(x, 1), target).

    x: N x C or N x C x ... scores. target: N (x ...) class indices, or probabilities of the shape of x. weight: C
    factors. ignore_index: targets of this value count nothing. reduction: "mean" (weighted by `weight`, but over
    positions for probabilities), "sum" or "none". label_smoothing: the share of the target spread evenly over all
    classes (Szegedy et al. 2016, section 7). Raises ValueError, IndexError or TypeError where shapes, names or class
    indices do not fit.
    """
    x, target, weight = _scores("cross_entropy", x, target, weight, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if weight is None and not label_smoothing and reduction != "none" and not target.is_floating_point():
        counted, safe = _classes("cross_entropy", x, target, ignore_index)
        count = counted.sum() if reduction == "mean" else None
        return CrossEntropy(target=safe.reshape(-1), counted=counted, count=count)(x)
    return _cross_entropy_in_steps(x, target, weight, ignore_index, reduction, label_smoothing)


def _cross_entropy_in_steps(x, target, weight, ignore_index, reduction, label_smoothing):
    """Cross-entropy as it is defined, with all of its options. CrossEntropy is the plain case of it in fewer passes."""
    log_p = log_softmax(x, 1)
    if target.is_floating_point():
        if target.shape != x.shape:
            raise ValueError(f"cross_entropy: scores of shape {x.shape} do not fit probabilities of {target.shape}")
        if ignore_index >= 0:
            raise ValueError(f"cross_entropy: ignore_index {ignore_index} has no meaning for probabilities")
        if label_smoothing:
            target = target * (1.0 - label_smoothing) + label_smoothing / x.shape[1]
        losses = -sum(_by_class(log_p, weight) * target, 1)
        return _reduced(losses, reduction)
    losses, counted, count = _picked("cross_entropy", log_p, target, weight, ignore_index)
    if label_smoothing:
        uniform = where(counted, -mean(_by_class(log_p, weight), 1), 0.0)
        losses = (1.0 - label_smoothing) * losses + label_smoothing * uniform
    return _reduced(losses, reduction, count)


def _scores(name, x, target, weight, reduction):
    """x, target and weight as Tensors, checked as far as they have to fit in any case."""
    x, target = as_float(x), as_tensor(target)
    on_one_device([t._data for t in (x, target, weight) if isinstance(t, Tensor)], name)
    _check_reduction(name, reduction)
    if x.ndim < 2:
        raise ValueError(f"{name}: expected scores N x C, got a {x.ndim}-d tensor")
    if weight is not None:
        weight = as_tensor(weight, x.dtype)
        if weight.shape != (x.shape[1],):
            raise ValueError(f"{name}: weight must hold {x.shape[1]} factors, one per class, got shape {weight.shape}")
    return x, target, weight


def _by_class(log_p, weight):
    """log_p, each class times its factor."""
    return log_p if weight is None else log_p * weight.reshape(1, -1, *(1,) * (log_p.ndim - 2))


def _picked(name, log_p, target, weight, ignore_index):
    """-log_p[target] weight[target], 0 where ignored; which targets are not; and what the mean divides by."""
    counted, safe = _classes(name, log_p, target, ignore_index)
    losses, count = -gather(log_p, 1, as_tensor(safe).unsqueeze(1)).squeeze(1), int(counted.sum())
    if weight is not None:
        weights = where(counted, getitem(weight, safe), 0.0)
        losses, count = losses * weights, sum(weights)
    return where(counted, losses, 0.0), counted, count  # not a factor 0: ignored scores may be infinite


def _classes(name, x, target, ignore_index):
    """Which targets are not ignored, and the targets, checked, with 0 for those that are: two arrays."""
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name}: targets must be integers, the indices of classes, got {target.dtype}")
    if target.shape != (x.shape[0], *x.shape[2:]):
        raise ValueError(f"{name}: scores of shape {x.shape} do not fit targets of shape {target.shape}")
    counted = target._data != ignore_index
    safe = array_module(target._data).where(counted, target._data, 0).astype(np.int64)
    # below 0 as well; a recorded step knows no values, and when it is replayed CrossEntropy becomes NaN
    if not is_recorded() and (counted & (safe.view(np.uint64) >= x.shape[1])).any():
        wrong = safe.min() if safe.min() < 0 else safe.max()
        raise IndexError(f"{name}: target {wrong} is not one of {x.shape[1]} classes")
    return counted, safe


class CrossEntropy(Function):
    """y = the sum over counted positions of ln(sum over c of e ** x_c) - x_target, divided by `count`.

    target: one class per position. counted: a bool per position, N x ... count: a 0-d array, or None for 1.
    """

    def forward(self, x):
        self.save(x)
        y, self.p = kernel.forward(_class_rows(x), self.target, self.counted.reshape(-1), self.count)
        return y

    def backward(self, gy):
        (x,) = self.saved
        return CrossEntropyGrad(p=self.p, target=self.target, counted=self.counted, count=self.count)(gy, x)


class CrossEntropyGrad(Function):
    """gx = gy (softmax(x) - 1 at the target) / count for counted positions, 0 for the others. p: softmax(x), known."""

    def forward(self, gy, x):
        self.save(gy, x)
        rows = kernel.grad_scores(gy, self.p, self.target, self.counted.reshape(-1), self.count)
        return np.moveaxis(rows.reshape(x.shape[0], *x.shape[2:], x.shape[1]), -1, 1)

    def backward(self, ggx):
        gy, x = self.saved
        ggy = gx = None
        if self.needs[0]:
            ggy = sum(ggx * CrossEntropyGrad(**self.constants())(as_tensor(np.ones_like(gy._data)), x))
        if self.needs[1]:
            p = softmax(x, 1)
            scaled = p * (ggx - sum(p * ggx, 1, keepdim=True)) * (gy if self.count is None else gy / self.count)
            gx = where(self.counted[:, None], scaled, 0.0)
        return ggy, gx

    def constants(self):
        """What does not depend on x and gy, and the softmax of x."""
        return {"p": self.p, "target": self.target, "counted": self.counted, "count": self.count}


def _class_rows(x):
    """N x C x ... as rows of C scores, one per position."""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


# --- yes or no


class BinaryCrossEntropy(Function):
    """y = -(t ln x + (1 - t) ln(1 - x)), each logarithm not below -100, and divisors of gx not below 1e-12."""

    def forward(self, x, t):
        self.save(x, t)
        xp = array_module(x)
        return (t - 1) * xp.maximum(xp.log1p(-x), -100) - t * xp.maximum(xp.log(x), -100)

    def backward(self, gy):
        x, t = self.saved
        gx = gt = None
        if self.needs[0]:
            gx = gy * (x - t) / clip((1.0 - x) * x, min=1e-12)
        if self.needs[1]:
            gt = gy * (clip(log(1.0 - x), min=-100.0) - clip(log(x), min=-100.0))
        return gx, gt


def binary_cross_entropy(x, target, weight=None, reduction="mean"):
    """-(target ln x + (1 - target) ln(1 - x)), from probabilities; from scores use the next function.

    x, target: of one shape, x between 0 and 1; logarithms count as -100 at least. weight: factors that broadcast to
    that shape. Raises ValueError where shapes, names or probabilities do not fit.
    """
    x, target = _pair("binary_cross_entropy", x, target, reduction)
    inside = (x._data >= 0) & (x._data <= 1)
    if not inside.all():
        raise ValueError(f"binary_cross_entropy: x must be between 0 and 1, got {x._data[~inside].flat[0]}")
    losses = BinaryCrossEntropy()(x, target)
    return _reduced(_weighted("binary_cross_entropy", "weight", losses, weight), reduction)


def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    """-(target ln p + (1 - target) ln(1 - p)) with p = sigmoid(x), from raw scores, without overflow or underflow.

    x, target: of one shape. weight: factors of the losses, pos_weight: factors of their first terms; both broadcast to
    that shape, C for N x C. reduction: "mean" (over all elements, weighted or not), "sum" or "none". Raises ValueError
    where shapes or names do not fit.
    """
    name = "binary_cross_entropy_with_logits"
    x, target = _pair(name, x, target, reduction)
    surprise = softplus(-x, threshold=math.inf)  # -ln p, and -ln(1 - p) is x more
    if pos_weight is not None:
        surprise = surprise * (1.0 + _weighted(name, "pos_weight", target, as_tensor(pos_weight, x.dtype) - 1.0))
    return _reduced(_weighted(name, "weight", (1.0 - target) * x + surprise, weight), reduction)


def _weighted(name, what, values, factors):
    """values times factors (or None) that broadcast to their shape."""
    if factors is None:
        return values
    factors = as_tensor(factors, values.dtype)
    shapes = zip(factors.shape[::-1], values.shape[::-1], strict=False)
    if factors.ndim > values.ndim or any(n not in (1, size) for n, size in shapes):
        raise ValueError(f"{name}: {what} of shape {factors.shape} does not broadcast to x of shape {values.shape}")
    return values * factors


# --- distances


def mse_loss(x, target, reduction="mean"):
    """(x - target)^2, elementwise. x, target: of one shape. Raises ValueError where shapes or names do not fit."""
    x, target = _pair("mse_loss", x, target, reduction)
    return _reduced((x - target) ** 2, reduction)


def l1_loss(x, target, reduction="mean"):
    """|x - target|, elementwise, with gradient 0 where they are equal. As `mse_loss` otherwise."""
    x, target = _pair("l1_loss", x, target, reduction)
    return _reduced(absolute(x - target), reduction)


def _pair(name, x, target, reduction):
    """x and target as Tensors of one floating-point dtype. ValueError unless their shapes are the same."""
    _check_reduction(name, reduction)
    x, target = map(as_float, same_dtype(as_tensor(x), as_tensor(target)))
    if x.shape != target.shape:
        raise ValueError(f"{name}: x of shape {x.shape} and target of shape {target.shape} must have the same shape")
    return x, target


# --- reductions


def _check_reduction(name, reduction):
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")


def _reduced(losses, reduction, count=None):
    """losses, their sum, or their sum divided by `count` (None: by their number)."""
    if reduction == "none":
        return losses
    total = sum(losses)
    return total if reduction == "sum" else total / (losses.numel() if count is None else count)
