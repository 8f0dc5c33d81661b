"""Which dimensions an argument `dim` names, and which shape several shapes broadcast to."""
import numpy as np


def normal_dims(dim, ndim):
    """`dim` as a sorted tuple of distinct non-negative ints. Raises IndexError or ValueError naming the bad one."""
    if dim is None:
        return tuple(range(ndim))
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    for d in dims:
        if not -max(ndim, 1) <= d < max(ndim, 1):
            raise IndexError(f"dimension {d} is out of range for a {ndim}-d tensor")
    dims = tuple(sorted(d % ndim if ndim else 0 for d in dims))
    if len(set(dims)) != len(dims):
        raise ValueError(f"dimension given twice in {dim}")
    return dims if ndim else ()


def normal_dim(dim, ndim):
    """One dimension as a non-negative int; 0-d tensors count as 1-d. Raises TypeError or IndexError."""
    if isinstance(dim, (tuple, list)):
        raise TypeError(f"expected one dimension, got {dim}")
    return (normal_dims(dim, ndim) or (0,))[0]


def kept_shape(shape, dims):
    """The shape with `dims` reduced to 1."""
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


def left(shape, dims):
    """The shape without `dims`."""
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def broadcast_shapes(*shapes, op=""):
    """The shape that all shapes broadcast to. Raises ValueError, naming `op` and the shapes, if there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"{op}shapes {' and '.join(map(str, shapes))} do not broadcast") from None
