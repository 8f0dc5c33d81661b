"""ResNets for ImageNet and CIFAR, their plain twins, and the lecture's residual blocks."""
import re

import numpy as np
import pytest
from whole_networks import check_gradients, compare_with_torch, map_shapes, stir

import minigrad as mg
from minigrad import models, nn
from minigrad.models.residual_blocks import Block
from minigrad.models.resnet import BasicBlock, Bottleneck, Residual, ZeroPadShortcut

RESNETS = [name for name in models.list() if re.match(r"(resnet|plain)\d", name)]
SMALL = {  # narrow and shallow versions of every kind
    "basic": ("resnet18", {"layers": (1, 2, 1, 1), "width": 4}, (3, 3, 32, 32)),
    "bottleneck": ("resnet50", {"layers": (1, 2), "width": 4}, (3, 3, 16, 16)),
    "plain": ("plain18", {"layers": (1, 2), "width": 4}, (3, 3, 16, 16)),
    "pad": ("resnet20_cifar", {"layers": (1, 2, 1), "width": 4}, (3, 3, 8, 8)),
    "plain_cifar": ("plain20_cifar", {"layers": (1, 1, 1), "width": 4}, (3, 3, 8, 8)),
    "cifar18": ("resnet18_cifar", {"layers": (1, 1), "width": 4}, (3, 3, 8, 8)),
}


def small(kind):
    """(network, input shape, options) of one of SMALL."""
    name, options, shape = SMALL[kind]
    mg.manual_seed(1)
    return models.create(name, num_classes=5, **options), shape, {**models.entry(name).options, **options}


# --- what the paper says of them


def test_all_of_them_are_here():
    assert len(RESNETS) == 5 + 2 + 1 + 2 * 5


@pytest.mark.parametrize("name", RESNETS)
def test_the_number_in_the_name_counts_the_weighted_layers(name):
    net = models.create(name, init=False)
    weighted = [n for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and "downsample" not in n]
    assert len(weighted) == int(re.search(r"\d+", name)[0])


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "plain34", "resnet50", "resnet152"])
def test_the_maps_have_the_sizes_of_table_1(name):
    times = 1 if name.endswith(("18", "34")) else 4
    net = models.create(name, init=False)
    assert map_shapes(net, ["conv1", "maxpool", *(f"layer{i}" for i in range(1, 5)), "avgpool"], (3, 224, 224)) == {
        "conv1": (64, 112, 112), "maxpool": (64, 56, 56), "layer1": (64 * times, 56, 56),
        "layer2": (128 * times, 28, 28), "layer3": (256 * times, 14, 14), "layer4": (512 * times, 7, 7),
        "avgpool": (512 * times, 1, 1),
    }


@pytest.mark.parametrize("name", ["resnet20_cifar", "plain56_cifar", "resnet110_cifar"])
def test_the_cifar_maps_have_the_sizes_of_section_4_2(name):
    net = models.create(name, init=False)
    assert map_shapes(net, ["conv1", "layer1", "layer2", "layer3"], (3, 32, 32)) == {
        "conv1": (16, 32, 32), "layer1": (16, 32, 32), "layer2": (32, 16, 16), "layer3": (64, 8, 8),
    }
    n = (int(re.search(r"\d+", name)[0]) - 2) // 6
    assert [len(net[i]) for i in (3, 4, 5)] == [n, n, n]


def test_resnet18_for_cifar_keeps_the_image_size_until_its_second_stage():
    net = models.create("resnet18_cifar", init=False)
    shapes = map_shapes(net, ["conv1", "layer1", "layer2", "layer3", "layer4"], (3, 32, 32))
    assert list(shapes.values()) == [(64, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert not any(isinstance(m, nn.MaxPool2d) for m in net.modules())
    assert sum(p.numel() for p in net.parameters()) == 11_173_962


@pytest.mark.parametrize("name", [name for name in RESNETS if name.startswith("plain")])
def test_a_plain_twin_has_the_same_weights_but_the_projections(name):
    plain, residual = (
        {n: t.shape for n, t in models.create(twin, init=False).state_dict().items()}
        for twin in (name, name.replace("plain", "resnet"))
    )
    assert plain == {n: shape for n, shape in residual.items() if "downsample" not in n}
    assert ("cifar" in name) == (plain == residual)


def test_the_plain_networks_have_these_many_parameters():
    projections = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    for depth, parameters in ((18, 11_689_512), (34, 21_797_672)):
        net = models.create(f"plain{depth}", init=False)
        assert sum(p.numel() for p in net.parameters()) == parameters - projections


def test_only_the_blocks_that_change_the_shape_have_a_projection():
    for name, wanted in (("resnet34", ["layer2.0", "layer3.0", "layer4.0"]),
                         ("resnet50", ["layer1.0", "layer2.0", "layer3.0", "layer4.0"])):
        net = models.create(name, init=False)
        assert [n for n, m in net.named_modules() if isinstance(m, Residual) and m.downsample is not None] == wanted


def test_a_bottleneck_halves_the_map_in_its_3x3_convolution():
    block = models.create("resnet50", init=False).layer2[0]
    assert [(m.kernel_size, m.stride) for m in (block.conv1, block.conv2, block.conv3)] == [
        ((1, 1), (1, 1)), ((3, 3), (2, 2)), ((1, 1), (1, 1)),
    ]


# --- blocks


def zero(layers):
    for layer in layers:
        for p in layer.parameters():
            nn.init.constant_(p, 0.0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "channels"), [(BasicBlock, 6), (Bottleneck, 24)])
def test_a_residual_block_with_zero_weights_is_relu_of_the_identity(make, channels, training):
    x = mg.randn(3, channels, 5, 4)
    for kind in (nn.Conv2d, nn.BatchNorm2d):  # zero convolutions; a zero factor and offset after the last one
        block = make(channels, 6).train(training)
        layers = [m for m in block.modules() if isinstance(m, kind)]
        zero(layers if kind is nn.Conv2d else layers[-1:])
        assert np.array_equal(block(x).detach().numpy(), np.maximum(x.numpy(), 0))


def test_a_lecture_block_with_zero_weights_is_relu_of_the_identity_and_a_plain_block_is_zero():
    x = mg.randn(2, 1, 6, 6)
    block = Block(1, 4, 1, (1, 3))
    zero([block])
    assert np.array_equal(block(x).detach().numpy(), np.maximum(x.numpy(), 0))
    plain = BasicBlock(1, 1, shortcut="none")
    zero([plain])
    assert not plain(x).detach().numpy().any()


def test_zero_init_residual_starts_every_block_without_a_branch():
    for kind in ("basic", "bottleneck", "pad"):
        name, options, _ = SMALL[kind]
        net = models.create(name, zero_init_residual=True, **options)
        blocks = [m for m in net.modules() if isinstance(m, Residual)]
        factors = {n: set(m.weight.tolist()) for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
        last = "bn3" if kind == "bottleneck" else "bn2"
        assert all(value == ({0.0} if n.endswith(last) else {1.0}) for n, value in factors.items())
        x = mg.randn(2, blocks[0].conv1.in_channels, 4, 4)
        shortcut = x if blocks[0].downsample is None else blocks[0].downsample(x)
        assert np.array_equal(blocks[0](x).detach().numpy(), np.maximum(shortcut.detach().numpy(), 0))
    assert models.resnet18(layers=(1,), width=4).layer1[0].bn2.weight.tolist() == [1.0] * 4


@pytest.mark.parametrize(("size", "stride", "new"), [((6, 6), 2, 4), ((5, 7), 2, 3), ((4, 4), 1, 2), ((3, 3), 2, 0)])
def test_option_a_leaves_out_rows_and_columns_and_adds_zero_maps(size, stride, new):
    x = mg.randn(2, 4, *size)
    y = ZeroPadShortcut(4, 4 + new, stride)(x).numpy()
    assert y.shape == (2, 4 + new, -(-size[0] // stride), -(-size[1] // stride))
    for n, c, i, j in np.ndindex(*y.shape):
        assert y[n, c, i, j] == (x.numpy()[n, c, i * stride, j * stride] if c < 4 else 0)
    assert not list(ZeroPadShortcut(4, 8, 2).parameters())


def test_convolutions_start_with_variance_2_over_fan_out():
    mg.manual_seed(0)
    net = models.create("resnet18", layers=(1, 1), width=32)
    for conv, fan_out in ((net.conv1, 49 * 32), (net.layer2[0].conv1, 9 * 64), (net.layer2[0].downsample[0], 64)):
        weights = conv.weight.detach().numpy()
        assert abs(weights.std() / np.sqrt(2 / fan_out) - 1) < 0.05
        assert abs(weights.mean()) < 0.1 * weights.std()


# --- gradients


@pytest.mark.parametrize("kind", SMALL)
def test_gradients_of_a_small_network(kind):
    net, shape, _ = small(kind)
    check_gradients(net, shape)


@pytest.mark.parametrize("name", ["residual_identity", "residual_resized"])
def test_gradients_of_the_lecture_networks(name):
    mg.manual_seed(1)
    check_gradients(models.create(name, num_classes=4), (3, 1, 28, 28))


# --- the same in PyTorch


def torch_block(w, name, x, block, stride, shortcut):
    """A residual block in PyTorch."""
    F, prefix = w.F, f"{name}." if name else ""
    strides = {"basic": (stride, 1), "bottleneck": (1, stride, 1)}[block]
    y = x
    for i, s in enumerate(strides, 1):
        kernel = 3 if block == "basic" or i == 2 else 1
        y = w.norm(f"{prefix}bn{i}", w.conv(f"{prefix}conv{i}", y, s, kernel // 2))
        y = F.relu(y) if i < len(strides) else y
    if shortcut == "none":
        return F.relu(y)
    if f"{prefix}downsample.0.weight" in w.state:
        x = w.norm(f"{prefix}downsample.1", w.conv(f"{prefix}downsample.0", x, stride))
    elif stride != 1:
        x = F.avg_pool2d(x, 1, stride)
        x = w.torch.cat([x, w.torch.zeros_like(x)], 1)  # the maps double
    return F.relu(y + x)


def torch_resnet(options):
    """A whole network in PyTorch, as a function of weights and images."""

    def run(w, x):
        small_stem = options.get("stem") == "3x3"
        x = w.F.relu(w.norm("bn1", w.conv("conv1", x, *((1, 1) if small_stem else (2, 3)))))
        if not small_stem:
            x = w.F.max_pool2d(x, 3, 2, 1)
        for i, depth in enumerate(options["layers"], 1):
            for j in range(depth):
                x = torch_block(
                    w, f"layer{i}.{j}", x, options.get("block", "basic"), 2 if i > 1 and j == 0 else 1,
                    options.get("shortcut", "projection"),
                )
        return w.linear("fc", x.mean((2, 3)))

    return run


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("block", "make", "channels"), [("basic", BasicBlock, 8), ("bottleneck", Bottleneck, 16)])
def test_blocks_agree_with_pytorch(block, make, channels, stride, dtype, training):
    mg.manual_seed(2)
    width = {"basic": 8, "bottleneck": 4}[block] * stride
    for shortcut in ("projection", "pad", "none"):
        compare_with_torch(
            make(channels, width, stride, shortcut),
            lambda w, x, shortcut=shortcut: torch_block(w, "", x, block, stride, shortcut),
            (3, channels, 9, 8), dtype, training,
        )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", SMALL)
def test_networks_agree_with_pytorch(kind, dtype, training):
    net, shape, options = small(kind)
    compare_with_torch(net, torch_resnet(options), shape, dtype, training)


def torch_lecture(kernels, stride):
    """The lecture's network in PyTorch."""

    def run(w, x):
        for i in (1, 2):
            name, (first, second) = f"block_{i}", kernels
            y = w.F.relu(w.norm(f"{name}.conv_1_bn", w.conv(f"{name}.conv_1", x, stride, first // 2)))
            y = w.norm(f"{name}.conv_2_bn", w.conv(f"{name}.conv_2", y, 1, second // 2))
            if stride == 2:
                x = w.norm(f"{name}.conv_shortcut_bn", w.conv(f"{name}.conv_shortcut", x, stride))
            x = w.F.relu(y + x)
        return w.linear("linear_1", x.flatten(1))

    return run


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "kernels", "stride"), [
    ("residual_identity", (1, 3), 1), ("residual_resized", (3, 1), 2),
])
def test_the_lecture_networks_agree_with_pytorch(name, kernels, stride, dtype, training):
    mg.manual_seed(2)
    compare_with_torch(models.create(name), torch_lecture(kernels, stride), (4, 1, 28, 28), dtype, training)


# --- the lecture's networks, options, weights


def test_the_lecture_networks_have_the_sizes_of_its_comments():
    for name, parameters, shapes in (
        ("residual_identity", 7960, [(4, 28, 28), (1, 28, 28), (4, 28, 28), (1, 28, 28)]),
        ("residual_resized", 17986, [(4, 14, 14), (8, 14, 14), (16, 7, 7), (32, 7, 7)]),
    ):
        net = models.create(name)
        assert sum(p.numel() for p in net.parameters()) == parameters
        convolutions = [f"block_{i}.conv_{j}" for i in (1, 2) for j in (1, 2)]
        assert list(map_shapes(net, convolutions, (1, 28, 28)).values()) == shapes
    assert models.residual_identity(num_classes=3, in_channels=2)(mg.zeros(1, 2, 28, 28)).shape == (1, 3)
    assert models.residual_resized(in_channels=3, maps=((2, 4),))(mg.zeros(1, 3, 28, 28)).shape == (1, 10)


@pytest.mark.parametrize(("options", "message"), [
    ({"block": "wide"}, "resnet: block must be one of basic, bottleneck, got 'wide'"),
    ({"shortcut": "conv"}, "resnet: shortcut must be one of projection, pad, none, got 'conv'"),
    ({"stem": "5x5"}, "resnet: stem must be one of 7x7, 3x3, got '5x5'"),
    ({"shortcut": "none", "zero_init_residual": True}, "zero_init_residual needs shortcuts, got shortcut='none'"),
])
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("resnet18", **options)


def test_weights_without_batch_counts_load(tmp_path):
    name, options, shape = SMALL["bottleneck"]
    mg.manual_seed(0)
    net = stir(models.create(name, **options))
    old = {n: t for n, t in net.state_dict().items() if "num_batches" not in n}
    mg.save(old, tmp_path / "old.safetensors")
    loaded = models.create(name, weights=tmp_path / "old.safetensors", **options)
    x = mg.randn(*shape)
    assert loaded.eval()(x).tolist() == net.eval()(x).tolist()


def test_a_new_head_for_other_classes():
    net = models.resnet18(layers=(1,), width=4)
    net.fc = nn.Linear(4, 10)
    assert [n for n, _ in net.named_children()][-1] == "fc"
    assert net(mg.zeros(2, 3, 9, 9)).shape == (2, 10)
