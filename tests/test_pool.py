"""Pooling: every row of the table against plain loops, gradients against finite differences, and the edges."""
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from devices import host, marked, on, rows
from layouts import LAYOUTS

import minigrad as mg
from minigrad.kernels import pool
from minigrad.kernels.pool import reference, spans, window_cpu
from minigrad.kernels.tile import lanes

pytestmark = pytest.mark.usefixtures("made_there")

ROWS = rows(pool.TABLE)
TOLERANCE = {"float64": 1e-14, "float32": 1e-6}

# x shape, then kernel, stride, padding, dilation, ceil_mode
CASES = {
    "2x2": ((2, 3, 6, 4), 2),
    "overlapping": ((2, 2, 7, 6), 3, 2),
    "stride 1": ((1, 2, 4, 5), (2, 3), 1),
    "stride beyond the kernel": ((1, 2, 8, 7), 2, (3, 4)),
    "padding": ((2, 2, 5, 6), 3, 2, 1),
    "padding per side": ((1, 2, 5, 5), 3, 2, ((1, 0), (0, 1))),
    "ceil": ((1, 2, 6, 7), 3, 2, 0, 1, True),
    "ceil, padding": ((2, 2, 6, 5), (3, 2), 2, 1, 1, True),
    "ceil, padding, stride 3": ((1, 2, 7, 8), 3, 3, 1, 1, True),
    "ceil, image below the kernel": ((1, 1, 2, 2), 3, 2, 0, 1, True),
    "global": ((2, 3, 4, 5), (4, 5)),
    "one pixel": ((2, 2, 3, 3), 1),
    "batch 0": ((0, 2, 4, 4), 2),
}
DILATED = {
    "dilation": ((1, 2, 7, 7), 2, 1, 0, 3),
    "dilation, padding, stride": ((2, 2, 8, 7), 3, 2, 1, (1, 2)),
    "dilation, padding that only the dilated kernel allows": ((1, 2, 6, 7), 3, 1, 2, 2),
    "dilation, ceil": ((1, 2, 8, 9), (2, 3), (3, 2), (0, 1), 2, True),
}
# x shape, then output size
ADAPTIVE = {
    "adaptive, divides": ((2, 3, 6, 4), (3, 2)),
    "adaptive, overlaps": ((2, 2, 7, 10), (3, 4)),
    "adaptive, larger than the image": ((1, 2, 3, 4), (7, 9)),
    "adaptive, equal": ((1, 2, 4, 3), (4, 3)),
    "adaptive, global": ((2, 3, 9, 8), 1),
    "adaptive, batch 0": ((0, 2, 4, 4), 3),
}
AVG_CASES = CASES | ADAPTIVE
MAX_CASES = CASES | DILATED | ADAPTIVE
DIVISORS = {"counting padding": (True, None), "without padding": (False, None), "override": (True, 7)}


def random(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def apart(*shape):
    """A Tensor with gradients whose elements differ by at least 0.1: finite differences cross no tie."""
    values = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) / 10
    return mg.Tensor(values, requires_grad=True)


@lru_cache
def params(case, include=True, divisor=None):
    x_shape, *how = MAX_CASES[case]
    if case in ADAPTIVE:
        return pool.adaptive_params(x_shape, *how)
    return pool.pool_params(x_shape, *(how + [None, 0, 1, False][len(how) - 1 :]), include, divisor)


def row(name, device):
    return pool.lookup(device, name)


def over(*parameters):
    """The rows, each with all combinations of the other parameters; every seventh of them if simulated."""
    combined = list(product(*parameters))
    return marked((*r, *c) for r in ROWS for i, c in enumerate(combined) if r[1] != "cuda-sim" or i % 7 == 0)


def assert_same(actual, wanted, tolerance=0.0):
    actual = host(actual)
    assert actual.shape == wanted.shape
    assert actual.dtype == wanted.dtype
    assert actual.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance)


def max_passes(module, x, gy, index, p):
    return *module.max_forward(x, p), module.max_grad_input(gy, index, p, x.shape), module.max_gather(x, index)


def avg_passes(module, x, gy, p):
    return module.avg_forward(x, p), module.avg_grad_input(gy, p, x.shape)


# --- the rows


@pytest.mark.parametrize(("name", "device", "case", "layout", "dtype"), over(MAX_CASES, LAYOUTS, TOLERANCE))
def test_max_pooling_equals_reference(name, device, case, layout, dtype):
    p, x = params(case), random(*MAX_CASES[case][0], dtype=dtype)
    index = reference.max_forward(x, p)[1]
    gy = random(*index.shape, seed=1, dtype=dtype)
    arrays = [on(device, layout(a)) for a in (x, gy)]
    results = max_passes(row(name, device), *arrays, on(device, index), p)
    y, positions, gx, gathered = results
    for actual, wanted in zip((y, positions, gathered), (*reference.max_forward(x, p), host(y)), strict=True):
        assert_same(actual, wanted)
    assert_same(gx, reference.max_grad_input(gy, index, p, x.shape), 4 * TOLERANCE[dtype])
    np.testing.assert_array_equal(host(arrays[0]), x)


@pytest.mark.parametrize(
    ("name", "device", "case", "divisor", "layout", "dtype"), over(AVG_CASES, DIVISORS, LAYOUTS, TOLERANCE)
)
def test_average_pooling_equals_reference(name, device, case, divisor, layout, dtype):
    p, x = params(case, *DIVISORS[divisor]), random(*AVG_CASES[case][0], dtype=dtype)
    gy = random(*x.shape[:2], *p.output, seed=1, dtype=dtype)
    arrays = [on(device, layout(a)) for a in (x, gy)]
    for actual, wanted in zip(avg_passes(row(name, device), *arrays, p), avg_passes(reference, x, gy, p), strict=True):
        assert_same(actual, wanted, TOLERANCE[dtype])
    np.testing.assert_array_equal(host(arrays[0]), x)


@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_two_runs_give_the_same_bits(name, device):
    p, x = params("padding"), on(device, random(2, 2, 5, 6, dtype="float32"))
    gy = on(device, random(2, 2, *p.output, seed=1, dtype="float32"))
    module = row(name, device)
    index = module.max_forward(x, p)[1]
    for one in (max_passes(module, x, gy, index, p), avg_passes(module, x, gy, p)):
        two = max_passes(module, x, gy, index, p) if len(one) == 4 else avg_passes(module, x, gy, p)
        assert [host(a).tobytes() for a in one] == [host(a).tobytes() for a in two]


@pytest.mark.parametrize(("name", "device"), marked(ROWS))
@pytest.mark.parametrize("case", ["overlapping", "padding", "dilation", "ceil, padding"])
def test_special_values_in_max_pooling(case, name, device):
    """Ties (the first wins), NaN (wins over all), infinities, windows of nothing but -inf."""
    shape, p = MAX_CASES[case][0], params(case)
    values = np.array([0.0, 1.0, -np.inf, np.inf, np.nan])
    for weights in ((0.5, 0.5, 0, 0, 0), (0.1, 0.1, 0.8, 0, 0), (0, 0, 1, 0, 0), (0.2, 0.3, 0.2, 0.2, 0.1)):
        x = np.random.default_rng(3).choice(values, shape, p=weights)
        y, index = row(name, device).max_forward(on(device, x), p)
        wanted_y, wanted_index = reference.max_forward(x, p)
        assert_same(y, wanted_y)
        assert_same(index, wanted_index)


@pytest.mark.host_only
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (3, 2, 1)])  # the last one overlaps, clipped
def test_channels_in_vectors_in_fours_and_alone(kernel, dtype):
    channels = 2 * lanes(dtype) + 4 + 3
    size, stride, padding = (*kernel[:2], 0) if len(kernel) == 2 else kernel
    p = pool.pool_params((2, channels, 9, 9), size, stride, padding)
    x = np.random.default_rng(3).choice([0.0, 1.0, 2.0, 3.0, np.nan], (2, channels, 9, 9)).astype(dtype)
    y, index = window_cpu.max_forward(x, p)
    for actual, wanted in zip((y, index), reference.max_forward(x, p), strict=True):
        assert_same(actual, wanted)
    gy = random(*y.shape, seed=1, dtype=dtype)
    gx = window_cpu.max_grad_input(gy, index, p, x.shape)
    assert_same(gx, reference.max_grad_input(gy, index, p, x.shape), 4 * TOLERANCE[dtype])


@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_pooling_computed_by_hand(name, device):
    module = row(name, device)
    x = on(device, np.array([[1.0, 5.0, 5.0], [2.0, 0.0, -1.0], [np.nan, 3.0, 4.0]]).reshape(1, 1, 3, 3))
    p = pool.pool_params((1, 1, 3, 3), 2, 1)
    y, index = module.max_forward(x, p)
    np.testing.assert_array_equal(host(y)[0, 0], [[5, 5], [np.nan, 4]])
    np.testing.assert_array_equal(host(index)[0, 0], [[1, 1], [6, 8]])
    gx = module.max_grad_input(on(device, np.array([[[[1.0, 2.0], [3.0, 4.0]]]])), index, p, (1, 1, 3, 3))
    np.testing.assert_array_equal(host(gx)[0, 0], [[0, 3, 0], [0, 0, 0], [3, 0, 4]])
    ones = on(device, np.ones((1, 1, 2, 2)))
    p = pool.pool_params((1, 1, 2, 2), 2, 2, 1)  # one pixel in each window
    np.testing.assert_array_equal(host(module.avg_forward(ones, p))[0, 0], [[0.25, 0.25], [0.25, 0.25]])
    p = pool.pool_params((1, 1, 2, 2), 2, 2, 1, count_include_pad=False)
    np.testing.assert_array_equal(host(module.avg_forward(ones, p))[0, 0], [[1, 1], [1, 1]])
    p = pool.pool_params((1, 1, 3, 3), 2, 2, 0, ceil_mode=True)  # clipped windows divide by what they cover
    ones = on(device, np.ones((1, 1, 3, 3)))
    np.testing.assert_array_equal(host(module.avg_forward(ones, p))[0, 0], [[1, 1], [1, 1]])


@pytest.mark.host_only
@pytest.mark.parametrize("seed", range(40))
def test_spans_are_the_taps_of_the_reference_and_coverings_their_transpose(seed):
    rng = np.random.default_rng(seed)
    h, w, oh, ow, kh, kw, sh, sw, dh, dw = (int(n) for n in rng.integers(1, 6, 10))
    x_shape = (1, 1, h + dh * (kh - 1), w + dw * (kw - 1))
    padding = (int(rng.integers(0, kh // 2 + 1)), int(rng.integers(0, kw // 2 + 1)))
    for p in (
        pool.pool_params(x_shape, (kh, kw), (sh, sw), padding, (dh, dw), bool(rng.integers(2))),
        pool.adaptive_params(x_shape, (oh, ow)),
    ):
        for axis, size in enumerate(x_shape[2:]):
            inside = [[i for i in reference.taps(o, axis, size, p) if 0 <= i < size] for o in range(p.output[axis])]
            assert [list(range(*s)) for s in spans.windows(p, x_shape[2:])[axis]] == inside
            covering = [[o for o in range(p.output[axis]) if i in inside[o]] for i in range(size)]
            assert [list(range(*s)) for s in spans.coverings(p, x_shape[2:])[axis]] == covering


def all_functions(module, n):
    """The results of every array function of a row on n images."""
    x, index = random(n, 2, 4, 4), np.zeros((n, 2, 2, 2), np.int64)
    p, y = pool.pool_params(x.shape, 2), random(n, 2, 2, 2)
    norms = module.lp_forward(x, p, 2.0)
    return [
        *max_passes(module, x, y, index, p), *avg_passes(module, x, y, p), module.unpool_forward(y, index, (4, 4)),
        module.unpool_grad_input(x, index), norms, module.lp_collect(x, x, norms, p, 1.0),
        module.lp_spread(y, x, norms, p, 1.0),
    ]


def test_an_empty_batch_compiles_nothing(monkeypatch):
    def fail(*arguments):
        raise AssertionError("a loop was called")

    loops = [name for name, value in vars(window_cpu).items() if hasattr(value, "py_func") and name != "_raise"]
    for name in loops:
        monkeypatch.setattr(window_cpu, name, fail)
    for family in ("_max_of", "_share_of", "_mean_of"):
        monkeypatch.setattr(window_cpu, family, lambda *constants: fail)
    assert len(loops) == 9
    for result, one in zip(all_functions(window_cpu, 0), all_functions(reference, 1), strict=True):
        assert result.shape == (0, *one.shape[1:]) and result.dtype == one.dtype
    with pytest.raises(AssertionError, match="a loop was called"):
        all_functions(window_cpu, 1)


# --- through Tensors


FUNCTIONS = {
    "max": (mg.max_pool2d, {"kernel_size": 2}),
    "max, overlapping, padded": (mg.max_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "max, dilated": (mg.max_pool2d, {"kernel_size": 2, "stride": 1, "dilation": 2}),
    "max, ceil": (mg.max_pool2d, {"kernel_size": 2, "stride": 3, "ceil_mode": True}),
    "average": (mg.avg_pool2d, {"kernel_size": (2, 3)}),
    "average, overlapping, padded": (mg.avg_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "average, ceil, without padding": (
        mg.avg_pool2d,
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
    ),
    "average, divided by 5": (mg.avg_pool2d, {"kernel_size": 2, "stride": 1, "divisor_override": 5}),
    "adaptive, divides": (mg.adaptive_avg_pool2d, {"output_size": (2, 5)}),
    "adaptive, does not divide": (mg.adaptive_avg_pool2d, {"output_size": 3}),
    "adaptive, larger than the image": (mg.adaptive_avg_pool2d, {"output_size": (6, 7)}),
    "adaptive, to one": (mg.adaptive_avg_pool2d, {"output_size": 1}),
    "adaptive maximum": (mg.adaptive_max_pool2d, {"output_size": (3, 2)}),
    "adaptive maximum, larger than the image": (mg.adaptive_max_pool2d, {"output_size": 7}),
    "global": (mg.global_avg_pool2d, {}),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_pooling_gradients_equal_finite_differences(case):
    function, how = FUNCTIONS[case]
    assert mg.gradcheck(lambda x: function(x, **how), apart(2, 2, 4, 5))
    assert mg.gradgradcheck(lambda x: function(x * x, **how), apart(1, 2, 4, 5))  # squared: not linear


@pytest.mark.parametrize("order", ["C", "F"])
def test_ties_send_the_whole_gradient_to_the_first_maximum(order):
    x = mg.Tensor(np.zeros((1, 1, 2, 4), order=order), requires_grad=True)
    mg.max_pool2d(x, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[1, 0, 1, 0], [0, 0, 0, 0]])


def test_return_indices_point_at_the_maxima():
    x = mg.Tensor(random(2, 3, 6, 7), requires_grad=True)
    y, index = mg.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert index.dtype == mg.int64
    assert not index.requires_grad
    assert index.shape == y.shape
    flat = np.take_along_axis(x.detach().numpy().reshape(2, 3, -1), index.numpy().reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(flat.reshape(y.shape), y.detach().numpy())


def test_adaptive_windows_cover_the_image_and_overlap():
    x = mg.Tensor(np.arange(5.0).reshape(1, 1, 1, 5))
    np.testing.assert_allclose(mg.adaptive_avg_pool2d(x, (1, 3)).numpy()[0, 0, 0], [0.5, 2, 3.5])
    np.testing.assert_allclose(mg.adaptive_avg_pool2d(x, (None, 2)).numpy()[0, 0, 0], [1, 3])
    image = mg.Tensor(random(2, 3, 4, 5))
    np.testing.assert_array_equal(mg.adaptive_avg_pool2d(image, None).numpy(), image.numpy())
    np.testing.assert_array_equal(mg.adaptive_avg_pool2d(image, 1).numpy(), mg.global_avg_pool2d(image).numpy())
    np.testing.assert_allclose(
        mg.adaptive_avg_pool2d(image, (2, 1)).numpy(), mg.avg_pool2d(image, (2, 5)).numpy(), atol=1e-15
    )


def test_adaptive_pooling_to_the_same_size_is_the_identity_in_new_memory():
    image, pixel = mg.Tensor(random(2, 3, 7, 7)), mg.Tensor(random(2, 3, 1, 1))
    pools = [(lambda x, size=size: mg.adaptive_avg_pool2d(x, size), image) for size in ((7, 7), None, 7)]
    for function, x in (*pools, (pools[1][0], pixel), (mg.global_avg_pool2d, pixel)):
        before = x.numpy().copy()
        y = function(x)
        np.testing.assert_array_equal(y.numpy(), before)
        y.mul_(5.0)
        np.testing.assert_array_equal(x.numpy(), before)
    np.testing.assert_array_equal(mg.adaptive_avg_pool2d(pixel, (7, 7)).numpy(), np.tile(pixel.numpy(), (1, 1, 7, 7)))


def test_means_of_large_images_keep_their_digits():
    x = mg.Tensor((1000 + random(1, 2, 224, 224)).astype("float32"))
    np.testing.assert_allclose(mg.global_avg_pool2d(x).numpy(), x.numpy().mean((2, 3), "float64", keepdims=True), 1e-7)


def test_adaptive_maxima_and_their_positions_by_hand():
    x = mg.Tensor(np.array([[1.0, 5.0, 5.0, 2.0, 7.0]]).reshape(1, 1, 1, 5), requires_grad=True)
    y, index = mg.adaptive_max_pool2d(x, (1, 3), return_indices=True)  # windows 0-1, 1-3, 3-4
    assert y.tolist() == [[[[5, 5, 7]]]] and index.tolist() == [[[[1, 1, 4]]]]
    y.sum().backward()
    assert x.grad.tolist() == [[[[0, 2, 0, 0, 1]]]]


@pytest.mark.parametrize(
    "function", [lambda x: mg.max_pool2d(x, 2), lambda x: mg.avg_pool2d(x, 2), mg.global_avg_pool2d,
                 lambda x: mg.adaptive_avg_pool2d(x, 3), lambda x: mg.adaptive_max_pool2d(x, 3)],
    ids=["max", "avg", "global", "adaptive avg", "adaptive max"],
)
def test_dtypes_and_empty_batches(function):
    for dtype, wanted in [("int64", "float32"), ("float32", "float32"), ("float64", "float64")]:
        assert function(mg.ones(2, 3, 4, 4, dtype=dtype)).dtype == wanted
    x = mg.zeros(0, 3, 4, 4, requires_grad=True)
    y = function(x)
    assert y.shape[:2] == (0, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    "function", [mg.max_pool2d, mg.adaptive_max_pool2d, lambda x, k, **options: mg.max_pool1d(x[0], k, **options)]
)
def test_indices_written_to_leave_the_gradient_alone(function):
    x = apart(1, 2, 4, 4)
    (wanted,) = mg.grad(function(x, 2).sum(), x)
    y, index = function(x, 2, return_indices=True)
    index.zero_()
    np.testing.assert_array_equal(mg.grad(y.sum(), x)[0].numpy(), wanted.numpy())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mg.max_pool2d(x[0], 2), r"MaxPool2d: x must be 4-D .* got 3-D \(3x4x5\)"),
        (lambda x: mg.max_pool2d(x, 6), r"MaxPool2d: kernel 6x6 .* does not fit into x \(2x3x4x5\)"),
        (lambda x: mg.max_pool2d(x, 2, padding=2), r"MaxPool2d: padding \(\(2, 2\), \(2, 2\)\) exceeds half"),
        (lambda x: mg.avg_pool2d(x[0], 2), r"AvgPool2d: x must be 4-D"),
        (lambda x: mg.avg_pool2d(x, 2, stride=-1), r"AvgPool2d: stride must be an integer >= 1, got -1"),
        (lambda x: mg.avg_pool2d(x, 2, divisor_override=0), r"AvgPool2d: divisor_override must .* >= 1, got 0"),
        (lambda x: mg.adaptive_max_pool2d(x[0], 2), r"AdaptiveMaxPool2d: x must be 4-D .* got 3-D"),
        (lambda x: mg.adaptive_max_pool2d(x, (2, 0)), r"AdaptiveMaxPool2d: output_size must be .* >= 1, got 0"),
        (lambda x: mg.adaptive_avg_pool2d(x[0], 2), r"AdaptiveAvgPool2d: x must be 4-D .* got 3-D"),
        (lambda x: mg.adaptive_avg_pool2d(x, 0), r"AdaptiveAvgPool2d: output_size must be an integer >= 1, got 0"),
        (lambda x: mg.adaptive_avg_pool2d(x, (1, 2, 3)), r"output_size must be an int or a pair, got \(1, 2, 3\)"),
        (lambda x: mg.adaptive_avg_pool2d(x[:, :, :0], 2), r"AdaptiveAvgPool2d: x has no pixels \(2x3x0x5\)"),
        (lambda x: mg.global_avg_pool2d(x[0]), r"GlobalAvgPool2d: x must be 4-D .* got 3-D"),
        (lambda x: mg.global_avg_pool2d(x[..., :0]), r"GlobalAvgPool2d: x has no pixels \(2x3x4x0\)"),
    ],
)
def test_errors_name_the_operation_and_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call(mg.ones(2, 3, 4, 5))
