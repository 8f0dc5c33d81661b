"""Normalisation on the CPU: a pass for the statistics, one for y; backward, a pass for the sums and one for gx.

Two walks through memory serve every kind of group. Where a group has many rows of pixels (batch and group norm), loops
run down B matrices of M rows and C = K J columns, all columns of a row together, and the sums of J neighbouring columns
are joined at the end. Where a group is one contiguous run (layer norm, group norm of N x C), loops run along R = B K
rows of J elements. Sums are kept in float64; each element itself is handled in x's dtype, as
(x - shift) factor + offset, with the shift rounded to that dtype and what the rounding loses put into the offset.

Variances: Chan, Golub & LeVeque 1979, equation 2.1: the mean and the sum of squared deviations of a block at a time,
while it is in the cache, joined to those of the blocks before. Nothing cancels, however large the mean is.
"""
import numpy as np

from ..buffers import empty
from ..jit import jit
from ..threads import share_out
from .lrn_cpu import lrn_forward, lrn_grad_input, window_sum

__all__ = ["forward", "grad_input", "grad_sums", "lrn_forward", "lrn_grad_input", "statistics", "window_sum"]

BLOCK = 32  # rows whose statistics are taken together


def statistics(x, p):
    """The mean and the biased variance of each group, float64, shape p.stats. x: p.shape, any strides."""
    B, M, K, J = p.blocks
    mean, var = np.zeros((B, K, 1)), np.zeros((B, K, 1))
    if x.size and M == 1:
        _row_statistics(in_order(x, p).reshape(B * K, J), mean.reshape(-1), var.reshape(-1))
    elif x.size:
        S = segments(M)
        means, squares = np.zeros((B, S, K, J)), np.zeros((B, S, K, J))
        flat = means.reshape(B * S, K * J), squares.reshape(B * S, K * J)
        share_out(_column_statistics, B * S, in_order(x, p).reshape(B * S, M // S, K * J), *flat)
        mean = means.mean(1, keepdims=True)
        squares = (squares + M // S * (means - mean) ** 2).sum(1)
        means = mean[:, 0]
        mean = means.mean(2, keepdims=True)
        var = (squares + M * (means - mean) ** 2).sum(2) / (M * J)
    return mean.reshape(p.stats), var.reshape(p.stats)


def forward(x, mean, rstd, w, b, p):
    """y = (x - mean) rstd w + b. mean, rstd: p.stats; w, b: the weight's shape or None -> y, p.shape."""
    B, M, K, J = p.blocks
    y = empty(p.blocks, x.dtype)
    mean, rstd, w = mean.reshape(B, K, 1), rstd.reshape(B, K, 1), weights(w, 1.0, p)
    b = weights(b, 0.0, p)
    if x.size and M == 1:
        arrays = in_order(x, p).reshape(B * K, J), y.reshape(B * K, J)
        _row_forward(*arrays, mean.reshape(-1), rstd.reshape(-1), w.astype(x.dtype), b.astype(x.dtype))
    elif x.size:
        shift = mean.astype(x.dtype)
        factor = rstd * w
        offset = b + (shift - mean) * factor
        arrays = in_order(x, p).reshape(B, M, K * J), y.reshape(B, M, K * J)
        share_out(_column_forward, B * M, *arrays, *columns(p, x.dtype, shift, factor, offset))
    return as_logical(y, p)


def grad_sums(gy, x, mean, rstd, w, p):
    """The sums of gy w and gy w xhat over each group (2 x p.stats), of gy and gy xhat over all that share a weight."""
    B, M, K, J = p.blocks
    groups, affine = np.zeros((2, B, K)), np.zeros((2, K, J))
    mean, rstd, w = mean.reshape(B, K, 1), rstd.reshape(B, K, 1), weights(w, 1.0, p)
    if x.size and M == 1:
        arrays = in_order(gy, p).reshape(B * K, J), in_order(x, p).reshape(B * K, J)
        vectors = mean.reshape(-1), rstd.reshape(-1), w.astype(x.dtype)
        _row_sums(*arrays, *vectors, groups.reshape(2, -1), affine)
    elif x.size:
        shift = mean.astype(x.dtype)
        S = segments(M)
        sums = np.zeros((2, B * S, K * J))
        arrays = (in_order(a, p).reshape(B * S, M // S, K * J) for a in (gy, x))
        share_out(_column_sums, B * S, *arrays, *columns(p, x.dtype, shift), sums[0], sums[1])
        sums = sums.reshape(2, B, S, K, J).sum(2)
        sums[1] = (sums[1] + sums[0] * (shift - mean)) * rstd
        groups, affine = (sums * w).sum(3), sums.sum(1)
    return groups.reshape(2, *p.stats), from_weights(affine, p)


def grad_input(gy, x, mean, rstd, w, groups, p):
    """gx = rstd (u - mean(u) - xhat mean(u xhat)), u = gy w. groups: the sums of u and u xhat, 2 x p.stats."""
    B, M, K, J = p.blocks
    gx = empty(p.blocks, x.dtype)
    mean, rstd, w = mean.reshape(B, K, 1), rstd.reshape(B, K, 1), weights(w, 1.0, p)
    mean_u, mean_uxhat = groups.reshape(2, B, K, 1) / max(M * J, 1)
    shift = mean.astype(x.dtype)
    slope = -rstd * rstd * mean_uxhat
    offset = slope * (shift - mean) - rstd * mean_u
    if x.size and M == 1:
        arrays = in_order(gy, p).reshape(B * K, J), in_order(x, p).reshape(B * K, J), gx.reshape(B * K, J)
        vectors = (v.astype(x.dtype).reshape(-1) for v in (shift, rstd, slope, offset))
        _row_grad_input(*arrays, *vectors, w.astype(x.dtype))
    elif x.size:
        arrays = (a.reshape(B, M, K * J) for a in (in_order(gy, p), in_order(x, p), gx))
        share_out(_column_grad_input, B * M, *arrays, *columns(p, x.dtype, shift, rstd * w, slope, offset))
    return as_logical(gx, p)


def segments(M):
    """In how many equal parts M rows are summed, each by one thread: a function of M only, so that bits are too."""
    return next(s for s in (16, 8, 4, 2, 1) if M % s == 0 and (64 * s <= M or s == 1))


# --- layouts


def in_order(x, p):
    """x with any strides -> contiguous, in the order of its blocks (no copy if it is stored so already)."""
    return np.ascontiguousarray(x.transpose(p.order))


def as_logical(y, p):
    """B x M x K x J -> the view of the same memory in x's shape."""
    return y.reshape([p.shape[i] for i in p.order]).transpose(np.argsort(p.order))


def columns(p, dtype, *values):
    """Values for each group or column, B x K x 1 or B x K x J, as contiguous B x (K J)."""
    B, _, K, J = p.blocks
    return [np.ascontiguousarray(np.broadcast_to(v, (B, K, J)), dtype).reshape(B, K * J) for v in values]


def affine_order(p):
    """How a weight's axes are put into the order in which x stores them."""
    first = len(p.shape) - len(p.affine)
    return [i - first for i in p.order if i >= first]


def weights(w, default, p):
    """A weight (any shape of p.affine's elements) as K x J float64, in the order in which x is stored."""
    K, J = p.blocks[2:]
    if w is None:
        return np.full((K, J), default)
    return np.ascontiguousarray(w.reshape(p.affine).transpose(affine_order(p)), np.float64).reshape(K, J)


def from_weights(v, p):
    """2 x K x J -> 2 x p.affine."""
    order = affine_order(p)
    stored = v.reshape(2, *(p.affine[i] for i in order))
    return stored.transpose(0, *(1 + i for i in np.argsort(order)))


# --- loops down columns; x, y, gy, gx: B x M x C, the others B x C


@jit
def _column_statistics(first, last, x, mean, squares):
    _, M, C = x.shape
    for b in range(first, last):
        for start in range(0, M, BLOCK):
            stop = min(start + BLOCK, M)
            total, deviations = np.zeros(C), np.zeros(C)
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
def _column_forward(first, last, x, y, shift, factor, offset):
    _, M, C = x.shape
    for row in range(first, last):
        b, m = row // M, row % M
        for c in range(C):
            y[b, m, c] = (x[b, m, c] - shift[b, c]) * factor[b, c] + offset[b, c]


@jit
def _column_sums(first, last, gy, x, shift, sums, products):
    """Of the segments first ... last; shift has one row for all segments of a b."""
    B, M, C = x.shape
    for s in range(first, last):
        b = s // (B // shift.shape[0])
        for m in range(M):
            for c in range(C):
                sums[s, c] += gy[s, m, c]
                products[s, c] += gy[s, m, c] * (x[s, m, c] - shift[b, c])


@jit
def _column_grad_input(first, last, gy, x, gx, shift, factor, slope, offset):
    _, M, C = x.shape
    for row in range(first, last):
        b, m = row // M, row % M
        for c in range(C):
            gx[b, m, c] = gy[b, m, c] * factor[b, c] + (x[b, m, c] - shift[b, c]) * slope[b, c] + offset[b, c]


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
def _row_grad_input(gy, x, gx, shift, rstd, slope, offset, w):
    R, J = x.shape
    K = w.shape[0]
    for r in range(R):
        for j in range(J):
            gx[r, j] = gy[r, j] * w[r % K, j] * rstd[r] + (x[r, j] - shift[r]) * slope[r] + offset[r]
