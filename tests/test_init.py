"""Initial values: the distributions the papers give, PyTorch's names and gains, no draws under skip, little memory."""
import inspect
import math
import tracemalloc

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import init

UNIFORM, NORMAL = "uniform", "normal"
WEIGHT = (60, 40, 3, 3)  # fan in 360, fan out 540
# (call, distribution, its standard deviation)
RANDOM = [
    (lambda t: init.uniform_(t, -2.0, 1.0), UNIFORM, 3 / math.sqrt(12)),
    (lambda t: init.normal_(t, 1.0, 0.2), NORMAL, 0.2),
    (lambda t: init.xavier_uniform_(t), UNIFORM, math.sqrt(2 / 900)),
    (lambda t: init.xavier_normal_(t, 3.0), NORMAL, 3 * math.sqrt(2 / 900)),
    (lambda t: init.kaiming_uniform_(t), UNIFORM, math.sqrt(2 / 360)),
    (lambda t: init.kaiming_uniform_(t, 1.0), UNIFORM, math.sqrt(1 / 360)),
    (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), NORMAL, math.sqrt(2 / 540)),
    (lambda t: init.kaiming_normal_(t, nonlinearity="tanh"), NORMAL, 5 / 3 / math.sqrt(360)),
]


@pytest.mark.parametrize(("fill", "distribution", "std"), RANDOM)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_have_the_distribution_that_is_promised(fill, distribution, std, dtype):
    mg.manual_seed(0)
    t = nn.Parameter(mg.zeros(*WEIGHT, dtype=dtype))
    assert fill(t) is t
    assert t.dtype == dtype
    values = t.detach().numpy().ravel().astype("float64")
    centred = values - values.mean()
    assert values.std() == pytest.approx(std, rel=0.02)
    kurtosis = (centred**4).mean() / values.var() ** 2
    assert kurtosis == pytest.approx(1.8 if distribution == UNIFORM else 3.0, abs=0.1)
    if distribution == UNIFORM:
        assert np.ptp(values) == pytest.approx(math.sqrt(12) * std, rel=1e-2)
    assert len(np.unique(values)) > 0.99 * len(values)


def test_glorots_equation_16_and_hes_equation_10():
    t = mg.zeros(300, 200)
    bound = math.sqrt(6) / math.sqrt(200 + 300)
    assert bound * 0.999 < np.abs(init.xavier_uniform_(t).numpy()).max() <= bound * 1.0001
    mg.manual_seed(1)
    assert init.kaiming_normal_(t, nonlinearity="relu").numpy().std() == pytest.approx(math.sqrt(2 / 200), rel=0.02)


def spread_of_activations(fill, layers=20):
    """The standard deviation of what comes out of a deep stack of ReLU layers for inputs of standard deviation 1."""
    mg.manual_seed(0)
    x = mg.randn(64, 128)
    for _ in range(layers):
        x = (x @ fill(mg.zeros(128, 128)).T).relu()
    return x.numpy().std()


def test_hes_values_carry_a_signal_through_many_relus_and_glorots_lose_it():
    assert 0.3 < spread_of_activations(init.kaiming_normal_) < 3
    assert spread_of_activations(init.xavier_normal_) < 3 * 2 ** (-20 / 2)


def test_truncated_normal_values_stay_inside_and_keep_their_shape():
    mg.manual_seed(0)
    for dtype in ("float32", "float64"):
        values = init.trunc_normal_(mg.zeros(200, 200, dtype=dtype), 0.5, 2.0, -1.0, 3.0).numpy()
        assert values.min() >= -1
        assert values.max() <= 3
        normal = np.random.default_rng(0).normal(0.5, 2.0, 200_000)
        kept = normal[(normal >= -1) & (normal <= 3)]
        assert values.mean() == pytest.approx(kept.mean(), abs=0.02)
        assert values.std() == pytest.approx(kept.std(), abs=0.02)
        assert np.quantile(values, 0.1) == pytest.approx(np.quantile(kept, 0.1), abs=0.05)
    narrow = init.trunc_normal_(mg.zeros(1000), std=0.02).numpy()  # the limits are values, not multiples of std
    assert np.abs(narrow).max() > 0.05
    for wrong in ({"a": 30.0, "b": 31.0}, {"a": 1.0, "b": -1.0}, {"std": 0.0}):
        with pytest.raises(ValueError, match="trunc_normal_"):
            init.trunc_normal_(mg.zeros(2), **wrong)


def test_constants():
    p = nn.Parameter(mg.randn(2, 3))
    assert init.zeros_(p) is p
    assert not p.detach().numpy().any()
    assert (init.ones_(p).detach().numpy() == 1).all()
    assert (init.constant_(p, -2.5).detach().numpy() == -2.5).all()


def test_fans():
    assert init.fan_in((5, 7)) == 7
    assert init.fan_out((5, 7)) == 5
    assert init.fan_in(WEIGHT) == 360
    assert init.fan_out(WEIGHT) == 540
    for fan in (init.fan_in, init.fan_out):
        with pytest.raises(ValueError, match=r"two dimensions, got shape \(3,\)"):
            fan((3,))


@pytest.mark.parametrize(("call", "words"), [
    (lambda t: init.kaiming_normal_(t, mode="fan"), "'fan'"),
    (lambda t: init.kaiming_uniform_(t, nonlinearity="swish"), "'swish'"),
    (lambda t: init.calculate_gain("leaky_relu", True), "True"),
    (lambda t: init.calculate_gain("leaky_relu", "0.1"), "'0.1'"),
    (lambda t: init.uniform_(t, 2.0, 1.0), "a=2.0, b=1.0"),
    (lambda t: init.normal_(t, 0.0, -1.0), "-1.0"),
    (lambda t: init.xavier_normal_(mg.zeros(3)), r"\(3,\)"),
])
def test_errors_name_the_value(call, words):
    with pytest.raises(ValueError, match=words):
        call(mg.zeros(2, 2))


def test_integers_cannot_be_random():
    with pytest.raises(TypeError, match="int64"):
        init.normal_(mg.tensor([1, 2]))


def test_an_empty_tensor_is_left_alone():
    for fill in (init.xavier_uniform_, init.kaiming_normal_, init.trunc_normal_):
        assert fill(mg.zeros(3, 0)).shape == (3, 0)


def test_the_seed_decides_whatever_the_layout():
    def draw(fill, t):
        mg.manual_seed(5)
        return fill(t).numpy()

    for fill in (init.uniform_, init.normal_, init.trunc_normal_, init.kaiming_uniform_):
        rows = draw(fill, mg.zeros(9, 7))
        np.testing.assert_array_equal(draw(fill, mg.zeros(9, 7)), rows)
        np.testing.assert_array_equal(draw(fill, mg.zeros(7, 9).T), rows)
        np.testing.assert_array_equal(draw(fill, mg.from_numpy(np.zeros((9, 14), "f")[:, ::2])), rows)
    other = init.uniform_(mg.zeros(9, 7)).numpy()
    assert not np.array_equal(other, draw(init.uniform_, mg.zeros(9, 7)))


def test_skip_draws_nothing_but_writes_constants():
    mg.manual_seed(3)
    before = mg.rand(4).numpy()
    mg.manual_seed(3)
    with init.skip():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 3, 2), nn.Conv1d(2, 2, 2), nn.BatchNorm2d(3))
        for fill, *_ in RANDOM:
            assert not fill(mg.zeros(4, 4)).numpy().any()
        assert not init.trunc_normal_(mg.zeros(3)).numpy().any()
        assert (init.constant_(mg.zeros(3), 2.0).numpy() == 2).all()
    assert not any(p.detach().numpy().any() for layer in net[:3] for p in layer.parameters())
    assert (net[3].weight.detach().numpy() == 1).all()
    np.testing.assert_array_equal(mg.rand(4).numpy(), before)  # the generator did not move
    assert nn.Linear(2, 2).weight.detach().numpy().any()


@pytest.mark.parametrize("fill", [
    init.uniform_, init.normal_, init.trunc_normal_, init.kaiming_uniform_, init.kaiming_normal_, init.xavier_normal_,
])
def test_a_large_matrix_needs_no_second_one(fill):
    weight = mg.zeros(2000, 1000)
    tracemalloc.start()
    try:
        fill(weight)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert weight.dtype == "float32"
    assert peak < (weight.numel() * 4 if fill is init.trunc_normal_ else 100_000)


def test_backward_notices_values_drawn_anew():
    weight = nn.Parameter(mg.ones(2, 2))
    y = (weight * weight).sum()
    init.normal_(weight)
    with pytest.raises(RuntimeError, match="in place"):
        y.backward()


# --- PyTorch


@pytest.mark.parametrize("name", [
    "calculate_gain", "uniform_", "normal_", "trunc_normal_", "constant_", "zeros_", "ones_", "xavier_uniform_",
    "xavier_normal_", "kaiming_uniform_", "kaiming_normal_",
])
def test_the_arguments_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    theirs = inspect.signature(getattr(torch.nn.init, name)).parameters.values()
    ours = inspect.signature(getattr(init, name)).parameters.values()
    expected = [(p.name, p.default) for p in theirs if p.name != "generator"]
    assert [(p.name, p.default) for p in ours] == expected


@pytest.mark.parametrize(("nonlinearity", "param"), [
    *((name, None) for name in ("linear", "conv1d", "conv2d", "conv_transpose2d", "sigmoid", "tanh", "relu", "selu")),
    ("leaky_relu", None), ("leaky_relu", 0), ("leaky_relu", 0.3), ("leaky_relu", 5**0.5),
])
def test_gains_are_pytorchs(nonlinearity, param):
    torch = pytest.importorskip("torch")
    expected = torch.nn.init.calculate_gain(nonlinearity, param)
    assert init.calculate_gain(nonlinearity, param) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(50, 80), (40, 20, 5), (40, 20, 3, 3)])
@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_spreads_are_pytorchs(shape, name, mode):
    torch = pytest.importorskip("torch")
    mg.manual_seed(0)
    torch.manual_seed(0)
    how = {"mode": mode, "nonlinearity": "tanh"} if name.startswith("kaiming") else {"gain": 0.5}
    ours = getattr(init, name)(mg.zeros(*shape), **how).numpy()
    theirs = getattr(torch.nn.init, name)(torch.zeros(shape), **how).numpy()
    assert ours.std() == pytest.approx(theirs.std(), rel=0.05)
