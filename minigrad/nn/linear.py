"""The fully connected layer."""
from minigrad.kernels.conv.params import integer

from .. import ops
from ..creation import zeros
from . import init
from .module import Module, Parameter


class Linear(Module):
    """y = x weight^T + bias. x: ... x in_features -> ... x out_features. Initialised like Conv2d."""

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.in_features = integer(in_features, "in_features", "Linear", 1)
        self.out_features = integer(out_features, "out_features", "Linear", 1)
        self.weight = Parameter(zeros(out_features, in_features))
        self.register_parameter("bias", Parameter(zeros(out_features)) if bias else None)
        init.default_(self.weight, self.bias)

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
