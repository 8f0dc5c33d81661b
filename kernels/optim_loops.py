"""The compiled loops of optim.py. Each goes once through many parameters, as if they were one long run of numbers.

They see the arrays through a table with a row for each parameter: the addresses of it, of its gradient and of its
state, and where in the long run it begins and ends. Threads take equal parts of that run, so it does not matter that
one parameter has a million numbers and the next has ten. Every loop takes 1 - beta as a number: the compiler may
reorder sums, and would lose digits of what it can subtract.
"""
import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from .jit import jit, jit_inside


@intrinsic
def _pointer(context, address, like):
    """The address as a pointer to numbers of the dtype of the array `like`."""

    def generate(context, builder, signature, given):
        return builder.inttoptr(given[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(types.intp, like), generate


@jit_inside
def _part(table, row, column, first, last, like):
    """The numbers first ... last of the long run, as far as they belong to this row's array; its dtype is like's."""
    start, stop = table[row, table.shape[1] - 2], table[row, table.shape[1] - 1]
    whole = carray(_pointer(table[row, column], like), stop - start)
    return whole[max(first, start) - start : max(min(last, stop), start) - start]


@jit
def plain(first, last, table, like, lr, weight_decay):
    """p = p - lr g. Columns: p, g."""
    real = like.dtype.type
    rate, decay = real(lr), real(weight_decay)
    for row in range(len(table)):
        p, g = _part(table, row, 0, first, last, like), _part(table, row, 1, first, last, like)
        for i in range(p.size):
            p[i] -= rate * (g[i] + decay * p[i] if decay != 0 else g[i])


@jit
def momentum(first, last, table, like, lr, momentum, share, weight_decay, nesterov):
    """v = momentum v + share g, p = p - lr v. Columns: p, g, v."""
    real = like.dtype.type
    rate, keep, new, decay = real(lr), real(momentum), real(share), real(weight_decay)
    for row in range(len(table)):
        p, g = _part(table, row, 0, first, last, like), _part(table, row, 1, first, last, like)
        v = _part(table, row, 2, first, last, like)
        for i in range(p.size):
            slope = g[i] + decay * p[i] if decay != 0 else g[i]
            speed = keep * v[i] + new * slope
            v[i] = speed
            p[i] -= rate * (slope + keep * speed if nesterov else speed)


@jit
def adam(first, last, table, like, scale, unbias, keep1, new1, keep2, new2, eps, weight_decay, shrink):
    """Kingma & Ba 2015, algorithm 1; scale = lr / (1 - beta1^t), unbias = (1 - beta2^t)^-1/2. Columns: p, g, m, v."""
    real = like.dtype.type
    scale, unbias, least, decay, shrink = real(scale), real(unbias), real(eps), real(weight_decay), real(shrink)
    keep1, new1, keep2, new2 = real(keep1), real(new1), real(keep2), real(new2)
    for row in range(len(table)):
        p, g = _part(table, row, 0, first, last, like), _part(table, row, 1, first, last, like)
        m, v = _part(table, row, 2, first, last, like), _part(table, row, 3, first, last, like)
        for i in range(p.size):
            slope = g[i] + decay * p[i] if decay != 0 else g[i]
            mean = keep1 * m[i] + new1 * slope
            square = keep2 * v[i] + new2 * (slope * slope)
            m[i] = mean
            v[i] = square
            p[i] = shrink * p[i] - scale * mean / (np.sqrt(square) * unbias + least)
