"""Normalisation in CUDA: grids and arguments. The kernels are in fused.cu and lrn.cu.

As on the CPU there is a pass for the statistics and one for y; backward, one for the sums and one for gx. Every sum is
taken in a fixed order, in float64.
"""
import numpy as np

from ..cuda import contiguous, empty, launch, zeros
from .layouts import as_logical, from_weights
from .lrn_cuda import lrn_forward, lrn_grad_input, window_sum

__all__ = ["forward", "grad_input", "grad_sums", "lrn_forward", "lrn_grad_input", "move", "statistics", "window_sum"]

FILE = "norm/fused.cu"
ROWS = 16  # of fused.cu: what a thread handles together
BLOCKS = 1024  # that keep a large GPU busy


def statistics(x, p, eps):
    """The mean, the biased variance and (var + eps)^-1/2 of each group, float64, p.stats. x: p.shape, any strides."""
    B, M, K, J = p.blocks
    results, eps = zeros((3, *p.stats), np.float64, x), np.float64(eps)
    stored = in_order(x, p)
    if not x.size:
        results[2].fill(eps**-0.5)
    elif M == 1:
        launch(FILE, "run_statistics", B * K, one_column(-(-J // ROWS)), (stored, results, J, eps))
    else:
        block, grid, slice_size, S = over_segments(p)
        means, squares = (empty((B, S, K * J), np.float64, x) for _ in range(2))
        launch(FILE, "column_statistics", grid, block, (stored, means, squares, M, K * J, slice_size, S))
        arguments = means, squares, results, M, K, J, slice_size, S, eps
        launch(FILE, "join_statistics", B * K, one_column(S * J), arguments, dtype=x.dtype)
    return tuple(results)


def forward(x, mean, rstd, w, b, p, relu=False, plus=None):
    """y = (x - mean) rstd w + b. mean, rstd: p.stats; w, b: the weight's shape or None -> y, p.shape.

    plus: something of x's shape to add to y. relu: max(y, 0) in place of y.
    """
    y = empty(p.blocks, x.dtype, x)
    if y.size:
        plus = None if plus is None else in_order(plus, p)
        lines = contiguous(mean), contiguous(rstd), weights(w, x, p), weights(b, x, p)
        grid, block, sizes = over_parts(p)
        launch(FILE, "forward", grid, block, (in_order(x, p), *lines, plus, y, *sizes, relu))
    return as_logical(y, p)


def grad_sums(gy, x, mean, rstd, w, b, p):
    """The sums of u w and u w xhat over each group (2 x p.stats), of u and u xhat over all that share a weight.

    u: gy; where b is given, what a ReLU after xhat w + b lets through of it.
    """
    B, M, K, J = p.blocks
    C = K * J
    if not x.size:
        return zeros((2, *p.stats), np.float64, x), zeros((2, *p.affine), np.float64, x)
    groups, affine = empty((2, B, K), np.float64, x), empty((2, K, J), np.float64, x)
    block, grid, slice_size, S = over_segments(p)
    sums, products = (empty((B, S, C), np.float64, x) for _ in range(2))
    rstd, w = contiguous(rstd), weights(w, x, p)
    lines = contiguous(mean), rstd, w, weights(b, x, p)
    arguments = in_order(gy, p), in_order(x, p), *lines, sums, products, M, C, J, slice_size, S
    launch(FILE, "column_sums", grid, block, arguments)
    arguments = sums, products, rstd, w, groups, K, J, S
    launch(FILE, "group_sums", B * K, one_column(S * J), arguments, dtype=x.dtype)
    block = columns(C, B * S)
    launch(FILE, "affine_sums", -(-C // block[0]), block, (sums, products, rstd, affine, B, C, J, S), dtype=x.dtype)
    return groups.reshape(2, *p.stats), from_weights(affine, p)


def grad_input(gy, x, mean, rstd, w, b, groups, p):
    """gx = rstd (u w - mean(u w) - xhat mean(u w xhat)). groups: the sums of u w and u w xhat, 2 x p.stats."""
    gx = empty(p.blocks, x.dtype, x)
    if gx.size:
        lines = contiguous(mean), contiguous(rstd), weights(w, x, p), weights(b, x, p)
        grid, block, sizes = over_parts(p)
        arguments = in_order(gy, p), in_order(x, p), *lines, contiguous(groups), gx, *sizes
        launch(FILE, "grad_input", grid, block, arguments)
    return as_logical(gx, p)


def move(running, batch, momentum, scale=1.0):
    """running = (1 - momentum) running + momentum scale batch, in place. running: C; batch: as many elements."""
    numbers = contiguous(batch), running.size, np.float64(1.0 - momentum), np.float64(momentum * scale)
    launch(FILE, "move", -(-running.size // 256), 256, (running, *numbers))


def in_order(x, p):
    """x with any strides -> contiguous, in the order of its blocks (no copy if it is stored so already)."""
    return contiguous(x.transpose(p.order))


def weights(w, x, p):
    """A weight (any shape of p.affine's elements) as K x J of x's dtype, in the order in which x is stored, or None."""
    if w is None:
        return None
    if p.blocks[3] > 1:
        w = w.reshape(p.affine).transpose(p.affine_order)
    return contiguous(w.astype(x.dtype, copy=False))


# --- grids; heights of blocks are powers of two, as the trees of fused.cu need them


def power_of_two(n, most):
    """The smallest power of two that is at least n, or `most`."""
    return min(most, 1 << (max(n, 1) - 1).bit_length())


def columns(C, rows):
    """A block as wide as C columns, up to a warp, and as high as so many rows, up to 256 threads."""
    width = power_of_two(C, 32)
    return width, power_of_two(rows, 256 // width)


def one_column(rows):
    """A block of one column."""
    return 1, power_of_two(rows, 256)


def over_segments(p):
    """(block, grid, slice, segments): the M rows of each b in segments of `slice` rows, a block for each.

    A function of the shapes alone, and so is the order of every sum.
    """
    B, M, K, J = p.blocks
    width, height = columns(K * J, -(-M // ROWS))
    across = -(-K * J // width)
    slice_size = max(height * ROWS, -(-M // max(1, BLOCKS // (B * across))))
    S = -(-M // slice_size)
    return (width, height), B * S * across, slice_size, S


def over_parts(p):
    """(grid, block, sizes): a thread for ROWS rows of a column; sizes: M, C, J, chunks and units of fused.cu."""
    B, M, K, J = p.blocks
    chunks = -(-M // ROWS)
    width, height = columns(K * J, B * chunks)
    return -(-B * chunks // height) * -(-K * J // width), (width, height), (M, K * J, J, chunks, B * chunks)
