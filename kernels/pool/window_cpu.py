"""Pooling on the CPU: each window is walked once, all channels of a pixel together (they are neighbours in memory).

The gradients gather: every gx is the sum over the windows that cover it, in a fixed order, so there is no race and
the same bits come out every time. The innermost loops run over channels, without branches, and are vectorised; rows
of pixels are shared out over the threads. What the loops walk is worked out in spans.py, the same way for sliding and
for adaptive windows. An empty result is returned before any loop is called, so nothing is compiled for it. Array axes:
x (N, H, W, C), y and index (N, OH, OW, C).
"""
from functools import lru_cache

import numpy as np

from ..arrays import nchw, nhwc
from ..buffers import empty
from ..jit import jit, jit_inside
from ..threads import get_num_threads, share_out
from ..tile import lanes
from .channels import best, mean, share
from .params import AdaptiveParams, index_dtype
from .spans import coverings, divisors, partition, windows

LARGE = 1 << 17  # steps of the innermost loop from which it pays to wake another thread
UNROLLED = 9  # taps up to which the loop of a sliding maximum is compiled for that kernel size


def by_rows(loop, rows, steps, *arguments):
    """loop(first, last, *arguments) over so many rows of pixels, shared out if they take many steps."""
    share_out(loop, rows, *arguments, pieces=1 if steps < LARGE else 4 * get_num_threads())


def max_forward(x, p):
    """y and index, both N x C x OH x OW. NaN wins over numbers, the first one over its equals."""
    n, c, h, w = x.shape
    y = empty((n, *p.output, c), x.dtype)
    index = empty(y.shape, index_dtype((h, w)))
    if y.size:
        sliding = not isinstance(p, AdaptiveParams) and p.kernel[0] * p.kernel[1] <= UNROLLED
        loop = _max_of(*p.kernel, lanes(x.dtype)) if sliding else _max_any
        by_rows(loop, n * p.output[0], max(x.size, y.size), nhwc(x), y, index, *windows(p, (h, w)))
    return nchw(y), nchw(index)


def max_grad_input(gy, index, p, x_shape):
    """gx, N x C x H x W: each gy goes to where its maximum stood."""
    n, c, h, w = x_shape
    gx = empty((n, h, w, c), gy.dtype)
    if gx.size and partition(p, (h, w)):
        loop = _share_of(lanes(gy.dtype))
        by_rows(loop, n * p.output[0], gx.size, nhwc(gy), nhwc(index), gx, *windows(p, (h, w)))
    elif gx.size:
        by_rows(_max_collect, n * h, gx.size, nhwc(gy), nhwc(index), gx, *coverings(p, (h, w)))
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
    y = empty((n, *p.output, c), x.dtype)
    if y.size:
        rows, cols = windows(p, (h, w))
        many = max(stop - start for start, stop, _ in rows) * max(stop - start for start, stop, _ in cols) > 64
        kind = np.dtype(np.float64 if many else x.dtype)  # of sums: over whole images digits would get lost
        arrays = nhwc(x), y, divisors(p, (h, w), kind)
        by_rows(_mean_of(lanes(x.dtype)), n * p.output[0], max(x.size, y.size), *arrays, rows, cols)
    return nchw(y)


def avg_grad_input(gy, p, x_shape):
    """gx, N x C x H x W: each gy is shared out equally over its window."""
    n, c, h, w = x_shape
    gx = empty((n, h, w, c), gy.dtype)
    if gx.size:
        shares = 1 / divisors(p, (h, w), gy.dtype)
        by_rows(_avg_grad_input, n * h, gx.size, nhwc(gy), shares, gx, *coverings(p, (h, w)))
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
    y = empty((n, *p.output, c), x.dtype)
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


@lru_cache
def _max_of(KH, KW, L):
    """The loop of a maximum over windows of KH x KW: unrolled where the window is whole. L: lanes of a vector."""

    @jit
    def loop(first, last, x, y, index, rows, cols):
        _, OH, OW, C = y.shape
        H, W = x.shape[1:3]
        vectors, fours = C - C % L, C - C % 4
        for unit in range(first, last):
            n, oh = unit // OH, unit % OH
            h, dh = rows[oh, 0], rows[oh, 2]
            for ow in range(OW):
                w, dw = cols[ow, 0], cols[ow, 2]
                if rows[oh, 1] <= h + dh * (KH - 1) or cols[ow, 1] <= w + dw * (KW - 1):  # clipped by the edge
                    _max_window(x[n], y[n, oh, ow], index[n, oh, ow], rows[oh], cols[ow])
                    continue
                at, to, where = ((n * H + h) * W + w) * C, (unit * OW + ow) * C, h * W + w
                row, col, down = dh * W * C, dw * C, dh * W
                for c in range(0, vectors, L):
                    best(L, KH, KW, x, at + c, row, col, y, index, to + c, where, down, dw)
                for c in range(vectors, fours, 4):
                    best(4, KH, KW, x, at + c, row, col, y, index, to + c, where, down, dw)
                for c in range(max(vectors, fours), C):
                    best(1, KH, KW, x, at + c, row, col, y, index, to + c, where, down, dw)

    return loop


@jit
def _max_any(first, last, x, y, index, rows, cols):
    _, OH, OW, _ = y.shape
    for unit in range(first, last):
        n, oh = unit // OH, unit % OH
        for ow in range(OW):
            _max_window(x[n], y[n, oh, ow], index[n, oh, ow], rows[oh], cols[ow])


@jit_inside
def _max_window(x, y, index, row, col):
    W, C = x.shape[1:]
    for c in range(C):  # a slice would compile NumPy's message about shapes that differ, for 1.7 s
        y[c], index[c] = x[row[0], col[0], c], row[0] * W + col[0]
    for h in range(row[0], row[1], row[2]):
        for w in range(col[0], col[1], col[2]):
            for c in range(C):
                value, best = x[h, w, c], y[c]
                wins = (not value <= best) and best == best
                y[c] = value if wins else best
                index[c] = h * W + w if wins else index[c]


@lru_cache
def _share_of(L):
    """The loop for windows that cover every position once: each position gets its window's gradient, or zero."""

    @jit
    def loop(first, last, gy, index, gx, rows, cols):
        _, OH, OW, C = gy.shape
        H, W = gx.shape[1:3]
        vectors, fours = C - C % L, C - C % 4
        for unit in range(first, last):
            n, oh = unit // OH, unit % OH
            for h in range(rows[oh, 0], rows[oh, 1]):
                for ow in range(OW):
                    at = (unit * OW + ow) * C
                    for w in range(cols[ow, 0], cols[ow, 1]):
                        here = h * W + w
                        to = (n * H * W + here) * C
                        for c in range(0, vectors, L):
                            share(L, gy, index, at + c, gx, to + c, here)
                        for c in range(vectors, fours, 4):
                            share(4, gy, index, at + c, gx, to + c, here)
                        for c in range(max(vectors, fours), C):
                            share(1, gy, index, at + c, gx, to + c, here)

    return loop


@jit
def _max_collect(first, last, gy, index, gx, rows, cols):
    """Any windows: each position adds up what those that cover it have for it."""
    _, H, W, C = gx.shape
    zero = gx.dtype.type(0)
    for unit in range(first, last):
        n, h = unit // H, unit % H
        for w in range(W):
            here, new = h * W + w, True
            for oh in range(rows[h, 0], rows[h, 1], rows[h, 2]):
                for ow in range(cols[w, 0], cols[w, 1], cols[w, 2]):
                    if new:
                        for c in range(C):
                            g = gy[n, oh, ow, c]
                            gx[n, h, w, c] = g if index[n, oh, ow, c] == here else zero
                    else:
                        for c in range(C):
                            g = gy[n, oh, ow, c]
                            gx[n, h, w, c] += g if index[n, oh, ow, c] == here else zero
                    new = False
            if new:
                gx[n, h, w] = zero


@lru_cache
def _mean_of(L):
    """The loop of a mean; four vectors of L channels together, where there are so many, do not wait for each other."""
    many = 4 * L

    @jit
    def loop(first, last, x, y, divisors, rows, cols):
        _, OH, OW, C = y.shape
        H, W = x.shape[1:3]
        quads, vectors, fours = C - C % many, C - C % L, C - C % 4
        for unit in range(first, last):
            n, oh = unit // OH, unit % OH
            h, dh = rows[oh, 0], rows[oh, 2]
            down = -((h - rows[oh, 1]) // dh)
            for ow in range(OW):
                w, dw = cols[ow, 0], cols[ow, 2]
                across, divisor = -((w - cols[ow, 1]) // dw), divisors[oh, ow]
                at, to, row, col = ((n * H + h) * W + w) * C, (unit * OW + ow) * C, dh * W * C, dw * C
                for c in range(0, quads, many):
                    mean(many, x, at + c, row, col, down, across, y, to + c, divisor)
                for c in range(quads, vectors, L):
                    mean(L, x, at + c, row, col, down, across, y, to + c, divisor)
                for c in range(vectors, fours, 4):
                    mean(4, x, at + c, row, col, down, across, y, to + c, divisor)
                for c in range(max(vectors, fours), C):
                    mean(1, x, at + c, row, col, down, across, y, to + c, divisor)

    return loop


@jit
def _avg_grad_input(first, last, gy, shares, gx, rows, cols):
    _, H, W, C = gx.shape
    for unit in range(first, last):
        n, h = unit // H, unit % H
        for w in range(W):
            new = True
            for oh in range(rows[h, 0], rows[h, 1], rows[h, 2]):
                for ow in range(cols[w, 0], cols[w, 1], cols[w, 2]):
                    share = shares[oh, ow]
                    if new:
                        for c in range(C):
                            gx[n, h, w, c] = gy[n, oh, ow, c] * share
                    else:
                        for c in range(C):
                            gx[n, h, w, c] += gy[n, oh, ow, c] * share
                    new = False
            if new:
                gx[n, h, w] = 0


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


@jit_inside
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
