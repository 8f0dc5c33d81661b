"""The register tile, the transforms and the walks under the fast convolutions, each against its definition."""
from importlib import import_module

import numpy as np
import pytest

from minigrad.kernels import sandwich as sandwich_module
from minigrad.kernels import tile as tile_module
from minigrad.kernels import transpose as transpose_module
from minigrad.kernels.conv import conv_params, direct_cpu, reference, walk, winograd_cpu, winograd_tile
from minigrad.kernels.jit import jit
from minigrad.kernels.sandwich import numbers, run_sandwich, sandwich, transposed
from minigrad.kernels.tile import Host, lanes, run_tile, split, tile


@jit
def run(address, x, xs, ks, offsets, K, w, wt, ws, start, ss, y, ys, low):
    run_tile(
        address, x.ctypes.data, xs, ks, offsets.ctypes.data, len(offsets), K, w.ctypes.data, wt, ws, start.ctypes.data,
        ss, y.ctypes.data, ys, low,
    )


def definition(P, wide, x, xs, ks, offsets, K, w, wt, ws, start, ss, low):
    """The sum in the docstring of tile.py, number by number."""
    y = np.zeros((P, wide))
    for p in range(P):
        for o in range(wide):
            y[p, o] = start[p * ss + o] + sum(
                x[offset + p * xs + k * ks] * w[t * wt + k * ws + o]
                for t, offset in enumerate(offsets) for k in range(K)
            )
    return np.where(y < low, low, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("P", "V"), [(1, 1), (3, 2), (14, 2), (7, 1)])
def test_a_tile_is_the_sum_it_says(P, V, dtype):
    rng = np.random.default_rng(0)
    wide, K = V * lanes(dtype), 5
    offsets = np.array([40, 0, 7])
    x, w = rng.standard_normal(400), rng.standard_normal(3 * K * wide + 8)
    start = rng.standard_normal(P * wide)
    x, w, start = (a.astype(dtype) for a in (x, w, start))
    for ss, low in ((wide, -np.inf), (0, 0.0)):
        y = np.full(P * (wide + 3), 9.0, dtype)
        steps = x, 11, 2, offsets, K, w, K * wide, wide, start, ss
        run(tile(P, V, np.dtype(dtype)).address, *steps, y, wide + 3, low)
        wanted = definition(P, wide, *(a.astype(float) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
                                       for a in steps), low)
        got = y.reshape(P, wide + 3)
        np.testing.assert_allclose(got[:, :wide], wanted, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)
        assert (got[:, wide:] == 9).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_joining_tile_adds_to_float64(dtype):
    rng = np.random.default_rng(0)
    wide = 2 * lanes(dtype)
    x, w = rng.standard_normal(60).astype(dtype), rng.standard_normal(10 * wide).astype(dtype)
    y = np.full((3, wide), 1e9)
    steps = x, 20, 2, np.zeros(1, np.int64), 10, w, 0, wide, np.zeros(wide, dtype), 0
    run(tile(3, 2, np.dtype(dtype), joining=True).address, *steps, y.reshape(-1), wide, 5.0)
    wanted = x.reshape(3, 20)[:, ::2].astype(float) @ w.reshape(10, wide).astype(float)
    np.testing.assert_allclose(y - 1e9, wanted, rtol=0, atol=1e-5)


def test_nan_passes_the_lower_limit():
    n = lanes("float64")
    x, w, y = np.array([np.nan]), np.ones(n), np.zeros(n)
    run(tile(1, 1, np.dtype("float64")).address, x, 1, 1, np.zeros(1, np.int64), 1, w, 0, 0, np.zeros(n), 0, y, n, 0.0)
    assert np.isnan(y).all()


@pytest.mark.parametrize("host", [Host(64, 14), Host(32, 6), Host(16, 12), Host(16, 6)])
def test_other_vector_widths_give_the_same_convolution(monkeypatch, host):
    monkeypatch.setattr(tile_module, "host", lambda: host)
    loops = import_module("minigrad.kernels.conv.correlate"), import_module("minigrad.kernels.conv.weight_gradient")
    compiled = tile_module.tile, sandwich_module.sandwich, transpose_module.transpose, *(m._plan for m in loops)
    for family in compiled:
        family.cache_clear()
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 5, 9, 7)), rng.standard_normal((11, 5, 3, 3))
    p = conv_params(x.shape, w.shape, padding=1)
    wanted = reference.forward(x, w, p)
    for row in (direct_cpu, winograd_cpu):
        np.testing.assert_allclose(row.forward(x, w, p), wanted, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            row.grad_weight(x, wanted, p, w.shape), reference.grad_weight(x, wanted, p, w.shape), rtol=1e-11, atol=1e-10
        )
    for family in compiled:
        family.cache_clear()


def test_split_gives_the_fewest_and_most_equal_tiles():
    assert [split(n, 14) for n in (1, 7, 13, 14, 15, 27, 28, 29, 32, 56)] == [1, 7, 13, 14, 8, 14, 14, 10, 11, 14]


# --- transforms

WINOGRAD = {name: getattr(winograd_tile, name) for name in ("F2", "F4", "F2_5")}


@jit
def transform(address, x, xi, xj, y, yi, yj, start, channels, low):
    run_sandwich(address, x.ctypes.data, xi, xj, y.ctypes.data, yi, yj, start.ctypes.data, channels, low)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", WINOGRAD.values(), ids=WINOGRAD)
def test_a_transform_is_m_x_m_transposed(algorithm, dtype):
    for text in (algorithm.BT, algorithm.G, algorithm.AT, transposed(algorithm.G), transposed(algorithm.AT)):
        M = np.array(numbers(text), float)
        (rows, q), channels = M.shape, 2 * lanes(dtype)
        rng = np.random.default_rng(0)
        x, start = rng.standard_normal((q, q, channels)).astype(dtype), rng.standard_normal(channels).astype(dtype)
        y = np.zeros((rows, rows, channels), dtype)
        steps = x.reshape(-1), q * channels, channels, y.reshape(-1), rows * channels, channels
        transform(sandwich(text, np.dtype(dtype)).address, *steps, start, channels, 0.0)
        wanted = np.maximum(start + np.einsum("ij,jkc,lk->ilc", M, x.astype(float), M), 0)
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-3 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("algorithm", WINOGRAD.values(), ids=WINOGRAD)
def test_the_matrices_are_those_of_a_minimal_filter(algorithm):
    """Lavin & Gray 2016, equation 6: A^T [(G g) * (B^T d)] is the m outputs of an r-tap filter, in exact fractions."""
    AT, G, BT = (np.array(numbers(text)) for text in (algorithm.AT, algorithm.G, algorithm.BT))
    for d in np.eye(algorithm.q, dtype=int):
        for g in np.eye(algorithm.r, dtype=int):
            wanted = [sum(d[i + k] * g[k] for k in range(algorithm.r)) for i in range(algorithm.m)]
            assert (AT @ ((G @ g) * (BT @ d))).tolist() == wanted


# --- accuracy of Winograd on the layers it is made for

LAYERS = {  # C, size, OC, kernel
    "VGG-16": [(64, 224, 64, 3), (64, 112, 128, 3), (128, 112, 128, 3), (128, 56, 256, 3), (256, 56, 256, 3),
               (256, 28, 512, 3), (512, 28, 512, 3), (512, 14, 512, 3)],
    "ResNet-18": [(64, 56, 64, 3), (128, 28, 128, 3), (256, 14, 256, 3), (512, 7, 512, 3)],
    "GoogLeNet": [(16, 28, 32, 5), (32, 28, 96, 5), (48, 7, 128, 5)],
    "network in network": [(96, 16, 192, 5)],
}


@pytest.mark.parametrize(("c", "size", "oc", "k"), [layer for layers in LAYERS.values() for layer in layers])
def test_winograd_in_float32_is_within_5e_5_of_float64(c, size, oc, k):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((1, size, size, c), dtype=np.float32), 0).transpose(0, 3, 1, 2)  # after a ReLU
    w = rng.standard_normal((oc, c, k, k), dtype=np.float32) * np.float32(np.sqrt(2 / (k * k * c)))
    gy = rng.standard_normal((1, size, size, oc), dtype=np.float32).transpose(0, 3, 1, 2)
    p = conv_params(x.shape, w.shape, padding=k // 2)
    exact = [a.astype(np.float64) for a in (x, w, gy)]

    def passes(row, x, w, gy):
        yield row.forward(x, w, p)
        yield row.grad_input(gy, w, p, x.shape)
        yield row.grad_weight(x, gy, p, w.shape)

    for ours, wanted in zip(passes(winograd_cpu, x, w, gy), passes(direct_cpu, *exact), strict=True):
        assert np.abs(ours - wanted).max() < 5e-5 * np.abs(wanted).max()


# --- walks


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), ((3, 1), (1, 2), (1, 2)), (2, 1, 3)])
def test_the_walks_of_the_input_gradient_are_the_taps_of_the_forward_walk(stride, padding, dilation, flip):
    x, w = (1, 1, 8, 9), (1, 1, 3, 2)
    p = conv_params(x, w, stride, padding, dilation)
    forward = walk.forward_walk(x, w, p, flip)
    pairs = set()
    for i, j in np.ndindex(*forward.grid):
        for h, v, k in zip(forward.dh, forward.dw, forward.order, strict=True):
            at = (i * p.stride[0] + h, j * p.stride[1] + v)
            if 0 <= at[0] < 8 and 0 <= at[1] < 9:
                pairs.add((at, (i, j), k))
    back = set()
    for one in walk.input_grad_walks(x, w, p, flip):
        for i, j in np.ndindex(*one.grid):
            for h, v, k in zip(one.dh, one.dw, one.order, strict=True):
                if 0 <= i + h < forward.grid[0] and 0 <= j + v < forward.grid[1]:
                    at = (one.origin[0] + i * one.step[0], one.origin[1] + j * one.step[1])
                    back.add((at, (i + h, j + v), k))
    assert back == pairs
