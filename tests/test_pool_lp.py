"""p-norm pooling: every row of the table against plain loops, its limits, and values that overflow naive formulas."""
import numpy as np
import pytest
from devices import host, on
from layouts import LAYOUTS
from test_pool import TOLERANCE, assert_same, over, random, row

import minigrad as mg
from minigrad import nn
from minigrad.kernels import pool
from minigrad.kernels.pool import reference

pytestmark = pytest.mark.usefixtures("made_there")

# x shape, then kernel, stride, ceil_mode
CASES = {
    "2x2": ((2, 3, 4, 6), 2, None),
    "overlapping": ((2, 2, 6, 5), 3, 2),
    "stride 1": ((1, 2, 4, 5), (2, 3), 1),
    "stride beyond the kernel": ((1, 2, 8, 7), 2, (3, 4)),
    "ceil": ((2, 2, 6, 7), 3, 2, True),
    "ceil, image below the kernel": ((1, 1, 2, 2), 3, 2, True),
    "batch 0": ((0, 2, 4, 4), 2, None),
}
NORMS = (1.0, 2.0, 3.0, 2.5, 7.0, 65.0)


def params(case):
    x_shape, kernel, stride, *ceil = CASES[case]
    return pool.pool_params(x_shape, kernel, stride, 0, 1, *ceil)


def image(values, requires_grad=False):
    return mg.Tensor(np.array(values, float).reshape(1, 1, 1, -1), requires_grad=requires_grad)


@pytest.mark.parametrize(("name", "device", "case", "layout", "dtype"), over(CASES, LAYOUTS, TOLERANCE))
def test_rows_equal_reference(name, device, case, layout, dtype):
    module, p = row(name, device), params(case)
    for norm in NORMS:
        x = abs(random(*CASES[case][0], dtype=dtype))
        y = reference.lp_forward(x, p, norm)
        a, b = random(*x.shape, seed=1, dtype=dtype), random(*y.shape, seed=2, dtype=dtype)
        xs, ys, as_, bs = (on(device, layout(array)) for array in (x, y, a, b))
        tolerance = max(norm, 4) * TOLERANCE[dtype]  # a power multiplies relative errors by its exponent
        assert_same(module.lp_forward(xs, p, norm), y, tolerance)
        for q in (norm - 1, norm - 2 if norm >= 2 else 0.0):
            assert_same(module.lp_collect(as_, xs, ys, p, q), reference.lp_collect(a, x, y, p, q), tolerance)
            assert_same(module.lp_spread(bs, xs, ys, p, q), reference.lp_spread(b, x, y, p, q), tolerance)
        np.testing.assert_array_equal(host(xs), x)


@pytest.mark.parametrize("case", CASES)
def test_collect_and_spread_are_adjoint(case):
    p, module = params(case), pool.lookup("cpu")
    x = random(*CASES[case][0])
    y = module.lp_forward(x, p, 2.0)
    a, b = random(*x.shape, seed=1), random(*y.shape, seed=2)
    for q in (0.0, 1.0, 3.0):
        left, right = (module.lp_collect(a, x, y, p, q) * b).sum(), (a * module.lp_spread(b, x, y, p, q)).sum()
        np.testing.assert_allclose(left, right, rtol=1e-12)


def test_computed_by_hand():
    assert mg.lp_pool2d(image([3, 4]), 2, (1, 2)).item() == 5
    assert mg.lp_pool2d(image([-3, 4]), 2, (1, 2)).item() == 5
    assert mg.lp_pool2d(image([-3, 4]), 1, (1, 2)).item() == 1
    np.testing.assert_allclose(mg.lp_pool2d(image([1, 2, 3]), 3, (1, 3)).item(), 36 ** (1 / 3), rtol=1e-15)
    # the clipped window holds 3 alone and counts as 3, 3
    y = mg.lp_pool2d(image([3, 4, 3]), 2, (1, 2), ceil_mode=True)
    np.testing.assert_allclose(y.tolist()[0][0][0], [5, 18**0.5], rtol=1e-15)
    x = image([3, 4], requires_grad=True)
    mg.lp_pool2d(x, 2, (1, 2)).sum().backward()
    np.testing.assert_allclose(x.grad.tolist()[0][0][0], [0.6, 0.8], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_p_approaches_max_pooling(dtype):
    """The paper: p-norm pooling with p -> infinity is max pooling. y is at most area ** (1 / p) above it."""
    x = mg.Tensor(abs(random(2, 3, 9, 8, dtype=dtype)), requires_grad=True)
    largest = mg.max_pool2d(x, 3, 2).detach().numpy()
    rounding = 4 * np.finfo(dtype).eps
    errors = []
    for p in (1, 4, 16, 64, 256, 1024, 1e5):
        y = mg.lp_pool2d(x, p, 3, 2).detach().numpy()
        assert (y >= largest * (1 - rounding)).all() and (y <= largest * 9 ** (1 / p) * (1 + rounding)).all()
        errors.append(abs(y - largest).max())
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-4
    (of_norm,) = mg.grad(mg.lp_pool2d(x, 3000, 3, 2).sum(), (x,))
    (of_max,) = mg.grad(mg.max_pool2d(x, 3, 2).sum(), (x,))
    np.testing.assert_allclose(of_norm.numpy(), of_max.numpy(), atol=0.02)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
@pytest.mark.parametrize("p", [2, 3, 10.5, 500])
def test_powers_neither_overflow_nor_vanish(scale, p):
    """Powers of these values leave float64; the norm and its gradient, which do not, are finite and scale exactly."""
    x = abs(random(1, 2, 4, 4)) + 0.1
    small, big = mg.Tensor(x, requires_grad=True), mg.Tensor(x * scale, requires_grad=True)
    one, two = mg.lp_pool2d(small, p, 2), mg.lp_pool2d(big, p, 2)
    np.testing.assert_allclose(two.detach().numpy(), one.detach().numpy() * scale, rtol=1e-13)
    one.sum().backward()
    two.sum().backward()
    np.testing.assert_allclose(big.grad.numpy(), small.grad.numpy(), rtol=1e-10, atol=1e-300)


def test_windows_of_zeros_have_gradient_zero_to_every_order():
    for p in (1, 1.5, 2, 3):
        x = mg.zeros(1, 1, 2, 2, dtype="float64", requires_grad=True)
        y = mg.lp_pool2d(x, p, 2)
        assert y.item() == 0
        (gx,) = mg.grad(y.sum(), (x,), create_graph=True)
        (ggx,) = mg.grad((gx * gx).sum() + (x * gx).sum(), (x,))
        assert gx.tolist() == ggx.tolist() == [[[[0, 0], [0, 0]]]]


@pytest.mark.parametrize("p", [1, 2, 3])
def test_zeros_among_other_values_have_finite_gradients_of_every_order(p):
    """As after ReLU. The derivatives of a whole power of x stop at the constant, before 1 / x."""
    x = image([0, 2, 0, 1], requires_grad=True)
    g = mg.lp_pool2d(x, p, (1, 2)).sum()
    for _ in range(4):
        (g,) = mg.grad((g * g + g).sum() + 0.0 * x.sum(), (x,), create_graph=True)
        assert np.isfinite(g.detach().numpy()).all()


def test_negative_inputs_and_special_values():
    assert np.isnan(mg.lp_pool2d(image([-2, 1]), 3, (1, 2)).item())  # the root of a negative sum
    assert np.isnan(mg.lp_pool2d(image([-0.5, 1]), 2.5, (1, 2)).item())  # a fractional power
    np.testing.assert_allclose(mg.lp_pool2d(image([-1, 2]), 3, (1, 2)).item(), 7 ** (1 / 3), rtol=1e-15)
    for p in (1, 2, 2.5):
        assert mg.lp_pool2d(image([np.inf, 1]), p, (1, 2)).item() == np.inf
        assert np.isnan(mg.lp_pool2d(image([np.nan, 1]), p, (1, 2)).item())
        assert np.isnan(mg.lp_pool2d(image([1, np.nan]), p, (1, 2)).item())


@pytest.mark.parametrize("p", [1, 2, 3, 1.7, 40])
def test_gradients_equal_finite_differences(p):
    x = mg.Tensor(abs(random(1, 2, 4, 5)) + 0.2, requires_grad=True)
    for options in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}):
        assert mg.gradcheck(lambda x, options=options: mg.lp_pool2d(x, p, **options), x)
        assert mg.gradgradcheck(lambda x, options=options: mg.lp_pool2d(x, p, **options), x)


def test_dtypes_and_empty_batches():
    for dtype, wanted in [("int64", "float32"), ("float32", "float32"), ("float64", "float64")]:
        assert mg.lp_pool2d(mg.ones(2, 3, 4, 4, dtype=dtype), 2, 2).dtype == wanted
    x = mg.zeros(0, 3, 5, 5, requires_grad=True)
    y = nn.LPPool2d(2, 3, 2)(x)
    assert y.shape == (0, 3, 2, 2)
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mg.lp_pool2d(x, 0, 2), r"LPPool2d: norm_type must be a finite number above 0, got 0"),
        (lambda x: mg.lp_pool2d(x, float("inf"), 2), r"LPPool2d: norm_type must .* got inf"),
        (lambda x: mg.lp_pool2d(x, "2", 2), r"LPPool2d: norm_type must .* got '2'"),
        (lambda x: nn.LPPool2d(-1, 2), r"LPPool2d: norm_type must .* got -1"),
        (lambda x: nn.LPPool2d(2, 0), r"LPPool2d: kernel_size must be an integer >= 1, got 0"),
        (lambda x: mg.lp_pool2d(x[0], 2, 2), r"LPPool2d: x must be 4-D .* got 3-D \(3x4x5\)"),
        (lambda x: mg.lp_pool2d(x, 2, 6), r"LPPool2d: kernel 6x6 .* does not fit into x \(2x3x4x5\)"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call(mg.ones(2, 3, 4, 5))
