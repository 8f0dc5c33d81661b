"""The sliding dot product on register tiles: what the direct algorithms do with a Walk.

No matrix of windows is built. Work is cut into blocks of output rows; the few input rows that a block sees are copied,
with the zeros around the edge, into a scratch that stays in the second-level cache (where nothing is outside, x itself
is read), and each tile of tile.py sums over all taps and channels of P neighbouring outputs in registers. Taps that are
neighbours in a row lie together in memory, and count as one tap with so many more channels.
"""
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..jit import jit, jit_inside
from ..memory import claim, clear, copy, fetch
from ..threads import PARTS, get_num_threads, own, share_out
from ..tile import host, lanes, most_pixels, run_tile, split, tile
from .neighbours import neighbours, widened
from .pack import pack, vectors_for

SCRATCH = 1 << 18  # bytes of input rows in work at a time: a fourth of a usual second-level cache
PANELS = 1 << 19  # bytes of weights that all tiles of a block use before the next weights
LITTLE = 1 << 25  # multiplications up to which each thread gets one piece of work
ROW = 112  # pixels that are a row where an image need not be seen as one: a multiple of all usual tiles' pixels


class Plan(NamedTuple):
    """What follows from the shapes alone."""

    order: tuple  # of the taps: their kernel positions
    vectors: int  # V of the tile
    steps: np.ndarray  # numbers that the loops unpack, for each Walk
    offsets: np.ndarray  # of the taps from an output's first one, in elements
    rows: np.ndarray  # input row, input column and output pixel of each row of outputs
    copied: bool  # whether input rows are copied into a scratch, of
    image: int  # so many elements
    edge: int  # elements of one tile
    units: int  # of work
    geometry: np.ndarray  # more numbers for the loops


def correlate(x, w, walks, y, bias=None, low=-np.inf, kept=None):
    """Fill y's outputs of the Walks: y = max(low, sum over taps and channels of x w + bias).

    x: N x H x W x G Cg, contiguous. w: G x OCg x Cg x kernel positions, any strides. walks: a tuple, of one stride; a
    kernel position is in one of them at most. y: N x YH x YW x G OCg, contiguous. bias: G OCg, or None. Arrays of one
    dtype. kept: what was made of w (prepare.py).
    """
    if found := neighbours(walks, w.shape, y.shape, x.dtype):
        w, walks, kept, (n, rows, cols, _) = widened(w, found), (found.walk,), None, y.shape
        y = y.reshape(n, rows, cols // found.many, -1)
        bias = None if bias is None else np.concatenate([bias] * found.many)
    g, ocg = w.shape[:2]
    plan = _plan(x.shape, w.shape, y.shape, walks, x.dtype, get_num_threads())
    panels, _ = pack(w, plan.order, kept, plan.vectors)
    start = np.zeros((g, panels.shape[1] * panels.shape[4]), x.dtype)
    if bias is not None:
        start[:, :ocg] = bias.reshape(g, ocg)
    arrays = x.reshape(-1), panels.reshape(-1), start.reshape(-1), y.reshape(-1)
    rest = plan.offsets, plan.rows, plan.steps, plan.copied, low, plan.geometry
    seen = own("image", plan.image, x.dtype), own("edge", plan.edge, x.dtype)
    share_out(_correlate, plan.units, *arrays, *rest, own=seen, pieces=PARTS * get_num_threads())


@lru_cache(256)
def _plan(x_shape, w_shape, y_shape, walks, dtype, threads):
    g, ocg, cg, _ = w_shape
    x_shape, y_shape, walks, rows_at = _rows(x_shape, y_shape, walks)
    n, height, width, c = x_shape
    both = _together(walks)
    sw = both.stride[1]
    copied = not all(walk.inside((height, width)) for walk in walks) or clashes(c * sw, dtype)
    seen, thin = condensed(both) if copied else (both, (1, 1))
    (rows, cols), (sh, sw), top, left = both.grid, seen.stride, min(both.dh), min(both.dw)
    pixel = (cg + lanes(dtype) * clashes(cg * sw, dtype)) if copied else c
    reach, span = max(seen.dh) + 1, (cols - 1) * sw + max(seen.dw) + 1
    pitch = span * pixel if copied else width * c
    narrow = cols <= most_pixels(4) and ocg % (4 * lanes(dtype)) == 0  # two vectors would leave few sums
    vectors = 4 if narrow else vectors_for(ocg, dtype)
    wide = vectors * lanes(dtype)
    count, panel = -(-ocg // wide), len(both.order) * cg * wide
    wanted = threads * (4 if n * rows * cols * g * count * panel > LITTLE else 1)
    lines, counts = (reach, sh, pitch * dtype.itemsize), (n, rows, 1 if height == 1 < rows else rows, g, count)
    images, block, parts = _share(*counts, lines, g * count * panel * dtype.itemsize, wanted)
    image = ((block - 1) * sh + reach) * pitch if copied else height * pitch
    steps, offsets = _steps(walks, seen, cg, wide, vectors, pixel, pitch, dtype)
    group = max(1, PANELS // (panel * dtype.itemsize))
    geometry = np.array([
        n, height, width, c, cg, rows, sh, sw, top, left, span, reach, *thin, pixel, images, block, parts, image, g,
        ocg, count, panel, *y_shape[1:], walks[0].step[1], wide, group,
    ], np.int64)
    units = g * -(-n // images) * -(-rows // block) * parts
    scratch_size = images * image + 64 if copied else 0
    edge = max(steps[:, 2]) * wide
    return Plan(both.order, vectors, steps, offsets, rows_at, copied, scratch_size, edge, units, geometry)


def _share(n, rows, most, g, panels, lines, weights, wanted):
    """(images, rows of an image, parts of the panels) that are a unit of work; `wanted` units, or more.

    most: rows of an image that a unit may have. lines: rows that one output sees, from one output to the next, and
    bytes of each. weights: bytes. Those that do not stay in the cache are read anew for each unit, so it should have
    many outputs; where there are more weights than there is of x they are shared out themselves.
    """
    reach, step, pitch = lines
    seen = SCRATCH * (2 if weights > 2 * SCRATCH else 1) // pitch  # rows of x
    block = max(1, min(most, (seen - reach) // step + 1))
    images = max(1, min(n, seen // ((rows - 1) * step + reach))) if block == rows else 1
    heavy = weights > n * rows * step * pitch

    def units():
        return g * -(-n // images) * -(-rows // block)

    while units() < wanted and not heavy and (images > 1 or block > 1):
        images, block = (-(-images // 2), block) if images > 1 else (1, -(-block // 2))
    return images, block, min(panels, -(-wanted // units()))


def clashes(step, dtype):
    """Whether neighbours so many elements apart fall into the same few lines of the first-level cache."""
    return step * np.dtype(dtype).itemsize % 2048 == 0


def _rows(x_shape, y_shape, walks):
    """Shapes, Walks, and where their rows begin: input row, input column and output pixel of each, an array rows x 3.

    A single tap that meets all pixels of x and y does not care where images and rows end: all pixels are one image of
    rows of a convenient length, of which the last may overlap the one before.
    """
    walk, n = walks[0], x_shape[0]
    everything = len(walk.dh) == 1 and walk.dh == walk.dw == (0,) and walk.step == walk.stride == (1, 1)
    if everything and walk.grid == x_shape[1:3] == y_shape[1:3]:
        pixels = n * walk.grid[0] * walk.grid[1]
        cols = split(pixels, ROW)
        cols = min(pixels, -(-cols // host().pixels) * host().pixels)
        starts = np.minimum(np.arange(-(-pixels // cols)) * cols, pixels - cols)
        table = np.stack([0 * starts, starts, starts], 1)
        images = ((1, 1, pixels, shape[3]) for shape in (x_shape, y_shape))
        return *images, (walk._replace(grid=(len(starts), cols)),), table
    tables = []
    for walk in walks:
        i = np.arange(walk.grid[0])
        out = (walk.origin[0] + i * walk.step[0]) * y_shape[2] + walk.origin[1]
        tables.append(np.stack([i * walk.stride[0], 0 * i, out], 1))
    return x_shape, y_shape, walks, np.concatenate(tables)


def _together(walks):
    """One Walk that sees what all of them see, with the taps of one after those of the other."""
    if len(walks) == 1:
        return walks[0]
    grids, taps = zip(*(walk.grid for walk in walks), strict=True), [(w.dh, w.dw, w.order) for w in walks]
    return walks[0]._replace(**dict(zip(("dh", "dw", "order"), map(_joined, zip(*taps, strict=True)), strict=True)),
                             grid=tuple(map(max, grids)))


def _joined(tuples):
    return tuple(one for many in tuples for one in many)


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


def _steps(walks, seen, cg, wide, vectors, pixel, pitch, dtype):
    """What the loops need to know of each Walk, and where all taps stand from an output's first one, in elements.

    seen: the Walk of all taps, as they lie in what is read. Where pixels lie together in memory, so that the taps of a
    row may be taken as one, they are, if all rows of a Walk have as many.
    """
    steps, offsets, tap, row = [], [], 0, 0
    for walk in walks:
        taps = len(walk.dh)
        one = walk._replace(dh=seen.dh[tap : tap + taps], dw=seen.dw[tap : tap + taps])
        runs = one.runs() if pixel == cg else []
        if len({count for *_, count in runs}) != 1:
            runs = [(h, w, t, 1) for t, (h, w) in enumerate(zip(one.dh, one.dw, strict=True))]
        pixels = split(walk.grid[1], most_pixels(vectors))
        address = tile(pixels, vectors, dtype).address
        weights = tap * cg * wide
        steps.append((*walk.grid, pixels, address, len(offsets), len(runs), runs[0][3] * cg, weights, row))
        offsets += [h * pitch + w * pixel for h, w, _, _ in runs]
        tap, row = tap + taps, row + walk.grid[0]
    return np.array(steps, np.int64), np.array(offsets, np.int64)


@jit_inside
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
def _correlate(first, last, x, w, start, y, offsets, rows_at, steps, copied, low, geometry, scratch, edge):
    (N, H, W, C, Cg, rows, sh, sw, top, left, span, reach, thin_h, thin_w, pixel, images, block, parts, image, G, OCg,
     panels, panel_size, YH, YW, YC, col_step, B, group) = geometry
    blocks, pitch = -(-rows // block), span * pixel if copied else W * C
    source, size = scratch if copied else x, x.itemsize
    for unit in range(first, last):
        part, g, n0 = unit % parts, unit // parts // blocks % G, unit // parts // blocks // G * images
        i0 = unit // parts % blocks * block
        i1, n1 = min(i0 + block, rows), min(n0 + images, N)
        b0, b1 = panels * part // parts, panels * (part + 1) // parts
        for n in range(n0, n1 if copied else n0):
            fill(scratch[(n - n0) * image :], x, n, rows_at[i0, 0] + top, rows_at[i0, 1] + left,
                 (i1 - i0 - 1) * sh + reach, span, thin_h, thin_w, pixel, H, W, C, g * Cg, Cg)
        for p0 in range(b0, b1, group):
            p1 = min(p0 + group, b1)
            for walk in range(len(steps)):
                for n in range(n0, n1):
                    for i in range(i0, min(i1, steps[walk, 0])):
                        r = steps[walk, 8] + i
                        row = (n - n0) * image + (i - i0) * sh * pitch
                        if not copied:
                            row = n * image + rows_at[r, 0] * pitch + rows_at[r, 1] * C + g * Cg
                        out = (n * YH * YW + rows_at[r, 2]) * YC + g * OCg
                        _row(source.ctypes.data + row * size,
                             w.ctypes.data + (g * panels * panel_size + steps[walk, 7]) * size,
                             start.ctypes.data + g * panels * B * size, y.ctypes.data + out * size, edge.ctypes.data,
                             offsets.ctypes.data + steps[walk, 4] * 8, steps, walk, p0, p1, sw * pixel, panel_size,
                             col_step * YC, OCg, B, low, not copied and p0 == b0, size)


@jit_inside
def _row(x, w, start, y, edge, offsets, steps, walk, p0, p1, pixel, panel_size, y_step, OCg, B, low, cold, size):
    """A row of outputs, from where its first one sees x: the tiles of panels p0 ... p1. cold: x is in no cache yet.

    x, w, start, y, edge, offsets: addresses, for what counts the users of an array takes longer than a short row.
    """
    cols, P, address, T, K = steps[walk, 1], steps[walk, 2], steps[walk, 3], steps[walk, 5], steps[walk, 6]
    for t in range(-(-cols // P)):
        j = min(t * P, cols - P)  # the last tile overlaps the one before
        for b in range(p0, p1):
            if cold and T == 1:  # a share of what the next tile reads
                seen, tail = P * pixel * size, x + (j + P) * pixel * size
                fetch(tail + seen * (b - p0) // (p1 - p0), seen // (p1 - p0))
            at, valid = y + (j * y_step + b * B) * size, min(B, OCg - b * B)
            for q in range(P):
                claim(at + q * y_step * size, valid * size)
            target, pace = (at, y_step) if valid == B else (edge, B)
            run_tile(
                address, x + j * pixel * size, pixel, 1, offsets, T, K, w + b * panel_size * size, K * B, B,
                start + b * B * size, 0, target, pace, low,
            )
            if valid < B:
                for q in range(P):
                    copy(at + q * y_step * size, edge + q * B * size, valid * size)
