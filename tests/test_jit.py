"""How loops are compiled: cached where that is possible, compiled anyway where it is not."""
import numba
import numpy as np
import pytest

from minigrad.kernels import jit as jit_module
from minigrad.kernels.conv import direct_cpu


def double(x):
    """A loop to compile."""
    for i in range(x.size):
        x[i] *= 2


def test_where_no_folder_is_writable_a_loop_is_compiled_without_a_cache(monkeypatch):
    njit = numba.njit

    def without_locator(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*args, **options)

    monkeypatch.setattr(jit_module.numba, "njit", without_locator)
    x = np.arange(3.0)
    jit_module.jit(double)(x)
    assert x.tolist() == [0, 2, 4]


def test_compiled_loops_are_cached_on_disk():
    assert type(direct_cpu._forward._cache).__name__ != "NullCache"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fast_arithmetic_still_honours_nan_and_infinity(value):
    x = np.array([1.0, value])
    jit_module.jit(double)(x)
    np.testing.assert_array_equal(x, [2.0, value])
