"""Activations and their layers: values by hand, gradients at kinks and NaN, refused arguments, and how they print."""
import math

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn

pytestmark = pytest.mark.usefixtures("made_there")

SHAPE = (2, 3, 4, 5)
LAYERS = [
    (lambda: nn.ReLU(True), "ReLU(inplace=True)"),
    (lambda: nn.ReLU6(), "ReLU6()"),
    (lambda: nn.SiLU(inplace=True), "SiLU(inplace=True)"),
    (lambda: nn.LeakyReLU(), "LeakyReLU(negative_slope=0.01)"),
    (lambda: nn.LeakyReLU(0.2, True), "LeakyReLU(negative_slope=0.2, inplace=True)"),
    (lambda: nn.ELU(), "ELU(alpha=1.0)"),
    (lambda: nn.ELU(0.5, inplace=True), "ELU(alpha=0.5, inplace=True)"),
    (lambda: nn.Hardtanh(), "Hardtanh(min_val=-1.0, max_val=1.0)"),
    (lambda: nn.Hardtanh(-2, 0.5, True), "Hardtanh(min_val=-2, max_val=0.5, inplace=True)"),
    (lambda: nn.PReLU(), "PReLU(num_parameters=1)"),
    (lambda: nn.PReLU(3), "PReLU(num_parameters=3)"),
    (lambda: nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"),
    (lambda: nn.Softmax(1), "Softmax(dim=1)"),
    (lambda: nn.LogSoftmax(dim=-1), "LogSoftmax(dim=-1)"),
    (lambda: nn.Dropout(0.3, True), "Dropout(p=0.3, inplace=True)"),
    (lambda: nn.Dropout2d(0.3, inplace=True), "Dropout2d(p=0.3, inplace=True)"),
]
IDS = [printed for _, printed in LAYERS]


@pytest.mark.parametrize(("make", "printed"), LAYERS, ids=IDS)
def test_layers_print_their_options_and_keep_shape_dtype_layout_and_input(make, printed):
    assert repr(make()) == printed
    for dtype in (mg.float32, mg.float64):
        values = mg.randn(2, 4, 5, 3, dtype=dtype)
        x = values.clone().permute(0, 3, 1, 2)
        y = make().to(dtype)(x)
        assert y.shape == SHAPE and y.dtype == dtype
        assert y._data.transpose(0, 2, 3, 1).flags.c_contiguous
        assert x.permute(0, 2, 3, 1).tolist() == values.tolist()  # also where inplace=True


@pytest.mark.parametrize(("make", "printed"), LAYERS, ids=IDS)
def test_an_empty_batch_is_a_batch_also_backwards(make, printed):
    x = mg.zeros(0, 3, 4, 5, requires_grad=True)
    layer = make().eval()
    y = layer(x)
    assert y.shape == (0, 3, 4, 5)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert all(p.grad.tolist() == [0.0] * len(p) for p in layer.parameters())


@pytest.mark.parametrize("function", [
    mg.relu, mg.leaky_relu, mg.elu, mg.silu, mg.hardtanh, mg.relu6,
    lambda x, **options: mg.dropout(x, 0.0, **options),
    lambda x, **options: mg.dropout2d(x.reshape(1, 3, 1, 1), 0.5, False, **options).reshape(3),
])
def test_inplace_is_accepted_and_changes_nothing(function):
    x = mg.tensor([-2.0, 0.5, 7.0])
    assert function(x, inplace=True).tolist() == function(x).tolist()
    assert x.tolist() == [-2.0, 0.5, 7.0]


def test_prelu_has_a_slope_per_channel():
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    w = np.array([0.5, -2.0, 0.0])
    y, expected = F.prelu(mg.tensor(x), mg.tensor(w)).numpy(), np.empty_like(x)
    for n, c, i in np.ndindex(x.shape):
        expected[n, c, i] = x[n, c, i] if x[n, c, i] > 0 else w[c] * x[n, c, i]
    np.testing.assert_array_equal(y, expected)
    assert nn.PReLU(init=0.1)(mg.tensor([-10.0, 10.0])).tolist() == pytest.approx([-1.0, 10.0])
    assert nn.PReLU(4, 0.75).weight.tolist() == [0.75] * 4
    assert F.prelu(mg.tensor(-2.0), mg.tensor(0.25)).item() == -0.5


@pytest.mark.parametrize(("x_shape", "factors", "message"), [
    ((2, 4, 5, 5), (3,), r"weight holds 3 factors, got x with 4 channels, \(2, 4, 5, 5\)"),
    ((3,), (3,), r"weight holds 3 factors, got x with no channels, \(3,\)"),
    ((2, 3), (3, 1), r"one factor or one per channel, got shape \(3, 1\)"),
    ((2, 3), (0,), "weight holds 0 factors, got x with 3 channels"),
])
def test_prelu_names_a_weight_that_does_not_fit(x_shape, factors, message):
    with pytest.raises(ValueError, match=f"prelu: .*{message}"):
        F.prelu(mg.zeros(*x_shape), mg.zeros(*factors))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: nn.PReLU(0), "PReLU: num_parameters must be an integer >= 1, got 0"),
    (lambda: nn.PReLU(1.5), "PReLU: num_parameters must be an integer >= 1, got 1.5"),
    (lambda: nn.Hardtanh(1.0, 1.0), "Hardtanh: min_val must be below max_val, got 1.0 and 1.0"),
    (lambda: F.hardtanh(mg.ones(1), 2.0, 1.0), "hardtanh: min_val must not be above max_val, got 2.0 and 1.0"),
    (lambda: nn.Softmax(), "Softmax: dim is needed, got None"),
    (lambda: nn.LogSoftmax(), "LogSoftmax: dim is needed, got None"),
    (lambda: F.softmax(mg.ones(2, 2)), "need a dimension, got dim=None"),
    (lambda: mg.ones(2, 2).log_softmax(), "need a dimension, got dim=None"),
    (lambda: nn.Dropout(2.0, True), "between 0 and 1, got 2.0"),
])
def test_impossible_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer", [nn.Softmax, nn.LogSoftmax])
@pytest.mark.parametrize("dim", [2, -3])
def test_softmax_names_a_dimension_out_of_range(layer, dim):
    with pytest.raises(IndexError, match=f"dimension {dim} is out of range for a 2-d tensor"):
        layer(dim)(mg.ones(2, 3))


def test_softmax_of_one_number_is_1():
    x = mg.tensor(3.0, requires_grad=True)
    y = nn.Softmax(0)(x)
    y.backward()
    assert y.item() == 1.0 and nn.LogSoftmax(-1)(x).item() == 0.0 and x.grad.item() == 0.0


def test_softplus_is_the_identity_above_its_threshold():
    x = mg.tensor([-1.0, 0.9, 1.1], dtype=mg.float64, requires_grad=True)
    y = F.softplus(x, beta=2.0, threshold=2.0)
    y.sum().backward()
    expected = [math.log1p(math.exp(-2.0)) / 2, math.log1p(math.exp(1.8)) / 2, 1.1]
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-15)
    np.testing.assert_allclose(x.grad.numpy(), [1 / (1 + math.exp(2.0)), 1 / (1 + math.exp(-1.8)), 1.0], rtol=1e-15)


@pytest.mark.parametrize("beta", [2.0, 0.25, -1.0])
def test_softplus_of_extremes(beta):
    x = np.array([math.nan, math.inf, -math.inf, 3e38, -3e38, 100.0, -100.0, 1e-40, 0.0], "float32")
    with np.errstate(invalid="ignore"):
        expected = np.logaddexp(beta * x.astype("float64"), 0.0) / beta
    for threshold in (20.0, math.inf):
        np.testing.assert_allclose(F.softplus(mg.tensor(x), beta, threshold).numpy(), expected, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(("function", "at", "expected"), [
    (mg.relu, [0.0, math.nan], [0, 1]),
    (mg.hardtanh, [-1.0, 1.0, 0.0, math.nan], [0, 0, 1, 1]),
    (mg.relu6, [0.0, 6.0, 3.0], [0, 0, 1]),
    (lambda x: mg.prelu(x, mg.tensor([0.25])), [0.0, math.nan, 1.0], [0.25, 0.25, 1]),
    (lambda x: mg.leaky_relu(x, 0.5), [0.0, math.nan, math.inf], [0.5, 0.5, 1]),
    (lambda x: mg.elu(x, 0.5), [0.0, math.nan, 1000.0, -1000.0], [0.5, 1, 1, 0]),
    (lambda x: mg.maximum(x, mg.tensor([1.0, math.nan, 2.0])), [math.nan, 1.0, 2.0], [1, 1, 0.5]),
    (lambda x: mg.minimum(mg.tensor([1.0, math.nan, 2.0]), x), [math.nan, 1.0, 2.0], [1, 1, 0.5]),
])
def test_gradients_at_kinks_and_nan(function, at, expected):
    x = mg.tensor(at, requires_grad=True)
    y = function(x)
    y.sum().backward()
    assert x.grad.tolist() == expected
    assert np.isnan(y.detach().numpy()[np.isnan(at)]).all()


@pytest.mark.parametrize("function", [mg.elu, mg.softplus, mg.leaky_relu, mg.hardtanh])
def test_second_derivatives_are_finite_at_1000(function):
    x = mg.tensor([-1000.0, -1.0, 1000.0], requires_grad=True)
    (gx,) = mg.grad(function(x).sum(), x, create_graph=True)
    (ggx,) = mg.grad((gx * x).sum(), x)
    assert np.isfinite(ggx.numpy()).all()


@pytest.mark.parametrize("slope", [np.float64(0.1), 0.1, 0])
def test_options_do_not_widen_float32(slope):
    x = mg.tensor([-1.0, 1.0], requires_grad=True)
    for y in (mg.leaky_relu(x, slope), mg.elu(x, slope), mg.softplus(x, slope or 1, slope), mg.hardtanh(x, slope, 5)):
        assert y.dtype == mg.float32
        y.sum().backward()
    assert x.grad.dtype == mg.float32
