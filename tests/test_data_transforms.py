"""Transforms of batches, each against a plain loop over images that follows the definition, with the same numbers."""
import colorsys
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import transforms
from minigrad.data.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    ConvertImageDtype,
    Cutout,
    Lighting,
    MixUp,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 3, 7, 9), dtype=np.uint8)
FLOATS = RNG.random((40, 3, 7, 9))
RANDOM = [
    RandomCrop((5, 6), padding=2), RandomHorizontalFlip(), Cutout(3), ColorJitter(0.4, 0.4, 0.4, 0.1), Lighting(),
    transforms.RandomShift(2), Compose([RandomCrop(7, padding=1), RandomHorizontalFlip()]),
]


@pytest.mark.parametrize("transform", RANDOM, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("images", [PIXELS, FLOATS, FLOATS.astype(np.float32)], ids=["uint8", "float64", "float32"])
def test_a_random_transform_follows_its_generator_keeps_the_dtype_and_its_input(transform, images):
    before = images.copy()
    one, same, other = (transform(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.dtype == images.dtype and len(one) == len(images)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(one, images)


# --- numbers


def test_conversion_and_normalisation():
    floats = ConvertImageDtype()(PIXELS)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, PIXELS / 255, atol=1e-7)
    np.testing.assert_array_equal(ConvertImageDtype("uint8")(floats), PIXELS)
    assert ConvertImageDtype("uint8")(np.array([-1.0, 0.0, 0.4999, 1.0, 2.0])).tolist() == [0, 0, 127, 255, 255]
    assert ConvertImageDtype("float64")(floats).dtype == np.float64
    y = Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))(FLOATS)
    for image, expected in zip(y, FLOATS, strict=True):
        for c in range(3):
            np.testing.assert_allclose(image[c], (expected[c] - (0.1, 0.2, 0.3)[c]) / (0.5, 0.6, 0.7)[c])


@pytest.mark.parametrize(("make", "images", "error", "message"), [
    (lambda: ConvertImageDtype("int32"), PIXELS, ValueError, "got int32"),
    (lambda: Normalize(0.5, (1, 0, 1)), FLOATS, ValueError, "no std of 0"),
    (lambda: Normalize((0.5, 0.5), 1), FLOATS, ValueError, "2 numbers for images of 3 channels"),
    (lambda: Normalize(0.5, 0.5), PIXELS, TypeError, "expected floats, got uint8"),
    (lambda: Resize(0), PIXELS, ValueError, "size must be an integer >= 1, got 0"),
    (lambda: RandomCrop(8), PIXELS, ValueError, "8x8 does not fit into images of 7x9"),
    (lambda: RandomCrop(3, padding=(1, 2, 3)), PIXELS, ValueError, "a pair or four numbers"),
    (lambda: RandomCrop(3, padding=-1), PIXELS, ValueError, "padding must be an integer >= 0, got -1"),
    (lambda: RandomCrop(3, padding_mode="wrap"), PIXELS, ValueError, "unknown padding_mode 'wrap'"),
    (lambda: RandomHorizontalFlip(1.5), PIXELS, ValueError, "between 0 and 1, got 1.5"),
    (lambda: Cutout(0), PIXELS, ValueError, "size must be an integer >= 1"),
    (lambda: ColorJitter(brightness=-1), PIXELS, ValueError, "brightness must be a number >= 0"),
    (lambda: ColorJitter(hue=0.6), PIXELS, ValueError, "hue 0.6 reaches beyond -0.5 ... 0.5"),
    (lambda: ColorJitter(contrast=(2, 1)), PIXELS, ValueError, "contrast"),
    (lambda: ColorJitter(0.1), PIXELS[:, :2], ValueError, "1 or 3 channels, got 2"),
    (lambda: Lighting(), PIXELS[:, :1], ValueError, "3 channels, got 1"),
    (lambda: Lighting(values=(1, 2)), PIXELS, ValueError, "expected 3 values"),
    (lambda: MixUp(0, num_classes=3), PIXELS, ValueError, "alpha must be above 0"),
])
def test_what_makes_no_sense_is_named(make, images, error, message):
    with pytest.raises(error, match=message.replace("...", r"\.\.\.")):
        make()(images, np.random.default_rng(0))


# --- sizes


@pytest.mark.parametrize("size", [(3, 4), (14, 5), (20, 30), (7, 9), (1, 1)])
@pytest.mark.parametrize("antialias", [True, False])
def test_resize_is_that_of_pytorch(size, antialias):
    torch = pytest.importorskip("torch")
    y = Resize(size, antialias)(FLOATS)
    options = {"mode": "bilinear", "align_corners": False, "antialias": antialias}
    expected = torch.nn.functional.interpolate(torch.tensor(FLOATS), size, **options)
    np.testing.assert_allclose(y, expected.numpy(), atol=1e-12)
    rounded = Resize(size, antialias)(PIXELS)
    expected = torch.nn.functional.interpolate(torch.tensor(PIXELS / 255), size, **options) * 255
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - expected.numpy()).max() <= 0.5 + 1e-4


def test_resize_with_one_number_keeps_the_ratio():
    assert Resize(14)(FLOATS).shape[2:] == (14, 18)
    assert Resize(3)(FLOATS.swapaxes(2, 3)).shape[2:] == (3 * 9 // 7, 3)
    assert Resize(7)(FLOATS) is FLOATS


@pytest.mark.parametrize(("size", "top", "left"), [((5, 5), 1, 2), (3, 2, 3), ((4, 9), 2, 0), ((7, 2), 0, 4)])
def test_center_crop(size, top, left):
    h, w = (size, size) if isinstance(size, int) else size
    y = CenterCrop(size)(PIXELS)
    np.testing.assert_array_equal(y, np.stack([image[:, top : top + h, left : left + w] for image in PIXELS]))


def test_center_crop_pads_what_is_too_small():
    y = CenterCrop((10, 5))(PIXELS)
    assert y.shape[2:] == (10, 5)
    np.testing.assert_array_equal(y[:, :, 1:8], PIXELS[:, :, :, 2:7])
    assert not y[:, :, 0].any() and not y[:, :, 8:].any()


# --- random places


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize(("padding", "sides"), [
    (2, (2, 2, 2, 2)), ((1, 3), (1, 3, 1, 3)), ((0, 1, 2, 3), (0, 1, 2, 3)), (None, (0, 0, 0, 0)),
])
def test_random_crop_by_a_loop(mode, padding, sides):
    left, top, right, bottom = sides
    y = RandomCrop((6, 5), padding, fill=9, padding_mode=mode)(PIXELS, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    down = rng.integers(0, 7 + top + bottom - 6 + 1, len(PIXELS))
    across = rng.integers(0, 9 + left + right - 5 + 1, len(PIXELS))
    extra = {"constant_values": 9} if mode == "constant" else {}
    for image, cropped, i, j in zip(PIXELS, y, down, across, strict=True):
        wide = np.pad(image, ((0, 0), (top, bottom), (left, right)), mode, **extra)
        np.testing.assert_array_equal(cropped, wide[:, i : i + 6, j : j + 5])
    assert {0, 7 + top + bottom - 6} <= set(down)  # every place is reached


def test_random_crop_pads_if_needed():
    y = RandomCrop((9, 9), pad_if_needed=True, fill=1)(PIXELS, np.random.default_rng(0))
    assert y.shape[2:] == (9, 9)
    for image, padded in zip(PIXELS, y, strict=True):
        assert any(np.array_equal(image, padded[:, i : i + 7]) for i in range(3))


def test_flips_mirror_about_half_of_the_images_and_nothing_else():
    y = RandomHorizontalFlip(0.5)(PIXELS, np.random.default_rng(5))
    chosen = np.random.default_rng(5).random(len(PIXELS)) < 0.5
    for image, flipped, mirrored in zip(PIXELS, y, chosen, strict=True):
        np.testing.assert_array_equal(flipped, image[:, :, ::-1] if mirrored else image)
    assert 10 < chosen.sum() < 30
    np.testing.assert_array_equal(RandomHorizontalFlip(0)(PIXELS, np.random.default_rng(0)), PIXELS)
    np.testing.assert_array_equal(RandomHorizontalFlip(1)(PIXELS, np.random.default_rng(0)), PIXELS[..., ::-1])


@pytest.mark.parametrize("size", [1, 3, 4, 50])
def test_cutout_by_a_loop(size):
    y = Cutout(size, fill=(1, 2, 3))(PIXELS, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    rows, columns = rng.integers(0, 7, (len(PIXELS), 1)), rng.integers(0, 9, (len(PIXELS), 1))
    for image, cut, (row,), (column,) in zip(PIXELS, y, rows, columns, strict=True):
        expected = image.copy()
        for i in range(7):
            for j in range(9):
                if 0 <= i - row + size // 2 < size and 0 <= j - column + size // 2 < size:
                    expected[:, i, j] = 1, 2, 3
        np.testing.assert_array_equal(cut, expected)


# --- colours


def jittered(image, order, factors):
    """ColorJitter of one float image, 3 x H x W, pixel by pixel."""
    brightness, contrast, saturation, turn = factors
    x = image.copy()
    for kind in order:
        luma = 0.2989 * x[0] + 0.587 * x[1] + 0.114 * x[2]
        if kind == 0:
            x = np.clip(x * brightness, 0, 1)
        elif kind == 1:
            x = np.clip(contrast * x + (1 - contrast) * luma.mean(), 0, 1)
        elif kind == 2:
            x = np.clip(saturation * x + (1 - saturation) * luma, 0, 1)
        else:
            for i, j in np.ndindex(x.shape[1:]):
                h, s, v = colorsys.rgb_to_hsv(*x[:, i, j])
                x[:, i, j] = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
    return x


@pytest.mark.parametrize("spec", [
    (0.4, 0.5, 0.6, 0.3), ((0.2, 0.3), 0, (1.5, 2.0), (-0.5, -0.4)), (2.0, 0, 0, 0), (0, 0, 0, 0.5),
])
def test_color_jitter_by_a_loop(spec):
    images = FLOATS.copy()
    images[0], images[1, :, 0], images[2] = 0.5, 1, 0  # greys
    y = ColorJitter(*spec)(images, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    order = rng.permuted(np.tile(np.arange(4), (len(images), 1)), axis=1)
    bounds = [v if isinstance(v, tuple) else (max(0, 1 - v), 1 + v) if i < 3 else (-v, v) for i, v in enumerate(spec)]
    factors = np.stack([rng.uniform(*b, len(images)) for b in bounds], 1)
    for i, image in enumerate(images):
        np.testing.assert_allclose(y[i], jittered(image, order[i], factors[i]), atol=1e-9)
    assert len({tuple(o) for o in order.tolist()}) > 10


def test_color_jitter_of_bytes_rounds_once_and_of_grey_images_keeps_to_light():
    y = ColorJitter(0.4, 0.4, 0.4, 0.2)(PIXELS, np.random.default_rng(3))
    exact = ColorJitter(0.4, 0.4, 0.4, 0.2)(PIXELS / 255, np.random.default_rng(3)) * 255
    assert np.abs(y - exact).max() <= 0.5 + 1e-3
    grey = FLOATS[:, :1]
    np.testing.assert_array_equal(ColorJitter(saturation=1, hue=0.5)(grey, np.random.default_rng(0)), grey)
    np.testing.assert_array_equal(ColorJitter()(FLOATS, np.random.default_rng(0)), FLOATS)


def test_lighting_by_a_loop():
    values, vectors = (0.3, 0.2, 0.1), RNG.normal(size=(3, 3))
    y = Lighting(0.5, values, vectors)(FLOATS, np.random.default_rng(2))
    alphas = np.random.default_rng(2).normal(0, 0.5, (len(FLOATS), 3))
    for image, lit, a in zip(FLOATS, y, alphas, strict=True):
        colour = sum(a[i] * values[i] * vectors[i] for i in range(3))
        for c in range(3):
            np.testing.assert_allclose(lit[c], image[c] + colour[c], atol=1e-12)


def test_the_principal_components_of_the_colours():
    axes = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    colours = 0.5 + (RNG.normal(size=(20000, 3)) * (0.2, 0.1, 0.05)) @ axes
    values, components = transforms.principal_components(colours.reshape(2, 100, 100, 3).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(values, (0.04, 0.01, 0.0025), rtol=0.05)
    np.testing.assert_allclose(np.abs(components @ axes.T), np.eye(3), atol=0.05)
    exact = np.linalg.eigvalsh(np.cov((PIXELS / 255).transpose(1, 0, 2, 3).reshape(3, -1), bias=True))[::-1]
    np.testing.assert_allclose(transforms.principal_components(PIXELS)[0], exact, rtol=1e-9)
    assert Lighting(0.1, *transforms.principal_components(PIXELS))(PIXELS, RNG).shape == PIXELS.shape


# --- images and labels


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_by_a_loop(alpha):
    labels = np.arange(40) % 5
    images, targets = MixUp(alpha, num_classes=5)(FLOATS, labels, np.random.default_rng(4))
    share = np.random.default_rng(4).beta(alpha, alpha)
    for i in range(40):
        np.testing.assert_allclose(images[i], share * FLOATS[i] + (1 - share) * FLOATS[i - 1])
        expected = np.zeros(5)
        expected[labels[i]] += share
        expected[labels[i - 1]] += 1 - share
        np.testing.assert_allclose(targets[i], expected)
    loss = mg.cross_entropy(mg.zeros(40, 5), mg.tensor(targets.astype(np.float32)))
    assert loss.item() == pytest.approx(math.log(5), rel=1e-6)
    with pytest.raises(TypeError, match="expected floats, got uint8"):
        MixUp(num_classes=5)(PIXELS, labels, np.random.default_rng(0))
