"""Pooling by p-norms: the calculus. The loops are in `kernels/pool/`.

With y the norm of a window, dy/dx = k (x / y) ** (p - 1), a number of moderate size however large p is. So the gradient
is a sum of (x / y) ** q over windows, and so are its derivatives: two Functions, each one's backward made of the two.
"""
from math import isfinite
from numbers import Real

from minigrad.kernels import pool

from ..autograd import Function
from ..device import array_module, device_of
from ..tensor import Tensor
from .elementwise import where
from .promotion import as_float


class LPPool2d(Function):
    """y = (the sum of k x ** norm over a window) ** (1 / norm)."""

    def forward(self, x):
        y = pool.lookup(device_of(x)).lp_forward(x, self.p, self.norm)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        return LPSpread(p=self.p, q=self.norm - 1)(gy, x, y)


class LPCollect(Function):
    """The sum of a k (x / y) ** q over each window; zero where y = 0."""

    def forward(self, a, x, y):
        self.save(a, x, y)
        return pool.lookup(device_of(x)).lp_collect(a, x, y, self.p, self.q)

    def backward(self, g):
        a, x, y = self.saved
        ga = LPSpread(p=self.p, q=self.q)(g, x, y) if self.needs[0] else None
        return ga, *_ratio_gradients(self, a, g, x, y)


class LPSpread(Function):
    """The sum of b k (x / y) ** q over the windows that cover each x; those with y = 0 add nothing."""

    def forward(self, b, x, y):
        self.save(b, x, y)
        return pool.lookup(device_of(x)).lp_spread(b, x, y, self.p, self.q)

    def backward(self, g):
        b, x, y = self.saved
        gb = LPCollect(p=self.p, q=self.q)(g, x, y) if self.needs[0] else None
        return gb, *_ratio_gradients(self, g, b, x, y)


def _ratio_gradients(f, a, b, x, y):
    """gx and gy of the form that LPCollect and LPSpread share: the sum of a k b (x / y) ** q over all pairs x, y."""
    if f.q == 0:  # no dependence on either; avoids 0 * (0 ** -1)
        zeros = array_module(x._data).zeros_like
        return Tensor._wrap(zeros(x._data)), Tensor._wrap(zeros(y._data))
    shares = f.q * b / where(y == 0, 1.0, y)  # where y = 0 both sums have no terms
    gx = a * LPSpread(p=f.p, q=f.q - 1)(shares, x, y) if f.needs[1] else None
    gy = -shares * LPCollect(p=f.p, q=f.q)(a, x, y) if f.needs[2] else None
    return gx, gy


def lp_pool2d(x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The p-norm of each window, (sum of x ** p) ** (1 / p) with p = norm_type. x: N x C x H x W -> N x C x OH x OW.

    p = 1 gives sums, and p -> infinity approaches max pooling: computed relative to the largest magnitude in each
    window, nothing overflows on the way. kernel_size, stride (default: kernel_size): int or pair. ceil_mode: round the
    output size up; a window that the edge clips then counts as if its mean went on beyond it.
    As in PyTorch powers are taken of x itself, not of |x| as in the paper: for even p that is the same, for p = 1 a
    negative x subtracts, for odd p a negative sum gives NaN, and for fractional p any negative x does. A window whose
    norm is 0 has gradient 0. Raises ValueError where the window does not fit or p is not a finite number above 0.
    Source: Springenberg et al. 2014, "Striving for simplicity", section 2, equation 1.
    """
    check_norm(norm_type)
    x = as_float(x)
    p = pool.pool_params(x.shape, kernel_size, stride, ceil_mode=ceil_mode, op="LPPool2d")
    return LPPool2d(p=p, norm=float(norm_type))(x)


def check_norm(norm_type):
    """ValueError for a norm_type that is not a finite number above 0."""
    if not isinstance(norm_type, Real) or isinstance(norm_type, bool) or not (isfinite(norm_type) and norm_type > 0):
        raise ValueError(f"LPPool2d: norm_type must be a finite number above 0, got {norm_type!r}")
