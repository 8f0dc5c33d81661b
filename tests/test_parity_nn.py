"""Layers, losses and optimisers against PyTorch, over seeded random configurations; skipped without it."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import models, nn, optim

torch = pytest.importorskip("torch")
TOLERANCE = 1e-10  # relative to the largest element; everything here is float64


def assert_close(ours, theirs, what):
    ours, theirs = (t.detach().numpy() for t in (ours, theirs))
    assert ours.shape == theirs.shape, what
    scale = max(1.0, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale, err_msg=str(what))


def state_of(module):
    """PyTorch's state dict with arrays in place of tensors."""
    return {name: t.detach().numpy() for name, t in module.state_dict().items()}


def both(rng, *shape):
    """The same random numbers as a leaf of minigrad and one of PyTorch."""
    values = rng.standard_normal(shape)
    return mg.Tensor(values.copy(), requires_grad=True), torch.tensor(values, requires_grad=True)


def compare(ours, theirs, rng, shape, passes=1):
    """Forward, input gradient, parameter gradients and buffers of two layers after some passes in a row."""
    ours, theirs = ours.double(), theirs.double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.standard_normal(p.shape)))
    ours.load_state_dict(state_of(theirs))
    for _ in range(passes):
        x, tx = both(rng, *shape)
        y, ty = ours(x), theirs(tx)
        assert_close(y, ty, theirs)
        gy, tgy = both(rng, *y.shape)
        y.backward(gy.detach())
        ty.backward(tgy.detach())
        assert_close(x.grad, tx.grad, ("input gradient", theirs))
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(p.grad, q.grad, (name, theirs))
    for name, b in state_of(theirs).items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), b, rtol=1e-12, atol=1e-12, err_msg=name)


def integers(rng, low, high, count):
    return [int(n) for n in rng.integers(low, high, count)]


def convolution(rng):
    """Random options of Conv2d and an input shape that they fit."""
    kernel, stride, dilation = (tuple(integers(rng, 1, high, 2)) for high in (5, 4, 3))
    groups, cg, ocg, batch = integers(rng, 1, 4, 4)
    padding = [0, 2, "same", "valid", tuple(integers(rng, 0, 4, 2))][rng.integers(5)]
    if padding == "same":
        stride = 1
    size = [d * (k - 1) + 1 + int(n) for k, d, n in zip(kernel, dilation, rng.integers(0, 6, 2), strict=True)]
    options = {
        "in_channels": groups * cg, "out_channels": groups * ocg, "kernel_size": kernel, "stride": stride,
        "padding": padding, "dilation": dilation, "groups": groups, "bias": bool(rng.integers(2)),
    }
    return options, (batch, groups * cg, *size)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("seed", range(50))
def test_conv2d(seed):
    rng = np.random.default_rng(seed)
    options, shape = convolution(rng)
    algorithm = ["auto", "direct", "im2col"][seed % 3]
    ours, theirs = nn.Conv2d(**options, algorithm=algorithm), torch.nn.Conv2d(**options)
    assert repr(ours) == repr(theirs) or algorithm != "auto"
    compare(ours, theirs, rng, shape)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("seed", range(25))
def test_flipped_conv2d_is_pytorchs_with_the_kernel_turned_round(seed):
    rng = np.random.default_rng(seed)
    options, shape = convolution(rng)
    theirs = torch.nn.Conv2d(**options).double()
    ours = nn.Conv2d(**options, flip=True).double()
    state = state_of(theirs)
    ours.load_state_dict({**state, "weight": state["weight"][:, :, ::-1, ::-1]})
    x, tx = both(rng, *shape)
    y, ty = ours(x), theirs(tx)
    assert_close(y, ty, options)
    gy, tgy = both(rng, *y.shape)
    y.backward(gy.detach())
    ty.backward(tgy.detach())
    assert_close(x.grad, tx.grad, options)
    assert_close(ours.weight.grad, theirs.weight.grad.flip(2, 3), options)
    if options["bias"]:
        assert_close(ours.bias.grad, theirs.bias.grad, options)


@pytest.mark.parametrize("seed", range(20))
def test_linear(seed):
    rng = np.random.default_rng(seed)
    inputs, outputs, *lead = integers(rng, 1, 7, 2 + seed % 4)
    bias = bool(rng.integers(2))
    ours, theirs = nn.Linear(inputs, outputs, bias), torch.nn.Linear(inputs, outputs, bias)
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, rng, (*lead, inputs))


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracking", [True, False])
@pytest.mark.parametrize("mode", ["train", "eval", "train, then eval"])
def test_batch_norm2d(momentum, affine, tracking, mode):
    rng = np.random.default_rng(0)
    options = {"eps": 1e-3, "momentum": momentum, "affine": affine, "track_running_stats": tracking}
    ours, theirs = nn.BatchNorm2d(3, **options), torch.nn.BatchNorm2d(3, **options)
    if tracking and mode != "train":
        theirs.running_mean.copy_(torch.tensor(rng.standard_normal(3)))
        theirs.running_var.copy_(torch.tensor(rng.uniform(0.5, 2.0, 3)))
    if mode == "train, then eval":
        compare(ours, theirs, rng, (4, 3, 2, 5), passes=3)
        for p in (*ours.parameters(), *theirs.parameters()):
            p.grad = None
    if mode != "train":
        ours.eval()
        theirs.eval()
    compare(ours, theirs, rng, (4, 3, 2, 5), passes=3)


@pytest.mark.parametrize("kind", ["MaxPool2d", "AvgPool2d"])
@pytest.mark.parametrize("seed", range(20))
def test_pooling(kind, seed):
    rng = np.random.default_rng(seed)
    kernel = tuple(integers(rng, 1, 5, 2)) if seed % 2 else int(rng.integers(1, 5))
    pair = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    options = {
        "kernel_size": kernel, "stride": [None, 1, tuple(integers(rng, 1, 4, 2))][seed % 3],
        "padding": int(rng.integers(0, min(pair) // 2 + 1)), "ceil_mode": bool(rng.integers(2)),
    }
    if kind == "AvgPool2d":
        options["count_include_pad"] = bool(rng.integers(2))
    else:
        options["dilation"] = int(rng.integers(1, 3))
    shape = (*integers(rng, 1, 4, 2), *(2 * k + int(n) for k, n in zip(pair, rng.integers(0, 6, 2), strict=True)))
    ours, theirs = getattr(nn, kind)(**options), getattr(torch.nn, kind)(**options)
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, rng, shape)


@pytest.mark.parametrize("size", [1, 3, (2, 5), (None, 2), (4, None)])
def test_adaptive_average_pooling(size):
    ours, theirs = nn.AdaptiveAvgPool2d(size), torch.nn.AdaptiveAvgPool2d(size)
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, np.random.default_rng(0), (2, 3, 7, 10))


@pytest.mark.parametrize(("ours", "theirs"), [
    (nn.ReLU(), torch.nn.ReLU()), (nn.Tanh(), torch.nn.Tanh()), (nn.Sigmoid(), torch.nn.Sigmoid()),
    (nn.Flatten(), torch.nn.Flatten()), (nn.Flatten(0, -2), torch.nn.Flatten(0, -2)),
    (nn.Dropout(0.3).eval(), torch.nn.Dropout(0.3).eval()), (nn.Dropout2d(0.3).eval(), torch.nn.Dropout2d(0.3).eval()),
    (nn.Dropout(1.0), torch.nn.Dropout(1.0)), (nn.GlobalAvgPool2d(), torch.nn.AdaptiveAvgPool2d(1)),
], ids=repr)
def test_layers_without_weights(ours, theirs):
    compare(ours, theirs, np.random.default_rng(0), (2, 3, 4, 5))


@pytest.mark.parametrize("seed", range(40))
def test_cross_entropy_loss(seed):
    rng = np.random.default_rng(seed)
    batch, classes, *rest = integers(rng, 2, 6, 2 + seed % 3)
    options = {"reduction": ["mean", "sum", "none"][seed % 3], "label_smoothing": [0.0, 0.2][seed % 2]}
    weight = rng.uniform(0.5, 2.0, classes) if seed % 5 < 2 else None
    if seed % 4 == 3:
        target = np.moveaxis(rng.dirichlet(np.ones(classes), (batch, *rest)), -1, 1).copy()
    else:
        options["ignore_index"] = 1 if seed % 4 == 1 else -100
        target = rng.integers(0, classes, (batch, *rest))
        target[0] = 0  # one that counts, or the mean is 0 / 0
    ours = nn.CrossEntropyLoss(weight, **options)
    theirs = torch.nn.CrossEntropyLoss(None if weight is None else torch.tensor(weight), **options)
    x, tx = both(rng, batch, classes, *rest)
    loss, tloss = ours(x, mg.tensor(target)), theirs(tx, torch.tensor(target))
    assert_close(loss, tloss, options)
    gy, tgy = both(rng, *loss.shape)
    loss.backward(gy.detach())
    tloss.backward(tgy.detach())
    assert_close(x.grad, tx.grad, options)


# --- training


def step(model, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def twins(ours, theirs):
    """Both networks in float64 with the same weights."""
    ours, theirs = ours.double(), theirs.double()
    ours.load_state_dict(state_of(theirs))
    return ours, theirs


OPTIMIZERS = [
    ("SGD", {}), ("SGD", {"momentum": 0.9}), ("SGD", {"momentum": 0.9, "dampening": 0.4, "weight_decay": 0.05}),
    ("SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}), ("SGD", {"weight_decay": 0.3}),
    ("Adam", {}), ("Adam", {"betas": (0.5, 0.7), "eps": 1e-3}), ("Adam", {"weight_decay": 0.2}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_optimisers_walk_the_same_path_for_20_steps(name, options):
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    net, tnet = twins(
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
        torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)),
    )
    optimizer = getattr(optim, name)([{"params": net[0].parameters(), "lr": 0.05}, {"params": net[2].parameters()}],
                                     lr=0.02, **options)
    toptimizer = getattr(torch.optim, name)(
        [{"params": tnet[0].parameters(), "lr": 0.05}, {"params": tnet[2].parameters()}], lr=0.02, **options
    )
    schedule = optim.CosineAnnealingLR(optimizer, 13, eta_min=0.001)
    tschedule = torch.optim.lr_scheduler.CosineAnnealingLR(toptimizer, 13, eta_min=0.001)
    start = net[0].weight.detach().numpy().copy()
    for i in range(20):
        x, tx = both(rng, 6, 4)
        labels = rng.integers(0, 3, 6)
        step(net, optimizer, nn.CrossEntropyLoss()(net(x), mg.tensor(labels)))
        step(tnet, toptimizer, torch.nn.CrossEntropyLoss()(tnet(tx), torch.tensor(labels)))
        for p, q in zip(net.parameters(), tnet.parameters(), strict=True):
            assert_close(p, q, (name, options, i))
        schedule.step()
        tschedule.step()
    assert np.abs(net[0].weight.detach().numpy() - start).max() > 0.01


@pytest.mark.parametrize("T_max", [1, 4, 10])
def test_cosine_annealing_gives_the_same_rates_also_beyond_its_end(T_max):
    optimizer = optim.SGD([nn.Parameter(mg.ones(1))], lr=0.3)
    toptimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.3)
    schedule = optim.CosineAnnealingLR(optimizer, T_max, 0.01)
    tschedule = torch.optim.lr_scheduler.CosineAnnealingLR(toptimizer, T_max, 0.01)
    for _ in range(3 * T_max):
        assert schedule.get_last_lr() == pytest.approx(tschedule.get_last_lr(), rel=1e-9)
        toptimizer.step()
        schedule.step()
        tschedule.step()


@pytest.mark.parametrize(("pooling", "activation"), [("max", "relu"), ("average", "tanh")])
def test_lenet_trains_like_pytorchs(pooling, activation):
    pool = {"max": torch.nn.MaxPool2d, "average": torch.nn.AvgPool2d}[pooling]
    squash = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[activation]
    torch.manual_seed(0)
    t = torch.nn
    tnet = t.Sequential()
    for name, module in [
        ("c1", t.Conv2d(1, 6, 5)), ("act1", squash()), ("s2", pool(2)), ("c3", t.Conv2d(6, 16, 5)), ("act3", squash()),
        ("s4", pool(2)), ("c5", t.Conv2d(16, 120, 5)), ("act5", squash()), ("flatten", t.Flatten()),
        ("f6", t.Linear(120, 84)), ("act6", squash()), ("output", t.Linear(84, 10)),
    ]:
        tnet.add_module(name, module)
    rng = np.random.default_rng(0)
    net, tnet = twins(models.lenet5_modern(pooling=pooling, activation=activation), tnet)
    assert repr(net) == repr(tnet)
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    toptimizer = torch.optim.SGD(tnet.parameters(), lr=0.05, momentum=0.9)
    for i in range(5):
        x, tx = both(rng, 4, 1, 32, 32)
        labels = rng.integers(0, 10, 4)
        scores, tscores = net(x), tnet(tx)
        assert_close(scores, tscores, ("scores", i))
        step(net, optimizer, nn.CrossEntropyLoss()(scores, mg.tensor(labels)))
        step(tnet, toptimizer, torch.nn.CrossEntropyLoss()(tscores, torch.tensor(labels)))
        assert_close(x.grad, tx.grad, ("input gradient", i))
        for (name, p), q in zip(net.named_parameters(), tnet.parameters(), strict=True):
            assert_close(p.grad, q.grad, ("gradient", name, i))
            assert_close(p, q, (name, i))
