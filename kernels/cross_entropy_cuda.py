"""Softmax cross-entropy in CUDA: grids and arguments. The kernels are in cross_entropy.cu."""
import numpy as np

from .cuda import contiguous, empty, launch

FILE = "cross_entropy.cu"
WARPS = 8  # rows of a block, as cross_entropy.cu has it
THREADS = 32 * WARPS


def forward(rows, target, counted, count):
    """As `cross_entropy.forward`."""
    rows, blocks = contiguous(rows), -(-len(rows) // WARPS)
    p, y, losses = empty(rows.shape, rows.dtype, rows), empty((), rows.dtype, rows), empty(blocks, np.float64, rows)
    arguments = rows, contiguous(target), contiguous(counted), p, losses, *rows.shape
    launch(FILE, "forward", blocks, THREADS, arguments)
    launch(FILE, "total", 1, THREADS, (losses, count, y, blocks), dtype=rows.dtype)
    return y, p


def grad_scores(gy, p, target, counted, count):
    """As `cross_entropy.grad_scores`."""
    gx = empty(p.shape, p.dtype, p)
    arguments = gy, p, contiguous(target), contiguous(counted), count, gx, *p.shape
    launch(FILE, "grad_scores", -(-len(p) // WARPS), THREADS, arguments)
    return gx
