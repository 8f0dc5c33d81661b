"""The weight gradient of the direct algorithms: the register tile the other way round.

Rows of the tile are (tap, input channel), columns output channels, and the sum runs over output pixels: a block of them
at a time, whose inputs are copied with the zeros around the edge and whose gradients are packed into panels, so that
both lie in the cache while all rows and columns meet. Sums are kept in one place from block to block; where pixels are
shared out, into a number of shares that depends on the shapes alone, the shares are added up in their order.
"""
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..jit import jit, jit_inside
from ..memory import clear, copy
from ..threads import PARTS, get_num_threads, own, scratch, share_out
from ..tile import lanes, most_pixels, run_tile, split, tile
from ..transpose import run_transpose, transpose
from .correlate import SCRATCH, clashes, condensed, fill
from .neighbours import narrowed, neighbours
from .pack import vectors_for

PART, PANELS = 64, 1  # input channels whose weight gradient is summed at a time, and panels of output channels:
WIDE_PART, WIDE_PANELS = 256, 4  # their sums, one for each tap, are gone through once for each block of pixels
LEAST = 16  # input channels of a unit of work, if it is made smaller
PIECES = 8  # of work there should be at least: where there are fewer, the pixels are shared out as well
FEWEST, TERMS = 128, 128  # of a sum over pixels that are added up in x's dtype, before they join a sum in float64
FEW = 8  # tiles that read a gradient: for more it is copied, so that what a panel has lies together
SMALL = 1 << 16  # sums that are added up and brought into order by one thread
RUN = 256  # numbers of a channel's weight gradient that are brought into order together


class Plan(NamedTuple):
    """What follows from the shapes alone."""

    geometry: np.ndarray  # numbers that the loops unpack
    blocks: np.ndarray  # of outputs: first and last image, row and column of each
    runs: np.ndarray  # of taps, see Walk.runs; where each begins in a panel of sums is in `heights`
    heights: np.ndarray
    order: np.ndarray  # the kernel position of each tap
    address: int  # of the tile
    pixels: int  # of the tile, and
    width: int  # its output channels
    units: int  # of work, times
    shares: int  # of the pixels
    inputs: int  # elements of the scratch for inputs,
    given: int  # for gradients,
    sums: int  # for the sums of a unit,
    rows: int  # and for offsets of rows
    in_place: bool  # whether gradients are read where they lie


def weight_gradient(x, gy, walk, gw):
    """Fill gw with the sums over all outputs of x times gy.

    x: N x H x W x G Cg, contiguous. gy: N x OH x OW x G OCg, contiguous, the Walk's whole grid. gw: G x OCg x Cg x
    kernel positions, contiguous.
    """
    if found := neighbours((walk,), gw.shape, gy.shape, x.dtype, gradient=True):
        wide = np.empty((1, found.many * gw.shape[1], gw.shape[2], len(found.walk.order)), gw.dtype)
        weight_gradient(x, gy.reshape(*gy.shape[:2], gy.shape[2] // found.many, -1), found.walk, wide)
        narrowed(wide, found, gw)
        return
    plan = _plan(x.shape, gw.shape, walk, x.dtype)
    units, shares = plan.units, plan.shares
    arrays = x.reshape(-1), gy.reshape(-1), gw.reshape(-1)
    tables = plan.blocks, plan.runs, plan.order, plan.geometry
    inputs, given = own("image", plan.inputs, x.dtype), own("given", plan.given, x.dtype)
    inputs[:, plan.inputs - plan.pixels :] = 0
    kept = scratch("kept", units * shares * plan.sums if shares > 1 else 0, np.float64)
    mine = inputs, given, own("sums", plan.sums if shares == 1 else 0, np.float64), own("offsets", plan.rows, np.int64)
    share_out(
        _weight_gradient, units * shares, plan.address, *arrays, kept, plan.heights, np.zeros(plan.width, x.dtype),
        plan.in_place, *tables, own=mine, pieces=PARTS * get_num_threads(),
    )
    if shares > 1:
        finish = kept, arrays[2], plan.heights, *tables[1:]
        share_out(_join, units, *finish, pieces=units if kept.size > SMALL else 1)


@lru_cache(256)
def _plan(x_shape, gw_shape, walk, dtype):
    n, height, width, c = x_shape
    g, ocg, cg, positions = gw_shape
    if len(walk.dh) == 1 and walk.stride == (1, 1) and walk.grid == (height, width) and walk.inside(walk.grid):
        n, height, width = 1, 1, n * height * width  # rows and images do not matter
        walk = walk._replace(grid=(height, width))
    (rows, cols), (row_step, col_step) = walk.grid, walk.stride
    seen, thin = condensed(walk)
    sh, sw = seen.stride
    runs, order = np.array(seen.runs(), np.int64), np.array(walk.order, np.int64)
    vectors = vectors_for(ocg, dtype)
    width_b = vectors * lanes(dtype)
    panels = -(-ocg // width_b)
    part, together = _unit(g, cg, panels, width_b, len(order), clashes(c, dtype), n * rows * cols)
    units = g * -(-cg // part) * -(-panels // together)
    terms = min(TERMS, max(FEWEST, n * rows * cols * units // (2 * PIECES)))
    blocks = _blocks(n, rows, cols, terms, sw * part * dtype.itemsize)
    shares = max(1, min(-(-PIECES // units), len(blocks) // 2))
    most_images, most_rows, most_cols = map(int, (blocks[:, 1::2] - blocks[:, ::2]).max(0))
    reach, span = max(seen.dh) + 1, (most_cols - 1) * sw + max(seen.dw) + 1
    image = ((most_rows - 1) * sh + reach) * span * part
    pixels = split(int(runs[:, 3].max()) * part, most_pixels(vectors))
    heights = np.cumsum([0, *(-(-runs[:, 3] * part // pixels) * pixels)])
    geometry = np.array([
        height, width, c, cg, rows, cols, sh, sw, row_step, col_step, min(walk.dh), min(walk.dw), span, reach, *thin,
        part, shares, image, g, ocg, panels, together, positions, pixels, width_b,
        transpose(dtype).address, lanes(dtype),
    ], np.int64)
    address, most = tile(pixels, vectors, dtype, joining=True).address, most_images * most_rows * most_cols
    inputs, given, sums = most_images * image + pixels, together * most * width_b, int(together * heights[-1] * width_b)
    readers = heights[-1] // pixels * -(-cg // part)
    in_place = g * ocg == width_b or (ocg % width_b == 0 and not clashes(g * ocg, dtype) and readers <= FEW)
    return Plan(
        geometry, blocks, runs, heights, order, address, pixels, width_b, units, shares, inputs, given, sums,
        most_images * most_rows, bool(in_place),
    )


def _unit(g, cg, panels, width, taps, clashing, pixels):
    """(input channels, panels of output channels) of a unit of work.

    Where there are fewer units than PIECES they are made smaller, if gradients read once more are less than sums of
    another share of the pixels.
    """
    part, together = (PART, PANELS) if taps > 1 else (WIDE_PART, WIDE_PANELS)
    if taps == 1 and clashing:  # less of each pixel, for all of them meet in the same few lines
        part //= 2
    part, together = split(cg, part), split(panels, together)
    heavy = 4 * taps * cg > pixels  # sums have 8 bytes, gradients 4, and sums are cleared, added to and joined
    while heavy and g * -(-cg // part) * -(-panels // together) < PIECES and (together > 1 or part >= 2 * LEAST):
        part, together = (part, -(-together // 2)) if together > 1 else (-(-part // 2), 1)
    return part, together


def _blocks(n, rows, cols, terms, pixel_bytes):
    """Blocks of about so many output pixels: first and last image, row and column of each."""
    if rows == 1 and n == 1:
        return np.array([(0, 1, 0, 1, j, min(j + terms, cols)) for j in range(0, cols, terms)], np.int64)
    at_once = max(1, min(SCRATCH // (pixel_bytes * cols), terms // cols))  # rows of outputs
    block, images = min(rows, at_once), max(1, min(n, at_once // rows))
    return np.array([
        (m, min(m + images, n), i, min(i + block, rows), 0, cols)
        for m in range(0, n, images) for i in range(0, rows, block)
    ], np.int64)


@jit
def _weight_gradient(first, last, address, x, gy, gw, kept, heights, zeros, in_place, blocks, runs, order, geometry,
                     inputs, given, sums, offsets):
    (H, W, C, Cg, rows, cols, sh, sw, row_step, col_step, top, left, span, reach, thin_h, thin_w, part, shares, image,
     G, OCg, panels, together, _, P, B, _, _) = geometry
    parts, groups, size, length = -(-Cg // part), -(-panels // together), x.itemsize, together * heights[-1] * B
    if shares > 1:
        sums = kept
    for number in range(first, last):
        unit, share = number // shares, number % shares
        b0, g = unit % groups * together, unit // groups // parts
        b1, c0 = min(b0 + together, panels), unit // groups % parts * part
        Cb = min(part, Cg - c0)
        here = (number if shares > 1 else 0) * length
        clear(sums.ctypes.data + here * 8, length * 8)
        for k in range(len(blocks) * share // shares, len(blocks) * (share + 1) // shares):
            n0, n1, i0, i1, j0, j1 = blocks[k]
            down = i1 - i0
            for n in range(n0, n1):
                row, column = i0 * row_step + top, j0 * col_step + left
                fill(inputs[(n - n0) * image :], x, n, row, column, (down - 1) * sh + reach, span, thin_h, thin_w, Cb,
                     H, W, C, g * Cg + c0, Cb)
            step, row_length = (G * OCg, cols * G * OCg) if in_place else (B, (j1 - j0) * B)
            if not in_place:
                _pack_gradients(gy, given, n0, n1, i0, i1, j0, j1, b0, b1, rows, cols, g, G, OCg, B)
            for b in range(b0, b1):
                panel = given.ctypes.data + (b - b0) * (n1 - n0) * down * (j1 - j0) * B * size
                if in_place:
                    panel = gy.ctypes.data + ((((n0 * rows + i0) * cols + j0) * G + g) * OCg + b * B) * size
                for run in range(len(runs)):
                    dh, dw, _, count = runs[run]
                    for i in range((n1 - n0) * down):
                        offsets[i] = i // down * image + ((i % down * sh + dh) * span + dw) * Cb
                    for p in range(0, count * Cb, P):
                        to = sums.ctypes.data + (here + ((b - b0) * heights[-1] + heights[run] + p) * B) * 8
                        run_tile(
                            address, inputs.ctypes.data + p * size, 1, sw * Cb, offsets.ctypes.data, (n1 - n0) * down,
                            j1 - j0, panel, row_length, step, zeros.ctypes.data, 0, to, B, -np.inf,
                        )
        if shares == 1:
            _finish(unit, sums, gw, heights, runs, order, geometry)


@jit
def _join(first, last, sums, gw, heights, runs, order, geometry):
    """Add up the shares of some units, each in the same order, and finish."""
    shares, together, B = geometry[17], geometry[22], geometry[25]
    length = together * heights[-1] * B
    for unit in range(first, last):
        total = sums[unit * shares * length : (unit * shares + 1) * length]
        for share in range(1, shares):
            one = sums[(unit * shares + share) * length : (unit * shares + share + 1) * length]
            for i in range(length):
                total[i] += one[i]
        _finish(unit, total, gw, heights, runs, order, geometry)


@jit_inside
def _finish(unit, sums, gw, heights, runs, order, geometry):
    """The sums of a unit into gw."""
    Cg, part, OCg, panels, together, positions, B, address, L = (
        geometry[3], geometry[16], geometry[20], geometry[21], geometry[22], geometry[23], geometry[25], geometry[26],
        geometry[27],
    )
    parts, groups = -(-Cg // part), -(-panels // together)
    b0, g, c0 = unit % groups * together, unit // groups // parts, unit // groups % parts * part
    Cb = min(part, Cg - c0)
    for b in range(b0, min(b0 + together, panels)):
        total = sums[(b - b0) * heights[-1] * B :]
        valid, to = min(B, OCg - b * B), ((g * OCg + b * B) * Cg + c0) * positions
        if positions == 1 and valid == B and Cb % L == 0:
            _turned(address, total, gw[to:], Cb, Cg, B, L)
            continue
        _in_order(total, gw[to:], heights, runs, order, Cb, Cg * positions, positions, valid, B)


@jit_inside
def _pack_gradients(gy, given, n0, n1, i0, i1, j0, j1, b0, b1, rows, cols, g, G, OCg, B):
    """gy of some outputs as panels of B channels, with zeros after the last one."""
    size, at = gy.itemsize, given.ctypes.data
    for b in range(b0, b1):
        valid = min(B, OCg - b * B)
        for n in range(n0, n1):
            for i in range(i0, i1):
                source = gy.ctypes.data + ((((n * rows + i) * cols + j0) * G + g) * OCg + b * B) * size
                for _ in range(j0, j1):
                    copy(at, source, valid * size)
                    if valid < B:
                        clear(at + valid * size, (B - valid) * size)
                    at += B * size
                    source += G * OCg * size


@jit_inside
def _in_order(sums, gw, heights, runs, order, Cb, row, positions, valid, B):
    """A panel of sums, (run, tap of it, channel) x B, into gw: rows of Cb channels x kernel positions."""
    size, buffer = gw.itemsize, np.empty((B, max(RUN, positions)), gw.dtype)
    step = max(1, RUN // positions)
    for c0 in range(0, Cb, step):
        c1 = min(c0 + step, Cb)
        for run in range(len(runs)):
            for i in range(runs[run, 3]):
                t = order[runs[run, 2] + i]
                for c in range(c0, c1):
                    at = (heights[run] + i * Cb + c) * B
                    for o in range(valid):
                        buffer[o, (c - c0) * positions + t] = sums[at + o]
        for o in range(valid):
            to = gw.ctypes.data + (o * row + c0 * positions) * size
            copy(to, buffer[o].ctypes.data, (c1 - c0) * positions * size)


@jit_inside
def _turned(address, total, gw, Cb, row, B, L):
    """The same for a kernel of one position, L channels at a time: sums Cb x B, gw rows of Cb channels."""
    size, narrow, table = gw.itemsize, np.empty(L * B, gw.dtype), np.empty(L, np.int64)
    for c in range(0, Cb, L):
        for i in range(L * B):
            narrow[i] = total[c * B + i]
        for o in range(0, B, L):
            for i in range(L):
                table[i] = gw.ctypes.data + ((o + i) * row + c) * size
            run_transpose(address, narrow.ctypes.data + o * size, B, table.ctypes.data, 0.0)
