"""Layers without weights that change one element, or one feature map, at a time."""
from .. import ops
from .module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        return ops.relu(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x):
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e ** -x)."""

    def forward(self, x):
        return ops.sigmoid(x)


class Dropout(Module):
    """In training, zero each element with probability p and scale the others by 1 / (1 - p). Srivastava et al. 2014."""

    def __init__(self, p=0.5):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: the probability must be between 0 and 1, got {p}")
        self.p = p

    def forward(self, x):
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}"


class Dropout2d(Dropout):
    """In training, zero whole feature maps of N x C x H x W (anything else is an error). Tompson et al. 2015."""

    def forward(self, x):
        return ops.dropout2d(x, self.p, self.training)
