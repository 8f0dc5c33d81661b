"""Pooling against PyTorch over random configurations: outputs, indices, first and second gradients, reprs, errors."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

torch = pytest.importorskip("torch")
SEEDS = range(25)


def tensors(x):
    """One array as a Tensor of ours and one of theirs."""
    return mg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)


def agree(ours, theirs, tolerance=1e-11):
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def compare(ours, theirs, x, second=True, seed=0):
    """ours, theirs: functions of one tensor, to be called with the array x."""
    x, tx = tensors(x)
    y, ty = ours(x), theirs(tx)
    if isinstance(y, tuple):
        (y, index), (ty, tindex) = y, ty
        np.testing.assert_array_equal(index.numpy(), tindex.numpy())
        assert index.dtype == "int64"
    agree(y, ty)
    weight = np.random.default_rng(seed).standard_normal(y.shape)
    (gx,) = mg.grad((y * y * mg.Tensor(weight)).sum(), (x,), create_graph=True)
    (tgx,) = torch.autograd.grad((ty * ty * torch.tensor(weight)).sum(), (tx,), create_graph=True)
    agree(gx, tgx)
    if second:
        agree(mg.grad((gx * gx).sum(), (x,))[0], torch.autograd.grad((tgx * tgx).sum(), (tx,))[0])


def window(rng, dims, dilation=True):
    """Random options of a window that fits, and the smallest sizes into which it does."""
    def some(low, high):
        values = [int(n) for n in rng.integers(low, high, dims)]
        return values[0] if rng.integers(2) and dims > 1 and len(set(values)) == 1 else tuple(values)

    kernel = tuple(int(n) for n in rng.integers(1, 5, dims))
    options = {"kernel_size": kernel, "ceil_mode": bool(rng.integers(2)), "stride": some(1, 4)}
    if rng.integers(3) == 0:
        del options["stride"]
    options["padding"] = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    reach = [1] * dims
    if dilation:
        reach = [int(n) for n in rng.integers(1, 4, dims)]
        options["dilation"] = tuple(reach)
    sizes = tuple(d * (k - 1) + int(n) for d, k, n in zip(reach, kernel, rng.integers(1, 8, dims), strict=True))
    return options, sizes


def signal(rng, sizes, dims, seed):
    """Random values of N x C x sizes, or of C x sizes for some signals."""
    lead = (3,) if dims == 1 and seed % 3 == 0 else (2, 3)
    return rng.standard_normal((*lead, *sizes))


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_max_pooling(seed, dims):
    rng = np.random.default_rng(seed)
    options, sizes = window(rng, dims)
    name = f"MaxPool{dims}d"
    ours, theirs = (getattr(lib, name)(**options, return_indices=True) for lib in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    x = signal(rng, sizes, dims, seed)
    compare(ours, theirs, x)
    ours, theirs = (getattr(functions, f"max_pool{dims}d") for functions in (F, torch.nn.functional))
    compare(lambda t: ours(t, **options), lambda t: theirs(t, **options), x)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_average_pooling(seed, dims):
    rng = np.random.default_rng(seed)
    options, sizes = window(rng, dims, dilation=False)
    options["count_include_pad"] = bool(rng.integers(2))
    if dims == 2 and seed % 2:
        options["divisor_override"] = int(rng.integers(1, 9))
    ours, theirs = (getattr(lib, f"AvgPool{dims}d")(**options) for lib in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, signal(rng, sizes, dims, seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_norm_pooling(seed):
    rng = np.random.default_rng(seed)
    options, sizes = window(rng, 2, dilation=False)
    del options["padding"]
    p = [1, 2, 3, 2.5, 6, 1.0, 4][seed % 7]
    ours, theirs = nn.LPPool2d(p, **options), torch.nn.LPPool2d(p, **options)
    assert repr(ours) == repr(theirs)
    x = rng.standard_normal((2, 3, *sizes))
    compare(ours, theirs, x if p % 2 == 0 or p == 1 else abs(x) + 0.1)


def test_norm_pooling_of_negative_and_large_values():
    """Wherever PyTorch is finite ours is the same; where its powers overflow ours is finite."""
    x = np.random.default_rng(0).standard_normal((2, 2, 6, 6))
    for p in (1, 3, 5):
        ours, theirs = tensors(x)
        y, ty = F.lp_pool2d(ours, p, 2), torch.nn.functional.lp_pool2d(theirs, p, 2)
        np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-10)  # NaN where PyTorch has it
    x = np.float32(abs(x) * 1e15)
    ours, theirs = tensors(x)
    assert torch.nn.functional.lp_pool2d(theirs, 3, 2).isinf().all()
    np.testing.assert_allclose(
        F.lp_pool2d(ours, 3, 2).detach().numpy(), torch.nn.functional.lp_pool2d(theirs.double(), 3, 2).detach().numpy(),
        rtol=1e-6,
    )


def test_norm_pooling_of_zeros():
    for p in (1, 2, 3):
        x, tx = tensors(np.zeros((1, 1, 2, 2)))
        F.lp_pool2d(x, p, 2).sum().backward()
        torch.nn.functional.lp_pool2d(tx, p, 2).sum().backward()
        agree(x.grad, tx.grad)


@pytest.mark.parametrize("seed", SEEDS)
def test_adaptive_pooling(seed):
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 12, 2)]
    output = [None if n == 0 else int(n) for n in rng.integers(0, 9, 2)]
    output = int(rng.integers(1, 9)) if seed % 3 == 0 else tuple(output)
    x = rng.standard_normal((2, 3, *sizes))
    ours, theirs = nn.AdaptiveAvgPool2d(output), torch.nn.AdaptiveAvgPool2d(output)
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, x)
    ours, theirs = (lib.AdaptiveMaxPool2d(output, return_indices=True) for lib in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, x)


@pytest.mark.parametrize("seed", SEEDS)
def test_unpooling(seed):
    """With pooling that does not overlap: where indices repeat PyTorch gives all of them the gradient."""
    rng = np.random.default_rng(seed)
    kernel = tuple(int(n) for n in rng.integers(1, 4, 2))
    stride = tuple(k + int(n) for k, n in zip(kernel, rng.integers(0, 2, 2), strict=True))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    x = rng.standard_normal((2, 3, *(k + int(n) for k, n in zip(kernel, rng.integers(2, 8, 2), strict=True))))
    unpool = [lib.MaxUnpool2d(kernel, stride, padding) for lib in (nn, torch.nn)]
    assert repr(unpool[0]) == repr(unpool[1])
    pool = [lib.MaxPool2d(kernel, stride, padding, return_indices=True) for lib in (nn, torch.nn)]
    for size in ((x.shape, torch.Size(x.shape)), (x.shape[2:], x.shape[2:])):
        compare(
            lambda t, size=size: unpool[0](*pool[0](t), output_size=size[0]),
            lambda t, size=size: unpool[1](*pool[1](t), output_size=size[1]), x,
        )


@pytest.mark.parametrize(("name", "size"), [("googlenet", 112), ("nin", 32), ("alexnet", 55)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pooling_as_the_classic_networks_use_it(name, size, dtype):
    options = {"googlenet": {"ceil_mode": True}, "nin": {"padding": 1}, "alexnet": {}}[name]
    x = np.random.default_rng(0).standard_normal((1, 4, size, size)).astype(dtype)
    ours, theirs = nn.MaxPool2d(3, 2, **options), torch.nn.MaxPool2d(3, 2, **options)
    agree(ours(mg.Tensor(x)), theirs(torch.tensor(x)), 0)
    assert ours(mg.zeros(0, 4, size, size)).shape[1:] == theirs(torch.tensor(x)).shape[1:]


def test_ties_and_nan_stand_where_pytorch_finds_them():
    rng = np.random.default_rng(0)
    x = rng.choice([0.0, 1.0, -np.inf, np.nan], (2, 2, 9, 9), p=[0.45, 0.45, 0.07, 0.03])
    for options in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}):
        y, index = F.max_pool2d(mg.Tensor(x), **options, return_indices=True)
        ty, tindex = torch.nn.functional.max_pool2d(torch.tensor(x), **options, return_indices=True)
        np.testing.assert_array_equal(y.numpy(), ty.numpy())
        numbers = ~np.isnan(ty.numpy())
        np.testing.assert_array_equal(index.numpy()[numbers], tindex.numpy()[numbers])
