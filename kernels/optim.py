"""The steps of the optimisers, each in one pass over a parameter, its gradient and its state.

`sgd_in_steps` and `adam_in_steps` are the same in NumPy, a line a formula: what is computed where arrays have different
layouts or live elsewhere, and what the loops are tested against. All change p and the state in place.
"""
import math
from functools import lru_cache

import numpy as np

from .arrays import device_of
from .elementwise import flat
from .threads import share_out

LARGE = 1 << 18  # elements from which it pays to wake another thread


def sgd(p, g, v, lr, momentum, dampening, weight_decay, nesterov):
    """v = momentum v + (1 - dampening) g, p = p - lr v. p, g, v: of one shape; v None without momentum."""
    runs = _runs(p, g) if v is None else _runs(p, g, v)
    if runs is None:
        sgd_in_steps(p, g, v, lr, momentum, dampening, weight_decay, nesterov)
    elif v is None:
        _share(_loops()["plain"], *runs, lr, weight_decay)
    else:
        _share(_loops()["momentum"], *runs, lr, momentum, 1.0 - dampening, weight_decay, nesterov)


def sgd_in_steps(p, g, v, lr, momentum, dampening, weight_decay, nesterov):
    """The reference of `sgd`."""
    if weight_decay:
        g = g + weight_decay * p
    if v is not None:
        v *= momentum
        v += (1.0 - dampening) * g
        g = g + momentum * v if nesterov else v
    p -= lr * g


def adam(p, g, m, v, step, lr, betas, eps, weight_decay):
    """Step number `step`, from 1 on, of Adam. p, g, m (mean), v (mean square): of one shape."""
    runs = _runs(p, g, m, v)
    if runs is None:
        adam_in_steps(p, g, m, v, step, lr, betas, eps, weight_decay)
    else:
        scale, root = lr / (1.0 - betas[0] ** step), math.sqrt(1.0 - betas[1] ** step)
        shares = betas[0], 1.0 - betas[0], betas[1], 1.0 - betas[1]
        _share(_loops()["adam"], *runs, scale, root, *shares, eps, weight_decay)


def adam_in_steps(p, g, m, v, step, lr, betas, eps, weight_decay):
    """The reference of `adam`: Kingma & Ba 2015, algorithm 1."""
    beta1, beta2 = betas
    if weight_decay:
        g = g + weight_decay * p
    m *= beta1
    m += (1.0 - beta1) * g
    v *= beta2
    v += (1.0 - beta2) * (g * g)
    root = np.sqrt(v) / math.sqrt(1.0 - beta2**step)
    p -= lr / (1.0 - beta1**step) * m / (root + eps)


def _runs(*arrays):
    """The arrays as views of one dimension, None unless they have one layout and dtype and are on the CPU."""
    if any(device_of(a) != "cpu" or not a.flags.aligned for a in arrays):
        return None
    if all(a.flags.c_contiguous and a.dtype == arrays[0].dtype for a in arrays):
        return [a.reshape(-1) for a in arrays]
    return flat(*arrays)


def _share(loop, *arguments):
    size = arguments[0].size
    share_out(loop, size, *arguments, pieces=None if size >= LARGE else 1)


@lru_cache(1)
def _loops():
    """The loops: made on first use, so that importing this file does not import Numba.

    They are given 1 - beta as a number: the compiler may reorder sums, and would lose digits of what it can subtract.
    """
    from .jit import jit

    @jit
    def plain(first, last, p, g, lr, weight_decay):
        real = p.dtype.type
        p, g, rate, decay = p[first:last], g[first:last], real(lr), real(weight_decay)
        for i in range(p.size):
            p[i] -= rate * (g[i] + decay * p[i] if decay != 0 else g[i])

    @jit
    def momentum(first, last, p, g, v, lr, momentum, share, weight_decay, nesterov):
        real = p.dtype.type
        p, g, v = p[first:last], g[first:last], v[first:last]
        rate, keep, new, decay = real(lr), real(momentum), real(share), real(weight_decay)
        for i in range(p.size):
            slope = g[i] + decay * p[i] if decay != 0 else g[i]
            speed = keep * v[i] + new * slope
            v[i] = speed
            p[i] -= rate * (slope + keep * speed if nesterov else speed)

    @jit
    def adam(first, last, p, g, m, v, scale, root, keep1, new1, keep2, new2, eps, weight_decay):
        real = p.dtype.type
        p, g, m, v = p[first:last], g[first:last], m[first:last], v[first:last]
        scale, unbias, least, decay = real(scale), real(1.0 / root), real(eps), real(weight_decay)
        keep1, new1, keep2, new2 = real(keep1), real(new1), real(keep2), real(new2)
        for i in range(p.size):
            slope = g[i] + decay * p[i] if decay != 0 else g[i]
            mean = keep1 * m[i] + new1 * slope
            square = keep2 * v[i] + new2 * (slope * slope)
            m[i] = mean
            v[i] = square
            p[i] -= scale * mean / (np.sqrt(square) * unbias + least)

    return {"plain": plain, "momentum": momentum, "adam": adam}
