"""Sums over dimensions against NumPy's in float64: every layout, every choice of dimensions, digits and threads."""
from itertools import combinations

import numpy as np
import pytest
from layouts import LAYOUTS

import minigrad as mg
from minigrad.kernels import reduce

DIMS = [dims for count in range(5) for dims in combinations(range(4), count)]
SHAPES = [(3, 4, 9, 11), (2, 300, 3, 2), (1, 1, 1, 1), (70, 3, 5, 13), (2, 2, 1, 1500)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_sum(shape, dtype, layout):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    given, gaps = layout(x), 0
    for dims in DIMS:
        y = reduce.total(given, dims)
        if y is None:
            gaps += 1
            continue
        wanted = x.sum(axis=dims, keepdims=True, dtype=np.float64)
        bound = np.abs(x).sum(axis=dims, keepdims=True, dtype=np.float64) * 8 * np.finfo(dtype).eps
        assert y.shape == wanted.shape and y.dtype == np.float64
        assert (abs(y - wanted) <= bound).all()
    assert gaps in (0, len(DIMS))
    assert gaps == 0 or layout.__name__ not in ("contiguous", "channels_last")


def test_long_sums_keep_their_digits():
    x = np.full((1, 3, 1000, 700), 0.1, np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for given in (x, last):
        np.testing.assert_allclose(reduce.total(given, (0, 2, 3)), 700_000 * np.float64(np.float32(0.1)), rtol=1e-6)


def test_any_number_of_threads_gives_the_same_bits():
    x = np.random.default_rng(0).standard_normal((3, 40, 140, 131)).astype("float32")
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert x.size >= reduce.LARGE
    threads, results = mg.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            mg.set_num_threads(count)
            results.append([reduce.total(given, (0, 2, 3)).tobytes() for given in (x, last)])
    finally:
        mg.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("keepdim", [True, False])
def test_sum_takes_it_for_large_tensors(monkeypatch, keepdim):
    called, original = [], reduce.total
    monkeypatch.setattr(reduce, "total", lambda x, dims: called.append(dims) or original(x, dims))
    for size, times in ((10, 0), (100, 1)):
        x = mg.randn(2, 3, size, size)
        y = x.sum((0, -1), keepdim=keepdim)
        np.testing.assert_allclose(y.numpy(), x.numpy().sum((0, 3), keepdims=keepdim), rtol=0, atol=1e-4)
        assert y.shape == ((1, 3, size, 1) if keepdim else (3, size)) and len(called) == times


def test_infinities_and_nan_are_summed():
    x = np.zeros((2, 3, 100, 100), np.float32)
    x[0, 0, 0, 0], x[0, 1, 5, 5], x[1, 2, 0, 0] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(reduce.total(x, (0, 2, 3)).reshape(-1), [np.nan, np.inf, -np.inf])
