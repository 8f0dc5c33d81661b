"""fc_to_conv: a head of convolutions gives the scores of the linear one, and a map of them for larger images."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import models, nn
from minigrad.models import fc_to_conv

NARROW = {"width": 1 / 16, "hidden": 20, "num_classes": 7}
# network: options, its own size, a larger size and the map of scores there
NETWORKS = {
    "convnet": ({}, 28, (36, 44), (3, 5)),
    "lenet5_modern": ({"pooling": "average", "activation": "tanh"}, 32, (36, 48), (2, 5)),
    "residual_resized": ({}, 28, (36, 28), (3, 1)),
    "alexnet_2012": (NARROW, 227, (227, 259), (1, 2)),
    "alexnet_cs231n": ({**NARROW, "grid": 1}, 67, (99, 131), (2, 3)),
    "alexnet": (NARROW, 224, (256, 224), (2, 1)),
    "alexnet_bn": ({**NARROW, "grid": 1}, 63, (95, 63), (2, 1)),
    "zfnet": ({**NARROW, "grid": 1}, 54, (86, 118), (2, 3)),
    "zfnet_wide": ({**NARROW, "grid": 1}, 54, (54, 86), (1, 2)),
    "vgg_a": ({**NARROW, "grid": 1}, 32, (64, 96), (2, 3)),
    "vgg_a_lrn": ({**NARROW, "grid": 1}, 32, (32, 64), (1, 2)),
    "vgg_c": ({**NARROW, "grid": 2}, 64, (96, 64), (2, 1)),
    "vgg11": ({**NARROW, "width": 1 / 32}, 224, (256, 224), (2, 1)),
    "vgg13_bn": ({**NARROW, "grid": 2}, 64, (96, 128), (2, 3)),
    "vgg16_cifar": (NARROW, 32, (64, 96), (2, 3)),
}


def pair(name):
    """A network with weights for its width, in evaluation mode, its convolutional form, and its number of channels."""
    mg.manual_seed(0)
    options = NETWORKS[name][0]
    net = models.create(name, **options).eval()
    rng = np.random.default_rng(0)
    for m in net.modules():
        if isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight)
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for t in (m.weight, m.bias, m.running_mean, m.running_var):
                t.detach().copy_(rng.uniform(0.5, 1.5, t.shape))
    return net, fc_to_conv(net), models.entry(name).input_shape[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_scores_are_equal_and_larger_images_give_a_map_of_them(name):
    net, convolutional, channels = pair(name)
    _, size, larger, grid = NETWORKS[name]
    assert not any(isinstance(m, (nn.Linear, nn.BatchNorm1d, nn.Flatten)) for m in convolutional.modules())
    x = mg.randn(2, channels, size, size) / 4
    expected, scores = net(x).detach().numpy(), convolutional(x).detach().numpy()
    assert scores.shape == (*expected.shape, 1, 1)
    assert abs(scores[:, :, 0, 0] - expected).max() < 1e-5
    assert abs(expected).max() > 0.1
    assert convolutional(mg.randn(1, channels, *larger)).shape == (1, expected.shape[1], *grid)
    assert convolutional(mg.zeros(0, channels, *larger)).shape == (0, expected.shape[1], *grid)


def test_the_map_holds_the_scores_of_shifted_windows():
    mg.manual_seed(0)
    net = nn.Sequential(  # without padding: nothing tells a window from an image
        nn.Conv2d(2, 4, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(4 * 2 * 2, 6), nn.Tanh(), nn.Linear(6, 3),
    ).double().eval()
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 2, 17, 13)))
    scores = fc_to_conv(net)(x).detach().numpy()  # a shift by one score is 4 pixels, a window 9 x 9
    assert scores.shape == (2, 3, 3, 2)
    for i in range(3):
        for j in range(2):
            window = net(x[:, :, 4 * i : 4 * i + 9, 4 * j : 4 * j + 9]).detach().numpy()
            np.testing.assert_allclose(scores[:, :, i, j], window, atol=1e-12)


def test_the_weights_are_copied_keep_their_names_and_train_apart():
    net, convolutional, _ = pair("lenet5_modern")
    before = {name: t.numpy().copy() for name, t in net.state_dict().items()}
    state = convolutional.state_dict()
    assert list(state) == list(before)
    assert [(n, t.shape) for n, t in state.items() if t.shape != before[n].shape] == [
        ("f6.weight", (84, 120, 1, 1)), ("output.weight", (10, 84, 1, 1)),
    ]
    for name, t in state.items():
        assert t.numpy().ravel().tolist() == before[name].ravel().tolist()
        t.add_(1.0)
    assert all((t.numpy() == before[name]).all() for name, t in net.state_dict().items())
    assert isinstance(net.f6, nn.Linear)
    convolutional(mg.zeros(1, 1, 36, 36)).sum().backward()
    assert all(p.grad is not None for p in convolutional.parameters())
    assert all(p.grad is None for p in net.parameters())


def test_the_first_kernel_is_the_whole_map_and_the_others_are_1x1():
    _, convolutional, _ = pair("alexnet")
    assert [m.kernel_size for m in convolutional.classifier if isinstance(m, nn.Conv2d)] == [(6, 6), (1, 1), (1, 1)]
    assert isinstance(convolutional.avgpool, nn.Identity)


def test_modes_frozen_parameters_missing_biases_and_dtypes_are_kept():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5, bias=False), nn.BatchNorm1d(5))
    net.double()[2].weight.requires_grad_(False)
    net[3].eval()
    convolutional = fc_to_conv(net)
    assert convolutional[2].bias is None and not convolutional[2].weight.requires_grad
    assert convolutional[2].weight.dtype == np.float64
    assert [m.training for m in convolutional] == [True, True, True, False]


@pytest.mark.parametrize("activation", [
    nn.ReLU6, nn.LeakyReLU, lambda: nn.PReLU(5), nn.ELU, nn.SiLU, nn.Hardtanh, nn.Softplus,
])
def test_any_elementwise_activation_may_stand_between_the_linear_layers(activation):
    mg.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(8, 5), activation(), nn.Linear(5, 3)
    )
    if isinstance(net[4], nn.PReLU):
        net[4].weight.detach().copy_(np.arange(5) / 4)
    convolutional, x = fc_to_conv(net), mg.randn(2, 1, 4, 4)
    np.testing.assert_allclose(convolutional(x).detach().numpy()[:, :, 0, 0], net(x).detach().numpy(), atol=1e-6)
    assert convolutional(mg.randn(2, 1, 7, 5)).shape == (2, 3, 4, 2)


@pytest.mark.parametrize("last", [nn.Softmax, nn.LogSoftmax])
def test_probabilities_are_taken_over_the_classes_at_every_place(last):
    mg.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3), last(1))
    x = mg.randn(2, 1, 5, 4)
    scores = fc_to_conv(net)(x).detach().numpy()
    np.testing.assert_allclose(scores[:, :, 1, 0], net(x[:, :, 1:]).detach().numpy(), atol=1e-6)
    net[3] = last(-1)
    with pytest.raises(ValueError, match=r"Softmax\(dim=-1\) after the Flatten has no convolutional form"):
        fc_to_conv(net)


def test_another_copy_of_a_converted_network_is_refused_like_other_networks():
    _, convolutional, _ = pair("convnet")
    with pytest.raises(ValueError, match="fc_to_conv: it has 0 Flatten layers"):
        fc_to_conv(convolutional)


@pytest.mark.parametrize(("net", "message"), [
    (lambda: models.lenet5(), r"GaussianConnections\(84, 10\) after the Flatten has no convolutional form"),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), "it has 0 Flatten layers, not one"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Flatten()), "it has 2 Flatten layers, not one"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), "must be convolutions, a Flatten and linear layers"),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), "must be convolutions, a Flatten and linear layers"),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(12, 3)),
     "the first linear layer has 12 inputs, not a square map of 2 channels"),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)),
     r"pools whole maps \(AdaptiveAvgPool2d\(output_size=1\)\)"),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(2, 3)),
     r"pools whole maps \(GlobalAvgPool2d\(\)\)"),
    (lambda: models.create("densenet121", init=False), "pools whole maps"),
    (lambda: nn.Flatten(), "must be convolutions, a Flatten and linear layers"),
])
def test_other_networks_are_refused(net, message):
    with pytest.raises(ValueError, match="fc_to_conv: .*" + message):
        fc_to_conv(net())
