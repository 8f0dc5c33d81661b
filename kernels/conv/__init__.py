"""Convolution: the table of algorithms and the choice between them.

A row is a module with three array functions, all in terms of one `ConvParams` p:

    forward(x, w, p)               -> y    N x OC x OH x OW
    grad_input(gy, w, p, x_shape)  -> gx   N x C x H x W
    grad_weight(x, gy, p, w_shape) -> gw   OC x C/G x KH x KW

They are the three partial derivatives of one trilinear form <gy, conv(x, w)>. Arrays may have any strides;
y and gx come back with channels-last strides. A row that is not for every convolution says so in
`supports(w_shape, p)`, and in words in SUPPORTS. Every row computes cross-correlation, what deep learning calls
convolution, except "flipped", which computes true convolution (the kernel rotated by 180 degrees).
"""
from importlib import import_module

from .params import ConvParams, conv_output_shape, conv_params, conv_transpose_params, dims

__all__ = [
    "CROSS_CORRELATION", "TABLE", "ConvParams", "algorithms", "conv_output_shape", "conv_params",
    "conv_transpose_params", "estimates", "lookup", "select", "supports",
]

# (algorithm, device) -> module of this package, imported on first use
TABLE = {
    ("reference", "cpu"): "reference",
    ("direct", "cpu"): "direct_cpu",
    ("flipped", "cpu"): "flipped_cpu",
    ("im2col", "cpu"): "im2col_cpu",
    ("winograd", "cpu"): "winograd_cpu",
    ("winograd_2x2", "cpu"): "winograd_2x2_cpu",
}

# The algorithms that are interchangeable: same function, same result up to rounding.
CROSS_CORRELATION = tuple(dict.fromkeys(name for name, _ in TABLE if name != "flipped"))


def algorithms(device):
    """Names of the rows that run on `device`."""
    return tuple(name for name, where in TABLE if where == device)


# "auto" takes the algorithm with the lowest estimate in multiplications: those it does, and what its transforms cost in
# the same unit. Measured on two AVX-512 cores (benchmarks/conv.py): one element of a transformed weight is written in
# the time of so many multiplications, one element of a transformed tile in that of so many.
TRANSFORMED_WEIGHT, TRANSFORMED_TILE = 115, 25
WINOGRAD = {"winograd": 4, "winograd_2x2": 2}  # outputs of a tile along each axis


def estimates(x_shape, w_shape, p):
    """{algorithm: estimated cost} of the algorithms that "auto" chooses from and that support this convolution."""
    n, oc, oh, ow = conv_output_shape(x_shape, w_shape, p)
    c = w_shape[1]
    costs = {"direct": n * oc * oh * ow * c * w_shape[2] * w_shape[3]}
    for name, m in WINOGRAD.items():
        if supports(name, "cpu", w_shape, p):
            q, tiles = m + 2, n * -(-oh // m) * -(-ow // m)
            sizes = tiles * c * oc, TRANSFORMED_WEIGHT * c * oc, TRANSFORMED_TILE * tiles * (c + oc)
            costs[name] = q * q * sum(sizes)
    return costs


def select(x_shape, w_shape, p):
    """The algorithm behind "auto": a pure function of the shapes; never "flipped".

    A batch of no images is left to the reference, whose loops are over before they start: nothing is compiled.
    """
    if x_shape[0] == 0:
        return "reference"
    costs = estimates(x_shape, w_shape, p)
    return min(costs, key=costs.get)


def supports(algorithm, device, w_shape, p):
    """Whether a row of the table computes such a convolution: what its module's `supports` says, if it has one."""
    row = import_module("." + TABLE[algorithm, device], __name__)
    return not hasattr(row, "supports") or row.supports(w_shape, p)


def lookup(algorithm, device, x_shape, w_shape, p):
    """The module that computes this convolution. Raises ValueError for a name the table does not have."""
    if algorithm == "auto":
        algorithm = select(x_shape, w_shape, p)
    if (algorithm, device) not in TABLE:
        names = ", ".join(map(repr, algorithms(device)))
        raise ValueError(f"Conv2d: no algorithm {algorithm!r} on {device}; there is 'auto', {names}")
    row = import_module("." + TABLE[algorithm, device], __name__)
    if w_shape is not None and not supports(algorithm, device, w_shape, p):
        raise ValueError(
            f"Conv2d: algorithm {algorithm!r} is for {row.SUPPORTS}; got kernel {dims(w_shape[2:])}, "
            f"stride {p.stride}, dilation {p.dilation}, groups {p.groups}"
        )
    return row
