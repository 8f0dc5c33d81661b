"""Sizes, padding rules, error messages and the choice of algorithm, all of which need no array."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.kernels import conv, pool
from minigrad.kernels.conv.params import (
    conv_output_shape,
    conv_params,
    conv_transpose_params,
    output_size,
    per_side_padding,
    same_padding,
)

X, W = (8, 3, 32, 30), (6, 3, 5, 4)


# --- sizes


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "wanted"),
    [(4, 3, 1, 0, 2), (5, 4, 1, 2, 6), (5, 3, 2, 0, 2), (32, 5, 1, 0, 28), (224, 7, 2, 3, 112), (5, 5, 1, 0, 1)],
)
def test_output_size_of_textbook_examples(size, kernel, stride, padding, wanted):
    assert output_size(size, kernel, stride, (padding, padding)) == wanted


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 11])
def test_half_the_kernel_as_padding_keeps_the_size_for_odd_kernels(kernel):
    half = (kernel - 1) // 2
    assert output_size(17, kernel, padding=(half, half)) == 17
    assert same_padding(kernel, 1) == (half, half)


@given(
    size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 7), dilation=st.integers(1, 5),
    before=st.integers(0, 8), after=st.integers(0, 8),
)
def test_output_size_counts_the_window_positions(size, kernel, stride, dilation, before, after):
    taps = [k * dilation for k in range(kernel)]
    starts = range(0, size + before + after, stride)
    fitting = [s for s in starts if s + taps[-1] < size + before + after]
    assert max(output_size(size, kernel, stride, (before, after), dilation), 0) == len(fitting)


@given(
    size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 7), dilation=st.integers(1, 5),
    before=st.integers(0, 8), after=st.integers(0, 8),
)
def test_ceil_mode_adds_one_hanging_window_if_it_starts_inside(size, kernel, stride, dilation, before, after):
    span = dilation * (kernel - 1) + 1
    floor = output_size(size, kernel, stride, (before, after), dilation)
    ceil = output_size(size, kernel, stride, (before, after), dilation, ceil_mode=True)
    if floor < 1:
        return
    end = size + before + after
    hangs_over = (floor - 1) * stride + span < end  # some pixels are left that the last fitting window does not reach
    next_start = floor * stride
    # a last fitting window that starts in the padding after the input does not count either
    dropped = not hangs_over and (floor - 1) * stride >= size + before
    assert ceil == floor + (hangs_over and next_start < size + before) - dropped


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "wanted"),
    [(5, 2, 2, 0, 3), (4, 2, 2, 0, 2), (6, 3, 2, 0, 3), (5, 2, 2, 1, 3), (2, 3, 2, 0, 1), (7, 1, 3, 0, 3)],
)
def test_ceil_mode_of_examples(size, kernel, stride, padding, wanted):
    assert output_size(size, kernel, stride, (padding, padding), ceil_mode=True) == wanted


def test_output_shape_of_a_convolution():
    p = conv_params(X, W, stride=(2, 1), padding=((1, 0), (2, 3)), dilation=(2, 3))
    assert conv_output_shape(X, W, p) == (8, 6, (32 + 1 - 8 - 1) // 2 + 1, 30 + 5 - 9)


# --- padding


@pytest.mark.parametrize(
    ("padding", "wanted"),
    [
        (0, ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
        ([[1, 2], [3, 4]], ((1, 2), (3, 4))),
        (((1, 2), 3), None),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((2, 2), (1, 2))),
        (np.int64(3), ((3, 3), (3, 3))),
    ],
)
def test_every_way_to_write_padding(padding, wanted):
    if wanted is None:
        with pytest.raises(ValueError, match="per side"):
            per_side_padding(padding, (5, 4), (1, 1), (1, 1), "Conv2d")
    else:
        assert per_side_padding(padding, (5, 4), (1, 1), (1, 1), "Conv2d") == wanted


@pytest.mark.parametrize(
    ("kernel", "dilation", "wanted"), [(2, 1, (0, 1)), (4, 1, (1, 2)), (4, 3, (4, 5)), (2, 2, (1, 1))]
)
def test_an_odd_zero_of_same_padding_goes_after(kernel, dilation, wanted):
    assert same_padding(kernel, dilation) == wanted


@given(size=st.integers(1, 30), kernel=st.integers(1, 9), dilation=st.integers(1, 4))
def test_same_padding_keeps_every_size(size, kernel, dilation):
    assert output_size(size, kernel, 1, same_padding(kernel, dilation), dilation) == size


def test_numbers_are_normalised_and_params_are_hashable_and_frozen():
    p = conv_params(X, W, stride=2, padding=1, dilation=[1, 2])
    assert p == conv.ConvParams((2, 2), ((1, 1), (1, 1)), (1, 2), 1)
    assert hash(p) == hash(conv_params(X, W, (2, 2), ((1, 1), (1, 1)), (1, 2)))
    with pytest.raises(AttributeError):
        p.stride = (1, 1)
    assert all(type(n) is int for n in conv_params(X, W, np.int32(2), np.uint8(1)).stride)


# --- errors


@pytest.mark.parametrize(
    ("x", "w", "how", "message"),
    [
        ((3, 32, 32), W, {}, r"x must be 4-D \(N x C x H x W\), got 3-D \(3x32x32\)"),
        (X, (6, 75), {}, r"weight must be 4-D \(OC x C/groups x KH x KW\), got 2-D \(6x75\)"),
        ((), W, {}, r"x must be 4-D .* got 0-D \(scalar\)"),
        (X, (6, 3, 0, 4), {}, r"weight has an empty dimension \(6x3x0x4\)"),
        ((8, 4, 32, 32), W, {}, r"weight expects 3 input channels, got x with 4 \(x: 8x4x32x32, weight: 6x3x5x4, gr"),
        (X, W, {"groups": 2}, r"weight expects 6 input channels, got x with 3 .*groups: 2"),
        ((8, 12, 9, 9), W, {"groups": 4}, r"6 output channels cannot be split into 4 groups \(weight: 6x3x5x4\)"),
        (X, W, {"groups": 0}, r"groups must be an integer >= 1, got 0"),
        (X, W, {"groups": True}, r"groups must be an integer >= 1, got True"),
        (X, W, {"stride": 0}, r"stride must be an integer >= 1, got 0"),
        (X, W, {"stride": (1, 0)}, r"stride must be an integer >= 1, got 0"),
        (X, W, {"stride": 1.5}, r"stride must be an integer >= 1, got 1\.5"),
        (X, W, {"stride": (1, 2, 3)}, r"stride must be an int or a pair, got \(1, 2, 3\)"),
        (X, W, {"dilation": -1}, r"dilation must be an integer >= 1, got -1"),
        (X, W, {"dilation": "2"}, r"dilation must be an integer >= 1, got '2'"),
        (X, W, {"padding": -2}, r"padding must be an integer >= 0, got -2"),
        (X, W, {"padding": None}, r"padding must be an integer >= 0, got None"),
        (X, W, {"padding": (1, 2, 3)}, r"padding must be an int or a pair, got \(1, 2, 3\)"),
        (X, W, {"padding": ((1, 2), (3,))}, r"padding must be an int or a pair, got \(3,\)"),
        (X, W, {"padding": ((1, 2), (3, -4))}, r"padding must be an integer >= 0, got -4"),
        (X, W, {"padding": ((1, 2), 3)}, r"padding per side is \(\(top, bottom\), .* got \(\(1, 2\), 3\)"),
        (X, W, {"padding": ((1, 2),)}, r"padding per side is .* got \(\(1, 2\),\)"),
        (X, W, {"padding": "full"}, r"padding must be 'same', 'valid' or numbers, got 'full'"),
        (X, W, {"padding": "same", "stride": (1, 2)}, r"padding='same' needs stride 1, got stride \(1, 2\)"),
        ((8, 3, 4, 9), W, {}, r"kernel 5x4 with dilation 1x1 does not fit into x \(8x3x4x9\) .* would be 0x6"),
        ((8, 3, 9, 9), W, {"dilation": (1, 3), "padding": ((0, 1), (0, 0))},
         r"kernel 5x4 with dilation 1x3 does not fit .* padded by \(\(0, 1\), \(0, 0\)\): the output would be 6x0"),
    ],
)
def test_convolution_errors_name_the_value(x, w, how, message):
    with pytest.raises(ValueError, match="^Conv2d: " + message):
        conv_params(x, w, **how)


def test_errors_name_the_operation_they_were_asked_for():
    with pytest.raises(ValueError, match=r"^Convolve2d: stride must be .* got 0"):
        conv_params(X, W, stride=0, op="Convolve2d")


TX, TW = (2, 6, 5, 4), (6, 2, 3, 2)


@pytest.mark.parametrize(
    ("x", "w", "how", "message"),
    [
        ((6, 5, 4), TW, {}, r"x must be 4-D .* got 3-D \(6x5x4\)"),
        (TX, (6, 2, 3), {}, r"weight must be 4-D \(C x OC/groups x KH x KW\), got 3-D \(6x2x3\)"),
        ((2, 6, 0, 4), TW, {}, r"x has no pixels \(2x6x0x4\)"),
        (TX, (6, 0, 3, 2), {}, r"weight has an empty dimension \(6x0x3x2\)"),
        ((2, 5, 5, 4), TW, {}, r"weight expects 6 input channels in 1 groups, got x with 5 \(x: 2x5x5x4, weight: 6x2"),
        (TX, TW, {"groups": 4}, r"weight expects 6 input channels in 4 groups, got x with 6"),
        (TX, TW, {"groups": 1.0}, r"groups must be an integer >= 1, got 1\.0"),
        (TX, TW, {"padding": "same"}, r"padding must be numbers, got 'same'"),
        (TX, TW, {"padding": -1}, r"padding must be an integer >= 0, got -1"),
        (TX, TW, {"stride": 0}, r"stride must be an integer >= 1, got 0"),
        (TX, TW, {"output_padding": -1}, r"output_padding must be an integer >= 0, got -1"),
        (TX, TW, {"output_padding": 1}, r"output_padding \(1, 1\) must be below stride \(1, 1\) or dilation \(1, 1\)"),
        (TX, TW, {"output_padding": (1, 3), "stride": (2, 3)}, r"output_padding \(1, 3\) must be below stride \(2, "),
        (TX, TW, {"padding": 4}, r"the output of x \(2x6x5x4\) would be -1x-3 \(padding \(\(4, 4\), \(4, 4\)\)\)"),
    ],
)
def test_transposed_convolution_errors_name_the_value(x, w, how, message):
    with pytest.raises(ValueError, match="^ConvTranspose2d: " + message):
        conv_transpose_params(x, w, **how)


# --- transposed convolution


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({}, (7, 5)),
        ({"stride": 2}, (11, 8)),
        ({"stride": 2, "output_padding": 1}, (12, 9)),
        ({"stride": 2, "padding": (1, 0), "output_padding": (1, 0)}, (10, 8)),
        ({"stride": (3, 1), "dilation": 2, "padding": ((1, 2), (0, 1))}, (14, 5)),
        ({"dilation": 2, "output_padding": 1}, (10, 7)),
    ],
)
def test_size_of_a_transposed_convolution(how, wanted):
    assert conv_transpose_params(TX, TW, **how)[1] == (2, 2, *wanted)


@given(
    size=st.integers(1, 12), kernel=st.integers(1, 5), stride=st.integers(1, 5), dilation=st.integers(1, 3),
    padding=st.integers(0, 2), data=st.data(),
)
def test_convolving_the_transposed_size_gives_the_size_back(size, kernel, stride, dilation, padding, data):
    extra = data.draw(st.integers(0, stride - 1))
    if (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1 < 1:
        return
    p, shape = conv_transpose_params(
        (1, 1, size, size), (1, 1, kernel, kernel), stride, padding, extra, dilation
    )
    assert conv_output_shape(shape, (1, 1, kernel, kernel), p) == (1, 1, size, size)


def test_channels_of_a_grouped_transposed_convolution():
    p, shape = conv_transpose_params(TX, TW, groups=3)
    assert (p.groups, shape[1]) == (3, 6)


# --- pooling


@pytest.mark.parametrize(
    ("x", "how", "message"),
    [
        ((3, 8, 8), {"kernel": 2}, r"x must be 4-D .* got 3-D \(3x8x8\)"),
        ((1, 3, 0, 8), {"kernel": 2, "padding": 1}, r"x has no pixels \(1x3x0x8\)"),
        ((1, 3, 8, 8), {"kernel": 0}, r"kernel_size must be an integer >= 1, got 0"),
        ((1, 3, 8, 8), {"kernel": (2, 2, 2)}, r"kernel_size must be an int or a pair, got \(2, 2, 2\)"),
        ((1, 3, 8, 8), {"kernel": 2, "stride": 0}, r"stride must be an integer >= 1, got 0"),
        ((1, 3, 8, 8), {"kernel": 2, "dilation": 0}, r"dilation must be an integer >= 1, got 0"),
        ((1, 3, 8, 8), {"kernel": 3, "padding": 2}, r"padding \(\(2, 2\), \(2, 2\)\) exceeds half the kernel 3x3"),
        ((1, 3, 8, 2), {"kernel": 3}, r"kernel 3x3 with dilation 1x1 does not fit into x \(1x3x8x2\)"),
        ((1, 3, 8, 3), {"kernel": 2, "stride": 1, "padding": 1, "dilation": 4},
         r"kernel 2x2 with dilation 4x4 and padding .* has a window that touches no pixel of x \(1x3x8x3\)"),
    ],
)
def test_pooling_errors_name_the_value(x, how, message):
    with pytest.raises(ValueError, match="^MaxPool2d: " + message):
        pool.pool_params(x, op="MaxPool2d", **how)


@given(
    size=st.integers(1, 9), kernel=st.integers(1, 4), stride=st.integers(1, 4), dilation=st.integers(1, 5),
    padding=st.integers(0, 3), ceil_mode=st.booleans(),
)
def test_every_accepted_pooling_window_touches_the_image(size, kernel, stride, dilation, padding, ceil_mode):
    try:
        p = pool.pool_params((1, 1, size, 1), (kernel, 1), (stride, 1), (padding, 0), (dilation, 1), ceil_mode)
    except ValueError:
        return
    for o in range(p.output[0]):
        assert any(0 <= o * stride - padding + k * dilation < size for k in range(kernel))


def test_pooling_stride_is_the_kernel_unless_given():
    assert pool.pool_params((1, 1, 9, 9), (3, 2)).stride == (3, 2)
    assert pool.pool_params((1, 1, 9, 9), (3, 2), 1).stride == (1, 1)


# --- the choice


def shapes_to_select_from():
    for groups, cg, ocg in [(1, 1, 1), (1, 1, 6), (1, 6, 16), (1, 64, 1), (2, 3, 1), (8, 1, 1), (8, 1, 2), (4, 8, 8)]:
        for kernel in (1, 3, 5):
            yield (2, groups * cg, 9, 9), (groups * ocg, cg, kernel, kernel), groups


@pytest.mark.parametrize(("x", "w", "groups"), list(shapes_to_select_from()))
def test_select_is_pure_and_picks_an_interchangeable_row(x, w, groups):
    p = conv_params(x, w, groups=groups)
    picked = conv.select(x, w, p)
    assert all(conv.select(x, w, p) == picked for _ in range(3))
    assert picked in conv.CROSS_CORRELATION
    assert picked not in ("reference", "flipped", "auto")
    assert (picked, "cpu") in conv.TABLE


def test_select_takes_winograd_where_its_transforms_pay():
    def picked(x, w, which="forward", **how):
        return conv.select(x, w, conv_params(x, w, **how), which)

    for size, channels in ((56, 64), (14, 256), (14, 512), (7, 512)):
        for which in ("forward", "grad_input", "grad_weight"):
            assert picked((8, channels, size, size), (channels, channels, 3, 3), which, padding=1) == "winograd"
    assert picked((1, 512, 3, 3), (512, 512, 3, 3), padding=1) == "direct"  # U is far larger than the image
    assert picked((8, 3, 56, 56), (64, 3, 3, 3), padding=1) == "direct"  # y is far larger than x
    assert picked((8, 64, 56, 56), (64, 64, 3, 3), padding=1, stride=2) == "direct"
    assert picked((8, 64, 56, 56), (64, 64, 3, 3), "grad_input", padding=1, stride=2) == "direct"
    assert picked((8, 3, 56, 56), (64, 3, 7, 7), "grad_input", padding=3, stride=2) == "direct"
    assert picked((8, 64, 56, 56), (64, 1, 3, 3), padding=1, groups=64) == "direct"
    assert picked((8, 64, 56, 56), (64, 64, 5, 5), padding=2) == "winograd"
    assert picked((8, 64, 56, 56), (64, 64, 5, 5), "grad_input", padding=2) == "winograd"
    assert picked((8, 64, 56, 56), (64, 64, 5, 5), "grad_weight", padding=2) == "direct"
    assert picked((8, 64, 56, 56), (64, 64, 7, 7), padding=3) == "direct"
    assert picked((8, 64, 56, 56), (256, 64, 1, 1)) == "direct"
    assert picked((0, 64, 56, 56), (64, 64, 3, 3)) == "reference"


def test_true_convolution_is_not_interchangeable():
    assert "flipped" not in conv.CROSS_CORRELATION
    assert {name for name, _ in conv.TABLE} == {*conv.CROSS_CORRELATION, "flipped"}


@pytest.mark.parametrize(("name", "device"), sorted(conv.TABLE))
def test_lookup_finds_the_three_functions_of_every_row(name, device):
    w = (6, 3, 3, 3)  # what every row supports
    row = conv.lookup(name, device, X, w, conv_params(X, w))
    assert all(callable(getattr(row, function)) for function in ("forward", "grad_input", "grad_weight"))
    assert name in conv.algorithms(device)


def test_lookup_of_auto_is_what_select_says(monkeypatch):
    monkeypatch.setattr(conv, "choice", lambda *key: None)  # whatever was measured on this machine
    p = conv_params(X, W)
    assert conv.lookup("auto", "cpu", X, W, p) is conv.lookup(conv.select(X, W, p), "cpu", X, W, p)


def test_lookup_errors_name_the_algorithm_the_device_and_what_there_is():
    p = conv_params(X, W)
    with pytest.raises(ValueError, match=r"no algorithm 'fft' on cpu; there is 'auto', .*'direct'.*'im2col'"):
        conv.lookup("fft", "cpu", X, W, p)
    with pytest.raises(ValueError, match="no algorithm 'direct' on tpu"):
        conv.lookup("direct", "tpu", X, W, p)
    with pytest.raises(ValueError, match="no algorithm 'fft' on cpu; there is 'reference', 'window'"):
        pool.lookup("cpu", "fft")
