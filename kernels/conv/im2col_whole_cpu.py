"""Convolution as one matrix product (Chellapilla, Puri & Simard 2006, section 3.1), the whole matrix at once.

`unfold` copies the window under each output pixel into a row, so that with one column per tap and channel

    cols (N OH OW) x (KH KW Cg)    times    weight (KH KW Cg) x OCg    =    y (N OH OW) x OCg

for each group. The gradients are the other two products of the same three matrices; `fold`, the adjoint of
`unfold`, sums the rows back into the image. The matrix is KH KW times as large as x: simple, and hungry. im2col_cpu.py
computes the same without ever having the whole of it.
"""
import numpy as np

from ..arrays import finished, from_channels_last, pack_weight, padded, to_channels_last, unpack_weight
from ..jit import jit
from .params import conv_output_shape

G_KH_KW_C_OC = (0, 3, 4, 2, 1)


def forward(x, w, p, bias=None, low=-np.inf, kept=None):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    cols, wm = unfold(x, w.shape, p), weight_matrix(w, p.groups)
    y = np.empty((n, oh, ow, p.groups, oc // p.groups), x.dtype)
    rows = y.reshape(n * oh * ow, p.groups, oc // p.groups)
    for g in range(p.groups):
        np.matmul(cols[g], wm[g], out=rows[:, g])
    return finished(from_channels_last(y), bias, low)


def grad_input(gy, w, p, x_shape, kept=None):
    """gx of conv(x, w): the product with the transposed weight, folded. gy: N x OC x OH x OW -> x_shape."""
    n, oc, oh, ow = gy.shape
    rows = to_channels_last(gy, p.groups).reshape(n * oh * ow, p.groups, oc // p.groups)
    wm = weight_matrix(w, p.groups)
    gcols = np.empty((p.groups, n * oh * ow, wm.shape[1]), gy.dtype)
    for g in range(p.groups):
        np.matmul(rows[:, g], wm[g].T, out=gcols[g])
    return fold(gcols, x_shape, w.shape, p, (oh, ow))


def grad_weight(x, gy, p, w_shape):
    """gw of conv(x, w): the unfolded x, transposed, times gy. x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    n, oc, oh, ow = gy.shape
    cols = unfold(x, w_shape, p)
    rows = to_channels_last(gy, p.groups).reshape(n * oh * ow, p.groups, oc // p.groups)
    gw = np.empty((p.groups, *w_shape[2:], w_shape[1], oc // p.groups), x.dtype)
    for g in range(p.groups):
        np.matmul(cols[g].T, rows[:, g], out=gw[g].reshape(-1, oc // p.groups))
    return unpack_weight(gw, G_KH_KW_C_OC)


def unfold(x, w_shape, p):
    """x (N x C x H x W) -> cols, G x (N OH OW) x (KH KW Cg): each row is the window under one output pixel."""
    _, cg, kh, kw = w_shape
    n, _, oh, ow = conv_output_shape(x.shape, w_shape, p)
    cols = np.empty((p.groups, n, oh, ow, kh, kw, cg), x.dtype)
    _unfold(padded(x, p), cols, p.stride, p.dilation)
    return cols.reshape(p.groups, n * oh * ow, kh * kw * cg)


def fold(cols, x_shape, w_shape, p, out_size):
    """The adjoint of `unfold`: cols, G x (N OH OW) x (KH KW Cg), summed into N x C x H x W."""
    n, c, h, w = x_shape
    _, cg, kh, kw = w_shape
    x = np.zeros((n, h, w, p.groups, c // p.groups), cols.dtype)
    (top, _), (left, _) = p.padding
    _fold(cols.reshape(p.groups, n, *out_size, kh, kw, cg), x, p.stride, p.dilation, top, left)
    return from_channels_last(x)


def weight_matrix(w, groups):
    """w (OC x Cg x KH x KW) -> G x (KH KW Cg) x OCg."""
    wp = pack_weight(w, groups, G_KH_KW_C_OC)
    return wp.reshape(groups, -1, wp.shape[-1])


@jit
def _unfold(x, cols, stride, dilation):
    G, N, OH, OW, KH, KW, C = cols.shape
    for g in range(G):
        for n in range(N):
            for oh in range(OH):
                for ow in range(OW):
                    for kh in range(KH):
                        for kw in range(KW):
                            h = oh * stride[0] + kh * dilation[0]
                            w = ow * stride[1] + kw * dilation[1]
                            for c in range(C):
                                cols[g, n, oh, ow, kh, kw, c] = x[n, h, w, g, c]


@jit
def _fold(cols, x, stride, dilation, top, left):
    N, H, W, G, C = x.shape
    OH, OW, KH, KW = cols.shape[2:6]
    for n in range(N):
        for h in range(H):
            for w in range(W):
                for kh in range(KH):
                    oh, row_off = divmod(h + top - kh * dilation[0], stride[0])
                    if row_off != 0 or oh < 0 or oh >= OH:
                        continue
                    for kw in range(KW):
                        ow, col_off = divmod(w + left - kw * dilation[1], stride[1])
                        if col_off != 0 or ow < 0 or ow >= OW:
                            continue
                        for g in range(G):
                            for c in range(C):
                                x[n, h, w, g, c] += cols[g, n, oh, ow, kh, kw, c]
