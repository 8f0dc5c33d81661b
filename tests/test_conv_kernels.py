"""Every row of the convolution table against the reference loops, and the reference against SciPy and a hand count.

The rows come from `TABLE`, so a new algorithm is tested by being listed there. Kernels are random, hence asymmetric.
"""
import re
from functools import lru_cache

import numpy as np
import pytest
from devices import host, marked, on, rows
from layouts import LAYOUTS

from minigrad.kernels import conv
from minigrad.kernels.conv import reference

ROWS = rows(conv.TABLE)
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}  # relative to the largest element

# name: (x shape, weight shape, stride, padding, dilation, groups)
CASES = {
    "plain": ((2, 3, 6, 7), (4, 3, 3, 3), 1, 0, 1, 1),
    "one pixel kernel": ((2, 3, 5, 4), (4, 3, 1, 1), 1, 0, 1, 1),
    "one pixel kernel, stride 2": ((2, 3, 5, 4), (2, 3, 1, 1), 2, 0, 1, 1),
    "even kernel": ((1, 2, 6, 5), (3, 2, 2, 4), 1, 0, 1, 1),
    "tall kernel": ((1, 2, 7, 5), (2, 2, 5, 2), 1, 0, 1, 1),
    "wide kernel": ((1, 2, 4, 8), (2, 2, 1, 4), (1, 2), (0, 1), 1, 1),
    "padding int": ((2, 2, 5, 4), (3, 2, 3, 3), 1, 1, 1, 1),
    "padding pair": ((1, 2, 5, 4), (3, 2, 3, 2), 1, (2, 1), 1, 1),
    "padding per side": ((2, 2, 4, 5), (3, 2, 3, 3), 1, ((0, 2), (3, 1)), 1, 1),
    "padding per side, stride 2": ((1, 2, 5, 6), (3, 2, 3, 2), 2, ((2, 0), (1, 3)), 1, 1),
    "padding wider than the kernel": ((1, 1, 3, 3), (2, 1, 2, 2), 1, 4, 1, 1),
    "padding same, odd kernel": ((1, 2, 5, 4), (3, 2, 3, 5), 1, "same", 1, 1),
    "padding same, even kernel, dilated": ((1, 2, 5, 6), (3, 2, 2, 4), 1, "same", (3, 1), 1),
    "padding valid": ((1, 2, 5, 4), (3, 2, 3, 2), 2, "valid", 1, 1),
    "stride pair": ((2, 2, 8, 7), (3, 2, 3, 3), (2, 3), 1, 1, 1),
    "stride leaves a rest": ((1, 2, 8, 8), (3, 2, 3, 3), 2, 0, 1, 1),
    "stride beyond the kernel": ((2, 2, 9, 8), (3, 2, 2, 2), (4, 3), 0, 1, 1),
    "dilation": ((1, 2, 8, 9), (3, 2, 3, 3), 1, 0, 2, 1),
    "dilation pair, stride, padding": ((2, 2, 9, 8), (3, 2, 3, 2), 2, (1, 2), (2, 3), 1),
    "dilation 3, stride 2": ((1, 1, 9, 9), (2, 1, 2, 3), (2, 1), 1, 3, 1),
    "groups 2": ((2, 4, 5, 6), (6, 2, 3, 2), 1, 1, 1, 2),
    "groups 2, stride, dilation": ((2, 4, 8, 7), (4, 2, 3, 2), 2, ((1, 0), (2, 1)), (1, 2), 2),
    "depthwise": ((2, 4, 6, 5), (4, 1, 3, 3), 1, 1, 1, 4),
    "depthwise, stride 2": ((2, 4, 6, 5), (4, 1, 3, 2), 2, 1, 1, 4),
    "depthwise, multiplier 2": ((2, 3, 6, 5), (6, 1, 3, 3), (1, 2), 1, 1, 3),
    "groups, one channel out": ((1, 6, 4, 5), (2, 3, 3, 3), 1, 1, 1, 2),
    "kernel as large as the image": ((2, 3, 4, 5), (2, 3, 4, 5), 1, 0, 1, 1),
    "kernel as large as the padded image": ((2, 2, 3, 4), (3, 2, 5, 7), 3, ((1, 1), (1, 2)), 1, 1),
    "one channel, one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), 1, 0, 1, 1),
    "many channels": ((1, 19, 4, 3), (18, 19, 2, 2), 1, 1, 1, 1),
    "3x3 over several tiles": ((2, 5, 11, 14), (7, 5, 3, 3), 1, 1, 1, 1),
    "3x3, full vectors": ((1, 16, 13, 9), (32, 16, 3, 3), 1, ((1, 0), (2, 1)), 1, 1),
    "3x3, more than a vector": ((1, 17, 9, 5), (35, 17, 3, 3), 1, 1, 1, 1),
    "5x5 over several tiles": ((2, 5, 11, 14), (7, 5, 5, 5), 1, 2, 1, 1),
    "5x5, full vectors": ((1, 16, 13, 9), (32, 16, 5, 5), 1, ((1, 0), (2, 3)), 1, 1),
    "5x5, padding wider than the kernel": ((1, 3, 4, 3), (5, 3, 5, 5), 1, ((6, 5), (7, 4)), 1, 1),
    "5x5, more than a block of channels": ((2, 150, 5, 6), (35, 150, 5, 5), 1, 2, 1, 1),
    "depthwise, full vectors": ((1, 32, 6, 9), (32, 1, 3, 3), 1, 0, 1, 32),
    "depthwise, more than a vector": ((1, 37, 6, 5), (37, 1, 3, 3), 2, 1, 1, 37),
    "3x3, more than a block of channels": ((2, 150, 5, 6), (35, 150, 3, 3), 1, 1, 1, 1),
    "four vectors of output channels, narrow": ((2, 19, 4, 5), (64, 19, 3, 3), 1, 1, 1, 1),
    "one pixel kernel, full vectors": ((2, 16, 3, 4), (32, 16, 1, 1), 1, 0, 1, 1),
    "three vectors of output channels": ((1, 5, 6, 9), (48, 5, 3, 3), 1, 1, 1, 1),
    "one pixel kernel, rows 2 KiB apart": ((1, 512, 3, 4), (5, 512, 1, 1), 1, 0, 1, 1),
    "rows 2 KiB apart, stride 2": ((1, 256, 5, 4), (3, 256, 3, 3), 2, 1, 1, 1),
    "one pixel kernel, more than a row": ((3, 5, 9, 14), (7, 5, 1, 1), 1, 0, 1, 1),
    "many small images": ((7, 5, 5, 4), (35, 5, 3, 3), 1, 1, 1, 1),
    "many small images, stride 2": ((7, 18, 5, 4), (35, 18, 3, 3), 2, 1, 1, 1),
    "many small images, stride (2, 3), groups": ((7, 36, 4, 7), (38, 18, 4, 3), (2, 3), 1, 1, 2),
    "few channels out, neighbours together": ((3, 1, 5, 28), (4, 1, 3, 3), 1, 1, 1, 1),
    "few channels out, stride, dilation": ((2, 3, 9, 24), (3, 3, 3, 2), 2, ((1, 0), (2, 3)), (1, 3), 1),
    "few channels out, stride beyond the kernel": ((2, 2, 7, 24), (5, 2, 2, 2), 3, 1, 1, 1),
    "gradients read in place": ((3, 3, 7, 20), (96, 3, 3, 3), 1, 1, 1, 1),
    "gradients read in place, groups": ((3, 4, 6, 9), (64, 2, 3, 3), (2, 1), 1, 1, 2),
    "batch 0": ((0, 2, 5, 4), (3, 2, 3, 2), 1, 1, 1, 1),
    "batch 0, groups": ((0, 4, 5, 4), (4, 1, 3, 2), 2, 1, 1, 4),
}
LAYOUT_CASES = (
    "padding per side", "padding per side, stride 2", "groups 2, stride, dilation", "one pixel kernel", "depthwise",
)



def computes(name, device, case):
    """Whether a row supports a case."""
    x_shape, w_shape, *how = CASES[case]
    return conv.supports(name, device, w_shape, conv.conv_params(x_shape, w_shape, *how))


ALL = [(name, device, case) for name, device in ROWS for case in CASES if computes(name, device, case)]
LAID_OUT = [row for row in ALL if row[2] in LAYOUT_CASES]
EVERY_KERNEL = [row for row in ROWS if computes(*row, "tall kernel")]  # rows that support all there is


@lru_cache
def problem(case, dtype):
    """x, w, gy, p and the reference's (y, gx, gw)."""
    x_shape, w_shape, *how = CASES[case]
    p = conv.conv_params(x_shape, w_shape, *how)
    rng = np.random.default_rng(len(case))
    shapes = x_shape, w_shape, conv.conv_output_shape(x_shape, w_shape, p)
    x, w, gy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return x, w, gy, p, passes(reference, x, w, gy, p)


def passes(row, x, w, gy, p):
    return row.forward(x, w, p), row.grad_input(gy, w, p, x.shape), row.grad_weight(x, gy, p, w.shape)


def expected(name, case, dtype):
    """x, w, gy, p and what row `name` should give: "flipped" is the reference on the rotated weight."""
    x, w, gy, p, (y, gx, gw) = problem(case, dtype)
    if name == "flipped":
        w, gw = rotated(w), rotated(gw)
    return x, w, gy, p, (y, gx, gw)


def rotated(w):
    return w[:, :, ::-1, ::-1]


def module(name, device):
    return conv.lookup(name, device, None, None, None)


def assert_close(actual, wanted, tolerance):
    actual = host(actual)
    assert actual.shape == wanted.shape
    assert actual.dtype == wanted.dtype
    scale = np.abs(wanted).max(initial=1.0)
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * scale)


def test_rows_that_are_not_for_every_convolution_say_so():
    assert {name for name, _ in ROWS} - {name for name, _ in EVERY_KERNEL} == {"winograd", "winograd_2x2"}
    x, w = (1, 2, 6, 6), (4, 1, 5, 5)
    p = conv.conv_params(x, w, 2, 1, 1, 2)
    message = (
        "algorithm 'winograd' is for 3x3 and 5x5 kernels with stride 1, dilation 1 and one group; "
        "got kernel 5x5, stride (2, 2), dilation (1, 1), groups 2"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        conv.lookup("winograd", "cpu", x, w, p)


def run_and_compare(row, device, x, w, gy, p, results, dtype):
    arrays = [on(device, a) for a in (x, w, gy)]
    for actual, wanted in zip(passes(row, *arrays, p), results, strict=True):
        assert_close(actual, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("name", "device", "case"), marked(ALL))
def test_row_equals_reference(name, device, case, dtype):
    x, w, gy, p, results = expected(name, case, dtype)
    run_and_compare(module(name, device), device, x, w, gy, p, results, dtype)


@pytest.mark.parametrize(("name", "device", "case"), marked(LAID_OUT + [row for row in ALL if "3x3" in row[2]]))
def test_bias_and_limit_are_part_of_the_forward_pass(name, device, case):
    x, w, _, p, (y, *_) = expected(name, case, "float64")
    bias = np.random.default_rng(1).standard_normal(w.shape[0])
    for low in (-np.inf, 0.0):
        actual = module(name, device).forward(on(device, x), on(device, w), p, on(device, bias), low)
        assert_close(actual, np.maximum(y + bias.reshape(1, -1, 1, 1), low), 1e-12)


@pytest.mark.parametrize("case", ["3x3, full vectors", "3x3, more than a vector", "3x3, more than a block of channels"])
@pytest.mark.parametrize("name", ["winograd", "winograd_2x2"])
def test_winograd_gives_the_same_in_every_order_of_work(monkeypatch, name, case):
    for file, limit, value in (
        ("cpu", "LARGE", 0), ("cpu", "TILES", 3), ("weights", "TRANSFORMED", 0), ("weights", "TERMS", 3),
    ):
        monkeypatch.setattr(f"minigrad.kernels.conv.winograd_{file}.{limit}", value)
    x, w, gy, p, results = expected(name, case, "float64")
    run_and_compare(module(name, "cpu"), "cpu", x, w, gy, p, results, "float64")


@pytest.mark.parametrize("case", ["one pixel kernel, more than a row", *[case for case in CASES if "small" in case]])
@pytest.mark.parametrize(("limit", "value"), [("LITTLE", 0), ("SCRATCH", 1), ("SCRATCH", 9000), ("PANELS", 1)])
def test_direct_gives_the_same_bits_in_every_order_of_work(monkeypatch, case, limit, value):
    x, w, gy, p, _ = problem(case, "float32")
    wanted = passes(conv.lookup("direct", "cpu", None, None, None), x, w, gy, p)[:2]
    monkeypatch.setattr(f"minigrad.kernels.conv.correlate.{limit}", value)
    for one, other in zip(wanted, passes(conv.lookup("direct", "cpu", None, None, None), x, w, gy, p), strict=False):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "device", "case"), marked([row for row in LAID_OUT if "cuda" in row[1]]))
def test_numbers_of_16_bits_are_summed_in_float32_and_rounded_once(name, device, case, dtype):
    """So the result differs from the exact one for the rounded inputs by half a unit in the last place at most."""
    kind = np.dtype(getattr(pytest.importorskip("ml_dtypes"), dtype) if dtype == "bfloat16" else dtype)
    arrays, p = problem(case, "float32")[:3], problem(case, "float32")[3]
    x, w, gy = (a.astype(kind) for a in arrays)
    exact = passes(reference, *(a.astype(np.float64) for a in (x, rotated(w) if name == "flipped" else w, gy)), p)
    actual = passes(module(name, device), *(on(device, a) for a in (x, w, gy)), p)
    y, gx, gw = exact
    for a, wanted in zip(actual, (y, gx, rotated(gw) if name == "flipped" else gw), strict=True):
        assert a.dtype == kind
        error = np.abs(host(a).astype(np.float64) - wanted)
        assert (error <= np.abs(wanted) * (2**-10.9 if dtype == "float16" else 2**-7.9) + 1e-5).all()


@pytest.mark.parametrize("layout", LAYOUTS[1:], ids=lambda f: f.__name__)
@pytest.mark.parametrize("which", ["x", "w", "gy", "all"])
@pytest.mark.parametrize(("name", "device", "case"), marked(LAID_OUT))
def test_row_accepts_any_strides(name, device, case, which, layout):
    x, w, gy, p, results = expected(name, case, "float64")
    arrays = {"x": x, "w": w, "gy": gy}
    arrays = {key: layout(a) if which in (key, "all") else a for key, a in arrays.items()}
    run_and_compare(module(name, device), device, *arrays.values(), p, results, "float64")


@pytest.mark.parametrize(("name", "device", "case"), marked(LAID_OUT))
def test_row_accepts_broadcast_arrays(name, device, case):
    x, w, gy, p, _ = problem(case, "float64")
    x = np.broadcast_to(x[:1, :, :1], x.shape)
    w = np.broadcast_to(w[:, :, :, :1], w.shape)
    gy = np.broadcast_to(gy[:, :1, :1, :1], gy.shape)
    y, gx, gw = passes(reference, *(np.array(a) for a in (x, rotated(w) if name == "flipped" else w, gy)), p)
    results = y, gx, rotated(gw) if name == "flipped" else gw
    run_and_compare(module(name, device), device, x, w, gy, p, results, "float64")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("name", "device", "case"), marked(LAID_OUT))
def test_images_come_back_channels_last(name, device, layout, case):
    x, w, gy, p, _ = problem(case, "float32")
    y, gx, gw = passes(module(name, device), *(on(device, layout(a)) for a in (x, w, gy)), p)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert gx.transpose(0, 2, 3, 1).flags.c_contiguous
    assert gw.flags.c_contiguous


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("name", "device", "case"), marked(LAID_OUT))
def test_two_runs_give_the_same_bits_and_inputs_stay_as_they_are(name, device, case, layout):
    x, w, gy, p, _ = problem(case, "float32")
    arrays = [on(device, layout(a)) for a in (x, w, gy)]
    first, second = (passes(module(name, device), *arrays, p) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert host(a).tobytes() == host(b).tobytes()
        assert not any(np.shares_memory(host(a), host(array)) for array in arrays)
    for before, after in zip((x, w, gy), arrays, strict=True):
        np.testing.assert_array_equal(host(after), before)


@pytest.mark.parametrize(("name", "device"), marked(EVERY_KERNEL))
def test_pixels_that_no_window_touches_get_gradient_zero(name, device):
    p = conv.conv_params((1, 1, 7, 7), (1, 1, 2, 2), stride=3)
    ones = np.ones((1, 1, 2, 2))
    gx = module(name, device).grad_input(on(device, np.ones((1, 1, 2, 2))), on(device, ones), p, (1, 1, 7, 7))
    touched = np.isin(np.arange(7), (0, 1, 3, 4))
    np.testing.assert_array_equal(host(gx)[0, 0], np.outer(touched, touched))


@pytest.mark.parametrize(("name", "device"), marked(EVERY_KERNEL))
def test_nan_and_infinity_reach_exactly_the_outputs_that_see_them(name, device):
    x, w = np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2))
    x[0, 0, 0, 0], x[0, 0, 3, 3] = np.nan, np.inf
    p = conv.conv_params(x.shape, w.shape)
    y = host(module(name, device).forward(on(device, x), on(device, w), p))[0, 0]
    np.testing.assert_array_equal(y, [[np.nan, 4, 4], [4, 4, 4], [4, 4, np.inf]])


@pytest.mark.parametrize(("name", "device"), marked(EVERY_KERNEL))
def test_sliding_window_computed_by_hand(name, device):
    image = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    p = conv.conv_params(image.shape, kernel.shape)
    y = module(name, device).forward(on(device, image), on(device, kernel), p)
    if name == "flipped":  # 1*4 + 2*3 + 4*2 + 5*1 = 23, ...
        wanted = [[23, 33], [53, 63]]
    else:  # 1*1 + 2*2 + 4*3 + 5*4 = 37, ...
        wanted = [[37, 47], [67, 77]]
    np.testing.assert_array_equal(host(y)[0, 0], wanted)


def test_reference_gradients_computed_by_hand():
    x, w = np.arange(1.0, 10.0).reshape(1, 1, 3, 3), np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    gy = np.array([[1.0, 0.0], [0.0, 10.0]]).reshape(1, 1, 2, 2)
    p = conv.conv_params(x.shape, w.shape)
    gx = reference.grad_input(gy, w, p, x.shape)
    gw = reference.grad_weight(x, gy, p, w.shape)
    np.testing.assert_array_equal(gx[0, 0], [[1, 2, 0], [3, 4 + 10, 20], [0, 30, 40]])
    np.testing.assert_array_equal(gw[0, 0], [[1 + 50, 2 + 60], [4 + 80, 5 + 90]])


@pytest.mark.parametrize("mode", ["valid", "full"])
@pytest.mark.parametrize("flip", [False, True], ids=["correlate", "convolve"])
def test_reference_equals_scipy(mode, flip):
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 6, 7)), rng.standard_normal((4, 3, 3, 2))
    operation = signal.convolve if flip else signal.correlate
    wanted = sum(
        np.stack([[operation(x[n, c], w[oc, c], mode, "direct") for oc in range(4)] for n in range(2)])
        for c in range(3)
    )
    padding = (2, 1) if mode == "full" else 0
    p = conv.conv_params(x.shape, w.shape, padding=padding)
    assert_close(reference.forward(x, rotated(w) if flip else w, p), wanted, 1e-12)


def test_reference_rounds_float32_once():
    x, w, _, p, _ = problem("many channels", "float32")
    exact = reference.forward(x.astype(np.float64), w.astype(np.float64), p)
    np.testing.assert_array_equal(reference.forward(x, w, p), exact.astype(np.float32))
