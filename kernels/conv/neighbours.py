"""Few output channels: neighbouring outputs of a row taken as the channels of one, so that vectors are full.

Four outputs of 4 channels are one of 16: it steps four times as far and sees the taps of all four, each of which has
zero weights for the outputs that do not see it. A 3 x 3 kernel has 18 taps then, twice as many, for four times as much;
and the same loops run, since in memory nothing changes. It is the product with a banded Toeplitz matrix (Goodfellow,
Bengio & Courville, "Deep Learning", section 9.1), a block of it at a time.
"""
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..tile import host, lanes, most_pixels, split
from .pack import vectors_for
from .walk import Walk

BUSY = 8  # sums that a tile must have so that none waits for the one before


class Neighbours(NamedTuple):
    """`many` outputs as one: its Walk, and which of its taps is what to each of them."""

    many: int
    walk: Walk
    sources: np.ndarray  # many x OC x C x taps: places among the numbers of w and, after these, one zero
    places: np.ndarray  # many x OC x C x kernel positions: where each number of w is among those of the many


@lru_cache(256)
def neighbours(walks, w_shape, y_shape, dtype, gradient=False):
    """The Neighbours that take the least time for outputs N x YH x YW x OC; None where one at a time does.

    w_shape: G x OCg x Cg x kernel positions. gradient: of the weights, where rows of a tile are not outputs but taps.
    """
    (g, oc, c, _), (rows, cols), walk = w_shape, y_shape[1:3], walks[0]
    if len(walks) > 1 or g > 1 or oc >= lanes(dtype) or walk.grid != (rows, cols) or walk.step != (1, 1):
        return None

    def cost(many):
        dw = {w + i * walk.stride[1] for w in walk.dw for i in range(many)}
        vectors = vectors_for(many * oc, dtype)
        tile = split(len(dw) * c if gradient else cols // many, most_pixels(vectors)) * vectors
        work = len(set(walk.dh)) * len(dw) * -(-many * oc // lanes(dtype)) / many
        return work * max(1, BUSY / tile)

    many = min((q for q in range(1, host().vector_bytes + 1) if cols % q == 0), key=cost)
    return _together(walk, many, w_shape[1:]) if many > 1 else None


def _together(walk, many, w_shape):
    step = walk.stride[1]
    found = {}  # tap of all: (output, kernel position) of each that sees it
    for h, w, position in zip(walk.dh, walk.dw, walk.order, strict=True):
        for i in range(many):
            found.setdefault((h, w + i * step), []).append((i, position))
    order = sorted(found)
    positions = np.full((many, len(order)), -1)
    taps = np.zeros((many, len(walk.order)), np.int64)
    for t, tap in enumerate(order):
        for i, position in found[tap]:
            positions[i, t], taps[i, position] = position, t
    oc, c, n = w_shape
    sources = np.arange(oc * c)[:, None] * n + positions[:, None]  # many x OC C x taps
    sources[np.broadcast_to(positions[:, None] < 0, sources.shape)] = oc * c * n
    places = np.arange(many * oc * c).reshape(many, oc * c, 1) * len(order) + taps[:, None]
    dh, dw = zip(*order, strict=True)
    grid = walk.grid[0], walk.grid[1] // many
    wide = Walk(grid, (walk.stride[0], many * step), dh, dw, tuple(range(len(order))))
    return Neighbours(many, wide, sources.reshape(many, oc, c, -1), places.reshape(many, oc, c, n))


def widened(w, found):
    """w, 1 x OC x C x kernel positions, as the weights of many outputs: 1 x (many OC) x C x taps."""
    _, oc, c, _ = w.shape
    return np.append(w, w.dtype.type(0)).take(found.sources).reshape(1, found.many * oc, c, -1)


def narrowed(wide, found, gw):
    """Fill gw, 1 x OC x C x kernel positions, from the gradient of the widened weights, its adjoint."""
    gw[0] = wide.take(found.places).sum(axis=0)
