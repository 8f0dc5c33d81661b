"""Pooling on the CPU: each window is walked once, all channels of a pixel together (they are neighbours in memory).

The gradients gather: every gx is the sum over the windows that cover it, in a fixed order, so there is no race and
the same bits come out every time. Array axes: x (N, H, W, C), y and index (N, OH, OW, C).
"""
import numpy as np

from ..arrays import from_channels_last, to_channels_last
from ..jit import jit
from .reference import divisor


def max_forward(x, p):
    """y and index, both N x C x OH x OW. NaN wins over numbers, the first one over its equals."""
    n, c, _, _ = x.shape
    y = np.empty((n, *p.output, c, 1), x.dtype)
    index = np.empty(y.shape, np.int64)
    _max_forward(nhwc(x), y[..., 0], index[..., 0], p.kernel, p.stride, p.dilation, p.padding[0][0], p.padding[1][0])
    return from_channels_last(y), from_channels_last(index)


def max_grad_input(gy, index, p, x_shape):
    """gx, N x C x H x W: each gy goes to where its maximum stood."""
    n, c, h, w = x_shape
    gx = np.zeros((n, h, w, c, 1), gy.dtype)
    top, left = p.padding[0][0], p.padding[1][0]
    _max_grad_input(nhwc(gy), nhwc(index), gx[..., 0], p.kernel, p.stride, p.dilation, top, left)
    return from_channels_last(gx)


def max_gather(x, index):
    """x at the positions of the maxima, N x C x OH x OW."""
    n, c, h, w = x.shape
    flat = np.take_along_axis(nhwc(x).reshape(n, h * w, c), nhwc(index).reshape(n, -1, c), axis=1)
    return from_channels_last(flat.reshape(n, *index.shape[2:], c, 1))


def avg_forward(x, p):
    """y, N x C x OH x OW: the mean of each window."""
    n, c, _, _ = x.shape
    y = np.zeros((n, *p.output, c, 1), x.dtype)
    _avg_forward(nhwc(x), y[..., 0], divisors(x, p), p.kernel, p.stride, p.dilation, p.padding[0][0], p.padding[1][0])
    return from_channels_last(y)


def avg_grad_input(gy, p, x_shape):
    """gx, N x C x H x W: each gy is shared out equally over its window."""
    n, c, h, w = x_shape
    gx = np.zeros((n, h, w, c, 1), gy.dtype)
    shares = (gy / divisors(np.empty(x_shape, gy.dtype), p)).astype(gy.dtype, copy=False)
    _avg_grad_input(nhwc(shares), gx[..., 0], p.kernel, p.stride, p.dilation, p.padding[0][0], p.padding[1][0])
    return from_channels_last(gx)


def nhwc(x):
    """N x C x H x W with any strides -> contiguous N x H x W x C."""
    return to_channels_last(x)[..., 0, :]


def divisors(x, p):
    """What each average divides by, OH x OW."""
    oh, ow = p.output
    return np.array([[divisor(i, j, x.shape, p) for j in range(ow)] for i in range(oh)], x.dtype)


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
