"""Direct cross-correlation on the CPU: the sliding dot product, with no intermediate matrix.

For each output pixel the taps of the kernel are walked forwards, and each input value is multiplied into its group's
whole row of output channels at once: that innermost loop runs over neighbouring memory, and the compiler vectorises it.
The gradients gather: each gx or gw is written by one loop that sums all it depends on, in a fixed order.

Array axes, here and in the other rows: x (N, H, W, G, Cg), y (N, OH, OW, G, OCg). The weight's five axes
(G, OCg, Cg, KH, KW) are packed in the order of the loops, so that every array is read as it lies in memory.
"""
import numpy as np

from ..arrays import from_channels_last, pack_weight, padded, to_channels_last, unpack_weight
from ..jit import jit
from .params import conv_output_shape

KH_KW_G_C_OC = (3, 4, 0, 2, 1)
KH_KW_G_OC_C = (3, 4, 0, 1, 2)


@jit
def _forward(x, w, y, stride, dilation):
    N, OH, OW, G, OC = y.shape
    KH, KW, _, C, _ = w.shape
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                for kh in range(KH):
                    for kw in range(KW):
                        h = oh * stride[0] + kh * dilation[0]
                        wi = ow * stride[1] + kw * dilation[1]
                        for g in range(G):
                            for c in range(C):
                                for oc in range(OC):
                                    y[n, oh, ow, g, oc] += x[n, h, wi, g, c] * w[kh, kw, g, c, oc]


@jit
def _grad_input(gy, w, gx, stride, dilation, top, left):
    N, H, W, G, C = gx.shape
    _, OH, OW, _, OC = gy.shape
    KH, KW = w.shape[:2]
    for n in range(N):
        for h in range(H):
            for wi in range(W):
                for kh in range(KH):
                    oh, row_off = divmod(h + top - kh * dilation[0], stride[0])
                    if row_off != 0 or oh < 0 or oh >= OH:
                        continue
                    for kw in range(KW):
                        ow, col_off = divmod(wi + left - kw * dilation[1], stride[1])
                        if col_off != 0 or ow < 0 or ow >= OW:
                            continue
                        for g in range(G):
                            for oc in range(OC):
                                for c in range(C):
                                    gx[n, h, wi, g, c] += gy[n, oh, ow, g, oc] * w[kh, kw, g, oc, c]


@jit
def _grad_weight(x, gy, gw, stride, dilation):
    N, OH, OW, _, OC = gy.shape
    KH, KW, G, C, _ = gw.shape
    for kh in range(KH):
        for kw in range(KW):
            for n in range(N):
                for oh in range(OH):
                    for ow in range(OW):
                        h = oh * stride[0] + kh * dilation[0]
                        wi = ow * stride[1] + kw * dilation[1]
                        for g in range(G):
                            for c in range(C):
                                for oc in range(OC):
                                    gw[kh, kw, g, c, oc] += x[n, h, wi, g, c] * gy[n, oh, ow, g, oc]


def forward(x, w, p, loop=_forward):
    """y = conv(x, w). x: N x C x H x W, w: OC x C/G x KH x KW -> N x OC x OH x OW."""
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    y = np.zeros((n, oh, ow, p.groups, oc // p.groups), x.dtype)
    loop(padded(x, p), pack_weight(w, p.groups, KH_KW_G_C_OC), y, p.stride, p.dilation)
    return from_channels_last(y)


def grad_input(gy, w, p, x_shape, loop=_grad_input):
    """gx of conv(x, w). gy: N x OC x OH x OW, w: OC x C/G x KH x KW -> x_shape."""
    n, c, h, width = x_shape
    gx = np.zeros((n, h, width, p.groups, c // p.groups), gy.dtype)
    (top, _), (left, _) = p.padding
    gy = to_channels_last(gy, p.groups)
    loop(gy, pack_weight(w, p.groups, KH_KW_G_OC_C), gx, p.stride, p.dilation, top, left)
    return from_channels_last(gx)


def grad_weight(x, gy, p, w_shape, loop=_grad_weight):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    oc, cg, kh, kw = w_shape
    gw = np.zeros((kh, kw, p.groups, cg, oc // p.groups))  # float64: each is a sum of N OH OW terms, one by one
    loop(padded(x, p), to_channels_last(gy, p.groups), gw, p.stride, p.dilation)
    return unpack_weight(gw, KH_KW_G_C_OC).astype(x.dtype, copy=False)
