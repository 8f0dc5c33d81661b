"""Convolution as a matrix product that gathers its left matrix: grids and arguments of implicit_gemm.cu.

The kernel `correlate` computes a Walk (walk.py): the whole forward pass, or one phase of the input gradient. Images it
reads as they are if their channels are neighbours; weights are copied so that those of the output are.
"""
import math

import numpy as np

from ..arrays import nchw
from ..cuda import accumulator, aligned, contiguous, empty, launch, on_tensor_cores, strided, zeros
from .params import conv_output_shape
from .walk import forward_walk, input_grad_walks

FILE = "conv/implicit_gemm.cu"
BLOCK = 128
BLOCKS = 512  # of the weight gradient, which keep a large GPU busy; the same on all, so that sums are
SLICE = 256  # pixels at least that one block of it sums over


def forward(x, w, p, bias=None, low=-math.inf, kept=None):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    y = nchw(empty((n, oh, ow, oc), x.dtype, x))
    by_group = w.reshape(p.groups, oc // p.groups, *w.shape[1:]).transpose(0, 3, 4, 2, 1)
    _correlate(channels_together(x), by_group, y, forward_walk(x.shape, w.shape, p), bias, low)
    return y


def grad_input(gy, w, p, x_shape, kept=None):
    """gx of conv(x, w): a Walk over gy for each phase of the stride. gy: N x OC x OH x OW -> x_shape."""
    n, c, h, width = x_shape
    walks = input_grad_walks(x_shape, w.shape, p)
    all_reached = sum(walk.grid[0] * walk.grid[1] for walk in walks) == h * width
    gx = nchw((empty if all_reached else zeros)((n, h, width, c), gy.dtype, gy))
    by_group = w.reshape(p.groups, -1, *w.shape[1:]).transpose(0, 3, 4, 1, 2)
    gy = channels_together(gy)
    for walk in walks:
        (first_h, first_w), (step_h, step_w) = walk.origin, walk.step
        _correlate(gy, by_group, gx[:, :, first_h::step_h, first_w::step_w], walk)
    return gx


def grad_weight(x, gy, p, w_shape):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    oc, cg, *kernel = w_shape
    taps, weights, pixels = math.prod(kernel), math.prod(w_shape), gy.size // oc
    if not pixels:
        return zeros(w_shape, x.dtype, x)
    x, gy = channels_together(x), nchw(contiguous(gy.transpose(0, 2, 3, 1)))
    rows, columns, depth = tile(x.dtype)
    grid = -(-taps * cg // rows), -(-(oc // p.groups) // columns)
    slices = max(1, min(-(-pixels // SLICE), BLOCKS // (grid[0] * grid[1] * p.groups)))
    slice_size = -(-pixels // (slices * depth)) * depth
    slices = -(-pixels // slice_size)
    partial, gw = empty((slices, weights), accumulator(x.dtype), x), empty(w_shape, x.dtype, x)
    whole = aligned(x, cg), aligned(gy, oc // p.groups)
    how = geometry(forward_walk(x.shape, w_shape, p), p.groups)
    arguments = strided(x), strided(gy), partial, how, slice_size, *whole
    tensor = on_tensor_cores(x.dtype)
    launch(FILE, "grad_weight", (*grid, slices * p.groups), BLOCK, arguments, TENSOR=tensor)
    arguments = partial, gw, oc // p.groups, cg, taps, weights, slices
    launch(FILE, "add_slices", -(-weights // BLOCK), BLOCK, arguments, dtype=x.dtype, TENSOR=tensor)
    return gw


def tile(dtype):
    """(rows, columns, depth) of a block's tile, as implicit_gemm.cu has them."""
    each = 4 if dtype.itemsize == 8 else 8
    return 16 * each, 8 * each, 64 // dtype.itemsize


def channels_together(x):
    """x (N x C x H x W), or a channels-last copy, so that the channels of a pixel are neighbours in memory."""
    if x.strides[1] == x.itemsize or x.shape[1] == 1:
        return x
    return nchw(contiguous(x.transpose(0, 2, 3, 1)))


def geometry(walk, groups):
    """The kernel's struct Walk: output (i, j) and tap (k, l) meet at (i step_h + k spread_h + first_h, ...)."""
    columns = walk.dh.count(walk.dh[0])
    rows, h, w = len(walk.dh) // columns, walk.dh[::columns], walk.dw[:columns]
    spread = [d[1] - d[0] if len(d) > 1 else 0 for d in (h, w)]
    return np.array([*walk.stride, *spread, h[0], w[0], rows, columns, groups], np.int32)


def taps_of(walk, kernel_width):
    """The rows and columns of a weight that a Walk meets, in its order, as two slices."""
    columns = walk.dh.count(walk.dh[0])
    numbers = [k // kernel_width for k in walk.order[::columns]], [k % kernel_width for k in walk.order[:columns]]
    found = []
    for k in numbers:
        step = k[1] - k[0] if len(k) > 1 else 1
        stop = k[-1] + step
        found.append(slice(k[0], stop if stop >= 0 else None, step))
    return found


def _correlate(x, w, y, walk, bias=None, low=-math.inf):
    """The Walk over x into y, which has the size of its grid. w: G x KH x KW x channels of x x channels of y."""
    groups, _, kernel_width, _, width = w.shape
    w = contiguous(w[(slice(None), *taps_of(walk, kernel_width))])
    rows, columns, _ = tile(x.dtype)
    grid = -(-y.shape[0] * math.prod(y.shape[2:]) // rows), -(-width // columns), groups
    bias = None if bias is None else contiguous(bias)
    how = geometry(walk, groups)
    whole = aligned(x, x.shape[1] // groups), aligned(y, width)
    arguments = strided(x), w, bias, strided(y), how, float(low), *whole
    launch(FILE, "correlate", grid, BLOCK, arguments, TENSOR=on_tensor_cores(x.dtype))
