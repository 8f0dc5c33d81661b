"""Making tensors: from data, filled with one value, counted, or random.

`device` says where: "cpu", "cuda" or "cuda-sim". Random numbers are drawn on the CPU for all of them: the same seed
gives the same numbers everywhere.
"""
import numpy as np

from .device import array_module, check_device, device_of, generator, to_device
from .tensor import DEFAULT_FLOAT, Tensor, as_tensor, to_array

CUDA = 2  # the number of NVIDIA's GPUs in DLPack


def tensor(data, dtype=None, requires_grad=False, device=None):
    """A Tensor with a copy of `data`: numbers, nested lists, arrays or Tensors.

    Python floats become float32 and ints int64; arrays keep their dtype, and their device unless one is given. Raises
    TypeError for anything else.
    """
    array = to_array(data, dtype).copy(order="K")
    return _on(device or device_of(array), array, requires_grad)


def from_numpy(array):
    """A Tensor that shares the memory of a NumPy array: changes to one show in the other."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    return Tensor(array)


def from_dlpack(source):
    """A Tensor that shares the memory of anything that speaks DLPack (NumPy, PyTorch, JAX, CuPy ...)."""
    if source.__dlpack_device__()[0] == CUDA:
        import cupy

        return Tensor(cupy.from_dlpack(source))
    return Tensor(np.from_dlpack(source))


def _on(device, array, requires_grad=False):
    return Tensor(to_device(array, check_device(device)), requires_grad=requires_grad)


def _shape(sizes):
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def zeros(*size, dtype=DEFAULT_FLOAT, requires_grad=False, device="cpu"):
    """Zeros of the given shape: zeros(2, 3) or zeros((2, 3))."""
    return _on(device, np.zeros(_shape(size), dtype), requires_grad)


def ones(*size, dtype=DEFAULT_FLOAT, requires_grad=False, device="cpu"):
    """Ones of the given shape."""
    return _on(device, np.ones(_shape(size), dtype), requires_grad)


def full(size, fill_value, dtype=None, requires_grad=False, device="cpu"):
    """One value everywhere; its own dtype unless another is given."""
    return _on(device, np.full(size, as_tensor(fill_value, dtype)._data), requires_grad)


def zeros_like(x, dtype=None, requires_grad=False):
    """Zeros with the shape, layout and dtype of x."""
    return Tensor(array_module(x._data).zeros_like(x._data, dtype), requires_grad=requires_grad)


def ones_like(x, dtype=None, requires_grad=False):
    """Ones with the shape, layout and dtype of x."""
    return Tensor(array_module(x._data).ones_like(x._data, dtype), requires_grad=requires_grad)


def full_like(x, fill_value, dtype=None, requires_grad=False):
    """One value everywhere, with the shape, layout and dtype of x."""
    return Tensor(array_module(x._data).full_like(x._data, fill_value, dtype), requires_grad=requires_grad)


def eye(n, m=None, dtype=DEFAULT_FLOAT, requires_grad=False, device="cpu"):
    """The n x m matrix (m = n if left out) with ones on its diagonal."""
    return _on(device, np.eye(n, m, dtype=dtype), requires_grad)


def arange(start, stop=None, step=1, dtype=None, requires_grad=False, device="cpu"):
    """start, start + step, ... below stop (0 ... start with one argument); int64 from ints, float32 from floats."""
    start, stop = (0, start) if stop is None else (start, stop)
    if dtype is None and any(isinstance(v, float) for v in (start, stop, step)):
        dtype = DEFAULT_FLOAT
    return _on(device, np.arange(start, stop, step, dtype), requires_grad)


def linspace(start, stop, steps, dtype=DEFAULT_FLOAT, requires_grad=False, device="cpu"):
    """`steps` evenly spaced values from start to stop, both included."""
    return _on(device, np.linspace(start, stop, steps, dtype=dtype), requires_grad)


def rand(*size, dtype=DEFAULT_FLOAT, requires_grad=False, device="cpu"):
    """Uniform random values in [0, 1); see `manual_seed`."""
    return _on(device, generator().random(_shape(size), dtype=np.dtype(dtype)), requires_grad)


def randn(*size, dtype=DEFAULT_FLOAT, requires_grad=False, device="cpu"):
    """Standard normal random values; see `manual_seed`."""
    return _on(device, generator().standard_normal(_shape(size), dtype=np.dtype(dtype)), requires_grad)


def randint(low, high, size, dtype=np.int64, device="cpu"):
    """Uniform random integers from low up to but without high; see `manual_seed`."""
    return _on(device, generator().integers(low, high, size, dtype=dtype))


def randperm(n, device="cpu"):
    """The integers 0 ... n - 1 in random order, int64; see `manual_seed`."""
    return _on(device, generator().permutation(n))
