"""Pooling in CUDA: grids and arguments. The kernels are in window.cu, one thread for each output or input.

As on the CPU gradients gather: every gx is the sum over the windows that cover it, in a fixed order.
"""
import numpy as np

from ..arrays import nchw
from ..cuda import empty, launch, over, over_channels_and_pixels, strided
from .params import AdaptiveParams

FILE = "pool/window.cu"


def max_forward(x, p):
    """y and index, both N x C x OH x OW. NaN wins over numbers, the first one over its equals."""
    y, index = _maps(x, p.output), _maps(x, p.output, np.int32)
    _run("max_forward", y, strided(x), strided(y), strided(index), _windows(p, x.shape))
    return y, index


def max_grad_input(gy, index, p, x_shape):
    """gx, N x C x H x W: each gy goes to where its maximum stood."""
    gx = _maps(gy, x_shape[2:])
    _run("max_grad_input", gx, strided(gy), _places(index), strided(gx), _windows(p, x_shape))
    return gx


def max_gather(x, index):
    """x at the positions of the maxima, N x C x OH x OW."""
    y = _maps(x, index.shape[2:])
    _run("max_gather", y, strided(x), _places(index), strided(y))
    return y


def avg_forward(x, p):
    """y, N x C x OH x OW: the mean of each window."""
    y = _maps(x, p.output)
    _run("avg_forward", y, strided(x), strided(y), _windows(p, x.shape))
    return y


def avg_grad_input(gy, p, x_shape):
    """gx, N x C x H x W: each gy is shared out equally over its window."""
    gx = _maps(gy, x_shape[2:])
    _run("avg_grad_input", gx, strided(gy), strided(gx), _windows(p, x_shape))
    return gx


def unpool_forward(x, index, size):
    """y, N x C x H x W: zeros with each x at its index; where an index occurs twice, the later x in row order."""
    y = _maps(x, size)
    _run("unpool_forward", y, strided(x), strided(_last(index, x.dtype, size)), strided(y))
    return y


def unpool_grad_input(gy, index):
    """gx, N x C x OH x OW: gy at each index, zero where unpooling overwrote that x."""
    gx = _maps(gy, index.shape[2:])
    last = _last(index, gy.dtype, gy.shape[2:])
    _run("unpool_grad_input", gx, strided(gy), _places(index), strided(last), strided(gx))
    return gx


def lp_forward(x, p, norm):
    """y, N x C x OH x OW: the norm of each window, worked out relative to its largest magnitude."""
    y = _maps(x, p.output)
    _run("lp_forward", y, strided(x), strided(y), _windows(p, x.shape), float(norm))
    return y


def lp_collect(a, x, y, p, q):
    """The sum of a k (x / y) ** q over each window, N x C x OH x OW; zero for a window with y = 0."""
    out = _maps(x, p.output)
    _run("lp_collect", out, *map(strided, (a, x, y, out)), _windows(p, x.shape), float(q))
    return out


def lp_spread(b, x, y, p, q):
    """The sum of b k (x / y) ** q over the windows that cover each x, N x C x H x W; those with y = 0 add nothing."""
    out = _maps(x, x.shape[2:])
    _run("lp_spread", out, *map(strided, (b, x, y, out)), _windows(p, x.shape), float(q))
    return out


def _maps(like, size, dtype=None):
    """N x C x size with channels-last strides, of N and C of an array."""
    n, c = like.shape[:2]
    return nchw(empty((n, *size, c), dtype or like.dtype, like))


def _run(kernel, result, *arguments):
    """A thread for each element of the result."""
    n, c, h, w = result.shape
    grid, block = over_channels_and_pixels(c, n * h * w)
    launch(FILE, kernel, grid, block, (*arguments, n * h * w), dtype=result.dtype)


def _places(index):
    """Positions in a map as the ints that kernels take (whoever has an index has checked that they are in the map)."""
    return strided(index.astype(np.int32, copy=False))


def _last(index, dtype, size):
    """N x C x H x W: the number of the x that stays at each place of unpooling, -1 for none."""
    last = _maps(index, size, np.int32)
    grid, block = over(index.shape[0] * index.shape[1])
    launch(FILE, "unpool_last", grid, block, (_places(index), strided(last)), dtype=dtype)
    return last


def _windows(p, x_shape):
    """The struct Windows of window.cu."""
    axes = zip(x_shape[2:], p.output, strict=True)
    if isinstance(p, AdaptiveParams):
        return np.array([*(n for size, out in axes for n in (size, out, 0, 0, 0, 0, 1)), 0, 0], np.int32)
    how = zip(p.kernel, p.stride, p.padding, p.dilation, strict=True)
    numbers = [n for axis, (k, s, side, d) in zip(axes, how, strict=True) for n in (*axis, k, s, *side, d)]
    return np.array([*numbers, p.count_include_pad, p.divisor or 0], np.int32)
