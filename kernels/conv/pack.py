"""Weights as panels: B output channels side by side for each tap and input channel, in the order the tile reads them.

Goto & van de Geijn 2008, section 4.2.3: the smaller matrix is packed once, so that the inner loop reads it end to end.
"""
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..jit import jit, jit_inside
from ..memory import clear, copy
from ..prepare import prepared
from ..threads import share_out
from ..tile import lanes
from ..transpose import run_transpose, transpose

UNITS = 4  # of a panel: parts of its input channels, packed by different threads
SMALL = 1 << 15  # numbers that one thread packs


class Weights(NamedTuple):
    """Weights as compiled loops see them: of one type whatever their strides, so that a loop is compiled once."""

    address: int
    shape: tuple
    strides: tuple  # bytes
    like: np.ndarray  # of their dtype


def as_weights(w):
    """The Weights of an array, which the caller keeps alive."""
    return Weights(w.ctypes.data, w.shape, w.strides, np.empty(0, w.dtype))


def vectors_for(channels, dtype):
    """V: how many vectors wide the tile is for so many output channels: 3 where that leaves no vector empty."""
    return min(-(-channels // lanes(dtype)), 3) if channels <= 3 * lanes(dtype) else 2


def pack(w, order, kept=None, vectors=None):
    """w (G x OCg x Cg x positions) as panels G x OCg/B x taps x Cg x B, zeros after the last channel; and B / L.

    w: any strides. order: the kernel position of each tap, all of them different. kept: see prepare.py. vectors: B / L,
    where the caller chooses it.
    """
    g, ocg, cg, _ = w.shape
    vectors, L = vectors or vectors_for(ocg, w.dtype), lanes(w.dtype)
    width = vectors * L
    shape = g, -(-ocg // width), len(order), cg, width

    def fill(panels):
        units, pieces = g * shape[1] * UNITS, None if panels.size > SMALL else 1
        share_out(_pack, units, transpose(w.dtype).address, as_weights(w), taps(w, order), panels, L, pieces=pieces)

    return prepared(kept, ("panels", tuple(order), vectors), w, shape, fill), vectors


def taps(w, order):
    """The tap of each kernel position of w; -1: it is not asked for."""
    return _taps(w.shape[3], tuple(order))


@lru_cache(256)
def _taps(positions, order):
    tap = np.full(positions, -1, np.int64)
    tap[list(order)] = np.arange(len(order))
    return tap


@jit
def _pack(first, last, address, w, tap, panels, L):
    """Some units of work; each panel is UNITS of them."""
    _, blocks, T, Cg, B = panels.shape
    for unit in range(first, last):
        g, b, part = unit // UNITS // blocks, unit // UNITS % blocks, unit % UNITS
        to = panels.ctypes.data + (g * blocks + b) * T * Cg * B * panels.itemsize
        pack_panel(address, w, tap, to, g, b, part * Cg // UNITS, (part + 1) * Cg // UNITS, 0, Cg, B, L)


@jit_inside
def pack_panel(address, w, tap, panel, g, b, k0, k1, k_start, K, B, L):
    """The input channels k0 ... k1 of panel b of group g, to the address of a panel of taps x K x B.

    k_start: the input channel that is the panel's first. Where numbers lie together in w, L x L of them at a time.
    """
    OCg, T = w.shape[1], w.shape[3]
    size = w.like.itemsize
    sg, so, sk, sp = w.strides[0] // size, w.strides[1] // size, w.strides[2] // size, w.strides[3] // size
    end = 1 + (w.shape[0] - 1) * sg + (OCg - 1) * so + (w.shape[2] - 1) * sk + (T - 1) * sp
    regular = so > 0 and sk > 0 and (sp == 1 or T == 1)
    joined = regular and sk == T  # positions of all channels are one run
    table, junk = np.empty(L, np.int64), np.empty(L, w.like.dtype)
    for o in range(b * B, (b + 1) * B, L):
        valid, column = max(0, min(L, OCg - o)), o - b * B
        for k in range(k0, k1, max(1, k1 - k0) if joined else 1):
            run = (k1 - k0) * T if joined else T
            for e in range(0, run, L):
                at, count = g * sg + o * so + k * sk + e, min(L, run - e)
                fits = regular and valid == L and at + (L - 1) * so + L <= end
                if fits and so == 1 and T == 1 and tap[0] == 0:
                    copy(panel + ((k - k_start) * B + column) * size, w.address + at * size, L * size)
                elif fits:
                    t, c = e % T, e // T
                    for j in range(L):
                        place = (tap[t] * K + k - k_start + c) * B + column
                        table[j] = junk.ctypes.data if j >= count or tap[t] < 0 else panel + place * size
                        t += 1  # a division would take longer than all the rest
                        if t == T:
                            t, c = 0, c + 1
                    run_transpose(address, w.address + at * size, so, table.ctypes.data, 0.0)
                else:
                    for j in range(count):
                        t, c = tap[(e + j) % T], k + (e + j) // T
                        if t >= 0:
                            to = panel + ((t * K + c - k_start) * B + column) * size
                            clear(to, L * size)
                            for i in range(valid):
                                one = g * sg + (o + i) * so + c * sk + (e + j) % T * sp
                                copy(to + i * size, w.address + one * size, size)
