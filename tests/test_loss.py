"""Cross-entropy against plain loops over every option, batch norm's bookkeeping, and dropout."""
import itertools
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.ops import loss

pytestmark = pytest.mark.usefixtures("made_there")

RNG = np.random.default_rng(0)
OPTIONS = list(itertools.product(["mean", "sum", "none"], [False, True], [0.0, 0.3], [(), (2,), (2, 3)], [False, True]))


def by_loops(x, target, weight, ignore_index, reduction, smoothing):
    """Cross-entropy written out: one position, one class at a time."""
    classes = x.shape[1]
    weight = np.ones(classes) if weight is None else weight
    soft = target.dtype.kind == "f"
    losses, total = np.zeros((x.shape[0], *x.shape[2:])), 0.0
    for at in np.ndindex(losses.shape):
        scores = [float(x[(at[0], c, *at[1:])]) for c in range(classes)]
        log_sum = max(scores) + math.log(sum(math.exp(s - max(scores)) for s in scores))
        if soft:
            shares = [float(target[(at[0], c, *at[1:])]) for c in range(classes)]
            total += 1.0
        elif target[at] == ignore_index:
            continue
        else:
            shares = [float(c == target[at]) for c in range(classes)]
            total += weight[target[at]]
        shares = [(1 - smoothing) * s + smoothing / classes for s in shares]
        losses[at] = sum(w * p * (log_sum - s) for w, p, s in zip(weight, shares, scores, strict=True))
    return losses if reduction == "none" else losses.sum() / (total if reduction == "mean" else 1.0)


@pytest.mark.parametrize(("reduction", "weighted", "smoothing", "rest", "soft"), OPTIONS)
def test_cross_entropy_is_what_the_loops_say(reduction, weighted, smoothing, rest, soft):
    x = RNG.normal(size=(4, 5, *rest)) * 3
    weight = RNG.uniform(0.5, 2.0, 5) if weighted else None
    if soft:
        target = RNG.dirichlet(np.ones(5), (4, *rest))
        target = np.moveaxis(target, -1, 1)
    else:
        target = RNG.integers(0, 5, (4, *rest))
        target[0] = 2 if not rest else target[0]
        target[1] = -7
    ours = mg.cross_entropy(
        mg.tensor(x), mg.tensor(target), mg.tensor(weight) if weighted else None, ignore_index=-7,
        reduction=reduction, label_smoothing=smoothing,
    )
    np.testing.assert_allclose(ours.numpy(), by_loops(x, target, weight, -7, reduction, smoothing), rtol=1e-12)


def test_ignored_targets_get_no_gradient_even_where_scores_are_infinite():
    x = mg.tensor([[-np.inf, 0.0], [1.0, 2.0]], requires_grad=True)
    loss = mg.cross_entropy(x, mg.tensor([-100, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1 + math.e))
    assert x.grad.numpy()[0].tolist() == [0, 0]


def test_cross_entropy_is_stable_at_1000():
    x = mg.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]], requires_grad=True)
    loss = mg.cross_entropy(x, mg.tensor([0, 0]), reduction="sum")
    loss.backward()
    assert loss.item() == 2000.0
    assert x.grad.tolist() == [[0, 0], [-1, 1]]


def test_the_mean_over_no_target_is_nan():
    assert np.isnan(mg.cross_entropy(mg.ones(1, 2), mg.tensor([-100])).item())


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((mg.ones(2, 3), mg.tensor([0, 3])), {}, IndexError, "target 3 is not one of 3 classes"),
        ((mg.ones(2, 3), mg.tensor([0, -1])), {}, IndexError, "target -1"),
        ((mg.ones(2, 3), mg.tensor([0])), {}, ValueError, r"\(2, 3\) do not fit targets of shape \(1,\)"),
        ((mg.ones(2, 3), mg.ones(2, 4)), {}, ValueError, r"\(2, 3\) do not fit probabilities of \(2, 4\)"),
        ((mg.ones(3), mg.tensor(0)), {}, ValueError, "got a 1-d tensor"),
        ((mg.ones(2, 3), mg.tensor([0, 1])), {"reduction": "avg"}, ValueError, "mean, sum, none, got 'avg'"),
        ((mg.ones(2, 3), mg.tensor([0, 1])), {"label_smoothing": 1.5}, ValueError, "got 1.5"),
        ((mg.ones(2, 3), mg.tensor([0, 1])), {"weight": mg.ones(2)}, ValueError, r"3 factors.*\(2,\)"),
    ],
)
def test_cross_entropy_names_what_does_not_fit(arguments, options, error, message):
    with pytest.raises(error, match=message):
        mg.cross_entropy(*arguments, **options)


# --- batch norm


@pytest.mark.parametrize("rest", [(), (4,), (3, 2)])
def test_batch_norm_normalises_in_training_and_moves_the_running_statistics(rest):
    x = RNG.normal(3.0, 2.0, (5, 3, *rest))
    mean, var = mg.zeros(3, dtype=mg.float64), mg.ones(3, dtype=mg.float64)
    weight, bias = RNG.normal(size=3), RNG.normal(size=3)
    y = mg.batch_norm(mg.tensor(x), mean, var, mg.tensor(weight), mg.tensor(bias), training=True, momentum=0.3)
    others = tuple(i for i in range(x.ndim) if i != 1)
    column = (1, 3) + (1,) * len(rest)
    m, v = x.mean(others), x.var(others)
    expected = (x - m.reshape(column)) / np.sqrt(v.reshape(column) + 1e-5) * weight.reshape(column)
    np.testing.assert_allclose(y.numpy(), expected + bias.reshape(column), rtol=1e-9)
    np.testing.assert_allclose(mean.numpy(), 0.3 * m)
    np.testing.assert_allclose(var.numpy(), 0.7 + 0.3 * x.var(others, ddof=1))
    kept = mean.tolist(), var.tolist()
    y = mg.batch_norm(mg.tensor(x), mean, var)
    expected = (x - mean.numpy().reshape(column)) / np.sqrt(var.numpy().reshape(column) + 1e-5)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9)
    assert kept == (mean.tolist(), var.tolist())


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: mg.batch_norm(mg.ones(3)), "got a 1-d tensor"),
        (lambda: mg.batch_norm(mg.ones(2, 3)), "needs running statistics"),
        (lambda: mg.batch_norm(mg.ones(1, 3), training=True), "more than one value per channel, got 1"),
        (lambda: mg.batch_norm(mg.ones(2, 3), weight=mg.ones(2), training=True), r"weight.*\(2,\).*3 channels"),
    ],
)
def test_batch_norm_names_what_does_not_fit(use, message):
    with pytest.raises(ValueError, match=message):
        use()


# --- dropout


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_dropout_zeroes_a_share_and_scales_the_rest(p):
    mg.manual_seed(0)
    x = mg.ones(100, 200, requires_grad=True)
    y = mg.dropout(x, p)
    values, counts = np.unique(y.detach().numpy(), return_counts=True)
    np.testing.assert_allclose(values, [0, 1 / (1 - p)])
    assert abs(counts[0] / y.numel() - p) < 0.02
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())


def test_dropout2d_drops_whole_maps():
    mg.manual_seed(0)
    y = mg.dropout2d(mg.ones(10, 20, 3, 3), 0.5).numpy()
    assert ((y == y[:, :, :1, :1]).all()) and {0.0, 2.0} == set(y.ravel().tolist())
    with pytest.raises(ValueError, match=r"4-D.*got 3-D"):
        mg.dropout2d(mg.ones(2, 3, 4))


@pytest.mark.parametrize("function", [mg.dropout, mg.dropout2d])
def test_dropout_does_nothing_in_evaluation_and_everything_at_1(function):
    x = mg.ones(2, 3, 4, 4)
    assert function(x, 0.5, training=False) is x
    assert function(x, 0.0) is x
    assert function(x, 1.0).numpy().sum() == 0
    with pytest.raises(ValueError, match=r"between 0 and 1, got -0.1"):
        function(x, -0.1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("ignored", [-100, 2, "all"])
@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2), (2, 4, 3, 5), (1, 1)])
def test_fused_cross_entropy_is_the_one_in_steps(shape, ignored, reduction, device):
    x = 3 * mg.randn(*shape, dtype="float64")
    target = mg.randint(0, min(shape[1], 4), (shape[0], *shape[2:]))
    if ignored == "all":
        target, ignored = target * 0 + 7, 7
    elif ignored == 2:
        target._data.flat[0] = 2 if shape[1] > 2 else 0
    gradients = []
    for function in (mg.cross_entropy, loss._cross_entropy_in_steps):
        where = device if function is mg.cross_entropy else "cpu"
        leaf = mg.tensor(x.cpu().numpy().copy(), device=where, requires_grad=True)
        options = (None, ignored, reduction) + (() if function is mg.cross_entropy else (0.0,))
        y = function(leaf, target.to(where), *options)
        (g,) = mg.grad(y, leaf, create_graph=True)
        (gg,) = mg.grad((g * g).sum(), leaf)
        gradients.append((y.item(), g.detach().cpu().numpy(), gg.cpu().numpy()))
    for fused, steps in zip(*gradients, strict=True):
        np.testing.assert_allclose(fused, steps, rtol=1e-12, atol=1e-14)


def test_ignored_scores_may_be_infinite_in_cross_entropy():
    x = mg.tensor([[1.0, 2.0], [np.inf, 0.0]], requires_grad=True)
    y = mg.cross_entropy(x, mg.tensor([0, -100]))
    y.backward()
    np.testing.assert_allclose(y.item(), np.log1p(np.e), rtol=1e-6)
    assert x.grad[1].tolist() == [0, 0] and np.isfinite(x.grad.numpy()).all()
