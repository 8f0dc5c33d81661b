"""`import minigrad.nn.functional as F`: the functions of `ops/` that layers are made of, under PyTorch's name."""
from ..ops import (
    adaptive_avg_pool2d,
    avg_pool2d,
    batch_norm,
    conv2d,
    conv_algorithm,
    conv_transpose2d,
    convolve2d,
    cross_entropy,
    dropout,
    dropout2d,
    elu,
    global_avg_pool2d,
    leaky_relu,
    linear,
    log_softmax,
    max_pool2d,
    pad,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "conv2d", "conv_algorithm", "conv_transpose2d", "convolve2d",
    "cross_entropy", "dropout", "dropout2d", "elu", "global_avg_pool2d", "leaky_relu", "linear", "log_softmax",
    "max_pool2d", "pad", "relu", "sigmoid", "silu", "softmax", "softplus", "tanh",
]
