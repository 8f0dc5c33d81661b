"""Winograd's F(2 x 2, 3 x 3): winograd_cpu.py with smaller tiles and full precision."""
from functools import partial

from . import winograd_cpu
from .winograd_tile import F2

__all__ = ["SUPPORTS", "forward", "grad_input", "grad_weight", "supports"]

SUPPORTS = "3x3 kernels with stride 1, dilation 1 and one group"


def supports(w_shape, p):
    """Whether this algorithm computes such a convolution: SUPPORTS."""
    return tuple(w_shape[2:]) == (3, 3) and winograd_cpu.supports(w_shape, p)


forward = partial(winograd_cpu.forward, algorithm=F2)
grad_input = partial(winograd_cpu.grad_input, algorithm=F2)
grad_weight = partial(winograd_cpu.grad_weight, algorithm=F2)
