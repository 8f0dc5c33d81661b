"""Elementwise work on all threads: NumPy's result in every layout, ReLU's gate, and layouts that are kept."""
import numpy as np
import pytest
from layouts import LAYOUTS

import minigrad as mg
from minigrad.kernels import elementwise
from minigrad.kernels.elementwise import apply, flat, join
from minigrad.kernels.gate import gate, gate_and_sum

SHAPE = (4, 24, 74, 75)  # more than LARGE elements


def arrays(dtype, count=2):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(SHAPE).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply])
def test_apply_is_the_ufunc(ufunc, dtype, layout):
    a, b = arrays(dtype)
    assert a.size >= elementwise.LARGE
    for x, y in ((layout(a), layout(b)), (layout(a), b)):
        wanted, got = ufunc(x, y), apply(ufunc, x, y)
        assert got.tobytes() == wanted.tobytes() and got.dtype == wanted.dtype
        if x.strides == y.strides:
            assert got.strides == wanted.strides


def test_apply_takes_numbers_and_small_arrays():
    (a,) = arrays("float32", 1)
    np.testing.assert_array_equal(apply(np.maximum, a, 0), np.maximum(a, 0))
    assert apply(np.add, np.float32([1, 2]), np.float32([3, 4])).tolist() == [4, 6]
    integers = np.arange(elementwise.LARGE)
    np.testing.assert_array_equal(apply(np.add, integers, integers), 2 * integers)
    assert apply(np.add, np.array(1.0), np.array(2.0)) == 3
    assert apply(np.add, np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [SHAPE, (3, 5), (), (0, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gate_passes_positive_and_nan(dtype, shape, layout):
    if layout is not LAYOUTS[0] and len(shape) != 4:
        return
    rng = np.random.default_rng(0)
    gy, y = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    y = np.where(rng.random(shape) < 0.1, np.nan, np.maximum(y, 0)).astype(dtype)
    got = gate(layout(gy), layout(y))
    np.testing.assert_array_equal(got, np.where((y > 0) | np.isnan(y), gy, 0))
    assert got.dtype == dtype


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), SHAPE])
def test_the_gate_of_another_layout_is_laid_out_as_y(shape):
    gy, y = (np.random.default_rng(seed).standard_normal(shape).astype(np.float32) for seed in (0, 1))
    last = y.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    got = gate(gy, last)
    assert got.strides == last.strides
    np.testing.assert_array_equal(got, np.where(y <= 0, 0, gy))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [SHAPE, (3, 5, 2, 2), (2, 1, 3, 3), (0, 2, 1, 1), (70, 300, 9, 9)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gate_of_a_free_gradient_takes_its_place_and_knows_its_sums(dtype, shape, layout):
    rng = np.random.default_rng(0)
    gy, y = (layout(rng.standard_normal(shape).astype(dtype)) for _ in range(2))
    wanted = np.where(y <= 0, 0, gy)
    got, sums = gate_and_sum(gy, y, free=True)
    np.testing.assert_array_equal(got, wanted)
    whole = y.size and flat(y) is not None
    assert (got is gy) == bool(whole)
    assert (sums is not None) == bool(whole and (y.strides[1] == y.itemsize or y.shape[1] == 1))
    if sums is not None:
        np.testing.assert_allclose(sums, wanted.astype(float).sum((0, 2, 3)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (8, 96, 32, 32), (4, 1, 28, 28), (4, 8, 1, 1), (1, 1, 9, 9)])
def test_the_gate_gives_the_same_bits_whether_a_gradient_is_free_or_not(shape):
    gy, y = (np.random.default_rng(seed).standard_normal(shape).astype(np.float32) for seed in (0, 1))
    gy, y = (a.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2) for a in (gy, y))
    before = gy.copy()
    kept = gate_and_sum(gy, y)
    np.testing.assert_array_equal(gy, before)
    for one, other in zip(kept, gate_and_sum(gy, y, free=True), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [SHAPE, (3, 5, 2, 2), (0, 2, 1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_join_adds_in_place(dtype, shape, layout):
    rng = np.random.default_rng(0)
    y, plus = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    y[rng.random(shape) < 0.1], plus[rng.random(shape) < 0.1] = np.nan, -np.inf
    for relu in (False, True):
        for given in (layout(plus), plus[:, ::-1][:, ::-1]):
            memory = np.array(layout(y), order="K")
            assert join(memory, given, relu) is memory
            np.testing.assert_array_equal(memory, np.maximum(y + plus, 0) if relu else y + plus)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("channels", [3, 40, 200])
def test_rows_with_gaps_and_numbers_that_come_again(channels, layout):
    rng = np.random.default_rng(0)
    whole = layout(rng.standard_normal((6, channels + 8, 50, 60)).astype("float32"))
    a, b = whole[:, 4:-4], layout(rng.standard_normal((6, channels, 50, 60)).astype("float32"))
    number = np.broadcast_to(np.float32(1.5), a.shape)
    for ufunc in (np.add, np.subtract, np.multiply):
        for one, two in ((a, b), (b, a), (a, a), (a, number), (number, a), (b, number), (number, b), (number, number)):
            np.testing.assert_array_equal(apply(ufunc, one, two), ufunc(one, two))
    for y, plus in ((a, b), (b, a), (b, number), (a, number)):
        wanted, before = y + plus, whole.copy()
        assert join(y, plus) is y
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_array_equal(whole[:, :4], before[:, :4])
        np.testing.assert_array_equal(whole[:, -4:], before[:, -4:])


def test_flat_sees_memory_in_its_order_and_refuses_mixed_layouts():
    a = np.arange(24.0).reshape(2, 3, 4)
    (run,) = flat(a.transpose(2, 0, 1))
    assert run.tolist() == list(range(24)) and np.shares_memory(run, a)
    assert flat(a, a.transpose(2, 0, 1).copy().transpose(1, 2, 0)) is None
    assert flat(a[:, ::2]) is None
    assert flat(a, a.astype("float32")) is None
    assert flat(a.astype(int)) is None


def test_a_relu_of_a_large_tensor_and_its_gradients():
    x = mg.Tensor(arrays("float64", 1)[0], requires_grad=True)
    y = mg.relu(x)
    g = mg.Tensor(arrays("float64", 2)[1], requires_grad=True)
    (gx,) = mg.grad(y, x, g, create_graph=True)
    np.testing.assert_array_equal(gx.detach().numpy(), np.where(x.detach().numpy() > 0, g.detach().numpy(), 0))
    (gg,) = mg.grad(gx.sum(), g)
    np.testing.assert_array_equal(gg.numpy(), x.detach().numpy() > 0)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 24, 11, 13), (3, 1, 70, 90), (9, 4, 150, 151), (5, 700, 3, 3)])
def test_a_row_is_added_to_every_row(shape, dtype, layout):
    rng = np.random.default_rng(0)
    x, row = layout(rng.standard_normal(shape).astype(dtype)), rng.standard_normal((shape[1], 1, 1)).astype(dtype)
    b = np.broadcast_to(row, shape)
    assert x.size > elementwise.SMALL
    for one, two in ((x, b), (x, b[:, ::-1]), (b, x)):
        wanted, got = np.subtract(one, two), apply(np.subtract, one, two)
        assert got.tobytes() == wanted.tobytes() and got.dtype == wanted.dtype


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 24, 11, 13), SHAPE])
def test_rectify_is_the_maximum_with_zero(shape, layout):
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    x[0, 0, 0, :4] = np.nan, np.inf, -np.inf, -0.0
    x = layout(x)
    np.testing.assert_array_equal(elementwise.rectify(x), np.maximum(x, 0))
