"""Direct cross-correlation on the CPU: the sliding dot product on register tiles, with no intermediate matrix.

correlate.py has the loops; which pixels they combine is the Walk's business.
"""
import numpy as np

from ..arrays import nchw, nhwc
from ..buffers import empty
from .correlate import correlate
from .params import conv_output_shape
from .walk import forward_walk, input_grad_walks
from .weight_gradient import weight_gradient


def forward(x, w, p, flip=False):
    """y = conv(x, w). x: N x C x H x W, w: OC x C/G x KH x KW -> N x OC x OH x OW."""
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    y = empty((n, oh, ow, oc), x.dtype)
    if y.size:
        correlate(nhwc(x), by_position(w, p.groups), forward_walk(x.shape, w.shape, p, flip), y)
    return nchw(y)


def grad_input(gy, w, p, x_shape, flip=False):
    """gx of conv(x, w): a walk over gy for each phase of the stride. gy: N x OC x OH x OW -> x_shape."""
    n, c, h, width = x_shape
    walks = input_grad_walks(x_shape, w.shape, p, flip)
    reached = sum(walk.grid[0] * walk.grid[1] for walk in walks)
    gx = (empty if reached == h * width else np.zeros)((n, h, width, c), gy.dtype)
    for walk in walks if gx.size else ():
        correlate(nhwc(gy), by_position(w, p.groups).transpose(0, 2, 1, 3), walk, gx)
    return nchw(gx)


def grad_weight(x, gy, p, w_shape, flip=False):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    gw = np.zeros(w_shape, x.dtype)
    if x.size:
        walk = forward_walk(x.shape, w_shape, p, flip)
        weight_gradient(nhwc(x), nhwc(gy), walk, by_position(gw, p.groups))
    return gw


def by_position(w, groups):
    """OC x Cg x KH x KW -> G x OCg x Cg x KH KW."""
    oc, cg, kh, kw = w.shape
    return w.reshape(groups, oc // groups, cg, kh * kw)
