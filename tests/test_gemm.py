"""The matrix product on register tiles against NumPy's in float64, in every shape and layout, and where it is used."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import gemm, threads
from minigrad.ops import linalg

SHAPES = [(1, 1, 1), (5, 7, 3), (14, 3, 32), (15, 40, 33), (3, 1100, 2), (100, 1500, 40), (200, 9, 17), (1, 30, 500),
          (128, 392, 10), (128, 10, 392), (10, 128, 393), (513, 64, 64), (1, 900, 900), (2, 300_000, 1)]


def matrix(rng, shape, dtype, layout):
    a = rng.standard_normal(shape).astype(dtype)
    if layout == "transposed":
        return a.T.copy().T
    if layout == "backwards":
        return a[::-1, ::-1]
    if layout == "broadcast":
        return np.broadcast_to(a[:1], shape)
    return a


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["plain", "transposed", "backwards", "broadcast"])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_matrix_product(shape, layout, dtype):
    (m, k, n), rng = shape, np.random.default_rng(0)
    a, b = matrix(rng, (m, k), dtype, layout), matrix(rng, (k, n), dtype, layout)
    y, wanted = gemm.matmul(a, b), a.astype(float) @ b.astype(float)
    assert y.shape == (m, n) and y.dtype == dtype and y.flags.c_contiguous
    np.testing.assert_allclose(y, wanted, rtol=0, atol=(2e-6 if dtype == "float32" else 1e-13) * np.abs(wanted).max())


def test_long_sums_keep_their_digits():
    a, b = np.full((20, 100_000), 0.1, np.float32), np.ones((100_000, 20), np.float32)
    np.testing.assert_allclose(gemm.matmul(a, b), 10_000, rtol=5e-6)


def test_the_number_of_threads_does_not_change_the_bits():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((70, 1300)).astype("float32"), rng.standard_normal((1300, 90)).astype("float32")
    before, results = threads.get_num_threads(), []
    for number in (1, 2, 5):
        mg.set_num_threads(number)
        results.append(gemm.matmul(a, b).tobytes())
    mg.set_num_threads(before)
    assert len(set(results)) == 1


@pytest.mark.parametrize(("rows", "tiles"), [(10, False), (200, True)])
def test_linear_layers_take_it_for_large_products(monkeypatch, rows, tiles):
    called, original = [], gemm.matmul
    monkeypatch.setattr(gemm, "matmul", lambda a, b, kept=None: called.append(a.shape) or original(a, b, kept))
    x, w = (mg.randn(n, 60, dtype="float64", requires_grad=True) for n in (rows, 50))
    assert (rows * 60 * 50 > linalg.SMALL) == tiles
    y = mg.linear(x, w)
    gy = mg.randn(rows, 50, dtype="float64")
    gx, gw = mg.grad(y, (x, w), gy)
    assert len(called) == (3 if tiles else 0)
    for ours, wanted in ((y, x.detach().numpy() @ w.detach().numpy().T), (gx, gy.numpy() @ w.detach().numpy()),
                         (gw, gy.numpy().T @ x.detach().numpy())):
        np.testing.assert_allclose(ours.detach().numpy(), wanted, rtol=0, atol=1e-12)
