"""Normalisation kernels: every row of the table against the definitions, over groups, layouts, dtypes and extremes."""
from itertools import product

import numpy as np
import pytest
from devices import host, marked, on, rows
from layouts import LAYOUTS

from minigrad.kernels import norm
from minigrad.kernels.norm import fused_cpu, lrn_cpu, reference

ROWS = rows(norm.TABLE)
TOLERANCE = {"float64": 2e-13, "float32": 1e-5}

# x shape, how its groups are made
GROUPS = {
    "batch": ((4, 5, 3, 6), norm.batch_groups),
    "batch, many blocks": ((3, 2, 7, 9), norm.batch_groups),
    "batch, many pixels": ((2, 33, 10, 13), norm.batch_groups),
    "batch, one pixel": ((4, 3, 1, 1), norm.batch_groups),
    "group": ((3, 6, 4, 5), lambda s: norm.channel_groups(s, 2)),
    "group, many pixels": ((2, 34, 12, 13), lambda s: norm.channel_groups(s, 2)),
    "group, all channels": ((2, 4, 3, 3), lambda s: norm.channel_groups(s, 1)),
    "instance": ((2, 4, 5, 7), lambda s: norm.channel_groups(s, 4)),
    "group, one pixel": ((3, 6, 1, 1), lambda s: norm.channel_groups(s, 3)),
    "layer, images": ((3, 4, 2, 5), lambda s: norm.layer_groups(s, s[1:])),
    "layer, maps": ((3, 4, 2, 5), lambda s: norm.layer_groups(s, s[2:])),
    "layer, rows": ((3, 4, 2, 5), lambda s: norm.layer_groups(s, s[3:])),
    "layer, all": ((3, 4, 2, 5), lambda s: norm.layer_groups(s, s)),
    "empty batch": ((0, 4, 2, 5), norm.batch_groups),
    "empty group": ((0, 4, 2, 5), lambda s: norm.channel_groups(s, 2)),
    "empty layer": ((0, 4, 2, 5), lambda s: norm.layer_groups(s, s[1:])),
    "no pixels": ((2, 4, 0, 5), norm.batch_groups),
}
FLAT = {
    "batch, N x C": ((37, 5), norm.batch_groups),
    "batch, N x C x L": ((5, 3, 9), norm.batch_groups),
    "batch, 5-D": ((2, 3, 2, 3, 4), norm.batch_groups),
    "group, N x C": ((4, 6), lambda s: norm.channel_groups(s, 2)),
    "group, N x C x L": ((4, 6, 5), lambda s: norm.channel_groups(s, 3)),
    "layer, N x D": ((4, 7), lambda s: norm.layer_groups(s, s[1:])),
    "layer, 1-D": ((7,), lambda s: norm.layer_groups(s, s)),
    "layer, sequence": ((2, 3, 4), lambda s: norm.layer_groups(s, s[1:])),
}
LRN = [((2, 7, 3, 4), 5), ((2, 7, 3, 4), 4), ((1, 3, 2, 2), 1), ((2, 3, 2, 5), 9), ((1, 2, 1, 3), 2), ((0, 4, 2, 2), 5)]


def random(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(0.5, 1.5, shape).astype(dtype)


def gaps(a):
    """The same values with every other number in memory unused."""
    return np.repeat(a, 2, -1)[..., ::2]


def passes(module, x, gy, w, b, p, eps=1e-5, relu=False, plus=None):
    """Everything a row computes for one x. relu: a ReLU comes after it, and backward looks at b."""
    mean, var, rstd = module.statistics(x, p, eps)
    y = module.forward(x, mean, rstd, w, b, p, relu, plus)
    b = b if relu else None
    groups, affine = module.grad_sums(gy, x, mean, rstd, w, b, p)
    return mean, var, y, groups, affine, module.grad_input(gy, x, mean, rstd, w, b, groups, p)


def over(*parameters):
    """The rows, each with all combinations of the other parameters; every seventh of them if simulated."""
    combined = list(product(*parameters))
    return marked((*r, *c) for r in ROWS for i, c in enumerate(combined) if r[1] != "cuda-sim" or i % 7 == 0)


def assert_same(actual, wanted, tolerance):
    actual = host(actual)
    assert actual.shape == wanted.shape
    assert actual.dtype == wanted.dtype
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


def compare(name, device, x, gy, p, layout=np.array, affine=True, relu=False, plus=None):
    w, b = (random(*p.affine, seed=s, dtype=x.dtype) if affine else None for s in (2, 3))
    before, given = x.copy(), [layout(x), layout(gy), w, b, None if plus is None else layout(plus)]
    *arrays, after = (None if a is None else on(device, a) for a in given)
    results = passes(norm.lookup(device, name), *arrays, p, 1e-5, relu, after)
    for actual, wanted in zip(results, passes(reference, x, gy, w, b, p, 1e-5, relu, plus), strict=True):
        assert_same(actual, wanted, TOLERANCE[str(x.dtype)])
    assert all(a.transpose(p.order).flags.c_contiguous for a in (results[2], results[5]))
    np.testing.assert_array_equal(host(arrays[0]), before)
    return results


@pytest.mark.parametrize(("name", "device", "case", "layout", "dtype"), over(GROUPS, LAYOUTS, TOLERANCE))
def test_normalisation_equals_the_reference(name, device, case, layout, dtype):
    shape, groups = GROUPS[case]
    x, gy = random(*shape, dtype=dtype), random(*shape, seed=1, dtype=dtype)
    _, _, y, _, _, gx = compare(name, device, x, gy, groups(shape), layout)
    compare(name, device, x, gy, groups(shape), layout, affine=False)
    if case not in ("layer, maps", "layer, rows", "layer, all"):
        assert all(a.transpose(0, 2, 3, 1).flags.c_contiguous for a in (y, gx))


def backwards(a):
    """The same values, every stride negative."""
    return np.flip(np.flip(a).copy())


@pytest.mark.parametrize(
    ("name", "device", "case", "dtype", "layout"), over(FLAT, TOLERANCE, (np.array, np.asfortranarray, gaps, backwards))
)
def test_other_numbers_of_dimensions(name, device, case, dtype, layout):
    shape, groups = FLAT[case]
    x, gy = random(*shape, dtype=dtype), random(*shape, seed=1, dtype=dtype)
    compare(name, device, x, gy, groups(shape), layout)


@pytest.mark.parametrize(("name", "device", "case", "layout", "dtype"), over(GROUPS, LAYOUTS, TOLERANCE))
def test_an_addition_and_a_relu_in_the_same_pass(name, device, case, layout, dtype):
    shape, groups = GROUPS[case]
    x, gy, plus = (random(*shape, seed=s, dtype=dtype) for s in range(3))
    compare(name, device, x, gy, groups(shape), layout, relu=True)
    compare(name, device, x, gy, groups(shape), layout, plus=plus)
    compare(name, device, x, gy, groups(shape), layout, relu=True, plus=plus)


def test_a_relu_in_the_same_pass_gives_the_bits_of_one_after_it():
    """Many numbers, some of them 0 or NaN after the normalisation, and gradients that are not finite where it is 0."""
    shape = (4, 24, 9, 8)
    x, gy, plus = (random(*shape, seed=s, dtype="float32") for s in range(3))
    p = norm.batch_groups(shape)
    w, b = random(24, seed=3, dtype="float32"), random(24, seed=4, dtype="float32")
    w[5] = b[5] = 0
    x[0, 7, 3, 3] = np.nan
    gy[:, 5] = np.inf
    mean, _, rstd = fused_cpu.statistics(x, p, 1e-5)
    apart, together = (fused_cpu.forward(x, mean, rstd, w, b, p, relu) for relu in (False, True))
    assert np.maximum(apart, 0).tobytes() == together.tobytes() and np.isnan(together[:, 7]).all()
    added = fused_cpu.forward(x, mean, rstd, w, b, p, True, plus)
    assert np.maximum(apart + plus, 0).tobytes() == added.tobytes()
    gated = np.where(apart <= 0, np.float32(0), gy)
    sums = [fused_cpu.grad_sums(*g, p) for g in ((gated, x, mean, rstd, w, None), (gy, x, mean, rstd, w, b))]
    np.testing.assert_array_equal(sums[0][0], sums[1][0])
    np.testing.assert_array_equal(sums[0][1], sums[1][1])
    assert np.isfinite(sums[1][1][:, 0, 5]).all()
    apart, together = (
        fused_cpu.grad_input(*g, sums[0][0], p) for g in ((gated, x, mean, rstd, w, None), (gy, x, mean, rstd, w, b))
    )
    np.testing.assert_allclose(together, apart, rtol=2e-6, atol=2e-7)  # the order of two additions is the compiler's


@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_one_group_computed_by_hand(name, device):
    x, rstd, w, b = (on(device, np.array(a)) for a in ([[1.0], [3.0], [8.0]], [[0.5]], [2.0], [10.0]))
    p, module = norm.batch_groups(x.shape), norm.lookup(device, name)
    mean, *rest = module.statistics(x, p, 1 / 3)
    assert mean.item() == 4.0
    np.testing.assert_allclose([a.item() for a in rest], [26 / 3, 1 / 3], rtol=1e-14)
    y = module.forward(x, mean, rstd, w, b, p)
    assert y.tolist() == [[7.0], [9.0], [14.0]]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_running_statistics_move_towards_those_of_a_batch(name, device, dtype):
    running, batch = on(device, np.array([1.0, -2.0], dtype)), on(device, np.array([[[3.0], [8.0]]]))
    norm.lookup(device, name).move(running, batch, 0.25, 2.0)
    assert running.tolist() == [0.75 + 1.5, -1.5 + 4.0]
    assert batch.ravel().tolist() == [3.0, 8.0]


@pytest.mark.parametrize(("dtype", "large", "tolerance"), [("float32", 1e4, 2e-5), ("float64", 1e9, 1e-6)])
@pytest.mark.parametrize("case", ["batch, many blocks", "group", "instance", "layer, images", "layer, rows"])
@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_a_large_mean_costs_no_digits(name, device, case, dtype, large, tolerance):
    """Against exact sums of the same numbers. sum(x^2) / n - mean^2 would be wrong in the first digit."""
    shape, groups = GROUPS[case]
    shape = (4 * shape[0], *shape[1:])
    p = groups(shape)
    x, gy = (random(*shape) + large).astype(dtype), random(*shape, seed=1)
    exact, rest = x.astype(np.longdouble).reshape(p.view), gy.astype(np.longdouble).reshape(p.view)
    mean, var = exact.mean(p.dims, keepdims=True), exact.var(p.dims, keepdims=True)
    rstd = (var + 1e-5) ** -0.5
    xhat = (exact - mean) * rstd
    gx = rstd * (rest - rest.mean(p.dims, keepdims=True) - xhat * (rest * xhat).mean(p.dims, keepdims=True))
    arrays = on(device, x), on(device, gy.astype(dtype))
    ours = [host(a) for a in passes(norm.lookup(device, name), *arrays, None, None, p)]
    affine = reference.grad_sums(gy, xhat.astype(np.float64).reshape(shape), 0.0, 1.0, None, None, p)[1]
    shared = x.size / affine[0].size  # how many elements each of these sums takes together
    exact = (mean, var, xhat.reshape(shape), affine / shared, gx.reshape(shape))
    for actual, wanted in zip((*ours[:3], ours[4] / shared, ours[5]), exact, strict=True):
        np.testing.assert_allclose(actual, wanted.astype(np.float64), rtol=tolerance, atol=tolerance)


def test_float32_statistics_of_many_numbers_are_those_of_float64():
    x = np.random.default_rng(0).normal(1000.0, 1.0, (8, 2, 250, 250)).astype(np.float32)
    mean, var, _ = fused_cpu.statistics(x, norm.batch_groups(x.shape), 0.0)
    np.testing.assert_allclose(mean.ravel(), x.mean((0, 2, 3), dtype=np.float64), rtol=1e-13)
    np.testing.assert_allclose(var.ravel(), x.astype(np.float64).var((0, 2, 3)), rtol=1e-11)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_nan_and_infinity_stay_in_their_group(name, device, value):
    x = random(3, 4, 3, 3)
    x[1, 2, 0, 1] = value
    for p, spoilt in ((norm.batch_groups(x.shape), np.s_[:, 2]), (norm.layer_groups(x.shape, x.shape[1:]), np.s_[1])):
        with np.errstate(invalid="ignore"):
            y = host(passes(norm.lookup(device, name), on(device, x), on(device, x), None, None, p)[2])
        assert np.isnan(y[spoilt]).any()
        y[spoilt] = 0
        assert np.isfinite(y).all()


@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_two_runs_give_the_same_bits(name, device):
    x, gy = (on(device, random(4, 6, 5, 7, seed=s, dtype="float32")) for s in (0, 1))
    module, q = norm.lookup(device, name), norm.lrn_params(5, 0.1, 0.75, 2.0)
    for p in (norm.batch_groups(x.shape), norm.channel_groups(x.shape, 2), norm.layer_groups(x.shape, (7,))):
        one, two = (passes(module, x, gy, None, None, p) for _ in range(2))
        assert [host(a).tobytes() for a in one] == [host(a).tobytes() for a in two]
    one, two = (host(module.lrn_grad_input(gy, x, q)) for _ in range(2))
    assert one.tobytes() == two.tobytes()


# --- local response normalisation


@pytest.mark.parametrize(
    ("name", "device", "case", "beta", "layout", "dtype"), over(LRN, (0.75, 0.5), LAYOUTS, TOLERANCE)
)
def test_local_response_normalisation_equals_the_reference(name, device, case, beta, layout, dtype):
    shape, size = case
    module, q = norm.lookup(device, name), norm.lrn_params(size, 0.8, beta, 2.0)
    x, gy = random(*shape, dtype=dtype), random(*shape, seed=1, dtype=dtype)
    xs, gys = on(device, layout(x)), on(device, layout(gy))
    pairs = [
        (module.lrn_forward(xs, q), reference.lrn_forward(x, q)),
        (module.lrn_grad_input(gys, xs, q), reference.lrn_grad_input(gy, x, q)),
        (module.window_sum(xs, q.reach), reference.window_sum(x, q.reach)),
    ]
    for actual, wanted in pairs:
        assert_same(actual, wanted, TOLERANCE[dtype])
        assert actual.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("size", [1e-15, 1e15])
@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_local_response_normalisation_neither_overflows_nor_underflows_on_the_way(name, device, size):
    module, q = norm.lookup(device, name), norm.lrn_params(3, 3.0, 0.75, 0.0)
    x, gy = random(2, 4, 3) * size, random(2, 4, 3, seed=1)
    xs, gys = (on(device, a.astype("float32")) for a in (x, gy))
    y = host(module.lrn_forward(xs, q))
    np.testing.assert_allclose(y, reference.lrn_forward(x, q), rtol=1e-5)
    gx, wanted = host(module.lrn_grad_input(gys, xs, q)), reference.lrn_grad_input(gy, x, q)
    np.testing.assert_allclose(gx / abs(wanted).max(), wanted / abs(wanted).max(), atol=1e-5)


@pytest.mark.parametrize(("name", "device"), marked(ROWS))
def test_the_window_of_channels_by_hand(name, device):
    x = on(device, np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 4, 1))
    module, same = norm.lookup(device, name), [1, 10, 100, 1000]
    for reach, wanted in [((1, 1), [11, 111, 1110, 1100]), ((2, 1), [11, 111, 1111, 1110]), ((0, 0), same)]:
        assert module.window_sum(x, reach).ravel().tolist() == list(wanted)


# --- the table


def test_an_empty_batch_compiles_nothing(monkeypatch):
    for module in (fused_cpu, lrn_cpu):
        for name in [n for n, value in vars(module).items() if hasattr(value, "py_func")]:
            monkeypatch.setattr(module, name, None)
    for shape, groups in (*GROUPS.values(), *FLAT.values()):
        x = np.zeros((0, *shape[1:]))
        passes(fused_cpu, x, x, None, None, groups(x.shape))
    q = norm.lrn_params(5, 1.0, 0.75, 1.0)
    assert fused_cpu.lrn_grad_input(np.zeros((0, 2, 3)), fused_cpu.lrn_forward(np.zeros((0, 2, 3)), q), q).size == 0


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="normalisation: no algorithm 'welford' on cpu; there is 'reference', 'fused'"):
        norm.lookup("cpu", "welford")


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="GroupNorm: 6 channels cannot be split into 4 groups"):
        norm.channel_groups((2, 6, 3), 4)
    with pytest.raises(ValueError, match="GroupNorm: num_groups must be an integer >= 1, got 0"):
        norm.channel_groups((2, 6, 3), 0)
    with pytest.raises(ValueError, match=r"LayerNorm: normalized_shape is \(3,\), got x of shape \(2, 4\)"):
        norm.layer_groups((2, 4), (3,))
    with pytest.raises(ValueError, match="LocalResponseNorm: size must be an integer >= 1, got 0"):
        norm.lrn_params(0, 1.0, 0.75, 1.0)
