"""The summary of a network: shapes without a forward pass, parameters once, multiplications."""
import pytest

import minigrad as mg
from minigrad import inspect, models, nn

CONVNET = """\
layer     kind        output  parameters  multiplications
---------------------------------------------------------
conv_1    Conv2d     4x28x28          40           28,224
relu      ReLU       4x28x28           0                0
pool_1    MaxPool2d  4x14x14           0                0
conv_2    Conv2d     8x14x14         296           56,448
relu      ReLU       8x14x14           0                0
pool_2    MaxPool2d    8x7x7           0                0
flatten   Flatten        392           0                0
linear_1  Linear          10       3,930            3,920
---------------------------------------------------------
total                              4,266           88,592"""


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_the_summary_of_convnet_is_this_text():
    model = models.convnet()
    rows = inspect.summary(model, (1, 28, 28))
    assert inspect.format_summary(rows, count(model)) == CONVNET


def test_the_rows_of_lenet_are_those_of_figure_2_of_the_paper():
    rows = inspect.summary(models.lenet5_modern(), (1, 32, 32))
    assert [(r.name, r.output_shape, r.parameters) for r in rows if r.name in ("c1", "s2", "c3", "s4", "c5", "f6")] == [
        ("c1", (6, 28, 28), 156), ("s2", (6, 14, 14), 0), ("c3", (16, 10, 10), 2416),
        ("s4", (16, 5, 5), 0), ("c5", (120, 1, 1), 48120), ("f6", (84,), 10164),
    ]
    assert sum(r.parameters for r in rows) == 61706


@pytest.mark.parametrize("name", ["convnet", "lenet5_modern", "resnet20_cifar", "allcnn_c", "nin_cifar"])
def test_the_shapes_are_those_of_a_real_forward_pass(name):
    model, seen = models.create(name).eval(), []
    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.shape[1:]))
    model(mg.zeros(2, *models.entry(name).input_shape))
    shapes = list(seen)
    assert [r.output_shape for r in inspect.summary(model, models.entry(name).input_shape)] == shapes


def test_multiplications_are_counted_as_the_loops_would_do_them():
    layers = nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), stride=2, groups=2), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3, groups=2), nn.Flatten(),
        nn.Linear(4 * 6 * 7, 5),
    )
    rows = inspect.summary(layers, (4, 9, 10))
    assert [r.output_shape for r in rows] == [(6, 4, 5), (6, 4, 5), (4, 6, 7), (168,), (5,)]
    assert [r.multiplications for r in rows] == [6 * 4 * 5 * 2 * 3 * 2, 0, 6 * 4 * 5 * 2 * 3 * 3, 0, 168 * 5]


def test_lenet5_of_1998_multiplies_as_often_as_it_has_connections():
    """Section II.B counts them: 122,304 in C1, 151,600 in C3 and 48,120 in C5, one of them a bias for each value."""
    rows = {r.name: r.multiplications for r in inspect.summary(models.lenet5(), (1, 32, 32)) if r.multiplications}
    assert rows == {
        "c1": 122_304 - 6 * 28 * 28, "s2": 6 * 14 * 14, "c3": 151_600 - 16 * 10 * 10, "s4": 16 * 5 * 5,
        "c5": 48_120 - 120, "f6": 10_164 - 84,
    }


class Scaled(nn.Module):
    """Has submodules and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(2, 3, 1), nn.Parameter(mg.ones(3, 1, 1))

    def forward(self, x):
        return self.conv(x) * self.scale


def test_parameters_beside_submodules_have_a_row():
    rows = inspect.summary(nn.Sequential(Scaled(), nn.ReLU()), (2, 4, 4))
    assert [(r.name, r.kind, r.output_shape, r.parameters) for r in rows] == [
        ("0.conv", "Conv2d", (3, 4, 4), 9), ("0", "Scaled", (3, 4, 4), 3), ("1", "ReLU", (3, 4, 4), 0),
    ]


def test_a_layer_that_runs_twice_has_two_rows_and_its_parameters_count_once():
    layer = nn.Linear(4, 4)
    tied = nn.Linear(4, 4, bias=False)
    tied.weight = layer.weight
    rows = inspect.summary(nn.Sequential(layer, layer, tied), (4,))
    assert [(r.name, r.parameters) for r in rows] == [("0", 20), ("0", 0), ("2", 0)]


def test_a_lone_layer_is_named_by_its_kind_and_several_outputs_show_the_first():
    rows = inspect.summary(nn.MaxPool2d(2, return_indices=True), (3, 4, 6))
    assert rows == [inspect.Row("MaxPool2d", "MaxPool2d", (3, 2, 3), 0, 0)]


def test_what_runs_only_in_training_has_a_line_of_its_own():
    model = models.create("googlenet_2014", init=False)
    text = inspect.format_summary(inspect.summary(model, (3, 224, 224)), count(model))
    unseen, _, total = text.splitlines()[-3:]
    assert unseen.split() == ["(in", "no", "layer", "that", "ran)", f"{13_378_280 - 6_998_552:,}"]
    assert total.split()[:2] == ["total", "13,378,280"]


class View(nn.Module):
    """Flattens as much PyTorch code does."""

    def forward(self, x):
        return x.reshape(x.shape[0], -1)


def test_a_network_that_reshapes_with_minus_one_has_a_summary():
    assert inspect.summary(View(), (3, 4, 5))[0].output_shape == (60,)


def test_a_summary_leaves_the_network_as_it_was():
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5).eval(), nn.ReLU())
    inspect.summary(net, (2, 3, 3))
    with pytest.raises(ValueError, match="got x with 3 channels"):
        inspect.summary(net, (3, 3, 3))
    assert [m.training for m in net.modules()] == [True, True, False, True]
    assert net[0].num_batches_tracked.item() == 0
    assert not any(m._forward_hooks for m in net.modules())
