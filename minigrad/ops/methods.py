"""The table of operators and methods of Tensor: what `x + y` and `x.sum()` call."""
from .. import autograd, hooks
from ..device import is_device
from ..tensor import Tensor
from . import activation, elementwise, index, inplace, linalg, moving, reduce, shape


def _swapped(operation):
    """b op a, for a on the left that is no Tensor."""

    def reflected(b, a):
        return operation(a, b)

    return reflected


def _unless_foreign(operation):
    """The comparison, or False (Python's answer) for what is no number: None, a string."""

    def compare(a, b):
        return NotImplemented if b is None or isinstance(b, (str, bytes)) else operation(a, b)

    return compare


def to(x, target=None, *, dtype=None, device=None):
    """x with another dtype, or on another device: to("cuda"), to("float64"), to(dtype=..., device=...).

    Devices are "cpu", "cuda" and "cuda-sim". Raises ValueError or RuntimeError for one that is not there.
    """
    if is_device(target):
        device = target
    elif target is not None:
        dtype = target
    x = x if dtype is None else elementwise.astype(x, dtype)
    return x if device is None else moving.to_device(x, device)


def _cast(dtype):
    def cast(x):
        return elementwise.astype(x, dtype)

    cast.__doc__ = f"x as {dtype}."
    return cast


METHODS = {
    # operators
    "__add__": elementwise.add, "__radd__": _swapped(elementwise.add), "__iadd__": inplace.add_,
    "__sub__": elementwise.sub, "__rsub__": _swapped(elementwise.sub), "__isub__": inplace.sub_,
    "__mul__": elementwise.mul, "__rmul__": _swapped(elementwise.mul), "__imul__": inplace.mul_,
    "__truediv__": elementwise.div, "__rtruediv__": _swapped(elementwise.div), "__itruediv__": inplace.div_,
    "__pow__": elementwise.pow, "__rpow__": _swapped(elementwise.pow),
    "__floordiv__": elementwise.floor_divide, "__rfloordiv__": _swapped(elementwise.floor_divide),
    "__mod__": elementwise.remainder, "__rmod__": _swapped(elementwise.remainder),
    "__matmul__": linalg.matmul, "__rmatmul__": _swapped(linalg.matmul),
    "__neg__": elementwise.neg, "__abs__": elementwise.absolute,
    "__eq__": _unless_foreign(elementwise.eq), "__ne__": _unless_foreign(elementwise.ne),
    "__lt__": elementwise.lt, "__le__": elementwise.le,
    "__gt__": elementwise.gt, "__ge__": elementwise.ge,
    "__and__": elementwise.bitwise_and, "__or__": elementwise.bitwise_or, "__invert__": elementwise.bitwise_not,
    "__getitem__": index.getitem, "__setitem__": inplace.setitem,
    # elementwise
    "add": elementwise.add, "sub": elementwise.sub, "mul": elementwise.mul, "div": elementwise.div,
    "eq": elementwise.eq, "ne": elementwise.ne, "lt": elementwise.lt, "le": elementwise.le,
    "gt": elementwise.gt, "ge": elementwise.ge,
    "exp": elementwise.exp, "log": elementwise.log, "sqrt": elementwise.sqrt, "abs": elementwise.absolute,
    "pow": elementwise.pow, "maximum": elementwise.maximum, "minimum": elementwise.minimum,
    "clip": elementwise.clip, "clamp": elementwise.clip, "sign": elementwise.sign,
    "isnan": elementwise.isnan, "isfinite": elementwise.isfinite,
    "astype": elementwise.astype, "float": _cast("float32"), "double": _cast("float64"),
    "int": _cast("int32"), "long": _cast("int64"), "bool": _cast("bool"), "to": to, "clone": elementwise.clone,
    "tanh": activation.tanh, "sigmoid": activation.sigmoid, "relu": activation.relu,
    "softmax": activation.softmax, "log_softmax": activation.log_softmax,
    # reductions
    "sum": reduce.sum, "mean": reduce.mean, "var": reduce.var, "std": reduce.std,
    "max": reduce.max, "min": reduce.min, "amax": reduce.amax, "amin": reduce.amin,
    "any": reduce.any, "all": reduce.all,
    "argmax": reduce.argmax, "argmin": reduce.argmin, "logsumexp": reduce.logsumexp,
    # shape
    "reshape": shape.reshape, "view": shape.reshape, "permute": shape.permute, "transpose": shape.transpose,
    "t": shape.t, "T": property(shape.t), "expand": shape.expand, "expand_as": shape.expand_as,
    "flatten": shape.flatten, "squeeze": shape.squeeze, "unsqueeze": shape.unsqueeze,
    "split": shape.split, "chunk": shape.chunk, "flip": shape.flip, "gather": index.gather, "matmul": linalg.matmul,
    # in place
    "add_": inplace.add_, "sub_": inplace.sub_, "mul_": inplace.mul_, "div_": inplace.div_,
    "copy_": inplace.copy_, "fill_": inplace.fill_, "zero_": inplace.zero_,
    # gradients
    "backward": autograd.backward, "register_hook": hooks.register_hook, "retain_grad": hooks.retain_grad,
}

for _name, _method in METHODS.items():
    setattr(Tensor, _name, _method)
