"""Convolution as one matrix product in CUDA, the whole matrix at once: simple, and hungry, as im2col_whole_cpu.py is.

The kernels of im2col.cu make the matrix and take it apart; the product is that of the arrays' own library: cuBLAS on a
GPU, NumPy's on the simulated device.
"""
import math

from ..arrays import nchw
from ..cuda import accumulator, contiguous, empty, launch, over_channels_and_pixels, strided, window, zeros
from .params import conv_output_shape

FILE = "conv/im2col.cu"


def forward(x, w, p, bias=None, low=-math.inf, kept=None):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    y = nchw(empty((n, oh, ow, oc), x.dtype, x))
    bias = None if bias is None else contiguous(bias)
    rows = unfolded(x, w.shape, p, oh, ow) @ weight_matrix(w, p.groups)
    grid, block = over_channels_and_pixels(oc, n * oh * ow)
    launch(FILE, "finish", grid, block, (rows, bias, strided(y), p.groups, float(low)), dtype=x.dtype)
    return y


def grad_input(gy, w, p, x_shape, kept=None):
    """gx of conv(x, w). gy: N x OC x OH x OW -> x_shape."""
    n, c, h, width = x_shape
    gx = nchw(empty((n, h, width, c), gy.dtype, gy))
    cols = contiguous(pixel_rows(gy, p.groups) @ weight_matrix(w, p.groups).transpose(0, 2, 1))
    grid, block = over_channels_and_pixels(c, n * h * width)
    arguments = cols, strided(gx), window(p), *gy.shape[2:], *w.shape[2:]
    launch(FILE, "fold", grid, block, arguments, dtype=gy.dtype)
    return gx


def grad_weight(x, gy, p, w_shape):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    oc, cg, kh, kw = w_shape
    if not gy.size:
        return zeros(w_shape, x.dtype, x)
    gw = pixel_rows(gy, p.groups).transpose(0, 2, 1) @ unfolded(x, w_shape, p, *gy.shape[2:])
    return contiguous(gw.reshape(oc, kh, kw, cg).transpose(0, 3, 1, 2).astype(x.dtype, copy=False))


def unfolded(x, w_shape, p, oh, ow):
    """The matrix of each group, G x (N OH OW) x (KH KW C/G): a row is the window of a pixel of the output."""
    n, c = x.shape[:2]
    taps = w_shape[2] * w_shape[3]
    cols = empty((p.groups, n * oh * ow, taps * w_shape[1]), accumulator(x.dtype), x)
    grid, block = over_channels_and_pixels(c, n * oh * ow)
    launch(FILE, "unfold", (*grid, taps), block, (strided(x), cols, window(p), oh, ow, w_shape[3]))
    return cols


def weight_matrix(w, groups):
    """w (OC x C/G x KH x KW) as G x (KH KW C/G) x OC/G."""
    oc, cg, kh, kw = w.shape
    w = w.reshape(groups, oc // groups, cg, kh, kw).transpose(0, 3, 4, 2, 1)
    return contiguous(w.astype(accumulator(w.dtype), copy=False)).reshape(groups, kh * kw * cg, oc // groups)


def pixel_rows(gy, groups):
    """gy (N x OC x OH x OW) as G x (N OH OW) x OC/G."""
    n, oc, oh, ow = gy.shape
    rows = contiguous(gy.transpose(0, 2, 3, 1)).astype(accumulator(gy.dtype), copy=False)
    return rows.reshape(n * oh * ow, groups, oc // groups).transpose(1, 0, 2)
