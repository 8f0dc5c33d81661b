"""Pooling: the table of algorithms, in the pattern of `kernels.conv`.

A row is a module with these array functions (NCHW, any strides in, channels-last strides out). p is a `PoolParams`, for
sliding windows, or an `AdaptiveParams`, for a grid of windows; index holds flat positions h W + w in an H x W map:

    max_forward(x, p)                   -> y, index    index: where each maximum stands
    max_grad_input(gy, index, p, shape) -> gx
    max_gather(x, index)                -> x at those positions: the adjoint of max_grad_input
    avg_forward(x, p)                   -> y
    avg_grad_input(gy, p, shape)        -> gx          the adjoint of avg_forward
    unpool_forward(x, index, size)      -> y           zeros of size (H, W), x at index; of equals the last stays
    unpool_grad_input(gy, index)        -> gx          the adjoint of unpool_forward
    lp_forward(x, p, norm)              -> y           y ** norm = the sum of k x ** norm over a window
    lp_collect(a, x, y, p, q)           -> the sum of a k (x / y) ** q over each window
    lp_spread(b, x, y, p, q)            -> the sum of b k (x / y) ** q over the windows of each x: adjoint of lp_collect

In the last three, whose p is a `PoolParams` without padding, k is 1, or for a window that the image's edge clips, its
whole area over what is left of it. x N x C x H x W, y N x C x OH x OW, a like x, b like y.
"""
from functools import lru_cache
from importlib import import_module

from ..arrays import hardware
from .params import AdaptiveParams, PoolParams, adaptive_params, pool_params, pool_params_1d, unpool_size

__all__ = [
    "TABLE", "AdaptiveParams", "PoolParams", "adaptive_params", "lookup", "pool_params", "pool_params_1d",
    "unpool_size",
]

# (algorithm, device) -> module of this package, imported on first use; a "cuda" row serves the simulated device, too
TABLE = {
    ("reference", "cpu"): "reference",
    ("window", "cpu"): "window_cpu", ("window", "cuda"): "window_cuda",
}


def lookup(device, algorithm="window"):
    """The module that pools on `device`. Raises ValueError for a row the table does not have."""
    if (algorithm, hardware(device)) not in TABLE:
        names = ", ".join(repr(name) for name, where in TABLE if where == hardware(device)) or "none"
        raise ValueError(f"pooling: no algorithm {algorithm!r} on {device}; there is {names}")
    return _row(TABLE[algorithm, hardware(device)])


@lru_cache
def _row(name):
    """The module of that name in this package."""
    return import_module("." + name, __name__)
