"""Activations and losses against PyTorch, over seeded random configurations and at extreme values; float64."""
import itertools
import math

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn

torch = pytest.importorskip("torch")
tnn, TF = torch.nn, torch.nn.functional
REDUCTIONS = ["mean", "sum", "none"]
EXTREME = [-1000.0, -745.0, -100.0, -40.0, -20.5, -6.0, -1.0, -1e-9, -0.0, 0.0, 1e-9, 1.0, 6.0, 19.5, 20.5, 100.0, 1e3]


def leaves(*arrays):
    """The same values as leaves of both."""
    ours = [mg.tensor(a, requires_grad=True) for a in arrays]
    return ours, [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]


def agree(a, b, what=""):
    a, b = a.detach().numpy(), b.detach().numpy(force=True)
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12, err_msg=str(what))


def compare(ours, theirs, arrays, rng, second=True):
    """Values, gradients, and the gradients of a random function of the gradients, with respect to everything."""
    xs, zs = leaves(*arrays)
    y, u = ours(*xs), theirs(*zs)
    agree(y, u, "value")
    (gy,), (gu,) = leaves(np.asarray(rng.standard_normal(y.shape)))
    gx = mg.grad(y, xs, gy, create_graph=second)
    gz = torch.autograd.grad(u, zs, gu, create_graph=second)
    for g, h in zip(gx, gz, strict=True):
        agree(g, h, "gradient")
    if not second:
        return
    factors = [rng.standard_normal(x.shape) for x in xs]
    s = sum((g * mg.tensor(f)).sum() for g, f in zip(gx, factors, strict=True))
    t = sum((g * torch.tensor(f)).sum() for g, f in zip(gz, factors, strict=True))
    for g, h in zip(
        mg.grad(s, [*xs, gy], allow_unused=True), torch.autograd.grad(t, [*zs, gu], allow_unused=True), strict=True
    ):
        h = torch.zeros(g.shape) if h is None and g is not None else h
        if h is not None:
            agree(mg.zeros(*h.shape) if g is None else g, h, "second order")


# --- activations

LAYERS = {
    "ReLU": lambda rng: {}, "ReLU6": lambda rng: {}, "SiLU": lambda rng: {},
    "LeakyReLU": lambda rng: {"negative_slope": rng.uniform(0.0, 1.5)},
    "ELU": lambda rng: {"alpha": rng.uniform(0.1, 2.0)},
    "Hardtanh": lambda rng: {"min_val": rng.uniform(-3.0, -0.1), "max_val": rng.uniform(0.1, 3.0)},
    "Softplus": lambda rng: {"beta": rng.uniform(0.3, 3.0), "threshold": rng.uniform(0.5, 20.0)},
    "Softmax": lambda rng: {"dim": int(rng.integers(-3, 3))},
    "LogSoftmax": lambda rng: {"dim": int(rng.integers(-3, 3))},
    "PReLU": lambda rng: {"num_parameters": int(rng.choice([1, 3])), "init": rng.uniform(-0.5, 0.5)},
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, seed):
    rng = np.random.default_rng([seed, len(name)])
    options = LAYERS[name](rng)
    ours, theirs = getattr(nn, name)(**options).double(), getattr(tnn, name)(**options).double()
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = rng.standard_normal((2, 3, 4)) * 3
    if name != "PReLU":
        compare(ours, theirs, [x], rng)
        return
    assert ours.weight.tolist() == pytest.approx(theirs.weight.tolist(), rel=1e-7)
    compare(F.prelu, TF.prelu, [x, rng.standard_normal(options["num_parameters"])], rng)


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "ELU", "SiLU", "Dropout"])
def test_pytorchs_arguments_construct(name):
    for arguments in ({}, {"inplace": True}):
        ours, theirs = repr(getattr(nn, name)(**arguments)), repr(getattr(tnn, name)(**arguments))
        assert ours == theirs.replace(", inplace=False", "")


FUNCTIONS = {
    "relu": {}, "relu6": {}, "silu": {}, "leaky_relu": {"negative_slope": 0.2}, "elu": {"alpha": 0.7},
    "hardtanh": {"min_val": -6.0, "max_val": 1.0}, "softplus": {"beta": 2.0, "threshold": 12.0},
    "softmax": {"dim": 0}, "log_softmax": {"dim": 0}, "tanh": {}, "sigmoid": {},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_extreme_values_and_kinks(name):
    """Values and gradients; at NaN and infinity as well, but for functions that are NaN there in PyTorch too."""
    ours, theirs, options = getattr(F, name), getattr(TF, name), FUNCTIONS[name]
    special = [] if "softmax" in name else [math.nan, math.inf, -math.inf]
    compare(
        lambda x: ours(x, **options), lambda z: theirs(z, **options), [np.array([*EXTREME, *special])],
        np.random.default_rng(0), second=False,
    )


@pytest.mark.parametrize("weight", [0.25, -1.0, 0.0])
def test_prelu_at_extreme_values(weight):
    """To first order: at 0 PyTorch's second derivatives are those of the other side, ours of the side of the first."""
    x = np.array([EXTREME, EXTREME[::-1]]).T
    compare(F.prelu, TF.prelu, [x, np.array([weight, 0.5])], np.random.default_rng(0), second=False)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_and_nan_of_maximum_and_minimum(name):
    a = np.array([1.0, 2.0, math.nan, 1.0, math.nan, math.inf, -math.inf])
    b = np.array([1.0, 1.0, 1.0, math.nan, math.nan, math.inf, 1.0])
    for pair in ((a, b), (b, a)):
        compare(getattr(mg, name), getattr(torch, name), pair, np.random.default_rng(0))


# --- losses


@pytest.mark.parametrize("seed", range(24))
def test_nll_loss_and_cross_entropy(seed):
    rng = np.random.default_rng(seed)
    batch, classes, *rest = (int(n) for n in rng.integers(2, 6, 2 + seed % 3))
    target = rng.integers(0, classes, (batch, *rest))
    target[0] = 0
    weight = rng.uniform(0.0, 2.0, classes) if seed % 2 else None
    options = {"reduction": REDUCTIONS[seed % 3], "ignore_index": [-100, 1, classes + 3][seed % 4 % 3]}
    if options["ignore_index"] >= classes:
        target[1] = options["ignore_index"]
    x = rng.standard_normal((batch, classes, *rest)) * 4
    ours = nn.NLLLoss(weight, **options)
    theirs = tnn.NLLLoss(None if weight is None else torch.tensor(weight), **options)
    compare(lambda x: ours(x**2, mg.tensor(target)), lambda z: theirs(z**2, torch.tensor(target)), [x], rng)
    options["label_smoothing"] = [0.0, 0.3, 1.0][seed % 3]
    ours = nn.CrossEntropyLoss(weight, **options)
    theirs = tnn.CrossEntropyLoss(None if weight is None else torch.tensor(weight), **options)
    compare(lambda x: ours(x, mg.tensor(target)), lambda z: theirs(z, torch.tensor(target)), [x], rng)


PROBABILITIES = list(itertools.product(REDUCTIONS, [False, True], [0, 0.3]))


@pytest.mark.parametrize(("reduction", "weighted", "smoothing"), PROBABILITIES)
def test_cross_entropy_with_probabilities(reduction, weighted, smoothing):
    rng = np.random.default_rng(7)
    weight = rng.uniform(0.5, 2.0, 4) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    target = np.moveaxis(rng.dirichlet(np.ones(4), (3, 2)), -1, 1).copy()
    compare(
        nn.CrossEntropyLoss(weight, **options),
        tnn.CrossEntropyLoss(None if weight is None else torch.tensor(weight), **options),
        [rng.standard_normal((3, 4, 2)) * 4, target], rng, second=False,
    )


WEIGHTS = [None, (), (4,), (3, 1), (1, 4), (3, 4), (1,)]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", WEIGHTS)
def test_binary_cross_entropies(shape, reduction):
    rng = np.random.default_rng(len(str(shape)))
    weight, pos_weight = (None if shape is None else np.asarray(rng.uniform(0.1, 3.0, shape)) for _ in range(2))
    tensors = [None if w is None else torch.tensor(w) for w in (weight, pos_weight)]
    x, target = rng.standard_normal((3, 4)) * 5, rng.uniform(0.0, 1.0, (3, 4))
    compare(
        nn.BCEWithLogitsLoss(weight, reduction=reduction, pos_weight=pos_weight),
        tnn.BCEWithLogitsLoss(tensors[0], reduction=reduction, pos_weight=tensors[1]), [x, target], rng,
    )
    ours, theirs = nn.BCELoss(weight, reduction=reduction), tnn.BCELoss(tensors[0], reduction=reduction)
    compare(ours, theirs, [rng.uniform(0.05, 0.95, (3, 4)), target], rng, second=False)
    goal, tgoal = mg.tensor(target), torch.tensor(target)
    compare(lambda x: ours(x.sigmoid(), goal), lambda z: theirs(z.sigmoid(), tgoal), [x / 10], rng)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_binary_cross_entropies_at_extreme_values(target):
    rng, x = np.random.default_rng(0), np.array(EXTREME)
    goal, tgoal = mg.full(x.shape, target, dtype=mg.float64), torch.full(x.shape, target, dtype=torch.float64)
    compare(
        lambda x: F.binary_cross_entropy_with_logits(x, goal, reduction="none"),
        lambda z: TF.binary_cross_entropy_with_logits(z, tgoal, reduction="none"), [x], rng,
    )
    (x,), (z,) = leaves(np.array([0.0, 1.0, 1e-300, 1e-13, 1.0 - 1e-13, 1e-11, 0.5]))
    y = F.binary_cross_entropy(x, goal[:7], reduction="none")
    u = TF.binary_cross_entropy(z, tgoal[:7], reduction="none")
    agree(y, u)
    y.sum().backward()
    u.sum().backward()
    rounding = np.float32(1e-12) / np.float64(1e-12)  # PyTorch's smallest divisor is a float32
    agree(x.grad, z.grad * torch.tensor([rounding] * 5 + [1.0] * 2))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 2)])
def test_distances(name, shape, reduction):
    rng = np.random.default_rng(len(shape))
    x, target = np.asarray(rng.standard_normal(shape)), np.asarray(rng.standard_normal(shape))
    if shape:
        target.flat[0] = x.flat[0]
    ours, theirs = getattr(nn, name)(reduction=reduction), getattr(tnn, name)(reduction=reduction)
    compare(ours, theirs, [x, target], rng)
