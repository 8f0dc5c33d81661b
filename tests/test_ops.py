"""Elementwise functions, reductions and matrix products against NumPy: values, dims, edge cases and error messages."""
import warnings

import numpy as np
import pytest

import minigrad as mg

pytestmark = pytest.mark.usefixtures("made_there")

RNG = np.random.default_rng(0)
SHAPES = [(), (0,), (3,), (2, 3), (2, 0, 3), (2, 3, 4)]


def random(shape, low=-2.0, high=2.0):
    return np.asarray(RNG.uniform(low, high, shape))


def check(result, expected, rtol=1e-12):
    """Same values, shape and dtype kind."""
    expected = np.asarray(expected)
    assert isinstance(result, mg.Tensor)
    assert result.shape == expected.shape
    assert result.dtype.kind == expected.dtype.kind
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=rtol, atol=1e-14)


# --- one operand

UNARY = {
    "neg": (mg.neg, np.negative), "exp": (mg.exp, np.exp), "absolute": (mg.absolute, np.abs),
    "sign": (mg.sign, np.sign),
    "tanh": (mg.tanh, np.tanh), "sigmoid": (mg.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "relu": (mg.relu, lambda x: np.maximum(x, 0)), "softplus": (mg.softplus, lambda x: np.log1p(np.exp(x))),
    "leaky_relu": (mg.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
    "leaky_relu 0.2": (lambda x: mg.leaky_relu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "elu": (mg.elu, lambda x: np.where(x > 0, x, np.expm1(x))),
    "elu 0.5": (lambda x: mg.elu(x, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    "silu": (mg.silu, lambda x: x / (1 + np.exp(-x))),
    "pow 2": (lambda x: x**2, lambda x: x**2), "pow 3.0": (lambda x: x**3.0, lambda x: x**3.0),
    "pow 0": (lambda x: x**0, lambda x: x**0), "2 ** x": (lambda x: 2**x, lambda x: 2.0**x),
    "clip": (lambda x: mg.clip(x, -1, 0.5), lambda x: np.clip(x, -1, 0.5)),
    "clip min": (lambda x: x.clamp(min=0.1), lambda x: np.maximum(x, 0.1)),
    "clip max": (lambda x: x.clip(max=np.float64(0.1)), lambda x: np.minimum(x, 0.1)),
    "isnan": (mg.isnan, np.isnan), "isfinite": (mg.isfinite, np.isfinite), "clone": (mg.clone, np.copy),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_operand(name, shape):
    ours, numpys = UNARY[name]
    x = random(shape)
    check(ours(mg.from_numpy(x)), numpys(x))


POSITIVE = [(mg.log, np.log), (mg.sqrt, np.sqrt), (lambda x: x**-0.5, lambda x: x**-0.5)]


@pytest.mark.parametrize(("ours", "numpys"), POSITIVE)
def test_functions_of_positive_numbers(ours, numpys):
    x = random((3, 4), 0.1, 5.0)
    check(ours(mg.from_numpy(x)), numpys(x))


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sigmoid", "relu", "abs", "sign", "isnan", "isfinite"])
def test_methods_are_the_functions(name):
    x = mg.from_numpy(random((3,), 0.1, 1.0))
    function = mg.absolute if name == "abs" else getattr(mg, name)
    assert getattr(x, name)().tolist() == function(x).tolist()


# --- two operands

BINARY = {
    "add": (mg.add, np.add), "sub": (mg.sub, np.subtract), "mul": (mg.mul, np.multiply), "div": (mg.div, np.divide),
    "pow": (lambda a, b: mg.pow(abs(a), b), lambda a, b: np.abs(a) ** b),
    "maximum": (mg.maximum, np.maximum), "minimum": (mg.minimum, np.minimum),
    "eq": (mg.eq, np.equal), "ne": (mg.ne, np.not_equal), "lt": (mg.lt, np.less), "le": (mg.le, np.less_equal),
    "gt": (mg.gt, np.greater), "ge": (mg.ge, np.greater_equal),
    "floor_divide": (mg.floor_divide, np.floor_divide), "remainder": (mg.remainder, np.remainder),
    "where": (lambda a, b: mg.where(a > b, a, b * 2), lambda a, b: np.where(a > b, a, b * 2)),
}


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [((2, 3), (2, 3)), ((), ()), ((2, 3), ()), ((3,), (2, 3)), ((2, 1), (1, 3)), ((0,), (1,)), ((4, 1, 0), (3, 1))],
)
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_operands_broadcast(name, a_shape, b_shape):
    ours, numpys = BINARY[name]
    a, b = random(a_shape), random(b_shape)
    check(ours(mg.from_numpy(a), mg.from_numpy(b)), numpys(a, b))


@pytest.mark.parametrize("name", [n for n in BINARY if n not in ("div", "pow", "where")])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_functions_of_two_integers(name, dtype):
    ours, numpys = BINARY[name]
    a, b = np.array([0, 1, 127, 5], dtype), np.array([1, 1, 3, 100], dtype)
    result = ours(mg.from_numpy(a), mg.from_numpy(b))
    assert result.tolist() == numpys(a, b).tolist()
    assert result.dtype == numpys(a, b).dtype


def test_extremes_of_integers_at_the_edge_of_their_range():
    a, b = mg.tensor([-128, 3], dtype="int8"), mg.tensor([127, 2], dtype="int8")
    assert mg.minimum(a, b).tolist() == [-128, 2]
    assert mg.tensor([0, 1, 255], dtype=mg.uint8).amin().item() == 0
    assert mg.tensor([3, -128], dtype="int8").min().item() == -128
    assert mg.tensor([True, False]).amin().item() is False


def test_dividing_integers_gives_float32():
    check(mg.tensor([1, 2]) / mg.tensor([2, 2]), np.array([0.5, 1.0], np.float32))


@pytest.mark.parametrize("operator", ["__add__", "__mul__", "__lt__", "maximum"])
def test_shapes_that_clash_are_named(operator):
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\) do not broadcast"):
        getattr(mg.ones(2), operator)(mg.ones(3))


def test_nan_wins_in_maximum_and_minimum():
    a, b = mg.tensor([np.nan, 1.0]), mg.tensor([1.0, np.nan])
    assert np.isnan(mg.maximum(a, b).numpy()).all() and np.isnan(mg.minimum(a, b).numpy()).all()


def test_logic_on_bools_and_bits():
    a, b = mg.tensor([True, True, False, False]), mg.tensor([True, False, True, False])
    assert (a & b).tolist() == mg.logical_and(a, b).tolist() == [True, False, False, False]
    assert (a | b).tolist() == mg.logical_or(a, b).tolist() == [True, True, True, False]
    assert (~a).tolist() == mg.logical_not(a).tolist() == [False, False, True, True]
    assert (mg.tensor([6]) & 3).tolist() == [2] and (mg.tensor([6]) | 1).tolist() == [7]
    assert (~mg.tensor([0])).tolist() == [-1]
    with pytest.raises(TypeError, match="bitwise_and"):
        mg.ones(1) & mg.ones(1)


def test_where_checks_its_condition():
    with pytest.raises(TypeError, match="int64"):
        mg.where(mg.tensor([1, 0]), 1.0, 2.0)
    with pytest.raises(ValueError, match=r"where: shapes \(3,\) and \(2,\) and \(\) do not"):
        mg.where(mg.ones(3) > 0, mg.ones(2), 0.0)
    assert mg.where(mg.tensor([[True], [False]]), mg.ones(2), 0.0).tolist() == [[1, 1], [0, 0]]


def test_clip_checks_its_limits():
    with pytest.raises(ValueError, match="give min, max or both"):
        mg.clip(mg.ones(1))
    with pytest.raises(TypeError, match="Tensor; use maximum"):
        mg.clip(mg.ones(1), mg.ones(1))
    assert mg.clip(mg.tensor([1, 5]), max=2.5).tolist() == [1.0, 2.5]


# --- ties and kinks share or pick the gradient as documented


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (lambda x: mg.maximum(x, mg.tensor([1.0, 1.0])), [1.0, 2.0], [0.5, 1.0]),
        (lambda x: mg.minimum(x, mg.tensor([1.0, 1.0])), [1.0, 2.0], [0.5, 0.0]),
        (lambda x: mg.amax(x), [3.0, 3.0, 1.0], [0.5, 0.5, 0.0]),
        (lambda x: mg.amin(x), [1.0, 3.0, 1.0], [0.5, 0.0, 0.5]),
        (lambda x: x.max(), [3.0, 3.0], [0.5, 0.5]),
        (lambda x: x.max(0).values, [3.0, 3.0], [1.0, 0.0]),
        (lambda x: x.min(0).values, [1.0, 3.0, 1.0], [1.0, 0.0, 0.0]),
        (mg.relu, [0.0, -0.0], [0.0, 0.0]),
        (mg.absolute, [0.0], [0.0]),
        (mg.leaky_relu, [0.0], [0.01]),
        (mg.elu, [0.0], [1.0]),
        (lambda x: x.clip(0.0, 1.0), [0.0, 1.0, 2.0], [1.0, 1.0, 0.0]),
        (lambda x: x**0, [0.0, 2.0], [0.0, 0.0]),
        (lambda x: x**1, [0.0], [1.0]),
        (lambda x: x ** mg.tensor([0.0, 0.0, 1.0]), [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]),
        (lambda x: mg.tensor([0.0, 0.0]) ** x, [2.0, 0.0], [0.0, 0.0]),
    ],
)
def test_gradients_at_ties_and_kinks(function, at, expected):
    x = mg.tensor(at, requires_grad=True)
    function(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), expected)


def test_the_mixed_second_derivative_of_a_power_holds_at_exponent_0():
    a, b = (mg.tensor([v], dtype=mg.float64, requires_grad=True) for v in (3.0, 0.0))
    (ga,) = mg.grad(a**b, a, create_graph=True)
    assert mg.grad(ga, b)[0].item() == pytest.approx(1 / 3)


# --- stability


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
@pytest.mark.parametrize(
    ("function", "values", "gradients"),
    [
        (mg.sigmoid, [0, 0.5, 1], [0, 0.25, 0]),
        (mg.softplus, [0, np.log(2), 1000], [0, 0.5, 1]),
        (mg.elu, [-1, 0, 1000], [0, 1, 1]),
        (mg.silu, [0, 0, 1000], [0, 0.5, 1]),
        (mg.tanh, [-1, 0, 1], [0, 1, 0]),
        (lambda x: mg.logsumexp(x.reshape(3, 1), 1), [-1000, 0, 1000], [1, 1, 1]),
        (lambda x: mg.logsumexp(x, 0), 1000, [0, 0, 1]),
        (lambda x: mg.softmax(x, 0), [0, 0, 1], [0, 0, 0]),
        (lambda x: mg.log_softmax(x, 0), [-2000, -1000, 0], [1, 1, -2]),
    ],
)
def test_functions_are_stable_at_1000(function, values, gradients, dtype):
    x = mg.tensor([-1000.0, 0.0, 1000.0], dtype=dtype, requires_grad=True)
    y = function(x)
    y.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), values, rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), gradients, rtol=1e-6, atol=1e-12)


def test_sigmoid_is_accurate_far_in_its_tails():
    x = mg.tensor([-30.0, -60.0], dtype=mg.float32)
    np.testing.assert_allclose(mg.sigmoid(x).numpy(), np.exp([-30.0, -60.0]), rtol=1e-5)


def test_elu_is_accurate_near_0():
    assert mg.elu(mg.tensor([-1e-8])).item() == pytest.approx(-1e-8, rel=1e-6)


def test_logsumexp_of_infinities():
    x = mg.tensor([[-np.inf, -np.inf], [np.inf, 0.0], [-np.inf, 2.0]])
    assert mg.logsumexp(x, 1).tolist() == [-np.inf, np.inf, 2.0]


def test_functions_agree_with_scipy():
    special = pytest.importorskip("scipy.special")
    x = random((3, 5), -20, 20)
    t = mg.from_numpy(x)
    check(mg.sigmoid(t), special.expit(x))
    check(mg.softmax(t, 0), special.softmax(x, 0))
    check(mg.log_softmax(t, -1), special.log_softmax(x, -1))
    check(mg.logsumexp(t, (0, 1)), special.logsumexp(x))
    check(mg.logsumexp(t, -1, keepdim=True), special.logsumexp(x, -1, keepdims=True))


# --- reductions

DIMS = [None, 0, -1, 1, (0, 2), (-1, 0), (0, 1, 2), ()]
REDUCTIONS = {
    "sum": (mg.sum, np.sum), "mean": (mg.mean, np.mean), "amax": (mg.amax, np.max), "amin": (mg.amin, np.min),
    "var": (mg.var, lambda x, d, keepdims: np.var(x, d, ddof=1, keepdims=keepdims)),
    "std": (mg.std, lambda x, d, keepdims: np.std(x, d, ddof=1, keepdims=keepdims)),
    "var 0": (lambda x, d, keepdim: mg.var(x, d, correction=0, keepdim=keepdim), np.var),
    "logsumexp": (mg.logsumexp, lambda x, d, keepdims: np.log(np.sum(np.exp(x), d, keepdims=keepdims))),
}


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, dim, keepdim):
    ours, numpys = REDUCTIONS[name]
    x = random((2, 3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's at the variance of single values, which is NaN
        expected = numpys(x, dim, keepdims=keepdim)
    result = ours(mg.from_numpy(x), dim, keepdim=keepdim)
    check(result, expected)


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "logsumexp"])
def test_reductions_of_a_0_d_tensor_are_itself(name):
    for dim in (None, 0, -1, ()):
        assert REDUCTIONS[name][0](mg.tensor(2.5), dim).item() == pytest.approx(2.5)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize(("dim", "error", "message"), [(3, IndexError, "3 is out of range for a 3-d"),
                                                       (-4, IndexError, "-4"), ((0, -3), ValueError, "given twice")])
def test_reductions_refuse_dims_that_do_not_exist(name, dim, error, message):
    with pytest.raises(error, match=message):
        REDUCTIONS[name][0](mg.ones(2, 3, 4), dim, keepdim=False)


def test_sums_of_integers_and_bools_are_int64_and_means_are_refused():
    assert mg.tensor([200, 100], dtype=mg.uint8).sum().item() == 300
    assert mg.tensor([True, True]).sum().dtype == np.int64
    with pytest.raises(TypeError, match="int64"):
        mg.tensor([1, 2]).mean()


def test_reductions_of_empty_tensors():
    x = mg.zeros(0, 3)
    assert x.sum().item() == 0.0 and x.sum(0).tolist() == [0, 0, 0] and x.sum(1).shape == (0,)
    assert np.isnan(x.mean().item()) and np.isnan(x.var(0).numpy()).all()
    assert x.amax(1).shape == (0,) and x.argmax(1).shape == (0,)
    for function in (mg.amax, mg.amin, mg.max, mg.min, mg.argmax, mg.argmin):
        with pytest.raises(ValueError, match=r"no elements.*\(0, 3\)"):
            function(x)


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_max_and_min_over_a_dim_give_values_and_first_positions(dim, keepdim):
    x = RNG.integers(0, 3, (3, 4)).astype(float)  # with ties
    t = mg.from_numpy(x)
    for ours, position, values, indices in ((t.max, t.argmax, np.max, np.argmax), (t.min, t.argmin, np.min, np.argmin)):
        result = ours(dim, keepdim)
        check(result.values, values(x, dim, keepdims=keepdim))
        check(result.indices, indices(x, dim, keepdims=keepdim))
        check(position(dim, keepdim), indices(x, dim, keepdims=keepdim))


def test_positions_in_the_flattened_tensor():
    t = mg.tensor([[1, 5], [0, 5]])
    assert (t.argmax().item(), t.argmin().item(), mg.tensor(3.0).argmax(0).item()) == (1, 2, 0)
    with pytest.raises(TypeError, match=r"one dimension, got \(0, 1\)"):
        t.argmax((0, 1))


# --- matrix products


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
     ((5, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((0, 3), (3, 2)),
     ((2, 0), (0, 3)), ((0, 2, 3), (3, 4))],
)
def test_matmul(a, b):
    a, b = random(a), random(b)
    check(mg.matmul(mg.from_numpy(a), mg.from_numpy(b)), np.matmul(a, b))
    check(mg.from_numpy(a) @ b, a @ b)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (2, 3)), ((), (3,)), ((3,), (2,)), ((2, 2, 3), (3, 3, 4))])
def test_matmul_names_shapes_that_do_not_fit(a, b):
    with pytest.raises(ValueError, match="matmul.*" + str(a[:1])[1:-2]):
        mg.ones(*a) @ mg.ones(*b)


def test_linear():
    x, w, b = random((5, 2, 3)), random((4, 3)), random((4,))
    x, w, b = map(mg.from_numpy, (x, w, b))
    check(mg.linear(x, w, b), x.numpy() @ w.numpy().T + b.numpy())
    check(mg.linear(x[0, 0], w), x.numpy()[0, 0] @ w.numpy().T)
    with pytest.raises(ValueError, match=r"expects 3 features, got x of shape \(2, 4\)"):
        mg.linear(mg.ones(2, 4), w)
