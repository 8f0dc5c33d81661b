"""Direct cross-correlation on the CPU: the sliding dot product on register tiles, with no intermediate matrix.

correlate.py has the loops; which pixels they combine is the Walk's business. Groups with too few channels to fill a
vector have loops of their own, depthwise_cpu.py.
"""
import numpy as np

from ..arrays import nchw, nhwc
from ..buffers import empty
from ..jit import jit
from ..memory import clear, copy
from ..threads import scratch, share_out
from ..tile import lanes
from . import depthwise_cpu
from .correlate import correlate
from .params import conv_output_shape
from .walk import Walk, forward_walk, input_grad_walks
from .weight_gradient import weight_gradient


def forward(x, w, p, bias=None, low=-np.inf, flip=False, kept=None):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    if depthwise_cpu.fits(w.shape, p, x.dtype):
        return depthwise_cpu.forward(x, w, p, bias, low, flip)
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    y = empty((n, oh, ow, oc), x.dtype)
    if y.size:
        correlate(nhwc(x), by_position(w, p.groups), (forward_walk(x.shape, w.shape, p, flip),), y, bias, low, kept)
    return nchw(y)


def grad_input(gy, w, p, x_shape, flip=False, kept=None):
    """gx of conv(x, w): walks over gy for the phases of the stride, or one for all. gy: N x OC x OH x OW -> x_shape."""
    if depthwise_cpu.fits(w.shape, p, gy.dtype):
        return depthwise_cpu.grad_input(gy, w, p, x_shape, flip)
    n, c, h, width = x_shape
    walks = input_grad_walks(x_shape, w.shape, p, flip)
    if len(walks) > 1 and p.groups == 1 and gy.size and _cheaper_together(walks, c, p.stride, lanes(gy.dtype)):
        return nchw(_all_phases(nhwc(gy), by_position(w, 1), walks, x_shape, p.stride))
    reached = sum(walk.grid[0] * walk.grid[1] for walk in walks)
    gx = empty((n, h, width, c), gy.dtype)
    if reached < h * width or not gy.size:
        share_out(_clear, gx.size, gx.reshape(-1))
    if walks and gx.size and gy.size:
        correlate(nhwc(gy), by_position(w, p.groups).transpose(0, 2, 1, 3), walks, gx, kept=kept)
    return nchw(gx)


@jit
def _clear(first, last, x):
    """Set some numbers of a flat array to zero."""
    clear(x.ctypes.data + first * x.itemsize, (last - first) * x.itemsize)


def _cheaper_together(walks, c, stride, lanes):
    """Whether one walk with the channels of all phases wastes less of the vectors than a walk for each phase."""
    together = len({tap for walk in walks for tap in zip(walk.dh, walk.dw, strict=True)})
    single = sum(len(walk.dh) for walk in walks)
    return together * -(-stride[0] * stride[1] * c // lanes) < single * -(-c // lanes)


def _all_phases(gy, w, walks, x_shape, stride):
    """gx, N x H x W x C: the phases as channels of a smaller image, put in their places afterwards.

    gy: N x OH x OW x OC; w: 1 x OC x C x positions. (Shi et al. 2016, section 2.2, "sub-pixel convolution".)
    """
    n, c, h, width = x_shape
    taps = sorted({tap for walk in walks for tap in zip(walk.dh, walk.dw, strict=True)})
    weights = np.zeros((1, *stride, c, w.shape[1], len(taps)), w.dtype)
    for walk in walks:
        for dh, dw, position in zip(walk.dh, walk.dw, walk.order, strict=True):
            weights[(0, *walk.origin, slice(None), slice(None), taps.index((dh, dw)))] = w[0, :, :, position].T
    grid = tuple(-(-size // s) for size, s in zip((h, width), stride, strict=True))
    phases = scratch("phases", (n, *grid, stride[0] * stride[1] * c), gy.dtype)
    dh, dw = zip(*taps, strict=True)
    walk = Walk(grid, (1, 1), dh, dw, tuple(range(len(taps))))
    correlate(gy, weights.reshape(1, -1, *weights.shape[4:]), (walk,), phases)
    gx = empty((n, h, width, c), gy.dtype)
    share_out(_interleave, n * grid[0], phases.reshape(-1), gx.reshape(-1), *stride, *grid, h, width * c, c)
    return gx


@jit
def _interleave(first, last, phases, gx, sh, sw, rows, cols, H, line, c):
    """Some rows of phases, (N rows) x cols x sh x sw x c, to the rows of gx, N x H x line: runs of sw c numbers."""
    size, run = gx.itemsize, sw * c
    for row in range(first, last):
        n, i = row // rows, row % rows * sh
        for a in range(min(sh, H - i)):
            source = phases.ctypes.data + (row * cols * sh + a) * run * size
            to = gx.ctypes.data + (n * H + i + a) * line * size
            for j in range(cols - 1):
                copy(to + j * run * size, source + j * sh * run * size, run * size)
            j = cols - 1
            copy(to + j * run * size, source + j * sh * run * size, (line - j * run) * size)


def grad_weight(x, gy, p, w_shape, flip=False):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    if depthwise_cpu.fits(w_shape, p, x.dtype):
        return depthwise_cpu.grad_weight(x, gy, p, w_shape, flip)
    if not x.size or not gy.size:
        return np.zeros(w_shape, x.dtype)
    gw = empty(w_shape, x.dtype)
    if gw.size:
        walk = forward_walk(x.shape, w_shape, p, flip)
        weight_gradient(nhwc(x), nhwc(gy), walk, by_position(gw, p.groups))
    return gw


def by_position(w, groups):
    """OC x Cg x KH x KW -> G x OCg x Cg x KH KW."""
    oc, cg, kh, kw = w.shape
    return w.reshape(groups, oc // groups, cg, kh * kw)
