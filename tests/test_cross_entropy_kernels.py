"""Softmax cross-entropy in CUDA against the same in NumPy: sizes, dtypes, layouts, ignored rows, large scores."""
import numpy as np
import pytest
from conftest import MARKS
from devices import host, on

import minigrad as mg
from minigrad.kernels import cross_entropy, cross_entropy_cuda

ON_GPU = [pytest.param(device, marks=MARKS[device]) for device in ("cuda-sim", "cuda")]
ERRORS = {"float64": 1e-13, "float32": 1e-5, "float16": 2e-3}


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
@pytest.mark.parametrize("R", [1, 8, 9, 21])
@pytest.mark.parametrize("C", [1, 10, 32, 75])
@pytest.mark.parametrize("device", ON_GPU)
def test_loss_and_gradient(device, C, R, mean, dtype):
    rng = np.random.default_rng(R * C)
    rows, target = (4 * rng.standard_normal((R, C)) - 2).astype(dtype), rng.integers(0, C, R)
    counted = rng.random(R) < 0.7
    counted[R // 2] = True
    rows[~counted] = np.inf
    rows[0, 0] += 50
    constants = target, counted, np.int64(counted.sum()) if mean else None
    gy = np.asarray(1.5, dtype)
    with np.errstate(invalid="ignore"):
        wanted, p = cross_entropy.forward(rows.astype(np.float64), *constants)
    gradient = cross_entropy.grad_scores(gy.astype(np.float64), p, *constants)
    there = on(device, target), on(device, counted), on(device, np.asarray(constants[2])) if mean else None
    y, ours = cross_entropy.forward(on(device, rows), *there)
    gx = cross_entropy.grad_scores(on(device, gy), ours, *there)
    assert y.dtype == ours.dtype == gx.dtype == dtype
    close = {"rtol": ERRORS[dtype], "atol": ERRORS[dtype]}
    np.testing.assert_allclose(host(y), wanted, **close)
    np.testing.assert_allclose(host(ours)[counted], p[counted], **close)
    np.testing.assert_allclose(host(gx), gradient, **close)


@pytest.mark.parametrize("device", ON_GPU)
def test_more_blocks_than_threads_join_them(device):
    R = 8 * cross_entropy_cuda.THREADS + 3
    rows = np.random.default_rng(0).standard_normal((R, 1)).astype(np.float32)
    constants = on(device, np.zeros(R, np.int64)), on(device, np.ones(R, bool)), None
    y, _ = cross_entropy.forward(on(device, np.repeat(rows, 2, 1)), *constants)
    np.testing.assert_allclose(host(y), R * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("device", ON_GPU)
def test_images_of_scores_in_any_layout(device):
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((2, 5, 3, 4)), rng.integers(0, 5, (2, 4, 3)).transpose(0, 2, 1)
    wanted = mg.cross_entropy(mg.tensor(x), mg.tensor(target))
    for order in ((0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)):
        laid = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        y = mg.cross_entropy(mg.tensor(laid).to(device), mg.tensor(target).to(device))
        np.testing.assert_allclose(y.item(), wanted.item(), rtol=1e-12)


def test_a_class_that_there_is_not_is_an_error_on_every_device(device):
    with pytest.raises(IndexError, match="target -1 is not one of 3 classes"):
        mg.cross_entropy(mg.ones(2, 3, device=device), mg.tensor([2, -1], device=device))
    with pytest.raises(IndexError, match="target 3 is not one of 3 classes"):
        mg.cross_entropy(mg.ones(2, 3, device=device), mg.tensor([3, 0], device=device))


def test_the_mean_of_nothing_is_nan_on_every_device(device):
    nothing = mg.zeros(0, dtype="int64", device=device)
    assert np.isnan(mg.cross_entropy(mg.ones(0, 3, device=device), nothing).item())
    assert mg.cross_entropy(mg.ones(0, 3, device=device), nothing, reduction="sum").item() == 0
