"""Conv1d, ConvTranspose2d, Upsample and ZeroPad2d against PyTorch: display, forward, all gradients, second order."""
import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn

torch = pytest.importorskip("torch")
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}  # relative to the largest element


def seeds(float64, float32):
    """(seed, dtype) of so many random configurations in each dtype."""
    return [(s, "float64") for s in range(float64)] + [(1000 + s, "float32") for s in range(float32)]


def assert_close(ours, theirs, dtype, what):
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype == dtype, what
    scale = max(1.0, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=str(what))


def leaf(rng, dtype, shape, last=False):
    """The same numbers as a leaf of ours and one of PyTorch's, in channels-last memory if `last`."""
    values = rng.standard_normal(shape).astype(dtype)
    theirs = torch.tensor(values)
    if last:
        values = np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        theirs = theirs.to(memory_format=torch.channels_last)
    return mg.Tensor(values, requires_grad=True), theirs.requires_grad_()


def compare(ours, theirs, rng, dtype, shape, last=False, what=None, **call):
    """Forward, the gradients of x and of every parameter, and the gradients of a random projection of those."""
    what = (what or theirs, shape, dtype)
    ours.to(dtype)
    theirs.to(getattr(torch, dtype))
    ours.load_state_dict({name: t.detach().numpy() for name, t in theirs.state_dict().items()})
    (x, tx), inputs, tinputs = leaf(rng, dtype, shape, last), list(ours.parameters()), list(theirs.parameters())
    y, ty = ours(x, **call), theirs(tx, **call)
    assert_close(y, ty, dtype, what)
    gy, tgy = leaf(rng, dtype, y.shape, last)
    grads = mg.grad(y, (x, *inputs), gy, create_graph=True)
    tgrads = torch.autograd.grad(ty, (tx, *tinputs), tgy, create_graph=True)
    weights = [rng.standard_normal(g.shape).astype(dtype) for g in grads]
    for g, tg in zip(grads, tgrads, strict=True):
        assert_close(g, tg, dtype, what)
    projected = sum((g * mg.Tensor(w)).sum() for g, w in zip(grads, weights, strict=True))
    tprojected = sum((g * torch.tensor(w)).sum() for g, w in zip(tgrads, weights, strict=True))
    seconds = mg.grad(projected, (x, *inputs, gy), allow_unused=True)
    tseconds = torch.autograd.grad(tprojected, (tx, *tinputs, tgy), allow_unused=True)
    for g, tg in zip(seconds, tseconds, strict=True):
        if g is not None and tg is not None:
            assert_close(g, tg, dtype, what)
        else:
            assert not any(np.any(a.detach().numpy()) for a in (g, tg) if a is not None), what


def integers(rng, low, high, count):
    """Random ints from low up to but without high."""
    return [int(n) for n in rng.integers(low, high, count)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("seed", "dtype"), seeds(60, 20))
def test_conv1d(seed, dtype):
    rng = np.random.default_rng(seed)
    groups, cg, ocg, batch, kernel, stride, dilation = integers(rng, 1, 5, 7)
    padding = [0, 1, (2,), "same", "valid"][rng.integers(5)]
    stride = 1 if padding == "same" else stride
    options = {
        "in_channels": groups * cg, "out_channels": groups * ocg, "kernel_size": kernel, "stride": stride,
        "padding": padding, "dilation": (dilation,), "groups": groups, "bias": bool(rng.integers(2)),
    }
    ours, theirs = nn.Conv1d(**options, algorithm=["auto", "direct", "im2col"][seed % 3]), torch.nn.Conv1d(**options)
    assert repr(ours) == repr(theirs) or ours.algorithm != "auto"
    compare(ours, theirs, rng, dtype, (batch, groups * cg, dilation * (kernel - 1) + 1 + int(rng.integers(0, 7))))


@pytest.mark.parametrize(("seed", "dtype"), seeds(60, 20))
def test_conv_transpose2d(seed, dtype):
    rng = np.random.default_rng(seed)
    kernel, stride, dilation = (tuple(integers(rng, 1, high, 2)) for high in (5, 4, 3))
    groups, cg, ocg, batch = integers(rng, 1, 4, 4)
    size = integers(rng, 2, 6, 2)
    extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
    lengths = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(size, stride, dilation, kernel, strict=True)]
    padding = tuple(int(rng.integers(0, (n + 1) // 2)) for n in lengths)
    options = {
        "in_channels": groups * cg, "out_channels": groups * ocg, "kernel_size": kernel, "stride": stride,
        "padding": padding, "output_padding": extra, "groups": groups, "bias": bool(rng.integers(2)),
        "dilation": dilation,
    }
    ours, theirs = nn.ConvTranspose2d(**options), torch.nn.ConvTranspose2d(**options)
    assert repr(ours) == repr(theirs)
    call = {}
    if seed % 3 == 0:  # a size that this layer can make, in one of the forms it may be given
        extra = [int(rng.integers(0, s)) for s in stride]
        wanted = [n - 2 * p + e for n, p, e in zip(lengths, padding, extra, strict=True)]
        call["output_size"] = wanted if seed % 2 else [batch, groups * ocg, *wanted]
    compare(ours, theirs, rng, dtype, (batch, groups * cg, *size), last=seed % 2 == 1, **call)


def resizing(rng, seed):
    """Random options of Upsample."""
    mode, corners = [("nearest", None), ("bilinear", None), ("bilinear", False), ("bilinear", True)][seed % 4]
    options = {"mode": mode, "align_corners": corners}
    kind = int(rng.integers(5))
    if kind == 0:
        options["size"] = int(rng.integers(1, 14))
    elif kind == 1:
        options["size"] = tuple(integers(rng, 1, 14, 2))
    else:
        factors = [2, 3, 0.5, 1.0, 1 / 3, float(rng.uniform(0.4, 3)), round(float(rng.uniform(0.4, 3)), 1)]
        chosen = [factors[i] for i in rng.integers(0, len(factors), 2)]
        options["scale_factor"] = chosen[0] if kind == 2 else tuple(chosen)
        options["recompute_scale_factor"] = [None, False, True][rng.integers(3)]
    return options


@pytest.mark.parametrize(("seed", "dtype"), seeds(120, 60))
def test_upsample(seed, dtype):
    rng = np.random.default_rng(seed)
    options = resizing(rng, seed)
    ours, theirs = nn.Upsample(**options), torch.nn.Upsample(**options)
    assert repr(ours) == repr(theirs)
    batch, channels = integers(rng, 1, 4, 2)
    shape = (batch, channels, *integers(rng, 3, 9, 2))
    compare(ours, theirs, rng, dtype, shape, last=bool(rng.integers(2)), what=options)
    x = rng.standard_normal(shape)
    assert_close(
        F.interpolate(mg.Tensor(x), **options), torch.nn.functional.interpolate(torch.tensor(x), **options), "float64",
        options,
    )


def test_nearest_takes_the_same_pixels_at_every_size():
    for inputs in (1, 2, 3, 7, 10, 29, 64, 100):
        x = np.arange(inputs, dtype="float32").reshape(1, 1, 1, inputs)
        for outputs in range(1, 150):
            ours = F.interpolate(mg.Tensor(x), (1, outputs)).numpy()
            theirs = torch.nn.functional.interpolate(torch.tensor(x), (1, outputs)).numpy()
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{inputs} -> {outputs}")


@pytest.mark.parametrize(("seed", "dtype"), seeds(20, 5))
def test_zero_pad2d(seed, dtype):
    rng = np.random.default_rng(seed)
    padding = int(rng.integers(-1, 4)) if seed % 4 == 0 else tuple(integers(rng, -2, 4, 4))
    ours, theirs = nn.ZeroPad2d(padding), torch.nn.ZeroPad2d(padding)
    assert repr(ours) == repr(theirs)
    shape = (*integers(rng, 1, 4, 2), *integers(rng, 5, 8, 2))
    compare(ours, theirs, rng, dtype, shape[1:] if seed % 5 == 0 else shape)
