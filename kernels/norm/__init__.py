"""Normalisation: the table of algorithms, in the pattern of `kernels.conv`.

Batch, layer and group normalisation differ only in which elements of x form a group: a `NormParams` p says so. The
elements of each group are shifted and scaled to mean 0 and variance 1, and y = xhat w + b with a factor and an offset
per channel (layer norm: per normalised element). A row is a module with these array functions; w and b may be None:

    statistics(x, p, eps)                -> mean, var, rstd of each group, float64, shape p.stats; var is biased,
                                            rstd = (var + eps)^-1/2
    move(running, batch, momentum, scale=1.0)              running = (1 - momentum) running + momentum scale batch
    forward(x, mean, rstd, w, b, p, relu=False, plus=None)
                                         -> y              (x - mean) rstd w + b + plus, with relu the positive part
    grad_sums(gy, x, mean, rstd, w, b, p) -> groups, affine: (sum of u w, of u w xhat) over each group, 2 x p.stats,
                                            and (gb, gw) = (sum of u, of u xhat) over all that share a weight,
                                            2 x p.affine; both float64. u is gy; where b is given there is a ReLU
                                            after xhat w + b, and u is what it lets through
    grad_input(gy, x, mean, rstd, w, b, groups, p) -> gx

and, for local response normalisation across channels with its `LRNParams` q (s = k + alpha W(x^2), see params.py):

    lrn_forward(x, q)                    -> y = x s^-beta
    lrn_grad_input(gy, x, q)             -> gx = gy s^-beta - 2 alpha beta x W'(gy x s^(-beta - 1))
    window_sum(x, reach)                 -> W(x): the sum of the channels c - reach[0] ... c + reach[1]; W' is the
                                            same with reach reversed

Arrays may have any strides; y and gx come back with channels-last strides, except those of a layer norm that does not
take C x H x W together, which are contiguous. float32 statistics are accumulated in float64.
"""
from functools import lru_cache
from importlib import import_module

from ..arrays import hardware
from .params import LRNParams, NormParams, batch_groups, channel_groups, layer_groups, lrn_params

__all__ = [
    "TABLE", "LRNParams", "NormParams", "batch_groups", "channel_groups", "layer_groups", "lookup", "lrn_params",
]

# (algorithm, device) -> module of this package, imported on first use; a "cuda" row serves the simulated device, too
TABLE = {
    ("reference", "cpu"): "reference",
    ("fused", "cpu"): "fused_cpu", ("fused", "cuda"): "fused_cuda",
}


def lookup(device, algorithm="fused"):
    """The module that normalises on `device`. Raises ValueError for a row the table does not have."""
    if (algorithm, hardware(device)) not in TABLE:
        names = ", ".join(repr(name) for name, where in TABLE if where == hardware(device)) or "none"
        raise ValueError(f"normalisation: no algorithm {algorithm!r} on {device}; there is {names}")
    return _module(TABLE[algorithm, hardware(device)])


@lru_cache
def _module(name):
    return import_module("." + name, __name__)
