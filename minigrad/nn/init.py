"""Initial values of parameters, drawn from the generator that `manual_seed` seeds; all work in place.

Sources: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks" (Xavier),
and He et al. 2015, "Delving deep into rectifiers" (Kaiming, also called He), as the lecture compares them.
"""
import math
from contextvars import ContextVar

import numpy as np

from ..device import generator
from ..modes import Setting

_skipped = ContextVar("init_skipped", default=False)
LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def skip():
    """Context manager or decorator: parameters created inside stay zeros, which cost no time and no memory.

    For a network whose weights are loaded next, or of which only the shapes are wanted: the operating system gives
    memory to zeros when they are first written. Constants (the ones of a batch norm) are written all the same.
    """
    return Setting(_skipped, True)


def fan_in(shape):
    """How many inputs feed one output: IN for OUT x IN, C/G KH KW for OC x C/G x KH x KW."""
    _check_fan("fan-in", shape)
    return math.prod(shape[1:])


def fan_out(shape):
    """How many outputs one input feeds: OUT for OUT x IN, OC KH KW for OC x C/G x KH x KW."""
    _check_fan("fan-out", shape)
    return shape[0] * math.prod(shape[2:])


def _check_fan(name, shape):
    if len(shape) < 2:
        raise ValueError(f"the {name} of a tensor needs at least two dimensions, got shape {tuple(shape)}")


def calculate_gain(nonlinearity, param=None):
    """PyTorch's factor by which weights before a nonlinearity are larger than before none.

    1 for "linear", convolutions and "sigmoid", 5/3 for "tanh", sqrt(2) for "relu", sqrt(2 / (1 + param^2)) for
    "leaky_relu" of slope `param` (0.01), 3/4 for "selu". Raises ValueError for anything else.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: the slope of leaky_relu must be a number, got {slope!r}")
        return math.sqrt(2.0 / (1.0 + slope**2))
    gains = {**dict.fromkeys((*LINEAR, "sigmoid"), 1.0), "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: no nonlinearity {nonlinearity!r}; there is leaky_relu, {', '.join(gains)}")
    return gains[nonlinearity]


def uniform_(tensor, a=0.0, b=1.0):
    """Fill with uniform values between a and b; returns the tensor. Raises ValueError where a > b."""
    if not a <= b:
        raise ValueError(f"uniform_: a must not be above b, got a={a}, b={b}")
    return _fill(tensor, lambda out: generator().random(dtype=out.dtype, out=out), b - a, a)


def normal_(tensor, mean=0.0, std=1.0):
    """Fill with normal values; returns the tensor. Raises ValueError where std < 0."""
    if not std >= 0:
        raise ValueError(f"normal_: std must be >= 0, got {std}")
    return _fill(tensor, lambda out: generator().standard_normal(dtype=out.dtype, out=out), std, mean)


def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0):
    """Fill with normal values of which none lies outside [a, b] (those are drawn again); returns the tensor.

    a, b: limits of the values themselves, as in PyTorch, not multiples of std. Raises ValueError where less than one
    in a thousand normal values lies between them.
    """
    if not std > 0:
        raise ValueError(f"trunc_normal_: std must be > 0, got {std}")
    inside = 0.5 * (math.erf((b - mean) / (std * math.sqrt(2))) - math.erf((a - mean) / (std * math.sqrt(2))))
    if not inside >= 1e-3:
        raise ValueError(f"trunc_normal_: hardly any value of mean {mean} and std {std} lies in [{a}, {b}]")

    def draw(out):
        generator().standard_normal(dtype=out.dtype, out=out)
        values = out.reshape(-1)  # a view
        low, high = (a - mean) / std, (b - mean) / std
        wrong = np.flatnonzero((values < low) | (values > high))
        while wrong.size:
            again = generator().standard_normal(wrong.size, dtype=out.dtype)
            right = (again >= low) & (again <= high)
            values[wrong[right]] = again[right]
            wrong = wrong[~right]
        values *= std
        values += mean
        np.clip(values, a, b, out=values)  # rounding may have moved one across a limit

    return _fill(tensor, draw, 1.0, 0.0)


def constant_(tensor, val):
    """Fill with one value; returns the tensor."""
    tensor.detach().fill_(val)
    return tensor


def zeros_(tensor):
    """Fill with 0; returns the tensor."""
    return constant_(tensor, 0.0)


def ones_(tensor):
    """Fill with 1; returns the tensor."""
    return constant_(tensor, 1.0)


def xavier_uniform_(tensor, gain=1.0):
    """Uniform in +-gain sqrt(6 / (fan_in + fan_out)); returns the tensor. Source: Glorot & Bengio 2010, eq. 16."""
    bound = math.sqrt(3.0) * _xavier_std(tensor.shape, gain)
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor, gain=1.0):
    """Normal with std gain sqrt(2 / (fan_in + fan_out)), the variance of eq. 12; returns the tensor.

    Source: Glorot & Bengio 2010, equations 12 and 16.
    """
    return normal_(tensor, 0.0, _xavier_std(tensor.shape, gain))


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu"):
    """Uniform in +-gain sqrt(3 / fan), the variance of `kaiming_normal_`; returns the tensor.

    a: the slope of a leaky ReLU. mode: "fan_in" keeps the variance of the activations from layer to layer, "fan_out"
    that of the gradients. nonlinearity: a name of `calculate_gain`. Source: He et al. 2015, section 2.2.
    """
    bound = math.sqrt(3.0) * _kaiming_std(tensor.shape, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu"):
    """Normal with std gain / sqrt(fan): sqrt(2 / ((1 + a^2) fan)) before a leaky ReLU of slope a; returns the tensor.

    The arguments are those of `kaiming_uniform_`. Source: He et al. 2015, section 2.2, equations 10 and 15.
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor.shape, a, mode, nonlinearity))


def default_(weight, bias):
    """PyTorch's default for linear and convolution layers: both uniform in +-1 / sqrt(fan_in). bias may be None."""
    kaiming_uniform_(weight, a=math.sqrt(5.0))
    if bias is not None:
        bound = 1.0 / math.sqrt(fan_in(weight.shape))
        uniform_(bias, -bound, bound)


def _xavier_std(shape, gain):
    return gain * math.sqrt(2.0 / max(fan_in(shape) + fan_out(shape), 1))


def _kaiming_std(shape, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fan_in(shape) if mode == "fan_in" else fan_out(shape)
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _fill(tensor, draw, scale, shift):
    """tensor = scale * drawn + shift, in the memory of the tensor where the generator can write there."""
    if not tensor.is_floating_point():
        raise TypeError(f"init: only floating-point tensors can be random, got {tensor.dtype}")
    if not _skipped.get():
        array = tensor._data
        direct = type(array) is np.ndarray and array.flags.c_contiguous and array.flags.writeable
        values = array if direct else np.empty(array.shape, array.dtype)
        draw(values)
        values *= scale
        values += shift
        if not direct:
            tensor.detach().copy_(values)
        tensor.mark_modified()
    return tensor
