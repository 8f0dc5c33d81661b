"""CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html): the binary version and the pickled one.

Pickles are read as data, by the machine that reads PyTorch's files: of NumPy it knows arrays of bytes, nothing else.
"""
import hashlib
import io
import math
import os

import numpy as np

from ..serialization import unpickle

PIXELS = 3 * 32 * 32


def read_records(path, size, labels):
    """(images N x 3 x 32 x 32, labels N, md5) of a binary file of `size` bytes: `labels` label bytes, then the pixels.

    The last of a record's label bytes counts. The images are a view of the file's bytes. Raises ValueError for a file
    of another size.
    """
    record = labels + PIXELS
    have = os.stat(path).st_size
    if have != size:
        raise ValueError(f"{path}: has {have} bytes, expected {size} ({size // record} records of {record})")
    raw = np.fromfile(path, np.uint8)
    if raw.size != size:
        raise ValueError(f"{path}: only {raw.size} of its {size} bytes could be read")
    records = raw.reshape(-1, record)
    return records[:, labels:].reshape(-1, 3, 32, 32), records[:, labels - 1], _md5(raw)


def read_pickle(path, limit):
    """(images, labels, md5) of a file of the Python version, of at most `limit` bytes, or ValueError."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise ValueError(f"{path}: has more than the {limit} bytes that are expected at most")
        raw = file.read()
    try:
        batch = ArrayMachine(io.BytesIO(raw)).load()  # a file would set memory aside for whatever length is claimed
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    batch = {_text(key): value for key, value in batch.items()} if type(batch) is dict else {}
    images, labels = batch.get("data"), batch.get("fine_labels", batch.get("labels"))
    if type(images) is not Array or images.value is None or type(labels) is not list:
        raise ValueError(f"{path}: no dict with an array of data and a list of labels")
    if images.value.ndim != 2 or images.value.shape[1] != PIXELS or len(labels) != len(images.value):
        raise ValueError(f"{path}: data of shape {images.value.shape} and {len(labels)} labels do not fit together")
    if not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise ValueError(f"{path}: labels that are no small numbers")
    return images.value.reshape(-1, 3, 32, 32), np.array(labels, np.uint8), _md5(raw)


def _md5(raw):
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def _text(key):
    return key.decode("latin-1") if type(key) is bytes else key


class Array:
    """An array of bytes in the making: a pickle names it first and says later what is in it."""

    value = None

    def fill(self, version, shape, dtype, fortran, raw):
        """Take what is in it from the file. Raises TypeError for what is no array of bytes."""
        sizes = type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape)
        if not sizes or dtype != BYTES or fortran or type(raw) is not bytes or math.prod(shape) != len(raw):
            raise TypeError("no array of bytes")
        self.value = np.frombuffer(raw, np.uint8).reshape(shape)


BYTES = unpickle.Named("the dtype of bytes")
NDARRAY = unpickle.Named("numpy.ndarray")


def _reconstruct(_, kind, *__):
    if kind != NDARRAY:
        raise TypeError("no array")
    return Array()


def _dtype(_, name, *__):
    if _text(name) not in ("u1", "|u1", "uint8"):
        raise ValueError(f"the pickle has an array of {_text(name)!s:.20}, expected bytes")
    return BYTES


NUMPY = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): unpickle.Named("numpy.dtype", _dtype),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): unpickle.Named("numpy's _reconstruct", _reconstruct)
       for core in ("core", "_core")},
    ("_codecs", "encode"): unpickle.GLOBALS["_codecs", "encode"],
}


class ArrayMachine(unpickle.Machine):
    """The machine for pickles of plain containers and arrays of bytes, as Python 2 or 3 wrote them."""

    kinds = (Array,)
    names = NUMPY

    def string(self, text):
        """A string of Python 2 is bytes; names among them stay short ASCII, which `_text` reads."""
        self.push(text.encode("latin-1"))

    def build(self):
        """Fill an array; what is said about a dtype (the order of bytes, say) is of no interest."""
        target, state = self.stack[-2:]
        if type(target) is Array and type(state) is tuple:
            self.take(2)
            target.fill(*state)  # which copies nothing
            self.push(target)
        elif target == BYTES:
            self.take(1)
        else:
            super().build()
