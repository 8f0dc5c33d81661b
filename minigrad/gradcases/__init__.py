"""The examples of the gradient-check suite, by subject.

An example is a function and the inputs it is called with, given as shapes or recipes; recipes.py says how.
"""
from . import conv, elementwise, loss, norm, pool, shape
from .recipes import Example, fresh_inputs

__all__ = ["CASES", "NOT_DIFFERENTIABLE", "Example", "fresh_inputs"]

# Public functions of `ops` without a gradient
NOT_DIFFERENTIABLE = {
    "all", "any", "argmax", "argmin", "bitwise_and", "bitwise_not", "bitwise_or", "conv_algorithm", "eq",
    "floor_divide", "ge", "gt", "isfinite", "isnan", "le", "logical_and", "logical_not", "logical_or", "lt", "ne",
    "remainder", "result_dtype", "sign",
}

CASES = {
    name: examples
    for subject in (elementwise, shape, conv, pool, norm, loss)
    for name, examples in subject.CASES.items()
}
