"""A gradient that nobody else will read may be overwritten; one that somebody holds never changes."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.autograd import Function
from minigrad.nn import functional as F
from minigrad.ops.activation import Gate

SMALL, LARGE = (2, 3, 5, 5), (4, 32, 24, 24)  # recycled memory begins between the two


def signs(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def freed(monkeypatch):
    """Whether each gate that ran was allowed to overwrite."""
    seen, forward = [], Gate.forward
    monkeypatch.setattr(Gate, "forward", lambda self, *arrays: (seen.append(self.free), forward(self, *arrays))[1])
    return seen


def leaf(shape, seed=0):
    return mg.tensor(signs(shape, seed), requires_grad=True)


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_a_chain_overwrites(shape, freed):
    x = leaf(shape)
    ((x * 2).relu() * mg.tensor(signs(shape, 1))).sum().backward()
    assert freed == [True]
    np.testing.assert_allclose(x.grad.numpy(), 2 * (x.detach().numpy() > 0) * signs(shape, 1))


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_what_the_caller_gives_stays(shape, freed):
    x, given = leaf(shape), mg.tensor(signs(shape, 1))
    x.relu().backward(given)
    assert freed == [False]
    np.testing.assert_array_equal(given.numpy(), signs(shape, 1))


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_a_gradient_of_two_branches_stays_for_the_other(shape):
    a, b, factor = leaf(shape), leaf(shape, 1), mg.tensor(signs(shape, 2))
    ((a.relu() + b.relu()) * factor).sum().backward()
    for t in (a, b):
        np.testing.assert_array_equal(t.grad.numpy(), factor.numpy() * (t.detach().numpy() > 0))


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_views_of_one_gradient_stay(shape):
    a, b, factor = leaf(shape), leaf(shape, 1), mg.tensor(signs(shape, 2))
    flat = a.relu().reshape(-1) + b.relu().reshape(-1)
    (flat * factor.reshape(-1)).sum().backward()
    for t in (a, b):
        np.testing.assert_array_equal(t.grad.numpy(), factor.numpy() * (t.detach().numpy() > 0))


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_gradients_of_intermediate_results_stay(shape):
    x, factor = leaf(shape), mg.tensor(signs(shape, 1))
    h = x * 2
    y = h.relu()
    gy, gh = mg.grad((y * factor).sum(), (y, h))
    np.testing.assert_array_equal(gy.numpy(), factor.numpy())
    np.testing.assert_array_equal(gh.numpy(), factor.numpy() * (x.detach().numpy() > 0))


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_what_a_hook_keeps_stays(shape, freed):
    x, factor, kept = leaf(shape), mg.tensor(signs(shape, 1)), []
    y = (x * 2).relu()
    y.register_hook(kept.append)
    (y * factor).sum().backward()
    assert freed == [False]
    np.testing.assert_array_equal(kept[0].numpy(), factor.numpy())


@pytest.mark.parametrize("keep", [lambda gy: gy, lambda gy: gy.detach(), lambda gy: gy.numpy(),
                                  lambda gy: gy.numpy()[1:]], ids=["itself", "detached", "array", "view"])
@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_what_a_function_keeps_stays(shape, keep, freed):
    class Same(Function):
        def forward(self, x):
            return x + 0

        def backward(self, gy):
            self.seen = keep(gy)
            return gy

    x, factor, same = leaf(shape), mg.tensor(signs(shape, 1)), Same()
    (same((x * 2).relu()) * factor).sum().backward()
    assert freed == [False]
    np.testing.assert_array_equal(np.asarray(same.seen), keep(factor.detach()).__array__())
    Function.registry.pop("Same")


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_a_graph_can_be_walked_twice(shape):
    x, factor = leaf(shape), mg.tensor(signs(shape, 1))
    loss = ((x * 2).relu() * factor).sum()
    loss.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * once)


def test_nothing_is_overwritten_while_the_walk_is_recorded(freed):
    x = leaf(LARGE)
    (g,) = mg.grad(((x * x).relu() ** 2).sum(), (x,), create_graph=True)
    g.sum().backward()
    assert freed[0] is False
    np.testing.assert_allclose(x.grad.numpy(), 12 * x.detach().numpy() ** 2, rtol=1e-5)


def test_a_network_has_the_gradients_it_had_without(monkeypatch, freed):
    def gradients():
        mg.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 48, 1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(48, 16, 3), nn.ReLU(), nn.Flatten(), nn.ReLU(), nn.Linear(16 * 36, 10),
        )
        x = mg.tensor(signs((8, 3, 16, 16)), requires_grad=True)
        F.cross_entropy(net(x), mg.tensor(np.arange(8))).backward()
        return [x.grad.numpy(), *(p.grad.numpy() for p in net.parameters())]

    ours = gradients()
    assert freed.count(True) >= 3
    monkeypatch.setattr(Function, "owns_gradient", property(lambda self: False, lambda self, value: None))
    freed.clear()
    plain = gradients()
    assert freed and True not in freed
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7 + 1e-6 * abs(b).max())


@pytest.fixture
def joined(monkeypatch):
    """How often a gradient was added to another one in its place."""
    from minigrad import autograd

    seen, join = [], autograd.join
    monkeypatch.setattr(autograd, "join", lambda y, plus: (seen.append(y.shape), join(y, plus))[1])
    return seen


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_gradients_of_many_uses_are_summed_in_one_place(shape, joined):
    x, factors = leaf(shape), [mg.tensor(signs(shape, i)) for i in range(1, 6)]
    h = x * 2
    sum((h * f).sum() for f in factors).backward()
    assert joined == [shape] * 4
    np.testing.assert_allclose(x.grad.numpy(), 2 * sum(f.numpy() for f in factors), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_a_sum_never_goes_into_what_somebody_holds(shape, joined):
    x, factors, kept = leaf(shape), [mg.tensor(signs(shape, i)) for i in range(1, 4)], []
    h = x * 2
    parts = [h * f for f in factors]
    for part in parts:
        part.register_hook(kept.append)
    given = [mg.tensor(signs(shape, i)) for i in range(4, 7)]
    branches = [h + 0.0, h.reshape(-1), h]  # their gradients are those that come in, or views of them
    gradients = [given[0], given[1].reshape(-1), given[2], *given]
    (gx,) = mg.grad([*branches, *parts], x, gradients)
    wanted = sum(g.numpy() for g in given) + sum(g.numpy() * f.numpy() for g, f in zip(given, factors, strict=True))
    np.testing.assert_allclose(gx.numpy(), 2 * wanted, rtol=1e-4, atol=1e-5)
    for i, g in enumerate(given):
        np.testing.assert_array_equal(g.numpy(), signs(shape, i + 4))
        np.testing.assert_array_equal(kept[2 - i].numpy(), signs(shape, i + 4))


def test_a_sum_whose_graph_is_recorded_is_a_new_array(joined):
    x = leaf(SMALL)
    (g,) = mg.grad((x * x * x).sum(), x, create_graph=True)
    assert not joined
    np.testing.assert_allclose(mg.grad(g.sum(), x)[0].numpy(), 6 * x.detach().numpy(), rtol=1e-5)
