"""How exactly kernels multiply numbers of float32: a setting for GPUs, which `minigrad.set_float32_precision` makes."""
from contextvars import ContextVar

PRECISIONS = ("strict", "tf32")

float32_precision = ContextVar("float32_precision", default="strict")
