"""Winograd's algorithm in CUDA: grids and arguments. The kernels are in winograd.cu, fused from x to y."""
import math

import numpy as np

from ..arrays import nchw
from ..cuda import accumulator, contiguous, empty, launch, strided, zeros
from .params import conv_output_shape
from .winograd_2x2_cpu import SUPPORTS, supports

__all__ = ["SUPPORTS", "forward", "grad_input", "grad_weight", "supports"]

FILE = "conv/winograd.cu"
COLS = 32  # output channels of a block
BLOCKS = 512  # that keep a large GPU busy: the weight gradient's tiles are dealt out to so many
SLICE = 48  # tiles at least that one of its blocks sums over


def forward(x, w, p, bias=None, low=-math.inf, tile=4, kept=None):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C x 3 x 3, bias: OC -> N x OC x OH x OW."""
    (top, _), (left, _) = p.padding
    U = transformed(w, tile, "forward", kept)
    return _convolve(x, U, conv_output_shape(x.shape, w.shape, p), (top, left), tile, bias, low)


def grad_input(gy, w, p, x_shape, tile=4, kept=None):
    """gx of conv(x, w): gy convolved with the rotated kernel. gy: N x OC x OH x OW -> x_shape."""
    (top, _), (left, _) = p.padding
    U = transformed(w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), tile, "grad_input", kept)
    return _convolve(gy, U, x_shape, (2 - top, 2 - left), tile)


def grad_weight(x, gy, p, w_shape, tile=4):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> OC x C x 3 x 3."""
    tiles = count(gy.shape, tile)
    if not tiles:
        return zeros(w_shape, x.dtype, x)
    rows, threads = block(x.dtype, tile)
    across, down = -(-w_shape[1] // rows), -(-w_shape[0] // COLS)
    slices = max(1, min(BLOCKS // (across * down), tiles // SLICE))
    size = -(-tiles // slices)
    slices = -(-tiles // size)
    weights = math.prod(w_shape)
    partial, gw = empty((slices, weights), accumulator(x.dtype), x), empty(w_shape, x.dtype, x)
    (top, _), (left, _) = p.padding
    arguments = strided(x), strided(gy), partial, top, left, tiles, size
    launch(FILE, "grad_weight", (across, down, slices), threads, arguments, TILE=tile)
    arguments = partial, gw, weights, slices
    launch("conv/direct.cu", "add_slices", -(-weights // 128), 128, arguments, dtype=x.dtype, FLIP=0)
    return gw


def transformed(w, tile, name, kept):
    """U of the kernels: w, OC x C x 3 x 3, transformed. kept: None, or the dict in which it stays, with this name."""
    key = "U", name, tile
    if kept is not None and key in kept:
        return kept[key]
    oc, c = w.shape[:2]
    panels = -(-oc // COLS)
    U = empty((panels, c, (tile + 2) ** 2, COLS), accumulator(w.dtype), w)
    launch(FILE, "weights", (panels, -(-c // 8)), (COLS, 8), (strided(w), U), TILE=tile)
    return U if kept is None else kept.setdefault(key, U)


def _convolve(x, U, y_shape, padding, tile, bias=None, low=-math.inf):
    """y of x and transformed weights. padding: zeros above and left of x; may be negative."""
    n, oc, oh, ow = y_shape
    y = nchw(empty((n, oh, ow, oc), x.dtype, x))
    rows, threads = block(x.dtype, tile)
    bias = None if bias is None else contiguous(bias)
    arguments = strided(x), U, bias, strided(y), *padding, float(low)
    launch(FILE, "forward", (-(-count(y_shape, tile) // rows), U.shape[0]), threads, arguments, TILE=tile)
    return y


def count(y_shape, tile):
    """The tiles of tile x tile outputs that cover y, N x OC x OH x OW."""
    n, _, oh, ow = y_shape
    return n * -(-oh // tile) * -(-ow // tile)


def block(dtype, tile):
    """(ROWS, THREADS) of winograd.cu."""
    rows = 32 if tile == 2 else 64 // np.dtype(accumulator(dtype)).itemsize
    return rows, (tile + 2) ** 2 * rows * COLS // 64
