"""Max unpooling: the calculus. The loops are in `kernels/pool/`."""
import numpy as np

from minigrad.kernels import pool
from minigrad.kernels.conv.params import dims

from ..autograd import Function
from ..device import device_of
from ..tensor import as_tensor
from .promotion import as_float


class MaxUnpool2d(Function):
    """y = zeros of `size` with each x at its index; of several at one index the last stays."""

    def forward(self, x):
        return pool.lookup(device_of(x)).unpool_forward(x, self.index, self.size)

    def backward(self, gy):
        return MaxUnpool2dInputGrad(index=self.index, size=self.size)(gy)


class MaxUnpool2dInputGrad(Function):
    """gx = gy at each index, zero where that x was overwritten. Linear, and adjoint to unpooling."""

    def forward(self, gy):
        return pool.lookup(device_of(gy)).unpool_grad_input(gy, self.index)

    def backward(self, ggx):
        return MaxUnpool2d(index=self.index, size=self.size)(ggx)


def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Put maxima back where `max_pool2d(..., return_indices=True)` found them, among zeros: its partial inverse.

    x, indices: N x C x OH x OW -> N x C x H x W. kernel_size, stride, padding: those of the pooling. output_size:
    (H, W) or the whole shape of what was pooled, where H = (OH - 1) stride - 2 padding + kernel is not it. Of several
    x with one index, which overlapping windows give, the last in row order stays, and it alone gets the gradient.
    Raises ValueError where shapes or sizes do not fit, IndexError for an index outside the H x W map.
    Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 2.1.
    """
    x, indices = as_float(x), as_tensor(indices)
    size = pool.unpool_size(x.shape, kernel_size, stride, padding, output_size)
    if indices.shape != x.shape:
        raise ValueError(f"MaxUnpool2d: indices ({dims(indices.shape)}) must have the shape of x ({dims(x.shape)})")
    if indices.dtype.kind not in "iu":
        raise ValueError(f"MaxUnpool2d: indices must be integers, got {indices.dtype}")
    index = indices._data.astype(np.int64)  # a copy: backward needs it unchanged
    if index.size and not (index.min() >= 0 and index.max() < size[0] * size[1]):
        wrong = index.min() if index.min() < 0 else index.max()
        raise IndexError(f"MaxUnpool2d: index {wrong} is outside the {dims(size)} output map")
    return MaxUnpool2d(index=index, size=size)(x)
