"""Optimisers against the formulas written out in plain Python, their parameter groups, state and errors."""
import copy
import itertools
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

pytestmark = pytest.mark.usefixtures("made_there")

GRADIENTS = [0.5, -1.5, 2.0, 0.25, -0.75, 1.0]


def sgd_by_hand(p, gradients, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """One number through SGD, step by step."""
    velocity, path = None, []
    for g in gradients:
        g = g + weight_decay * p
        if momentum:
            velocity = g if velocity is None else momentum * velocity + (1 - dampening) * g
            g = g + momentum * velocity if nesterov else velocity
        p = p - lr * g
        path.append(p)
    return path


def adam_by_hand(p, gradients, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """One number through Adam, step by step (Kingma & Ba 2015, algorithm 1)."""
    m = v = 0.0
    path = []
    for t, g in enumerate(gradients, 1):
        g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        p = p - lr * (m / (1 - betas[0] ** t)) / (math.sqrt(v / (1 - betas[1] ** t)) + eps)
        path.append(p)
    return path


def path_of(make, shape, gradients=GRADIENTS):
    """The value of a parameter that starts at 3, after each step."""
    p = nn.Parameter(mg.full(shape, 3.0, dtype="float64"))
    optimizer, path = make([p]), []
    for g in gradients:
        p.grad = mg.full(shape, g, dtype="float64")
        optimizer.step()
        assert len(set(p.detach().numpy().ravel().tolist())) == 1
        path.append(p.detach().numpy().ravel()[0])
    return path


SGD_OPTIONS = [
    {"momentum": m, "dampening": d, "weight_decay": w, "nesterov": n}
    for m, d, w, n in itertools.product([0.0, 0.9], [0.0, 0.3], [0.0, 0.1], [False, True])
    if not (n and (m == 0 or d != 0))
]


@pytest.mark.parametrize("shape", [(), (2, 3)])
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd_follows_its_formula(options, shape):
    path = path_of(lambda p: optim.SGD(p, lr=0.1, **options), shape)
    np.testing.assert_allclose(path, sgd_by_hand(3.0, GRADIENTS, 0.1, **options), rtol=1e-13)


@pytest.mark.parametrize("shape", [(), (2, 3)])
@pytest.mark.parametrize("options", [
    {}, {"betas": (0.5, 0.7)}, {"eps": 0.1}, {"weight_decay": 0.1}, {"betas": (0.0, 0.9), "weight_decay": 0.01},
], ids=str)
def test_adam_follows_its_formula(options, shape):
    path = path_of(lambda p: optim.Adam(p, lr=0.1, **options), shape)
    np.testing.assert_allclose(path, adam_by_hand(3.0, GRADIENTS, 0.1, **options), rtol=1e-13)


def test_default_learning_rates():
    p = nn.Parameter(mg.ones(1))
    assert optim.SGD([p]).param_groups[0]["lr"] == optim.Adam([p]).param_groups[0]["lr"] == 1e-3


def test_the_first_step_of_adam_has_the_length_of_the_learning_rate():
    for g in (1e-3, 1.0, -1e6):
        assert path_of(lambda p: optim.Adam(p, lr=0.1), (2,), [g])[0] == pytest.approx(3 - math.copysign(0.1, g), 1e-6)


@pytest.mark.parametrize("T_max", [1, 7])
def test_cosine_annealing_follows_its_formula_in_every_group(T_max):
    a, b = nn.Parameter(mg.ones(1)), nn.Parameter(mg.ones(1))
    optimizer = optim.SGD([{"params": a, "lr": 0.4}, {"params": b}], lr=0.1)
    schedule = optim.CosineAnnealingLR(optimizer, T_max, eta_min=0.02)
    assert schedule.get_last_lr() == [0.4, 0.1]
    for t in range(1, T_max + 1):
        schedule.step()
        share = (1 + math.cos(math.pi * t / T_max)) / 2
        assert schedule.get_last_lr() == pytest.approx([0.02 + 0.38 * share, 0.02 + 0.08 * share], rel=1e-13)
        assert schedule.last_epoch == t
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)


def test_cosine_annealing_refuses_a_length_below_1():
    with pytest.raises(ValueError, match="T_max must be at least 1, got 0"):
        optim.CosineAnnealingLR(optim.SGD([nn.Parameter(mg.ones(1))]), 0)


# --- groups


def test_groups_have_options_of_their_own_and_the_rest_from_the_defaults():
    a, b = nn.Parameter(mg.ones(2, dtype="float64")), nn.Parameter(mg.ones(2, dtype="float64"))
    optimizer = optim.SGD([{"params": [a], "lr": 1.0}, {"params": b, "weight_decay": 0.5}], lr=0.1)
    for p in (a, b):
        p.grad = mg.ones(2, dtype="float64")
    optimizer.step()
    assert a.tolist() == [0.0, 0.0]
    assert b.tolist() == pytest.approx([1 - 0.1 * 1.5] * 2)


def test_a_group_can_be_added_later():
    a, b = nn.Parameter(mg.ones(1)), nn.Parameter(mg.ones(1))
    optimizer = optim.SGD([a], lr=0.5)
    optimizer.add_param_group({"params": b, "lr": 0.25})
    a.grad = b.grad = mg.ones(1)
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.75)
    optimizer.zero_grad()
    assert a.grad is None
    assert b.grad is None


@pytest.mark.parametrize("make", [lambda p: p, lambda p: [p], lambda p: iter([p]), lambda p: {"params": p},
                                  lambda p: [{"params": iter([p])}]])
def test_parameters_may_come_alone_in_any_iterable_or_in_a_group(make):
    p = nn.Parameter(mg.ones(1))
    assert optim.SGD(make(p)).param_groups[0]["params"] == [p]


# --- stepping


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.1)])
def test_parameters_without_a_gradient_stay_as_they_are(make):
    used, unused = nn.Parameter(mg.ones(1)), nn.Parameter(mg.ones(1))
    optimizer = make([unused, used])
    used.grad = mg.ones(1)
    optimizer.step()
    assert unused.item() == 1
    assert used.item() < 1
    assert list(optimizer.state_dict()["state"]) == [1]


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_a_step_changes_data_in_place_and_keeps_dtype_and_gradient(make):
    p = nn.Parameter(mg.ones(3))
    array, p.grad = p._data, mg.ones(3)
    make([p], lr=0.1, weight_decay=0.1).step()
    assert p._data is array
    assert p.dtype == mg.float32
    assert p.grad.tolist() == [1, 1, 1]
    assert p.requires_grad
    assert p.is_leaf


def test_the_step_keeps_no_hold_on_the_gradient_it_was_given():
    p = nn.Parameter(mg.zeros(1))
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    p.grad = mg.ones(1)
    optimizer.step()
    p.grad.fill_(0.0)
    optimizer.step()
    assert p.item() == -1.5


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_backward_notices_that_the_optimiser_changed_a_parameter(make):
    layer = nn.Linear(2, 2)
    y = layer(mg.ones(1, 2, requires_grad=True)).sum()
    y.backward(retain_graph=True)
    make(layer.parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified in place"):
        y.backward()


# --- state

MAKERS = {
    "sgd": lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p, lr: optim.Adam(p, lr=lr, betas=(0.8, 0.95)),
}


def train(net, optimizer, steps):
    x, y = mg.tensor(np.linspace(-1, 1, 12).reshape(4, 3)), mg.tensor(np.linspace(0, 1, 8).reshape(4, 2))
    for _ in range(steps):
        optimizer.zero_grad()
        ((net(x) - y) ** 2).mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", MAKERS)
def test_a_loaded_optimiser_continues_bit_for_bit(name):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = MAKERS[name](net.parameters(), 0.1)
    train(net, optimizer, 5)
    twin = copy.deepcopy(net)
    resumed = MAKERS[name](twin.parameters(), 0.7)
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.param_groups[0]["lr"] == 0.1
    train(net, optimizer, 5)
    train(twin, resumed, 5)
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


def test_loading_takes_copies_in_the_dtype_of_the_parameter():
    net = nn.Linear(3, 2).double()
    optimizer = MAKERS["adam"](net.parameters(), 0.1)
    train(net, optimizer, 1)
    small = nn.Linear(3, 2)
    resumed = MAKERS["adam"](small.parameters(), 0.1)
    resumed.load_state_dict(optimizer.state_dict())
    before = resumed.state[small.weight]["mean"].copy()
    train(net, optimizer, 1)
    np.testing.assert_array_equal(resumed.state[small.weight]["mean"], before)
    assert before.dtype == np.float32
    assert resumed.state[small.weight]["step"] == 1


def test_state_dict_numbers_parameters_through_all_groups():
    a, b, c = (nn.Parameter(mg.ones(1)) for _ in range(3))
    optimizer = optim.SGD([{"params": [a, b]}, {"params": [c], "lr": 0.5}], lr=0.1, momentum=0.9)
    c.grad = mg.ones(1)
    optimizer.step()
    saved = optimizer.state_dict()
    assert [g["params"] for g in saved["param_groups"]] == [[0, 1], [2]]
    assert [g["lr"] for g in saved["param_groups"]] == [0.1, 0.5]
    assert list(saved["state"]) == [2]


def test_state_that_does_not_fit_is_refused_and_changes_nothing():
    def saved(make, *shapes):
        parameters = [nn.Parameter(mg.ones(*shape)) for shape in shapes]
        optimizer = make(parameters, lr=0.5)
        for p in parameters:
            p.grad = mg.ones_like(p)
        optimizer.step()
        return optimizer.state_dict()

    p = nn.Parameter(mg.ones(2))
    optimizer = optim.Adam([p], lr=0.1)
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters were saved, here they have \[1\]"):
        optimizer.load_state_dict(saved(optim.Adam, (2,), (3,)))
    with pytest.raises(ValueError, match=r"saved options are .*momentum.*, here they are .*betas"):
        optimizer.load_state_dict(saved(optim.SGD, (2,)))
    with pytest.raises(ValueError, match=r"mean of shape \(3,\) was saved for parameter 0, which has shape \(2,\)"):
        optimizer.load_state_dict(saved(optim.Adam, (3,)))
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state


# --- errors


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: optim.SGD(p, lr=-0.1), "SGD: lr must be at least 0, got -0.1"),
    (lambda p: optim.SGD(p, lr=math.nan), "SGD: lr must be at least 0, got nan"),
    (lambda p: optim.SGD(p, weight_decay=-1), "SGD: weight_decay must be at least 0, got -1"),
    (lambda p: optim.SGD(p, momentum=-0.5), "SGD: momentum must be at least 0, got -0.5"),
    (lambda p: optim.SGD(p, nesterov=True), "nesterov needs momentum above 0 and dampening 0, got 0.0 and 0.0"),
    (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), "dampening 0, got 0.9 and 0.1"),
    (lambda p: optim.Adam(p, betas=(0.9, 1.0)), r"Adam: betas must be two numbers .*, got \(0.9, 1.0\)"),
    (lambda p: optim.Adam(p, betas=(0.9,)), r"Adam: betas must be two numbers .*, got \(0.9,\)"),
    (lambda p: optim.Adam(p, eps=-1e-8), "Adam: eps must be at least 0, got -1e-08"),
    (lambda p: optim.SGD([{"params": p, "speed": 3}]), "SGD: unknown option 'speed'"),
    (lambda p: optim.SGD([{"lr": 3}]), "SGD: no 'params'"),
    (lambda p: optim.SGD([{"params": p, "lr": -2}]), "SGD: lr must be at least 0, got -2"),
    (lambda p: optim.SGD([*p, *p]), r"SGD: a parameter of shape \(1,\) is listed twice"),
    (lambda p: optim.SGD([{"params": p}, {"params": p}]), r"SGD: a parameter of shape \(1,\) is listed twice"),
    (lambda p: optim.SGD([]), "SGD: no parameters to train"),
    (lambda p: optim.Adam([{"params": []}]), "Adam: no parameters to train"),
])
def test_an_option_that_makes_no_sense_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make([nn.Parameter(mg.ones(1))])


@pytest.mark.parametrize(("params", "message"), [
    ([3], "expected leaf tensors, got 3"),
    ([mg.ones(1, requires_grad=True) * 2], "got the result of an operation"),
    ([{"params": mg.ones(1)}, mg.ones(1)], "expected a dict for a parameter group, got tensor"),
])
def test_only_leaf_tensors_can_be_trained(params, message):
    with pytest.raises(TypeError, match=message):
        optim.SGD(params)


def test_the_base_class_cannot_step():
    p = nn.Parameter(mg.ones(1))
    p.grad = mg.ones(1)
    with pytest.raises(NotImplementedError):
        optim.Optimizer([p], {"lr": 1.0, "weight_decay": 0.0}).step()
