"""Convolution with few channels a group against the reference loops: every form of tile, of image edge and of host."""
import numpy as np
import pytest

from minigrad.kernels import tile as tile_module
from minigrad.kernels.conv import ConvParams, conv_output_shape, depthwise_cpu, depthwise_plan, direct_cpu, reference
from minigrad.kernels.threads import get_num_threads, set_num_threads
from minigrad.kernels.tile import Host

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}  # relative to the largest element

# name: (x shape, OC, kernel, stride, padding per side, dilation, groups)
ONE, NONE = ((1, 1), (1, 1)), ((0, 0), (0, 0))
CASES = {
    "3x3": ((2, 32, 9, 12), 32, (3, 3), (1, 1), ONE, (1, 1), 32),
    "channels beyond a vector": ((2, 37, 8, 7), 37, (3, 3), (1, 1), ONE, (1, 1), 37),
    "less than a vector": ((3, 5, 6, 5), 5, (3, 3), (1, 1), ONE, (1, 1), 5),
    "stride 2": ((2, 16, 9, 12), 16, (3, 3), (2, 2), ONE, (1, 1), 16),
    "stride beyond the kernel": ((1, 16, 10, 9), 16, (2, 1), (3, 4), NONE, (1, 1), 16),
    "5x5, a row over several tiles": ((1, 16, 6, 31), 16, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 16),
    "dilation and stride": ((1, 16, 11, 13), 16, (3, 2), (2, 1), ((2, 1), (0, 3)), (2, 3), 16),
    "padding wider than the kernel": ((1, 16, 3, 2), 16, (2, 3), (1, 1), ((4, 3), (5, 4)), (1, 1), 16),
    "negative padding": ((2, 16, 9, 10), 16, (3, 3), (1, 1), ((-1, 2), (1, -3)), (1, 1), 16),
    "1x1": ((2, 16, 5, 6), 16, (1, 1), (1, 1), NONE, (1, 1), 16),
    "one output": ((1, 16, 3, 3), 16, (3, 3), (1, 1), NONE, (1, 1), 16),
    "pixels a page apart": ((2, 1024, 5, 4), 1024, (3, 3), (1, 1), ONE, (1, 1), 1024),
    "multiplier 2": ((2, 12, 7, 8), 24, (3, 3), (1, 1), ONE, (1, 1), 12),
    "multiplier 4, stride 2": ((1, 9, 7, 8), 36, (3, 3), (2, 1), ONE, (1, 1), 9),
    "groups of 2": ((2, 22, 7, 8), 22, (3, 3), (1, 1), ONE, (1, 1), 11),
    "groups of 4 to 2": ((2, 40, 7, 8), 20, (3, 2), (1, 2), ((0, 2), (3, 1)), (1, 1), 10),
}
GROUPS_OF_8 = (2, 40, 7, 9), 40, (3, 3), (1, 1), ONE, (1, 1), 5  # fit float32 on wide vectors only


def problem(case, dtype):
    """x, w, gy and p."""
    x_shape, oc, kernel, stride, padding, dilation, groups = case
    p, w_shape = ConvParams(stride, padding, dilation, groups), (oc, x_shape[1] // groups, *kernel)
    rng = np.random.default_rng(0)
    shapes = x_shape, w_shape, conv_output_shape(x_shape, w_shape, p)
    return *(rng.standard_normal(shape).astype(dtype) for shape in shapes), p


def passes(row, x, w, gy, p, **how):
    yield row.forward(x, w, p, **how)
    yield row.grad_input(gy, w, p, x.shape, **how)
    yield row.grad_weight(x, gy, p, w.shape, **how)


def assert_equal_to_reference(x, w, gy, p, row=depthwise_cpu):
    assert depthwise_cpu.fits(w.shape, p, x.dtype)
    exact = [a.astype(np.float64) for a in (x, w, gy)]
    for ours, wanted in zip(passes(row, x, w, gy, p), passes(reference, *exact, p), strict=True):
        assert ours.dtype == x.dtype
        scale = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=TOLERANCE[x.dtype.name] * scale)


@pytest.mark.parametrize(("case", "dtype"), [*((case, "float64") for case in CASES), *((case, "float32") for case in (
    "3x3", "less than a vector", "pixels a page apart", "multiplier 2", "groups of 4 to 2"))])
def test_all_passes_equal_the_reference(case, dtype):
    assert_equal_to_reference(*problem(CASES[case], dtype))


@pytest.mark.parametrize("host", [Host(64, 14), Host(32, 6), Host(16, 12), Host(16, 6)], ids=str)
def test_other_vector_widths(monkeypatch, host):
    for module in (tile_module, depthwise_cpu):
        monkeypatch.setattr(module, "host", lambda: host)
    for case in ("channels beyond a vector", "multiplier 2"):
        assert_equal_to_reference(*problem(CASES[case], "float32"))
    x, w, gy, p = problem(GROUPS_OF_8, "float32")
    assert depthwise_cpu.fits(w.shape, p, x.dtype) == (host.vector_bytes == 64)
    if host.vector_bytes == 64:
        assert_equal_to_reference(x, w, gy, p)


def test_true_convolution_rotates_the_kernel():
    x, w, gy, p = problem(CASES["dilation and stride"], "float64")
    y, gx, gw = passes(reference, x, w[:, :, ::-1, ::-1], gy, p)
    for ours, wanted in zip(passes(direct_cpu, x, w, gy, p, flip=True), (y, gx, gw[:, :, ::-1, ::-1]), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", ["3x3", "groups of 4 to 2"])
def test_bias_and_relu_in_the_store(case):
    x, w, _, p = problem(CASES[case], "float64")
    bias = np.random.default_rng(1).standard_normal(len(w))
    wanted = np.maximum(reference.forward(x, w, p) + bias[:, None, None], 0)
    np.testing.assert_allclose(depthwise_cpu.forward(x, w, p, bias, 0.0), wanted, rtol=0, atol=1e-12)


def test_direct_leaves_narrow_groups_to_these_loops(monkeypatch):
    for name in ("correlate", "weight_gradient"):
        monkeypatch.setattr(direct_cpu, name, None)
    assert_equal_to_reference(*problem(CASES["multiplier 2"], "float32"), row=direct_cpu)


@pytest.mark.parametrize(("w_shape", "groups"), [((32, 32, 3, 3), 1), ((6, 1, 3, 3), 2), ((64, 32, 3, 3), 2),
                                                 ((20, 5, 3, 3), 4), ((1, 1, 3, 3), 1), ((32, 1, 3, 3), 2)])
def test_other_groups_do_not_fit(w_shape, groups):
    p = ConvParams((1, 1), ONE, (1, 1), groups)
    assert not depthwise_cpu.fits(w_shape, p, np.dtype("float32"))


@pytest.mark.parametrize("case", ["channels beyond a vector", "stride 2", "pixels a page apart"])
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, case):
    monkeypatch.setattr(depthwise_cpu, "WORK", 1)
    x, w, gy, p = problem(CASES[case], "float32")
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            set_num_threads(threads)
            found.append([a.tobytes() for a in passes(depthwise_cpu, x, w, gy, p)])
    finally:
        set_num_threads(before)
    assert all(one == found[0] for one in found[1:])


def test_results_that_go_past_the_cache_are_the_same(monkeypatch):
    x, w, gy, p = problem(CASES["3x3"], "float32")
    wanted = [a.tobytes() for a in passes(depthwise_cpu, x, w, gy, p)]
    monkeypatch.setattr(depthwise_plan, "LARGE", 0)
    for plans in (depthwise_plan.forward_plan, depthwise_plan.grad_input_plan):
        plans.cache_clear()
    assert [a.tobytes() for a in passes(depthwise_cpu, x, w, gy, p)] == wanted
    depthwise_plan.forward_plan.cache_clear()
    depthwise_plan.grad_input_plan.cache_clear()


def test_long_sums_keep_their_digits():
    x_shape, w_shape = (8, 16, 200, 200), (16, 1, 3, 3)
    p, tenth = ConvParams((1, 1), ONE, (1, 1), 16), np.float32(0.1)
    x, gy = np.ones(x_shape, np.float32), np.full(x_shape, tenth)  # all errors of rounding have the same sign
    gw = depthwise_cpu.grad_weight(x, gy, p, w_shape)
    seen = np.array([199, 200, 199])  # rows, or columns, of outputs that the taps meet inside the image
    wanted = 8 * seen[:, None] * seen * np.float64(tenth)
    np.testing.assert_allclose(gw, np.broadcast_to(wanted, w_shape), rtol=1e-6)  # all in float32: 1.3e-5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_reach_exactly_what_sees_them(value):
    x, w, gy, p = problem(CASES["channels beyond a vector"], "float32")
    x[1, 36, 0, 6] = gy[0, 0, 7, 0] = value
    y, gx, gw = passes(depthwise_cpu, x, w, gy, p)
    assert np.argwhere(~np.isfinite(y)).tolist() == [[1, 36, 0, 5], [1, 36, 0, 6], [1, 36, 1, 5], [1, 36, 1, 6]]
    assert np.argwhere(~np.isfinite(gx)).tolist() == [[0, 0, 6, 0], [0, 0, 6, 1], [0, 0, 7, 0], [0, 0, 7, 1]]
    assert np.argwhere(~np.isfinite(gw[1:])).tolist() == [[35, 0, i, j] for i in (0, 1) for j in (1, 2)]


@pytest.mark.parametrize(("groups", "oc", "stride"), [(24, 24, 1), (24, 24, 2), (24, 48, 1), (6, 24, 1)])
def test_equals_pytorch(groups, oc, stride):
    torch = pytest.importorskip("torch")
    x, w, gy, p = problem(((2, 24, 9, 10), oc, (3, 3), (stride, stride), ONE, (1, 1), groups), "float32")
    tx, tw = (torch.tensor(a, requires_grad=True) for a in (x, w))
    ty = torch.nn.functional.conv2d(tx, tw, stride=stride, padding=1, groups=groups)
    ty.backward(torch.tensor(gy))
    for ours, theirs in zip(passes(depthwise_cpu, x, w, gy, p), (ty.detach(), tx.grad, tw.grad), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
