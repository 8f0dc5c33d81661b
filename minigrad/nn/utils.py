"""Gradient clipping, under PyTorch's names: what keeps one bad batch from throwing the weights far away."""
import math
from functools import reduce

from ..modes import no_grad
from ..ops import add, clip, maximum
from ..tensor import Tensor, as_tensor


@no_grad()
def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    """Scale all gradients together so that their norm, as one vector, is at most max_norm.

    parameters: a Tensor or several; those without a gradient are left out. norm_type: 2, another p, or inf for the
    largest magnitude. Returns the norm before scaling, a Tensor. error_if_nonfinite: raise RuntimeError if that is NaN
    or infinite. Source: Pascanu et al. 2013, algorithm 1.
    """
    parameters = _with_gradient(parameters)
    sizes = [abs(p.grad) for p in parameters]
    if not sizes:
        return as_tensor(0.0)
    if norm_type == math.inf:
        total = reduce(maximum, [size.max() for size in sizes])
    else:
        total = reduce(add, [(size**norm_type).sum() for size in sizes]) ** (1.0 / norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {total.item()}")
    share = clip(max_norm / (total + 1e-6), max=1.0)
    for p in parameters:
        p.grad = p.grad * share.to(p.dtype)
    return total


@no_grad()
def clip_grad_value_(parameters, clip_value):
    """Cut every element of the gradients down to -clip_value ... clip_value."""
    for p in _with_gradient(parameters):
        p.grad = clip(p.grad, -clip_value, clip_value)


def _with_gradient(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p for p in parameters if p.grad is not None]
