"""Normalisation on the CPU: a pass for the statistics, one for y; backward, a pass for the sums and one for gx.

Two walks through memory serve every kind of group. Where a group has many rows of pixels (batch and group norm), loops
run down B matrices of M rows and C = K J columns, all columns of a row together, and the sums of J neighbouring columns
are joined at the end; where columns are few, some rows are taken as one, so that vectors are full. Where a group is one
contiguous run (layer norm, group norm of N x C), loops run along R = B K rows of J elements. Sums are kept in float64;
each element itself is handled in x's dtype, as (x - shift) factor + offset, with the shift rounded to that dtype and
what the rounding loses put into the offset.

Variances: Chan, Golub & LeVeque 1979, equation 2.1: the mean and the sum of squared deviations of a block at a time,
while it is in the cache, joined to those of the blocks before. Nothing cancels, however large the mean is.
"""
from functools import lru_cache
from math import gcd

import numpy as np

from ..buffers import empty
from ..elementwise import rectify
from ..gate import gate
from ..jit import jit
from ..threads import scratch, share_out
from .layouts import as_logical, from_weights
from .lrn_cpu import lrn_forward, lrn_grad_input, window_sum

__all__ = [
    "forward", "grad_input", "grad_sums", "lrn_forward", "lrn_grad_input", "move", "statistics", "window_sum",
]

BLOCK = 32  # rows whose statistics are taken together
WIDTH = 64  # columns below which rows are taken together


def statistics(x, p, eps):
    """The mean, the biased variance and (var + eps)^-1/2 of each group, float64, p.stats. x: p.shape, any strides."""
    B, M, K, J = p.blocks
    mean, var, rstd = result = np.zeros((3, B, K))
    if x.size and M == 1:
        _row_statistics(in_order(x, p).reshape(B * K, J), mean.reshape(-1), var.reshape(-1))
    elif x.size:
        S = segments(M)
        f = together(M // S, K * J)
        sums = scratch("norm statistics", (2, B * S, f * K * J), np.float64)
        share_out(_column_statistics, B * S, in_order(x, p).reshape(B * S, M // S // f, f * K * J), sums)
        _join_statistics(sums.reshape(2, B, S * f, K * J), M // S // f, J, mean, var)
    np.power(var + eps, -0.5, out=rstd)
    return result.reshape(3, *p.stats)


def forward(x, mean, rstd, w, b, p, relu=False, plus=None):
    """y = (x - mean) rstd w + b. mean, rstd: p.stats; w, b: the weight's shape or None -> y, p.shape.

    plus: something of x's shape to add to y. relu: max(y, 0) in place of y.
    """
    B, M, K, J = p.blocks
    y = empty(p.blocks, x.dtype)
    if x.size and M == 1:
        arrays = in_order(x, p).reshape(B * K, J), y.reshape(B * K, J)
        _row_forward(*arrays, mean.reshape(-1), rstd.reshape(-1), weights(w, 1.0, x, p), weights(b, 0.0, x, p))
        y = as_logical(y, p)
        if plus is not None:
            y += plus
        return rectify(y) if relu else y
    if x.size:
        loop = _column_forward if plus is None else _column_forward_plus
        f = together(M, K * J)
        arrays = [in_order(a, p).reshape(B, M // f, -1) for a in (x, plus) if a is not None]
        lines = _repeated(_lines(x, mean, rstd, w, b, p), f)
        share_out(loop, B * M // f, *arrays, y.reshape(B, M // f, -1), lines, relu)
    return as_logical(y, p)


def grad_sums(gy, x, mean, rstd, w, b, p):
    """The sums of u w and u w xhat over each group (2 x p.stats), of u and u xhat over all that share a weight.

    u: gy; where b is given, what a ReLU after xhat w + b lets through of it.
    """
    B, M, K, J = p.blocks
    groups, affine = np.zeros((2, B, K)), np.zeros((2, K, J))
    if x.size and M == 1:
        gy = gy if b is None else gate(gy, forward(x, mean, rstd, w, b, p))
        arrays = in_order(gy, p).reshape(B * K, J), in_order(x, p).reshape(B * K, J)
        _row_sums(*arrays, mean.reshape(-1), rstd.reshape(-1), weights(w, 1.0, x, p), groups.reshape(2, -1), affine)
    elif x.size:
        S = segments(M)
        f = together(M // S, K * J)
        sums = scratch("norm sums", (2, B * S, f * K * J), np.float64)
        arrays = (in_order(a, p).reshape(B * S, M // S // f, f * K * J) for a in (gy, x))
        lines = _lines(x, mean, rstd, w, b, p)
        share_out(_column_sums, B * S, *arrays, _repeated(lines, f), b is not None, sums)
        statistics, sums = (mean.reshape(B, K), rstd.reshape(B, K)), sums.reshape(2, B, S * f, K * J)
        _join_sums(sums, *statistics, weights(w, 1.0, x, p), lines, groups, affine)
    return groups.reshape(2, *p.stats), from_weights(affine, p)


def grad_input(gy, x, mean, rstd, w, b, groups, p):
    """gx = rstd (u w - mean(u w) - xhat mean(u w xhat)). groups: the sums of u w and u w xhat, 2 x p.stats."""
    B, M, K, J = p.blocks
    gx = empty(p.blocks, x.dtype)
    if x.size and M == 1:
        gy = gy if b is None else gate(gy, forward(x, mean, rstd, w, b, p))
        arrays = in_order(gy, p).reshape(B * K, J), in_order(x, p).reshape(B * K, J), gx.reshape(B * K, J)
        statistics = mean.reshape(-1), rstd.reshape(-1), groups.reshape(2, -1)
        _row_grad_input(*arrays, *statistics, weights(w, 1.0, x, p))
    elif x.size:
        f = together(M, K * J)
        arrays = (a.reshape(B, M // f, f * K * J) for a in (in_order(gy, p), in_order(x, p), gx))
        lines = _repeated(_lines(x, mean, rstd, w, b, p, groups), f)
        share_out(_column_grad_input, B * M // f, *arrays, lines, b is not None)
    return as_logical(gx, p)


def move(running, batch, momentum, scale=1.0):
    """running = (1 - momentum) running + momentum scale batch, in place. running: C; batch: as many elements."""
    _move(running, batch.reshape(-1), 1.0 - momentum, momentum * scale)


def _lines(x, mean, rstd, w, b, p, groups=None):
    """What the loops down columns need to know of each, 3 x B x K J: shift, factor and offset. With `groups`, the sums
    that grad_sums found, 5 x B x K J: slope and rest too."""
    B, M, K, J = p.blocks
    statistics, affine = (mean.reshape(B, K), rstd.reshape(B, K)), (weights(w, 1.0, x, p), weights(b, 0.0, x, p))
    lines = np.empty((3 if groups is None else 5, B, K * J), x.dtype)
    _column_lines(*statistics, *affine, lines)
    if groups is not None:
        _column_slopes(*statistics, groups.reshape(2, B, K), M * J, J, lines)
    return lines


@lru_cache(256)
def segments(M):
    """In how many equal parts M rows are summed, each by one thread: a function of M only, so that bits are too."""
    return next(s for s in (16, 8, 4, 2, 1) if M % s == 0 and (64 * s <= M or s == 1))


def together(rows, columns):
    """f: how many rows count as one of f times the columns."""
    return gcd(rows, 1 << max(0, (WIDTH // columns).bit_length() - 1))


def _repeated(lines, f):
    """`lines` for f rows that count as one."""
    return lines if f == 1 else np.concatenate([lines] * f, axis=2)


# --- layouts


def in_order(x, p):
    """x with any strides -> contiguous, in the order of its blocks (no copy if it is stored so already)."""
    return np.ascontiguousarray(x.transpose(p.order))


def weights(w, default, x, p):
    """A weight (any shape of p.affine's elements) as K x J in x's dtype, in the order in which x is stored."""
    K, J = p.blocks[2:]
    if w is None:
        return _constant(default, K, J, x.dtype)
    if J > 1:
        w = w.reshape(p.affine).transpose(p.affine_order)
    return np.ascontiguousarray(w, x.dtype).reshape(K, J)


@lru_cache(256)
def _constant(value, K, J, dtype):
    return np.full((K, J), value, dtype)


# --- loops down columns; x, y, gy, gx: B x M x C, lines: 3 or 5 x B x C. With relu, what is blocked of gy becomes
# a zero of its sign: so gy is read in any case; a read that waits for the comparison takes twice as long from memory.


@jit
def _column_statistics(first, last, x, sums):
    """sums: of each segment the means, and the sums of squared deviations from them."""
    _, M, C = x.shape
    mean, squares = sums[0], sums[1]
    total, deviations = np.empty(C), np.empty(C)
    for b in range(first, last):
        mean[b], squares[b] = 0, 0
        for start in range(0, M, BLOCK):
            stop = min(start + BLOCK, M)
            total[:], deviations[:] = 0, 0
            for m in range(start, stop):
                for c in range(C):
                    total[c] += x[b, m, c]
            for c in range(C):
                total[c] /= stop - start
            for m in range(start, stop):
                for c in range(C):
                    d = x[b, m, c] - total[c]
                    deviations[c] += d * d
            share = (stop - start) / stop
            for c in range(C):  # Chan, Golub & LeVeque: join the block to the `start` rows before it
                d = total[c] - mean[b, c]
                mean[b, c] += d * share
                squares[b, c] += deviations[c] + d * d * start * share


@jit
def _join_statistics(sums, rows, J, mean, var):
    """Join segments of so many rows, then J neighbouring columns. sums: 2 x B x S x K J; mean, var: B x K."""
    means, squares = sums[0], sums[1]
    B, S, C = means.shape
    for b in range(B):
        total, deviations = np.zeros(C), np.zeros(C)
        for s in range(S):
            for c in range(C):
                total[c] += means[b, s, c] / S
        for s in range(S):
            for c in range(C):
                d = means[b, s, c] - total[c]
                deviations[c] += squares[b, s, c] + d * d * rows
        for c in range(C):
            mean[b, c // J] += total[c] / J
        for c in range(C):
            d = total[c] - mean[b, c // J]
            var[b, c // J] += (deviations[c] / (S * rows) + d * d) / J


@jit
def _column_lines(mean, rstd, w, b, lines):
    """mean, rstd: B x K; w, b: K x J -> lines 0-2, B x K J: y = (x - shift) factor + offset."""
    K, J = w.shape
    for i in range(mean.shape[0]):
        for k in range(K):
            for j in range(J):
                c = k * J + j
                shift = lines.dtype.type(mean[i, k])
                factor = rstd[i, k] * w[k, j]
                lines[0, i, c], lines[1, i, c] = shift, factor
                lines[2, i, c] = b[k, j] + (shift - mean[i, k]) * factor


@jit
def _column_slopes(mean, rstd, groups, count, J, lines):
    """mean, rstd: B x K; groups: sums of u w and u w xhat over `count` elements, 2 x B x K -> lines 3 and 4, B x K J:
    gx = u factor + (x - shift) slope + rest."""
    for i in range(mean.shape[0]):
        for k in range(mean.shape[1]):
            slope = -rstd[i, k] * rstd[i, k] * (groups[1, i, k] / count)
            rest = slope * (lines[0, i, k * J] - mean[i, k]) - rstd[i, k] * (groups[0, i, k] / count)
            for c in range(k * J, (k + 1) * J):
                lines[3, i, c], lines[4, i, c] = slope, rest


@jit
def _move(running, batch, keep, new):
    keep = running.dtype.type(keep)
    for c in range(running.size):
        running[c] = keep * running[c] + new * batch[c]


@jit
def _column_forward(first, last, x, y, lines, relu):
    _, M, C = x.shape
    shift, factor, offset = lines[0], lines[1], lines[2]
    zero = x.dtype.type(0)
    for row in range(first, last):
        b, m = row // M, row % M
        for c in range(C):
            t = (x[b, m, c] - shift[b, c]) * factor[b, c] + offset[b, c]
            y[b, m, c] = zero if relu and t <= zero else t


@jit
def _column_forward_plus(first, last, x, plus, y, lines, relu):
    _, M, C = x.shape
    shift, factor, offset = lines[0], lines[1], lines[2]
    zero = x.dtype.type(0)
    for row in range(first, last):
        b, m = row // M, row % M
        for c in range(C):
            t = (x[b, m, c] - shift[b, c]) * factor[b, c] + offset[b, c] + plus[b, m, c]
            y[b, m, c] = zero if relu and t <= zero else t


@jit
def _column_sums(first, last, gy, x, lines, relu, both):
    """Of the segments first ... last, of g and g (x - shift); `lines` have one row for all segments of a b."""
    B, M, C = x.shape
    shift, factor, offset, sums, products = lines[0], lines[1], lines[2], both[0], both[1]
    zero = x.dtype.type(0)
    for s in range(first, last):
        b = s // (B // shift.shape[0])
        sums[s], products[s] = 0, 0
        for m in range(M):
            for c in range(C):
                d, g = x[s, m, c] - shift[b, c], gy[s, m, c]
                g = np.copysign(zero, g) if relu and d * factor[b, c] + offset[b, c] <= zero else g
                sums[s, c] += g
                products[s, c] += g * d


@jit
def _join_sums(both, mean, rstd, w, lines, groups, affine):
    """The sums of segments, of g and g (x - shift), 2 x B x S x K J -> groups, 2 x B x K, and affine, 2 x K x J."""
    sums, products = both[0], both[1]
    B, S, C = sums.shape
    J = w.shape[1]
    for b in range(B):
        total, product = np.zeros(C), np.zeros(C)
        for s in range(S):
            for c in range(C):
                total[c] += sums[b, s, c]
                product[c] += products[b, s, c]
        for c in range(C):
            k, j = c // J, c % J
            rest = lines[0, b, c] - mean[b, k]  # what the products lack to be those with x - mean
            product[c] = (product[c] + total[c] * rest) * rstd[b, k]
            groups[0, b, k] += total[c] * w[k, j]
            groups[1, b, k] += product[c] * w[k, j]
            affine[0, k, j] += total[c]
            affine[1, k, j] += product[c]


@jit
def _column_grad_input(first, last, gy, x, gx, lines, relu):
    _, M, C = x.shape
    shift, factor, offset, slope, rest = lines[0], lines[1], lines[2], lines[3], lines[4]
    zero = x.dtype.type(0)
    for row in range(first, last):
        b, m = row // M, row % M
        for c in range(C):
            d, g = x[b, m, c] - shift[b, c], gy[b, m, c]
            g = np.copysign(zero, g) if relu and d * factor[b, c] + offset[b, c] <= zero else g
            gx[b, m, c] = g * factor[b, c] + d * slope[b, c] + rest[b, c]


# --- loops along rows; x, y, gy, gx: R x J, one mean etc. for each row, w and b: K x J with row r using r mod K


@jit
def _row_statistics(x, mean, var):
    R, J = x.shape
    for r in range(R):
        total = 0.0
        for j in range(J):
            total += np.float64(x[r, j])
        total /= J
        squares = 0.0
        for j in range(J):
            d = x[r, j] - total
            squares += d * d
        mean[r], var[r] = total, squares / J


@jit
def _row_forward(x, y, mean, rstd, w, b):
    R, J = x.shape
    K = w.shape[0]
    for r in range(R):
        shift = x.dtype.type(mean[r])
        factor = x.dtype.type(rstd[r])
        offset = x.dtype.type((shift - mean[r]) * rstd[r])
        for j in range(J):
            y[r, j] = ((x[r, j] - shift) * factor + offset) * w[r % K, j] + b[r % K, j]


@jit
def _row_sums(gy, x, mean, rstd, w, groups, affine):
    R, J = x.shape
    K = w.shape[0]
    for r in range(R):
        shift = x.dtype.type(mean[r])
        rest = shift - mean[r]
        total = product = 0.0
        for j in range(J):
            u = gy[r, j] * w[r % K, j]
            total += np.float64(u)
            product += np.float64(u * (x[r, j] - shift))
            affine[0, r % K, j] += gy[r, j]
            affine[1, r % K, j] += gy[r, j] * ((x[r, j] - shift + rest) * rstd[r])
        groups[0, r] = total
        groups[1, r] = (product + total * rest) * rstd[r]


@jit
def _row_grad_input(gy, x, gx, mean, rstd, groups, w):
    R, J = x.shape
    K = w.shape[0]
    real = x.dtype.type
    for r in range(R):
        slope = -rstd[r] * rstd[r] * (groups[1, r] / J)
        shift, factor = real(mean[r]), real(rstd[r])
        offset = real(slope * (shift - mean[r]) - rstd[r] * (groups[0, r] / J))
        slope = real(slope)
        for j in range(J):
            gx[r, j] = gy[r, j] * w[r % K, j] * factor + (x[r, j] - shift) * slope + offset
