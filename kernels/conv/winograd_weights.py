"""The weight gradient of Winograd's algorithm: gw = G^T [ sum over tiles of V * (A gy A^T) ] G, the adjoint in g.

For each of the q q elements of a tile this is a matrix product S = V^T Z, C x tiles times tiles x OC, with V = B^T d B
as in the forward pass and Z = A gy A^T (Lavin & Gray 2016, section 4.1, with the transforms exchanged). S is summed in
blocks of channels. Where there are few tiles, all of them are transformed first and then block after block is finished
while it is in the second-level cache; where there are many, they come in chunks, and all blocks are kept.
"""
import math
from typing import NamedTuple

import numpy as np

from ..arrays import nhwc
from ..buffers import empty
from ..jit import jit, jit_inside
from ..memory import copy
from ..sandwich import run_sandwich, sandwich, transposed
from ..threads import PARTS, get_num_threads, own, scratch, share_out
from ..tile import lanes, most_pixels, run_tile, tile
from .pack import vectors_for
from .winograd_tile import apart, inputs

TERMS = 256  # tiles whose products are summed before they join the sum of those before
ROWS = 112  # input channels of a block, about
RUN = 16  # input channels whose weight gradients are brought into the weight's order together
TRANSFORMED = 1 << 25  # bytes of V and Z up to which all tiles are transformed first


class Plan(NamedTuple):
    """What the loops need to know; arrays are flat, steps in elements."""

    x: np.ndarray
    gy: np.ndarray
    gw: np.ndarray
    V: np.ndarray  # C/R x q q matrices of tiles x R, a step of vs apart
    Z: np.ndarray  # OC/B x q q matrices of tiles x B, a step of zs apart
    zeros: np.ndarray
    sizes: np.ndarray  # H, W, C, OH, OW, OC, top, left, m, q, down, across, P, B, R, L, vs, zs, ss
    addresses: tuple  # of the compiled B^T, A, tile and G^T


def grad_weight(x, gy, p, w_shape, algorithm):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> OC x C x 3 x 3."""
    x, gy = nhwc(x), nhwc(gy)
    n, height, width, c = x.shape
    oh, ow, oc = gy.shape[1:]
    if not x.size or not gy.size:
        return np.zeros(w_shape, x.dtype)
    gw = empty(w_shape, x.dtype)
    m, q, L, vectors = algorithm.m, algorithm.q, lanes(x.dtype), vectors_for(oc, x.dtype)
    P, b = most_pixels(vectors), vectors * L
    r = math.lcm(P, L) * min(max(1, ROWS // math.lcm(P, L)), -(-c // math.lcm(P, L)))
    blocks, panels = -(-c // r), -(-oc // b)
    across, down = -(-ow // m), -(-oh // m)
    total = n * across * down
    few = q * q * total * (blocks * r + panels * b) * x.itemsize <= TRANSFORMED
    chunk = total if few else -(-total // -(-total // TERMS))
    vs, zs, ss = apart(chunk * r, L), apart(chunk * b, L), apart(r * b, L)
    V, Z = scratch("V", blocks * q * q * vs, x.dtype), scratch("M", panels * q * q * zs, x.dtype)
    zeros = np.zeros(max(blocks * r, panels * b), x.dtype)
    (top, _), (left, _) = p.padding
    sizes = height, width, c, oh, ow, oc, top, left, m, q, down, across, P, b, r, L, vs, zs, ss
    addresses = (
        sandwich(algorithm.BT, x.dtype).address, sandwich(transposed(algorithm.AT), x.dtype).address,
        tile(P, vectors, x.dtype).address, sandwich(transposed(algorithm.G), x.dtype).address,
    )
    sizes = np.array(sizes, np.int64)
    plan = Plan(x.reshape(-1), gy.reshape(-1), gw.reshape(-1), V, Z, zeros, sizes, addresses)
    units = blocks * panels
    kept = scratch("S", 0 if few else units * q * q * ss, x.dtype)
    S = own("one S", q * q * ss if few else 0, x.dtype)
    patch = own("patch", q * q * max(blocks * r, panels * b), x.dtype)
    for t0 in range(0, total, chunk):
        tiles, stage = min(chunk, total - t0), (t0 > 0) + 2 * (t0 + chunk >= total)
        share_out(_transform, tiles, t0, plan, own=(patch,), pieces=PARTS * get_num_threads())
        share_out(_blocks, units, plan, kept, 0 if few else q * q * ss, tiles, stage, own=(S,), pieces=units)
    return gw


@jit
def _transform(first, last, t0, plan, patch):
    """V and Z of some tiles of the chunk that begins at t0."""
    H, W, C, OH, OW, OC, top, left, m, q, down, across, _, B, R, L, vs, zs, _ = plan.sizes
    part, to = (t0 + first, t0 + last), -(-C // L) * L
    inputs(plan.addresses[0], plan.x, plan.V[first * R :], patch, plan.zeros, part[0], part[1], vs, H, W, C, to, R, R,
           q * q * vs, top, left, m, q, q, down, across)
    inputs(plan.addresses[1], plan.gy, plan.Z[first * B :], patch, plan.zeros, part[0], part[1], zs, OH, OW, OC,
           -(-OC // B) * B, B, B, q * q * zs, 0, 0, m, m, q, down, across)


@jit
def _blocks(first, last, plan, kept, apart_s, tiles, stage, S):
    """Some blocks, R input channels x B output channels, of S, and of gw = G^T S G.

    apart_s: from one S to the next, 0 if a block is done at once, each in the same place.
    stage: 1 if S has a sum already, + 2 if these tiles are the last.
    """
    _, _, C, _, _, OC, _, _, _, q, _, _, P, B, R, _, vs, zs, ss = plan.sizes
    size, offset, panels = plan.x.itemsize, np.zeros(1, np.int64), -(-OC // B)
    if apart_s:
        S = kept
    for unit in range(first, last):
        c0, o0 = unit // panels * R, unit % panels * B
        sums = S.ctypes.data + unit * apart_s * size
        for k in range(q * q):
            V = plan.V.ctypes.data + (unit // panels * q * q + k) * vs * size
            Z = plan.Z.ctypes.data + (unit % panels * q * q + k) * zs * size
            for t in range(0, tiles, TERMS):
                more = t > 0 or stage % 2 == 1
                for c in range(0, min(R, C - c0), P):
                    to = sums + (k * ss + c * B) * size
                    start, step = (to, B) if more else (plan.zeros.ctypes.data, 0)
                    run_tile(
                        plan.addresses[2], V + (t * R + c) * size, 1, R, offset.ctypes.data, 1, min(TERMS, tiles - t),
                        Z + t * B * size, 0, B, start, step, to, B, -np.inf,
                    )
        if stage >= 2:
            part = c0, min(R, C - c0), o0, min(B, OC - o0)
            _to_kernel(plan.addresses[3], sums, ss, plan.gw, plan.zeros, C, *part, q, B)


@jit_inside
def _to_kernel(address, S, ss, gw, zeros, C, c0, count, o0, valid, q, B):
    """gw = G^T S G for `count` input channels from c0 on and `valid` output channels from o0 on."""
    size = gw.itemsize
    kernel, run = np.empty((9, B), gw.dtype), np.empty((B, 9 * RUN), gw.dtype)
    for start in range(0, count, RUN):
        stop = min(start + RUN, count)
        for c in range(start, stop):
            run_sandwich(address, S + c * B * size, q * ss, ss, kernel.ctypes.data, 3 * B, B, zeros.ctypes.data, B,
                         -np.inf)
            for i in range(valid):
                for k in range(9):
                    run[i, (c - start) * 9 + k] = kernel[k, i]
        for i in range(valid):
            to = gw.ctypes.data + ((o0 + i) * C + c0 + start) * 9 * size
            copy(to, run.ctypes.data + i * 9 * RUN * size, (stop - start) * 9 * size)
