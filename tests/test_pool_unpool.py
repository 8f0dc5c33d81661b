"""Max unpooling: every row of the table against plain loops, equal indices, gradients, and the edges."""
import numpy as np
import pytest
from devices import host, on
from layouts import LAYOUTS, sliced
from test_pool import TOLERANCE, apart, assert_same, over, random, row

import minigrad as mg
from minigrad import nn
from minigrad.kernels import pool
from minigrad.kernels.pool import reference

pytestmark = pytest.mark.usefixtures("made_there")

# shape of x, size of the map, how many positions occur (few: indices repeat)
CASES = {
    "many places": ((2, 3, 3, 2), (7, 5), 35),
    "crowded": ((2, 2, 4, 5), (3, 4), 12),
    "all at one place": ((1, 2, 3, 3), (2, 2), 1),
    "one pixel": ((2, 1, 1, 1), (1, 1), 1),
    "batch 0": ((0, 2, 2, 2), (4, 4), 16),
}


def arrays(case, dtype="float64"):
    shape, size, places = CASES[case]
    index = np.random.default_rng(2).integers(0, places, shape)
    return random(*shape, dtype=dtype), index, random(*shape[:2], *size, seed=1, dtype=dtype), size


@pytest.mark.parametrize(("name", "device", "case", "layout", "dtype"), over(CASES, LAYOUTS, TOLERANCE))
def test_rows_equal_reference(name, device, case, layout, dtype):
    module, (x, index, gy, size) = row(name, device), arrays(case, dtype)
    xs, gys = on(device, layout(x)), on(device, layout(gy))
    indices = on(device, index if layout is sliced else layout(index))  # the gaps are NaN, which integers have not
    assert_same(module.unpool_forward(xs, indices, size), reference.unpool_forward(x, index, size))
    assert_same(module.unpool_grad_input(gys, indices), reference.unpool_grad_input(gy, index))


@pytest.mark.parametrize(("name", "device", "case"), over(CASES))
def test_the_two_are_adjoint_whatever_repeats(case, name, device):
    x, index, gy, size = arrays(case)
    module = row(name, device)
    xs, indices, gys = (on(device, a) for a in (x, index, gy))
    forward, back = host(module.unpool_forward(xs, indices, size)), host(module.unpool_grad_input(gys, indices))
    np.testing.assert_allclose((forward * gy).sum(), (x * back).sum(), rtol=1e-12)


def test_of_equal_indices_the_last_stays_and_gets_the_gradient():
    x = mg.Tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    y = mg.max_unpool2d(x, np.array([[[[0, 3], [3, 1]]]]), 1)
    assert y.tolist() == [[[[1, 4], [0, 3]]]]
    (y * mg.Tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).sum().backward()
    assert x.grad.tolist() == [[[[1, 0], [4, 2]]]]


@pytest.mark.parametrize(("shape", "how"), [
    ((2, 3, 6, 8), {"kernel_size": 2}), ((1, 2, 7, 9), {"kernel_size": 2}), ((2, 2, 7, 9), {"kernel_size": (2, 3)}),
    ((1, 2, 6, 6), {"kernel_size": 2, "padding": 1}), ((1, 2, 8, 8), {"kernel_size": 2, "stride": 3}),
    ((1, 2, 7, 8), {"kernel_size": 3, "stride": 2}),
])
def test_unpooling_puts_maxima_back_where_they_were(shape, how):
    x = random(*shape)
    y, index = nn.MaxPool2d(**how, return_indices=True)(mg.Tensor(x))
    back = nn.MaxUnpool2d(**how)(y, index, output_size=shape).numpy()
    flat = np.zeros((*shape[:2], shape[2] * shape[3]))
    np.put_along_axis(flat, index.numpy().reshape(*shape[:2], -1), y.numpy().reshape(*shape[:2], -1), 2)
    np.testing.assert_array_equal(back, flat.reshape(shape))
    assert set(np.unique(back)) <= set(x.ravel()) | {0.0}
    assert mg.max_pool2d(mg.Tensor(np.where(back, back, -np.inf)), **how).tolist() == y.tolist()


def test_gradients_equal_finite_differences():
    index = mg.tensor(np.random.default_rng(0).integers(0, 16, (1, 2, 3, 4)))
    assert mg.gradcheck(lambda x: mg.max_unpool2d(x, index, 2), apart(1, 2, 3, 4))
    assert mg.gradgradcheck(lambda x: mg.max_unpool2d(x * x, index, 2), apart(1, 2, 3, 4))


def test_indices_changed_later_do_not_change_the_gradient():
    x, index = apart(1, 1, 2, 2), mg.tensor([[[[0, 3], [8, 11]]]])
    y = mg.max_unpool2d(x, index, 2)
    index.zero_()
    y.sum().backward()
    assert x.grad.tolist() == [[[[1, 1], [1, 1]]]]


def test_sizes():
    x, index = mg.ones(2, 3, 3, 4), mg.zeros(2, 3, 3, 4, dtype="int64")
    assert mg.max_unpool2d(x, index, 2).shape == (2, 3, 6, 8)
    assert mg.max_unpool2d(x, index, (3, 2), 2, 1).shape == (2, 3, 5, 6)
    assert mg.max_unpool2d(x, index, 2, output_size=(7, 9)).shape == (2, 3, 7, 9)
    assert mg.max_unpool2d(x, index, 2, output_size=(2, 3, 5, 7)).shape == (2, 3, 5, 7)
    assert mg.max_unpool2d(x, index.astype("int32"), 2).dtype == x.dtype
    assert mg.max_unpool2d(mg.zeros(0, 3, 2, 2), mg.zeros(0, 3, 2, 2, dtype="int64"), 2).shape == (0, 3, 4, 4)
    assert pool.unpool_size((1, 1, 3, 3), 3, 2, (1, 0), [6, 8]) == (6, 8)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda x, i: mg.max_unpool2d(x[0], i, 2), r"MaxUnpool2d: x must be 4-D .* got 3-D \(1x2x3\)"),
        (ValueError, lambda x, i: mg.max_unpool2d(x, i[..., :2], 2), r"indices \(1x1x2x2\) .* shape of x \(1x1x2x3\)"),
        (ValueError, lambda x, i: mg.max_unpool2d(x, x, 2), r"MaxUnpool2d: indices must be integers, got float32"),
        (ValueError, lambda x, i: mg.max_unpool2d(x, i, 0), r"MaxUnpool2d: kernel_size must .* >= 1, got 0"),
        (ValueError, lambda x, i: nn.MaxUnpool2d(2, padding=-1), r"MaxUnpool2d: padding must .* >= 0, got -1"),
        (ValueError, lambda x, i: mg.max_unpool2d(x, i, 2, output_size=(6, 6)),
         r"output_size \(6, 6\) differs from \(4, 6\) by stride \(2, 2\) or more"),
        (ValueError, lambda x, i: mg.max_unpool2d(x, i, 2, output_size=5), r"output_size must be \(H, W\) .* got 5"),
        (ValueError, lambda x, i: mg.max_unpool2d(x, i, 1, 1, 2), r"the output of x \(1x1x2x3\) would be -2x-1"),
        (IndexError, lambda x, i: mg.max_unpool2d(x, i + 20, 2), r"index 25 is outside the 4x6 output map"),
        (IndexError, lambda x, i: mg.max_unpool2d(x, i - 1, 2), r"index -1 is outside the 4x6 output map"),
    ],
)
def test_errors_name_the_value(error, call, message):
    with pytest.raises(error, match=message):
        call(mg.ones(1, 1, 2, 3), mg.tensor(np.arange(6).reshape(1, 1, 2, 3)))
