"""Normalisation as its definitions read: NumPy's mean and variance, in float64. Slow on purpose, to compare with."""
import numpy as np


def statistics(x, p, eps):
    """The mean, the biased variance and (var + eps)^-1/2 of each group, float64, shape p.stats."""
    v = x.reshape(p.view).astype(np.float64)
    mean, var = (f(p.dims, keepdims=True) if x.size else np.zeros(p.stats) for f in (v.mean, v.var))
    return mean, var, (var + eps) ** -0.5


def move(running, batch, momentum, scale=1.0):
    """running = (1 - momentum) running + momentum scale batch, in place. running: C; batch: as many elements."""
    running[...] = (1.0 - momentum) * running + momentum * scale * batch.reshape(running.shape)


def forward(x, mean, rstd, w, b, p, relu=False, plus=None):
    """y = xhat w + b, and plus, if given; with relu what of it is positive."""
    y = normalised(x, mean, rstd, p) * factor(w, p) + (0 if b is None else b.reshape(p.affine))
    y = y if plus is None else y + plus
    return result(np.maximum(y, 0) if relu else y, x, p)


def gated(gy, x, mean, rstd, w, b, p):
    """u: gy; where b is given, 0 where a ReLU after xhat w + b gives 0. In float64."""
    closed = False if b is None else forward(x, mean, rstd, w, b, p) <= 0
    return np.where(closed, 0, gy.astype(np.float64))


def grad_sums(gy, x, mean, rstd, w, b, p):
    """The sums of u w and u w xhat over each group, and those of u and u xhat over all that share a weight."""
    xhat, u = normalised(x, mean, rstd, p), gated(gy, x, mean, rstd, w, b, p)
    groups = [(t * factor(w, p)).reshape(p.view).sum(p.dims, keepdims=True) for t in (u, u * xhat)]
    full = (1,) * (u.ndim - len(p.affine)) + p.affine
    shared = tuple(i for i, n in enumerate(full) if n == 1)
    affine = [t.sum(shared).reshape(p.affine) for t in (u, u * xhat)]
    return np.stack(groups), np.stack(affine)


def grad_input(gy, x, mean, rstd, w, b, groups, p):
    """gx = rstd (v - mean(v) - xhat mean(v xhat)) with v = u w; the sums behind the means are in `groups`."""
    v = gated(gy, x, mean, rstd, w, b, p) * factor(w, p)
    v, xhat = (t.reshape(p.view) for t in (v, normalised(x, mean, rstd, p)))
    mean_v, mean_vxhat = groups / max(p.count, 1)
    return result((rstd * (v - mean_v - xhat * mean_vxhat)).reshape(x.shape), x, p)


def normalised(x, mean, rstd, p):
    """xhat, in x's shape and float64."""
    return ((x.reshape(p.view).astype(np.float64) - mean) * rstd).reshape(x.shape)


def factor(w, p):
    """The weight, ready to broadcast with x."""
    return 1.0 if w is None else w.reshape(p.affine).astype(np.float64)


def result(y, x, p):
    """y in x's dtype and in the order in which the other rows store it."""
    y = np.ascontiguousarray(y.transpose(p.order), x.dtype)
    return y.transpose(np.argsort(p.order))


# --- local response normalisation


def lrn_forward(x, q):
    """y = x s^-beta, s = k + alpha (sum of x^2 over the window of channels)."""
    return last(x * scales(x, q) ** -q.beta, x.dtype)


def lrn_grad_input(gy, x, q):
    """gx: each y depends on its own x and, through s, on every x of its window."""
    s = scales(x, q)
    gx = gy * s**-q.beta
    for c in range(x.shape[1]):
        for i in window(c, x.shape[1], q.reach):  # ds_c / dx_i = 2 alpha x_i
            gx[:, i] += gy[:, c] * x[:, c] * (-q.beta) * s[:, c] ** (-q.beta - 1) * 2 * q.alpha * x[:, i]
    return last(gx, x.dtype)


def window_sum(x, reach):
    """The sum over the window of each channel."""
    y = np.zeros(x.shape, np.float64)
    for c in range(x.shape[1]):
        for i in window(c, x.shape[1], reach):
            y[:, c] += x[:, i]
    return last(y, x.dtype)


def window(c, channels, reach):
    """The channels in the window of channel c."""
    return range(max(c - reach[0], 0), min(c + reach[1] + 1, channels))


def scales(x, q):
    """s, in float64."""
    return q.k + q.alpha * window_sum(x.astype(np.float64) ** 2, q.reach)


def last(y, dtype):
    """y in channels-last order and this dtype."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(y, 1, -1), dtype), -1, 1)
