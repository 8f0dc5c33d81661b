"""The steps of the optimisers, each in one pass over all parameters, their gradients and their state.

`sgd_in_steps` and `adam_in_steps` are the same for one parameter in NumPy, a line a formula: what is computed where
arrays have different layouts or live elsewhere, and what the loops (optim_loops.py) are tested against. All change
parameters and state in place.
"""
import math

import numpy as np

from .arrays import device_of
from .elementwise import flat
from .threads import share_out

LARGE = 1 << 18  # elements from which it pays to wake another thread


def sgd(parameters, lr, momentum, dampening, weight_decay, nesterov):
    """v = momentum v + (1 - dampening) g, p = p - lr v. parameters: (p, g, v) each, or without momentum (p, g)."""
    tables, others = _tables(parameters)
    for arrays in others:
        sgd_in_steps(*(*arrays, None)[:3], lr, momentum, dampening, weight_decay, nesterov)
    for table in tables:
        if len(parameters[0]) == 2:
            _share("plain", *table, lr, weight_decay)
        else:
            _share("momentum", *table, lr, momentum, 1.0 - dampening, weight_decay, nesterov)


def sgd_in_steps(p, g, v, lr, momentum, dampening, weight_decay, nesterov):
    """The reference of `sgd`, for one parameter. v: None without momentum."""
    if weight_decay:
        g = g + weight_decay * p
    if v is not None:
        v *= momentum
        v += (1.0 - dampening) * g
        g = g + momentum * v if nesterov else v
    p -= lr * g


def adam(parameters, step, lr, betas, eps, weight_decay):
    """Step number `step`, from 1 on, of Adam. parameters: (p, g, m (mean), v (mean square)) each."""
    tables, others = _tables(parameters)
    for arrays in others:
        adam_in_steps(*arrays, step, lr, betas, eps, weight_decay)
    scale, root = lr / (1.0 - betas[0] ** step), math.sqrt(1.0 - betas[1] ** step)
    shares = betas[0], 1.0 - betas[0], betas[1], 1.0 - betas[1]
    for table in tables:
        _share("adam", *table, scale, root, *shares, eps, weight_decay)


def adam_in_steps(p, g, m, v, step, lr, betas, eps, weight_decay):
    """The reference of `adam`, for one parameter: Kingma & Ba 2015, algorithm 1."""
    beta1, beta2 = betas
    if weight_decay:
        g = g + weight_decay * p
    m *= beta1
    m += (1.0 - beta1) * g
    v *= beta2
    v += (1.0 - beta2) * (g * g)
    root = np.sqrt(v) / math.sqrt(1.0 - beta2**step)
    p -= lr / (1.0 - beta1**step) * m / (root + eps)


def _tables(parameters):
    """What the loops take, (table, an array of its dtype) for each dtype, and the parameters that are not for them."""
    rows, others = {}, []
    for arrays in parameters:
        p = arrays[0]
        if _alike(arrays):
            addresses = [a.__array_interface__["data"][0] for a in arrays]
            rows.setdefault(p.dtype, []).append([*addresses, 0, p.size])
        else:
            others.append(arrays)
    return [(_placed(np.array(table, np.int64)), np.empty(0, dtype)) for dtype, table in rows.items()], others


def _alike(arrays):
    """Whether they are on the CPU, of one dtype, writable and laid out in one way without gaps."""
    dtype = arrays[0].dtype
    if any(device_of(a) != "cpu" or a.dtype != dtype or not a.flags.behaved for a in arrays):
        return False
    return all(a.flags.c_contiguous for a in arrays) or flat(*arrays) is not None


def _placed(table):
    """The table with the place of each row in the run of all: its last columns, 0 and the size, moved behind each
    other."""
    table[:, -1] = np.cumsum(table[:, -1])
    table[1:, -2] = table[:-1, -1]
    return table


def _share(name, table, *arguments):
    from . import optim_loops  # not before: importing this file does not import Numba

    size = int(table[-1, -1])
    share_out(getattr(optim_loops, name), size, table, *arguments, pieces=None if size >= LARGE else 1)
