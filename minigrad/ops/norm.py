"""Normalisation: the calculus of batch, layer and group norm. The loops are in `kernels/norm/`.

They differ in which elements are normalised together; a `NormParams` p says which. With the n elements of a group,

    mean = sum(x) / n    var = sum((x - mean)^2) / n    r = (var + eps)^-1/2    xhat = (x - mean) r    y = xhat w + b

Write m(t) for a group's mean of t, and A(u, x) = r (u - m(u) - xhat m(u xhat)), the gradient of <u, xhat> with respect
to x. Then <gy, y> is linear in gy and in (w, b), and all derivatives, of any order, are made of four Functions:

    Normalize            y                               gx = A(gy w, x)   gw = sum(gy xhat)   gb = sum(gy)
    NormalizeAffineGrad  gw, or gb                       its gradients are a Normalize and a NormalizeInputGrad again
    NormalizeInputGrad   A(gy w, x), symmetric in gy w   given v: gu = A(v, x), ggy = gu w, gw = sum(gu gy), and
                                                         gx = A(q, x) - r xhat m(v A(gy w, x)),
                                                         q = -r (gy w m(v xhat) + v m(gy w xhat))
    NormalizeScale       r                               gx = -g r^2 xhat / n

so a step of training takes four walks through memory (statistics, y; sums, gx); second order costs a few more.
Sources: Ioffe & Szegedy 2015, algorithm 1 and section 3; Ba, Kiros & Hinton 2016, section 3; Wu & He 2018, section 3.
"""
import numpy as np

from minigrad.kernels import norm
from minigrad.kernels.elementwise import SMALL

from ..autograd import Function
from ..device import device_of
from ..tensor import as_tensor
from .activation import Gate
from .activation import relu as rectified
from .promotion import as_float, same_dtype


class _Normalize(Function):
    """What the four share: NormParams p, eps, and the groups' mean, var and rstd, computed from x unless given."""

    mean = var = rstd = None

    def kernels(self, x):
        """The row of the table that computes this; afterwards the statistics of x are there."""
        row = norm.lookup(device_of(x))
        if self.rstd is None:
            self.mean, self.var, self.rstd = row.statistics(x, self.p, self.eps)
        return row

    def partner(self, other, **params):
        """Another of the four Functions, for the same x."""
        return other(p=self.p, eps=self.eps, mean=self.mean, var=self.var, rstd=self.rstd, **params)

    def group_mean(self, t):
        """m(t), broadcasting with t. t: p.view."""
        return t.mean(self.p.dims, keepdim=True)


class Normalize(_Normalize):
    """y = xhat w + b + plus, with relu=True the positive part of it. w, b: as many elements as p.affine has.

    plus, or b and plus, or all may be left out, but relu needs w and b.
    """

    relu = False

    def forward(self, x, w=None, b=None, plus=None):
        y = self.kernels(x).forward(x, self.mean, self.rstd, w, b, self.p, self.relu, plus)
        self.save(x, w, b if self.relu and plus is None else None, y if self.relu and plus is not None else None)
        return y

    def backward(self, gy):
        x, w, b, y = self.saved  # a ReLU's gate is known from x, w and b, or from y
        if y is not None:
            gy = Gate(free=self.owns_gradient)(gy, y)
        inputs = gy, x, *given(w), *given(b)
        gx = affine_sums = None
        if self.needs[0]:
            f = self.partner(NormalizeInputGrad)
            gx, affine_sums = f(*inputs), f.affine_sums
        grads = [gx]
        for part, need in zip((1, 0), self.needs[1:3], strict=False):
            f = self.partner(NormalizeAffineGrad, part=part, shape=w.shape, affine_sums=affine_sums) if need else None
            grads.append(f(*inputs) if f else None)
            affine_sums = f.affine_sums if f else affine_sums
        return *grads, *(gy for _ in self.needs[3:])


class NormalizeInputGrad(_Normalize):
    """gx = A(u w, x) with u = gy, or where b is given, gy as far as xhat w + b > 0: there a ReLU follows.

    Leaves what NormalizeAffineGrad needs, computed on the way, in `self.affine_sums`.
    """

    def forward(self, gy, x, w=None, b=None):
        row = self.kernels(x)
        sums, self.affine_sums = row.grad_sums(gy, x, self.mean, self.rstd, w, b, self.p)
        gx = row.grad_input(gy, x, self.mean, self.rstd, w, b, sums, self.p)
        self.save(gy, x, w, b, gx)
        return gx

    def backward(self, v):
        gy, x, w, b, gx = self.saved
        y = None if b is None else self.partner(Normalize)(x, w, b)
        factor, gy = None if w is None else w.reshape(self.p.affine), gated(gy, y)
        ggy = ggx = gw = None
        if self.needs[0] or True in self.needs[2:3]:
            gu = self.partner(NormalizeInputGrad)(v, x)
            ggy = gated(gu if w is None else gu * factor, y)
            gw = shared_sum(gu * gy, self.p).reshape(w.shape) if True in self.needs[2:3] else None
        if self.needs[1]:
            u = (gy if w is None else gy * factor).reshape(self.p.view)
            v, gx = v.reshape(self.p.view), gx.reshape(self.p.view)
            xhat, r = self.partner(Normalize)(x).reshape(self.p.view), self.partner(NormalizeScale)(x)
            q = (u * self.group_mean(v * xhat) + v * self.group_mean(u * xhat)) * -r
            through_r = r * xhat * self.group_mean(v * gx)
            ggx = self.partner(NormalizeInputGrad)(q.reshape(x.shape), x) - through_r.reshape(x.shape)
        return ggy, ggx, *([] if w is None else [gw]), *([] if b is None else [None])


class NormalizeAffineGrad(_Normalize):
    """part 1: gw, the sums of u xhat over all elements that share a weight; part 0: gb, those of u. u: as above."""

    affine_sums = None

    def forward(self, gy, x, w=None, b=None):
        self.save(gy, x, w, b)
        if self.affine_sums is None:
            self.affine_sums = self.kernels(x).grad_sums(gy, x, self.mean, self.rstd, w, b, self.p)[1]
        return self.affine_sums[self.part].astype(x.dtype).reshape(self.shape)

    def backward(self, g):
        gy, x, w, b = self.saved
        y = None if b is None else self.partner(Normalize)(x, w, b)
        ggy = gx = None
        if self.needs[0]:
            ggy = self.partner(Normalize)(x, g) if self.part else g.reshape(self.p.affine).expand(x.shape)
            ggy = gated(ggy, y)
        if self.needs[1] and self.part:
            gx = self.partner(NormalizeInputGrad)(gated(gy, y), x, g)
        return ggy, gx, *(None for _ in self.needs[2:])


class NormalizeScale(_Normalize):
    """r, one for each group (p.stats)."""

    def forward(self, x):
        self.kernels(x)
        r = self.rstd.astype(x.dtype)
        self.save(x, r)
        return r

    def backward(self, g):
        x, r = self.saved
        xhat = self.partner(Normalize)(x).reshape(self.p.view)
        return (xhat * (g * r * r * (-1.0 / max(self.p.count, 1)))).reshape(x.shape)


class ChannelAffine(Function):
    """y = x w + b + plus, with relu=True the positive part of it; w, b: C, plus may be left out. Not of the four above:
    batch norm in evaluation, whose statistics do not depend on x."""

    def forward(self, x, w, b, plus=None):
        row, none = norm.lookup(device_of(x)), np.zeros(self.p.stats)
        y = row.forward(x, none, none + 1.0, w, b, self.p, self.relu, plus)
        self.save(x if self.needs[1] else None, w if self.needs[0] else None, y if self.relu else None)
        return y

    def backward(self, gy):
        x, w, y = self.saved
        gy = gated(gy, y)
        gx = gy * w.reshape(self.p.affine) if self.needs[0] else None
        gw = (gy * x).sum(self.p.dims) if self.needs[1] else None
        gb = gy.sum(self.p.dims) if self.needs[2] else None
        return (gx, gw, gb, gy)[: len(self.needs)]


def given(w):
    """The weight as a list of inputs: empty if there is none."""
    return [] if w is None else [w]


def gated(g, y):
    """g, or where a ReLU gave max(y, 0), what of g it lets through."""
    return g if y is None else Gate()(g, y)


def shared_sum(t, p):
    """The sum of t over all elements that share a weight, of shape p.affine."""
    lead = t.ndim - len(p.affine)
    dims = tuple(i for i in range(t.ndim) if i < lead or p.affine[i - lead] == 1)
    return (t.sum(dims) if dims else t).reshape(p.affine)


# --- the functions


def batch_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5,
    relu=False, plus=None,
):
    """y = (x - mean) / sqrt(var + eps) weight + bias, per channel. x: N x C or N x C x ... -> the same shape.

    training: use the batch's own mean and variance (over all dimensions but C), and move running_mean and running_var
    (C each, changed in place, may be None) towards them: new = (1 - momentum) old + momentum batch. The batch is
    normalised by its biased variance, the running one is unbiased. Otherwise the running statistics are used:
    y = x scale + shift with scale = weight / sqrt(running_var + eps). An empty batch moves no statistics.
    plus: a Tensor of x's shape that is added to y. relu: return max(y, 0) instead of y. Both come without another pass
    over memory; in training y has the bits of the operations one after the other, gradients differ in rounding.
    Raises ValueError where shapes do not fit or a channel has one value only in training.
    Source: Ioffe & Szegedy 2015, algorithms 1 and 2, section 3.2 for convolutions.
    """
    x = as_float(x)
    if x.ndim < 2:
        raise ValueError(f"BatchNorm: expected N x C x ..., got a {x.ndim}-d tensor")
    p = norm.batch_groups(x.shape)
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        _check_channels(name, t, x, "BatchNorm")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("BatchNorm: evaluation needs running statistics")
        scale = (running_var + eps) ** -0.5
        scale = scale if weight is None else scale * weight
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
        if x.numel() <= SMALL or device_of(x._data) != "cpu":  # nothing is compiled for it
            y = x * scale.reshape(p.affine) + shift.reshape(p.affine)
            y = y if plus is None else y + plus
            return rectified(y) if relu else y
        plus = [] if plus is None else [as_tensor(plus).expand(x.shape)]
        return ChannelAffine(p=p, relu=relu)(*same_dtype(x, scale, shift, *plus))
    if p.count == 1:
        raise ValueError("BatchNorm: training needs more than one value per channel, got 1")
    y, f = _normalize(x, weight, bias, p, eps, relu, plus)
    if p.count:
        row = norm.lookup(device_of(x._data))
        for running, batch, scale in ((running_mean, f.mean, 1.0), (running_var, f.var, p.count / (p.count - 1))):
            if running is not None:
                row.move(running._data, batch, momentum, scale)
                running.mark_modified()
    return y


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """y = (x - mean) / sqrt(var + eps) weight + bias, with the mean and variance of each x[i, ...] over its last
    dimensions. x: ... x normalized_shape -> the same shape.

    normalized_shape: an int or several; also the shape of weight and bias. Raises ValueError where shapes do not fit.
    Source: Ba, Kiros & Hinton 2016, section 3.
    """
    x = as_float(x)
    shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    p = norm.layer_groups(x.shape, shape)
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.shape != shape:
            raise ValueError(f"LayerNorm: {name} has shape {t.shape}, normalized_shape is {shape}")
    return _normalize(x, weight, bias, p, eps)[0]


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """y = (x - mean) / sqrt(var + eps) weight + bias, with the mean and variance of each image's C/num_groups
    neighbouring channels together, weight and bias per channel. x: N x C or N x C x ... -> the same shape.

    num_groups = 1 is layer norm over C x ..., num_groups = C instance norm. Raises ValueError where shapes do not fit,
    and for one value per group in a batch of 1. Source: Wu & He 2018, section 3.1.
    """
    x = as_float(x)
    if x.ndim < 2:
        raise ValueError(f"GroupNorm: expected N x C x ..., got a {x.ndim}-d tensor")
    p = norm.channel_groups(x.shape, num_groups)
    for name, t in (("weight", weight), ("bias", bias)):
        _check_channels(name, t, x, "GroupNorm")
    if x.shape[0] * p.count == 1:
        raise ValueError(f"GroupNorm: needs more than one value per group, got 1 (x: {x.shape})")
    return _normalize(x, weight, bias, p, eps)[0]


def _check_channels(name, t, x, op):
    if t is not None and t.shape != (x.shape[1],):
        raise ValueError(f"{op}: {name} has shape {t.shape}, got x with {x.shape[1]} channels")


def _normalize(x, weight, bias, p, eps, relu=False, plus=None):
    """y, and the Function that computed it (its mean and var are those of the groups)."""
    shape = next((t.shape for t in (weight, bias) if t is not None), p.affine)
    last = relu or plus is not None
    if weight is None and (bias is not None or last):
        weight = as_tensor(1.0, x.dtype if bias is None else bias.dtype).to(x.device).expand(shape)
    if bias is None and last:
        bias = as_tensor(0.0, weight.dtype).to(x.device).expand(shape)
    plus = None if plus is None else as_tensor(plus).expand(x.shape)
    f = Normalize(p=p, eps=eps, relu=relu)
    return f(*same_dtype(*(t for t in (x, weight, bias, plus) if t is not None))), f
