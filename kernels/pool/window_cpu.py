"""Pooling on the CPU: each window is walked once, all channels of a pixel together (they are neighbours in memory).

The gradients gather: every gx is the sum over the windows that cover it, in a fixed order, so there is no race and
the same bits come out every time. Array axes: x (N, H, W, C), y and index (N, OH, OW, C).
"""
import numpy as np

from ..jit import jit


def max_forward(x, p):
    """y and index, both N x C x OH x OW. NaN wins over numbers, the first one over its equals."""
    n, c, _, _ = x.shape
    y = np.empty((n, *p.output, c), x.dtype)
    index = np.empty(y.shape, np.int64)
    _max_forward(nhwc(x), y, index, *geometry(p))
    return nchw(y), nchw(index)


def max_grad_input(gy, index, p, x_shape):
    """gx, N x C x H x W: each gy goes to where its maximum stood."""
    n, c, h, w = x_shape
    gx = np.zeros((n, h, w, c), gy.dtype)
    _max_grad_input(nhwc(gy), nhwc(index), gx, *geometry(p))
    return nchw(gx)


def max_gather(x, index):
    """x at the positions of the maxima, N x C x OH x OW."""
    n, c, h, w = x.shape
    oh, ow = index.shape[2:]
    flat = np.take_along_axis(nhwc(x).reshape(n, h * w, c), nhwc(index).reshape(n, oh * ow, c), axis=1)
    return nchw(flat.reshape(n, oh, ow, c))


def avg_forward(x, p):
    """y, N x C x OH x OW: the mean of each window."""
    n, c, _, _ = x.shape
    y = np.zeros((n, *p.output, c), x.dtype)
    _avg_forward(nhwc(x), y, divisors(x.shape, x.dtype, p), *geometry(p))
    return nchw(y)


def avg_grad_input(gy, p, x_shape):
    """gx, N x C x H x W: each gy is shared out equally over its window."""
    n, c, h, w = x_shape
    gx = np.zeros((n, h, w, c), gy.dtype)
    shares = gy / divisors(x_shape, gy.dtype, p)
    _avg_grad_input(nhwc(shares), gx, *geometry(p))
    return nchw(gx)


def nhwc(x):
    """N x C x H x W with any strides -> contiguous N x H x W x C (no copy if x is channels-last)."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def nchw(y):
    """N x H x W x C -> the N x C x H x W view of the same memory."""
    return y.transpose(0, 3, 1, 2)


def geometry(p):
    """The loops' arguments kernel, stride, dilation, top, left."""
    (top, _), (left, _) = p.padding
    return p.kernel, p.stride, p.dilation, top, left


def divisors(x_shape, dtype, p):
    """What each average divides by, OH x OW: how many rows of its window count, times how many columns."""
    counts = []
    for size, o, k, s, (before, after) in zip(x_shape[2:], p.output, p.kernel, p.stride, p.padding, strict=True):
        first, last = (-before, size + after) if p.count_include_pad else (0, size)
        start = np.arange(o) * s - before
        counts.append(np.minimum(start + k, last) - np.maximum(start, first))
    return np.multiply.outer(*counts).astype(dtype)


@jit
def _max_forward(x, y, index, kernel, stride, dilation, top, left):
    N, OH, OW, C = y.shape
    H, W = x.shape[1:3]
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                first = True
                for kh in range(kernel[0]):
                    h = oh * stride[0] + kh * dilation[0] - top
                    if h < 0 or h >= H:
                        continue
                    for kw in range(kernel[1]):
                        w = ow * stride[1] + kw * dilation[1] - left
                        if w < 0 or w >= W:
                            continue
                        for c in range(C):
                            value, best = x[n, h, w, c], y[n, oh, ow, c]
                            if first or value > best or (np.isnan(value) and not np.isnan(best)):
                                y[n, oh, ow, c] = value
                                index[n, oh, ow, c] = h * W + w
                        first = False


@jit
def _max_grad_input(gy, index, gx, kernel, stride, dilation, top, left):
    N, H, W, C = gx.shape
    OH, OW = gy.shape[1:3]
    for n in range(N):
        for h in range(H):
            for w in range(W):
                for kh in range(kernel[0]):
                    oh, row_off = divmod(h + top - kh * dilation[0], stride[0])
                    if row_off != 0 or oh < 0 or oh >= OH:
                        continue
                    for kw in range(kernel[1]):
                        ow, col_off = divmod(w + left - kw * dilation[1], stride[1])
                        if col_off != 0 or ow < 0 or ow >= OW:
                            continue
                        for c in range(C):
                            if index[n, oh, ow, c] == h * W + w:
                                gx[n, h, w, c] += gy[n, oh, ow, c]


@jit
def _avg_forward(x, y, divisors, kernel, stride, dilation, top, left):
    N, OH, OW, C = y.shape
    H, W = x.shape[1:3]
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                for kh in range(kernel[0]):
                    h = oh * stride[0] + kh * dilation[0] - top
                    if h < 0 or h >= H:
                        continue
                    for kw in range(kernel[1]):
                        w = ow * stride[1] + kw * dilation[1] - left
                        if w < 0 or w >= W:
                            continue
                        for c in range(C):
                            y[n, oh, ow, c] += x[n, h, w, c]
                for c in range(C):
                    y[n, oh, ow, c] /= divisors[oh, ow]


@jit
def _avg_grad_input(gy, gx, kernel, stride, dilation, top, left):
    N, H, W, C = gx.shape
    OH, OW = gy.shape[1:3]
    for n in range(N):
        for h in range(H):
            for w in range(W):
                for kh in range(kernel[0]):
                    oh, row_off = divmod(h + top - kh * dilation[0], stride[0])
                    if row_off != 0 or oh < 0 or oh >= OH:
                        continue
                    for kw in range(kernel[1]):
                        ow, col_off = divmod(w + left - kw * dilation[1], stride[1])
                        if col_off != 0 or ow < 0 or ow >= OW:
                            continue
                        for c in range(C):
                            gx[n, h, w, c] += gy[n, oh, ow, c]
