"""Network in Network: the order of its layers, sizes of maps, and gradients of a narrow one."""
from functools import partial

import numpy as np
import pytest
from whole_networks import check_gradients, map_shapes

import minigrad as mg
from minigrad import models, nn
from minigrad.models.nin import Mlpconv

NAMES = ["nin_cifar", "nin_imagenet", "nin_imagenet_bn"]
SMALL = (
    Mlpconv((4, 3), 3, padding=1, pool=partial(nn.MaxPool2d, 3, 2, ceil_mode=True), dropout=True),
    Mlpconv((3, 4, None), 3, stride=2),
)


def kinds(net):
    """The kinds of the layers in the order in which they run."""
    return [type(m).__name__ for m in net.modules() if not list(m.children())]


def test_nin_cifar_has_the_layers_of_the_lecture_in_their_order():
    micro = ["Conv2d", "ReLU"] * 3
    net = models.create("nin_cifar", init=False)
    assert kinds(net) == [
        *micro, "MaxPool2d", "Dropout", *micro, "AvgPool2d", "Dropout", *micro, "GlobalAvgPool2d", "Flatten"
    ]
    assert [(m.in_channels, m.out_channels, *m.kernel_size) for m in net.modules() if isinstance(m, nn.Conv2d)] == [
        (3, 192, 5, 5), (192, 160, 1, 1), (160, 96, 1, 1), (96, 192, 5, 5), (192, 192, 1, 1), (192, 192, 1, 1),
        (192, 192, 3, 3), (192, 192, 1, 1), (192, 10, 1, 1),
    ]
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize(("name", "image", "maps"), [
    ("nin_cifar", 32, [(96, 16), (192, 8), (10, 8)]),
    ("nin_imagenet", 224, [(96, 27), (256, 13), (384, 6), (1000, 6)]),
    ("nin_imagenet_bn", 224, [(96, 27), (256, 13), (384, 6), (1000, 6)]),
])
def test_the_maps_shrink_to_8x8_and_6x6_with_one_a_class_at_the_end(name, image, maps):
    net = models.create(name, init=False)
    last = f"mlpconv{len(maps)}"
    names = [*(f"pool{i}" for i in range(1, len(maps))), last]
    shapes = map_shapes(net, names, (3, image, image))
    assert [shapes[n] for n in names] == [(c, size, size) for c, size in maps]
    if name != "nin_cifar":
        assert map_shapes(net, ["mlpconv1"], (3, image, image)) == {"mlpconv1": (96, 54, 54)}


def test_the_imagenet_nets_drop_out_once_before_the_last_block():
    for name in ("nin_imagenet", "nin_imagenet_bn"):
        children = [n for n, _ in models.create(name, init=False).named_children()]
        assert [n for n in children if n.startswith("drop")] == ["drop3"]
        assert children.index("drop3") + 1 == children.index("mlpconv4")


def test_batch_norm_stands_between_every_convolution_and_its_relu_and_adds_10512_parameters():
    plain, normalised = (models.create(name, init=False) for name in ("nin_imagenet", "nin_imagenet_bn"))
    assert [k for k in kinds(normalised) if k != "BatchNorm2d"] == kinds(plain)
    order = kinds(normalised)
    assert all(order[i + 1 : i + 3] == ["BatchNorm2d", "ReLU"] for i, k in enumerate(order) if k == "Conv2d")
    sizes = [sum(p.numel() for p in net.parameters()) for net in (plain, normalised)]
    assert sizes == [7_595_176, 7_605_688]
    assert sizes[1] - sizes[0] == 2 * (3 * 96 + 3 * 256 + 3 * 384 + 2 * 1024 + 1000)


@pytest.mark.parametrize("name", NAMES)
def test_a_relu_follows_the_last_convolution(name):
    net = models.create(name, init=False)
    assert type(net[-3][-1]) is nn.ReLU
    last = [m for m in net.modules() if isinstance(m, nn.Conv2d)][-1]
    last.bias.detach().copy_(np.linspace(-1, 1, last.out_channels))
    if name == "nin_cifar":  # zero weights: the scores are those of the last biases
        scores = net.eval()(mg.zeros(1, 3, 32, 32)).detach().numpy()[0]
        np.testing.assert_allclose(scores, np.maximum(last.bias.detach().numpy(), 0), rtol=1e-6)


def test_scores_are_the_means_of_the_last_maps_at_any_size():
    mg.manual_seed(0)
    net = models.create("nin_cifar").eval()
    x = mg.randn(1, 3, 20, 28)
    with mg.no_grad():
        maps = x
        for layer in net[:-2]:
            maps = layer(maps)
        np.testing.assert_allclose(net(x).numpy(), maps.numpy().mean((2, 3)), rtol=1e-5, atol=1e-7)
    assert maps.shape == (1, 10, 5, 7)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradients_of_a_narrow_network_end_to_end(batch_norm):
    mg.manual_seed(4)
    net = models.nin_cifar(num_classes=3, in_channels=2, blocks=SMALL, batch_norm=batch_norm, dropout=0.0)
    check_gradients(net, (3, 2, 10, 10))
