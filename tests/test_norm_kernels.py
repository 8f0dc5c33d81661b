"""Normalisation kernels: every row of the table against the definitions, over groups, layouts, dtypes and extremes."""
import numpy as np
import pytest
from layouts import LAYOUTS

from minigrad.kernels import norm
from minigrad.kernels.norm import fused_cpu, lrn_cpu, reference

ROWS = sorted(norm.TABLE)
TOLERANCE = {"float64": 2e-13, "float32": 1e-5}

# x shape, how its groups are made
GROUPS = {
    "batch": ((4, 5, 3, 6), norm.batch_groups),
    "batch, many blocks": ((3, 2, 7, 9), norm.batch_groups),
    "batch, one pixel": ((4, 3, 1, 1), norm.batch_groups),
    "group": ((3, 6, 4, 5), lambda s: norm.channel_groups(s, 2)),
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


def assert_same(actual, wanted, tolerance):
    assert actual.shape == wanted.shape
    assert actual.dtype == wanted.dtype
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


def compare(row, x, gy, p, layout=np.array, affine=True, relu=False, plus=None):
    w, b = (random(*p.affine, seed=s, dtype=x.dtype) if affine else None for s in (2, 3))
    before, module = x.copy(), norm.lookup(row[1], row[0])
    results = passes(module, layout(x), layout(gy), w, b, p, 1e-5, relu, None if plus is None else layout(plus))
    for actual, wanted in zip(results, passes(reference, x, gy, w, b, p, 1e-5, relu, plus), strict=True):
        assert_same(actual, wanted, TOLERANCE[str(x.dtype)])
    assert all(a.transpose(p.order).flags.c_contiguous for a in (results[2], results[5]))
    np.testing.assert_array_equal(x, before)
    return results


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", GROUPS)
@pytest.mark.parametrize("row", ROWS)
def test_normalisation_equals_the_reference(row, case, layout, dtype):
    shape, groups = GROUPS[case]
    x, gy = random(*shape, dtype=dtype), random(*shape, seed=1, dtype=dtype)
    _, _, y, _, _, gx = compare(row, x, gy, groups(shape), layout)
    compare(row, x, gy, groups(shape), layout, affine=False)
    if case not in ("layer, maps", "layer, rows", "layer, all"):
        assert all(a.transpose(0, 2, 3, 1).flags.c_contiguous for a in (y, gx))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", FLAT)
@pytest.mark.parametrize("row", ROWS)
def test_other_numbers_of_dimensions(row, case, dtype):
    shape, groups = FLAT[case]
    x, gy = random(*shape, dtype=dtype), random(*shape, seed=1, dtype=dtype)
    for layout in (np.array, np.asfortranarray, gaps, lambda a: np.flip(np.flip(a).copy())):
        compare(row, x, gy, groups(shape), layout)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", GROUPS)
@pytest.mark.parametrize("row", ROWS)
def test_an_addition_and_a_relu_in_the_same_pass(row, case, dtype):
    shape, groups = GROUPS[case]
    x, gy, plus = (random(*shape, seed=s, dtype=dtype) for s in range(3))
    for layout in LAYOUTS:
        compare(row, x, gy, groups(shape), layout, relu=True)
        compare(row, x, gy, groups(shape), layout, plus=plus)
        compare(row, x, gy, groups(shape), layout, relu=True, plus=plus)


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


@pytest.mark.parametrize("row", ROWS)
def test_one_group_computed_by_hand(row):
    x = np.array([[1.0], [3.0], [8.0]])
    p, module = norm.batch_groups(x.shape), norm.lookup(row[1], row[0])
    mean, var, rstd = module.statistics(x, p, 1 / 3)
    assert (mean.item(), var.item(), rstd.item()) == (4.0, 26 / 3, 9**-0.5)
    y = module.forward(x, mean, np.full((1, 1), 0.5), np.array([2.0]), np.array([10.0]), p)
    assert y.tolist() == [[7.0], [9.0], [14.0]]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("row", ROWS)
def test_running_statistics_move_towards_those_of_a_batch(row, dtype):
    running, batch = np.array([1.0, -2.0], dtype), np.array([[[3.0], [8.0]]])
    norm.lookup(row[1], row[0]).move(running, batch, 0.25, 2.0)
    assert running.tolist() == [0.75 + 1.5, -1.5 + 4.0]
    assert batch.ravel().tolist() == [3.0, 8.0]


@pytest.mark.parametrize(("dtype", "large", "tolerance"), [("float32", 1e4, 2e-5), ("float64", 1e9, 1e-6)])
@pytest.mark.parametrize("case", ["batch, many blocks", "group", "instance", "layer, images", "layer, rows"])
@pytest.mark.parametrize("row", ROWS)
def test_a_large_mean_costs_no_digits(row, case, dtype, large, tolerance):
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
    ours = passes(norm.lookup(row[1], row[0]), x, gy.astype(dtype), None, None, p)
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
@pytest.mark.parametrize("row", ROWS)
def test_nan_and_infinity_stay_in_their_group(row, value):
    x = random(3, 4, 3, 3)
    x[1, 2, 0, 1] = value
    for p, spoilt in ((norm.batch_groups(x.shape), np.s_[:, 2]), (norm.layer_groups(x.shape, x.shape[1:]), np.s_[1])):
        with np.errstate(invalid="ignore"):
            y = passes(norm.lookup(row[1], row[0]), x, x, None, None, p)[2]
        assert np.isnan(y[spoilt]).any()
        y[spoilt] = 0
        assert np.isfinite(y).all()


@pytest.mark.parametrize("row", ROWS)
def test_two_runs_give_the_same_bits(row):
    x, gy = random(4, 6, 5, 7, dtype="float32"), random(4, 6, 5, 7, seed=1, dtype="float32")
    module, q = norm.lookup(row[1], row[0]), norm.lrn_params(5, 0.1, 0.75, 2.0)
    for p in (norm.batch_groups(x.shape), norm.channel_groups(x.shape, 2), norm.layer_groups(x.shape, (7,))):
        one, two = (passes(module, x, gy, None, None, p) for _ in range(2))
        assert [a.tobytes() for a in one] == [a.tobytes() for a in two]
    assert module.lrn_grad_input(gy, x, q).tobytes() == module.lrn_grad_input(gy, x, q).tobytes()


# --- local response normalisation


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize(("shape", "size"), LRN)
@pytest.mark.parametrize("row", ROWS)
def test_local_response_normalisation_equals_the_reference(row, shape, size, beta, layout, dtype):
    module, q = norm.lookup(row[1], row[0]), norm.lrn_params(size, 0.8, beta, 2.0)
    x, gy = random(*shape, dtype=dtype), random(*shape, seed=1, dtype=dtype)
    pairs = [
        (module.lrn_forward(layout(x), q), reference.lrn_forward(x, q)),
        (module.lrn_grad_input(layout(gy), layout(x), q), reference.lrn_grad_input(gy, x, q)),
        (module.window_sum(layout(x), q.reach), reference.window_sum(x, q.reach)),
    ]
    for actual, wanted in pairs:
        assert_same(actual, wanted, TOLERANCE[dtype])
        assert actual.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("size", [1e-15, 1e15])
@pytest.mark.parametrize("row", ROWS)
def test_local_response_normalisation_neither_overflows_nor_underflows_on_the_way(row, size):
    module, q = norm.lookup(row[1], row[0]), norm.lrn_params(3, 3.0, 0.75, 0.0)
    x, gy = random(2, 4, 3) * size, random(2, 4, 3, seed=1)
    y = module.lrn_forward(x.astype("float32"), q)
    np.testing.assert_allclose(y, reference.lrn_forward(x, q), rtol=1e-5)
    gx, wanted = module.lrn_grad_input(gy.astype("float32"), x.astype("float32"), q), reference.lrn_grad_input(gy, x, q)
    np.testing.assert_allclose(gx / abs(wanted).max(), wanted / abs(wanted).max(), atol=1e-5)


@pytest.mark.parametrize("row", ROWS)
def test_the_window_of_channels_by_hand(row):
    x = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 4, 1)
    module = norm.lookup(row[1], row[0])
    for reach, wanted in [((1, 1), [11, 111, 1110, 1100]), ((2, 1), [11, 111, 1111, 1110]), ((0, 0), x.ravel())]:
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
