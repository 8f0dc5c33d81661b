"""Tensors out of PyTorch's storages: a flat run of numbers, and views of it by offset, sizes and strides.

The functions are those that PyTorch's pickles name (torch/_utils.py), with every argument checked.
"""
import math

import numpy as np

from ..tensor import Tensor
from .elements import element_type

MAX_DIMS = 64  # NumPy's


class Storage:
    """Numbers of one type, one after the other; Tensors are views of them."""

    def __init__(self, array, kind):
        self.array, self.kind = array, kind
        self.version = None  # of the first Tensor made of it; others share it

    def part(self, key, offset, count):
        """The storage that is a run of this one's numbers."""
        if not is_count(offset) or not is_count(count) or offset + count > self.array.size:
            raise ValueError(f"a part of a storage of {self.array.size} numbers lies outside of it")
        return Storage(self.array[offset : offset + count], self.kind)


class Untyped:
    """A storage of which only the number of bytes is known before a tensor is made of it."""

    def __init__(self, key, size, storage):
        self.key, self.size, self.storage = key, size, storage

    def of(self, name):
        """The Storage of numbers of that type."""
        return self.storage(name, self.key, self.size // element_type(name).stored.itemsize)


def sizes(values):
    """A torch.Size: a tuple of counts, not longer than an array has dimensions."""
    if type(values) not in (tuple, list) or len(values) > MAX_DIMS or not all(map(is_count, values)):
        raise ValueError("a size or stride that is no tuple of non-negative integers")
    return tuple(values)


def tensor(storage, offset, size, stride, requires_grad=False):
    """A view of a storage. Raises ValueError where it would reach beyond."""
    if type(storage) is not Storage:
        raise ValueError(f"a tensor of a {type(storage).__name__}, which is no storage of numbers")
    array, size, stride = storage.array, sizes(size), sizes(stride)
    if len(size) != len(stride) or not is_count(offset) or offset > array.size:
        raise ValueError(f"a tensor of size {size}, strides {stride} and that offset makes no sense")
    steps = [step if n > 1 else 0 for n, step in zip(size, stride, strict=True)]
    count = math.prod(size)
    if count == 0:
        view = np.empty(size, array.dtype)
    elif offset + sum((n - 1) * step for n, step in zip(size, steps, strict=True)) >= array.size:
        raise ValueError(f"a tensor of size {size} and strides {stride} reaches beyond its {array.size} numbers")
    elif steps == [math.prod(size[d + 1 :]) if n > 1 else 0 for d, n in enumerate(size)]:
        view = array[offset : offset + count].reshape(size)
    else:
        strides = [step * array.itemsize for step in steps]
        view = np.ndarray(size, array.dtype, array, offset * array.itemsize, strides)
    made = Tensor._wrap(view, version=storage.version)
    storage.version = made._version
    return _grad(made, requires_grad)


def tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata=None):
    """`tensor` with what PyTorch 0.4 added."""
    if metadata:
        what = ", ".join(map(str, metadata)) if type(metadata) is dict else type(metadata).__name__
        raise ValueError(f"a tensor with a flag ({what:.60}): save its .resolve_neg() or .resolve_conj() in PyTorch")
    return tensor(storage, offset, size, stride, requires_grad)


def tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    """`tensor_v2` with the type of its numbers, for those that have no storage type of their own."""
    if type(storage) is not Untyped or type(dtype) is not str:
        raise ValueError("a tensor without the type of its numbers")
    return tensor_v2(storage.of(dtype), offset, size, stride, requires_grad, hooks, metadata)


def parameter(data, requires_grad, hooks=None, state=None):
    """A Parameter, as a Tensor that shares the memory of data."""
    if type(data) is not Tensor:
        raise ValueError(f"a Parameter of a {type(data).__name__}")
    return _grad(Tensor(data), requires_grad)


def set_state(made, state):
    """What PyTorch before 0.4 says of a Parameter after making it: (requires_grad, volatile, hooks)."""
    if type(state) is tuple and len(state) == 3 and type(state[0]) is bool:
        _grad(made, state[0])


def _grad(made, requires_grad):
    if requires_grad and not made.is_floating_point():
        raise ValueError(f"a tensor of {made.dtype} that requires gradients")
    return made.requires_grad_(bool(requires_grad))


def is_count(value):
    """Whether a value is an integer that can count something."""
    return type(value) is int and 0 <= value < 2**63
