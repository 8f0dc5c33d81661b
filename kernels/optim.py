"""The steps of the optimisers, each in one pass over all parameters, their gradients and their state.

The pass is a loop of optim_loops.py on the CPU, a kernel of optim.cu on a GPU. `sgd_in_steps` and `adam_in_steps` are
the same for one parameter in NumPy, a line a formula: what is computed where arrays have different layouts, and what
the loops and kernels are tested against. All change parameters and state in place.
"""
import math

import numpy as np

from .arrays import device_of
from .elementwise import flat
from .threads import share_out

LARGE = 1 << 17  # elements from which it pays to call another thread


def sgd(parameters, lr, momentum, dampening, weight_decay, nesterov):
    """v = momentum v + (1 - dampening) g, p = p - lr v. parameters: (p, g, v) each, or without momentum (p, g)."""
    together, others = _sorted(parameters)
    for arrays in others:
        sgd_in_steps(*(*arrays, None)[:3], lr, momentum, dampening, weight_decay, nesterov)
    for some in together:
        if len(some[0]) == 2:
            _run("plain", some, lr, weight_decay)
        else:
            _run("momentum", some, lr, momentum, 1.0 - dampening, weight_decay, bool(nesterov))


def sgd_in_steps(p, g, v, lr, momentum, dampening, weight_decay, nesterov):
    """The reference of `sgd`, for one parameter. v: None without momentum."""
    if weight_decay:
        g = g + weight_decay * p
    if v is not None:
        v *= momentum
        v += (1.0 - dampening) * g
        g = g + momentum * v if nesterov else v
    p -= lr * g


def adam(parameters, step, lr, betas, eps, weight_decay, shrink=1.0):
    """Step number `step`, from 1 on, of Adam. parameters: (p, g, m (mean), v (mean square)) each.

    shrink: what p is multiplied with before, 1 - lr decay for AdamW.
    """
    together, others = _sorted(parameters)
    for arrays in others:
        adam_in_steps(*arrays, step, lr, betas, eps, weight_decay, shrink)
    scale, unbias = lr / (1.0 - betas[0] ** step), 1.0 / math.sqrt(1.0 - betas[1] ** step)
    shares = betas[0], 1.0 - betas[0], betas[1], 1.0 - betas[1]
    for some in together:
        _run("adam", some, scale, unbias, *shares, eps, weight_decay, shrink)


def adam_in_steps(p, g, m, v, step, lr, betas, eps, weight_decay, shrink=1.0):
    """The reference of `adam`, for one parameter: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, 2."""
    beta1, beta2 = betas
    if weight_decay:
        g = g + weight_decay * p
    p *= shrink
    m *= beta1
    m += (1.0 - beta1) * g
    v *= beta2
    v += (1.0 - beta2) * (g * g)
    root = np.sqrt(v) / math.sqrt(1.0 - beta2**step)
    p -= lr / (1.0 - beta1**step) * m / (root + eps)


def _sorted(parameters):
    """The parameters that one loop or kernel can take together, a list for each device and dtype; and the others."""
    together, others = {}, []
    for arrays in parameters:
        device = device_of(arrays[0])
        if _alike(device, *arrays):
            together.setdefault((device, arrays[0].dtype), []).append(arrays)
        else:
            others.append(arrays)
    return together.values(), others


def _alike(device, p, g, *state):
    """Whether they are on one device, of one dtype, writable and laid out in one way without gaps.

    The layout of g counts on the CPU only: on a GPU g is copied rather than that a kernel is started for every formula.
    """
    if any(device_of(a) != device or a.dtype != p.dtype for a in (g, *state)):
        return False
    arrays = (p, g, *state) if device == "cpu" else (p, *state)
    if device == "cpu" and not all(a.flags.behaved for a in arrays):
        return False
    return all(a.flags.c_contiguous for a in arrays) or flat(*arrays) is not None


def _run(name, parameters, *numbers):
    """Changes all these parameters by the loop or kernel of that name."""
    if device_of(parameters[0][0]) != "cpu":
        from . import optim_cuda

        optim_cuda.run(name, parameters, *numbers)
        return
    from . import optim_loops  # not before: importing this file does not import Numba

    table, like = _table(parameters), np.empty(0, parameters[0][0].dtype)
    size = int(table[-1, -1])
    share_out(getattr(optim_loops, name), size, table, like, *numbers, pieces=None if size >= LARGE else 1)


def _table(parameters):
    """What the loops see: a row for each parameter, of the addresses of its arrays, and of where it begins and ends in
    the run of all."""
    addresses = [[a.__array_interface__["data"][0] for a in arrays] for arrays in parameters]
    table = np.array([[*row, 0, arrays[0].size] for row, arrays in zip(addresses, parameters, strict=True)], np.int64)
    table[:, -1] = np.cumsum(table[:, -1])
    table[1:, -2] = table[:-1, -1]
    return table
