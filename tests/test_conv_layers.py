"""Conv1d, ConvTranspose2d and ZeroPad2d against plain loops; display, initial values, layouts, errors."""
import math

import numpy as np
import pytest
from layouts import channels_last

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn

pytestmark = pytest.mark.usefixtures("made_there")

# (layer, shape of x, shape of y, what PyTorch prints)
LAYERS = [
    (lambda: nn.Conv1d(3, 8, 3), (2, 3, 9), (2, 8, 7), "Conv1d(3, 8, kernel_size=(3,), stride=(1,))"),
    (lambda: nn.Conv1d(4, 8, (5,), (2,), (1,), 2, 2, False), (2, 4, 12), (2, 8, 3),
     "Conv1d(4, 8, kernel_size=(5,), stride=(2,), padding=(1,), dilation=(2,), groups=2, bias=False)"),
    (lambda: nn.Conv1d(1, 2, 3, padding="same"), (1, 1, 6), (1, 2, 6),
     "Conv1d(1, 2, kernel_size=(3,), stride=(1,), padding=same)"),
    (lambda: nn.ConvTranspose2d(3, 6, 4, 2, 1), (2, 3, 5, 6), (2, 6, 10, 12),
     "ConvTranspose2d(3, 6, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))"),
    (lambda: nn.ConvTranspose2d(4, 6, 3, (2, 3), 1, 1, 2, False, 2), (2, 4, 3, 4), (2, 6, 8, 13),
     "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=(2, 3), padding=(1, 1), dilation=(2, 2), "
     "output_padding=(1, 1), groups=2, bias=False)"),
    (lambda: nn.ZeroPad2d(2), (1, 2, 3, 4), (1, 2, 7, 8), "ZeroPad2d((2, 2, 2, 2))"),
    (lambda: nn.ZeroPad2d((1, 0, 3, -1)), (2, 2, 3, 4), (2, 2, 5, 5), "ZeroPad2d((1, 0, 3, -1))"),
    (lambda: nn.Upsample(scale_factor=(2, 1.5)), (1, 2, 3, 5), (1, 2, 6, 7),
     "Upsample(scale_factor=(2.0, 1.5), mode='nearest')"),
    (lambda: nn.Upsample(4, mode="bilinear", align_corners=True), (1, 2, 3, 5), (1, 2, 4, 4),
     "Upsample(size=4, mode='bilinear')"),
]


@pytest.mark.parametrize(("make", "x_shape", "y_shape", "printed"), LAYERS, ids=[printed for *_, printed in LAYERS])
def test_shape_dtype_gradients_display_and_an_empty_batch(make, x_shape, y_shape, printed):
    assert repr(make()) == printed
    for layer, dtype in ((make(), mg.float32), (make().double(), mg.float64)):
        for batch in (x_shape[0], 0):
            x = mg.randn(batch, *x_shape[1:], dtype=dtype, requires_grad=True)
            y = layer(x)
            assert y.shape == (batch, *y_shape[1:])
            assert y.dtype == dtype
            y.sum().backward()
            assert all(t.grad.shape == t.shape for t in (x, *layer.parameters()))


@pytest.mark.parametrize(("make", "x_shape", "y_shape", "printed"), LAYERS, ids=[printed for *_, printed in LAYERS])
def test_layout_changes_nothing_and_channels_last_stays(make, x_shape, y_shape, printed):
    layer = make()
    x = np.random.default_rng(0).standard_normal(x_shape).astype("float32")
    if x.ndim == 4:
        y = layer(mg.tensor(channels_last(x))).detach()
        np.testing.assert_allclose(y.numpy(), layer(mg.tensor(x)).detach().numpy(), rtol=0, atol=1e-6)
        assert y.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    wide = np.zeros([2 * n for n in x_shape], "float32")
    part = wide[tuple(slice(None, None, -2) for _ in x_shape)]
    part[...] = x
    got, expected = layer(mg.tensor(part)), layer(mg.tensor(x))
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=0, atol=1e-6)


def conv1d_by_loops(x, w, b, stride, padding, dilation, groups):
    n, _, length = x.shape
    oc, cg, k = w.shape
    ol = (length + 2 * padding - dilation * (k - 1) - 1) // stride + 1
    y = np.zeros((n, oc, ol))
    for i, o, p, c, t in np.ndindex(n, oc, ol, cg, k):
        at = p * stride - padding + t * dilation
        if 0 <= at < length:
            y[i, o, p] += w[o, c, t] * x[i, o // (oc // groups) * cg + c, at]
    return y + b[:, None]


@pytest.mark.parametrize("seed", range(12))
def test_conv1d_is_the_plain_loop(seed, device):
    rng = np.random.default_rng(seed)
    groups, cg, ocg, k, stride, dilation = (int(n) for n in rng.integers(1, 4, 6))
    padding, length = int(rng.integers(0, 3)), dilation * (k - 1) + 1 + int(rng.integers(0, 6))
    x, w = rng.standard_normal((2, groups * cg, length)), rng.standard_normal((groups * ocg, cg, k))
    b = rng.standard_normal(groups * ocg)
    expected = conv1d_by_loops(x, w, b, stride, padding, dilation, groups)
    algorithms = ["auto", "direct", "im2col", *(["reference"] if device == "cpu" else [])]
    for algorithm in algorithms:
        y = F.conv1d(mg.tensor(x), mg.tensor(w), mg.tensor(b), stride, padding, dilation, groups, algorithm)
        np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=1e-12)
    with F.conv_algorithm(algorithms[-1]):
        np.testing.assert_allclose(
            F.conv1d(mg.tensor(x), mg.tensor(w), mg.tensor(b), stride, padding, dilation, groups).numpy(), expected,
            rtol=0, atol=1e-12,
        )


@pytest.mark.host_only
def test_conv1d_gives_the_two_dimensional_core_views(monkeypatch):
    seen = []
    monkeypatch.setattr("minigrad.ops.conv._convolution", lambda x, w, *rest: seen.append((x, w)) or x)
    x, w = mg.randn(2, 3, 9), mg.randn(4, 3, 2)
    F.conv1d(x, w)
    F.conv1d(mg.Tensor(x.numpy()[:, :, ::2]), w)
    (x2, w2), (sparse, _) = seen
    assert x2.shape == (2, 3, 1, 9)
    assert all(np.shares_memory(a.numpy(), b.numpy()) for a, b in ((x2, x), (w2, w), (sparse, x)))


def transposed_by_loops(x, w, b, stride, padding, extra, dilation, groups):
    """Every pixel of x puts a scaled copy of the kernel into y."""
    n, c, h, width = x.shape
    ocg, kh, kw = w.shape[1:]
    oh, ow = (
        (size - 1) * s - 2 * p + d * (k - 1) + 1 + e
        for size, s, p, d, k, e in zip((h, width), stride, padding, dilation, (kh, kw), extra, strict=True)
    )
    y = np.zeros((n, groups * ocg, oh, ow))
    for i, ci, r, q, o, u, v in np.ndindex(n, c, h, width, ocg, kh, kw):
        row, column = r * stride[0] - padding[0] + u * dilation[0], q * stride[1] - padding[1] + v * dilation[1]
        if 0 <= row < oh and 0 <= column < ow:
            y[i, ci // (c // groups) * ocg + o, row, column] += x[i, ci, r, q] * w[ci, o, u, v]
    return y + b[:, None, None]


@pytest.mark.parametrize("seed", range(10))
def test_conv_transpose2d_is_the_plain_loop(seed):
    rng = np.random.default_rng(seed)
    groups, cg, ocg = (int(n) for n in rng.integers(1, 3, 3))
    kernel, stride, dilation = (tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in range(3))
    padding = tuple(int(rng.integers(0, d * (k - 1) // 2 + 1)) for k, d in zip(kernel, dilation, strict=True))
    extra = tuple(int(rng.integers(0, s)) for s in stride)
    layer = nn.ConvTranspose2d(
        groups * cg, groups * ocg, kernel, stride, padding, extra, groups, dilation=dilation
    ).double()
    assert layer.weight.shape == (groups * cg, ocg, *kernel)
    x = rng.standard_normal((2, groups * cg, 3, 4))
    w, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = transposed_by_loops(x, w, b, stride, padding, extra, dilation, groups)
    np.testing.assert_allclose(layer(mg.tensor(x)).detach().numpy(), expected, rtol=0, atol=1e-12)
    plain = nn.ConvTranspose2d(groups * cg, groups * ocg, kernel, stride, padding, 0, groups, dilation=dilation)
    plain.double().load_state_dict(layer.state_dict())
    for size in (expected.shape, list(expected.shape[2:])):  # asked for by size instead
        y = plain(mg.tensor(x), output_size=size)
        np.testing.assert_array_equal(y.detach().numpy(), layer(mg.tensor(x)).detach().numpy())


def test_conv_transpose2d_is_the_adjoint_of_the_convolution_with_the_same_weight():
    rng = np.random.default_rng(0)
    up = nn.ConvTranspose2d(4, 3, (3, 2), (2, 3), ((1, 0), (0, 2)), (1, 0), bias=False).double()
    down = nn.Conv2d(3, 4, (3, 2), (2, 3), ((1, 0), (0, 2)), bias=False).double()
    down.load_state_dict(up.state_dict())
    small = mg.tensor(rng.standard_normal((2, 4, 3, 5)))
    large = mg.tensor(rng.standard_normal(up(small).shape))
    assert (up(small, output_size=large.shape) == up(small)).all()
    np.testing.assert_allclose((up(small) * large).sum().item(), (small * down(large)).sum().item(), rtol=1e-12)


@pytest.mark.parametrize(("make", "fan"), [
    (lambda: nn.Conv1d(64, 60, 5, groups=2), 32 * 5), (lambda: nn.ConvTranspose2d(60, 40, 3, groups=2), 20 * 9),
])
def test_initial_values_are_pytorchs(make, fan):
    mg.manual_seed(0)
    layer, bound = make(), 1 / math.sqrt(fan)
    for p in (layer.weight, layer.bias):
        values = p.detach().numpy()
        assert 0.8 * bound < np.abs(values).max() <= bound * 1.0001
    assert layer.weight.detach().numpy().std() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_zero_pad2d_pads_and_crops():
    x = mg.tensor(np.arange(1.0, 13.0).reshape(1, 1, 3, 4), requires_grad=True)
    y = nn.ZeroPad2d((-1, 2, 1, -2))(x)
    np.testing.assert_array_equal(y.detach().numpy()[0, 0], [[0, 0, 0, 0, 0], [2, 3, 4, 0, 0]])
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[0, 4, 6, 8], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert nn.ZeroPad2d(1)(mg.ones(2, 3, 4)).shape == (2, 5, 6)
    assert nn.ZeroPad2d((-2, -2, 0, 0))(mg.ones(1, 1, 3, 4)).shape == (1, 1, 3, 0)


ONE = mg.ones(1, 2, 5)
FOUR = mg.ones(1, 2, 4, 4)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: nn.Conv1d(3, 4, 3, groups=2), "Conv1d: 3 -> 4 channels cannot be split into 2 groups"),
    (lambda: nn.Conv1d(0, 4, 3), "Conv1d: in_channels must be an integer >= 1, got 0"),
    (lambda: nn.Conv1d(2, 4, 2.5), "Conv1d: kernel_size .* got 2.5"),
    (lambda: nn.Conv1d(2, 4, (2, 2)), r"Conv1d: kernel_size must be an int or a tuple of one, got \(2, 2\)"),
    (lambda: nn.Conv1d(2, 4, 2, stride=0), "Conv1d: stride .* got 0"),
    (lambda: nn.Conv1d(2, 4, 2, padding=-1), "Conv1d: padding .* got -1"),
    (lambda: nn.Conv1d(2, 4, 2, padding="full"), "Conv1d: padding must be .* got 'full'"),
    (lambda: nn.Conv1d(2, 4, 3, 2, "same"), "Conv1d: padding='same' needs stride 1"),
    (lambda: nn.Conv1d(2, 4, 3, padding_mode="reflect"), "Conv1d: only padding_mode='zeros' exists, got 'reflect'"),
    (lambda: nn.Conv1d(2, 4, 3, algorithm="fft"), "no algorithm 'fft'"),
    (lambda: nn.Conv1d(2, 4, 3)(FOUR), r"Conv1d: x must be 3-D \(N x C x L\), got 4-D \(1x2x4x4\)"),
    (lambda: nn.Conv1d(3, 4, 3)(ONE), "Conv1d: weight expects 3 input channels, got x with 2"),
    (lambda: nn.Conv1d(2, 4, 6)(ONE), "Conv1d: kernel 1x6 .* does not fit"),
    (lambda: F.conv1d(ONE, FOUR), "Conv1d: weight must be 3-D"),
    (lambda: F.conv1d(ONE, mg.ones(3, 2, 1), mg.ones(2)), "Conv1d: bias must have 3 elements"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), "ConvTranspose2d: 3 -> 4 channels"),
    (lambda: nn.ConvTranspose2d(2, 4, 3, padding="same"), "ConvTranspose2d: padding must be numbers, got 'same'"),
    (lambda: nn.ConvTranspose2d(2, 4, 3, output_padding=-1), "ConvTranspose2d: output_padding .* got -1"),
    (lambda: nn.ConvTranspose2d(2, 4, 3, output_padding=1)(FOUR), "ConvTranspose2d: output_padding .* below stride"),
    (lambda: nn.ConvTranspose2d(3, 4, 3)(FOUR), "ConvTranspose2d: weight expects 3 input channels"),
    (lambda: nn.ConvTranspose2d(2, 4, 3)(ONE), "ConvTranspose2d: x must be 4-D"),
    (lambda: nn.ConvTranspose2d(2, 4, 3, 2)(FOUR, (11, 9)), r"\(11, 9\) is not from \(9, 9\) to \(10, 10\)"),
    (lambda: nn.ConvTranspose2d(2, 4, 3, 2)(FOUR, (8, 9)), r"output_size \(8, 9\)"),
    (lambda: nn.ConvTranspose2d(2, 4, 3, 2)(FOUR, (9,)), r"output_size must be \(OH, OW\)"),
    (lambda: nn.ConvTranspose2d(2, 4, 3, 2)(FOUR, 9), r"output_size must be \(OH, OW\) for a 4-D x, got 9"),
    (lambda: nn.ZeroPad2d((1, 2)), r"ZeroPad2d: padding must be .* got \(1, 2\)"),
    (lambda: nn.ZeroPad2d(1.5), "1.5"),
    (lambda: nn.ZeroPad2d((1, 2, 3, 0.5)), "0.5"),
    (lambda: nn.ZeroPad2d(1)(mg.ones(4, 4)), r"ZeroPad2d: x must be .* got 2-D \(4x4\)"),
    (lambda: nn.ZeroPad2d((0, 0, -3, -2))(FOUR), r"ZeroPad2d: padding \(0, 0, -3, -2\) takes more"),
])
def test_errors_name_the_layer_and_the_value(call, words):
    with pytest.raises(ValueError, match=words):
        call()
