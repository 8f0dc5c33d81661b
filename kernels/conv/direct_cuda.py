"""Direct convolution in CUDA: grids and arguments. The kernels are in direct.cu, one thread for each output."""
import math

from ..arrays import nchw
from ..cuda import accumulator, contiguous, empty, launch, over_channels_and_pixels, strided, window, zeros
from .params import conv_output_shape

FILE = "conv/direct.cu"
SLICE = 64  # pixels at least that one thread of the weight gradient sums up
THREADS = 1 << 16  # threads that keep a large GPU busy


def forward(x, w, p, bias=None, low=-math.inf, flip=False, kept=None):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    y = nchw(empty((n, oh, ow, oc), x.dtype, x))
    bias = None if bias is None else contiguous(bias)
    grid, block = over_channels_and_pixels(oc, n * oh * ow)
    arguments = strided(x), strided(channels_innermost(w, 0)), bias, strided(y), window(p), float(low)
    launch(FILE, "forward", grid, block, arguments, FLIP=flip)
    return y


def grad_input(gy, w, p, x_shape, flip=False, kept=None):
    """gx of conv(x, w). gy: N x OC x OH x OW -> x_shape."""
    n, c, h, width = x_shape
    gx = nchw(empty((n, h, width, c), gy.dtype, gy))
    grid, block = over_channels_and_pixels(c, n * h * width)
    arguments = strided(gy), strided(channels_innermost(w, 1)), strided(gx), window(p)
    launch(FILE, "grad_input", grid, block, arguments, FLIP=flip)
    return gx


def grad_weight(x, gy, p, w_shape, flip=False):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    weights, pixels = math.prod(w_shape), gy.shape[0] * gy.shape[2] * gy.shape[3]
    if not pixels:
        return zeros(w_shape, x.dtype, x)
    slices = min(-(-pixels // SLICE), max(1, THREADS // weights))
    slice_size = -(-pixels // slices)
    slices = -(-pixels // slice_size)
    partial, gw = empty((slices, weights), accumulator(x.dtype), x), empty(w_shape, x.dtype, x)
    blocks = -(-weights // 128)
    arguments = strided(x), strided(gy), partial, window(p), *w_shape[1:], slice_size
    launch(FILE, "grad_weight", (blocks, slices), 128, arguments, FLIP=flip)
    launch(FILE, "add_slices", blocks, 128, (partial, gw, weights, slices), dtype=x.dtype, FLIP=flip)
    return gw


def channels_innermost(w, axis):
    """w (OC x C/G x KH x KW), copied so that the elements along `axis` are neighbours in memory."""
    order = (2, 3, 1 - axis, axis)
    return w.transpose(order).copy(order="C").transpose(3 - axis, 2 + axis, 0, 1)
