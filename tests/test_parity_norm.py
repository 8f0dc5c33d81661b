"""Normalisation beside PyTorch's: random configurations in float64, gradients to second order, several steps."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

torch = pytest.importorskip("torch")
TOLERANCE = 1e-9  # relative to the largest element


def agree(ours, theirs, what, tolerance=TOLERANCE):
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(1.0, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=str(what))


def both(values):
    """The same numbers as a leaf of minigrad and one of PyTorch."""
    return mg.Tensor(values.copy(), requires_grad=True), torch.tensor(values, requires_grad=True)


def compare(ours, theirs, rng, shape, steps=2, layout=np.array):
    """Outputs, running statistics, all gradients and second-order gradients after some steps."""
    ours, theirs = ours.double(), theirs.double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.standard_normal(tuple(p.shape))))
    ours.load_state_dict({name: t.numpy().copy() for name, t in theirs.state_dict().items()})
    for _ in range(steps):
        (x, tx), (gy, tgy) = both(rng.normal(0.7, 1.5, shape)), both(rng.standard_normal(shape))
        x = mg.Tensor(layout(x.detach().numpy()), requires_grad=True)
        y, ty = ours(x), theirs(tx)
        agree(y, ty, theirs)
        inputs, their_inputs = [x, *ours.parameters()], [tx, *theirs.parameters()]
        first = mg.grad(y, inputs, gy, create_graph=True)
        their_first = torch.autograd.grad(ty, their_inputs, tgy, create_graph=True)
        weights = [rng.standard_normal(tuple(g.shape)) for g in their_first]
        for i, pair in enumerate(zip(first, their_first, strict=True)):
            agree(*pair, ("gradient", i, theirs))
        total = sum((g * g * mg.tensor(w)).sum() for g, w in zip(first, weights, strict=True))
        their_total = sum((g * g * torch.tensor(w)).sum() for g, w in zip(their_first, weights, strict=True))
        second = mg.grad(total, [*inputs, gy], allow_unused=True)
        their_second = torch.autograd.grad(their_total, [*their_inputs, tgy], allow_unused=True)
        for i, (a, b) in enumerate(zip(second, their_second, strict=True)):
            if a is not None and b is not None:
                agree(a, b, ("second-order gradient", i, theirs))
            else:  # PyTorch says None or zero where nothing depends on an input
                assert all(t is None or not t.detach().numpy().any() for t in (a, b))
    for name, b in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), b.numpy(), rtol=1e-12, atol=1e-12, err_msg=name)


def sizes(rng, count, low=1, high=6):
    return tuple(int(n) for n in rng.integers(low, high, count))


def columns_first(a):
    return np.asfortranarray(a)


LAYOUTS = (np.array, columns_first, lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1))


@pytest.mark.parametrize("seed", range(24))
def test_batch_norm(seed):
    rng = np.random.default_rng(seed)
    n, c = sizes(rng, 2)
    name, rest = [("BatchNorm1d", ()), ("BatchNorm1d", sizes(rng, 1)), ("BatchNorm2d", sizes(rng, 2))][seed % 3]
    options = {
        "eps": [1e-5, 1e-2][rng.integers(2)], "momentum": [0.1, 0.6, None][rng.integers(3)],
        "affine": bool(rng.integers(4)), "track_running_stats": bool(rng.integers(4)),
    }
    ours, theirs = getattr(nn, name)(c, **options), getattr(torch.nn, name)(c, **options)
    compare(ours, theirs, rng, (n + 1, c, *rest), 3, LAYOUTS[rng.integers(3)])
    compare(ours.eval(), theirs.eval(), rng, (n, c, *rest), 1)


@pytest.mark.parametrize("seed", range(16))
def test_layer_norm(seed):
    rng = np.random.default_rng(seed)
    shape = sizes(rng, 1 + seed % 4, 1, 6)[:-1] + (int(rng.integers(2, 7)),)
    normalized = shape[int(rng.integers(len(shape))) :]
    options = {"eps": 1e-3, "elementwise_affine": bool(rng.integers(4)), "bias": bool(rng.integers(3))}
    ours, theirs = nn.LayerNorm(normalized, **options), torch.nn.LayerNorm(normalized, **options)
    compare(ours, theirs, rng, shape, layout=LAYOUTS[rng.integers(2)])


@pytest.mark.parametrize("seed", range(16))
def test_group_norm(seed):
    rng = np.random.default_rng(seed)
    (groups, each), rest = sizes(rng, 2, 1, 4), sizes(rng, seed % 4)
    options = {"eps": 1e-3, "affine": bool(rng.integers(4))}
    ours, theirs = (m.GroupNorm(groups, groups * each, **options) for m in (nn, torch.nn))
    compare(ours, theirs, rng, (3, groups * each, *rest), layout=LAYOUTS[rng.integers(3 if rest else 2)])


@pytest.mark.parametrize("seed", range(20))
def test_local_response_norm(seed):
    """Sizes odd and even, also beyond the number of channels."""
    rng = np.random.default_rng(seed)
    shape = (*sizes(rng, 1), int(rng.integers(1, 9)), *sizes(rng, 1 + seed % 3, 1, 4))
    options = {"size": 1 + seed % 8, "alpha": float(rng.uniform(0, 2)), "beta": [0.75, 0.4][seed % 2], "k": 1.5}
    ours, theirs = nn.LocalResponseNorm(**options), torch.nn.LocalResponseNorm(**options)
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, rng, shape, layout=LAYOUTS[rng.integers(3)])


@pytest.mark.parametrize("large", [0.0, 1e3])
@pytest.mark.parametrize("name", ["batch", "layer", "group"])
def test_float32_is_at_least_as_exact_as_pytorch(name, large):
    """Both against PyTorch in float64, forward and input gradient."""
    x = (np.random.default_rng(0).normal(0, 1, (8, 6, 9, 9)) + large).astype(np.float32)
    gy = np.random.default_rng(1).normal(0, 1, x.shape).astype(np.float32)
    ours, theirs = {
        "batch": (nn.BatchNorm2d(6), torch.nn.BatchNorm2d(6)),
        "layer": (nn.LayerNorm((6, 9, 9)), torch.nn.LayerNorm((6, 9, 9))),
        "group": (nn.GroupNorm(2, 6), torch.nn.GroupNorm(2, 6)),
    }[name]
    t, z, exact = mg.Tensor(x, requires_grad=True), torch.tensor(x), torch.tensor(x.astype(np.float64))
    values = [ours(t)]
    values[0].backward(mg.tensor(gy))
    outputs = {"ours": (values[0].detach().numpy(), t.grad.numpy())}
    for which, leaf, layer in (("float32", z, theirs), ("exact", exact, theirs.double)):
        layer = layer() if which == "exact" else layer
        y = layer(leaf.requires_grad_())
        y.backward(torch.tensor(gy).to(y.dtype))
        outputs[which] = (y.detach().numpy(), leaf.grad.numpy())
    for mine, reference, exact in zip(*outputs.values(), strict=True):
        error, allowed = np.abs(mine - exact).max(), np.abs(reference - exact).max()
        assert error <= max(2 * allowed, 2e-6)


def test_unused_buffers_and_switched_off_tracking_behave_as_in_pytorch():
    x = np.random.default_rng(0).standard_normal((5, 3))
    ours, theirs = nn.BatchNorm1d(3).double(), torch.nn.BatchNorm1d(3).double()
    ours.track_running_stats = theirs.track_running_stats = False
    for training in (True, False):
        agree(ours.train(training)(mg.tensor(x)), theirs.train(training)(torch.tensor(x)), training)
        agree(ours.running_mean, theirs.running_mean, training)
