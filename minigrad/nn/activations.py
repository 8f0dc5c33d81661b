"""Layers that change one element, one feature map or one distribution at a time; of these only PReLU has a weight.

`inplace` is accepted where PyTorch has it, so that PyTorch's code runs, and changes nothing: the
result is always a new Tensor and the input stays as it is. Code that reads the input again after an in-place layer
sees what came in, where PyTorch shows what came out.
"""
from minigrad.kernels.conv.params import integer

from .. import ops
from ..creation import full
from .module import Module, Parameter


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x):
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e ** -x)."""

    def forward(self, x):
        return ops.sigmoid(x)


class _MaybeInplace(Module):
    """What the layers below that take `inplace` share."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = bool(inplace)

    def extra_repr(self):
        return "inplace=True" if self.inplace else ""

    def _repr_with(self, text):
        return f"{text}, inplace=True" if self.inplace else text


class ReLU(_MaybeInplace):
    """max(x, 0). inplace: no effect."""

    def forward(self, x):
        return ops.relu(x)


class ReLU6(_MaybeInplace):
    """min(max(x, 0), 6). inplace: no effect. Krizhevsky 2010."""

    def forward(self, x):
        return ops.relu6(x)


class SiLU(_MaybeInplace):
    """x sigmoid(x), also called swish. inplace: no effect. Hendrycks & Gimpel 2016."""

    def forward(self, x):
        return ops.silu(x)


class LeakyReLU(_MaybeInplace):
    """x where x > 0, negative_slope x elsewhere. inplace: no effect. Maas et al. 2013."""

    def __init__(self, negative_slope=0.01, inplace=False):
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, x):
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self):
        return self._repr_with(f"negative_slope={self.negative_slope}")


class ELU(_MaybeInplace):
    """x where x > 0, alpha (e ** x - 1) elsewhere. inplace: no effect. Clevert et al. 2015."""

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, x):
        return ops.elu(x, self.alpha)

    def extra_repr(self):
        return self._repr_with(f"alpha={self.alpha}")


class Hardtanh(_MaybeInplace):
    """x limited to [min_val, max_val]. inplace: no effect. Raises ValueError unless min_val < max_val."""

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__(inplace)
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val must be below max_val, got {min_val} and {max_val}")
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x):
        return ops.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self):
        return self._repr_with(f"min_val={self.min_val}, max_val={self.max_val}")


class PReLU(Module):
    """x where x > 0, weight x elsewhere. x: N x C or N x C x ..., or any shape for a single parameter.

    num_parameters: how many factors `weight` learns, one for all or C, one per channel. init: what they start from.
    Raises ValueError where they are neither one nor as many as the channels. He et al. 2015, section 2.1.
    """

    def __init__(self, num_parameters=1, init=0.25):
        super().__init__()
        self.num_parameters = integer(num_parameters, "num_parameters", "PReLU", 1)
        self.weight = Parameter(full((self.num_parameters,), float(init)))

    def forward(self, x):
        return ops.prelu(x, self.weight)

    def extra_repr(self):
        return f"num_parameters={self.num_parameters}"


class Softplus(Module):
    """ln(1 + e ** (beta x)) / beta, and x itself where beta x > threshold. Dugas et al. 2000."""

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, x):
        return ops.softplus(x, self.beta, self.threshold)

    def extra_repr(self):
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """e ** x / sum over dim of e ** x. dim: which dimension adds up to 1; ValueError if it is left out."""

    def __init__(self, dim=None):
        super().__init__()
        if dim is None:
            raise ValueError(f"{type(self).__name__}: dim is needed, got None; dim=1 is the classes of N x C")
        self.dim = dim

    def forward(self, x):
        return ops.softmax(x, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """The logarithm of softmax along dim, without underflow; ValueError if dim is left out."""

    def forward(self, x):
        return ops.log_softmax(x, self.dim)


class Dropout(_MaybeInplace):
    """In training, zero each element with probability p and scale the others by 1 / (1 - p). inplace: no effect.

    Raises ValueError unless 0 <= p <= 1. Srivastava et al. 2014.
    """

    def __init__(self, p=0.5, inplace=False):
        super().__init__(inplace)
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: the probability must be between 0 and 1, got {p}")
        self.p = p

    def forward(self, x):
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self):
        return self._repr_with(f"p={self.p}")


class Dropout2d(Dropout):
    """In training, zero whole feature maps of N x C x H x W (anything else is an error). Tompson et al. 2015."""

    def forward(self, x):
        return ops.dropout2d(x, self.p, self.training)
