"""Activation functions: the squashing ones, the rectifier and its friends, and softmax.

Sources: Nair & Hinton 2010 (ReLU), Maas et al. 2013 (leaky ReLU), Clevert et al. 2015 (ELU), Dugas et al. 2000
(softplus), Hendrycks & Gimpel 2016 (SiLU).
"""
from ..autograd import Function
from ..device import array_module
from .elementwise import clip, exp, where
from .promotion import as_float


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
    """y = max(x, 0); the gradient at 0 is 0."""

    def forward(self, x):
        y = array_module(x).maximum(x, 0)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * (y > 0).astype(gy.dtype)


class Softplus(Function):
    """y = ln(1 + e ** x)."""

    def forward(self, x):
        self.save(x)
        return array_module(x).logaddexp(x, x.dtype.type(0))

    def backward(self, gy):
        (x,) = self.saved
        return gy * sigmoid(x)


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


def relu(x):
    """max(x, 0), elementwise."""
    return ReLU()(as_float(x))


def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, negative_slope x elsewhere."""
    x = as_float(x)
    return where(x > 0, x, x * negative_slope)


def elu(x, alpha=1.0):
    """x where x > 0, alpha (e ** x - 1) elsewhere."""
    x = as_float(x)
    negative = clip(x, max=0.0)  # a discarded overflow would still have a gradient
    return where(x > 0, x, alpha * tanh(0.5 * negative) * (exp(negative) + 1.0))  # exact for tiny x, unlike e ** x - 1


def silu(x):
    """x sigmoid(x), also called swish."""
    x = as_float(x)
    return x * sigmoid(x)


def softplus(x):
    """ln(1 + e ** x), elementwise."""
    return Softplus()(as_float(x))


def log_softmax(x, dim=-1):
    """The logarithm of softmax along `dim`, without underflow."""
    return LogSoftmax(dim=dim)(as_float(x))


def softmax(x, dim=-1):
    """e ** x / sum over dim of e ** x."""
    return exp(log_softmax(x, dim))
