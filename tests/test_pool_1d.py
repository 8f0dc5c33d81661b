"""Pooling over signals: N x C x L and C x L, built on the kernels for images."""
import numpy as np
import pytest
from test_pool import apart, random

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("made_there")

# L, then the options of max_pool1d
CASES = {
    "2": (6, {"kernel_size": 2}),
    "overlapping": (9, {"kernel_size": 3, "stride": 2}),
    "padding": (7, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "ceil": (8, {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "dilation": (9, {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}),
    "tuples": (8, {"kernel_size": (3,), "stride": (1,), "padding": [1]}),
    "one pixel": (4, {"kernel_size": 1}),
}


def windows(length, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The positions in each window, those in the padding included."""
    k, p, d = (v[0] if isinstance(v, (tuple, list)) else v for v in (kernel_size, padding, dilation))
    s = k if stride is None else stride[0] if isinstance(stride, tuple) else stride
    starts = range(-p, length + p, s)
    full = [t for t in starts if t + d * (k - 1) < length + p]
    clipped = [t for t in starts if t not in full and t < length][:1] if ceil_mode else []
    return [[t + d * i for i in range(k) if t + d * i < length + p] for t in full + clipped]


@pytest.mark.parametrize("case", CASES)
def test_pooling_equals_its_definition(case):
    length, how = CASES[case]
    x = random(2, 3, length)
    taps = windows(length, **how)
    inside = [[t for t in window if 0 <= t < length] for window in taps]
    y, index = mg.max_pool1d(mg.Tensor(x), **how, return_indices=True)
    np.testing.assert_array_equal(y.numpy(), np.stack([x[:, :, w].max(2) for w in inside], 2))
    np.testing.assert_array_equal(np.take_along_axis(x, index.numpy(), 2), y.numpy())
    assert index.dtype == mg.int64
    if "dilation" not in how:
        for include in (True, False):
            counts = [len(w if include else i) for w, i in zip(taps, inside, strict=True)]
            wanted = np.stack([x[:, :, i].sum(2) / n for i, n in zip(inside, counts, strict=True)], 2)
            y = mg.avg_pool1d(mg.Tensor(x), **how, count_include_pad=include)
            np.testing.assert_allclose(y.numpy(), wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize("function", [mg.max_pool1d, mg.avg_pool1d])
def test_one_signal_without_a_batch(function):
    x = mg.Tensor(random(3, 7), requires_grad=True)
    y = function(x, 3, 2, 1)
    assert y.tolist() == function(mg.Tensor(x.detach().numpy()[None]), 3, 2, 1)[0].tolist()
    y.sum().backward()
    assert x.grad.shape == (3, 7)
    y, index = mg.max_pool1d(x, 2, return_indices=True)
    assert y.shape == index.shape == (3, 3)


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_finite_differences(case):
    length, how = CASES[case]
    functions = [mg.max_pool1d] if "dilation" in how else [mg.max_pool1d, mg.avg_pool1d]
    for function in functions:
        assert mg.gradcheck(lambda x, f=function: f(x, **how), apart(2, 2, length))
        assert mg.gradgradcheck(lambda x, f=function: f(x * x, **how), apart(2, length))


@pytest.mark.parametrize("layer", [nn.MaxPool1d(3, 2, ceil_mode=True), nn.AvgPool1d(3, 2, ceil_mode=True)], ids=repr)
def test_layers_dtypes_and_empty_batches(layer):
    for dtype, wanted in [("int64", "float32"), ("float32", "float32"), ("float64", "float64")]:
        assert layer(mg.ones(2, 3, 6, dtype=dtype)).dtype == wanted
    x = mg.zeros(0, 3, 6, requires_grad=True)
    y = layer(x)
    assert y.shape == (0, 3, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mg.max_pool1d(x[0, 0], 2), r"MaxPool1d: x must be 3-D \(N x C x L\) or 2-D .* got 1-D \(5\)"),
        (lambda x: mg.avg_pool1d(x[None], 2), r"AvgPool1d: x must be 3-D .* got 4-D \(1x2x3x5\)"),
        (lambda x: mg.max_pool1d(x, 6), r"MaxPool1d: kernel 6 with dilation 1 does not fit into x \(2x3x5\)"),
        (lambda x: mg.max_pool1d(x, (2, 2)), r"MaxPool1d: kernel_size must be an int or a tuple of one, got \(2, 2\)"),
        (lambda x: mg.max_pool1d(x, 2, padding=2), r"MaxPool1d: padding \(\(2, 2\),\) exceeds half the kernel 2"),
        (lambda x: mg.avg_pool1d(x, 2, stride=0), r"AvgPool1d: stride must be an integer >= 1, got 0"),
        (lambda x: mg.avg_pool1d(x[..., :0], 2), r"AvgPool1d: x has no pixels \(2x3x0\)"),
        (lambda x: nn.MaxPool1d(0), r"MaxPool1d: kernel_size must be an integer >= 1, got 0"),
        (lambda x: nn.MaxPool1d(2, dilation=0), r"MaxPool1d: dilation must be an integer >= 1, got 0"),
        (lambda x: nn.AvgPool1d(2, padding=-1), r"AvgPool1d: padding must be an integer >= 0, got -1"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call(mg.ones(2, 3, 5))
