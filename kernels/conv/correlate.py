"""The sliding dot product on register tiles: what the direct algorithms do with a Walk.

No matrix of windows is built. Work is cut into blocks of output rows; the few input rows that a block sees are copied,
with the zeros around the edge, into a scratch that stays in the second-level cache (where nothing is outside, x itself
is read), and each tile of tile.py sums over all taps and channels of P neighbouring outputs in registers. Taps that are
neighbours in a row lie together in memory, and count as one tap with so many more channels.

The weight gradient is the same tile the other way round: rows are (tap, channel), the sum runs over the output pixels,
and the sums of all blocks of pixels are kept in one place. Nothing is added in an order that depends on the threads.
"""
import numpy as np

from ..jit import jit
from ..memory import clear, copy
from ..threads import get_num_threads, scratch, share_out
from ..tile import lanes, run_tile, split, tile

SCRATCH = 1 << 18  # bytes of input rows in work at a time: a fourth of a usual second-level cache
PART = 64  # input channels whose weight gradient is summed at a time
TERMS = 128  # of a sum over pixels that are added up in x's dtype, before they join a sum in float64


def correlate(x, w, walk, y, bias=None, low=-np.inf):
    """Fill y's outputs of the Walk: y = max(low, sum over taps and channels of x w + bias).

    x: N x H x W x G Cg, contiguous. w: G x OCg x Cg x kernel positions, any strides. y: N x YH x YW x G OCg,
    contiguous. bias: G OCg, or None. Arrays of one dtype. Depthwise (Cg = OCg = 1) the channels, not the groups, are
    what vectors hold.
    """
    g, ocg, cg, _ = w.shape
    n, height, width, c = x.shape
    (rows, cols), (sh, sw) = walk.grid, walk.stride
    depthwise = g > 1 and cg == ocg == 1
    if depthwise:
        w, g, ocg, cg = w.transpose(1, 0, 2, 3), 1, c, c
    copied = not walk.inside((height, width)) or (depthwise and c % (2 * lanes(x.dtype)) > 0)
    (top, _), (left, right) = walk.span(0), walk.span(1)
    pixel, pitch = (cg, (right - left) * cg) if copied else (c, width * c)
    offsets, together = _offsets(walk, pixel, pitch, (top, left) if copied else (0, 0), pixel == cg and not depthwise)
    reach = max(walk.dh) - top + 1
    threads = get_num_threads()
    block = max(1, min(rows, (SCRATCH // (pitch * x.itemsize) - reach) // sh + 1))
    while block > 1 and n * g * -(-rows // block) < 2 * threads:
        block = -(-block // 2)
    panels, vectors = pack(w, walk.order)
    units = n * g * -(-rows // block)
    parts = min(panels.shape[1], -(-threads // units)) if units < threads else 1
    start = np.zeros((g, panels.shape[1] * panels.shape[4]), x.dtype)
    if bias is not None:
        start[:, :ocg] = bias.reshape(g, ocg)
    pixels = split(cols)
    address = tile(pixels, vectors, x.dtype, depthwise).address
    geometry = np.array([
        height, width, c, cg, rows, cols, sh, sw, top, left, right - left, reach, block, parts, g, ocg, panels.shape[1],
        len(offsets), 1 if depthwise else together * cg, *y.shape[1:], *walk.origin, *walk.step, pixels,
        panels.shape[4], depthwise,
    ], np.int64)
    arrays = x.reshape(-1), panels.reshape(-1), start.reshape(-1), y.reshape(-1)

    def piece(first, last):
        image = scratch("image", (((block - 1) * sh + reach) * pitch if copied else 0) + 64, x.dtype)
        edge = np.empty(pixels * panels.shape[4], x.dtype)
        _correlate(first, last, address, *arrays, image, edge, offsets, copied, low, geometry)

    share_out(piece, units * parts, pieces=min(units * parts, 4 * threads))


def _offsets(walk, pixel, pitch, origin, adjoining):
    """Where the taps stand from an output's first one, in elements, and how many of them are taken together.

    adjoining: pixels lie together in memory, so that taps of a row may be taken as one, if all rows have as many.
    """
    runs = walk.runs() if adjoining else []
    if len({count for *_, count in runs}) != 1:
        runs = [(h, w, t, 1) for t, (h, w) in enumerate(zip(walk.dh, walk.dw, strict=True))]
    return np.array([(h - origin[0]) * pitch + (w - origin[1]) * pixel for h, w, _, _ in runs], np.int64), runs[0][3]


def pack(w, order):
    """w (G x OCg x Cg x positions) as panels G x OCg/B x taps x Cg x B, zeros after the last channel; and B / L.

    order: the kernel position of each tap.
    """
    g, ocg, cg, _ = w.shape
    vectors = 1 if ocg <= lanes(w.dtype) else 2
    width = vectors * lanes(w.dtype)
    panels = scratch("panels", (g, -(-ocg // width), len(order), cg, width), w.dtype)
    share_out(_pack, g * panels.shape[1], w, np.array(order, np.int64), panels)
    return panels, vectors


@jit
def _pack(first, last, w, order, panels):
    _, B, T, K, width = panels.shape
    OCg = w.shape[1]
    for unit in range(first, last):
        g, b = unit // B, unit % B
        valid = min(width, OCg - b * width)
        for k in range(K):
            for t in range(T):
                for o in range(valid):
                    panels[g, b, t, k, o] = w[g, b * width + o, k, order[t]]
                for o in range(valid, width):
                    panels[g, b, t, k, o] = 0


@jit
def fill(scratch, x, n, row, column, rows, cols, H, W, C, c, Cg):
    """scratch: rows x cols x Cg of image n from (row, column) and channel c on, with zeros outside. x: flat NHWC."""
    size = x.itemsize
    for r in range(rows):
        h = row + r
        to = scratch.ctypes.data + r * cols * Cg * size
        before = cols if h < 0 or h >= H else min(cols, max(0, -column))
        after = before if before == cols else max(before, min(cols, W - column))
        clear(to, before * Cg * size)
        clear(to + after * Cg * size, (cols - after) * Cg * size)
        source = ((n * H + h) * W + column + before) * C + c
        if Cg == C:
            copy(to + before * Cg * size, x.ctypes.data + source * size, (after - before) * Cg * size)
            continue
        at = (r * cols + before) * Cg
        for j in range(after - before):
            if Cg >= 16:
                copy(to + (before + j) * Cg * size, x.ctypes.data + (source + j * C) * size, Cg * size)
            else:
                for i in range(Cg):
                    scratch[at + j * Cg + i] = x[source + j * C + i]


@jit
def _correlate(first, last, address, x, w, start, y, scratch, edge, offsets, copied, low, geometry):
    (H, W, C, Cg, rows, cols, sh, sw, top, left, span, reach, block, parts, G, OCg, panels, T, K, YH, YW, YC,
     row0, col0, row_step, col_step, P, B, depthwise) = geometry
    blocks, size = -(-rows // block), x.itemsize
    pitch, pixel = (span * Cg, Cg) if copied else (W * C, C)
    source = scratch.ctypes.data if copied else x.ctypes.data
    for unit in range(first, last):
        part, g, n = unit % parts, unit // parts // blocks % G, unit // parts // blocks // G
        i0 = unit // parts % blocks * block
        i1 = min(i0 + block, rows)
        if copied:
            fill(scratch, x, n, i0 * sh + top, left, (i1 - i0 - 1) * sh + reach, span, H, W, C, g * Cg, Cg)
        for b in range(panels * part // parts, panels * (part + 1) // parts):
            panel = w.ctypes.data + (g * panels + b) * T * K * B * size
            bias = start.ctypes.data + (g * panels + b) * B * size
            valid = min(B, OCg - b * B)
            for i in range(i0, i1):
                xo = ((i - i0) * sh * pitch if copied else (n * H + i * sh) * pitch + g * Cg) + depthwise * b * B
                yo = ((n * YH + row0 + i * row_step) * YW + col0) * YC + g * OCg + b * B
                for t in range(-(-cols // P)):
                    j = min(t * P, cols - P)  # the last tile overlaps the one before
                    at, step = yo + j * col_step * YC, col_step * YC
                    target, pace = (y.ctypes.data + at * size, step) if valid == B else (edge.ctypes.data, B)
                    run_tile(
                        address, source + (xo + j * sw * pixel) * size, sw * pixel, 1, offsets.ctypes.data, T, K,
                        panel, K * B, B, bias, 0, target, pace, low,
                    )
                    if valid < B:
                        for q in range(P):
                            for o in range(valid):
                                y[at + q * step + o] = edge[q * B + o]


# --- the weight gradient


def weight_gradient(x, gy, walk, gw):
    """Fill gw with the sums over all outputs of x times gy.

    x: N x H x W x G Cg, contiguous. gy: N x OH x OW x G OCg, contiguous, the Walk's whole grid. gw: G x OCg x Cg x
    kernel positions, contiguous.
    """
    g, ocg, cg, positions = gw.shape
    if g > 1 and cg == ocg == 1:
        table = np.array([walk.dh, walk.dw, walk.order], np.int64)
        share_out(_depthwise_weight_gradient, -(-g // PART), x, gy, gw.reshape(g, positions), table, *walk.stride)
        return
    n, height, width, c = x.shape
    (rows, cols), (sh, sw) = walk.grid, walk.stride
    runs = np.array(walk.runs(), np.int64)
    (top, _), (left, right) = walk.span(0), walk.span(1)
    span, reach = right - left, max(walk.dh) - top
    vectors = 1 if ocg <= lanes(x.dtype) else 2
    panel = vectors * lanes(x.dtype)
    wide = -(-ocg // panel) * panel
    if wide != ocg:  # the last vector reads past its channels, and so past the end of gy
        padded = np.zeros(gy.size + panel, x.dtype)
        padded[: gy.size] = gy.reshape(-1)
        gy = padded
    threads = get_num_threads()
    part, shares = min(cg, PART), 1
    while part > 8 and g * -(-cg // part) < threads:
        part = -(-part // 2)
    if g * -(-cg // part) < threads:  # few channels: share out the rows of the kernel as well
        shares = min(len(runs), threads)
    row_bytes = (span * sh * part + cols * g * ocg) * x.itemsize
    at_once = max(1, min(SCRATCH // row_bytes, TERMS // cols))  # rows of outputs
    block, images = min(rows, at_once), max(1, min(n, at_once // rows))
    image = ((block - 1) * sh + reach + 1) * span * part
    rows_of_tile = split(int(runs[:, 3].max()) * part)
    heights = -(-runs[:, 3] * part // rows_of_tile) * rows_of_tile
    address = tile(rows_of_tile, vectors, x.dtype, joining=True).address
    geometry = np.array([
        n, height, width, c, cg, rows, cols, sh, sw, left, span, part, shares, block, images, image, g, ocg, wide,
        positions, rows_of_tile, panel,
    ], np.int64)
    order = np.array(walk.order, np.int64)
    sums_start = np.concatenate([[0], np.cumsum(heights)]) * wide

    def piece(first, last):
        seen = scratch("image", images * image + rows_of_tile, x.dtype)
        seen[-rows_of_tile:] = 0
        sums, offsets = np.empty(sums_start[-1]), np.empty(images * block, np.int64)
        zeros = np.zeros(panel, x.dtype)
        _weight_gradient(
            first, last, address, x.reshape(-1), gy.reshape(-1), gw.reshape(-1), seen, sums, sums_start, zeros, offsets,
            runs, order, geometry,
        )

    units = g * -(-cg // part) * shares
    share_out(piece, units, pieces=min(units, 4 * threads))


@jit
def _weight_gradient(first, last, address, x, gy, gw, scratch, sums, sums_start, zeros, offsets, runs, order,
                     geometry):
    (N, H, W, C, Cg, rows, cols, sh, sw, left, span, part, shares, block, images, image, G, OCg, wide, positions, P,
     B) = geometry
    parts, size = -(-Cg // part), x.itemsize
    for unit in range(first, last):
        share, g, c0 = unit % shares, unit // shares // parts, unit // shares % parts * part
        Cb = min(part, Cg - c0)
        run0, run1 = len(runs) * share // shares, len(runs) * (share + 1) // shares
        low, high = runs[run0, 0], runs[run1 - 1, 0] + 1
        sums[:] = 0
        for n0 in range(0, N, images):
            n1 = min(n0 + images, N)
            for i0 in range(0, rows, block):
                i1 = min(i0 + block, rows)
                height = (i1 - i0 - 1) * sh + high - low
                for n in range(n0, n1):
                    place = scratch[(n - n0) * image :]
                    fill(place, x, n, i0 * sh + low, left, height, span, H, W, C, g * Cg + c0, Cb)
                outputs = gy.ctypes.data + ((n0 * rows + i0) * cols * G + g) * OCg * size
                for run in range(run0, run1):
                    dh, dw, _, count = runs[run]
                    for n in range(n1 - n0):
                        for i in range(i1 - i0):
                            at = n * image + ((i * sh + dh - low) * span + dw - left) * Cb
                            offsets[n * (i1 - i0) + i] = at
                    for p in range(0, count * Cb, P):
                        for b in range(0, wide, B):
                            run_tile(
                                address, scratch.ctypes.data + p * size, 1, sw * Cb, offsets.ctypes.data,
                                (n1 - n0) * (i1 - i0), cols, outputs + b * size, cols * G * OCg, G * OCg,
                                zeros.ctypes.data, 0, sums.ctypes.data + (sums_start[run] + p * wide + b) * 8, wide,
                                -np.inf,
                            )
        for o0 in range(0, OCg, 16):  # so many rows of gw at a time stay in the first-level cache
            for c in range(Cb):
                for run in range(run0, run1):
                    for i in range(runs[run, 3]):
                        at = sums_start[run] + (i * Cb + c) * wide
                        to = (g * OCg * Cg + c0 + c) * positions + order[runs[run, 2] + i]
                        for o in range(o0, min(o0 + 16, OCg)):
                            gw[to + o * Cg * positions] = sums[at + o]


@jit
def _depthwise_weight_gradient(first, last, x, gy, gw, table, sh, sw):
    """gw, C x kernel positions, of the channels PART first ... PART last."""
    N, H, W, C = x.shape
    rows, cols = gy.shape[1:3]
    for unit in range(first, last):
        c0, c1 = unit * PART, min(unit * PART + PART, C)
        sums = np.zeros((table.shape[1], c1 - c0), x.dtype)
        for n in range(N):
            for i in range(rows):
                for t in range(table.shape[1]):
                    h, total = i * sh + table[0, t], sums[t]
                    if h < 0 or h >= H:
                        continue
                    for j in range(cols):
                        w = j * sw + table[1, t]
                        if w < 0 or w >= W:
                            continue
                        seen, given = x[n, h, w, c0:c1], gy[n, i, j, c0:c1]
                        for c in range(c1 - c0):
                            total[c] += seen[c] * given[c]
        for t in range(table.shape[1]):
            for c in range(c1 - c0):
                gw[c0 + c, table[2, t]] = sums[t, c]
