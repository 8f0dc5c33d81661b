"""Resizing images: what the two modes compute, by plain loops; adjoints, layouts, special values, errors."""
import math

import numpy as np
import pytest
from layouts import LAYOUTS, channels_last

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn
from minigrad.ops.interpolate import Taps, _linear, _nearest

pytestmark = pytest.mark.usefixtures("made_there")

MODES = [("nearest", None), ("bilinear", False), ("bilinear", True)]


def nearest_by_loops(x, oh, ow):
    y = np.zeros((*x.shape[:2], oh, ow))
    for i, j in np.ndindex(oh, ow):
        y[:, :, i, j] = x[:, :, i * x.shape[2] // oh, j * x.shape[3] // ow]
    return y


def bilinear_by_loops(x, oh, ow, align_corners):
    h, w = x.shape[2:]

    def position(i, inputs, outputs):
        if align_corners:
            return i * (inputs - 1) / max(outputs - 1, 1)
        return min(max((i + 0.5) * inputs / outputs - 0.5, 0), inputs - 1)

    y = np.zeros((*x.shape[:2], oh, ow))
    for i, j in np.ndindex(oh, ow):
        r, c = position(i, h, oh), position(j, w, ow)
        for row, column in np.ndindex(h, w):  # a tent around the position
            y[:, :, i, j] += max(1 - abs(r - row), 0) * max(1 - abs(c - column), 0) * x[:, :, row, column]
    return y


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 1), (2, 9), (3, 4), (13, 3), (4, 2)])
@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (1, 2, 1, 5)])
def test_both_modes_are_the_plain_loops(shape, size):
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(F.interpolate(mg.Tensor(x), size).numpy(), nearest_by_loops(x, *size))
    for corners in (False, True):
        y = F.interpolate(mg.Tensor(x), size, mode="bilinear", align_corners=corners).numpy()
        np.testing.assert_allclose(y, bilinear_by_loops(x, *size, corners), rtol=0, atol=1e-12)


def test_doubling_by_hand():
    x = mg.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert nn.Upsample(scale_factor=2)(x)[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    smooth = nn.Upsample(scale_factor=2, mode="bilinear")(x)
    assert smooth[0, 0, 0].tolist() == [1, 1.25, 1.75, 2]
    corners = nn.Upsample(size=(2, 3), mode="bilinear", align_corners=True)(x)
    assert corners[0, 0].tolist() == [[1, 1.5, 2], [3, 3.5, 4]]


def test_a_constant_stays_constant_and_a_ramp_a_ramp():
    for mode, corners in MODES:
        y = F.interpolate(mg.full((1, 1, 3, 4), 2.5), (7, 9), mode=mode, align_corners=corners)
        assert (y.numpy() == 2.5).all()
    ramp = mg.arange(5.0).reshape(1, 1, 1, 5)
    y = F.interpolate(ramp, (1, 17), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(y.numpy().ravel(), np.linspace(0, 4, 17), atol=1e-6)


def test_the_size_is_the_floor_and_positions_use_the_given_factor_unless_recomputed():
    x = mg.Tensor(np.arange(10.0).reshape(1, 1, 1, 10))
    by_factor = F.interpolate(x, scale_factor=(1, 1.75), mode="bilinear")
    recomputed = F.interpolate(x, scale_factor=(1, 1.75), mode="bilinear", recompute_scale_factor=True)
    assert by_factor.shape == recomputed.shape == (1, 1, 1, 17)
    by_size = F.interpolate(x, (1, 17), mode="bilinear")
    np.testing.assert_array_equal(recomputed.numpy(), by_size.numpy())
    assert by_factor[0, 0, 0, 8].item() == pytest.approx(8.5 / 1.75 - 0.5)
    assert by_size[0, 0, 0, 8].item() == pytest.approx(8.5 * 10 / 17 - 0.5)


@pytest.mark.parametrize(("mode", "corners"), MODES)
@pytest.mark.parametrize(("size", "out"), [((3, 4), (7, 5)), ((9, 6), (4, 6)), ((4, 4), (8, 8)), ((1, 3), (5, 1))])
def test_the_gradient_is_the_adjoint_and_its_gradient_the_forward(mode, corners, size, out):
    rng = np.random.default_rng(0)
    x = mg.Tensor(rng.standard_normal((2, 2, *size)), requires_grad=True)
    y = F.interpolate(x, out, mode=mode, align_corners=corners)
    gy = mg.Tensor(rng.standard_normal(y.shape), requires_grad=True)
    (gx,) = mg.grad(y, x, gy, create_graph=True)
    assert (gx * x).sum().item() == pytest.approx((gy * y).sum().item(), rel=1e-12)
    ggx = mg.Tensor(rng.standard_normal(x.shape))
    (ggy,) = mg.grad(gx, gy, ggx)
    expected = F.interpolate(ggx, out, mode=mode, align_corners=corners)
    np.testing.assert_allclose(ggy.numpy(), expected.numpy(), rtol=0, atol=1e-12)


def matrix(taps):
    """The dense OUT x IN matrix of a table of taps."""
    m = np.zeros((taps.index.shape[1], taps.inputs))
    weight = np.ones(taps.index.shape) if taps.weight is None else taps.weight
    for t, o in np.ndindex(taps.index.shape):
        m[o, taps.index[t, o]] += weight[t, o]
    return m


@pytest.mark.parametrize("inputs", [1, 2, 5, 9])
@pytest.mark.parametrize("outputs", [1, 2, 3, 10, 23])
def test_turning_taps_round_transposes_their_matrix(inputs, outputs):
    for taps in (_nearest(inputs, outputs, None), *(_linear(inputs, outputs, None, c) for c in (False, True))):
        np.testing.assert_allclose(matrix(taps).sum(1), 1, rtol=1e-12)
        np.testing.assert_array_equal(matrix(taps.turned()), matrix(taps).T)
        assert taps.turned().turned() is taps
        turned = taps.turned()
        again = Taps(turned.inputs, turned.index, turned.weight).turned()  # without the way back
        np.testing.assert_array_equal(matrix(again), matrix(taps))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("mode", "corners"), MODES)
def test_layout_changes_no_bit_and_channels_last_stays(layout, mode, corners):
    values = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype("float32")

    def run(array, gy):
        x = mg.Tensor(array, requires_grad=True)
        y = F.interpolate(x, (7, 3), mode=mode, align_corners=corners)
        y.backward(mg.Tensor(gy))
        return y.detach().numpy(), x.grad.numpy()

    gy = np.random.default_rng(1).standard_normal((2, 3, 7, 3)).astype("float32")
    expected = run(values, gy)
    for _ in range(2):  # and the same bits each time
        got = run(layout(values), layout(gy))
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    if layout is channels_last:
        assert all(a.transpose(0, 2, 3, 1).flags.c_contiguous for a in got)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_special_values_spread_no_further_than_their_neighbours(value):
    x = mg.Tensor(np.ones((1, 1, 6, 6)), requires_grad=True)
    with mg.no_grad():
        x[0, 0, 2, 2] = value
    for mode, corners in MODES:
        y = F.interpolate(x, (12, 12), mode=mode, align_corners=corners)
        wrong = np.argwhere(~np.isfinite(y.detach().numpy()[0, 0]))
        assert 0 < len(wrong) <= 16
        assert wrong.min() >= 2
        assert wrong.max() <= 7
        (gx,) = mg.grad(y, x, mg.Tensor(np.where(np.isfinite(y.detach().numpy()), 1.0, value)))
        assert np.isfinite(gx.numpy()[0, 0, :1]).all()
        assert np.isfinite(gx.numpy()[0, 0, 5:]).all()


def test_pixels_that_nearest_skips_get_no_gradient_whatever_comes_back():
    x = mg.Tensor(np.ones((1, 1, 1, 5)), requires_grad=True)
    (gx,) = mg.grad(F.interpolate(x, (1, 2)), x, mg.Tensor(np.full((1, 1, 1, 2), math.inf)))
    np.testing.assert_array_equal(gx.numpy().ravel(), [math.inf, 0, math.inf, 0, 0])


def test_the_same_size_is_a_copy():
    x = mg.ones(1, 1, 2, 2)
    for y in (F.interpolate(x, (2, 2)), F.interpolate(x, scale_factor=1, mode="bilinear")):
        y[0, 0, 0, 0] = 5.0
    assert (x.numpy() == 1).all()


def test_an_empty_batch_and_integers():
    for mode, corners in MODES:
        x = mg.zeros(0, 3, 4, 4, requires_grad=True)
        y = F.interpolate(x, (2, 9), mode=mode, align_corners=corners)
        assert y.shape == (0, 3, 2, 9)
        y.sum().backward()
        assert x.grad.shape == x.shape
    assert F.interpolate(mg.tensor([[[[1, 2]]]]), scale_factor=2).dtype == "float32"


X = mg.ones(1, 1, 3, 3)


@pytest.mark.parametrize(("options", "words"), [
    ({}, "give size or scale_factor"), ({"size": 2, "scale_factor": 2}, "size=2, scale_factor=2"),
    ({"size": 0}, "size .* got 0"), ({"size": (2, 3, 4)}, "size must be an int or a pair"), ({"size": 2.5}, "got 2.5"),
    ({"scale_factor": 0}, "scale_factor .* got 0"), ({"scale_factor": (1, -2)}, r"got \(1, -2\)"),
    ({"scale_factor": (1, 2, 3)}, r"got \(1, 2, 3\)"), ({"scale_factor": "2"}, "got '2'"),
    ({"scale_factor": math.inf}, "got inf"), ({"size": 2, "mode": "bicubic"}, "got 'bicubic'"),
    ({"size": 2, "align_corners": False}, "align_corners is for mode='bilinear'"),
    ({"size": 2, "recompute_scale_factor": True}, r"means nothing where size is given \(2\)"),
])
def test_errors_name_the_value(options, words):
    with pytest.raises(ValueError, match=f"interpolate: .*{words}"):
        F.interpolate(X, **options)
    with pytest.raises(ValueError, match=f"Upsample: .*{words}"):
        nn.Upsample(**options)


@pytest.mark.parametrize(("x", "words"), [
    (mg.ones(3, 3), "4-D"), (mg.ones(1, 1, 0, 3), "no pixels"), (mg.ones(1, 1, 3, 2), "leaves no pixel of x .1x1x3x2"),
])
def test_errors_about_x(x, words):
    with pytest.raises(ValueError, match=f"interpolate: .*{words}"):
        nn.Upsample(scale_factor=0.4)(x)
