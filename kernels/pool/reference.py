"""Pooling as its definition reads: for each output, look at its window. Slow on purpose; tests compare with it."""
import numpy as np

from ..arrays import channels_last
from .params import AdaptiveParams, index_dtype


def window(oh, ow, x_shape, p):
    """The (h, w) positions inside the image under output (oh, ow), row by row."""
    rows, cols = (taps(o, axis, x_shape[2 + axis], p) for axis, o in enumerate((oh, ow)))
    return [(h, w) for h in rows for w in cols if 0 <= h < x_shape[2] and 0 <= w < x_shape[3]]


def taps(o, axis, size, p):
    """The rows (axis 0) or columns (axis 1) under window o, those outside the image included."""
    if isinstance(p, AdaptiveParams):
        output = p.output[axis]
        return range(o * size // output, -(-(o + 1) * size // output))
    start = o * p.stride[axis] - p.padding[axis][0]
    return [start + k * p.dilation[axis] for k in range(p.kernel[axis])]


def divisor(oh, ow, x_shape, p):
    """What an average divides by: the window's area, clipped to the padded image or to the image itself."""
    if isinstance(p, AdaptiveParams):
        return len(window(oh, ow, x_shape, p))
    if p.divisor is not None:
        return p.divisor
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
    index = channels_last(y.shape, index_dtype(x.shape[2:]))
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


def unpool_forward(x, index, size):
    """y = zeros, N x C x H x W, with each x at its index; where an index occurs twice, the later x in row order."""
    y = channels_last((*x.shape[:2], *size), x.dtype)
    for n, c, oh, ow in np.ndindex(*x.shape):
        h, w = divmod(index[n, c, oh, ow], size[1])
        y[n, c, h, w] = x[n, c, oh, ow]
    return y


def unpool_grad_input(gy, index):
    """gx = gy at each index, zero where unpooling overwrote that x."""
    gx = channels_last(index.shape, gy.dtype)
    written = set()
    for n, c, oh, ow in reversed(list(np.ndindex(*index.shape))):
        h, w = divmod(index[n, c, oh, ow], gy.shape[3])
        if (n, c, h, w) not in written:
            gx[n, c, oh, ow] = gy[n, c, h, w]
        written.add((n, c, h, w))
    return gx


def factor(oh, ow, x_shape, p):
    """k: the area of a whole window over what is left of this one at the edge."""
    return p.kernel[0] * p.kernel[1] / divisor(oh, ow, x_shape, p)


def lp_forward(x, p, norm):
    """y = the norm of each window: the root of the sum of powers, here in units of the window's largest magnitude."""
    y = channels_last((*x.shape[:2], *p.output), x.dtype)
    for n, c, oh, ow in outputs(x.shape, p):
        values = np.array([x[n, c, h, w] for h, w in window(oh, ow, x.shape, p)])
        m = abs(values).max()
        m = m if 0 < m < np.inf else 1
        y[n, c, oh, ow] = m * (factor(oh, ow, x.shape, p) * ((values / m) ** norm).sum()) ** (1 / norm)
    return y


def lp_collect(a, x, y, p, q):
    """The sum of a k (x / y) ** q over each window, N x C x OH x OW; zero for a window with y = 0."""
    out = channels_last(y.shape, x.dtype)
    for n, c, oh, ow in outputs(x.shape, p):
        if y[n, c, oh, ow] != 0:
            k = factor(oh, ow, x.shape, p)
            for h, w in window(oh, ow, x.shape, p):
                out[n, c, oh, ow] += a[n, c, h, w] * k * (x[n, c, h, w] / y[n, c, oh, ow]) ** q
    return out


def lp_spread(b, x, y, p, q):
    """The sum of b k (x / y) ** q over the windows that cover each x, N x C x H x W; those with y = 0 add nothing."""
    out = channels_last(x.shape, x.dtype)
    for n, c, oh, ow in outputs(x.shape, p):
        if y[n, c, oh, ow] != 0:
            k = factor(oh, ow, x.shape, p)
            for h, w in window(oh, ow, x.shape, p):
                out[n, c, h, w] += b[n, c, oh, ow] * k * (x[n, c, h, w] / y[n, c, oh, ow]) ** q
    return out
