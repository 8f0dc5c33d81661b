"""Which dtype a result has, and operands made to agree.

The rules, PyTorch's but for 0-d tensors, which count like any other tensor here:

1. Among tensors, floats beat integers whatever their widths: int64 + float32 is float32.
2. Within a kind the wider wins: float32 + float64 is float64, uint8 + int32 is int32 (NumPy's table).
3. Python numbers (and NumPy scalars, such as np.sqrt(2)) take the tensor's dtype, unless they are of a higher kind:
   float32 tensor + 2.5 is float32; int64 tensor + 2.5 is float32, the default float.
4. Division and functions such as exp, which leave the integers, turn integers into float32 first.
"""
import numpy as np

from ..tensor import DEFAULT_FLOAT, Tensor, as_tensor, check_dtype
from .dims import broadcast_shapes

_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}
_OWN_DTYPES = {bool: np.dtype(np.bool_), int: np.dtype(np.int64), float: DEFAULT_FLOAT}  # of numbers on their own


def result_dtype(*values):
    """The dtype in which `values` (Tensors, arrays, Python numbers) meet."""
    typed = [check_dtype(v.dtype) for v in values if _is_typed(v)]
    floats = [d for d in typed if d.kind == "f"]
    best = typed[0] if len(typed) == 1 else np.result_type(*(floats or typed)) if typed else None
    for v in values:
        if not _is_typed(v):
            v = v.item() if isinstance(v, np.generic) else v
            own = _OWN_DTYPES.get(type(v)) or as_tensor(v).dtype
            if best is None or _KINDS[own.kind] > _KINDS[best.kind]:
                best = own
    return best


def _is_typed(value):
    return isinstance(value, Tensor) or (hasattr(value, "dtype") and not isinstance(value, np.generic))


def operands(a, b):
    """a and b as Tensors of one dtype and one shape (broadcast, as views). Raises ValueError if shapes clash.

    A Python number becomes a 0-d Tensor. What is 0-d and needs no gradient stays so: NumPy broadcasts it.
    """
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype):
        a, b = same_dtype(a, b)
    if a.shape == b.shape or not (a.shape or a.requires_grad) or not (b.shape or b.requires_grad):
        return a, b
    shape = broadcast_shapes(a.shape, b.shape)
    return a.expand(shape), b.expand(shape)


def same_dtype(*values):
    """The values as Tensors of one dtype. Raises OverflowError for an int that the dtype cannot hold."""
    if all(isinstance(v, Tensor) for v in values) and len({v.dtype for v in values}) == 1:
        return list(values)
    dtype = result_dtype(*values)
    return [v.astype(dtype) if isinstance(v, Tensor) else _constant(v, dtype) for v in values]


def _constant(value, dtype):
    """A number or array as a Tensor."""
    if type(value) in _OWN_DTYPES:
        with np.errstate(over="ignore"):
            return Tensor._wrap(np.array(value, dtype))
    return as_tensor(value, dtype)


def as_float(x):
    """x as a floating-point Tensor: integers become float32."""
    x = as_tensor(x)
    return x if x.is_floating_point() else x.astype(DEFAULT_FLOAT)
