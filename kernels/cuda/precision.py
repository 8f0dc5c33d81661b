"""How exactly kernels multiply numbers of float32: a setting for GPUs, which `minigrad.set_float32_precision` makes."""
from contextvars import ContextVar

import numpy as np

PRECISIONS = ("strict", "tf32")

float32_precision = ContextVar("float32_precision", default="strict")


def on_tensor_cores(dtype):
    """Whether products of this dtype are left to tensor cores: 16 bits always, float32 if it may be rounded to TF32."""
    size = np.dtype(dtype).itemsize
    return size == 2 or (size == 4 and float32_precision.get() == "tf32")
