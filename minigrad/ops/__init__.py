"""Differentiable functions of Tensors: Functions from `autograd.py` and compositions of them, by subject."""
from . import methods
from .activation import (
    elu,
    hardtanh,
    leaky_relu,
    log_softmax,
    prelu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .conv import conv1d, conv2d, conv_algorithm, conv_transpose2d, convolve2d
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
from .interpolate import interpolate
from .linalg import linear, matmul
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
)
from .lp_pool import lp_pool2d
from .lrn import local_response_norm
from .norm import batch_norm, group_norm, layer_norm
from .pool import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    global_avg_pool2d,
    max_pool1d,
    max_pool2d,
)
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
from .unpool import max_unpool2d

__all__ = [name for name, value in list(globals().items()) if callable(value) and not name.startswith("_")]
