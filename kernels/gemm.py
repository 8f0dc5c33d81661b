"""The matrix product y = a b on register tiles: for linear layers, on the same threads as everything else.

NumPy's BLAS has threads of its own, which go on spinning for a tenth of a second after each product and take the cores
from the convolutions that follow; so only products too small to wake them are left to it. The smaller of the two
matrices is packed into panels (Goto & van de Geijn 2008, section 4), the larger one is read where it lies, with any
strides. Long sums join float64 in parts.
"""
import numpy as np

from .buffers import empty
from .conv.pack import pack
from .jit import jit
from .threads import PARTS, get_num_threads, own, share_out
from .tile import most_pixels, run_tile, split, tile

SMALL = 1 << 18  # multiplications up to which OpenBLAS keeps to the calling thread
MEDIUM = 1 << 21  # multiplications up to which it pays to do them in parts of that size
TERMS = 512  # of a sum that are added up in the arrays' dtype


def matmul(a, b, kept=None):
    """a b, M x N and contiguous. a: M x K, b: K x N, of one float dtype, any strides. kept: what was made of b."""
    size = a.shape[0] * a.shape[1] * b.shape[1]
    if size <= SMALL:
        return np.matmul(a, b)
    if size <= MEDIUM and a.shape[1] <= 2 * TERMS:
        return _in_parts(a, b, -(-size // SMALL))
    if a.size + a.shape[0] * b.shape[1] < b.size:  # b is worth more than packing a and turning y around
        return np.ascontiguousarray(_product(b.T, a.T).T)
    return _product(a, b, kept)


def _in_parts(a, b, parts):
    """a b in so many products, or fewer, of some rows or some columns, each small enough for NumPy."""
    m, n = a.shape[0], b.shape[1]
    y = empty((m, n), a.dtype)
    step = -(-max(m, n) // parts)
    for i in range(0, max(m, n), step):
        if m >= n:
            np.matmul(a[i : i + step], b, out=y[i : i + step])
        else:
            np.matmul(a, b[:, i : i + step], out=y[:, i : i + step])
    return y


def _product(a, b, kept=None):
    """a b; b is packed, a is read where it lies. kept: see prepare.py."""
    (m, k), n = a.shape, b.shape[1]
    if any(step % a.itemsize for step in a.strides):
        a = np.ascontiguousarray(a)
    panels, vectors = pack(b.T[None, :, :, None], (0,), kept)
    width, pixels = panels.shape[4], split(m, most_pixels(vectors))
    long = k > 2 * TERMS
    y = empty((m, n), a.dtype)
    address = tile(pixels, vectors, a.dtype, joining=long).address
    threads = get_num_threads()
    tiles = -(-m // pixels)
    parts = min(panels.shape[1], -(-4 * threads // tiles)) if tiles < 4 * threads else 1
    steps = a.strides[0] // a.itemsize, a.strides[1] // a.itemsize
    sizes = np.array([m, k, n, *steps, pixels, width, panels.shape[1], parts], np.int64)
    given = address, a.ctypes.data, panels.reshape(-1), y, np.zeros(width, a.dtype), long, sizes
    edge = own("edge", pixels * width, np.float64 if long else a.dtype)
    share_out(_tiles, tiles * parts, *given, own=(edge,), pieces=PARTS * threads)
    return y


@jit
def _tiles(first, last, address, a, panels, y, zeros, long, sizes, edge):
    M, K, N, row, column, P, B, blocks, parts = sizes
    size, offset = y.itemsize, np.zeros(1, np.int64)
    for unit in range(first, last):
        part, i = unit % parts, min(unit // parts * P, M - P)  # the last tile overlaps the one before
        for b in range(blocks * part // parts, blocks * (part + 1) // parts):
            panel = panels.ctypes.data + b * K * B * size
            direct = not long and (b + 1) * B <= N
            to, step = (y.ctypes.data + (i * N + b * B) * size, N) if direct else (edge.ctypes.data, B)
            if long:
                edge[:] = 0
            for k in range(0, K, TERMS if long else K):
                count = min(TERMS, K - k) if long else K
                run_tile(
                    address, a + (i * row + k * column) * size, row, column, offset.ctypes.data, 1, count,
                    panel + k * B * size, 0, B, zeros.ctypes.data, 0, to, step, -np.inf,
                )
            if not direct:
                for p in range(P):
                    for o in range(min(B, N - b * B)):
                        y[i + p, b * B + o] = edge[p * B + o]
