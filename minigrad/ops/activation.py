"""Activation functions: the squashing ones, the rectifier and its friends, and softmax.

`inplace`, where PyTorch has it, is accepted so that PyTorch's code runs, and changes nothing: the result is always a
new Tensor and x stays as it is.

Sources: Nair & Hinton 2010 (ReLU), Maas et al. 2013 (leaky ReLU), He et al. 2015 (PReLU), Clevert et al. 2015 (ELU),
Krizhevsky 2010 (ReLU6), Dugas et al. 2000 (softplus), Hendrycks & Gimpel 2016 (SiLU).

Masks are multiplied where they can be: on random signs NumPy's `where` takes more than ten times as long.
"""
from minigrad.kernels import elementwise
from minigrad.kernels.gate import gate_and_sum

from ..autograd import Function
from ..device import array_module
from ..tensor import as_tensor
from .dims import normal_dim
from .elementwise import clip, exp, logical_not, logical_or, where
from .promotion import as_float, same_dtype


class Tanh(Function):
    """y = tanh x."""

    def forward(self, x):
        y = array_module(x).tanh(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * (1.0 - y * y)


class Sigmoid(Function):
    """y = 1 / (1 + e ** -x); where e ** -x overflows, its infinity gives the right 0."""

    def forward(self, x):
        y = 1 / (1 + array_module(x).exp(-x))
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * y * (1.0 - y)


class ReLU(Function):
    """y = max(x, 0); the gradient at 0 is 0, and at NaN that of the identity."""

    def forward(self, x):
        y = elementwise.rectify(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return Gate(free=self.owns_gradient)(gy, y)


class Gate(Function):
    """gx = gy where y > 0 or y is NaN, 0 elsewhere: the gradient of a ReLU; constant in y but at 0.

    free: whether gx may take the place of gy. sums: of gx over all dimensions but the second, where they are known.
    """

    free, sums = False, None

    def forward(self, gy, y):
        self.save(y)
        gx, self.sums = gate_and_sum(gy, y, self.free)
        return gx

    def backward(self, ggx):
        (y,) = self.saved
        return Gate()(ggx, y), None


class PReLU(Function):
    """y = x where x > 0, w x elsewhere. w: of the shape of x, or a 0-d constant."""

    def forward(self, x, w):
        self.save(x, w)
        xp = array_module(x)
        return xp.maximum(x, 0) + w * xp.minimum(x, 0)

    def backward(self, gy):
        x, w = self.saved
        gx = gw = None
        if self.needs[0]:
            positive = (x > 0).astype(gy.dtype)
            gx = gy * (positive + w * (1.0 - positive))
        if self.needs[1]:
            gw = gy * clip(x, max=0.0)
        return gx, gw


class ELU(Function):
    """y = x where x > 0, alpha (e ** x - 1) elsewhere."""

    def forward(self, x):
        self.save(x)
        xp = array_module(x)
        return xp.maximum(x, 0) + self.alpha * xp.expm1(xp.minimum(x, 0))

    def backward(self, gy):
        (x,) = self.saved
        slope = self.alpha * exp(clip(x, max=0.0))  # clipped: a discarded overflow would still have a gradient
        return where(x <= 0, gy * slope, gy)


class Hardtanh(Function):
    """y = x limited to [low, high]; unlike that of `clip` the gradient is 0 at the limits."""

    def forward(self, x):
        self.save(x)
        return array_module(x).clip(x, self.low, self.high)

    def backward(self, gy):
        (x,) = self.saved
        return gy * logical_not(logical_or(x <= self.low, x >= self.high)).astype(gy.dtype)


class Softplus(Function):
    """y = ln(1 + e ** (beta x)) / beta, and x where beta x > threshold."""

    def forward(self, x):
        self.save(x)
        xp, scaled = array_module(x), self.beta * x
        linear = (xp.maximum if self.beta > 0 else xp.minimum)(x, 0)  # plus ln(1 + e ** -|beta x|) / beta
        return linear + xp.log1p(xp.exp(-abs(scaled))) * (scaled <= self.threshold) / self.beta

    def backward(self, gy):
        (x,) = self.saved
        scaled = self.beta * x
        return gy * where(scaled > self.threshold, 1.0, sigmoid(scaled))


class LogSoftmax(Function):
    """y = x - ln(sum over dim of e ** x), shifted by the maximum so that nothing overflows."""

    def forward(self, x):
        xp = array_module(x)
        shifted = x if x.size == 0 else x - x.max(axis=self.dim, keepdims=True)
        y = shifted - xp.log(xp.exp(shifted).sum(axis=self.dim, keepdims=True))
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy - exp(y) * gy.sum(self.dim, keepdim=True)


def tanh(x):
    """Hyperbolic tangent, elementwise."""
    return Tanh()(as_float(x))


def sigmoid(x):
    """1 / (1 + e ** -x), elementwise."""
    return Sigmoid()(as_float(x))


def relu(x, inplace=False):
    """max(x, 0), elementwise."""
    return ReLU()(as_float(x))


def leaky_relu(x, negative_slope=0.01, inplace=False):
    """x where x > 0, negative_slope x elsewhere."""
    return PReLU()(*same_dtype(as_float(x), float(negative_slope)))


def prelu(x, weight):
    """x where x > 0, weight x elsewhere, with a learned weight. x: N x C or N x C x ..., or any shape for one factor.

    weight: C factors, one per channel, or a single one for all. Raises ValueError where it does not fit.
    """
    x, weight = same_dtype(as_float(x), as_tensor(weight))
    if weight.ndim > 1:
        raise ValueError(f"prelu: weight must be one factor or one per channel, got shape {weight.shape}")
    if weight.numel() == 1:
        return PReLU()(x, weight.reshape(()).expand(x.shape))
    channels = x.shape[1] if x.ndim > 1 else "no"
    if weight.numel() != channels:
        raise ValueError(f"prelu: weight holds {weight.numel()} factors, got x with {channels} channels, {x.shape}")
    return PReLU()(x, weight.reshape(1, channels, *(1,) * (x.ndim - 2)).expand(x.shape))


def elu(x, alpha=1.0, inplace=False):
    """x where x > 0, alpha (e ** x - 1) elsewhere."""
    return ELU(alpha=float(alpha))(as_float(x))


def hardtanh(x, min_val=-1.0, max_val=1.0, inplace=False):
    """x limited to [min_val, max_val]; the gradient at the limits is 0. Raises ValueError where min_val > max_val."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val must not be above max_val, got {min_val} and {max_val}")
    return Hardtanh(low=float(min_val), high=float(max_val))(as_float(x))


def relu6(x, inplace=False):
    """min(max(x, 0), 6), elementwise."""
    return hardtanh(x, 0.0, 6.0)


def silu(x, inplace=False):
    """x sigmoid(x), also called swish."""
    x = as_float(x)
    return x * sigmoid(x)


def softplus(x, beta=1.0, threshold=20.0):
    """ln(1 + e ** (beta x)) / beta, elementwise; x itself where beta x > threshold (infinity: nowhere)."""
    return Softplus(beta=float(beta), threshold=float(threshold))(as_float(x))


def log_softmax(x, dim=None):
    """The logarithm of softmax along `dim`, without underflow.

    Raises ValueError where dim is left out, for which PyTorch guesses one, and IndexError where it is out of range.
    """
    x = as_float(x)
    if dim is None:
        raise ValueError("softmax and log_softmax need a dimension, got dim=None; dim=1 is the classes of N x C")
    return LogSoftmax(dim=normal_dim(dim, x.ndim))(x)


def softmax(x, dim=None):
    """e ** x / sum over dim of e ** x. Raises as `log_softmax`."""
    return exp(log_softmax(x, dim))
