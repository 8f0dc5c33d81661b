"""How arrays and numbers become what a kernel's parameters are.

| in Python                        | in the kernel                     |
|----------------------------------|-----------------------------------|
| array                            | T * or const T *: its memory      |
| strided(array), four-dimensional | Input or Output of device.cuh     |
| several([array, ...])            | Several of device.cuh             |
| window(p)                        | Window of device.cuh              |
| int, bool                        | int                               |
| float                            | A, the type sums are kept in      |
| None                             | a null pointer                    |
| NumPy scalar or array            | the same by value; a struct of it |
"""
from typing import NamedTuple

import numpy as np

from ..arrays import device_of

STRIDED = np.dtype([("data", np.uint64), ("stride", np.int64, 4), ("size", np.int32, 4)])
MANY = 32  # arrays in one argument, as device.cuh has it
SEVERAL = np.dtype([("data", np.uint64, MANY), ("size", np.int32, MANY)])
INT = np.iinfo(np.int32)


class Strided(NamedTuple):
    """An array of four dimensions, to be passed with its sizes and strides."""

    array: object


class Several(NamedTuple):
    """Arrays of one dtype, to be passed with their sizes: contiguous in some order of their dimensions."""

    arrays: tuple


def several(arrays):
    """One to MANY arrays as one argument. Raises ValueError for another number of them."""
    if not 1 <= len(arrays) <= MANY:
        raise ValueError(f"a kernel takes 1 to {MANY} arrays in one argument, got {len(arrays)}")
    return Several(tuple(arrays))


def strided(array):
    """An array of four dimensions as an argument that brings its sizes and strides along."""
    return Strided(array)


def window(p):
    """The `ConvParams` p as an argument; what is padded below and on the right follows from the sizes."""
    (top, _), (left, _) = p.padding
    return np.array([*p.stride, top, left, *p.dilation, p.groups], np.int32)


def arrays(arguments):
    """The arrays among the arguments that live on a device, in order."""
    return [array for a in arguments for array in held(a)]


def held(argument):
    """The arrays that an argument brings along."""
    if isinstance(argument, Several):
        return list(argument.arrays)
    array = argument.array if isinstance(argument, Strided) else argument
    return [array] if is_array(array) else []


def is_array(argument):
    """Whether an argument is an array on a device, rather than one of NumPy's, which is passed by value."""
    return hasattr(argument, "strides") and device_of(argument) != "cpu"


def packed(argument, accumulator, address):
    """An argument as a NumPy scalar or array whose bytes are the parameter's.

    accumulator: the dtype of floats. address: gives the address of an array's first element on the device.
    """
    if argument is None:
        return np.uint64(0)
    if isinstance(argument, Strided):
        a = argument.array
        strides = [stride // a.itemsize for stride in a.strides]
        return np.array((address(a), strides, a.shape), STRIDED)
    if isinstance(argument, Several):
        unused = MANY - len(argument.arrays)
        addresses, sizes = [address(a) for a in argument.arrays], [a.size for a in argument.arrays]
        return np.array((addresses + [0] * unused, sizes + [0] * unused), SEVERAL)
    if is_array(argument):
        return np.uint64(address(argument))
    if isinstance(argument, (np.generic, np.ndarray)):
        return argument
    if isinstance(argument, float):
        return np.dtype(accumulator).type(argument)
    if not INT.min <= argument <= INT.max:
        raise OverflowError(f"a kernel takes ints of 32 bits, got {argument}")
    return np.int32(argument)


def described(argument, accumulator):
    """The parameter that an argument is for, as host.h describes it: "float32*", "int32", "56 bytes"."""
    if argument is None:
        return "None"
    if isinstance(argument, Strided):
        return f"{argument.array.dtype}[4]"
    if isinstance(argument, Several):
        return f"{argument.arrays[0].dtype}*[{MANY}]"
    if is_array(argument):
        return f"{argument.dtype}*"
    value = packed(argument, accumulator, None)
    return value.dtype.name if value.ndim == 0 and value.dtype.kind != "V" else f"{value.nbytes} bytes"
