"""Cross-correlation as its definition reads: one loop per index, nothing clever. Slow on purpose.

    y[n, oc, oh, ow] = sum over c, kh, kw of  x[n, c, oh stride + kh dilation - top, ...] w[oc, c, kh, kw]

(Goodfellow, Bengio & Courville, "Deep Learning", equation 9.6.) The three passes share one walk over the taps:
each tap multiplies one x with one w into one y, and a gradient swaps which of the three is being summed. Sums
are kept in float64 and rounded once. Every other row of the table is tested against this file.
"""
import numpy as np

from ..arrays import channels_last, finished
from .params import conv_output_shape


def taps(x_shape, w_shape, p):
    """Every (n, oc, oh, ow, kh, kw, h, w, channels) where the kernel meets the image rather than its padding."""
    n_out, oc_out, oh_out, ow_out = conv_output_shape(x_shape, w_shape, p)
    _, cg, kh_out, kw_out = w_shape
    for n in range(n_out):
        for oc in range(oc_out):
            group = oc // (oc_out // p.groups)
            channels = slice(group * cg, (group + 1) * cg)
            for oh in range(oh_out):
                for ow in range(ow_out):
                    for kh in range(kh_out):
                        for kw in range(kw_out):
                            h = oh * p.stride[0] + kh * p.dilation[0] - p.padding[0][0]
                            w = ow * p.stride[1] + kw * p.dilation[1] - p.padding[1][0]
                            if 0 <= h < x_shape[2] and 0 <= w < x_shape[3]:
                                yield n, oc, oh, ow, kh, kw, h, w, channels


def forward(x, w, p, bias=None, low=-np.inf, kept=None):
    """y = max(low, conv(x, w) + bias): sum x times w into y."""
    y = channels_last(conv_output_shape(x.shape, w.shape, p), np.float64)
    for n, oc, oh, ow, kh, kw, h, wi, channels in taps(x.shape, w.shape, p):
        y[n, oc, oh, ow] += np.dot(x[n, channels, h, wi].astype(np.float64), w[oc, :, kh, kw])
    return finished(y.astype(x.dtype), bias, low)


def grad_input(gy, w, p, x_shape, kept=None):
    """gx: sum gy times w into gx."""
    gx = channels_last(x_shape, np.float64)
    for n, oc, oh, ow, kh, kw, h, wi, channels in taps(x_shape, w.shape, p):
        gx[n, channels, h, wi] += np.float64(gy[n, oc, oh, ow]) * w[oc, :, kh, kw]
    return gx.astype(gy.dtype)


def grad_weight(x, gy, p, w_shape):
    """gw: sum gy times x into gw."""
    gw = np.zeros(w_shape)
    for n, oc, oh, ow, kh, kw, h, wi, channels in taps(x.shape, w_shape, p):
        gw[oc, :, kh, kw] += np.float64(gy[n, oc, oh, ow]) * x[n, channels, h, wi]
    return gw.astype(x.dtype)
