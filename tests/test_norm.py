"""Normalisation through Tensors and layers: the calculus, the formulae of the papers, state, empty batches, errors."""
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import gradsuite, nn
from minigrad.nn import functional as F
from minigrad.ops.norm import Normalize, NormalizeAffineGrad, NormalizeInputGrad, NormalizeScale

pytestmark = pytest.mark.usefixtures("made_there")


def random(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(0.3, 1.2, shape).astype(dtype)


def leaves(*shapes):
    return [mg.tensor(random(*s, seed=i), requires_grad=True) for i, s in enumerate(shapes)]


# --- the calculus


def composed(x, w, b, view, dims, column, after=lambda y, x: y, eps=1e-5):
    """Normalisation composed of elementary operations: slow, with gradients of any order by construction."""
    g = x.reshape(view)
    centred = g - g.mean(dims, keepdim=True)
    var = (centred * centred).mean(dims, keepdim=True)
    y = (centred * (var + eps) ** -0.5).reshape(x.shape) * w.reshape(column) + b.reshape(column)
    return after(y, x)


KINDS = {
    "batch": (
        (3, 2, 2, 2), (2,), lambda x, w, b: mg.batch_norm(x, None, None, w, b, training=True),
        ((3, 2, 2, 2), (0, 2, 3), (1, 2, 1, 1)),
    ),
    "batch, N x C": (
        (5, 3), (3,), lambda x, w, b: mg.batch_norm(x, None, None, w, b, training=True), ((5, 3), (0,), (1, 3)),
    ),
    "batch, then ReLU": (
        (3, 2, 2, 2), (2,), lambda x, w, b: mg.batch_norm(x, None, None, w, b, training=True, relu=True),
        ((3, 2, 2, 2), (0, 2, 3), (1, 2, 1, 1), lambda y, x: mg.relu(y)),
    ),
    "batch, an addition, ReLU": (
        (3, 2, 2), (2,), lambda x, w, b: mg.batch_norm(x, None, None, w, b, training=True, relu=True, plus=x * x),
        ((3, 2, 2), (0, 2), (1, 2, 1), lambda y, x: mg.relu(y + x * x)),
    ),
    "layer": ((3, 4), (4,), lambda x, w, b: mg.layer_norm(x, 4, w, b), ((3, 4), (1,), (4,))),
    "layer, images": (
        (2, 3, 2, 2), (3, 2, 2), lambda x, w, b: mg.layer_norm(x, (3, 2, 2), w, b),
        ((2, 3, 2, 2), (1, 2, 3), (3, 2, 2)),
    ),
    "group": (
        (2, 4, 3), (4,), lambda x, w, b: mg.group_norm(x, 2, w, b), ((2, 2, 2, 3), (2, 3), (1, 4, 1)),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_every_order_are_those_of_the_composition(kind):
    """Up to the third: each is the gradient of a random projection of all gradients before."""
    x_shape, w_shape, function, composition = KINDS[kind]
    results = []
    for f in (function, lambda *xwb: composed(*xwb, *composition)):
        inputs = leaves(x_shape, w_shape, w_shape)
        value = f(*inputs)
        found = [value]
        for order in range(3):
            projection = sum((mg.tensor(random(*v.shape, seed=9 + order)) * v * v).sum() for v in found)
            found = mg.grad(projection, inputs, create_graph=True, allow_unused=True)
            found = [g for g in found if g is not None]
            results.append([g.detach().numpy() for g in found])
    for ours, theirs in zip(results[:3], results[3:], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7 * np.abs(b).max())


def test_every_function_of_the_calculus_is_reached_by_the_examples():
    functions = gradsuite.check("batch_norm").functions | gradsuite.check("local_response_norm").functions
    wanted = {f.name for f in (Normalize, NormalizeAffineGrad, NormalizeInputGrad, NormalizeScale)}
    assert functions >= wanted | {"LocalResponseNorm", "LocalResponseNormInputGrad", "ChannelWindowSum"}


def test_only_the_wanted_gradients_are_computed():
    x, w, b = leaves((4, 3), (3,), (3,))
    y = mg.batch_norm(x.detach(), None, None, w, b, training=True)
    gy = random(4, 3, seed=5)
    y.backward(mg.tensor(gy))
    np.testing.assert_allclose(b.grad.numpy(), gy.sum(0))
    xhat = mg.batch_norm(x.detach(), training=True).numpy()
    np.testing.assert_allclose(w.grad.numpy(), (gy * xhat).sum(0))
    assert x.grad is None


def test_a_bias_without_weight_and_a_weight_without_bias():
    x, w, b = leaves((4, 3), (3,), (3,))
    one, zero = mg.ones(3, dtype="float64"), mg.zeros(3, dtype="float64")
    for weight, bias in ((None, b), (w, None), (None, None)):
        y = mg.layer_norm(x, 3, weight, bias)
        wanted = mg.layer_norm(x, 3, one if weight is None else weight, zero if bias is None else bias)
        np.testing.assert_array_equal(y.detach().numpy(), wanted.detach().numpy())
        y.sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), [4, 4, 4])


def test_dtypes_meet_and_integers_become_floats():
    x = mg.ones(4, 3)
    assert mg.layer_norm(x, 3, mg.ones(3, dtype="float64")).dtype == "float64"
    assert mg.layer_norm(mg.ones(4, 3, dtype="int64"), 3).dtype == "float32"
    assert mg.batch_norm(x, training=True).dtype == mg.group_norm(x, 3).dtype == "float32"
    assert mg.local_response_norm(mg.ones(1, 2, 3, dtype="int64"), 3).dtype == "float32"


@pytest.mark.host_only
@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.LayerNorm(3), nn.GroupNorm(1, 3)], ids=str)
def test_lists_and_arrays_are_tensors(layer):
    values = [[1.0, 2.0, 4.0], [3.0, 0.0, 1.0]]
    assert layer(values).tolist() == layer(np.array(values, "float32")).tolist() == layer(mg.tensor(values)).tolist()


# --- the formulae


def test_group_norm_lies_between_layer_norm_and_instance_norm():
    """Wu & He 2018, section 3.1: one group is layer norm, as many groups as channels instance norm."""
    x = mg.tensor(random(3, 4, 5, 2))
    np.testing.assert_allclose(mg.group_norm(x, 1).numpy(), mg.layer_norm(x, (4, 5, 2)).numpy(), atol=1e-14)
    instance = mg.batch_norm(x.reshape(1, 12, 5, 2), training=True).reshape(3, 4, 5, 2)
    np.testing.assert_allclose(mg.group_norm(x, 4).numpy(), instance.numpy(), atol=1e-14)


def test_batch_norm_ignores_scale_and_offset_of_each_channel():
    """Ioffe & Szegedy 2015, section 3.3: BN((a W) u) = BN(W u)."""
    x = mg.tensor(random(8, 3, 4, 4))
    scaled = x * mg.tensor([2.0, 30.0, 0.5], "float64").reshape(1, 3, 1, 1) + 7.0
    y, z = (mg.batch_norm(t, training=True, eps=0.0).numpy() for t in (x, scaled))
    np.testing.assert_allclose(y, z, atol=1e-12)


@pytest.mark.parametrize("channels", [3, 5, 12])
def test_local_response_normalisation_is_krizhevskys_formula(channels):
    """Krizhevsky et al. 2012, section 3.3, with its constants: b = a / (k + alpha sum a^2) ** beta."""
    k, n, alpha, beta = 2.0, 5, 1e-1, 0.75  # the paper's alpha, 1e-4, would hide mistakes
    a = random(2, channels, 3, 2)
    b = np.empty_like(a)
    for i in range(channels):
        window = slice(max(0, i - n // 2), min(channels - 1, i + n // 2) + 1)
        b[:, i] = a[:, i] / (k + alpha * (a[:, window] ** 2).sum(1)) ** beta
    np.testing.assert_allclose(mg.local_response_norm(mg.tensor(a), n, n * alpha, beta, k).numpy(), b, rtol=1e-14)
    np.testing.assert_allclose(nn.LocalResponseNorm(n, n * alpha, beta, k)(mg.tensor(a)).numpy(), b, rtol=1e-14)


# --- layers


LAYERS = {
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), [(0, 4), (0, 4, 3)]),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), [(0, 4, 3, 3), (0, 4, 0, 3)]),
    "LayerNorm": (lambda: nn.LayerNorm((4, 3)), [(0, 4, 3), (0, 2, 4, 3)]),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), [(0, 4), (0, 4, 3, 3)]),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(5), [(0, 4, 3), (0, 4, 3, 3)]),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_empty_batches_pass_forward_and_backward(name, training):
    make, shapes = LAYERS[name]
    for shape in shapes:
        layer = make().train(training)
        before = {n: t.tolist() for n, t in layer.state_dict().items() if n != "num_batches_tracked"}
        x = mg.zeros(*shape, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert y.shape == x.grad.shape == shape
        assert all(not p.grad.numpy().any() for p in layer.parameters())
        assert before == {n: t.tolist() for n, t in layer.state_dict().items() if n != "num_batches_tracked"}


@pytest.mark.host_only
def test_batch_norm_in_evaluation_needs_no_compiled_loop():
    code = (
        "import sys, minigrad as mg; from minigrad import nn; bn = nn.BatchNorm2d(3).eval();"
        "print([bn(mg.ones(n, 3, 2, 2)).shape for n in (0, 2)], 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[(0, 3, 2, 2), (2, 3, 2, 2)] False"


@pytest.mark.host_only
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_large_batch_norm_in_evaluation_in_one_pass(added, relu):
    rng = np.random.default_rng(0)
    x, z, g = (mg.tensor(rng.standard_normal((3, 5, 17, 19)), requires_grad=True) for _ in range(3))
    mean, var, w, b = (mg.tensor(rng.random(5) + 0.5, requires_grad=i > 1) for i in range(4))
    y = mg.batch_norm(x, mean, var, w, b, relu=relu, plus=z if added else None)
    column = (1, 5, 1, 1)
    other = (x - mean.reshape(column)) / (var.reshape(column) + 1e-5) ** 0.5 * w.reshape(column) + b.reshape(column)
    other = other + z if added else other
    other = mg.relu(other) if relu else other
    np.testing.assert_allclose(y.detach().numpy(), other.detach().numpy(), rtol=0, atol=1e-13)
    assert "ChannelAffine" in y._fn.name
    sources = [x, w, b, *([z] if added else [])]
    grads = [mg.grad(t, sources, g, create_graph=True) for t in (y, other)]
    seconds = [mg.grad(sum((t * t).sum() for t in found), [x, w, g]) for found in grads]
    for ours, theirs in zip(grads[0] + seconds[0], grads[1] + seconds[1], strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-11)


def test_no_momentum_and_float32_statistics_of_a_large_mean():
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = [random(50, 2, seed=s, dtype="float32") + np.float32(1e3) for s in range(3)]
    for x in batches:
        layer(mg.tensor(x))
    np.testing.assert_allclose(layer.running_mean.numpy(), np.mean(batches, (0, 1)), rtol=1e-6)
    variances = [x.astype(np.float64).var(0, ddof=1) for x in batches]
    np.testing.assert_allclose(layer.running_var.numpy(), np.mean(variances, 0), rtol=1e-6)


def test_a_batch_that_is_refused_moves_no_running_statistics():
    layer = nn.BatchNorm1d(2)
    with pytest.raises(ValueError, match="more than one value per channel, got 1"):
        layer(mg.ones(1, 2))
    assert layer.running_mean.tolist() == [0, 0] and layer.running_var.tolist() == [1, 1]


def test_running_statistics_stay_out_of_the_graph():
    layer = nn.BatchNorm2d(2)
    layer(mg.randn(4, 2, 3, 3, requires_grad=True))
    assert not layer.running_mean.requires_grad and layer.running_mean.dtype == "float32"


def test_state_without_the_number_of_batches_loads():
    state = nn.BatchNorm2d(2).state_dict()
    del state["num_batches_tracked"]
    state["running_mean"] = mg.ones(2)
    net = nn.BatchNorm2d(2)
    net.load_state_dict(state)
    assert net.running_mean.tolist() == [1, 1]
    del state["running_var"]
    with pytest.raises(RuntimeError, match="running_var"):
        net.load_state_dict(state)


def test_how_layers_print():
    assert [repr(make()) for make, _ in LAYERS.values()] == [
        "BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
        "BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
        "LayerNorm((4, 3), eps=1e-05, elementwise_affine=True, bias=True)",
        "GroupNorm(2, 4, eps=1e-05, affine=True)",
        "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)",
    ]


def test_functional_has_them_all():
    for name in ("batch_norm", "layer_norm", "group_norm", "local_response_norm"):
        assert getattr(F, name) is getattr(mg, name)


# --- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.BatchNorm1d(0), "BatchNorm1d: num_features must be an integer >= 1, got 0"),
        (lambda: nn.BatchNorm1d(3)(mg.ones(2, 3, 4, 4)), "BatchNorm1d: expected a 2-D tensor N x C or a 3-D.*got 4-D"),
        (lambda: nn.BatchNorm1d(3)(mg.ones(3)), r"BatchNorm1d: .* got 1-D of shape \(3,\)"),
        (lambda: nn.BatchNorm1d(3)(mg.ones(2, 4)), r"BatchNorm: .*\(3,\), got x with 4 channels"),
        (lambda: nn.BatchNorm1d(3)(mg.ones(1, 3, 1)), "more than one value per channel, got 1"),
        (lambda: nn.LayerNorm(()), r"LayerNorm: normalized_shape must have at least one dimension, got \(\)"),
        (lambda: nn.LayerNorm((3, -1)), "LayerNorm: normalized_shape must be an integer >= 1, got -1"),
        (lambda: nn.LayerNorm(3.5), "LayerNorm: normalized_shape must be an integer >= 1, got 3.5"),
        (lambda: mg.layer_norm(mg.ones(2, 3), 3.5), r"LayerNorm: normalized_shape is \(3.5,\), got x of shape"),
        (lambda: nn.LayerNorm(3)(mg.ones(2, 4)), r"LayerNorm: normalized_shape is \(3,\), got x of shape \(2, 4\)"),
        (lambda: nn.LayerNorm((2, 3))(mg.ones(3)), r"LayerNorm: normalized_shape is \(2, 3\), got x of shape \(3,\)"),
        (lambda: mg.layer_norm(mg.ones(2, 3), 3, mg.ones(2)), r"weight has shape \(2,\), normalized_shape is \(3,\)"),
        (lambda: mg.layer_norm(mg.ones(2, 3), (3,), bias=mg.ones(1, 3)), r"LayerNorm: bias has shape \(1, 3\)"),
        (lambda: nn.GroupNorm(4, 6), "GroupNorm: 6 channels cannot be split into 4 groups"),
        (lambda: nn.GroupNorm(0, 6), "GroupNorm: num_groups must be an integer >= 1, got 0"),
        (lambda: nn.GroupNorm(2, 4)(mg.ones(2, 6)), r"GroupNorm: expected N x 4 x ..., got x of shape \(2, 6\)"),
        (lambda: mg.group_norm(mg.ones(2, 6), 4), "GroupNorm: 6 channels cannot be split into 4 groups"),
        (lambda: mg.group_norm(mg.ones(4), 2), "GroupNorm: expected N x C x ..., got a 1-d tensor"),
        (lambda: mg.group_norm(mg.ones(1, 4), 4), r"more than one value per group, got 1 \(x: \(1, 4\)\)"),
        (lambda: mg.group_norm(mg.ones(2, 4), 2, mg.ones(3)), r"GroupNorm: weight has shape \(3,\), got x with 4"),
        (lambda: nn.LocalResponseNorm(0), "LocalResponseNorm: size must be an integer >= 1, got 0"),
        (lambda: mg.local_response_norm(mg.ones(1, 2, 3), 2.5), "size must be an integer >= 1, got 2.5"),
        (lambda: nn.LocalResponseNorm(5)(mg.ones(2, 3)), r"LocalResponseNorm: expected N x C x L .* shape \(2, 3\)"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
