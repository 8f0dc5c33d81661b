"""VGG: the paper's configurations, torchvision's form and the lecture's; gradients; the same in PyTorch."""
import numpy as np
import pytest
from whole_networks import check_gradients, compare_with_torch, map_shapes

import minigrad as mg
from minigrad import models, nn
from minigrad.models.vgg import CONFIGS, features

LETTERS = {"vgg_a": "A", "vgg_a_lrn": "A-LRN", "vgg_b": "B", "vgg_c": "C", "vgg_d": "D", "vgg_e": "E"}
NUMBERS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}
NARROW = {"width": 1 / 32, "hidden": 12, "num_classes": 7}
SHALLOW = (4, "L", "M", 6, (6, 1), "M", 5, "M")

# Table 1 of the paper, one column a line; "|" is max pooling
TABLE_1 = {
    "A": "conv3-64 | conv3-128 | conv3-256 conv3-256 | conv3-512 conv3-512 | conv3-512 conv3-512 |",
    "A-LRN": "conv3-64 LRN | conv3-128 | conv3-256 conv3-256 | conv3-512 conv3-512 | conv3-512 conv3-512 |",
    "B": "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 | conv3-512 conv3-512 | conv3-512 conv3-512 |",
    "C": "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 conv1-256 | conv3-512 conv3-512 conv1-512 | "
         "conv3-512 conv3-512 conv1-512 |",
    "D": "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 conv3-256 | conv3-512 conv3-512 conv3-512 | "
         "conv3-512 conv3-512 conv3-512 |",
    "E": "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 conv3-256 conv3-256 | "
         "conv3-512 conv3-512 conv3-512 conv3-512 | conv3-512 conv3-512 conv3-512 conv3-512 |",
}


def printed(net):
    """A network's convolutions in the words of table 1."""
    words = []
    for m in net.features:
        if isinstance(m, nn.Conv2d):
            words.append(f"conv{m.kernel_size[0]}-{m.out_channels}")
        elif isinstance(m, (nn.MaxPool2d, nn.LocalResponseNorm)):
            words.append("|" if isinstance(m, nn.MaxPool2d) else "LRN")
    return " ".join(words)


# --- the paper's figures


@pytest.mark.parametrize(("name", "column"), [*LETTERS.items(), *NUMBERS.items()])
def test_the_convolutions_are_the_column_of_table_1(name, column):
    assert printed(models.create(name, init=False)) == TABLE_1[column]
    if name in NUMBERS:
        assert printed(models.create(f"{name}_bn", init=False)) == TABLE_1[column]


@pytest.mark.parametrize(("names", "millions"), [
    (("vgg_a", "vgg_a_lrn"), 133), (("vgg_b",), 133), (("vgg_c",), 134), (("vgg_d",), 138), (("vgg_e",), 144),
])
def test_the_number_of_parameters_rounds_to_table_2(names, millions):
    for name in names:
        assert round(sum(p.numel() for p in models.create(name, init=False).parameters()) / 1e6) == millions


@pytest.mark.parametrize(("name", "layers"), [
    ("vgg_a", 11), ("vgg_a_lrn", 11), ("vgg_b", 13), ("vgg_c", 16), ("vgg_d", 16), ("vgg_e", 19),
    ("vgg11", 11), ("vgg13_bn", 13), ("vgg16", 16), ("vgg19_bn", 19), ("vgg16_cifar", 16),
])
def test_the_weighted_layers_are_as_many_as_the_paper_says(name, layers):
    net = models.create(name, init=False)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in net.modules()) == layers


@pytest.mark.parametrize("name", ["vgg_c", "vgg16"])
def test_convolutions_keep_the_size_and_each_pooling_halves_it(name):
    net = models.create(name, init=False)
    shapes = map_shapes(net, [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)], (3, 224, 224))
    assert list(shapes.values()) == [
        *[(64, 224, 224)] * 2, *[(128, 112, 112)] * 2, *[(256, 56, 56)] * 3, *[(512, 28, 28)] * 3, *[(512, 14, 14)] * 3,
    ]
    assert map_shapes(net, ["features"], (3, 224, 224)) == {"features": (512, 7, 7)}


def test_the_normalisation_of_a_lrn_follows_the_first_relu():
    assert [type(m).__name__ for m in models.create("vgg_a_lrn", init=False).features[:5]] == [
        "Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d", "Conv2d",
    ]


def test_relu_and_dropout_follow_each_hidden_linear_layer():
    hidden = ["Linear", "ReLU", "Dropout"]
    for name in ("vgg_d", "vgg16", "vgg16_bn"):
        head = models.create(name, init=False, dropout=0.3).classifier
        assert [type(m).__name__ for m in head] == [*hidden, *hidden, "Linear"]
        assert [m.p for m in head if isinstance(m, nn.Dropout)] == [0.3, 0.3]


def test_the_papers_networks_take_224_and_torchvisions_any_size_from_32():
    letter = models.create("vgg_a", **NARROW).eval()
    assert letter(mg.zeros(0, 3, 224, 224)).shape == (0, 7)
    with pytest.raises(ValueError, match="Linear"):
        letter(mg.zeros(1, 3, 192, 192))
    number = models.create("vgg11", **NARROW).eval()
    for size in (32, 33, 70, 224):
        assert number(mg.zeros(1, 3, size, size)).shape == (1, 7)
    with pytest.raises(ValueError, match="MaxPool2d"):
        number(mg.zeros(1, 3, 31, 31))


def test_adaptive_pooling_changes_nothing_at_224():
    mg.manual_seed(0)
    number, letter = models.create("vgg11", **NARROW).eval(), models.create("vgg_a", **NARROW).eval()
    letter.load_state_dict(number.state_dict())
    x = mg.randn(1, 3, 224, 224)
    np.testing.assert_allclose(number(x).detach().numpy(), letter(x).detach().numpy(), rtol=1e-6)


# --- the lecture's


def test_the_lectures_network_has_512_4096_4096_10_and_no_dropout():
    net = models.create("vgg16_cifar", init=False)
    assert [(m.in_features, m.out_features) for m in net.classifier if isinstance(m, nn.Linear)] == [
        (512, 4096), (4096, 4096), (4096, 10),
    ]
    assert not any(isinstance(m, nn.Dropout) for m in net.modules())
    assert map_shapes(net, ["features"], (3, 32, 32)) == {"features": (512, 1, 1)}
    assert printed(net) == TABLE_1["D"]


# --- initial weights and options


def test_the_initial_weights_are_torchvisions():
    mg.manual_seed(0)
    net = models.create("vgg16", width=1 / 4, hidden=300, num_classes=50)
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            std = np.sqrt(2 / (9 * m.out_channels)) if isinstance(m, nn.Conv2d) else 0.01
            assert m.weight.detach().numpy().std() == pytest.approx(std, rel=0.1)
            assert not m.bias.detach().numpy().any()


def test_the_lectures_initial_weights_are_hes_uniform_ones():
    mg.manual_seed(0)
    net = models.create("vgg16_cifar", width=1 / 4, hidden=100)
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            w = m.weight.detach().numpy()
            bound = np.sqrt(6 / w[0].size)
            assert 0.95 * bound < abs(w).max() <= bound
            assert w.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
            assert not m.bias.detach().numpy().any()


def test_a_network_with_batch_norm_starts_with_factors_of_one():
    net = models.create("vgg11_bn", **NARROW)
    assert all((m.weight == 1).all().item() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_config_can_be_a_column_of_ones_own():
    net = models.create("vgg16", config=SHALLOW, grid=2, adaptive=False, hidden=5)
    assert printed(net) == "conv3-4 LRN | conv3-6 conv1-6 | conv3-5 |"
    assert net.classifier[0].in_features == 5 * 2 * 2
    assert features(CONFIGS["A"], 3, 1 / 128)[1] == 4


@pytest.mark.parametrize(("options", "message"), [
    ({"config": "F"}, "vgg: config must be one of A, A-LRN, B, C, D, E, or a tuple, got 'F'"),
    ({"initial": "zero"}, "vgg: initial must be one of torchvision, lecture, got 'zero'"),
])
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("vgg16", **options)


# --- gradients


@pytest.mark.parametrize(("name", "options"), [
    ("vgg_c", {"config": SHALLOW, "adaptive": False}),
    ("vgg11", {"config": SHALLOW}),
    ("vgg11_bn", {"config": (3, "M", 4, "M", 5, "M")}),
    ("vgg16_cifar", {"config": SHALLOW, "grid": 2}),
])
def test_a_narrow_shallow_one_has_the_gradients_of_finite_differences(name, options):
    mg.manual_seed(0)
    options = {"dropout": None, "hidden": 6, "num_classes": 3, "grid": 2, "initial": "lecture", **options}
    check_gradients(models.create(name, **options), (2, 3, 16, 16))


# --- the same in PyTorch


def torch_network(torch, columns, adaptive, batch_norm):
    """A VGG of these maps in PyTorch, in torchvision's form; columns are (maps, kernel), "M" or "L"."""
    n, layers, channels = torch.nn, [], 3
    for entry in columns:
        if entry == "M":
            layers.append(n.MaxPool2d(kernel_size=2, stride=2))
        elif entry == "L":
            layers.append(n.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
        else:
            layers.append(n.Conv2d(channels, entry[0], entry[1], padding=entry[1] // 2))
            layers += [n.BatchNorm2d(entry[0]), n.ReLU()] if batch_norm else [n.ReLU()]
            channels = entry[0]

    class Net(n.Module):
        def __init__(self):
            super().__init__()
            self.features = n.Sequential(*layers)
            self.avgpool = n.AdaptiveAvgPool2d((7, 7)) if adaptive else n.Identity()
            self.classifier = n.Sequential(
                n.Linear(channels * 49, 12), n.ReLU(), n.Dropout(), n.Linear(12, 12), n.ReLU(), n.Dropout(),
                n.Linear(12, 7),
            )

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    return Net().eval()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "column", "size"), [
    ("vgg_a_lrn", [(2, 3), "L", "M", (4, 3), "M", *[(8, 3)] * 2, "M", *([(16, 3)] * 2 + ["M"]) * 2], 224),
    ("vgg_c", [(2, 3), (2, 3), "M", (4, 3), (4, 3), "M", (8, 3), (8, 3), (8, 1), "M",
               *([(16, 3), (16, 3), (16, 1), "M"]) * 2], 224),
    ("vgg11", [(2, 3), "M", (4, 3), "M", *[(8, 3)] * 2, "M", *([(16, 3)] * 2 + ["M"]) * 2], 40),
    ("vgg16_bn", [(2, 3), (2, 3), "M", (4, 3), (4, 3), "M", *[(8, 3)] * 3, "M", *([(16, 3)] * 3 + ["M"]) * 2], 64),
])
def test_it_agrees_with_the_same_network_in_pytorch(name, column, size, dtype):
    torch = pytest.importorskip("torch")
    mg.manual_seed(0)
    net = models.create(name, **NARROW)
    for m in net.classifier:
        if isinstance(m, nn.Linear):  # torchvision's 0.01 suits 4096 units, not 12
            nn.init.kaiming_normal_(m.weight)
    theirs = torch_network(torch, column, name in ("vgg11", "vgg16_bn"), name.endswith("bn"))

    def run(weights, x):
        return torch.func.functional_call(theirs, weights.state, (x,))

    compare_with_torch(net, run, (1, 3, size, size), dtype, training=False)
