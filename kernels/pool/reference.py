"""Pooling as its definition reads: for each output, look at its window. Slow on purpose; tests compare with it."""
import numpy as np

from ..arrays import channels_last


def window(oh, ow, x_shape, p):
    """The (h, w) positions inside the image under output (oh, ow), row by row."""
    rows = [oh * p.stride[0] + kh * p.dilation[0] - p.padding[0][0] for kh in range(p.kernel[0])]
    cols = [ow * p.stride[1] + kw * p.dilation[1] - p.padding[1][0] for kw in range(p.kernel[1])]
    return [(h, w) for h in rows for w in cols if 0 <= h < x_shape[2] and 0 <= w < x_shape[3]]


def divisor(oh, ow, x_shape, p):
    """What an average divides by: the window's area, clipped to the padded image or to the image itself."""
    area = 1
    for o, size, k, s, (before, after) in zip((oh, ow), x_shape[2:], p.kernel, p.stride, p.padding, strict=True):
        start, stop = o * s - before, min(o * s - before + k, size + after)
        area *= stop - start if p.count_include_pad else min(stop, size) - max(start, 0)
    return area


def outputs(x_shape, p):
    """Every (n, c, oh, ow)."""
    return np.ndindex(*x_shape[:2], *p.output)


def max_forward(x, p):
    """y = the maximum of each window (NaN if it holds one), and where it stands; the first one of equals."""
    y = channels_last((*x.shape[:2], *p.output), x.dtype)
    index = channels_last(y.shape, np.int64)
    for n, c, oh, ow in outputs(x.shape, p):
        positions = window(oh, ow, x.shape, p)
        h, w = positions[int(np.argmax([x[n, c, h, w] for h, w in positions]))]  # argmax: first maximum or NaN
        y[n, c, oh, ow], index[n, c, oh, ow] = x[n, c, h, w], h * x.shape[3] + w
    return y, index


def max_grad_input(gy, index, p, x_shape):
    """gx: each gy goes to where its maximum stood."""
    gx = channels_last(x_shape, gy.dtype)
    for n, c, oh, ow in outputs(x_shape, p):
        h, w = divmod(index[n, c, oh, ow], x_shape[3])
        gx[n, c, h, w] += gy[n, c, oh, ow]
    return gx


def max_gather(x, index):
    """x at the positions of the maxima. x: N x C x H x W, index: N x C x OH x OW -> N x C x OH x OW."""
    y = channels_last(index.shape, x.dtype)
    for n, c, oh, ow in np.ndindex(*index.shape):
        h, w = divmod(index[n, c, oh, ow], x.shape[3])
        y[n, c, oh, ow] = x[n, c, h, w]
    return y


def avg_forward(x, p):
    """y = the mean of each window."""
    y = channels_last((*x.shape[:2], *p.output), x.dtype)
    for n, c, oh, ow in outputs(x.shape, p):
        y[n, c, oh, ow] = sum(x[n, c, h, w] for h, w in window(oh, ow, x.shape, p)) / divisor(oh, ow, x.shape, p)
    return y


def avg_grad_input(gy, p, x_shape):
    """gx: each gy is shared out equally over its window."""
    gx = channels_last(x_shape, gy.dtype)
    for n, c, oh, ow in outputs(x_shape, p):
        for h, w in window(oh, ow, x_shape, p):
            gx[n, c, h, w] += gy[n, c, oh, ow] / divisor(oh, ow, x_shape, p)
    return gx
