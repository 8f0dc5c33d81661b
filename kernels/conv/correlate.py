"""The sliding dot product on register tiles: what the direct algorithms do with a Walk.

No matrix of windows is built. Work is cut into blocks of output rows; the few input rows that a block sees are copied,
with the zeros around the edge, into a scratch that stays in the second-level cache (where nothing is outside, x itself
is read), and each tile of tile.py sums over all taps and channels of P neighbouring outputs in registers. Taps that are
neighbours in a row lie together in memory, and count as one tap with so many more channels.
"""
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..jit import jit
from ..memory import clear, copy
from ..threads import get_num_threads, scratch, share_out
from ..tile import lanes, most_pixels, run_tile, split, tile
from .pack import pack, vectors_for

SCRATCH = 1 << 18  # bytes of input rows in work at a time: a fourth of a usual second-level cache
PANELS = 1 << 19  # bytes of weights that all tiles of a block use before the next weights
ROW = 112  # pixels that are a row where an image need not be seen as one: a multiple of all usual tiles' pixels


class Plan(NamedTuple):
    """What follows from the shapes alone."""

    geometry: np.ndarray  # numbers that the loops unpack
    offsets: np.ndarray  # of the taps from an output's first one, in elements
    rows: np.ndarray  # input row, input column and output pixel of each row of outputs
    address: int  # of the tile
    copied: bool  # whether input rows are copied into a scratch, of
    image: int  # so many elements
    edge: int  # elements of one tile
    units: int  # of work


def correlate(x, w, walk, y, bias=None, low=-np.inf):
    """Fill y's outputs of the Walk: y = max(low, sum over taps and channels of x w + bias).

    x: N x H x W x G Cg, contiguous. w: G x OCg x Cg x kernel positions, any strides. y: N x YH x YW x G OCg,
    contiguous. bias: G OCg, or None. Arrays of one dtype.
    """
    g, ocg = w.shape[:2]
    plan = _plan(x.shape, w.shape, y.shape, walk, x.dtype, get_num_threads())
    panels, _ = pack(w, walk.order)
    start = np.zeros((g, panels.shape[1] * panels.shape[4]), x.dtype)
    if bias is not None:
        start[:, :ocg] = bias.reshape(g, ocg)
    arrays = x.reshape(-1), panels.reshape(-1), start.reshape(-1), y.reshape(-1)
    rest = plan.offsets, plan.rows, plan.copied, low, plan.geometry

    def piece(first, last):
        image, edge = scratch("image", plan.image, x.dtype), scratch("edge", plan.edge, x.dtype)
        _correlate(first, last, plan.address, *arrays, image, edge, *rest)

    share_out(piece, plan.units, pieces=min(plan.units, 4 * get_num_threads()))


@lru_cache(256)
def _plan(x_shape, w_shape, y_shape, walk, dtype, threads):
    g, ocg, cg, _ = w_shape
    copied = not walk.inside(x_shape[1:3])
    x_shape, y_shape, walk, rows_at = _rows(x_shape, y_shape, walk)
    n, height, width, c = x_shape
    (rows, cols), (sh, sw) = walk.grid, walk.stride
    top, left = min(walk.dh), min(walk.dw)
    copied = copied or clashes(c * sw, dtype)
    seen, thin = condensed(walk) if copied else (walk, (1, 1))
    sh, sw = seen.stride
    pixel = (cg + lanes(dtype) * clashes(cg * sw, dtype)) if copied else c
    reach, span = max(seen.dh) + 1, (cols - 1) * sw + max(seen.dw) + 1
    pitch = span * pixel if copied else width * c
    offsets, together = _offsets(seen, pixel, pitch, pixel == cg)
    block = max(1, min(rows, (SCRATCH // (pitch * dtype.itemsize) - reach) // sh + 1))
    block = 1 if height == 1 < rows else block
    while block > 1 and n * g * -(-rows // block) < 4 * threads:
        block = -(-block // 2)
    vectors = vectors_for(ocg, dtype)
    wide = vectors * lanes(dtype)
    count = -(-ocg // wide)
    units = n * g * -(-rows // block)
    parts = min(count, -(-threads // units)) if units < threads else 1
    pixels = split(cols, most_pixels(vectors))
    group = max(1, PANELS // (len(walk.order) * cg * wide * dtype.itemsize))
    geometry = np.array([
        height, width, c, cg, rows, cols, sh, sw, top, left, span, reach, *thin, pixel, block, parts, g, ocg, count,
        len(offsets), together * cg, *y_shape[1:], walk.step[1], pixels, wide, group,
    ], np.int64)
    image = (((block - 1) * sh + reach) * pitch if copied else 0) + 64
    address = tile(pixels, vectors, dtype).address
    return Plan(geometry, offsets, rows_at, address, copied, image, pixels * wide, units * parts)


def clashes(step, dtype):
    """Whether neighbours so many elements apart fall into the same few lines of the first-level cache."""
    return step * np.dtype(dtype).itemsize % 2048 == 0


def _rows(x_shape, y_shape, walk):
    """Shapes, the Walk, and where its rows begin: input row, input column and output pixel of each, an array rows x 3.

    A single tap that meets all pixels of x and y does not care where images and rows end: all pixels are one image of
    rows of a convenient length, of which the last may overlap the one before.
    """
    (rows, cols), n = walk.grid, x_shape[0]
    everything = len(walk.dh) == 1 and walk.dh == walk.dw == (0,) and walk.step == walk.stride == (1, 1)
    if everything and walk.grid == x_shape[1:3] == y_shape[1:3]:
        pixels = n * rows * cols
        cols = min(pixels, ROW)
        starts = np.minimum(np.arange(-(-pixels // cols)) * cols, pixels - cols)
        table = np.stack([0 * starts, starts, starts], 1)
        images = ((1, 1, pixels, shape[3]) for shape in (x_shape, y_shape))
        return *images, walk._replace(grid=(len(starts), cols)), table
    i = np.arange(rows)
    out = (walk.origin[0] + i * walk.step[0]) * y_shape[2] + walk.origin[1]
    return x_shape, y_shape, walk, np.stack([i * walk.stride[0], 0 * i, out], 1)


def condensed(walk):
    """The Walk over a copy of x that begins at its first input and leaves out rows and columns no tap sees.

    Returns it, and one of how many rows and of how many columns is there.
    """
    found = []
    for d, s in zip((walk.dh, walk.dw), walk.stride, strict=True):
        d = [one - min(d) for one in d]
        step = 1 if any(one % s for one in d) else s
        found.append((tuple(one // step for one in d), s // step, step))
    (dh, dw), stride, thin = zip(*found, strict=True)
    return walk._replace(dh=dh, dw=dw, stride=stride), thin


def _offsets(walk, pixel, pitch, adjoining):
    """Where the taps stand from an output's first one, in elements, and how many of them are taken together.

    adjoining: pixels lie together in memory, so that taps of a row may be taken as one, if all rows have as many.
    """
    runs = walk.runs() if adjoining else []
    if len({count for *_, count in runs}) != 1:
        runs = [(h, w, t, 1) for t, (h, w) in enumerate(zip(walk.dh, walk.dw, strict=True))]
    return np.array([h * pitch + w * pixel for h, w, _, _ in runs], np.int64), runs[0][3]


@jit
def fill(scratch, x, n, row, column, rows, cols, row_step, col_step, pixel, H, W, C, c, Cg):
    """scratch: rows x cols pixels of image n from (row, column) and channel c on, with zeros outside; x: flat NHWC.

    Every row_step-th row and col_step-th column of x. scratch has `pixel` elements for each pixel, Cg of them in use.
    """
    size = x.itemsize
    before = min(cols, max(0, -(column // col_step)))  # columns left of the image
    after = max(before, min(cols, -((column - W) // col_step)))
    for r in range(rows):
        h = row + r * row_step
        to = scratch.ctypes.data + r * cols * pixel * size
        if h < 0 or h >= H:
            clear(to, cols * pixel * size)
            continue
        clear(to, before * pixel * size)
        clear(to + after * pixel * size, (cols - after) * pixel * size)
        source = ((n * H + h) * W + column + before * col_step) * C + c
        if pixel == C == Cg and col_step == 1:
            copy(to + before * pixel * size, x.ctypes.data + source * size, (after - before) * pixel * size)
            continue
        at = (r * cols + before) * pixel
        for j in range(after - before):
            if Cg >= 16:
                copy(to + (before + j) * pixel * size, x.ctypes.data + (source + j * col_step * C) * size, Cg * size)
            else:
                for i in range(Cg):
                    scratch[at + j * pixel + i] = x[source + j * col_step * C + i]


@jit
def _correlate(first, last, address, x, w, start, y, scratch, edge, offsets, rows_at, copied, low, geometry):
    (H, W, C, Cg, rows, cols, sh, sw, top, left, span, reach, thin_h, thin_w, pixel, block, parts, G, OCg, panels, T, K,
     YH, YW, YC, col_step, P, B, group) = geometry
    blocks, size = -(-rows // block), x.itemsize
    pitch = span * pixel if copied else W * C
    source = scratch.ctypes.data if copied else x.ctypes.data
    for unit in range(first, last):
        part, g, n = unit % parts, unit // parts // blocks % G, unit // parts // blocks // G
        i0 = unit // parts % blocks * block
        i1 = min(i0 + block, rows)
        b0, b1 = panels * part // parts, panels * (part + 1) // parts
        if copied:
            fill(scratch, x, n, rows_at[i0, 0] + top, rows_at[i0, 1] + left, (i1 - i0 - 1) * sh + reach, span, thin_h,
                 thin_w, pixel, H, W, C, g * Cg, Cg)
        for first_panel in range(b0, b1, group):
            for i in range(i0, i1):
                row = (i - i0) * sh * pitch
                if not copied:
                    row = (n * H + rows_at[i, 0]) * pitch + rows_at[i, 1] * C + g * Cg
                out = (n * YH * YW + rows_at[i, 2]) * YC + g * OCg
                for t in range(-(-cols // P)):
                    j = min(t * P, cols - P)  # the last tile overlaps the one before
                    for b in range(first_panel, min(first_panel + group, b1)):
                        panel = w.ctypes.data + (g * panels + b) * T * K * B * size
                        bias = start.ctypes.data + (g * panels + b) * B * size
                        xo = row + j * sw * pixel
                        at, step, valid = out + b * B + j * col_step * YC, col_step * YC, min(B, OCg - b * B)
                        target, pace = (y.ctypes.data + at * size, step) if valid == B else (edge.ctypes.data, B)
                        run_tile(
                            address, source + xo * size, sw * pixel, 1, offsets.ctypes.data, T, K, panel, K * B, B,
                            bias, 0, target, pace, low,
                        )
                        if valid < B:
                            for q in range(P):
                                to = y.ctypes.data + (at + q * step) * size
                                copy(to, edge.ctypes.data + q * B * size, valid * size)
