"""Convolution as one matrix product (Chellapilla, Puri & Simard 2006, section 3.1), a piece of the matrix at a time.

The matrices are those of im2col_whole_cpu.py, where the method can be read in a few lines. Here only a piece of the
unfolded matrix is there at any time, in a scratch of at most CHUNK bytes a thread that stays in the second-level cache,
and the register tile of tile.py multiplies it at once with the packed weights, or with the gradients of its pixels:

    forward       y      = cols w         some rows (output pixels, over all images) of cols, some columns after others
    grad_input    gcols  = gy w^T         the rows that reach some rows of the input, one kernel row after another; the
                                          thread that has these input rows folds them in, so no two write the same pixel
    grad_weight   gw     = cols^T gy      some columns (tap, channel) of cols, some rows after others

Every sum runs in the same order, however the work is shared out.
"""
import numpy as np

from ..arrays import nchw, nhwc
from ..buffers import empty
from ..jit import jit, jit_inside
from ..memory import clear, copy
from ..threads import PARTS, get_num_threads, own, share_out
from ..tile import lanes, most_pixels, run_tile, split, tile
from .pack import pack, vectors_for
from .params import conv_output_shape

CHUNK = 1 << 19  # bytes of the unfolded matrix at a time: half of a usual second-level cache
COLUMNS = 512  # of the matrix at a time
PIXELS = 128  # rows of the matrix at a time, and
PART = 256  # its columns and output channels at a time, for the weight gradient


def forward(x, w, p, bias=None, low=-np.inf, kept=None):
    """y = max(low, conv(x, w) + bias). x: N x C x H x W, w: OC x C/G x KH x KW, bias: OC -> N x OC x OH x OW."""
    n, oc, oh, ow = conv_output_shape(x.shape, w.shape, p)
    y = empty((n, oh, ow, oc), x.dtype)
    if y.size == 0:
        return nchw(y)
    cg, taps, total, threads = w.shape[1], w.shape[2] * w.shape[3], n * oh * ow, get_num_threads()
    panels, vectors = pack(w.reshape(p.groups, -1, cg, taps), range(taps), kept)
    blocks, width = panels.shape[1], panels.shape[4]
    part = split(cg * taps, COLUMNS)
    pitch, high = _pitch(part, x.itemsize), most_pixels(vectors)
    rows = max(1, CHUNK // (pitch * x.itemsize) - high)
    while rows > 4 * high and p.groups * -(-total // rows) < 2 * threads:
        rows = -(-rows // 2)
    chunk = split(total, rows)
    pixels = split(chunk, high)
    units = p.groups * -(-total // chunk)
    parts = min(blocks, -(-threads // units))
    sizes = np.array([total, chunk, cg * taps, part, pitch, blocks, parts, oc // p.groups, pixels, width], np.int64)
    start = np.zeros((p.groups, blocks * width), x.dtype)
    if bias is not None:
        start[:, : oc // p.groups] = bias.reshape(p.groups, -1)
    arrays = nhwc(x).reshape(-1), panels.reshape(-1), start, y.reshape(-1)
    address = tile(pixels, vectors, x.dtype).address
    rest = _runs(w.shape, p), _image(x.shape, (oh, ow), p), low, sizes
    mine = own("columns", (chunk + pixels) * pitch, x.dtype), own("edge", pixels * width, x.dtype)
    share_out(_forward, units * parts, address, *arrays, *rest, own=mine, pieces=PARTS * threads)
    return nchw(y)


def grad_input(gy, w, p, x_shape, kept=None):
    """gx of conv(x, w): the product with the transposed weight, folded. gy: N x OC x OH x OW -> x_shape."""
    (n, c, h, width), (oh, ow), (cg, kh, kw) = x_shape, gy.shape[2:], w.shape[1:]
    gx = empty((n, h, width, c), gy.dtype)
    if gx.size == 0:
        return nchw(gx)
    matrices = w.reshape(p.groups, -1, cg, kh * kw).transpose(0, 2, 1, 3)
    panels, vectors = pack(matrices, range(kh * kw), kept)
    blocks, ocg, b = panels.shape[1], panels.shape[3], panels.shape[4]
    part = split(blocks, max(1, 2 * COLUMNS // (kw * b)))
    pitch, high, threads = _pitch(kw * part * b, gy.itemsize), most_pixels(vectors), get_num_threads()
    rows = max(1, CHUNK // (pitch * gy.itemsize) - 2 * high)
    block = min(h, max(1, rows // ow) * p.stride[0])
    while block > 1 and n * p.groups * -(-h // block) < 2 * threads:
        block = -(-block // 2)
    rows = min(rows, oh * ow)
    pixels = split(min(rows, -(-block // p.stride[0]) * ow), high)
    sizes = np.array([n * oh * ow, rows, block, kh, kw, blocks, part, pitch, ocg, pixels, b], np.int64)
    arrays = nhwc(gy).reshape(-1), panels.reshape(-1), gx.reshape(-1)
    address, units = tile(pixels, vectors, gy.dtype).address, n * p.groups * -(-h // block)
    rest = np.zeros(b, gy.dtype), np.array(p.dilation), _image(x_shape, (oh, ow), p), sizes
    mine = (own("columns", (rows + 2 * pixels) * pitch, gy.dtype),)
    share_out(_grad_input, units, address, *arrays, *rest, own=mine, pieces=PARTS * threads)
    return nchw(gx)


def grad_weight(x, gy, p, w_shape):
    """gw of conv(x, w): the unfolded x, transposed, times gy. x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    gw = np.zeros(w_shape, x.dtype)
    if x.size == 0:
        return gw
    (n, oc, oh, ow), threads = gy.shape, get_num_threads()
    ocg, columns = oc // p.groups, gw[0].size
    vectors = vectors_for(ocg, x.dtype)
    width = vectors * lanes(x.dtype)
    blocks = -(-ocg // width)
    part, together = split(columns, PART), split(blocks, max(1, PART // width))
    while part > 32 and p.groups * -(-columns // part) * -(-blocks // together) < 2 * threads:
        part = -(-part // 2)
    pitch, pixels = _pitch(part, x.itemsize), split(part, most_pixels(vectors))
    height = -(-part // pixels) * pixels
    sizes = np.array([n * oh * ow, columns, part, pitch, height, blocks, together, ocg, pixels, width], np.int64)
    arrays = nhwc(x).reshape(-1), nhwc(gy).reshape(-1), gw.reshape(-1)
    address, units = tile(pixels, vectors, x.dtype).address, p.groups * -(-columns // part) * -(-blocks // together)
    rest = np.zeros(width, x.dtype), _runs(w_shape, p), _image(x.shape, (oh, ow), p), sizes
    cols, given = own("columns", PIXELS * pitch + pixels, x.dtype), own("given", together * PIXELS * width, x.dtype)
    mine = cols, given, own("sums", together * height * width, x.dtype)
    share_out(_grad_weight, units, address, *arrays, *rest, own=mine, pieces=PARTS * threads)
    return gw


def _pitch(columns, itemsize):
    """Elements from one row of the scratch to the next: an odd number of cache lines, so that rows do not clash."""
    line = 64 // itemsize
    return (-(-columns // line) | 1) * line


def _runs(w_shape, p):
    """Taps whose channels lie together in x: (row, column) of each run's first tap in the padded image, and columns.

    All runs have as many columns of the matrix, and in its order: a kernel's row, or one tap if that is not contiguous.
    """
    _, cg, kh, kw = w_shape
    together = kw if p.groups == 1 and p.dilation[1] == 1 else 1
    (top, _), (left, _) = p.padding
    return np.array([
        (i * p.dilation[0] - top, j * p.dilation[1] - left, together * cg)
        for i in range(kh) for j in range(0, kw, together)
    ], np.int64)


def _image(x_shape, out_size, p):
    """The sizes of images and their outputs, as the loops take them."""
    _, c, h, w = x_shape
    (top, _), (left, _) = p.padding
    return np.array([h, w, c, c // p.groups, p.groups, *out_size, *p.stride, top, left], np.int64)


@jit
def _unfold(cols, pitch, x, rows, columns, g, runs, image):
    """Columns `columns` of the rows `rows` (each first and last + 1) of group g's matrix, into cols. x: flat NHWC."""
    H, W, C, Cg, _, OH, OW, sh, sw, _, _ = image
    size, wide = x.itemsize, runs[0, 2]
    for q in range(rows[0], rows[1]):
        n, i, j = q // (OH * OW), q // OW % OH, q % OW
        to = cols.ctypes.data + (q - rows[0]) * pitch * size
        for r in range(columns[0] // wide, -(-columns[1] // wide)):
            h, w = i * sh + runs[r, 0], j * sw + runs[r, 1]
            start, end = max(columns[0] - r * wide, 0), min(columns[1] - r * wide, wide)
            seen, unseen = start, start  # columns of the run within the image
            if h >= 0 and h < H:
                seen = min(max(-w * Cg, start), end)
                unseen = max(min((W - w) * Cg, end), seen)
            if seen > start:
                clear(to, (seen - start) * size)
            if unseen > seen:
                source = ((n * H + h) * W + w) * C + g * Cg + seen
                copy(to + (seen - start) * size, x.ctypes.data + source * size, (unseen - seen) * size)
            if end > unseen:
                clear(to + (unseen - start) * size, (end - unseen) * size)
            to += (end - start) * size


@jit
def _forward(first, last, address, x, panels, start, y, runs, image, low, sizes, cols, edge):
    """Units: (chunk of rows, group, part of the panels)."""
    total, chunk, K, part, pitch, blocks, parts, OCg, P, B = sizes
    size, G, offset = x.itemsize, image[4], np.zeros(1, np.int64)
    for unit in range(first, last):
        share, g, q0 = unit % parts, unit // parts % G, unit // parts // G * chunk
        q1 = min(q0 + chunk, total)
        for k0 in range(0, K, part):
            k1 = min(k0 + part, K)
            _unfold(cols, pitch, x, (q0, q1), (k0, k1), g, runs, image)
            for b in range(blocks * share // parts, blocks * (share + 1) // parts):
                panel = panels.ctypes.data + ((g * blocks + b) * K + k0) * B * size
                valid, bias = min(B, OCg - b * B), start.ctypes.data + (g * blocks + b) * B * size
                for q in range(q0, q1, P):
                    rows, to = min(P, q1 - q), y.ctypes.data + ((q * G + g) * OCg + b * B) * size
                    whole = rows == P and valid == B
                    if not whole and k0 > 0:
                        for i in range(rows):
                            copy(edge.ctypes.data + i * B * size, to + i * G * OCg * size, valid * size)
                    target, step = (to, G * OCg) if whole else (edge.ctypes.data, B)
                    run_tile(
                        address, cols.ctypes.data + (q - q0) * pitch * size, pitch, 1, offset.ctypes.data, 1, k1 - k0,
                        panel, 0, B, target if k0 > 0 else bias, step if k0 > 0 else 0, target, step,
                        low if k1 == K else -np.inf,
                    )
                    if not whole:
                        for i in range(rows):
                            copy(to + i * G * OCg * size, edge.ctypes.data + i * B * size, valid * size)


@jit
def _grad_input(first, last, address, gy, panels, gx, zeros, dilation, image, sizes, gcols):
    """Units: (image, group, block of input rows). A row of gcols: kernel columns x channels of some panels."""
    H, W, _, Cg, G, OH, OW, sh, _, top, _ = image
    total, most, block, KH, KW, blocks, part, pitch, OCg, P, B = sizes
    size, offset, units = gy.itemsize, np.zeros(1, np.int64), -(-H // block)
    for unit in range(first, last):
        n, g, h0 = unit // units // G, unit // units % G, unit % units * block
        h1 = min(h0 + block, H)
        _clear_channels(gx, (n * H + h0) * W, (n * H + h1) * W, g * Cg, Cg, G * Cg)
        for kh in range(KH):
            up = top - kh * dilation[0]  # output row i reaches input row i sh - up
            q0 = max(0, -(-(h0 + up) // sh)) * OW
            end = min(OH, -(-(h1 + up) // sh)) * OW
            while q0 < end:
                q1 = min(q0 + most, end)
                for b0 in range(0, blocks, part):
                    b1 = min(b0 + part, blocks)
                    for b in range(b0, b1):
                        for kw in range(KW):
                            panel = ((g * blocks + b) * KH + kh) * KW + kw
                            for q in range(q0, q1, P):
                                at = min(n * OH * OW + q, total - P)  # not beyond gy: P rows are free at both ends
                                row = at - n * OH * OW - q0 + P
                                run_tile(
                                    address, gy.ctypes.data + (at * G + g) * OCg * size, G * OCg, 1, offset.ctypes.data,
                                    1, OCg, panels.ctypes.data + panel * OCg * B * size, 0, B, zeros.ctypes.data, 0,
                                    gcols.ctypes.data + (row * pitch + (kw * (b1 - b0) + b - b0) * B) * size, pitch,
                                    -np.inf,
                                )
                    columns = b0 * B, min(b1 * B, Cg), (b1 - b0) * B
                    _fold(gcols[P * pitch :], pitch, gx, (q0, q1), columns, n, g, -up, KW, dilation[1], image)
                q0 = q1


@jit_inside
def _clear_channels(x, first, last, c, count, C):
    """Set `count` channels from c on of some pixels of x (flat, C channels) to zero."""
    size = x.itemsize
    if count == C:
        clear(x.ctypes.data + first * C * size, (last - first) * C * size)
        return
    for i in range(first, last):
        clear(x.ctypes.data + (i * C + c) * size, count * size)


@jit
def _fold(gcols, pitch, gx, rows, columns, n, g, down, KW, dilation, image):
    """Add gcols of image n's output pixels `rows` to the input pixels under one row of the kernel, `down` rows below.

    columns: first channel, last + 1, and how many there are in gcols for each tap. gx: flat NHWC.
    """
    H, W, C, Cg, _, _, OW, sh, sw, _, left = image
    c0, count = columns[0], columns[1] - columns[0]
    for q in range(rows[0], rows[1]):
        h, w0 = q // OW * sh + down, q % OW * sw - left
        for kw in range(KW):
            w = w0 + kw * dilation
            if w >= 0 and w < W:
                at, source = ((n * H + h) * W + w) * C + g * Cg + c0, (q - rows[0]) * pitch + kw * columns[2]
                to, given = gx[at : at + count], gcols[source : source + count]
                for c in range(count):
                    to[c] += given[c]


@jit
def _grad_weight(first, last, address, x, gy, gw, zeros, runs, image, sizes, cols, given, sums):
    """Units: (group, part of the columns, some panels of output channels)."""
    total, K, part, pitch, height, blocks, together, OCg, P, B = sizes
    size, Cg, G, offset = x.itemsize, image[3], image[4], np.zeros(1, np.int64)
    parts, groups = -(-K // part), -(-blocks // together)
    for unit in range(first, last):
        g, k0, b0 = unit // groups // parts, unit // groups % parts * part, unit % groups * together
        k1, b1 = min(k0 + part, K), min(b0 + together, blocks)
        for q0 in range(0, total, PIXELS):
            q1 = min(q0 + PIXELS, total)
            _unfold(cols, pitch, x, (q0, q1), (k0, k1), g, runs, image)
            for b in range(b0, b1):
                valid, panel = min(B, OCg - b * B), given.ctypes.data + (b - b0) * PIXELS * B * size
                for q in range(q0, q1):
                    to = panel + (q - q0) * B * size
                    copy(to, gy.ctypes.data + ((q * G + g) * OCg + b * B) * size, valid * size)
                    clear(to + valid * size, (B - valid) * size)
                for k in range(0, k1 - k0, P):
                    total_of = sums.ctypes.data + ((b - b0) * height + k) * B * size
                    run_tile(
                        address, cols.ctypes.data + k * size, 1, pitch, offset.ctypes.data, 1, q1 - q0, panel, 0, B,
                        total_of if q0 > 0 else zeros.ctypes.data, B if q0 > 0 else 0, total_of, B, -np.inf,
                    )
        for b in range(b0, b1):
            for o in range(min(B, OCg - b * B)):
                row = (g * OCg + b * B + o) * K
                for k in range(k0, k1):
                    gw[row + k % Cg * (K // Cg) + k // Cg] = sums[((b - b0) * height + k - k0) * B + o]
