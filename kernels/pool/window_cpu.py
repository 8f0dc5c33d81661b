"""Pooling on the CPU: each window is walked once, all channels of a pixel together (they are neighbours in memory).

The gradients gather: every gx is the sum over the windows that cover it, in a fixed order, so there is no race and
the same bits come out every time. The innermost loops run over channels, without branches, and are vectorised. What
they walk is worked out in spans.py, the same way for sliding and for adaptive windows. An empty result is returned
before any loop is called, so nothing is compiled for it. Array axes: x (N, H, W, C), y and index (N, OH, OW, C).
"""
import numpy as np

from ..arrays import nchw, nhwc
from ..jit import jit
from .spans import coverings, divisors, windows


def max_forward(x, p):
    """y and index, both N x C x OH x OW. NaN wins over numbers, the first one over its equals."""
    n, c, h, w = x.shape
    y = np.empty((n, *p.output, c), x.dtype)
    index = np.empty(y.shape, np.int64)
    if y.size:
        _max_forward(nhwc(x), y, index, *windows(p, (h, w)))
    return nchw(y), nchw(index)


def max_grad_input(gy, index, p, x_shape):
    """gx, N x C x H x W: each gy goes to where its maximum stood."""
    n, c, h, w = x_shape
    gx = np.zeros((n, h, w, c), gy.dtype)
    if gx.size:
        _max_grad_input(nhwc(gy), nhwc(index), gx, *coverings(p, (h, w)))
    return nchw(gx)


def max_gather(x, index):
    """x at the positions of the maxima, N x C x OH x OW."""
    n, c, h, w = x.shape
    oh, ow = index.shape[2:]
    flat = np.take_along_axis(nhwc(x).reshape(n, h * w, c), nhwc(index).reshape(n, oh * ow, c), axis=1)
    return nchw(flat.reshape(n, oh, ow, c))


def avg_forward(x, p):
    """y, N x C x OH x OW: the mean of each window."""
    n, c, h, w = x.shape
    y = np.empty((n, *p.output, c), x.dtype)
    if y.size:
        rows, cols = windows(p, (h, w))
        many = max(stop - start for start, stop, _ in rows) * max(stop - start for start, stop, _ in cols) > 64
        total = np.empty(c, np.float64 if many else x.dtype)  # where windows are whole images, digits would get lost
        _avg_forward(nhwc(x), y, total, divisors(p, (h, w), x.dtype), rows, cols)
    return nchw(y)


def avg_grad_input(gy, p, x_shape):
    """gx, N x C x H x W: each gy is shared out equally over its window."""
    n, c, h, w = x_shape
    gx = np.zeros((n, h, w, c), gy.dtype)
    if gx.size:
        _avg_grad_input(nhwc(gy / divisors(p, (h, w), gy.dtype)), gx, *coverings(p, (h, w)))
    return nchw(gx)


def unpool_forward(x, index, size):
    """y, N x C x H x W: zeros with each x at its index; where an index occurs twice, the later x in row order."""
    n, c, oh, ow = x.shape
    y = np.zeros((n, *size, c), x.dtype)
    if x.size:
        _unpool_forward(nhwc(x).reshape(n, oh * ow, c), nhwc(index).reshape(n, oh * ow, c), y.reshape(n, -1, c))
    return nchw(y)


def unpool_grad_input(gy, index):
    """gx, N x C x OH x OW: gy at each index, zero where unpooling overwrote that x."""
    n, c, h, w = gy.shape
    oh, ow = index.shape[2:]
    gx = np.zeros((n, oh, ow, c), gy.dtype)
    if gx.size:
        last = np.empty((n, h * w, c), np.int64)
        flat = nhwc(gy).reshape(n, h * w, c), nhwc(index).reshape(n, oh * ow, c)
        _unpool_grad_input(*flat, last, gx.reshape(n, oh * ow, c))
    return nchw(gx)


def lp_forward(x, p, norm):
    """y, N x C x OH x OW: the norm of each window, worked out relative to its largest magnitude."""
    n, c, h, w = x.shape
    y = np.empty((n, *p.output, c), x.dtype)
    if y.size:
        _lp_forward(nhwc(x), y, norm, lp_factors(x.shape, x.dtype, p), *windows(p, (h, w)))
    return nchw(y)


def lp_collect(a, x, y, p, q):
    """The sum of a k (x / y) ** q over each window, N x C x OH x OW; zero for a window with y = 0."""
    n, c, h, w = x.shape
    out = np.zeros((n, *p.output, c), x.dtype)
    if out.size:
        _lp_collect(nhwc(a), nhwc(x), nhwc(y), out, q, lp_factors(x.shape, x.dtype, p), *windows(p, (h, w)))
    return nchw(out)


def lp_spread(b, x, y, p, q):
    """The sum of b k (x / y) ** q over the windows that cover each x, N x C x H x W; those with y = 0 add nothing."""
    n, c, h, w = x.shape
    out = np.zeros((n, h, w, c), x.dtype)
    if out.size:
        _lp_spread(nhwc(b), nhwc(x), nhwc(y), out, q, lp_factors(x.shape, x.dtype, p), *coverings(p, (h, w)))
    return nchw(out)


def lp_factors(x_shape, dtype, p):
    """k, OH x OW: the area of a whole window over what is left of each one at the edge."""
    return (p.kernel[0] * p.kernel[1] / divisors(p, x_shape[2:], np.dtype("float64"))).astype(dtype)


@jit
def _max_forward(x, y, index, rows, cols):
    N, OH, OW, C = y.shape
    W = x.shape[2]
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                first = True
                for h in range(rows[oh, 0], rows[oh, 1], rows[oh, 2]):
                    for w in range(cols[ow, 0], cols[ow, 1], cols[ow, 2]):
                        for c in range(C):
                            value, best = x[n, h, w, c], y[n, oh, ow, c]
                            if first or (not value <= best and best == best):  # best == best: it is not NaN
                                y[n, oh, ow, c] = value
                                index[n, oh, ow, c] = h * W + w
                        first = False


@jit
def _max_grad_input(gy, index, gx, rows, cols):
    N, H, W, C = gx.shape
    zero = gx.dtype.type(0)
    for n in range(N):
        for h in range(H):
            for w in range(W):
                here = h * W + w
                for oh in range(rows[h, 0], rows[h, 1], rows[h, 2]):
                    for ow in range(cols[w, 0], cols[w, 1], cols[w, 2]):
                        for c in range(C):
                            gx[n, h, w, c] += gy[n, oh, ow, c] if index[n, oh, ow, c] == here else zero


@jit
def _avg_forward(x, y, total, divisors, rows, cols):
    N, OH, OW, C = y.shape
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                total[:] = 0
                for h in range(rows[oh, 0], rows[oh, 1], rows[oh, 2]):
                    for w in range(cols[ow, 0], cols[ow, 1], cols[ow, 2]):
                        for c in range(C):
                            total[c] += x[n, h, w, c]
                for c in range(C):
                    y[n, oh, ow, c] = total[c] / divisors[oh, ow]


@jit
def _avg_grad_input(gy, gx, rows, cols):
    N, H, W, C = gx.shape
    for n in range(N):
        for h in range(H):
            for w in range(W):
                for oh in range(rows[h, 0], rows[h, 1], rows[h, 2]):
                    for ow in range(cols[w, 0], cols[w, 1], cols[w, 2]):
                        for c in range(C):
                            gx[n, h, w, c] += gy[n, oh, ow, c]


@jit
def _unpool_forward(x, index, y):
    N, OHW, C = x.shape
    for n in range(N):
        for o in range(OHW):  # in order, so the last one stays
            for c in range(C):
                y[n, index[n, o, c], c] = x[n, o, c]


@jit
def _unpool_grad_input(gy, index, last, gx):
    N, OHW, C = gx.shape
    for n in range(N):
        for o in range(OHW):
            for c in range(C):
                last[n, index[n, o, c], c] = o
        for o in range(OHW):
            for c in range(C):
                if last[n, index[n, o, c], c] == o:
                    gx[n, o, c] = gy[n, index[n, o, c], c]


@jit
def _raise(base, power, exponent):
    """power[c] = base[c] ** exponent, base being used up: by squaring, which is vectorised, for small whole numbers."""
    C = base.shape[0]
    if exponent < 0 or exponent > 64 or exponent != np.floor(exponent):
        for c in range(C):
            power[c] = base[c] ** exponent
        return
    power[:] = 1
    left = int(exponent)
    while left > 0:
        if left % 2 == 1:
            for c in range(C):
                power[c] *= base[c]
        left //= 2
        for c in range(C):
            base[c] *= base[c]


@jit
def _lp_forward(x, y, norm, factors, rows, cols):
    N, OH, OW, C = y.shape
    scale, total, one = np.empty(C, x.dtype), np.empty(C), x.dtype.type(1)
    ratio, power = np.empty(C, x.dtype), np.empty(C, x.dtype)
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                scale[:] = 0
                total[:] = 0
                for h in range(rows[oh, 0], rows[oh, 1], rows[oh, 2]):
                    for w in range(cols[ow, 0], cols[ow, 1], cols[ow, 2]):
                        for c in range(C):
                            magnitude = abs(x[n, h, w, c])
                            scale[c] = magnitude if magnitude > scale[c] else scale[c]
                for c in range(C):
                    scale[c] = scale[c] if 0 < scale[c] < np.inf else one
                for h in range(rows[oh, 0], rows[oh, 1], rows[oh, 2]):
                    for w in range(cols[ow, 0], cols[ow, 1], cols[ow, 2]):
                        for c in range(C):
                            ratio[c] = x[n, h, w, c] / scale[c]
                        _raise(ratio, power, norm)
                        for c in range(C):
                            total[c] += power[c]
                if norm == 2:
                    for c in range(C):
                        y[n, oh, ow, c] = scale[c] * np.sqrt(factors[oh, ow] * total[c])
                else:
                    for c in range(C):
                        y[n, oh, ow, c] = scale[c] * (factors[oh, ow] * total[c]) ** (1 / norm)


@jit
def _lp_collect(a, x, y, out, q, factors, rows, cols):
    N, OH, OW, C = out.shape
    ratio, power, zero = np.empty(C, x.dtype), np.empty(C, x.dtype), out.dtype.type(0)
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                for h in range(rows[oh, 0], rows[oh, 1], rows[oh, 2]):
                    for w in range(cols[ow, 0], cols[ow, 1], cols[ow, 2]):
                        for c in range(C):
                            ratio[c] = x[n, h, w, c] / y[n, oh, ow, c]
                        _raise(ratio, power, q)
                        for c in range(C):
                            term = a[n, h, w, c] * factors[oh, ow] * power[c]
                            out[n, oh, ow, c] += term if y[n, oh, ow, c] != 0 else zero


@jit
def _lp_spread(b, x, y, out, q, factors, rows, cols):
    N, H, W, C = out.shape
    ratio, power, zero = np.empty(C, x.dtype), np.empty(C, x.dtype), out.dtype.type(0)
    for n in range(N):
        for h in range(H):
            for w in range(W):
                for oh in range(rows[h, 0], rows[h, 1], rows[h, 2]):
                    for ow in range(cols[w, 0], cols[w, 1], cols[w, 2]):
                        for c in range(C):
                            ratio[c] = x[n, h, w, c] / y[n, oh, ow, c]
                        _raise(ratio, power, q)
                        for c in range(C):
                            term = b[n, oh, ow, c] * factors[oh, ow] * power[c]
                            out[n, h, w, c] += term if y[n, oh, ow, c] != 0 else zero
