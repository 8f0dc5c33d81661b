"""The architectures: parameters, options, shapes and gradients; the catalogue; and the summary of a network."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import inspect, models, nn, optim

CONVNET_SUMMARY = """\
layer     kind        output  parameters
----------------------------------------
conv_1    Conv2d     4x28x28          40
relu      ReLU       4x28x28           0
pool_1    MaxPool2d  4x14x14           0
conv_2    Conv2d     8x14x14         296
relu      ReLU       8x14x14           0
pool_2    MaxPool2d    8x7x7           0
flatten   Flatten        392           0
linear_1  Linear          10       3,930
----------------------------------------
total                              4,266"""


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "options", "parameters"), [
    ("convnet", {}, 4266),
    ("convnet", {"num_classes": 3, "in_channels": 3}, 4266 + 2 * 36 - 7 * 393),
    ("lenet5_modern", {}, 61706),
    ("lenet5_modern", {"pooling": "average", "activation": "tanh"}, 61706),
    ("lenet5_modern", {"num_classes": 3, "in_channels": 3}, 61706 + 2 * 150 - 7 * 85),
])
def test_parameters_shapes_and_gradients(name, options, parameters):
    mg.manual_seed(0)
    model = models.create(name, **options)
    assert count(model) == parameters
    _, *size = models.entry(name).input_shape
    x = mg.randn(5, options.get("in_channels", 1), *size)
    scores = model(x)
    assert scores.shape == (5, options.get("num_classes", 10))
    mg.cross_entropy(scores, mg.tensor([0, 1, 2, 0, 1])).backward()
    for parameter_name, p in model.named_parameters():
        assert np.isfinite(p.grad.numpy()).all(), parameter_name
        assert p.grad.numpy().any(), parameter_name


@pytest.mark.parametrize("name", models.list())
def test_the_loss_falls_on_a_repeated_batch(name):
    mg.manual_seed(0)
    model = models.create(name)
    x, target = mg.randn(8, *models.entry(name).input_shape), mg.arange(8)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        loss = mg.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("pooling", "pool"), [("max", nn.MaxPool2d), ("average", nn.AvgPool2d)])
@pytest.mark.parametrize(("activation", "squash"), [("relu", nn.ReLU), ("tanh", nn.Tanh)])
def test_lenet_is_built_of_what_its_options_name(pooling, pool, activation, squash):
    model = models.lenet5_modern(pooling=pooling, activation=activation)
    assert isinstance(model.s2, pool)
    assert isinstance(model.s4, pool)
    assert all(isinstance(getattr(model, name), squash) for name in ("act1", "act3", "act5", "act6"))


@pytest.mark.parametrize(("options", "message"), [
    ({"pooling": "min"}, "lenet5_modern: pooling must be one of max, average, got 'min'"),
    ({"activation": "swish"}, "lenet5_modern: activation must be one of relu, tanh, got 'swish'"),
    ({"num_classes": 0}, "out_features must be an integer >= 1, got 0"),
    ({"in_channels": 0}, "in_channels must be an integer >= 1, got 0"),
])
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("lenet5_modern", **options)


def test_the_catalogue_lists_what_create_builds():
    assert models.list() == ["convnet", "lenet5_modern"]
    assert models.entry("convnet").input_shape == (1, 28, 28)
    assert repr(models.create("convnet")) == repr(models.convnet())
    for look_up in (models.create, models.entry):
        with pytest.raises(ValueError, match="unknown model 'resnet9000'; there is convnet, lenet5_modern"):
            look_up("resnet9000")
    with pytest.raises(TypeError, match="colour"):
        models.create("convnet", colour="red")


@pytest.mark.parametrize("name", models.list())
def test_another_image_size_is_an_error(name):
    channels, height, width = models.entry(name).input_shape
    with pytest.raises(ValueError, match=r"Linear|Conv2d"):
        models.create(name)(mg.zeros(1, channels, height + 9, width + 9))


@pytest.mark.parametrize("name", models.list())
def test_saved_weights_give_the_same_scores(name, tmp_path):
    mg.manual_seed(0)
    model, other = models.create(name), models.create(name)
    x = mg.randn(2, *models.entry(name).input_shape)
    mg.save(model.state_dict(), tmp_path / "weights.safetensors")
    assert other(x).tolist() != model(x).tolist()
    assert other.load_state_dict(mg.load(tmp_path / "weights.safetensors")) == ([], [])
    assert other(x).tolist() == model(x).tolist()


# --- summary


def test_the_summary_of_convnet_is_this_text():
    model = models.convnet()
    rows = inspect.summary(model, (1, 28, 28))
    assert inspect.format_summary(rows, count(model)) == CONVNET_SUMMARY


def test_the_rows_of_lenet_are_those_of_figure_2_of_the_paper():
    rows = inspect.summary(models.lenet5_modern(), (1, 32, 32))
    assert [(r.name, r.output_shape, r.parameters) for r in rows if r.name in ("c1", "s2", "c3", "s4", "c5", "f6")] == [
        ("c1", (1, 6, 28, 28), 156), ("s2", (1, 6, 14, 14), 0), ("c3", (1, 16, 10, 10), 2416),
        ("s4", (1, 16, 5, 5), 0), ("c5", (1, 120, 1, 1), 48120), ("f6", (1, 84), 10164),
    ]
    assert sum(r.parameters for r in rows) == 61706


def test_a_layer_that_runs_twice_has_two_rows_and_its_parameters_count_once():
    layer = nn.Linear(4, 4)
    tied = nn.Linear(4, 4, bias=False)
    tied.weight = layer.weight
    rows = inspect.summary(nn.Sequential(layer, layer, tied), (4,))
    assert [(r.name, r.parameters) for r in rows] == [("0", 20), ("0", 0), ("2", 0)]


def test_a_lone_layer_is_named_by_its_kind_and_several_outputs_show_the_first():
    rows = inspect.summary(nn.MaxPool2d(2, return_indices=True), (3, 4, 6))
    assert rows == [inspect.Row("MaxPool2d", "MaxPool2d", (1, 3, 2, 3), 0)]


def test_a_summary_leaves_the_network_as_it_was():
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5).eval(), nn.ReLU())
    inspect.summary(net, (2, 3, 3))
    with pytest.raises(ValueError, match="got x with 3 channels"):
        inspect.summary(net, (3, 3, 3))
    assert [m.training for m in net.modules()] == [True, True, False, True]
    assert net[0].num_batches_tracked.item() == 0
    assert not any(m._forward_hooks for m in net.modules())
