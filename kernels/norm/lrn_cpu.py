"""Local response normalisation on the CPU: one pixel at a time, its channels being neighbours in memory.

Each power is taken once per channel and pass. x, y, gy, gx: M pixels x C channels.
"""
import numpy as np

from ..jit import jit


def lrn_forward(x, q):
    """y = x s^-beta. x: N x C x ..., any strides -> the same shape, channels-last strides."""
    rows = pixels(x)
    y = np.empty_like(rows)
    if x.size:
        _forward(rows.reshape(-1, x.shape[1]), y.reshape(-1, x.shape[1]), q.reach, *numbers(q, x.dtype))
    return np.moveaxis(y, -1, 1)


def lrn_grad_input(gy, x, q):
    """gx = gy s^-beta - 2 alpha beta x W'(gy x s^(-beta - 1))."""
    gx = np.empty_like(pixels(x))
    if x.size:
        arrays = (a.reshape(-1, x.shape[1]) for a in (pixels(gy), pixels(x), gx))
        _grad_input(*arrays, q.reach, *numbers(q, x.dtype))
    return np.moveaxis(gx, -1, 1)


def window_sum(x, reach):
    """The sum of the channels c - reach[0] ... c + reach[1] for each channel c. x: N x C x ..."""
    y = np.zeros_like(pixels(x))
    if x.size:
        _window_sum(pixels(x).reshape(-1, x.shape[1]), y.reshape(-1, x.shape[1]), reach)
    return np.moveaxis(y, -1, 1)


def pixels(x):
    """N x C x ... with any strides -> contiguous N x ... x C (no copy if x is channels-last)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def numbers(q, dtype):
    """The loops' arguments alpha, beta, k, in x's dtype."""
    return dtype.type(q.alpha), dtype.type(q.beta), dtype.type(q.k)


@jit
def _forward(x, y, reach, alpha, beta, k):
    M, C = x.shape
    s = np.empty(C, x.dtype)
    for m in range(M):
        s[:] = 0
        for d in range(-min(reach[0], C), min(reach[1], C) + 1):
            for c in range(max(0, -d), min(C, C - d)):
                s[c] += x[m, c + d] * x[m, c + d]
        if beta == 0.75:  # the papers' and PyTorch's default, without a call for each power
            for c in range(C):
                t = k + alpha * s[c]
                y[m, c] = x[m, c] / (np.sqrt(t) * np.sqrt(np.sqrt(t)))
        else:
            for c in range(C):
                y[m, c] = x[m, c] * (k + alpha * s[c]) ** -beta


@jit
def _grad_input(gy, x, gx, reach, alpha, beta, k):
    M, C = x.shape
    s, u = np.empty(C, x.dtype), np.empty(C, x.dtype)
    for m in range(M):
        s[:] = 0
        for d in range(-min(reach[0], C), min(reach[1], C) + 1):
            for c in range(max(0, -d), min(C, C - d)):
                s[c] += x[m, c + d] * x[m, c + d]
        if beta == 0.75:
            for c in range(C):
                t = k + alpha * s[c]
                gx[m, c] = gy[m, c] / (np.sqrt(t) * np.sqrt(np.sqrt(t)))
                u[c] = gx[m, c] * x[m, c] / t
        else:
            for c in range(C):
                t = k + alpha * s[c]
                gx[m, c] = gy[m, c] * t**-beta
                u[c] = gx[m, c] * x[m, c] / t
        s[:] = 0
        for d in range(-min(reach[1], C), min(reach[0], C) + 1):
            for c in range(max(0, -d), min(C, C - d)):
                s[c] += u[c + d]
        for c in range(C):
            gx[m, c] -= 2 * alpha * beta * x[m, c] * s[c]


@jit
def _window_sum(x, y, reach):
    M, C = x.shape
    for m in range(M):
        for d in range(-min(reach[0], C), min(reach[1], C) + 1):
            for c in range(max(0, -d), min(C, C - d)):
                y[m, c] += x[m, c + d]
