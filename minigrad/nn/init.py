"""Initial values of parameters, drawn from the generator that `manual_seed` seeds; all work in place.

Source: He et al. 2015, "Delving deep into rectifiers", section 2.2.
"""
import math
from contextvars import ContextVar

from ..device import generator
from ..modes import Setting

_skipped = ContextVar("init_skipped", default=False)


def skip():
    """Context manager or decorator: parameters created inside stay zeros, which cost no time and no memory.

    For a network whose weights are loaded next, or of which only the shapes are wanted: the operating system gives
    memory to zeros when they are first written.
    """
    return Setting(_skipped, True)


def fan_in(shape):
    """How many inputs feed one output: IN for OUT x IN, C/G KH KW for OC x C/G x KH x KW."""
    if len(shape) < 2:
        raise ValueError(f"the fan-in of a tensor needs at least two dimensions, got shape {tuple(shape)}")
    return math.prod(shape[1:])


def uniform_(tensor, low=0.0, high=1.0):
    """Fill with uniform values in [low, high); returns the tensor."""
    if not _skipped.get():
        tensor.detach().copy_(generator().uniform(low, high, tensor.shape))
    return tensor


def constant_(tensor, value):
    """Fill with one value; returns the tensor."""
    tensor.detach().fill_(value)
    return tensor


def kaiming_uniform_(tensor, a=0.0):
    """Uniform in +-sqrt(6 / ((1 + a^2) fan_in)), for layers followed by a leaky ReLU of slope a; returns the tensor."""
    bound = math.sqrt(6.0 / ((1.0 + a * a) * fan_in(tensor.shape)))
    return uniform_(tensor, -bound, bound)


def default_(weight, bias):
    """PyTorch's default for linear and convolution layers: both uniform in +-1 / sqrt(fan_in). bias may be None."""
    kaiming_uniform_(weight, a=math.sqrt(5.0))
    if bias is not None:
        bound = 1.0 / math.sqrt(fan_in(weight.shape))
        uniform_(bias, -bound, bound)
