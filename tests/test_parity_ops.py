"""The ops beside PyTorch's: seeded random comparisons in float64 of values, gradients and second-order gradients."""
import itertools

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
F = torch.nn.functional

# name: (ours, theirs, shapes of the inputs, lowest, highest value)
BOTH = "the same expression serves for both"
OPS = {
    "add": (lambda a, b: a + b, BOTH, [(2, 3), (3,)]),
    "sub": (lambda a, b: a - b, BOTH, [(2, 1), (3,)]),
    "mul": (lambda a, b: a * b, BOTH, [(2, 3), (2, 1)]),
    "div": (lambda a, b: a / b, BOTH, [(2, 3), (3,)], 0.5, 2.0),
    "pow": (lambda a, b: a**b, BOTH, [(2, 3), (3,)], 0.5, 2.0),
    "scalars": (lambda a: 2.0 - 3.0 * a / 4.0 + 1.0 / a + a - 1.0, BOTH, [(2, 3)], 0.5, 2.0),
    "pow 3": (lambda a: a**3, BOTH, [(4,)]),
    "pow 2.5": (lambda a: a**2.5, BOTH, [(4,)], 0.5, 2.0),
    "pow -1": (lambda a: a**-1, BOTH, [(4,)], 0.5, 2.0),
    "2 ** x": (lambda a: 2.0**a, BOTH, [(4,)]),
    "neg": (lambda a: -a * a, BOTH, [(4,)]),
    "abs": (lambda a: abs(a) * a, BOTH, [(4,)]),
    "exp": (lambda a: a.exp(), BOTH, [(2, 3)]),
    "log": (lambda a: a.log(), BOTH, [(2, 3)], 0.5, 2.0),
    "sqrt": (lambda a: a.sqrt(), BOTH, [(2, 3)], 0.5, 2.0),
    "tanh": (lambda a: a.tanh(), BOTH, [(2, 3)]),
    "sigmoid": (lambda a: a.sigmoid(), BOTH, [(2, 3)]),
    "relu": (lambda a: a.relu() ** 2, BOTH, [(2, 3)]),
    "leaky_relu": (lambda a: mg.leaky_relu(a, 0.1) ** 2, lambda a: F.leaky_relu(a, 0.1) ** 2, [(2, 3)]),
    "elu": (lambda a: mg.elu(a, 0.7), lambda a: F.elu(a, 0.7), [(2, 3)]),
    "silu": (mg.silu, F.silu, [(2, 3)]),
    "softplus": (mg.softplus, F.softplus, [(2, 3)]),
    "softmax": (lambda a: a.softmax(1), BOTH, [(2, 3, 2)]),
    "log_softmax": (lambda a: a.log_softmax(-1), BOTH, [(2, 3)]),
    "maximum": (lambda a, b: a.maximum(b) * a, BOTH, [(2, 3), (3,)]),
    "minimum": (lambda a, b: a.minimum(b) * b, BOTH, [(2, 3), (3,)]),
    "clip": (lambda a: a.clip(-0.5, 0.7) ** 2, BOTH, [(3, 4)]),
    "clamp min": (lambda a: a.clamp(min=0.1) ** 2, BOTH, [(3, 4)]),
    "where": (lambda a, b: mg.where(a > b, a * b, b), lambda a, b: torch.where(a > b, a * b, b), [(2, 3), (3,)]),
    "sum": (lambda a: a.sum((0, -1)) ** 2, BOTH, [(2, 3, 2)]),
    "sum keepdim": (lambda a: a.sum(1, keepdim=True) * a, BOTH, [(2, 3)]),
    "mean": (lambda a: a.mean(1) ** 2, BOTH, [(2, 3)]),
    "var": (lambda a: a.var(1), BOTH, [(2, 3)]),
    "var 0": (lambda a: a.var((0, 1), correction=0, keepdim=True), BOTH, [(2, 3)]),
    "std": (lambda a: a.std(0), BOTH, [(4, 3)]),
    "amax": (lambda a: a.amax((0, 2)) ** 2, BOTH, [(2, 3, 2)]),
    "amin": (lambda a: a.amin(1, keepdim=True) ** 2, BOTH, [(2, 3)]),
    "max": (lambda a: a.max() ** 2, BOTH, [(2, 3)]),
    "max dim": (lambda a: a.max(1).values ** 2, BOTH, [(2, 3)]),
    "min dim": (lambda a: a.min(0, keepdim=True).values ** 2, BOTH, [(2, 3)]),
    "logsumexp": (lambda a: a.logsumexp((0, 1)), BOTH, [(2, 3)]),
    "matmul": (lambda a, b: a @ b, BOTH, [(2, 3), (3, 2)]),
    "matmul vectors": (lambda a, b: a @ b, BOTH, [(3,), (3,)]),
    "matmul stacks": (lambda a, b: a @ b, BOTH, [(2, 1, 2, 3), (2, 3, 2)]),
    "matmul stack and matrix": (lambda a, b: a @ b, BOTH, [(2, 2, 3), (3, 2)]),
    "matmul vector and stack": (lambda a, b: a @ b, BOTH, [(3,), (2, 3, 2)]),
    "linear": (mg.linear, F.linear, [(2, 3), (4, 3), (4,)]),
    "reshape": (lambda a: a.reshape(3, 2) ** 2, BOTH, [(2, 3)]),
    "permute": (lambda a: a.permute(2, 0, 1) ** 2, BOTH, [(2, 3, 2)]),
    "transpose": (lambda a: a.transpose(0, -1) ** 2, BOTH, [(2, 3, 2)]),
    "expand": (lambda a: a.expand(2, 3, -1) ** 2, BOTH, [(1, 2)], -2.0, 2.0),
    "flatten": (lambda a: a.flatten(1) ** 2, BOTH, [(2, 3, 2)]),
    "squeeze": (lambda a: a.squeeze(1).unsqueeze(0) ** 2, BOTH, [(2, 1, 3)]),
    "split": (lambda a: a.split([1, 2], 1)[1] ** 2, BOTH, [(2, 3)]),
    "chunk": (lambda a: a.chunk(2, 1)[0] ** 2, BOTH, [(2, 3)]),
    "flip": (lambda a: a.flip((0, 1)) ** 2 * a, BOTH, [(2, 3)]),
    "cat": (lambda a, b: mg.cat([a, b, a], 1) ** 2, lambda a, b: torch.cat([a, b, a], 1) ** 2, [(2, 3), (2, 1)]),
    "stack": (lambda a, b: mg.stack([a, b], 1) ** 2, lambda a, b: torch.stack([a, b], 1) ** 2, [(2, 3), (2, 3)]),
    "pad": (lambda a: mg.pad(a, (1, 0, 2, 1), value=0.5) ** 2,
            lambda a: F.pad(a, (1, 0, 2, 1), value=0.5) ** 2, [(2, 3)]),
    "index": (lambda a: a[[0, 1, 1], :, None] ** 2, BOTH, [(2, 3)]),
    "slice": (lambda a: a[1:, ::2] ** 2, BOTH, [(3, 4)]),
    "mask": (lambda a: a[a > 0] ** 2, BOTH, [(3, 4)]),
    "clone": (lambda a: a.clone() ** 2, BOTH, [(3,)]),
}


def pairs(rng, shapes, low=-2.0, high=2.0):
    """The same random leaves for both."""
    arrays = [rng.uniform(low, high, s) for s in shapes]
    ours = [mg.tensor(a, requires_grad=True) for a in arrays]
    return ours, [torch.tensor(a, requires_grad=True) for a in arrays]


def agree(ours, theirs):
    """Equal up to rounding, where None stands for zeros (which of the two a library gives is its own affair)."""
    for a, b in zip(ours, theirs, strict=True):
        if a is None and b is None:
            continue
        b = torch.zeros(a.shape, dtype=torch.float64) if b is None else b
        a = mg.zeros(*b.shape, dtype=mg.float64) if a is None else a
        assert a.shape == tuple(b.shape)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11)


def compare(ours, theirs, xs, zs, rng):
    """Values, gradients for a random output gradient, and the gradients of a random function of those gradients."""
    y, u = ours(*xs), theirs(*zs)
    agree([y], [u])
    gy = rng.standard_normal(y.shape)
    gy, gu = mg.tensor(gy, requires_grad=True), torch.tensor(gy, requires_grad=True)
    gx = mg.grad(y, xs, gy, create_graph=True, allow_unused=True)
    gz = torch.autograd.grad(u, zs, gu, create_graph=True, allow_unused=True)
    agree(gx, gz)
    weights = [rng.standard_normal(x.shape) for x in xs]
    s = sum((g * mg.tensor(w)).sum() for g, w in zip(gx, weights, strict=True))
    t = sum((g * torch.tensor(w)).sum() for g, w in zip(gz, weights, strict=True))
    agree(mg.grad(s, [*xs, gy], allow_unused=True), torch.autograd.grad(t, [*zs, gu], allow_unused=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OPS)
def test_values_gradients_and_second_order_gradients(name, seed):
    ours, theirs, shapes, *limits = OPS[name]
    rng = np.random.default_rng([seed, len(name)])
    compare(ours, ours if theirs is BOTH else theirs, *pairs(rng, shapes, *limits), rng)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gather(dim):
    rng = np.random.default_rng(dim + 1)
    index = rng.integers(0, 2, (2, 2))
    xs, zs = pairs(rng, [(2, 3)])
    ours, theirs = mg.tensor(index), torch.tensor(index)
    compare(lambda x: x.gather(dim, ours) ** 2, lambda z: z.gather(dim, theirs) ** 2, xs, zs, rng)


@pytest.mark.parametrize("function", ["argmax", "argmin"])
@pytest.mark.parametrize("dim", [None, 0, -1])
def test_positions(function, dim):
    x = np.random.default_rng(0).integers(0, 5, (6, 7))
    ours, theirs = getattr(mg.tensor(x), function)(dim), getattr(torch.tensor(x), function)(dim)
    assert ours.tolist() == theirs.tolist()


REDUCTIONS, KINDS = ["mean", "sum", "none"], ["ignore", "indices", "soft"]
OPTIONS = list(itertools.product(REDUCTIONS, [False, True], [0.0, 0.2], [(), (2, 3)], KINDS))


@pytest.mark.parametrize(("reduction", "weighted", "smoothing", "rest", "kind"), OPTIONS)
def test_cross_entropy(reduction, weighted, smoothing, rest, kind):
    rng = np.random.default_rng(len(reduction) + 10 * weighted)
    xs, zs = pairs(rng, [(4, 5, *rest)], -5.0, 5.0)
    target = rng.uniform(size=xs[0].shape) if kind == "soft" else rng.integers(0, 5, (4, *rest))
    if kind == "ignore":
        target[1] = -3
    weight = rng.uniform(0.5, 2.0, 5) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": -3}

    def ours(x):
        return mg.cross_entropy(x, mg.tensor(target), None if weight is None else mg.tensor(weight), **options)

    def theirs(z):
        return F.cross_entropy(z, torch.tensor(target), None if weight is None else torch.tensor(weight), **options)

    compare(ours, theirs, xs, zs, rng)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 2)])
def test_batch_norm(shape, affine, training):
    rng = np.random.default_rng(len(shape))
    xs, zs = pairs(rng, [shape, (3,), (3,)] if affine else [shape])
    statistics = rng.standard_normal(3), rng.uniform(0.5, 2.0, 3)
    ours_stats, their_stats = [mg.tensor(s) for s in statistics], [torch.tensor(s) for s in statistics]
    options = {"training": training, "momentum": 0.2, "eps": 1e-3}
    compare(
        lambda x, *wb: mg.batch_norm(x, *ours_stats, *wb, **options),
        lambda z, *wb: F.batch_norm(z, *their_stats, *wb, **options),
        xs, zs, rng,
    )
    agree(ours_stats, their_stats)
    assert (ours_stats[0].tolist() != statistics[0].tolist()) == training
