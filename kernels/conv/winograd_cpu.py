"""Winograd's algorithm, forward and input gradient: which tiles and channels of winograd_tile.py come together when.

What is transformed should be used before it leaves the second-level cache. With few channels U fits there or streams
past, and a few tiles at a time go all the way from x to y (`_by_tiles`). With many, U is far larger than V and M of all
tiles; then a few weights at a time are transformed and meet all tiles of a large chunk (`_by_panels`), and U never
reaches memory.
"""
from typing import NamedTuple

import numpy as np

from ..arrays import nchw, nhwc
from ..buffers import empty
from ..jit import jit, jit_inside
from ..prepare import prepared
from ..sandwich import sandwich
from ..threads import PARTS, get_num_threads, own, scratch, share_out
from ..tile import lanes, most_pixels, split, tile
from ..transpose import transpose
from . import direct_cpu, winograd_weights
from .direct_cpu import by_position
from .pack import Weights, as_weights, pack, pack_panel, taps, vectors_for
from .params import conv_output_shape
from .winograd_tile import F2_5, F4, apart, inputs, outputs, products, row_width, weights

__all__ = ["SUPPORTS", "forward", "grad_input", "grad_weight", "supports"]

CHUNK = 1 << 19  # bytes of V and M in work at a time, by tiles
LARGE, LARGE_FOR_FEW = 1 << 24, 1 << 21  # bytes of U from which on work goes by panels; where TILES are all there are
TILES = 112  # in work at a time, by panels
CHANNELS = 128  # input channels whose U is in work at a time, by panels

BY_KERNEL = {(3, 3): F4, (5, 5): F2_5}
SUPPORTS = "3x3 and 5x5 kernels with stride 1, dilation 1 and one group"


def supports(w_shape, p):
    """Whether this algorithm computes such a convolution: SUPPORTS."""
    return tuple(w_shape[2:]) in BY_KERNEL and p.stride == (1, 1) and p.dilation == (1, 1) and p.groups == 1


def forward(x, w, p, bias=None, low=-np.inf, algorithm=None, kept=None):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C x r x r, bias: OC -> N x OC x OH x OW.

    algorithm: of winograd_tile.py, for the r of w; None: that of BY_KERNEL.
    """
    algorithm = algorithm or BY_KERNEL[w.shape[2:]]
    size = conv_output_shape(x.shape, w.shape, p)[2:]
    order, ((top, _), (left, _)) = range(algorithm.r**2), p.padding
    return nchw(_convolve(nhwc(x), by_position(w, 1), order, size, (top, left), algorithm, kept, bias, low))


def grad_input(gy, w, p, x_shape, algorithm=None, kept=None):
    """gx of conv(x, w): gy convolved with the rotated kernel. gy: N x OC x OH x OW -> x_shape."""
    algorithm = algorithm or BY_KERNEL[w.shape[2:]]
    r = algorithm.r
    (top, _), (left, _) = p.padding
    exchanged = by_position(w, 1).transpose(0, 2, 1, 3)
    padding = r - 1 - top, r - 1 - left
    return nchw(_convolve(nhwc(gy), exchanged, range(r * r - 1, -1, -1), x_shape[2:], padding, algorithm, kept))


def grad_weight(x, gy, p, w_shape, algorithm=None):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> OC x C x r x r.

    That of a 5 x 5 kernel is the direct sum: tiles of 2 x 2 hardly save time there, and lose two decimal digits.
    """
    if tuple(w_shape[2:]) == (5, 5):
        return direct_cpu.grad_weight(x, gy, p, w_shape)
    return winograd_weights.grad_weight(x, gy, p, w_shape, algorithm or F4)


class Plan(NamedTuple):
    """What both orders of work need to know; arrays are flat, steps in elements."""

    x: np.ndarray
    y: np.ndarray
    w: Weights  # 1 x OC x C x r r
    tap: np.ndarray  # of each kernel position
    bias: np.ndarray  # of all panels
    low: float
    sizes: np.ndarray  # H, W, C, Cv, OH, OW, OC, top, left, m, q, down, across, tiles, P, B; Cv: C in whole vectors
    addresses: tuple  # of the compiled B^T, G, tile, A^T and transposition


def _convolve(x, w, order, size, padding, algorithm, kept, bias=None, low=-np.inf):
    """y, N x OH x OW x OC, of x, N x H x W x C, and w, 1 x OC x C x r r, whose tap t has kernel position order[t].

    padding: zeros above and left of x; may be negative. kept: what was made of w (prepare.py).
    """
    n, height, width, c = x.shape
    oc, m, q, L = w.shape[1], algorithm.m, algorithm.q, lanes(x.dtype)
    y = empty((n, *size, oc), x.dtype)
    if not y.size:
        return y
    vectors = vectors_for(oc, x.dtype)
    b = vectors * L
    blocks = -(-oc // b)
    start = np.zeros(blocks * b, x.dtype)
    if bias is not None:
        start[:oc] = bias
    across, down = -(-size[1] // m), -(-size[0] // m)
    total = n * across * down
    large = q * q * c * blocks * b * x.itemsize > (LARGE if total > TILES else LARGE_FOR_FEW) and blocks > 1
    P = split(min(total, TILES) if large else total, most_pixels(vectors))
    sizes = height, width, c, -(-c // L) * L, *size, oc, *padding, m, q, down, across, total, P, b
    addresses = (
        sandwich(algorithm.BT, x.dtype).address, sandwich(algorithm.G, x.dtype).address,
        tile(P, vectors, x.dtype).address, sandwich(algorithm.AT, x.dtype).address,
        transpose(x.dtype).address,
    )
    sizes = np.array(sizes, np.int64)
    plan = Plan(x.reshape(-1), y.reshape(-1), as_weights(w), taps(w, order), start, low, sizes, addresses)
    (_by_panels if large else _by_tiles)(plan, w, blocks, order, kept)
    return y


# --- a few tiles at a time, all channels


def _by_tiles(plan, w, blocks, order, kept):
    c, cv, m, q, total, P, b = plan.sizes[[2, 3, 9, 10, 13, 14, 15]].tolist()
    dtype, threads = plan.x.dtype, get_num_threads()
    L, cp, ocp = lanes(dtype), row_width(c, dtype), blocks * b
    us = apart(blocks * c * b, L)
    zeros = np.zeros(max(cv, ocp), dtype)

    def transform(U):
        panels, _ = pack(w, order)
        given = panels.reshape(-1), U, np.zeros(b, dtype), c, (q * us, us), q - m + 1
        share_out(_transform_weights, blocks * c, plan.addresses[1], *given)

    U = prepared(kept, ("U", q, tuple(order)), w, q * q * us, transform)
    most = max(1, CHUNK // (q * q * (cp + ocp) * plan.x.itemsize * P)) * P
    shares = threads * -(-total // (threads * most))
    chunk = -(-total // (shares * P)) * P
    vs, ms = apart(chunk * cp, L), apart(chunk * ocp, L)
    lengths = {"V": q * q * vs, "M": q * q * ms, "patch": q * q * max(c, ocp) + L}
    mine = tuple(own(slot, length, dtype) for slot, length in lengths.items())
    steps, chunks = np.array([chunk, cp, ocp, vs, us, ms], np.int64), -(-total // chunk)
    share_out(_chunks, chunks, plan, U, zeros, steps, own=mine, pieces=PARTS * threads)


@jit
def _transform_weights(first, last, address, panels, U, zeros, C, us, r):
    """U of all panels: units are (panel, input channel)."""
    B, size = len(zeros), U.itemsize
    for unit in range(first, last):
        block, c = unit // C, unit % C
        panel, to = panels.ctypes.data + block * r * r * C * B * size, U.ctypes.data + unit * B * size
        weights(address, panel, to, zeros, c, c + 1, C, us, r)


@jit
def _chunks(first, last, plan, U, zeros, steps, V, M, patch):
    """Some chunks of tiles from x to y."""
    H, W, C, Cv, OH, OW, OC, top, left, m, q, down, across, total, P, B = plan.sizes
    chunk, Cp, OCp, vs, us, ms = steps
    for number in range(first, last):
        t0 = number * chunk
        t1 = min(t0 + chunk, total)
        inputs(plan.addresses[0], plan.x, V, patch, zeros, t0, t1, vs, H, W, C, Cv, Cp, Cv, 0, top, left, m, q, q, down,
               across)
        products(plan.addresses[2], V.ctypes.data, U.ctypes.data, M.ctypes.data, zeros, t1 - t0, vs, us, ms, C, Cp, OCp,
                 OCp, C * B, q, P, B, False)
        outputs(plan.addresses[3], M.ctypes.data, plan.y, patch, plan.bias, plan.low, t0, t1, ms, OCp, OH, OW, OC, 0,
                OC, m, q, down, across)


# --- a few weights at a time, many tiles


def _by_panels(plan, w, blocks, order, kept):
    c, cv, m, q, total, P, b = plan.sizes[[2, 3, 9, 10, 13, 14, 15]].tolist()
    dtype = plan.x.dtype
    L, chunk = lanes(dtype), -(-min(total, TILES) // P) * P
    vs, us, ms = apart(chunk * CHANNELS, L), apart(CHANNELS * b, L), apart(chunk * b, L)
    parts = -(-c // CHANNELS)
    V, zeros = scratch("V", parts * q * q * vs, dtype), np.zeros(max(cv, b), dtype)
    steps = np.array([vs, us, ms, q * q * us if kept is not None else 0], np.int64)

    panel, U = own("w", (q - m + 1) ** 2 * us, dtype), own("U", q * q * us if kept is None else 0, dtype)

    def transform_weights(U):
        share_out(_panel_weights, blocks * parts, plan, U, zeros[:b], steps, L, own=(panel,), pieces=blocks * parts)

    if kept is not None:
        recipe, size = ("U by panels", q, tuple(order)), blocks * parts * q * q * us
        kept_U = prepared(kept, recipe, w, size, transform_weights)
    else:
        kept_U = np.empty(0, dtype)
    M, patch = own("M", q * q * ms, dtype), own("patch", q * q * max(c, b) + L, dtype)
    for t0 in range(0, total, chunk):
        t1 = min(t0 + chunk, total)
        pieces = PARTS * get_num_threads()
        share_out(_transform_inputs, t1 - t0, t0, plan, V, zeros, steps, own=(patch,), pieces=pieces)
        given, mine = (t0, t1, plan, V, kept_U, zeros[:b], steps, L), (U, M, panel, patch)
        share_out(_panels, blocks, *given, own=mine, pieces=blocks)


@jit
def _transform_inputs(first, last, t0, plan, V, zeros, steps, patch):
    """V of some tiles of the chunk that begins at t0: for each CHANNELS of x q q matrices of rows of CHANNELS."""
    H, W, C, Cv, _, _, _, top, left, m, q, down, across, _, _, _ = plan.sizes
    inputs(plan.addresses[0], plan.x, V[first * CHANNELS :], patch, zeros, t0 + first, t0 + last, steps[0], H, W, C, Cv,
           CHANNELS, CHANNELS, q * q * steps[0], top, left, m, q, q, down, across)


@jit
def _panel_weights(first, last, plan, U, zeros, steps, L, panel):
    """U of some units (panel of output channels, CHANNELS input channels)."""
    parts = -(-plan.sizes[2] // CHANNELS)
    for unit in range(first, last):
        to = U.ctypes.data + unit * steps[3] * U.itemsize
        _part_of_panel(plan, to, unit // parts, unit % parts * CHANNELS, panel, zeros, steps[1], L)


@jit_inside
def _part_of_panel(plan, U, b, c0, panel, zeros, us, L):
    """U of CHANNELS input channels from c0 on and the output channels of panel b."""
    C, m, q, B = plan.sizes[2], plan.sizes[9], plan.sizes[10], plan.sizes[15]
    K = min(CHANNELS, C - c0)
    pack_panel(plan.addresses[4], plan.w, plan.tap, panel.ctypes.data, 0, b, c0, c0 + K, c0, K, B, L)
    weights(plan.addresses[1], panel.ctypes.data, U, zeros, 0, K, K, (q * us, us), q - m + 1)


@jit
def _panels(first, last, t0, t1, plan, V, kept_U, zeros, steps, L, U, M, panel, patch):
    """Some panels of output channels of the tiles t0 ... t1, from their transformed inputs to y."""
    _, _, C, _, OH, OW, OC, _, _, m, q, down, across, _, P, B = plan.sizes
    vs, us, ms, us_kept = steps  # us_kept: from one U to the next, 0 if they are made here, all in the same place
    size, parts = V.itemsize, -(-C // CHANNELS)
    if us_kept:
        U = kept_U
    for b in range(first, last):
        for c0 in range(0, C, CHANNELS):
            K = min(CHANNELS, C - c0)
            at = U.ctypes.data + (b * parts + c0 // CHANNELS) * us_kept * size
            if us_kept == 0:
                _part_of_panel(plan, at, b, c0, panel, zeros, us, L)
            seen = V.ctypes.data + c0 // CHANNELS * q * q * vs * size
            products(plan.addresses[2], seen, at, M.ctypes.data, zeros, t1 - t0, vs, us, ms, K, CHANNELS, B,
                     B, 0, q, P, B, c0 > 0)
        outputs(plan.addresses[3], M.ctypes.data, plan.y, patch, plan.bias[b * B :], plan.low, t0, t1, ms, B, OH, OW,
                OC, b * B, min(B, OC - b * B), m, q, down, across)
