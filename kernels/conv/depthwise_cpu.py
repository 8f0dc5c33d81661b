"""Convolution with few channels a group on the CPU, depthwise above all: the loops around the tiles of a Plan.

Each output row is cut into tiles. Which pixel each tap of an output sees is looked up in a table of addresses, made for
a block of rows at a time, in which pixels outside the image are the address of zeros. The input gradient is the same
loop over the Walks of the stride's phases. The weight gradient adds up a tile in registers, some hundreds of pixels in
the arrays' dtype, and the rest in float64; the shapes alone divide up the pixels, so any number of threads gives the
same bits.
"""
import numpy as np

from ..arrays import nchw, nhwc
from ..buffers import empty
from ..jit import jit, jit_inside
from ..memory import copy
from ..threads import get_num_threads, scratch, share_out
from ..tile import host, lanes
from .depthwise_plan import LINE, UNROLLED, VECTORS, forward_plan, grad_input_plan, grad_weight_plan
from .depthwise_tile import run_gradient, run_slide
from .params import conv_output_shape

WORK = 1 << 19  # multiplications for which it pays to wake a thread
TILES = 64  # whose sums are added up in the arrays' dtype before they join those in float64


def fits(w_shape, p, dtype):
    """Whether the groups are so narrow that their channels do not fill a vector: then this file is the faster one."""
    ocg, cg = w_shape[0] // p.groups, w_shape[1]
    pairs = (cg, ocg), (ocg, cg)
    narrow = all(o < lanes(dtype) and o & (o - 1) == 0 and c <= 4 * o for c, o in pairs)
    return p.groups > 1 and narrow and cg * w_shape[3] <= UNROLLED // 16


def forward(x, w, p, bias=None, low=-np.inf, flip=False):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    y = empty((n, oh, ow, oc), x.dtype)
    if y.size:
        _run(forward_plan(x.shape, w.shape, p, flip, x.dtype, *_machine()), nhwc(x), w, y, bias, low)
    return nchw(y)


def grad_input(gy, w, p, x_shape, flip=False):
    """gx of conv(x, w): a walk over gy for each phase of the stride. gy: N x OC x OH x OW -> x_shape."""
    n, c, h, width = x_shape
    gx = empty((n, h, width, c), gy.dtype)
    if gx.size:
        plan = grad_input_plan(tuple(x_shape), w.shape, gy.shape, p, flip, gy.dtype, *_machine())
        if plan is None or plan.outputs < h * width:
            gx[...] = 0
        if plan:
            _run(plan, nhwc(gy), w, gx)
    return nchw(gx)


def grad_weight(x, gy, p, w_shape, flip=False):
    """gw of conv(x, w). x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    gw = np.zeros(w_shape, x.dtype)
    if x.size:
        _run_gradient(grad_weight_plan(x.shape, tuple(w_shape), p, flip, x.dtype, host()), nhwc(x), nhwc(gy), gw)
    return gw


def _machine():
    return host(), get_num_threads()


# --- forward and input gradient


def _pieces(plan):
    """Into how many pieces to divide the work: one a thread, if it is enough."""
    return max(1, min(get_num_threads(), plan.units, plan.products // WORK))


def _seen(plan, pieces):
    """Room for the table of addresses and for copied pixels of each piece."""
    pixels = plan.table * int(plan.geometry[0, 0]) + LINE
    return scratch("tables", (pieces, plan.table), np.int64), scratch("images", (pieces, pixels), np.uint8)


def _run(plan, x, w, y, bias=None, low=-np.inf):
    start = np.zeros(y.shape[3], y.dtype) if bias is None else np.ascontiguousarray(bias)
    panels, pieces = scratch("panels", plan.shape, y.dtype), _pieces(plan)
    _pack(np.ascontiguousarray(w).reshape(-1), start, plan.order, plan.weights, panels)
    share_out(_slide, plan.units, plan.units, plan.addresses, x, plan.zeros, panels, y, low, plan.rows,
              *_seen(plan, pieces), plan.geometry, pieces=pieces)


@jit_inside
def _own(first, units, tables, images):
    """The piece that begins at unit `first`: its number, its table, and an address at a cache line in its image."""
    piece = -(-first * len(tables) // units)
    image = images[piece].ctypes.data
    return piece, tables[piece], image + -image % LINE


@jit
def _pack(w, start, order, sizes, panels):
    """panels: for each Walk vectors x (start, then rows, k, columns) x L; the last one ends with the last channel."""
    at, first_tap = 0, 0
    for taps, OC, Cg, OCg, L, columns, group, out, into in sizes:
        for v in range(-(-OC // L)):
            for o in range(L):
                c = min(v * L, OC - L) + o
                panels[at + o] = start[c]
                first, to = c // OCg * group + c % OCg * out, at + L + o
                for row in range(first_tap, first_tap + taps, columns):
                    for k in range(Cg):
                        for t in range(row, row + columns):
                            panels[to] = w[first + k * into + order[t]]
                            to += L
            at += (1 + taps * Cg) * L
        first_tap += taps


@jit_inside
def _addresses(table, x, zeros, image, pitch, c0, c1, n, top, height, left, span, H, W, C):
    """table: height x span addresses of the pixels of image n from (top, left) on.

    pitch: 0, or so many bytes from one pixel to the next in `image`, an address: channels c0 ... c1 are copied there.
    """
    size, outside = x.itemsize, zeros.ctypes.data
    before = min(span, max(0, -left))
    after = max(before, min(span, W - left))
    for r in range(height):
        h = top + r
        row = table[r * span : (r + 1) * span]
        if h < 0 or h >= H:
            row[:] = outside
            continue
        row[:before] = outside
        row[after:] = outside
        start = x.ctypes.data + ((n * H + h) * W + left) * C * size
        for j in range(before, after):
            row[j] = start + j * C * size
        for j in range(before, after if pitch else before):
            place = image + (r * span + j) * pitch
            copy(place, row[j] + c0 * size, (c1 - c0) * size)
            row[j] = place - c0 * size


@jit
def _slide(first, last, units, addresses, x, zeros, w, y, low, rows_at, tables, images, geometry):
    _, table, image = _own(first, units, tables, images)
    size, before = x.itemsize, -1
    for unit in range(first, last):
        for walk in range(len(geometry)):
            (pitch, H, W, C, rows, cols, sh, sw, top, left, reach, span, blocks, parts, R, P, L, Cg, OCg, vectors, YH,
             YW, OC, row0, col0, row_step, col_step, panels, panel, row_at, count) = geometry[walk]
            part, block, n = unit % parts, unit // parts % blocks, unit // parts // blocks
            i0, i1 = rows * block // blocks, rows * (block + 1) // blocks
            v0, v1 = vectors * part // parts, vectors * (part + 1) // parts
            if pitch or len(geometry) > 1 or unit // parts != before:
                c0, c1 = min(v0 * L, OC - L) // OCg * Cg, min(v1 * L, OC) // OCg * Cg
                _addresses(table, x, zeros, image, pitch, c0, c1, n, i0 * sh + top, (i1 - i0 - 1) * sh + reach, left,
                           span, H, W, C)
                before = unit // parts
            yr, yc = row_step * YW * OC, col_step * OC
            weights, steps = w.ctypes.data + (panels + v0 * panel) * size, rows_at.ctypes.data + row_at * 8
            for q in range(-(-(i1 - i0) // R)):
                i = max(i0, min(i0 + q * R, i1 - R))
                for t in range(-(-cols // P)):
                    j = min(t * P, cols - P)  # the last tile overlaps the one before
                    to = ((n * YH + row0 + i * row_step) * YW + col0 + j * col_step) * OC + v0 * L
                    at = (i - i0) * sh * span + j * sw
                    run_slide(
                        addresses[walk], table.ctypes.data + at * 8, steps, sh * span, count, v1 - v0, OC - v0 * L,
                        v0 * L // OCg * Cg, weights, y.ctypes.data + to * size, yr, yc, low,
                    )


# --- weight gradient


def _run_gradient(plan, x, gy, gw):
    pieces = _pieces(plan)
    totals = scratch("totals", plan.shape, np.float64)
    sums = scratch("sums", (pieces, min(VECTORS, plan.shape[1]) * plan.shape[2] * plan.shape[3]), x.dtype)
    share_out(_sum_pixels, plan.units, plan.units, plan.addresses, x, plan.zeros, gy, plan.rows,
              *_seen(plan, pieces), sums, totals, plan.geometry, pieces=pieces)
    _unpack(totals, gw.reshape(-1), plan.order, plan.weights)


@jit
def _sum_pixels(first, last, units, addresses, x, zeros, gy, rows_at, tables, images, kept, totals, geometry):
    (pitch, H, W, C, rows, cols, sh, sw, top, left, reach, span, blocks, parts, chunks, strips, P, L, Cg, OCg, vectors,
     OC) = geometry[0]
    piece, table, image = _own(first, units, tables, images)
    sums, size, tiles, entries = kept[piece], x.itemsize, -(-cols // P), totals.shape[2] * L
    for unit in range(first, last):
        part, chunk = unit % parts, unit // parts
        v0, v1 = vectors * part // parts, vectors * (part + 1) // parts
        c0, c1 = min(v0 * L, OC - L) // OCg * Cg, min(v1 * L, OC) // OCg * Cg
        total, waiting = totals[chunk, v0:v1].reshape(-1), 0
        total[:] = 0
        sums[:] = 0
        for strip in range(strips * chunk // chunks, strips * (chunk + 1) // chunks):
            n, block = strip // blocks, strip % blocks
            i0, i1 = rows * block // blocks, rows * (block + 1) // blocks
            _addresses(table, x, zeros, image, pitch, c0, c1, n, i0 * sh + top, (i1 - i0 - 1) * sh + reach, left, span,
                       H, W, C)
            for i in range(i0, i1):
                for t in range(tiles):
                    at = (i - i0) * sh * span + t * P * sw
                    given = ((n * rows + i) * cols + t * P) * OC + v0 * L
                    run_gradient(
                        addresses[1 if t == tiles - 1 else 0], table.ctypes.data + at * 8, rows_at.ctypes.data,
                        len(rows_at), v1 - v0, OC - v0 * L, v0 * L // OCg * Cg, gy.ctypes.data + given * size, OC,
                        sums.ctypes.data, 0.0,
                    )
                    waiting += 1
                    if waiting == TILES:
                        _join(sums, total, (v1 - v0) * entries)
                        waiting = 0
        _join(sums, total, (v1 - v0) * entries)


@jit
def _join(sums, total, count):
    for e in range(count):
        total[e] += sums[e]
    sums[:] = 0


@jit
def _unpack(totals, gw, order, sizes):
    """gw, OC x Cg x kernel positions, from the totals of all chunks."""
    _, OC, Cg, _, L, columns = sizes[0]
    chunks, vectors = totals.shape[:2]
    for v in range(vectors):
        first, total = min(v * L, OC - L), totals[0, v].reshape(-1)
        for chunk in range(1, chunks):
            part = totals[chunk, v].reshape(-1)
            for entry in range(len(total)):
                total[entry] += part[entry]
        for o in range(L):
            for k in range(Cg):
                to = ((first + o) * Cg + k) * len(order)
                for t in range(len(order)):
                    gw[to + order[t]] = total[((t // columns * Cg + k) * columns + t % columns) * L + o]
