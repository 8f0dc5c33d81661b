"""Dropout: noise that a network must learn to do without. As in `activation.py`, `inplace` changes nothing.

The same seed drops the same numbers on every device, in every layout.
"""
import numpy as np

from minigrad.kernels import dropout as kernel

from ..autograd import Function
from ..device import array_module, from_host, generator
from ..tensor import Tensor
from .promotion import as_float


class Dropout(Function):
    """y = x times 0 or 1 / (1 - p), by the random numbers of `key`: two words, an array of x's device.

    Its gradient drops the same numbers of gy, so nothing is kept but the key.
    """

    def forward(self, x):
        return kernel.drop(x, self.key, self.p)

    def backward(self, gy):
        return Dropout(key=self.key, p=self.p)(gy)


def dropout(x, p=0.5, training=True, inplace=False):
    """In training, zero each element with probability p and scale the others by 1 / (1 - p); else x itself.

    Raises ValueError unless 0 <= p <= 1. Source: Srivastava et al. 2014 (the "inverted" form, section 10).
    """
    x = as_float(x)
    return _drop(x, p) if _drops(p, training) else x


def dropout2d(x, p=0.5, training=True, inplace=False):
    """In training, zero whole feature maps with probability p and scale the others by 1 / (1 - p); else x itself.

    x: N x C x H x W; anything but 4-D is an error. Source: Tompson et al. 2015, section 3.2 ("SpatialDropout").
    """
    x = as_float(x)
    if x.ndim != 4:
        raise ValueError(f"Dropout2d: expected a 4-D tensor N x C x H x W, got {x.ndim}-D of shape {x.shape}")
    if not _drops(p, training):
        return x
    return x * _drop(Tensor(array_module(x._data).ones((*x.shape[:2], 1, 1), x.dtype)), p)


def _drops(p, training):
    """Whether anything may be dropped. Raises ValueError where p is no probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: the probability must be between 0 and 1, got {p}")
    return training and p > 0


def _drop(x, p):
    key = from_host(lambda: generator().integers(0, 2**32, 2, np.uint32), (2,), np.uint32, x._data)
    return Dropout(key=key, p=float(p))(x)
