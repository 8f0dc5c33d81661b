"""Winograd's minimal filtering for 3 x 3 kernels of stride 1: 2.25 or 4 times fewer multiplications.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016 (arXiv 1509.09308), sections 4.1
to 4.3. Polynomials can be multiplied by evaluating both at a few points, multiplying the values, and interpolating;
so can a 3-tap filter g and q = m + 2 inputs d, for m outputs (the points: 0, 1, -1 for m = 2, and 2, -2 for m = 4;
"infinity" is the last of each). In matrices, nested for two dimensions (equation 8), and summed over channels C:

    Y = A^T [ sum over c of  (G g G^T) * (B^T d B) ] A        * is elementwise: q q products for m m outputs

The sums over channels for all tiles are q q matrix products (section 4.2, equations 10 to 12), one for each element
(i, j) of a transformed tile: M[i, j] = V[i, j] U[i, j], tiles x C times C x OC. A tile goes this way through this file:

    U = G g G^T    `transform_weights`    3 x 3 weights -> q x q, for all channels
    V = B^T d B    `_inputs`              the q x q pixels under a tile, overlapping the next tile's by two
    M = V U        `_products`            q q matrix products over channels, on the register tile of tile.py
    Y = A^T M A    `_outputs`             q x q sums -> m x m outputs

for as many tiles at a time as the second-level cache holds. The input gradient is the same with the kernel rotated and
its channels exchanged. The weight gradient is the adjoint in g: gw = G^T [ sum over tiles of V * (A gy A^T) ] G.
F(4 x 4) loses about a decimal digit of float32 against the direct sum, F(2 x 2) hardly any; and a NaN or an infinity in
x reaches all outputs of the tiles that see it.
"""
from functools import partial
from typing import NamedTuple

import numpy as np

from ..arrays import nchw, nhwc
from ..buffers import empty
from ..jit import jit
from ..memory import copy
from ..sandwich import run_sandwich, sandwich, transposed
from ..threads import get_num_threads, scratch, share_out
from ..tile import lanes, most_pixels, run_tile, tile
from .correlate import fill
from .direct_cpu import by_position
from .pack import pack, vectors_for
from .params import conv_output_shape


class Algorithm(NamedTuple):
    """F(m x m, 3 x 3): the matrices of the paper's equations 6, 7 and 15 (in another order and scale of rows)."""

    m: int
    BT: str
    G: str
    AT: str


F2 = Algorithm(
    2, "1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1", "1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1", "1 1 1 0; 0 1 -1 -1"
)
F4 = Algorithm(
    4,
    "4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1",
    "1/4 0 0; -1/6 -1/6 -1/6; -1/6 1/6 -1/6; 1/24 1/12 1/6; 1/24 -1/12 1/6; 0 0 1",
    "1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1",
)
TERMS = 256  # tiles whose products are summed before they join the sum of those before
RUN = 16  # input channels whose weight gradients are brought into the weight's order together
CHUNK = 1 << 19  # bytes of V and M in work at a time
LARGE = 16  # tiles of tile.py for which a U beyond the second-level cache is read once


SUPPORTS = "3x3 kernels with stride 1, dilation 1 and one group"


def supports(w_shape, p):
    """Whether this algorithm computes such a convolution: SUPPORTS."""
    return tuple(w_shape[2:]) == (3, 3) and p.stride == (1, 1) and p.dilation == (1, 1) and p.groups == 1


def forward(x, w, p, algorithm=F4):
    """y = conv(x, w). x: N x C x H x W, w: OC x C x 3 x 3 -> N x OC x OH x OW."""
    size = conv_output_shape(x.shape, w.shape, p)[2:]
    (top, _), (left, _) = p.padding
    return nchw(_convolve(nhwc(x), by_position(w, 1), range(9), size, (top, left), algorithm))


def grad_input(gy, w, p, x_shape, algorithm=F4):
    """gx of conv(x, w): gy convolved with the rotated kernel. gy: N x OC x OH x OW -> x_shape."""
    (top, _), (left, _) = p.padding
    exchanged = by_position(w, 1).transpose(0, 2, 1, 3)
    return nchw(_convolve(nhwc(gy), exchanged, range(8, -1, -1), x_shape[2:], (2 - top, 2 - left), algorithm))


def _convolve(x, w, order, size, padding, algorithm):
    """y, N x OH x OW x OC, of x, N x H x W x C, and w, 1 x OC x C x 9, whose tap t has kernel position order[t].

    padding: zeros above and left of x; may be negative.
    """
    n, height, width, c = x.shape
    oc, m = w.shape[1], algorithm.m
    y = empty((n, *size, oc), x.dtype)
    if not y.size:
        return y
    U, blocks, b = transform_weights(w, order, algorithm)
    L, P = lanes(x.dtype), most_pixels(b // lanes(x.dtype))
    across, down = -(-size[1] // m), -(-size[0] // m)
    total, q = n * across * down, m + 2
    cv, cp, ocp = -(-c // L) * L, row_width(c, x.dtype), blocks * b
    most = max(1, CHUNK // (q * q * (cp + ocp) * x.itemsize * P), LARGE if U.nbytes > 2 * CHUNK else 1) * P
    shares = get_num_threads() * -(-total // (get_num_threads() * most))
    chunk = -(-total // (shares * P)) * P
    before, after = sandwich(algorithm.BT, x.dtype), sandwich(algorithm.AT, x.dtype)
    addresses = before.address, tile(P, b // L, x.dtype).address, after.address
    steps = apart(chunk * cp, L), U.shape[1], apart(chunk * ocp, L)
    geometry = np.array([
        height, width, c, cv, cp, *size, oc, ocp, *padding, m, q, down, across, total, chunk, P, b, *steps,
    ], np.int64)

    def piece(first, last):
        V, M = scratch("V", q * q * steps[0], x.dtype), scratch("M", q * q * steps[2], x.dtype)
        patch, zeros = scratch("patch", q * q * max(c, ocp) + L, x.dtype), np.zeros(max(cv, ocp), x.dtype)
        _chunks(first, last, addresses, x.reshape(-1), U.reshape(-1), y.reshape(-1), V, M, patch, zeros, geometry)

    chunks = -(-total // chunk)
    share_out(piece, chunks, pieces=min(chunks, 4 * get_num_threads()))
    return y


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


def transform_weights(w, order, algorithm):
    """U = G g G^T for all channels, q q rows of panels OC/B x C x B for the register tile; how many panels; and B."""
    panels, _ = pack(w, tuple(order))
    _, blocks, _, c, b = panels.shape
    q, L = algorithm.m + 2, lanes(w.dtype)
    U = scratch("U", (q * q, apart(blocks * c * b, L)), w.dtype)
    address, steps = sandwich(algorithm.G, w.dtype).address, (q * U.shape[1], U.shape[1])
    share_out(_weights, blocks * c, address, panels.reshape(-1), U.reshape(-1), np.zeros(b, w.dtype), c, steps)
    return U, blocks, b


@jit
def _weights(first, last, address, panels, U, zeros, C, steps):
    B, size = len(zeros), U.itemsize
    for unit in range(first, last):  # (block, channel)
        block, c = unit // C, unit % C
        g = panels.ctypes.data + (block * 9 * C + c) * B * size
        to = U.ctypes.data + unit * B * size
        run_sandwich(address, g, 3 * C * B, C * B, to, steps[0], steps[1], zeros.ctypes.data, B, -np.inf)


@jit
def _chunks(first, last, addresses, x, U, y, V, M, patch, zeros, geometry):
    """Some chunks of tiles from x to y."""
    H, W, C, Cv, Cp, OH, OW, OC, OCp, top, left, m, q, down, across, total, chunk, P, B, vs, us, ms = geometry
    for number in range(first, last):
        t0 = number * chunk
        t1 = min(t0 + chunk, total)
        _inputs(addresses[0], x, V, patch, zeros, t0, t1, vs, H, W, C, Cv, Cp, Cv, 0, top, left, m, q, q, down, across)
        _products(addresses[1], V, U, M, zeros, t1 - t0, vs, us, ms, C, Cp, OCp, q, P, B)
        _outputs(addresses[2], M, y, patch, zeros, t0, t1, ms, OH, OW, OC, OCp, m, q, down, across)


@jit
def _inputs(address, x, V, patch, zeros, t0, t1, vs, H, W, C, Cv, Cp, B, bs, top, left, m, r, q, down, across):
    """V of the tiles t0 ... t1: the r x r pixels from (row m - top, column m - left) on, transformed.

    V: q q matrices, each a step of vs from the last, of rows of B channels, a step of Cp from tile to tile, and of bs
    from these channels to the next B. Cv: C rounded up to vectors.
    """
    size = x.itemsize
    for t in range(t0, t1):
        n, h, w = t // across // down, t // across % down * m - top, t % across * m - left
        if h >= 0 and w >= 0 and h + r <= H and w + r <= W and Cv == C:
            d, step = x.ctypes.data + ((n * H + h) * W + w) * C * size, W * C
        else:
            fill(patch, x, n, h, w, r, r, 1, 1, C, H, W, C, 0, C)
            d, step = patch.ctypes.data, r * C
        for c in range(0, Cv, B):
            to = V.ctypes.data + ((t - t0) * Cp + c // B * bs) * size
            run_sandwich(address, d + c * size, step, C, to, q * vs, vs, zeros.ctypes.data, min(B, Cv - c), -np.inf)


@jit
def _products(address, V, U, M, zeros, tiles, vs, us, ms, C, Cp, OCp, q, P, B):
    """M = V U for each of the q q elements: tiles x C times C x OC. vs, us, ms: the steps from one to the next."""
    size = V.itemsize
    offset = np.zeros(1, np.int64)
    for k in range(q * q):
        for o in range(0, OCp, B):
            panel = U.ctypes.data + (k * us + o * C) * size
            for t in range(0, tiles, P):
                run_tile(
                    address, V.ctypes.data + (k * vs + t * Cp) * size, Cp, 1, offset.ctypes.data, 1, C, panel, 0, B,
                    zeros.ctypes.data, 0, M.ctypes.data + (k * ms + t * OCp + o) * size, OCp, -np.inf,
                )


@jit
def _outputs(address, M, y, patch, zeros, t0, t1, ms, OH, OW, OC, OCp, m, q, down, across):
    """y = A^T M A for the tiles t0 ... t1; what lies outside of y is dropped."""
    size = y.itemsize
    for t in range(t0, t1):
        n, h, w = t // across // down, t // across % down * m, t % across * m
        sums = M.ctypes.data + (t - t0) * OCp * size
        at = ((n * OH + h) * OW + w) * OC
        if h + m <= OH and w + m <= OW and OCp == OC:
            run_sandwich(address, sums, q * ms, ms, y.ctypes.data + at * size, OW * OC, OC, zeros.ctypes.data, OC,
                         -np.inf)
            continue
        run_sandwich(address, sums, q * ms, ms, patch.ctypes.data, m * OCp, OCp, zeros.ctypes.data, OCp, -np.inf)
        for i in range(min(m, OH - h)):
            for j in range(min(m, OW - w)):
                copy(y.ctypes.data + (at + (i * OW + j) * OC) * size, patch.ctypes.data + (i * m + j) * OCp * size,
                     OC * size)


# --- the weight gradient


def grad_weight(x, gy, p, w_shape, algorithm=F4):
    """gw of conv(x, w): G^T [ sum over tiles of V * (A gy A^T) ] G. x: N x C x H x W, gy: N x OC x OH x OW."""
    x, gy = nhwc(x), nhwc(gy)
    gw = np.zeros(w_shape, x.dtype)
    n, height, width, c = x.shape
    oh, ow, oc = gy.shape[1:]
    if not x.size:
        return gw
    m, q, L, vectors = algorithm.m, algorithm.m + 2, lanes(x.dtype), vectors_for(oc, x.dtype)
    P = most_pixels(vectors)
    b = vectors * L
    cv, ov = -(-c // L) * L, -(-oc // L) * L
    cp, rows, panels = row_width(c, x.dtype), -(-c // P) * P, -(-oc // b)
    across, down = -(-ow // m), -(-oh // m)
    total = n * across * down
    chunk = -(-total // -(-total // TERMS))
    steps = apart(chunk * cp + P, L), apart(panels * chunk * b, L), apart(rows * panels * b, L)
    V, Z, S = (scratch(name, q * q * step, x.dtype) for name, step in zip("VMU", steps, strict=True))
    zeros = np.zeros(max(cv, ov, b), x.dtype)
    BT, A = sandwich(algorithm.BT, x.dtype).address, sandwich(transposed(algorithm.AT), x.dtype).address
    (top, _), (left, _) = p.padding
    if ov < panels * b:
        Z[:] = 0  # a panel's second vector that no channel fills

    def transform(first, last, t0):
        patch = scratch("patch", q * q * max(c, oc) + L, x.dtype)
        part, grid = (t0 + first, t0 + last), (q, down, across)
        _inputs(BT, x.reshape(-1), V[first * cp :], patch, zeros, *part, steps[0], height, width, c, cv, cp, cv, 0,
                top, left, m, q, *grid)
        _inputs(A, gy.reshape(-1), Z[first * b :], patch, zeros, *part, steps[1], oh, ow, oc, ov, b, b, chunk * b,
                0, 0, m, m, *grid)

    address = tile(P, vectors, x.dtype).address
    for t0 in range(0, total, chunk):
        tiles = min(chunk, total - t0)
        share_out(partial(transform, t0=t0), tiles)
        share_out(_accumulate, q * q * panels, address, V, Z, S, zeros, t0 > 0, tiles, chunk, c, cp, panels, rows, P, b,
                  steps)
    GT = sandwich(transposed(algorithm.G), x.dtype).address
    share_out(_to_kernel, panels, GT, S, gw.reshape(-1), zeros, c, oc, rows, q, b, steps[2])
    return gw


@jit
def _accumulate(first, last, address, V, Z, S, zeros, more, tiles, chunk, C, Cp, panels, rows, P, B, steps):
    """S = V^T Z, or S += V^T Z if there is `more`: C x tiles times tiles x OC, in panels of S, rows x B each."""
    size = V.itemsize
    offset = np.zeros(1, np.int64)
    for unit in range(first, last):
        k, o = unit // panels, unit % panels
        panel = Z.ctypes.data + (k * steps[1] + o * chunk * B) * size
        for c in range(0, C, P):
            to = S.ctypes.data + (k * steps[2] + (o * rows + c) * B) * size
            run_tile(
                address, V.ctypes.data + (k * steps[0] + c) * size, 1, Cp, offset.ctypes.data, 1, tiles, panel, 0, B,
                to if more else zeros.ctypes.data, B if more else 0, to, B, -np.inf,
            )


@jit
def _to_kernel(first, last, address, S, gw, zeros, C, OC, rows, q, B, step):
    """gw = G^T S G for some panels of output channels."""
    size = S.itemsize
    kernel, run = np.empty((9, B), gw.dtype), np.empty((B, 9 * RUN), gw.dtype)
    for o in range(first, last):
        valid = min(B, OC - o * B)
        for c0 in range(0, C, RUN):
            c1 = min(c0 + RUN, C)
            for c in range(c0, c1):
                run_sandwich(address, S.ctypes.data + (o * rows + c) * B * size, q * step, step, kernel.ctypes.data,
                             3 * B, B, zeros.ctypes.data, B, -np.inf)
                for i in range(valid):
                    for k in range(9):
                        run[i, (c - c0) * 9 + k] = kernel[k, i]
            for i in range(valid):
                to = gw.ctypes.data + ((o * B + i) * C + c0) * 9 * size
                copy(to, run.ctypes.data + i * 9 * RUN * size, (c1 - c0) * 9 * size)
