"""Which dtype a result has, and operands made to agree.

The rules, PyTorch's but for 0-d tensors, which count like any other tensor here:

1. Among tensors, floats beat integers whatever their widths: int64 + float32 is float32.
2. Within a kind the wider wins: float32 + float64 is float64, uint8 + int32 is int32 (NumPy's table).
3. Python numbers (and NumPy scalars, such as np.sqrt(2)) take the tensor's dtype, unless they are of a higher kind:
   float32 tensor + 2.5 is float32; int64 tensor + 2.5 is float32, the default float.
4. Division and functions such as exp, which leave the integers, turn integers into float32 first.
"""
import numpy as np

from ..tensor import DEFAULT_FLOAT, Tensor, as_tensor

_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}


def result_dtype(*values):
    """The dtype in which `values` (Tensors, arrays, Python numbers) meet."""
    typed = [np.dtype(v.dtype) for v in values if _is_typed(v)]
    floats = [d for d in typed if d.kind == "f"]
    best = np.result_type(*(floats or typed)) if typed else None
    for v in values:
        if not _is_typed(v):
            own = as_tensor(v.item() if isinstance(v, np.generic) else v).dtype
            if best is None or _KINDS[own.kind] > _KINDS[best.kind]:
                best = own
    return best


def _is_typed(value):
    return hasattr(value, "dtype") and not isinstance(value, np.generic)


def operands(*values):
    """The values as Tensors of one dtype and one shape (broadcast, as views). Raises ValueError if shapes clash."""
    tensors = same_dtype(*values)
    shapes = [t.shape for t in tensors]
    if all(s == shapes[0] for s in shapes):
        return tensors
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"shapes {' and '.join(map(str, shapes))} do not broadcast") from None
    return [t.expand(shape) if t.shape != shape else t for t in tensors]


def same_dtype(*values):
    """The values as Tensors of one dtype."""
    dtype = result_dtype(*values)
    return [v.astype(dtype) if isinstance(v, Tensor) else as_tensor(v, dtype) for v in values]


def as_float(x):
    """x as a floating-point Tensor: integers become float32."""
    x = as_tensor(x)
    return x if x.is_floating_point else x.astype(DEFAULT_FLOAT)
