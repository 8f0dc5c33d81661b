"""Between x's shape and the order in which rows of kernels see it: `NormParams` p says how."""
import numpy as np


def as_logical(y, p):
    """B x M x K x J -> the view of the same memory in x's shape."""
    return y.reshape([p.shape[i] for i in p.order]).transpose(p.inverse)


def from_weights(v, p):
    """2 x K x J -> 2 x p.affine."""
    if p.blocks[3] == 1:
        return v.reshape(2, *p.affine)
    stored = v.reshape(2, *(p.affine[i] for i in p.affine_order))
    return stored.transpose(0, *(1 + i for i in np.argsort(p.affine_order)))
