"""AlexNet in its four forms, and ZFNet: the papers' maps, order and constants; gradients; the same in PyTorch."""
import numpy as np
import pytest
from whole_networks import check_gradients, compare_with_torch, map_shapes

import minigrad as mg
from minigrad import inspect, models, nn
from minigrad.models.alexnet import STREAMS, TOWER, Conv, classifier, features, response_norm

ALEXNETS = ["alexnet_2012", "alexnet_cs231n", "alexnet", "alexnet_bn"]
ZFNETS = ["zfnet", "zfnet_wide"]
NARROW = {"width": 1 / 16, "hidden": 10, "num_classes": 7}


def kinds(net):
    return [type(m).__name__ for m in net.modules() if not list(m.children())]


def map_sizes(name):
    """C x H x W after each convolution and pooling, at the network's own size."""
    net = models.create(name, init=False)
    layers = [n for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.MaxPool2d))]
    return list(map_shapes(net, layers, models.entry(name).input_shape).values())


# --- the papers' figures


@pytest.mark.parametrize("name", ["alexnet_2012", "alexnet_cs231n"])
def test_alexnets_maps_are_those_of_figure_2_and_of_the_lectures_table(name):
    assert map_sizes(name) == [
        (96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 13, 13),
        (256, 6, 6),
    ]


def test_torchvisions_maps_have_these_sizes():
    assert map_sizes("alexnet") == map_sizes("alexnet_bn") == [
        (64, 55, 55), (64, 27, 27), (192, 27, 27), (192, 13, 13), (384, 13, 13), (256, 13, 13), (256, 13, 13),
        (256, 6, 6),
    ]


@pytest.mark.parametrize(("name", "last"), [("zfnet", (384, 384, 256)), ("zfnet_wide", (512, 1024, 512))])
def test_zfnets_maps_are_those_of_figure_3(name, last):
    assert map_sizes(name) == [
        (96, 110, 110), (96, 55, 55), (256, 26, 26), (256, 13, 13), *((n, 13, 13) for n in last), (last[2], 6, 6),
    ]


@pytest.mark.parametrize("name", ["alexnet_2012", "alexnet_cs231n"])
def test_224_pixels_do_not_give_the_papers_55x55_maps(name):
    net = models.create(name, init=False)
    assert map_shapes(net.features, ["0"], (3, 224, 224)) == {"0": (96, 54, 54)}
    small = models.create(name, **NARROW).eval()
    assert small(mg.zeros(0, 3, 227, 227)).shape == (0, 7)
    with pytest.raises(ValueError, match="Linear"):
        small(mg.zeros(1, 3, 195, 195))


@pytest.mark.parametrize(("name", "stage"), [
    ("alexnet_2012", ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]),
    ("alexnet_cs231n", ["Conv2d", "ReLU", "MaxPool2d", "LocalResponseNorm"]),
    ("zfnet", ["Conv2d", "ReLU", "MaxPool2d", "LocalResponseNorm"]),
])
def test_normalisation_and_dropout_stand_where_the_paper_has_them(name, stage):
    hidden = ["Linear", "ReLU", "Dropout"]
    assert kinds(models.create(name, init=False)) == [
        *stage, *stage, *["Conv2d", "ReLU"] * 3, "MaxPool2d", "Flatten", *hidden, *hidden, "Linear",
    ]


def test_batch_norm_stands_before_every_relu():
    names = kinds(models.create("alexnet_bn", init=False))
    assert names == [
        *["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 2, *["Conv2d", "BatchNorm2d", "ReLU"] * 3, "MaxPool2d",
        "Flatten", *["Dropout", "Linear", "BatchNorm1d", "ReLU"] * 2, "Linear",
    ]


def test_batch_norm_adds_two_numbers_a_map_and_a_hidden_unit():
    count = sum(p.numel() for p in models.create("alexnet_bn", init=False).parameters())
    assert count == 61_100_840 + 2 * (64 + 192 + 384 + 256 + 256) + 2 * (4096 + 4096) == 61_119_528


def test_the_two_streams_meet_only_in_convolution_3_and_the_linear_layers():
    convs = [m for m in models.create("alexnet_2012", init=False).modules() if isinstance(m, nn.Conv2d)]
    assert [m.groups for m in convs] == [1, 2, 1, 2, 2]
    mg.manual_seed(0)
    second = models.create("alexnet_2012", **NARROW).features[4]
    x = mg.randn(1, 6, 5, 5, requires_grad=True)
    (g,) = mg.grad(second(x)[:, :8].sum(), [x])
    assert g.numpy()[:, :3].any() and not g.numpy()[:, 3:].any()


def test_the_response_norm_is_the_papers_formula():
    a = np.random.default_rng(0).standard_normal((2, 7, 2, 3)) * 30  # large, for the sum to matter beside 2
    expected = np.empty_like(a)
    for i in range(7):
        total = (a[:, max(0, i - 2) : min(6, i + 2) + 1] ** 2).sum(1)
        expected[:, i] = a[:, i] / (2 + 1e-4 * total) ** 0.75
    np.testing.assert_allclose(response_norm()(mg.Tensor(a)).numpy(), expected, rtol=1e-12)


# --- options


@pytest.mark.parametrize("name", ALEXNETS + ZFNETS)
def test_the_dropout_option_sets_both_layers_or_leaves_them_out(name):
    def dropouts(**options):
        net = models.create(name, init=False, **options)
        return [m.p for m in net.modules() if isinstance(m, nn.Dropout)]

    assert dropouts() == [0.5, 0.5]
    assert dropouts(dropout=0.25) == [0.25, 0.25]
    assert dropouts(dropout=None) == []


def test_dropout_stands_after_the_hidden_layers_or_before_them():
    assert kinds(classifier(6, 5, 4)) == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert kinds(classifier(6, 5, 4, dropout_first=True)) == ["Dropout", "Linear", "ReLU"] * 2 + ["Linear"]


def test_width_multiplies_the_maps_and_respects_the_groups():
    def maps(width):
        return [m.out_channels for m in features(STREAMS, 3, width)[0] if isinstance(m, nn.Conv2d)]

    assert maps(1) == [96, 256, 384, 384, 256]
    assert maps(1 / 16) == [6, 16, 24, 24, 16]
    assert maps(1e-6) == [2, 2, 2, 2, 2]
    assert features(TOWER, 3, 1 / 64)[1] == 4


def test_other_image_sizes_pass_through_torchvisions_adaptive_pooling():
    net = models.create("alexnet", **NARROW).eval()
    for size in (63, 64, 100, 256):
        assert net(mg.zeros(0, 3, size, size)).shape == (0, 7)
    with pytest.raises(ValueError, match="MaxPool2d"):
        net(mg.zeros(1, 3, 62, 62))


@pytest.mark.parametrize("name", ALEXNETS + ZFNETS)
def test_the_initial_weights_are_he_normal_by_fan_in_and_the_last_small(name):
    mg.manual_seed(0)
    net = models.create(name, width=1 / 8, hidden=64, num_classes=64)
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            w = m.weight.detach().numpy()
            std = 0.01 if m is net.classifier[-1] else np.sqrt(2 / w[0].size)
            assert w.std() == pytest.approx(std, rel=0.1)
            assert not m.bias.detach().numpy().any()


# --- gradients


SMALL = {  # shallow and narrow versions: options and image size
    "alexnet_2012": ({"convs": (*STREAMS[:2], STREAMS[4]), "grid": 1}, 67),
    "alexnet": ({"convs": (TOWER[0], TOWER[1], TOWER[4]), "grid": 2}, 63),
    "alexnet_bn": ({"convs": (TOWER[0], TOWER[4]), "grid": 3}, 63),
    "zfnet": ({"convs": (Conv(96, 7, 2, 1, after="relu pool lrn"), Conv(256, 5, 2, after="relu pool")), "grid": 2}, 54),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_narrow_shallow_one_has_the_gradients_of_finite_differences(name):
    options, size = SMALL[name]
    mg.manual_seed(0)
    net = models.create(name, width=1 / 40, hidden=5, num_classes=3, dropout=0.0, **options)
    nn.init.kaiming_normal_(net.classifier[-1].weight)  # 0.01 would leave gradients below what the check tolerates
    check_gradients(net, (3, 3, size, size))


# --- the same in PyTorch


def torch_features(torch, channels, first, groups=(1, 1, 1, 1, 1), after=("RP", "RP", "R", "R", "RP"), ceil=False):
    """AlexNet's convolutions in PyTorch. after: R ReLU, P pooling, L response norm, B batch norm."""
    n, layers = torch.nn, []
    shapes = [first, ((5, 2, 0) if ceil else (5, 1, 2)), (3, 1, 1), (3, 1, 1), (3, 1, 1)]
    for i, (out, g) in enumerate(zip(channels, groups, strict=True)):
        layers.append(n.Conv2d(3 if i == 0 else channels[i - 1], out, *shapes[i], groups=g))
        for letter in after[i]:
            layers.append({
                "R": n.ReLU(), "P": n.MaxPool2d(3, 2, ceil_mode=ceil), "B": n.BatchNorm2d(out, eps=1e-3),
                "L": n.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
            }[letter])
    return n.Sequential(*layers)


def torch_network(torch, name):
    n = torch.nn
    tower, wide = (4, 12, 24, 16, 16), (6, 16, 24, 24, 16)
    hidden = [n.Linear(16, 10), n.ReLU(), n.Dropout(), n.Linear(10, 10), n.ReLU(), n.Dropout(), n.Linear(10, 7)]
    if name == "alexnet_2012":
        body = torch_features(torch, wide, (11, 4, 0), (1, 2, 1, 2, 2), ("RLP", "RLP", "R", "R", "RP"))
    elif name == "alexnet_cs231n":
        body = torch_features(torch, wide, (11, 4, 0), after=("RPL", "RPL", "R", "R", "RP"))
    elif name == "zfnet":
        body = torch_features(torch, wide, (7, 2, 1), after=("RPL", "RPL", "R", "R", "RP"), ceil=True)
    elif name == "alexnet":
        body = torch_features(torch, tower, (11, 4, 2))
        hidden = [n.Dropout(), n.Linear(64, 10), n.ReLU(), n.Dropout(), n.Linear(10, 10), n.ReLU(), n.Linear(10, 7)]
    else:
        body = torch_features(torch, tower, (11, 4, 2), after=("BRP", "BRP", "BR", "BR", "BRP"))
        hidden = [n.Dropout(), n.Linear(16, 10), n.BatchNorm1d(10, eps=1e-3), n.ReLU()]
        hidden += [n.Dropout(), n.Linear(10, 10), n.BatchNorm1d(10, eps=1e-3), n.ReLU(), n.Linear(10, 7)]
    pool = [("avgpool", n.AdaptiveAvgPool2d((2, 2)))] if name == "alexnet" else []
    parts = [("features", body), *pool, ("flatten", n.Flatten()), ("classifier", n.Sequential(*hidden))]
    net = n.Sequential()
    for key, part in parts:
        net.add_module(key, part)
    return net.eval()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "size", "grid"), [
    ("alexnet_2012", 67, 1), ("alexnet_cs231n", 67, 1), ("alexnet", 95, 2), ("alexnet_bn", 63, 1), ("zfnet", 54, 1),
])
def test_it_agrees_with_the_same_network_in_pytorch(name, size, grid, dtype):
    torch = pytest.importorskip("torch")
    mg.manual_seed(0)
    net = models.create(name, grid=grid, **NARROW)
    theirs = torch_network(torch, name)

    def run(weights, x):
        return torch.func.functional_call(theirs, weights.state, (x,))

    compare_with_torch(net, run, (2, 3, size, size), dtype, training=False)


def test_the_summary_counts_alexnets_multiplications():
    rows = inspect.summary(models.create("alexnet_2012", init=False), (3, 227, 227))
    counts = [r.multiplications for r in rows if r.kind in ("Conv2d", "Linear")]
    assert counts == [
        55 * 55 * 96 * 363, 27 * 27 * 256 * 25 * 48, 13 * 13 * 384 * 9 * 256, 13 * 13 * 384 * 9 * 192,
        13 * 13 * 256 * 9 * 192, 9216 * 4096, 4096 * 4096, 4096 * 1000,
    ]
