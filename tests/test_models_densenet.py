"""DenseNets: the arithmetic of their channels, dense connections, gradients, PyTorch's version, old weight files."""
import re

import numpy as np
import pytest
from whole_networks import check_gradients, compare_with_torch, map_shapes

import minigrad as mg
from minigrad import models, nn
from minigrad.models.densenet import DenseBlock, DenseLayer, transition

NAMES = ["densenet121", "densenet161", "densenet169", "densenet201"]
SMALL = {"layers": (2, 3, 1), "growth_rate": 4, "width": 6, "bn_size": 2, "num_classes": 5}


def small(**options):
    mg.manual_seed(1)
    return models.create("densenet121", **{**SMALL, **options})


@pytest.mark.parametrize("name", NAMES)
def test_the_number_in_the_name_counts_the_weighted_layers(name):
    net = models.create(name, init=False)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in net.modules()) == int(name[-3:])


@pytest.mark.parametrize(("name", "blocks"), [
    ("densenet121", (256, 512, 1024, 1024)), ("densenet169", (256, 512, 1280, 1664)),
    ("densenet201", (256, 512, 1792, 1920)), ("densenet161", (384, 768, 2112, 2208)),
])
def test_a_block_adds_k_maps_a_layer_and_a_transition_halves_them(name, blocks):
    options = models.entry(name).options
    k, width = options.get("growth_rate", 32), options.get("width", 64)
    parts = [f"features.{part}" for i in range(1, 5) for part in (f"denseblock{i}", f"transition{i}")][:-1]
    shapes = map_shapes(models.create(name, init=False), ["features.conv0", *parts, "avgpool"], (3, 224, 224))
    assert shapes["features.conv0"] == (width, 112, 112)
    channels = width
    for i, (depth, size) in enumerate(zip(options["layers"], (56, 28, 14, 7), strict=True), 1):
        channels += depth * k
        assert shapes[f"features.denseblock{i}"] == (channels, size, size) == (blocks[i - 1], size, size)
        if i < 4:
            channels //= 2
            assert shapes[f"features.transition{i}"] == (channels, size // 2, size // 2)
    assert shapes["avgpool"] == (channels, 1, 1)


def test_every_layer_sees_all_maps_before_it():
    mg.manual_seed(0)
    block, x = DenseBlock(3, 5, 4, 2, 0.0).eval(), mg.randn(2, 5, 4, 4)
    assert [layer.norm1.num_features for layer in block] == [5, 9, 13]
    assert [(layer.conv1.out_channels, layer.conv2.out_channels) for layer in block] == [(8, 4)] * 3
    with mg.no_grad():
        maps = [x]
        for layer in block:
            maps.append(layer(mg.cat(maps, 1)))
        assert np.array_equal(block(x).numpy(), np.concatenate([m.numpy() for m in maps], 1))


def test_dropout_comes_after_the_last_convolution_of_a_layer_in_training_only():
    mg.manual_seed(0)
    layer, x = DenseLayer(3, 40, 2, 0.25), mg.randn(4, 3, 6, 6)
    with mg.no_grad():
        kept = layer(x).numpy()
        assert abs((kept == 0).mean() - 0.25) < 0.02
        layer.dropout.p = 0.0
        whole = layer(x).numpy()
        assert np.allclose(kept[kept != 0], whole[kept != 0] / 0.75, rtol=1e-5, atol=0)
        layer.dropout.p = 0.25
        assert (layer.eval()(x).numpy() != 0).all()
    assert not any(isinstance(m, nn.Dropout) for m in small().modules())
    assert sum(isinstance(m, nn.Dropout) for m in small(drop_rate=0.2).modules()) == 6


def test_convolutions_start_with_variance_2_over_fan_in_and_the_bias_of_the_head_with_0():
    mg.manual_seed(0)
    net = models.create("densenet121", layers=(2, 1))
    for conv, fan_in in (
        (net.features.conv0, 3 * 49), (net.features.denseblock1[0].conv2, 9 * 128), (net.features.transition1.conv, 128)
    ):
        assert abs(conv.weight.detach().numpy().std() / np.sqrt(2 / fan_in) - 1) < 0.05
    assert not net.classifier.bias.detach().numpy().any()


@pytest.mark.parametrize("options", [{}, {"in_channels": 1, "layers": (2, 2)}])
def test_gradients_of_a_small_network(options):
    check_gradients(small(**options), (3, options.get("in_channels", 3), 16, 16))


# --- the same in PyTorch


def torch_layer(w, prefix, features):
    """H_l of a list of feature maps."""
    x = w.torch.cat(features, 1)
    x = w.conv(f"{prefix}conv1", w.F.relu(w.norm(f"{prefix}norm1", x)))
    return w.conv(f"{prefix}conv2", w.F.relu(w.norm(f"{prefix}norm2", x)), 1, 1)


def torch_block(w, prefix, x, layers):
    """A dense block."""
    features = [x]
    for i in range(1, layers + 1):
        features.append(torch_layer(w, f"{prefix}denselayer{i}.", features))
    return w.torch.cat(features, 1)


def torch_transition(w, prefix, x):
    """A transition."""
    return w.F.avg_pool2d(w.conv(f"{prefix}conv", w.F.relu(w.norm(f"{prefix}norm", x))), 2)


def torch_densenet(layers):
    """A whole network, as a function of weights and images."""

    def run(w, x):
        x = w.F.relu(w.norm("features.norm0", w.conv("features.conv0", x, 2, 3)))
        x = w.F.max_pool2d(x, 3, 2, 1)
        for i, depth in enumerate(layers, 1):
            x = torch_block(w, f"features.denseblock{i}.", x, depth)
            if i < len(layers):
                x = torch_transition(w, f"features.transition{i}.", x)
        x = w.F.relu(w.norm(f"features.norm{len(layers) + 1}", x))
        return w.linear("classifier", w.F.adaptive_avg_pool2d(x, 1).flatten(1))

    return run


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_agree_with_pytorch(dtype, training):
    mg.manual_seed(2)
    for block, theirs in (
        (DenseLayer(6, 4, 3, 0.0), lambda w, x: torch_layer(w, "", [x])),
        (DenseBlock(3, 6, 4, 2, 0.0), lambda w, x: torch_block(w, "", x, 3)),
        (transition(6, 3), lambda w, x: torch_transition(w, "", x)),
    ):
        compare_with_torch(block, theirs, (3, 6, 8, 7), dtype, training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [(2, 3, 1), (1, 1, 2, 1)])
def test_networks_agree_with_pytorch(layers, dtype, training):
    compare_with_torch(small(layers=layers), torch_densenet(layers), (4, 3, 64, 48), dtype, training)


# --- published weight files


def test_older_names_of_published_files_become_the_newer_ones(tmp_path):
    net = small()
    state = net.state_dict()
    older = {
        re.sub(r"(denselayer\d+\.[a-z]+)([12])\.", r"\1.\2.", n): t for n, t in state.items() if "num_batches" not in n
    }
    assert "features.denseblock1.denselayer2.norm.1.weight" in older
    assert "features.norm0.weight" in older
    adapt = models.entry("densenet121").adapt
    kept = {n: t.tolist() for n, t in state.items() if "num_batches" not in n}
    assert {n: t.tolist() for n, t in adapt(older).items()} == kept
    assert {n: t.tolist() for n, t in adapt(state).items()} == {n: t.tolist() for n, t in state.items()}
    mg.save(older, tmp_path / "older.safetensors")
    loaded = models.create("densenet121", weights=tmp_path / "older.safetensors", **SMALL)
    x = mg.randn(2, 3, 16, 16)
    assert loaded.eval()(x).tolist() == net.eval()(x).tolist()


def test_four_blocks_need_images_of_29_pixels():
    net = models.create("densenet121", init=False).eval()
    assert net(mg.zeros(0, 3, 29, 29)).shape == (0, 1000)
    with pytest.raises(ValueError, match="AvgPool2d: kernel 2x2"):
        net(mg.zeros(0, 3, 28, 29))
