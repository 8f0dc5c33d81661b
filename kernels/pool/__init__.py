"""Pooling: the table of algorithms, in the pattern of `kernels.conv`.

A row is a module with these array functions, all in terms of one `PoolParams` p (NCHW, any strides in,
channels-last strides out):

    max_forward(x, p)                   -> y, index    index: flat position h W + w of each maximum in its H x W map
    max_grad_input(gy, index, p, shape) -> gx
    max_gather(x, index)                -> x at those positions: the adjoint of max_grad_input
    avg_forward(x, p)                   -> y
    avg_grad_input(gy, p, shape)        -> gx
"""
from importlib import import_module

from .params import PoolParams, pool_params

__all__ = ["TABLE", "PoolParams", "lookup", "pool_params"]

# (algorithm, device) -> module of this package, imported on first use
TABLE = {
    ("reference", "cpu"): "reference",
    ("window", "cpu"): "window_cpu",
}


def lookup(device, algorithm="window"):
    """The module that pools on `device`. Raises ValueError for a row the table does not have."""
    if (algorithm, device) not in TABLE:
        names = ", ".join(repr(name) for name, where in TABLE if where == device)
        raise ValueError(f"pooling: no algorithm {algorithm!r} on {device}; there is {names}")
    return import_module("." + TABLE[algorithm, device], __name__)
