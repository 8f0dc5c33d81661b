"""Winograd's algorithm in CUDA beyond the suite of all rows: its transforms, slices, precision, and what it keeps."""
import numpy as np
import pytest
from devices import host, on
from numpy.lib.stride_tricks import sliding_window_view

from minigrad.kernels import conv
from minigrad.kernels.conv import winograd_2x2_cuda, winograd_cuda, winograd_transforms
from minigrad.kernels.cuda import nvrtc

ROWS = {"winograd": winograd_cuda, "winograd_2x2": winograd_2x2_cuda}
simulated = pytest.mark.simulated


def random(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def exact(x, w, gy):
    """y, gx and gw of a 3x3 convolution with padding 1, in float64, as sums over windows."""
    x, gy = (np.pad(a.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1))) for a in (x, gy))
    seen, known = (sliding_window_view(a, (3, 3), (2, 3)) for a in (x, gy))
    return (
        np.einsum("nchwij,ocij->nohw", seen, w, optimize=True),
        np.einsum("nohwij,ocij->nchw", known, w[:, :, ::-1, ::-1], optimize=True),
        np.einsum("nchwij,nohw->ocij", seen, gy[:, :, 1:-1, 1:-1], optimize=True),
    )


def passes(row, x, w, gy, p):
    x, w, gy = (on("cuda-sim", a) for a in (x, w, gy))
    results = row.forward(x, w, p), row.grad_input(gy, w, p, x.shape), row.grad_weight(x, gy, p, w.shape)
    return [host(a) for a in results]


def test_the_transforms_are_those_of_the_cpu():
    assert winograd_transforms.FILE.read_text(encoding="utf-8") == winograd_transforms.text()


@simulated
@pytest.mark.parametrize(("name", "bound"), [("winograd", 5e-5), ("winograd_2x2", 5e-6)])
def test_a_layer_of_resnet_keeps_its_precision(name, bound):
    x, w = random((2, 64, 14, 14), "float32", 0), random((64, 64, 3, 3), "float32", 1)
    p, gy = conv.conv_params(x.shape, w.shape, padding=1), random((2, 64, 14, 14), "float32", 2)
    for actual, wanted in zip(passes(ROWS[name], x, w, gy, p), exact(x, w, gy), strict=True):
        assert np.abs(actual - wanted).max() < bound * np.abs(wanted).max()


@simulated
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("slice_size", [1, 5, 17])
def test_the_weight_gradient_is_the_same_however_tiles_are_dealt_out(monkeypatch, name, slice_size):
    x, w, gy = (random(shape, "float64", 3) for shape in ((3, 5, 9, 11), (7, 5, 3, 3), (3, 7, 9, 11)))
    p = conv.conv_params(x.shape, w.shape, padding=1)
    monkeypatch.setattr(winograd_cuda, "SLICE", slice_size)
    gw = ROWS[name].grad_weight(on("cuda-sim", x), on("cuda-sim", gy), p, w.shape)
    np.testing.assert_allclose(host(gw), exact(x, w, gy)[2], rtol=0, atol=1e-11)


@simulated
def test_transformed_weights_are_kept_for_each_pass():
    x, w = (on("cuda-sim", random(shape, "float32", 4)) for shape in ((1, 3, 6, 6), (3, 3, 3, 3)))
    p, kept = conv.conv_params(x.shape, w.shape, padding=1), {}
    first = [host(f(x, w, p, kept=kept)) for f in (winograd_cuda.forward, winograd_2x2_cuda.forward)]
    first.append(host(winograd_cuda.grad_input(x, w, p, x.shape, kept=kept)))
    assert len(kept) == 3
    forgotten = on("cuda-sim", np.full(w.shape, np.nan, np.float32))
    again = [host(f(x, forgotten, p, kept=kept)) for f in (winograd_cuda.forward, winograd_2x2_cuda.forward)]
    again.append(host(winograd_cuda.grad_input(x, forgotten, p, x.shape, kept=kept)))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC (extra cuda-test)")
@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_stay_in_registers_of_which_a_multiprocessor_has_enough(tile, dtype):
    threads = winograd_cuda.block(dtype, tile)[1]
    for kernel, (registers, shared, spilled) in nvrtc.usage(winograd_cuda.FILE, dtype, (("TILE", tile),)).items():
        assert spilled == 0 and shared <= 48 << 10
        if kernel != "weights":
            assert registers * threads * (2 if dtype == "float32" else 1) <= 65536
