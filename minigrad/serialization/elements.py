"""The numbers in files: the types that other programs write, how they lie there, and what they become here."""
import sys
from typing import NamedTuple

import numpy as np

CHUNK = 1 << 20  # bytes asked for at a time


class ElementType(NamedTuple):
    """A type of numbers."""

    name: str
    stored: np.dtype  # as it lies in a file, in this machine's byte order
    dtype: np.dtype  # the Tensor's


def _table():
    same = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8")
    other = {"float16": ("float16", "float32"), "bfloat16": ("uint16", "float32"), "bool": ("uint8", "bool")}
    pairs = {**{name: (name, name) for name in same}, **other}
    return {name: ElementType(name, np.dtype(stored), np.dtype(dtype)) for name, (stored, dtype) in pairs.items()}


TYPES = _table()


def element_type(name):
    """The ElementType of that name. Raises ValueError if Tensors have no such numbers."""
    if name not in TYPES:
        raise ValueError(f"cannot read numbers of type {name}; Tensors are made of {', '.join(TYPES)}")
    return TYPES[name]


def fill(array, kind, file, order="little"):
    """Read the next array.size numbers of a file into a flat array of kind.dtype; order: "little" or "big".

    What needs no widening is read straight into its place. Raises ValueError if the file ends before.
    """
    direct = kind.stored == kind.dtype
    stored = array if direct else np.empty(array.size, kind.stored)
    _read_exactly(file, stored.view(np.uint8))
    if order != sys.byteorder:
        stored.byteswap(inplace=True)
    if kind.name == "bfloat16":  # the upper half of a float32
        bits = array.view(np.uint32)
        bits[...] = stored
        bits <<= 16
    elif kind.name == "bool":
        np.not_equal(stored, 0, out=array)
    elif not direct:
        array[...] = stored


def _read_exactly(file, buffer):
    done = 0
    while done < buffer.size:
        count = file.readinto(buffer[done : done + CHUNK])
        if not count:
            raise ValueError(f"the file ends {buffer.size - done} bytes too early")
        done += count
