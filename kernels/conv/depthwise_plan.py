"""What depends on the shapes alone of a convolution with few channels a group: its plans, made once for each shape.

A plan says which compiled tile (depthwise_tile.py) goes over which outputs, and how the rows of an image are cut into
blocks and these into pieces of work; depthwise_cpu.py has the loops.
"""
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..buffers import SMALL
from ..tile import lanes, split
from .depthwise_tile import Form, gradient, slide
from .params import conv_output_shape
from .walk import forward_walk, input_grad_walks

LINE = 64  # bytes of a cache line
WAY = 2048  # bytes: what lies a multiple of it apart shares a few places in the first-level cache
LARGE = 1 << 24  # bytes read and written that only push each other out of the cache
UNROLLED = 2048  # multiplications of vectors that a tile may write out
SCRATCH = 1 << 18  # bytes of copied pixels in work at a time
TABLE = 2048  # addresses made at a time
VECTORS, UNITS = 8, 8  # of the weight gradient: vectors summed at a time, pieces of work


class Plan(NamedTuple):
    """Walks made ready: those of an input gradient with a stride run together, so that gy is read once."""

    tiles: tuple  # compiled, one for each Walk; for the weight gradient one, and one for the end of a row
    addresses: np.ndarray  # of the tiles
    order: np.ndarray  # kernel position of each tap, Walk after Walk
    rows: np.ndarray  # steps in the table of addresses to the rows of the kernel, Walk after Walk
    zeros: np.ndarray  # a pixel outside the image
    table: int  # size of the table
    units: int  # pieces of work
    products: int  # multiplications
    outputs: int  # of an image
    shape: tuple  # of the packed weights, or of the sums: chunks x vectors x taps Cg x L
    weights: np.ndarray  # taps, OC, Cg, OCg, L, columns, steps in w between groups, in these between outputs, inputs
    geometry: np.ndarray  # all else that the loops need, a row for each Walk


class Share(NamedTuple):
    """How the outputs of all Walks are shared out: each image in so many blocks of rows and parts of the channels."""

    blocks: int
    parts: int


@lru_cache(256)
def forward_plan(x_shape, w_shape, p, flip, dtype, machine, threads):
    """The Plan of y = conv(x, w), or of true convolution. machine: a Host."""
    kernel, ocg, cg = math.prod(w_shape[2:]), w_shape[0] // p.groups, w_shape[1]
    walks, y_shape = [forward_walk(x_shape, w_shape, p, flip)], conv_output_shape(x_shape, w_shape, p)
    steps = ocg * cg * kernel, cg * kernel, kernel
    return _slide_plan(walks, x_shape, y_shape, (cg, ocg), steps, dtype, machine, threads)


@lru_cache(256)
def grad_input_plan(x_shape, w_shape, gy_shape, p, flip, dtype, machine, threads):
    """The Plan of all phases of the stride that any tap meets; None if there are none."""
    kernel, ocg, cg = math.prod(w_shape[2:]), w_shape[0] // p.groups, w_shape[1]
    walks, steps = input_grad_walks(x_shape, w_shape, p, flip), (ocg * cg * kernel, kernel, cg * kernel)
    return _slide_plan(walks, gy_shape, x_shape, (ocg, cg), steps, dtype, machine, threads) if walks else None


def _slide_plan(walks, x_shape, y_shape, channels, w_steps, dtype, machine, threads):
    (n, c, height, width), oc, (cg, ocg) = x_shape, y_shape[1], channels
    moved, pitch = (math.prod(x_shape), math.prod(y_shape)), _pitch(c, c, dtype)
    forms = [_slide_form(walk, (cg, ocg, oc), *moved, dtype, machine) for walk in walks]
    vectors = -(-oc // forms[0].lanes)
    share = _share(walks, forms, n, vectors, pitch, threads)
    forms = [
        form._replace(rows=max(1, min(form.rows, walk.grid[0] // share.blocks)))
        for form, walk in zip(forms, walks, strict=True)
    ]
    geometry, weights, rows_at, panels, table = [], [], [], 0, 0
    for walk, form in zip(walks, forms, strict=True):
        (rows, cols), taps = walk.grid, len(walk.order)
        kernel_rows, columns, (top, left, reach, span) = _taps(walk)
        geometry.append([
            pitch, height, width, c, rows, cols, *walk.stride, top, left, reach, span, *share, form.rows, form.pixels,
            form.lanes, cg, ocg, vectors, *y_shape[2:], oc, *walk.origin, *walk.step, panels,
            (1 + taps * cg) * form.lanes, len(rows_at), len(kernel_rows),
        ])
        weights.append([taps, oc, cg, ocg, form.lanes, len(columns), *w_steps])
        rows_at += [(row - top) * span for row in kernel_rows]
        panels += vectors * (1 + taps * cg) * form.lanes
        table = max(table, ((-(-rows // share.blocks) - 1) * walk.stride[0] + reach) * span)
    tiles = tuple(slide(form) for form in forms)
    products = sum(math.prod(walk.grid) * len(walk.order) for walk in walks) * n * oc * cg
    return Plan(
        tiles, np.array([tile.address for tile in tiles]), np.array([t for walk in walks for t in walk.order]),
        np.array(rows_at), np.zeros(c, dtype), table, n * share.blocks * share.parts, products,
        sum(math.prod(walk.grid) for walk in walks), (panels,), np.array(weights), np.array(geometry),
    )


def _share(walks, forms, n, vectors, pitch, threads):
    """As few blocks and parts as give each thread a few, and as a block's table of addresses allows."""
    blocks = max(_blocks(walk, form.rows, pitch) for walk, form in zip(walks, forms, strict=True))
    while n * blocks < 4 * threads and walks[0].grid[0] // (blocks * 2) >= forms[0].rows:
        blocks *= 2
    return Share(blocks, min(vectors, -(-4 * threads // (n * blocks))))


@lru_cache(256)
def grad_weight_plan(x_shape, w_shape, p, flip, dtype, machine):
    """The Plan of the weight gradient; the number of threads is not in it."""
    (n, c, height, width), (oc, cg), ocg = x_shape, w_shape[:2], w_shape[0] // p.groups
    walk = forward_walk(x_shape, w_shape, p, flip)
    (rows, cols), taps = walk.grid, len(walk.order)
    kernel_rows, columns, (top, left, reach, span) = _taps(walk)
    pixels = split(cols, max(1, min(machine.pixels, UNROLLED // (cg * len(columns)))))
    form = Form(8 * dtype.itemsize, _lanes(oc, dtype), cg, ocg, 1, pixels, walk.stride[1], False, columns)
    edge = form._replace(pixels=cols - (cols - 1) // pixels * pixels)
    vectors = -(-oc // form.lanes)
    parts = -(-vectors // VECTORS)
    pitch = _pitch(c, -(-vectors // parts) * form.lanes // ocg * cg, dtype)
    blocks = _blocks(walk, 1, pitch)
    while n * blocks < UNITS and blocks * 2 <= rows:
        blocks *= 2
    chunks = min(n * blocks, -(-UNITS // parts))
    table = ((-(-rows // blocks) - 1) * walk.stride[0] + reach) * span
    geometry = [
        pitch, height, width, c, rows, cols, *walk.stride, top, left, reach, span, blocks, parts, chunks, n * blocks,
        pixels, form.lanes, cg, ocg, vectors, oc,
    ]
    tiles = gradient(form), gradient(edge)
    return Plan(
        tiles, np.array([tile.address for tile in tiles]), np.array(walk.order), (np.array(kernel_rows) - top) * span,
        np.zeros(c, dtype), table, parts * chunks, n * rows * cols * oc * taps * cg, rows * cols,
        (chunks, vectors, taps * cg, form.lanes), np.array([[taps, oc, cg, ocg, form.lanes, len(columns)]]),
        np.array([geometry]),
    )


def _slide_form(walk, channels, read, written, dtype, machine):
    """The tile for the grid of a Walk: as many as there are registers, if it can be in two or more rows."""
    (cg, ocg, oc), columns = channels, _taps(walk)[1]
    size, L = dtype.itemsize, _lanes(oc, dtype)
    sums = machine.pixels * 2 - (4 if cg > 1 else 0)
    sums = max(1, min(sums, UNROLLED // (cg * len(columns))))
    pixels = split(walk.grid[1], max(1, sums // 2))
    rows = min(walk.grid[0], sums // pixels)
    evicted = (read + written) * size >= LARGE or oc * size % WAY == 0  # y would leave the cache before it is read
    aligned = oc * size % LINE == 0 and L * size == LINE and written * size >= SMALL
    return Form(8 * size, L, cg, ocg, rows, pixels, walk.stride[1], evicted and aligned, columns)


def _taps(walk):
    """The rows of a Walk's taps, their columns from 0 on, and what its outputs see: top, left, reach, span."""
    rows, columns = sorted(set(walk.dh)), sorted(set(walk.dw))
    left, right = walk.span(1)
    return rows, tuple(w - columns[0] for w in columns), (rows[0], left, rows[-1] - rows[0] + 1, right - left)


def _lanes(oc, dtype):
    """L: a vector, or less if there are fewer channels."""
    return min(lanes(dtype), 1 << (oc.bit_length() - 1))


def _pitch(c, width, dtype):
    """Bytes from pixel to pixel where `width` of the c channels have to be copied: an odd number of lines; or 0."""
    return (-(-width * dtype.itemsize // LINE) | 1) * LINE if c * dtype.itemsize % (2 * WAY) == 0 else 0


def _blocks(walk, least, pitch):
    """Into how many blocks to divide an image's rows of outputs, none below `least`, to look at so much at a time."""
    rows = walk.grid[0]
    *_, reach, span = _taps(walk)[2]
    most = min(TABLE, SCRATCH // max(1, pitch))
    return min(rows // least, -(-rows // max(least, (most // span - reach) // walk.stride[0] + 1)))
