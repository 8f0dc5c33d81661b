"""True convolution on the CPU: the kernel rotated by 180 degrees, y[i] = sum over k of x[i + K - 1 - k] w[k] per axis.

The same loops and the same input pixels as direct_cpu.py; only the table of taps names the kernel positions backwards,
so no weight is copied or rotated. Source: Goodfellow, Bengio & Courville, "Deep Learning", equation 9.4.
"""
import numpy as np

from . import direct_cpu


def forward(x, w, p, bias=None, low=-np.inf, kept=None):
    """y = max(low, x * w + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    return direct_cpu.forward(x, w, p, bias, low, flip=True, kept=kept)


def grad_input(gy, w, p, x_shape, kept=None):
    """gx of x * w. gy: N x OC x OH x OW -> x_shape."""
    return direct_cpu.grad_input(gy, w, p, x_shape, flip=True, kept=kept)


def grad_weight(x, gy, p, w_shape):
    """gw of x * w. x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    return direct_cpu.grad_weight(x, gy, p, w_shape, flip=True)
