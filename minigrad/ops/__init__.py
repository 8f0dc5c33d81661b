"""Differentiable functions of Tensors: Functions from `autograd.py` and compositions of them, by subject."""
from . import methods
from .activation import elu, leaky_relu, log_softmax, relu, sigmoid, silu, softmax, softplus, tanh
from .conv import conv2d, conv_algorithm, conv_transpose2d, convolve2d
from .dropout import dropout, dropout2d
from .elementwise import (
    absolute,
    add,
    astype,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    clip,
    clone,
    div,
    eq,
    exp,
    floor_divide,
    ge,
    gt,
    isfinite,
    isnan,
    le,
    log,
    logical_and,
    logical_not,
    logical_or,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    remainder,
    sign,
    sqrt,
    sub,
    where,
)
from .index import gather, getitem
from .linalg import linear, matmul
from .loss import cross_entropy
from .norm import batch_norm
from .pool import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, max_pool2d
from .promotion import result_dtype
from .reduce import all, amax, amin, any, argmax, argmin, logsumexp, max, mean, min, std, sum, var
from .shape import (
    chunk,
    concatenate,
    expand,
    expand_as,
    flatten,
    flip,
    pad,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    t,
    transpose,
    unsqueeze,
)

__all__ = [name for name, value in list(globals().items()) if callable(value) and not name.startswith("_")]
