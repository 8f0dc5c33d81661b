"""minigrad: a deep-learning framework from scratch on NumPy and Numba, built to be read.

import minigrad as mg; mg.tensor, mg.nn, mg.optim, mg.data, mg.models ... with PyTorch's names and semantics.
"""
from pathlib import Path as _Path

import numpy as _np

__version__ = "0.1.0"
if not (_Path(__file__).parent / "kernels").is_dir():  # not installed, but imported where the sources lie
    __path__.append(str(_Path(__file__).parent.parent))

from minigrad.kernels.threads import get_num_threads, set_num_threads

from . import cuda, data, inspect, models, nn, ops, optim
from . import gradcheck as _gradcheck_module  # before the function of that name below takes its place
from .autograd import Function, backward, grad
from .creation import (
    arange,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from .device import get_rng_state, manual_seed, set_rng_state
from .gradcheck import gradcheck, gradgradcheck
from .modes import (
    detect_anomaly,
    enable_grad,
    get_float32_precision,
    is_grad_enabled,
    no_grad,
    set_float32_precision,
    set_grad_enabled,
)
from .ops import *
from .ops.elementwise import absolute as abs
from .ops.elementwise import clip as clamp
from .ops.shape import concatenate as cat
from .serialization import load, save
from .tensor import Tensor, as_tensor

float32, float64, int8, int16, int32, int64, uint8, bool = map(
    _np.dtype, ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
)
