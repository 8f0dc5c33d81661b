"""Winograd's F(2 x 2, 3 x 3) in CUDA: winograd_cuda.py with smaller tiles and full precision."""
from functools import partial

from . import winograd_cuda
from .winograd_cuda import SUPPORTS, supports

__all__ = ["SUPPORTS", "forward", "grad_input", "grad_weight", "supports"]

forward = partial(winograd_cuda.forward, tile=2)
grad_input = partial(winograd_cuda.grad_input, tile=2)
grad_weight = partial(winograd_cuda.grad_weight, tile=2)
