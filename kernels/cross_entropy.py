"""Softmax cross-entropy of rows of scores: the loss of all rows, and its gradient.

rows: R x C scores. target: the class of each row, int64. counted: a bool for each row. count: by how much the sum is
divided, a 0-d integer array, or None. NumPy on the CPU; on a GPU the kernels of cross_entropy.cu, which bring no value
to the CPU.
"""
from importlib import import_module

import numpy as np

from .arrays import device_of


def forward(rows, target, counted, count):
    """(y, p): the sum over counted rows of ln(sum over c of e^x_c) - x_target, divided by `count`; softmax(rows)."""
    if device_of(rows) != "cpu":
        return _cuda().forward(rows, target, counted, count)
    largest = rows.max(axis=1, keepdims=True) if rows.size else rows[:, :1]
    p = np.exp(rows - largest)
    total = p.sum(axis=1, keepdims=True)
    losses = (np.log(total) + largest)[:, 0] - rows[np.arange(len(rows)), target]
    p /= total
    y = np.where(counted, losses, 0).sum(dtype=np.float64)
    return (y if count is None else y / np.float64(count)).astype(rows.dtype), p


def grad_scores(gy, p, target, counted, count):
    """gy (p - 1 at the target) / count for counted rows, 0 for the others. gy: 0-d, of the dtype of p."""
    if device_of(p) != "cpu":
        return _cuda().grad_scores(gy, p, target, counted, count)
    factor = gy if count is None else gy / int(count)
    rows = p * factor
    rows[np.arange(len(rows)), target] -= factor
    if not counted.all():  # not a factor 0: ignored scores may be infinite
        rows[~counted] = 0
    return rows


def _cuda():
    return import_module(".cross_entropy_cuda", __package__)
