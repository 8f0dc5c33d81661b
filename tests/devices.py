"""The rows of a table of kernels on every device that can run them, with the marks of those devices (conftest.py)."""
import pytest
from conftest import MARKS

from minigrad.kernels.arrays import device_of
from minigrad.kernels.cuda.simulated import on_device


def rows(table):
    """(algorithm, device) of a table; what runs on "cuda" runs on "cuda-sim", too."""
    return sorted(row for name, where in table for row in {(name, where), (name, where.replace("cuda", "cuda-sim"))})


def marked(parameters):
    """Tuples of parameters, with the marks of the device that is the second of each."""
    return [pytest.param(*p, marks=MARKS[p[1]]) for p in parameters]


def on(device, array):
    """The array on a device (CuPy makes its copies of sliced arrays contiguous)."""
    if device == "cuda":
        import cupy

        return cupy.asarray(array)
    return on_device(array) if device == "cuda-sim" else array


def host(array):
    """The array as one of NumPy."""
    return array if device_of(array) == "cpu" else array.get()
