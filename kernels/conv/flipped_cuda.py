"""True convolution in CUDA: the kernels of direct.cu, compiled to walk the weight from its last tap to its first.

Source: Goodfellow, Bengio & Courville, "Deep Learning", equation 9.4.
"""
import math

from . import direct_cuda


def forward(x, w, p, bias=None, low=-math.inf, kept=None):
    """y = max(low, x * w + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    return direct_cuda.forward(x, w, p, bias, low, flip=True)


def grad_input(gy, w, p, x_shape, kept=None):
    """gx of x * w. gy: N x OC x OH x OW -> x_shape."""
    return direct_cuda.grad_input(gy, w, p, x_shape, flip=True)


def grad_weight(x, gy, p, w_shape):
    """gw of x * w. x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    return direct_cuda.grad_weight(x, gy, p, w_shape, flip=True)
