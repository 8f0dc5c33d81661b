"""Normalisation: the calculus of batch, layer and group norm. The loops are in `kernels/norm/`.

They differ in which elements are normalised together; a `NormParams` p says which. With the n elements of a group,

    mean = sum(x) / n    var = sum((x - mean)^2) / n    r = (var + eps)^-1/2    xhat = (x - mean) r    y = xhat w + b

Write m(t) for a group's mean of t, and A(u, x) = r (u - m(u) - xhat m(u xhat)), the gradient of <u, xhat> with respect
to x. Then <gy, y> is linear in gy and in (w, b), and all derivatives, of any order, are made of four Functions:

    Normalize            y                               gx = A(gy w, x)   gw = sum(gy xhat)   gb = sum(gy)
    NormalizeAffineGrad  (gb, gw)                        its gradients are a Normalize and a NormalizeInputGrad again
    NormalizeInputGrad   A(gy w, x), symmetric in gy w   given v: gu = A(v, x), ggy = gu w, gw = sum(gu gy), and
                                                         gx = A(q, x) - r xhat m(v A(gy w, x)),
                                                         q = -r (gy w m(v xhat) + v m(gy w xhat))
    NormalizeScale       r                               gx = -g r^2 xhat / n

so a step of training takes four walks through memory (statistics, y; sums, gx); second order costs a few more.
Sources: Ioffe & Szegedy 2015, algorithm 1 and section 3; Ba, Kiros & Hinton 2016, section 3; Wu & He 2018, section 3.
"""
from minigrad.kernels import norm

from ..autograd import Function
from ..device import device_of
from ..tensor import as_tensor
from .promotion import as_float, same_dtype


class _Normalize(Function):
    """What the four share: NormParams p, eps, and the groups' mean, var and rstd, computed from x unless given."""

    mean = var = rstd = None

    def kernels(self, x):
        """The row of the table that computes this; afterwards the statistics of x are there."""
        row = norm.lookup(device_of(x))
        if self.rstd is None:
            self.mean, self.var = row.statistics(x, self.p)
            self.rstd = (self.var + self.eps) ** -0.5
        return row

    def partner(self, other):
        """Another of the four Functions, for the same x."""
        return other(p=self.p, eps=self.eps, mean=self.mean, var=self.var, rstd=self.rstd)

    def group_mean(self, t):
        """m(t), broadcasting with t. t: p.view."""
        return t.mean(self.p.dims, keepdim=True)


class Normalize(_Normalize):
    """y = xhat w + b. w and b have the shape p.affine; both, or b, may be left out."""

    def forward(self, x, w=None, b=None):
        self.save(x, w)
        return self.kernels(x).forward(x, self.mean, self.rstd, w, b, self.p)

    def backward(self, gy):
        x, w = self.saved
        gx = gwb = affine_sums = None
        if self.needs[0]:
            f = self.partner(NormalizeInputGrad)
            gx, affine_sums = f(gy, x, *given(w)), f.affine_sums
        if True in self.needs[1:]:
            f = self.partner(NormalizeAffineGrad)
            f.affine_sums = affine_sums
            gwb = f(gy, x)
        return gx, *(gwb[i] if need else None for i, need in zip((1, 0), self.needs[1:], strict=False))


class NormalizeInputGrad(_Normalize):
    """gx = A(gy w, x). Leaves what NormalizeAffineGrad needs, computed on the way, in `self.affine_sums`."""

    def forward(self, gy, x, w=None):
        row = self.kernels(x)
        sums, self.affine_sums = row.grad_sums(gy, x, self.mean, self.rstd, w, self.p)
        gx = row.grad_input(gy, x, self.mean, self.rstd, w, sums, self.p)
        self.save(gy, x, w, gx)
        return gx

    def backward(self, v):
        gy, x, w, gx = self.saved
        ggy = ggx = gw = None
        if self.needs[0] or True in self.needs[2:]:
            gu = self.partner(NormalizeInputGrad)(v, x)
            ggy = gu if w is None else gu * w
            gw = shared_sum(gu * gy, self.p) if True in self.needs[2:] else None
        if self.needs[1]:
            u = (gy if w is None else gy * w).reshape(self.p.view)
            v, gx = v.reshape(self.p.view), gx.reshape(self.p.view)
            xhat, r = self.partner(Normalize)(x).reshape(self.p.view), self.partner(NormalizeScale)(x)
            q = (u * self.group_mean(v * xhat) + v * self.group_mean(u * xhat)) * -r
            through_r = r * xhat * self.group_mean(v * gx)
            ggx = self.partner(NormalizeInputGrad)(q.reshape(x.shape), x) - through_r.reshape(x.shape)
        return ggy, ggx, *([] if w is None else [gw])


class NormalizeAffineGrad(_Normalize):
    """(gb, gw), 2 x p.affine: the sums of gy and gy xhat over all elements that share a weight."""

    affine_sums = None

    def forward(self, gy, x):
        self.save(gy, x)
        row = self.kernels(x)
        if self.affine_sums is None:
            self.affine_sums = row.grad_sums(gy, x, self.mean, self.rstd, None, self.p)[1]
        return self.affine_sums.astype(x.dtype)

    def backward(self, g):
        gy, x = self.saved
        ggy = self.partner(Normalize)(x, g[1], g[0]) if self.needs[0] else None
        gx = self.partner(NormalizeInputGrad)(gy, x, g[1]) if self.needs[1] else None
        return ggy, gx


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


def given(w):
    """The weight as a list of inputs: empty if there is none."""
    return [] if w is None else [w]


def shared_sum(t, p):
    """The sum of t over all elements that share a weight, of shape p.affine."""
    lead = t.ndim - len(p.affine)
    dims = tuple(i for i in range(t.ndim) if i < lead or p.affine[i - lead] == 1)
    return (t.sum(dims) if dims else t).reshape(p.affine)


# --- the functions


def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """y = (x - mean) / sqrt(var + eps) weight + bias, per channel. x: N x C or N x C x ... -> the same shape.

    training: use the batch's own mean and variance (over all dimensions but C), and move running_mean and running_var
    (C each, changed in place, may be None) towards them: new = (1 - momentum) old + momentum batch. The batch is
    normalised by its biased variance, the running one is unbiased. Otherwise the running statistics are used:
    y = x scale + shift with scale = weight / sqrt(running_var + eps). An empty batch moves no statistics.
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
        return x * scale.reshape(p.affine) + shift.reshape(p.affine)
    if p.count == 1:
        raise ValueError("BatchNorm: training needs more than one value per channel, got 1")
    y, f = _normalize(x, weight, bias, p, eps)
    if p.count:
        for running, batch in ((running_mean, f.mean), (running_var, f.var * (p.count / (p.count - 1)))):
            if running is not None:
                running._data[...] = (1.0 - momentum) * running._data + momentum * batch.reshape(running.shape)
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


def _normalize(x, weight, bias, p, eps):
    """y, and the Function that computed it (its mean and var are those of the groups)."""
    if weight is None and bias is not None:
        weight = as_tensor(1.0, bias.dtype).expand(bias.shape)
    inputs = same_dtype(*(t for t in (x, weight, bias) if t is not None))
    f = Normalize(p=p, eps=eps)
    return f(inputs[0], *(t.reshape(p.affine) for t in inputs[1:])), f
