"""Winograd's minimal filtering for 3 x 3 and 5 x 5 kernels of stride 1: 2.25 to 4 times fewer multiplications.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016 (arXiv 1509.09308), sections 4.1
to 4.3. Polynomials can be multiplied by evaluating both at a few points, multiplying the values, and interpolating;
so can a filter g of r taps and q = m + r - 1 inputs d, for m outputs (the points: 0, 1, -1 for q = 4, and 2, -2 for
q = 6; "infinity" is the last of each). In matrices, nested for two dimensions (equation 8), and summed over channels C:

    Y = A^T [ sum over c of  (G g G^T) * (B^T d B) ] A        * is elementwise: q q products for m m outputs

The sums over channels for all tiles are q q matrix products (section 4.2, equations 10 to 12), one for each element
(i, j) of a transformed tile: M[i, j] = V[i, j] U[i, j], tiles x C times C x OC. A tile goes this way through this file:

    U = G g G^T    `weights`     r x r weights -> q x q, for all channels
    V = B^T d B    `inputs`      the q x q pixels under a tile, overlapping the next tile's by r - 1
    M = V U        `products`    q q matrix products over channels, on the register tile of tile.py
    Y = A^T M A    `outputs`     q x q sums -> m x m outputs

winograd_cpu.py says for how many tiles and channels at a time. The input gradient is the same with the kernel rotated
and its channels exchanged. The weight gradient, for r = 3, is the adjoint in g: gw = G^T [ sum over tiles of
V * (A gy A^T) ] G (winograd_weights.py). q = 6 loses about a decimal digit of float32 against the direct sum, q = 4
hardly any; and a NaN or an infinity in x reaches all outputs of the tiles that see it.
"""
from typing import NamedTuple

import numpy as np

from ..jit import jit_inside
from ..memory import copy
from ..sandwich import run_sandwich
from ..tile import lanes, run_tile
from .correlate import fill


class Algorithm(NamedTuple):
    """F(m x m, r x r): the matrices of the paper's equations 6, 7 and 15 (in another order and scale of rows)."""

    m: int
    r: int
    BT: str
    G: str
    AT: str

    @property
    def q(self):
        return self.m + self.r - 1


FOUR_POINTS = "1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1"
SIX_POINTS = "4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1"
F2 = Algorithm(2, 3, FOUR_POINTS, "1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1", "1 1 1 0; 0 1 -1 -1")
F4 = Algorithm(
    4, 3, SIX_POINTS,
    "1/4 0 0; -1/6 -1/6 -1/6; -1/6 1/6 -1/6; 1/24 1/12 1/6; 1/24 -1/12 1/6; 0 0 1",
    "1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1",
)
F2_5 = Algorithm(
    2, 5, SIX_POINTS,
    "1/4 0 0 0 0; -1/6 -1/6 -1/6 -1/6 -1/6; -1/6 1/6 -1/6 1/6 -1/6; "
    "1/24 1/12 1/6 1/3 2/3; 1/24 -1/12 1/6 -1/3 2/3; 0 0 0 0 1",
    "1 1 1 1 1 0; 0 1 -1 2 -2 1",
)


def apart(size, L):
    """The step between matrices of `size` elements: an odd number of vectors.

    The q q matrices are used side by side; a large power of two apart they would fall into the same few lines of the
    first-level cache, and drive each other out.
    """
    return (-(-size // L) | 1) * L


def row_width(channels, dtype):
    """The step between the rows of V, channels rounded up to vectors: for the same reason no multiple of 2 KiB."""
    L = lanes(dtype)
    width = -(-channels // L) * L
    return width if width * np.dtype(dtype).itemsize % 2048 else width + L


@jit_inside
def weights(address, panels, U, zeros, c0, c1, C, us, r):
    """U = G g G^T for the input channels c0 ... c1 of one panel of B output channels.

    panels: address of that panel, r r taps x C x B. U: address of q q matrices of c1 - c0 rows of B, a step of us
    apart. us: q us and us, the steps to the next row and column of a tile.
    """
    B, size = len(zeros), zeros.itemsize
    for c in range(c0, c1):
        g, to = panels + c * B * size, U + (c - c0) * B * size
        run_sandwich(address, g, r * C * B, C * B, to, us[0], us[1], zeros.ctypes.data, B, -np.inf)


@jit_inside
def inputs(address, x, V, patch, zeros, t0, t1, vs, H, W, C, Cv, Cp, B, bs, top, left, m, seen, q, down, across):
    """V of the tiles t0 ... t1: the seen x seen pixels from (row m - top, column m - left) on, transformed.

    V: q q matrices, each a step of vs from the last, of rows of B channels, a step of Cp from tile to tile, and of bs
    from these channels to the next B. Cv: C rounded up to vectors.
    """
    size = x.itemsize
    for t in range(t0, t1):
        n, h, w = t // across // down, t // across % down * m - top, t % across * m - left
        if h >= 0 and w >= 0 and h + seen <= H and w + seen <= W and Cv == C:
            d, step = x.ctypes.data + ((n * H + h) * W + w) * C * size, W * C
        else:
            fill(patch, x, n, h, w, seen, seen, 1, 1, C, H, W, C, 0, C)
            d, step = patch.ctypes.data, seen * C
        for c in range(0, Cv, B):
            to = V.ctypes.data + ((t - t0) * Cp + c // B * bs) * size
            run_sandwich(address, d + c * size, step, C, to, q * vs, vs, zeros.ctypes.data, min(B, Cv - c), -np.inf)


@jit_inside
def products(address, V, U, M, zeros, tiles, vs, us, ms, K, Vp, Mp, columns, panel, q, P, B, more):
    """M = V U, or M += V U if there is `more`, for each of the q q elements: tiles x K times K x columns.

    V, U, M: addresses. vs, us, ms: the steps from one matrix to the next. Vp, Mp: the steps from one tile to the next.
    panel: the step from one panel of U, K x B, to the next.
    """
    size = zeros.itemsize
    offset = np.zeros(1, np.int64)
    for k in range(q * q):
        for o in range(0, columns, B):
            for t in range(0, tiles, P):
                to = M + (k * ms + t * Mp + o) * size
                run_tile(
                    address, V + (k * vs + t * Vp) * size, Vp, 1, offset.ctypes.data, 1, K,
                    U + (k * us + o // B * panel) * size, 0, B, to if more else zeros.ctypes.data, Mp if more else 0,
                    to, Mp, -np.inf,
                )


@jit_inside
def outputs(address, M, y, patch, bias, low, t0, t1, ms, Mp, OH, OW, OC, o0, count, m, q, down, across):
    """y = max(low, A^T M A + bias) for the tiles t0 ... t1 and `count` channels from o0 on; nothing outside of y.

    M: address of q q matrices of rows of Mp, a step of ms apart. bias: at least `count` rounded up to vectors.
    """
    size = y.itemsize
    whole = count == Mp
    for t in range(t0, t1):
        n, h, w = t // across // down, t // across % down * m, t % across * m
        sums, at = M + (t - t0) * Mp * size, ((n * OH + h) * OW + w) * OC + o0
        if h + m <= OH and w + m <= OW and whole:
            run_sandwich(address, sums, q * ms, ms, y.ctypes.data + at * size, OW * OC, OC, bias.ctypes.data, Mp, low)
            continue
        run_sandwich(address, sums, q * ms, ms, patch.ctypes.data, m * Mp, Mp, bias.ctypes.data, Mp, low)
        for i in range(min(m, OH - h)):
            for j in range(min(m, OW - w)):
                copy(y.ctypes.data + (at + (i * OW + j) * OC) * size, patch.ctypes.data + (i * m + j) * Mp * size,
                     count * size)
