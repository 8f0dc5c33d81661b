"""minigrad: a deep-learning framework from scratch on NumPy and Numba, built to be read.

import minigrad as mg; mg.tensor, mg.nn, mg.optim, mg.data, mg.models ... with PyTorch's names and semantics.
"""
import numpy as _np

from . import data, inspect, models, nn, ops, optim
from . import gradcheck as _gradcheck_module  # before the function of that name below takes its place
from .autograd import (
    Function,
    backward,
    detect_anomaly,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
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
from .device import manual_seed
from .gradcheck import gradcheck, gradgradcheck
from .ops import *
from .ops.shape import concatenate as cat
from .serialization import load, save
from .tensor import Tensor, as_tensor

float32, float64 = _np.dtype("float32"), _np.dtype("float64")
int32, int64, uint8 = _np.dtype("int32"), _np.dtype("int64"), _np.dtype("uint8")

__version__ = "0.1.0"
