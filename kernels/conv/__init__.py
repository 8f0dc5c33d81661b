"""Convolution: the table of algorithms and the choice between them.

A row is a module with three array functions, all in terms of one `ConvParams` p:

    forward(x, w, p)               -> y    N x OC x OH x OW
    grad_input(gy, w, p, x_shape)  -> gx   N x C x H x W
    grad_weight(x, gy, p, w_shape) -> gw   OC x C/G x KH x KW

They are the three partial derivatives of one trilinear form <gy, conv(x, w)>. Arrays may have any strides;
y and gx come back with channels-last strides. forward also takes a bias, a lower bound of y, and, as grad_input does,
`kept`: what was made of w before (prepare.py). A row that is not for every convolution says so in
`supports(w_shape, p)`, and in words in SUPPORTS. Every row computes cross-correlation, what deep learning calls
convolution, except "flipped", which computes true convolution (the kernel rotated by 180 degrees).
"""
from functools import lru_cache
from importlib import import_module
from typing import NamedTuple

from ..arrays import hardware
from ..cuda.precision import on_tensor_cores
from .params import ConvParams, conv_output_shape, conv_params, conv_transpose_params, dims
from .tuning import choice

__all__ = [
    "CROSS_CORRELATION", "GPU_RULES", "LESSONS", "RULES", "TABLE", "ConvParams", "Cost", "algorithms",
    "conv_output_shape", "conv_params", "conv_transpose_params", "estimates", "lookup", "select", "select_gpu",
    "supports",
]

# (algorithm, device) -> module of this package, imported on first use; a "cuda" row serves the simulated device, too
TABLE = {
    ("reference", "cpu"): "reference",
    ("direct", "cpu"): "direct_cpu", ("direct", "cuda"): "direct_cuda",
    ("flipped", "cpu"): "flipped_cpu", ("flipped", "cuda"): "flipped_cuda",
    ("im2col", "cpu"): "im2col_cpu", ("im2col", "cuda"): "im2col_cuda",
    ("im2col_whole", "cpu"): "im2col_whole_cpu",
    ("implicit_gemm", "cuda"): "implicit_gemm_cuda",
    ("winograd", "cpu"): "winograd_cpu", ("winograd", "cuda"): "winograd_cuda",
    ("winograd_2x2", "cpu"): "winograd_2x2_cpu", ("winograd_2x2", "cuda"): "winograd_2x2_cuda",
}

# Rows to read and to compare with: far too slow, or too large, for work.
LESSONS = ("reference", "im2col_whole")

# The algorithms that are interchangeable: same function, same result up to rounding.
CROSS_CORRELATION = tuple(dict.fromkeys(name for name, _ in TABLE if name != "flipped"))


def algorithms(device):
    """Names of the rows that run on `device`: "cpu", "cuda" or "cuda-sim"."""
    return tuple(name for name, where in TABLE if where == hardware(device))


class Cost(NamedTuple):
    """What an algorithm does, and how long each part takes, in the time of one multiplication by "direct"."""

    product: float  # one multiplication
    points: int = 0  # elements of a transformed Winograd tile along each axis; 0: there are no transforms
    transformed_weight: float = 0  # one element of a transformed weight
    transformed_tile: float = 0  # one element of a transformed tile of x or gy


# The rules of "auto": it takes the algorithm with the lowest cost; one without a row here is never taken. Measured on
# two AVX-512 cores with benchmarks/conv.py; `minigrad tune` measures on the machine it runs on (tuning.py).
RULES = {
    "forward": {
        "direct": Cost(1),
        "winograd": Cost(1, 6, 10, 35),
        "winograd_2x2": Cost(1, 4, 30, 35),
    },
    "grad_input": {
        "direct": Cost(1),
        "winograd": Cost(1, 6, 10, 35),
        "winograd_2x2": Cost(1, 4, 30, 35),
    },
    "grad_weight": {
        "direct": Cost(1),
        "winograd": Cost(1, 6, 8, 65),
        "winograd_2x2": Cost(1, 4, 10, 65),
    },
}


def estimates(x_shape, w_shape, p, which="forward"):
    """{algorithm: estimated cost} of the algorithms in RULES that support this convolution; which: the pass."""
    n, oc, oh, ow = conv_output_shape(x_shape, w_shape, p)
    c, kh, kw = w_shape[1:]
    costs = {}
    for name, cost in RULES[which].items():
        if not supports(name, "cpu", w_shape, p):
            continue
        if which == "grad_weight" and cost.points and kh > 3:
            continue  # winograd_cpu.py leaves it to "direct"
        if not cost.points:
            made = c if which == "grad_input" else oc  # what vectors hold
            waste = _in_vectors(made) / made if made > 8 else 2  # few channels: see neighbours.py
            costs[name] = cost.product * n * oc * oh * ow * c * kh * kw * waste
            continue
        m, q = cost.points - kh + 1, cost.points
        tiles = n * -(-oh // m) * -(-ow // m)
        wide_c, wide_oc = _in_vectors(c), _in_vectors(oc)
        transforms = cost.transformed_weight * c * oc + cost.transformed_tile * tiles * (wide_c + wide_oc)
        costs[name] = q * q * (cost.product * tiles * c * wide_oc + transforms)
    return costs


def _in_vectors(channels):
    """As many channels as the vectors that they take up could hold: a part of one costs as much as all of it."""
    return -(-channels // 16) * 16


@lru_cache(1024)
def select(x_shape, w_shape, p, which="forward"):
    """The algorithm that the rules behind "auto" name: a pure function of the shapes; never "flipped".

    which: the pass, "forward", "grad_input" or "grad_weight"; x_shape and w_shape are those of the forward pass.
    A batch of no images is left to the reference, whose loops are over before they start: nothing is compiled.
    """
    if x_shape[0] == 0:
        return "reference"
    costs = estimates(x_shape, w_shape, p, which)
    return min(costs, key=costs.get)


@lru_cache
def _row(name):
    """The module of that name in this package."""
    return import_module("." + name, __name__)


@lru_cache(1024)
def supports(algorithm, device, w_shape, p):
    """Whether a device has the row, and it computes such a convolution: what its `supports` says, if it has one."""
    if (algorithm, hardware(device)) not in TABLE:
        return False
    row = _row(TABLE[algorithm, hardware(device)])
    return not hasattr(row, "supports") or row.supports(w_shape, p)


# "auto" on a GPU: the first algorithm that supports the convolution and has enough channels in each group, (of the
# result, of what is summed over; of the weight gradient: of gy, of x). Not measured, but reckoned:
# - implicit_gemm makes tiles 64 channels wide, which narrow groups leave idle. In float32 arithmetic is what limits it:
#   a block does 21 operations for each byte that it reads from the L2 cache.
# - winograd reads as many bytes for the same work, with a quarter of the multiplications; its transforms, which each
#   block of 32 channels repeats, take about half as long as these. So it has to save half of them, and then wins.
# - tensor cores multiply at least eight times as fast: no saving of multiplications makes up for that.
GPU_RULES = {"winograd": (32, 32), "implicit_gemm": (8, 1), "direct": (1, 1)}


def select_gpu(x_shape, w_shape, p, which="forward", dtype="float32"):
    """The algorithm that the rules behind "auto" on a GPU name. dtype: of the arrays."""
    oc, c = w_shape[0] // p.groups, w_shape[1]
    result, summed = (c, oc) if which == "grad_input" else (oc, c)

    def taken(name):
        if name == "winograd" and (on_tensor_cores(dtype) or not _saves_half(x_shape, w_shape, p)):
            return False
        return result >= GPU_RULES[name][0] and summed >= GPU_RULES[name][1] and supports(name, "cuda", w_shape, p)

    return next(filter(taken, GPU_RULES))


def _saves_half(x_shape, w_shape, p):
    """Whether Winograd's tiles, 36 multiplications for 4 x 4 outputs, save half of the nine of each output."""
    _, _, oh, ow = conv_output_shape(x_shape, w_shape, p)
    return 2 * 36 * -(-oh // 4) * -(-ow // 4) <= 9 * oh * ow


def lookup(algorithm, device, x_shape, w_shape, p, which="forward", dtype="float32"):
    """The module that computes one pass of this convolution. Raises ValueError for a name the table does not have.

    "auto" is what was measured on this machine, if it was (tuning.py), or else what `select` says; on a GPU, what
    `select_gpu` says for this dtype.
    """
    if algorithm == "auto" and hardware(device) == "cuda":
        algorithm = select_gpu(x_shape, w_shape, p, which, dtype)
    elif algorithm == "auto":
        algorithm = choice(which, x_shape, w_shape, p) or select(x_shape, w_shape, p, which)
    if (algorithm, hardware(device)) not in TABLE:
        names = ", ".join(map(repr, algorithms(device)))
        raise ValueError(f"Conv2d: no algorithm {algorithm!r} on {device}; there is 'auto', {names}")
    row = _row(TABLE[algorithm, hardware(device)])
    if w_shape is not None and not supports(algorithm, device, w_shape, p):
        raise ValueError(
            f"Conv2d: algorithm {algorithm!r} is for {row.SUPPORTS}; got kernel {dims(w_shape[2:])}, "
            f"stride {p.stride}, dilation {p.dilation}, groups {p.groups}"
        )
    return row
