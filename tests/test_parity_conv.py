"""Convolution and pooling against PyTorch, over seeded random configurations; skipped where it is not installed."""
import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
F = torch.nn.functional

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}  # relative to the largest element
ALGORITHMS = ("auto", "direct", "im2col")


def seeds(float64, float32):
    """(seed, dtype) of so many random configurations in each dtype."""
    return [(s, "float64") for s in range(float64)] + [(1000 + s, "float32") for s in range(float32)]


def leaves(rng, dtype, *shapes):
    """The same random numbers as minigrad's and as PyTorch's leaves."""
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    ours = [mg.Tensor(a.copy(), requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    return ours, theirs


def assert_close(ours, theirs, dtype, what):
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    scale = max(1.0, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=str(what))


def compare(function, ours, theirs, rng, dtype, what, second_order):
    """Forward, every gradient, and, if asked for, the gradients of a random projection of those."""
    our_function, their_function = function
    y, ty = our_function(*ours), their_function(*theirs)
    assert_close(y, ty, dtype, ("forward", what))
    (gy,), (tgy,) = leaves(rng, dtype, y.shape)
    grads = mg.grad(y, ours, gy, create_graph=second_order)
    tgrads = torch.autograd.grad(ty, theirs, tgy, create_graph=second_order)
    for i, (g, tg) in enumerate(zip(grads, tgrads, strict=True)):
        assert_close(g, tg, dtype, (f"gradient of input {i}", what))
    if not second_order:
        return
    weights, tweights = leaves(rng, dtype, *(g.shape for g in grads))
    projected = sum((g * w.detach()).sum() for g, w in zip(grads, weights, strict=True))
    tprojected = sum((g * w.detach()).sum() for g, w in zip(tgrads, tweights, strict=True))
    seconds = mg.grad(projected, (*ours, gy), allow_unused=True)
    tseconds = torch.autograd.grad(tprojected, (*theirs, tgy), allow_unused=True)
    for i, (g, tg) in enumerate(zip(seconds, tseconds, strict=True)):
        if g is not None and tg is not None:
            assert_close(g, tg, dtype, (f"second derivative {i}", what))
        else:
            assert not any(np.any(a.numpy()) for a in (g, tg) if a is not None), what


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


def window(rng, largest_kernel=5):
    """Random (kernel, stride, dilation), each a pair."""
    return [tuple(int(n) for n in rng.integers(1, high + 1, 2)) for high in (largest_kernel, 3, 2)]


def span(kernel, dilation):
    return [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("seed", "dtype"), seeds(100, 40))
def test_conv2d(seed, dtype):
    rng = np.random.default_rng(seed)
    kernel, stride, dilation = window(rng)
    groups = int(pick(rng, 1, 1, 2, 3))
    cg, ocg, batch = (int(n) for n in rng.integers(1, 5, 3))
    if seed % 10 == 0:  # depthwise, with a multiplier
        groups, cg = 4, 1
    padding = pick(rng, 0, 1, "same", "valid", tuple(int(n) for n in rng.integers(0, 4, 2)))
    if padding == "same":
        stride = (1, 1)
    size = [s + int(n) for s, n in zip(span(kernel, dilation), rng.integers(0, 6, 2), strict=True)]
    ours, theirs = leaves(
        rng, dtype, (batch, groups * cg, *size), (groups * ocg, cg, *kernel), (groups * ocg,)
    )
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    algorithm = ALGORITHMS[seed % len(ALGORITHMS)]
    functions = (
        lambda x, w, b: mg.conv2d(x, w, b, algorithm=algorithm, **how),
        lambda x, w, b: F.conv2d(x, w, b, **how),
    )
    compare(functions, ours, theirs, rng, dtype, (how, algorithm), second_order=seed % 3 == 0)


@pytest.mark.parametrize(("seed", "dtype"), seeds(30, 10))
def test_convolve2d(seed, dtype):
    rng = np.random.default_rng(seed)
    kernel, stride, dilation = window(rng, 4)
    groups = int(pick(rng, 1, 2))
    size = [s + int(n) for s, n in zip(span(kernel, dilation), rng.integers(0, 6, 2), strict=True)]
    ours, theirs = leaves(rng, dtype, (2, groups * 2, *size), (groups * 3, 2, *kernel), (groups * 3,))
    how = {"stride": stride, "padding": int(rng.integers(3)), "dilation": dilation, "groups": groups}
    functions = (
        lambda x, w, b: mg.convolve2d(x, w, b, **how),
        lambda x, w, b: F.conv2d(x, w.flip(2, 3), b, **how),
    )
    compare(functions, ours, theirs, rng, dtype, how, second_order=seed % 3 == 0)


@pytest.mark.parametrize(("seed", "dtype"), seeds(60, 20))
def test_conv_transpose2d(seed, dtype):
    rng = np.random.default_rng(seed)
    kernel, stride, dilation = window(rng, 4)
    groups = int(pick(rng, 1, 2, 3))
    cg, ocg, batch = (int(n) for n in rng.integers(1, 4, 3))
    size = [int(n) for n in rng.integers(2, 6, 2)]
    lengths = [(n - 1) * s + k for n, s, k in zip(size, stride, span(kernel, dilation), strict=True)]
    padding = tuple(int(rng.integers(0, (n + 1) // 2)) for n in lengths)
    extra = tuple(int(rng.integers(0, s)) for s in stride)
    ours, theirs = leaves(
        rng, dtype, (batch, groups * cg, *size), (groups * cg, ocg, *kernel), (groups * ocg,)
    )
    how = {
        "stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation, "groups": groups,
    }
    algorithm = ALGORITHMS[seed % len(ALGORITHMS)]
    functions = (
        lambda x, w, b: mg.conv_transpose2d(x, w, b, algorithm=algorithm, **how),
        lambda x, w, b: F.conv_transpose2d(x, w, b, **how),
    )
    compare(functions, ours, theirs, rng, dtype, (how, algorithm), second_order=seed % 3 == 0)


@pytest.mark.parametrize("padding", [0, 1])
def test_conv_transpose2d_with_output_padding_above_the_stride(padding):
    rng = np.random.default_rng(0)
    ours, theirs = leaves(rng, "float64", (2, 2, 3, 4), (2, 3, 3, 2), (3,))
    how = {"dilation": (3, 2), "output_padding": (2, 1), "padding": padding}
    functions = (lambda *a: mg.conv_transpose2d(*a, **how), lambda *a: F.conv_transpose2d(*a, **how))
    compare(functions, ours, theirs, rng, "float64", how, second_order=False)


def pooling(rng, dilated):
    """A random image size and arguments that fit both libraries."""
    kernel, stride, dilation = window(rng, 4)
    if not dilated:
        dilation = (1, 1)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    size = [s + d + int(n) for s, d, n in zip(span(kernel, dilation), dilation, rng.integers(0, 6, 2), strict=True)]
    how = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": bool(rng.integers(2))}
    return (*(int(n) for n in rng.integers(1, 4, 2)), *size), how, dilation


@pytest.mark.parametrize(("seed", "dtype"), seeds(50, 20))
def test_max_pool2d(seed, dtype):
    rng = np.random.default_rng(seed)
    shape, how, dilation = pooling(rng, dilated=True)
    how["dilation"] = dilation
    ours, theirs = leaves(rng, dtype, shape)
    if seed % 4 == 0:  # small integers: many ties
        values = rng.integers(-2, 3, shape).astype(dtype)
        ours, theirs = [mg.Tensor(values, requires_grad=True)], [torch.tensor(values, requires_grad=True)]
    _, index = mg.max_pool2d(ours[0], return_indices=True, **how)
    _, tindex = F.max_pool2d(theirs[0], return_indices=True, **how)
    np.testing.assert_array_equal(index.numpy(), tindex.numpy(), err_msg=str(how))
    functions = (lambda x: mg.max_pool2d(x, **how), lambda x: F.max_pool2d(x, **how))
    compare(functions, ours, theirs, rng, dtype, how, second_order=seed % 3 == 0)


@pytest.mark.parametrize(("seed", "dtype"), seeds(50, 20))
def test_avg_pool2d(seed, dtype):
    rng = np.random.default_rng(seed)
    shape, how, _ = pooling(rng, dilated=False)
    how["count_include_pad"] = bool(rng.integers(2))
    ours, theirs = leaves(rng, dtype, shape)
    functions = (lambda x: mg.avg_pool2d(x, **how), lambda x: F.avg_pool2d(x, **how))
    compare(functions, ours, theirs, rng, dtype, how, second_order=seed % 3 == 0)


@pytest.mark.parametrize(("seed", "dtype"), seeds(30, 10))
def test_adaptive_avg_pool2d(seed, dtype):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 12, 4))
    oh, ow = (int(n) for n in rng.integers(1, 9, 2))
    size = pick(rng, 1, oh, (oh, None), (oh, ow))
    ours, theirs = leaves(rng, dtype, shape)
    functions = (lambda x: mg.adaptive_avg_pool2d(x, size), lambda x: F.adaptive_avg_pool2d(x, size))
    compare(functions, ours, theirs, rng, dtype, (shape, size), second_order=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_max_pool2d_of_special_values(value):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 7, 7))
    x[rng.random(x.shape) < 0.3] = value
    y, index = mg.max_pool2d(mg.Tensor(x), 3, 2, 1, return_indices=True)
    ty, tindex = F.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True)
    np.testing.assert_array_equal(y.numpy(), ty.numpy())
    if not np.isnan(value):  # of several NaN PyTorch takes the last, minigrad the first
        np.testing.assert_array_equal(index.numpy(), tindex.numpy())
