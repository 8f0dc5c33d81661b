"""Convolution: the table of algorithms and the choice between them.

A row is a module with three array functions, all in terms of one `ConvParams` p:

    forward(x, w, p)               -> y    N x OC x OH x OW
    grad_input(gy, w, p, x_shape)  -> gx   N x C x H x W
    grad_weight(x, gy, p, w_shape) -> gw   OC x C/G x KH x KW

They are the three partial derivatives of one trilinear form <gy, conv(x, w)>. Arrays may have any strides;
y and gx come back with channels-last strides. Every row computes cross-correlation, what deep learning calls
convolution, except "flipped", which computes true convolution (the kernel rotated by 180 degrees).
"""
from importlib import import_module

from .params import ConvParams, conv_output_shape, conv_params, conv_transpose_params

__all__ = [
    "CROSS_CORRELATION", "TABLE", "ConvParams", "algorithms", "conv_output_shape", "conv_params",
    "conv_transpose_params", "lookup", "select",
]

# (algorithm, device) -> module of this package, imported on first use
TABLE = {
    ("reference", "cpu"): "reference",
    ("direct", "cpu"): "direct_cpu",
    ("flipped", "cpu"): "flipped_cpu",
    ("im2col", "cpu"): "im2col_cpu",
}

# The algorithms that are interchangeable: same function, same result up to rounding.
CROSS_CORRELATION = tuple(dict.fromkeys(name for name, _ in TABLE if name != "flipped"))


def algorithms(device):
    """Names of the rows that run on `device`."""
    return tuple(name for name, where in TABLE if where == device)


def select(x_shape, w_shape, p):
    """The algorithm behind "auto": a pure function of the shapes; never "flipped".

    A batch of no images is left to the reference, whose loops are over before they start: nothing is compiled.
    The matrix product (im2col) is the faster loop in all three passes together, even with few channels. The exception
    is depthwise convolution with one output channel per group: each element of the unfolded matrix would be used for
    a single multiplication. The two take about equally long there, and direct does without that matrix.
    """
    if x_shape[0] == 0:
        return "reference"
    depthwise = p.groups > 1 and p.groups == w_shape[0] and w_shape[1] == 1
    return "direct" if depthwise else "im2col"


def lookup(algorithm, device, x_shape, w_shape, p):
    """The module that computes this convolution. Raises ValueError for a name the table does not have."""
    if algorithm == "auto":
        algorithm = select(x_shape, w_shape, p)
    if (algorithm, device) not in TABLE:
        names = ", ".join(map(repr, algorithms(device)))
        raise ValueError(f"Conv2d: no algorithm {algorithm!r} on {device}; there is 'auto', {names}")
    return import_module("." + TABLE[algorithm, device], __name__)
