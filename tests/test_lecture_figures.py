"""The figures on the lecture's slides, recomputed. Where one does not follow, the test says so and shows ours.

Slides: S. Raschka, STAT 479: Deep Learning, Spring 2019, "Introduction to Convolutional Neural Networks", parts 1 to 3.
"""
import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import inspect, models, nn
from minigrad.kernels.conv.params import output_size, same_padding


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("size", "kernel", "padding", "stride", "output"), [
    (4, 3, 0, 1, 2),  # (4 - 3 + 0) / 1 + 1
    (5, 4, 2, 1, 6),  # (5 - 4 + 4) / 1 + 1
    (5, 3, 0, 2, 2),  # (5 - 3 + 0) / 2 + 1
])
def test_the_output_sizes_of_the_slides(size, kernel, padding, stride, output):
    assert output_size(size, kernel, stride, (padding, padding)) == output
    y = nn.Conv2d(1, 1, kernel, stride, padding)(mg.zeros(1, 1, size, size))
    assert y.shape == (1, 1, output, output)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 11])
def test_same_padding_is_half_of_kernel_minus_one(kernel):
    p = (kernel - 1) // 2
    assert same_padding(kernel, 1) == (p, p)
    assert nn.Conv2d(1, 1, kernel, padding=p)(mg.zeros(1, 1, 12, 13)).shape == (1, 1, 12, 13)


# --- VGG-16, layer by layer

VGG16 = [  # layer, values in memory, weights (without biases), as the slide's table has them
    ("input", 224 * 224 * 3, 0),
    ("conv3-64", 224 * 224 * 64, 3 * 3 * 3 * 64), ("conv3-64", 224 * 224 * 64, 3 * 3 * 64 * 64),
    ("pool", 112 * 112 * 64, 0),
    ("conv3-128", 112 * 112 * 128, 3 * 3 * 64 * 128), ("conv3-128", 112 * 112 * 128, 3 * 3 * 128 * 128),
    ("pool", 56 * 56 * 128, 0),
    ("conv3-256", 56 * 56 * 256, 3 * 3 * 128 * 256), ("conv3-256", 56 * 56 * 256, 3 * 3 * 256 * 256),
    ("conv3-256", 56 * 56 * 256, 3 * 3 * 256 * 256),
    ("pool", 28 * 28 * 256, 0),
    ("conv3-512", 28 * 28 * 512, 3 * 3 * 256 * 512), ("conv3-512", 28 * 28 * 512, 3 * 3 * 512 * 512),
    ("conv3-512", 28 * 28 * 512, 3 * 3 * 512 * 512),
    ("pool", 14 * 14 * 512, 0),
    ("conv3-512", 14 * 14 * 512, 3 * 3 * 512 * 512), ("conv3-512", 14 * 14 * 512, 3 * 3 * 512 * 512),
    ("conv3-512", 14 * 14 * 512, 3 * 3 * 512 * 512),
    ("pool", 7 * 7 * 512, 0),
    ("fc", 4096, 7 * 7 * 512 * 4096), ("fc", 4096, 4096 * 4096), ("fc", 1000, 4096 * 1000),
]


@pytest.fixture(scope="module")
def vgg16_rows():
    rows = inspect.summary(models.create("vgg_d", init=False), (3, 224, 224))
    return [r for r in rows if r.kind in ("Conv2d", "MaxPool2d", "Linear")]


def test_vgg16_has_the_slides_table_of_values_and_weights(vgg16_rows):
    ours = [("input", 3 * 224 * 224, 0)]
    for r in vgg16_rows:
        channels = r.output_shape[0]
        kind = {"Conv2d": f"conv3-{channels}", "MaxPool2d": "pool", "Linear": "fc"}[r.kind]
        biases = 0 if kind == "pool" else channels
        ours.append((kind, int(np.prod(r.output_shape)), r.parameters - biases))
    assert ours == VGG16


def test_vgg16_has_138_million_parameters(vgg16_rows):
    assert sum(r.parameters for r in vgg16_rows) == 138_357_544
    assert sum(weights for _, _, weights in VGG16) == 138_344_128


def test_vgg16_holds_15_million_values_where_the_slide_says_24():
    values = sum(values for _, values, _ in VGG16)
    assert values == 15_237_608  # the slide's sum, 24 million values or 96 MB an image, does not follow from its rows
    assert values * 4 / 2**20 == pytest.approx(58.1, abs=0.05)  # MB in float32


# --- receptive fields and weights


def test_three_3x3_layers_see_7x7_with_27_instead_of_49_c_squared_weights():
    x = mg.zeros(1, 1, 15, 15, requires_grad=True)
    y = x
    for _ in range(3):
        y = F.conv2d(y, mg.ones(1, 1, 3, 3), padding=1)
    y[0, 0, 7, 7].backward()
    rows, columns = np.nonzero(x.grad.numpy()[0, 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 10, 4, 10)
    c = 16
    stack = nn.Sequential(*(nn.Conv2d(c, c, 3, bias=False) for _ in range(3)))
    assert parameters(stack) == 27 * c**2
    assert parameters(nn.Conv2d(c, c, 7, bias=False)) == 49 * c**2


def test_global_average_pooling_needs_2560_weights_instead_of_25_600_000():
    with nn.init.skip():
        pooled = nn.Sequential(nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(256, 10, bias=False))
        flat = nn.Sequential(nn.Flatten(), nn.Linear(256 * 100 * 100, 10, bias=False))
    assert parameters(pooled) == 2_560
    assert parameters(flat) == 256 * 10**5
    x = mg.zeros(0, 256, 100, 100)
    assert pooled(x).shape == flat(x).shape == (0, 10)


def test_alexnets_55x55_maps_follow_from_227_pixels_and_not_from_224():
    assert (224 - 11) / 4 + 1 == 54.25
    first = nn.Conv2d(3, 96, 11, stride=4)
    assert first(mg.zeros(0, 3, 224, 224)).shape == (0, 96, 54, 54)
    assert first(mg.zeros(0, 3, 227, 227)).shape == (0, 96, 55, 55)
    assert models.entry("alexnet_2012").input_shape == (3, 227, 227)


# --- the inception example: 28 x 28 x 256 in


def block_multiplications(name):
    return {r.name: r.multiplications for r in inspect.summary(models.create(name, init=False), (256, 28, 28))}


def test_the_naive_inception_block_takes_854_million_multiplications():
    counts = sorted(filter(None, block_multiplications("inception_block_naive").values()))
    assert counts == [28 * 28 * 128 * 256, 28 * 28 * 192 * 9 * 256, 28 * 28 * 96 * 25 * 256]
    assert sum(counts) == 854_196_224


def test_the_reduced_inception_block_takes_271_million_where_the_slide_says_358():
    counts = sorted(filter(None, block_multiplications("inception_block_reduced").values()))
    reductions = [28 * 28 * 64 * 256] * 3
    three = 28 * 28 * 192 * 9 * 64
    assert counts == sorted([*reductions, 28 * 28 * 128 * 256, three, 28 * 28 * 96 * 25 * 64])
    assert sum(counts) == 271_351_808
    assert round((sum(counts) + three) / 1e6) == 358  # the slide's sum counts the 3x3 branch twice


# --- convolution against cross-correlation


def full(function, x, w):
    """All of the products' overlaps: padding by the kernel's size - 1."""
    return function(x, w, padding=(w.shape[2] - 1, w.shape[3] - 1))


def test_true_convolution_is_associative_and_cross_correlation_is_not():
    mg.manual_seed(0)
    x, a, b = mg.randn(1, 1, 6, 5).double(), mg.randn(1, 1, 3, 2).double(), mg.randn(1, 1, 2, 4).double()
    one_by_one = full(F.convolve2d, full(F.convolve2d, x, a), b)
    at_once = full(F.convolve2d, x, full(F.convolve2d, a, b))
    np.testing.assert_allclose(one_by_one.numpy(), at_once.numpy(), atol=1e-12)
    one_by_one = full(F.conv2d, full(F.conv2d, x, a), b)
    at_once = full(F.conv2d, x, full(F.conv2d, a, b))
    assert one_by_one.shape == at_once.shape
    assert abs(one_by_one.numpy() - at_once.numpy()).max() > 0.1


def test_true_convolution_commutes_and_cross_correlation_does_not():
    mg.manual_seed(0)
    a, b = mg.randn(1, 1, 4, 3).double(), mg.randn(1, 1, 3, 5).double()
    np.testing.assert_allclose(full(F.convolve2d, a, b).numpy(), full(F.convolve2d, b, a).numpy(), atol=1e-12)
    assert abs(full(F.conv2d, a, b).numpy() - full(F.conv2d, b, a).numpy()).max() > 0.1
