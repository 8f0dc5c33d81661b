"""Local response normalisation across channels: the calculus. The loops are in `kernels/norm/`.

W(t) is the sum of the channels in the window of each channel, and W' its adjoint, the window reversed. Then

    s = k + alpha W(x^2)    y = x s^-beta    gx = gy s^-beta - c x W'(gy x p),  c = 2 alpha beta,  p = s^(-beta - 1)

and the gradients of <v, gx> are, with q = W(x v),

    of gy:  v s^-beta - c x p q
    of x:  -c (x W'(gy v p) + gy p q + v W'(gy x p) - 2 alpha (beta + 1) x W'(gy x q p / s))
"""
from minigrad.kernels import norm

from ..autograd import Function
from ..device import device_of
from .promotion import as_float


class LocalResponseNorm(Function):
    """y = x s^-beta, with LRNParams q."""

    def forward(self, x):
        self.save(x)
        return norm.lookup(device_of(x)).lrn_forward(x, self.q)

    def backward(self, gy):
        (x,) = self.saved
        return LocalResponseNormInputGrad(q=self.q)(gy, x)


class LocalResponseNormInputGrad(Function):
    """gx = gy s^-beta - 2 alpha beta x W'(gy x s^(-beta - 1))."""

    def forward(self, gy, x):
        self.save(gy, x)
        return norm.lookup(device_of(x)).lrn_grad_input(gy, x, self.q)

    def backward(self, v):
        gy, x = self.saved
        alpha, beta = self.q.alpha, self.q.beta
        c = 2.0 * alpha * beta
        s = self.q.k + alpha * self.window(x * x)
        p, q = s ** (-beta - 1.0), self.window(x * v)
        ggy = gx = None
        if self.needs[0]:
            ggy = (v * s - c * x * q) * p
        if self.needs[1]:
            gyp = gy * p
            inside = gyp * (v - 2.0 * alpha * (beta + 1.0) * x * q / s)
            gx = (x * self.adjoint(inside) + gyp * q + v * self.adjoint(gyp * x)) * -c
        return ggy, gx

    def window(self, t):
        """W(t)."""
        return ChannelWindowSum(reach=self.q.reach)(t)

    def adjoint(self, t):
        """W'(t)."""
        return ChannelWindowSum(reach=self.q.reach[::-1])(t)


class ChannelWindowSum(Function):
    """W(x): the sum of the channels c - reach[0] ... c + reach[1] for each channel c. x: N x C x ..."""

    def forward(self, x):
        return norm.lookup(device_of(x)).window_sum(x, self.reach)

    def backward(self, gy):
        return ChannelWindowSum(reach=self.reach[::-1])(gy)


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """y_c = x_c / (k + alpha / size sum over the window of x_c'^2)^beta. x: N x C x L or more -> the same shape.

    The window of channel c is the `size` channels c - size // 2 ... c + (size - 1) // 2 as far as they exist; an even
    size looks one further back than ahead. Krizhevsky, Sutskever & Hinton 2012, section 3.3, do not divide alpha by
    the size: their k = 2, n = 5, alpha = 1e-4, beta = 0.75 is local_response_norm(x, 5, alpha=5e-4, k=2.0). Raises
    ValueError for an x of fewer than three dimensions and a size that is no positive integer.
    """
    x = as_float(x)
    if x.ndim < 3:
        raise ValueError(f"LocalResponseNorm: expected N x C x L or more dimensions, got shape {x.shape}")
    return LocalResponseNorm(q=norm.lrn_params(size, alpha, beta, k))(x)
