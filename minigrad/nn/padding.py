"""Layers that put pixels around an image, or take them away."""
from numbers import Integral

from minigrad.kernels.conv.params import dims

from .. import ops
from ..tensor import as_tensor
from .module import Module


class ZeroPad2d(Module):
    """Zeros around an image: N x C x H x W -> N x C x (top + H + bottom) x (left + W + right); C x H x W as well.

    padding: int, or (left, right, top, bottom). Negative numbers take pixels away, as in PyTorch.
    Raises ValueError where more would be taken than there are.
    """

    def __init__(self, padding):
        super().__init__()
        sides = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * 4
        if len(sides) != 4 or not all(isinstance(n, Integral) and not isinstance(n, bool) for n in sides):
            raise ValueError(f"ZeroPad2d: padding must be an int or (left, right, top, bottom), got {padding!r}")
        self.padding = tuple(map(int, sides))

    def forward(self, x):
        x = as_tensor(x)
        if x.ndim not in (3, 4):
            raise ValueError(f"ZeroPad2d: x must be N x C x H x W or C x H x W, got {x.ndim}-D ({dims(x.shape)})")
        left, right, top, bottom = (max(-n, 0) for n in self.padding)  # what to take away
        height, width = x.shape[-2:]
        if top + bottom > height or left + right > width:
            raise ValueError(f"ZeroPad2d: padding {self.padding} takes more than x has ({dims(x.shape)})")
        x = x[..., top : height - bottom, left : width - right]
        return ops.pad(x, tuple(max(n, 0) for n in self.padding))

    def extra_repr(self):
        return str(self.padding)
