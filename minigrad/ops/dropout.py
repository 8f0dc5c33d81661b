"""Dropout: noise that a network must learn to do without. As in `activation.py`, `inplace` changes nothing."""
import numpy as np

from ..device import device_of, generator, to_device
from ..tensor import Tensor
from .promotion import as_float


def dropout(x, p=0.5, training=True, inplace=False):
    """In training, zero each element with probability p and scale the others by 1 / (1 - p); else x itself.

    Raises ValueError unless 0 <= p <= 1. Source: Srivastava et al. 2014 (the "inverted" form, section 10).
    """
    x = as_float(x)
    return _drop(x, x.shape, p, training)


def dropout2d(x, p=0.5, training=True, inplace=False):
    """In training, zero whole feature maps with probability p and scale the others by 1 / (1 - p); else x itself.

    x: N x C x H x W; anything but 4-D is an error. Source: Tompson et al. 2015, section 3.2 ("SpatialDropout").
    """
    x = as_float(x)
    if x.ndim != 4:
        raise ValueError(f"Dropout2d: expected a 4-D tensor N x C x H x W, got {x.ndim}-D of shape {x.shape}")
    return _drop(x, (*x.shape[:2], 1, 1), p, training)


def _drop(x, mask_shape, p, training):
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: the probability must be between 0 and 1, got {p}")
    x = as_float(x)
    if not training or p == 0:
        return x
    keep = generator().random(mask_shape, dtype=np.float32) >= p
    order = sorted(range(x.ndim), key=lambda i: -x._data.strides[i])  # in the layout of x, and so of the result
    mask = np.empty([mask_shape[i] for i in order], x.dtype).transpose(sorted(range(x.ndim), key=order.__getitem__))
    mask[...] = keep / (1 - p) if p < 1 else keep
    return x * Tensor(to_device(mask, device_of(x._data)))
