"""The losses other than cross-entropy: values by hand, extreme values, ignored targets, and refused arguments."""
import math

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn

pytestmark = pytest.mark.usefixtures("made_there")

PAIRS = [F.mse_loss, F.l1_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits]


def leaf(*values):
    return mg.tensor(values, dtype=mg.float64, requires_grad=True)


@pytest.mark.parametrize("function", PAIRS)
@pytest.mark.parametrize(("a", "b"), [((2, 3), (3,)), ((2, 3), (2, 1)), ((4,), (4, 1)), ((), (1,)), ((2, 3), (3, 2))])
def test_shapes_are_not_broadcast_and_both_are_named(function, a, b):
    message = f"{function.__name__}: x of shape {a} and target of shape {b} must have the same shape"
    with pytest.raises(ValueError) as error:
        function(mg.zeros(*a), mg.zeros(*b))
    assert str(error.value) == message


@pytest.mark.parametrize("reduction", ["avg", None, "Mean", ""])
@pytest.mark.parametrize("function", [*PAIRS, F.nll_loss, F.cross_entropy])
def test_an_unknown_reduction_is_named(function, reduction):
    message = f"{function.__name__}: reduction must be one of mean, sum, none, got {reduction!r}"
    with pytest.raises(ValueError, match=message):
        function(mg.zeros(2, 2), mg.zeros(2, 2), reduction=reduction)


X, T = mg.zeros(2, 3), mg.zeros(2, 3)


@pytest.mark.host_only
@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: F.nll_loss(X, mg.tensor([0, 3])), IndexError, "nll_loss: target 3 is not one of 3 classes"),
    (lambda: F.nll_loss(X, mg.tensor([-1, 0])), IndexError, "nll_loss: target -1 is not one of 3 classes"),
    (lambda: F.nll_loss(X, mg.tensor([0])), ValueError, r"nll_loss: scores of shape \(2, 3\) .* shape \(1,\)"),
    (lambda: F.nll_loss(X, T), TypeError, "nll_loss: targets must be integers, .* got float32"),
    (lambda: F.cross_entropy(X, mg.tensor([True, False])), TypeError, "cross_entropy: targets must be integers.*bool"),
    (lambda: F.nll_loss(mg.zeros(3), mg.tensor(0)), ValueError, "nll_loss: expected scores N x C, got a 1-d tensor"),
    (lambda: F.nll_loss(X, mg.tensor([0, 1]), [1.0, 2.0]), ValueError, r"must hold 3 factors.* got shape \(2,\)"),
    (lambda: F.cross_entropy(X, T, ignore_index=1), ValueError, "ignore_index 1 has no meaning for probabilities"),
    (lambda: F.binary_cross_entropy(X + 1.5, T), ValueError, "x must be between 0 and 1, got 1.5"),
    (lambda: F.binary_cross_entropy(X - 0.5, T), ValueError, "x must be between 0 and 1, got -0.5"),
    (lambda: F.binary_cross_entropy(X * math.nan, T), ValueError, "x must be between 0 and 1, got nan"),
    (lambda: F.binary_cross_entropy(X, T, mg.ones(2)), ValueError,
     r"binary_cross_entropy: weight of shape \(2,\) does not broadcast to x of shape \(2, 3\)"),
    (lambda: F.binary_cross_entropy_with_logits(X, T, mg.ones(2, 2, 3)), ValueError, r"weight of shape \(2, 2, 3\)"),
    (lambda: nn.BCEWithLogitsLoss(pos_weight=[1.0, 2.0])(X, T), ValueError, r"pos_weight of shape \(2,\).*\(2, 3\)"),
    (lambda: F.binary_cross_entropy_with_logits(X[:, :1], T[:, :1], mg.ones(3)), ValueError, r"weight of shape \(3,\)"),
])
def test_what_does_not_fit_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_nll_loss_by_hand():
    x = mg.tensor([[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0]], requires_grad=True)
    target, weight = mg.tensor([1, 0, -100]), mg.tensor([2.0, 3.0])
    assert F.nll_loss(x, target, reduction="none").tolist() == [2.0, 3.0, 0.0]
    assert F.nll_loss(x, target).item() == 2.5
    loss = F.nll_loss(x, target, weight)
    assert loss.item() == pytest.approx((2 * 3 + 3 * 2) / 5)
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, -0.6], [-0.4, 0], [0, 0]])


def test_ignored_log_probabilities_may_be_infinite():
    x = mg.tensor([[-np.inf, 0.0], [-1.0, -2.0]], requires_grad=True)
    loss = nn.NLLLoss(weight=[1.0, 2.0], ignore_index=0)(x, mg.tensor([0, 1]))
    loss.backward()
    assert loss.item() == 2.0 and x.grad.tolist() == [[0, 0], [0, -1]]


@pytest.mark.parametrize("loss", [nn.NLLLoss(), nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)])
def test_the_mean_over_nothing_is_nan_and_the_sum_0(loss):
    for x, target in ((mg.zeros(0, 3), mg.zeros(0, dtype=mg.int64)), (mg.zeros(1, 3), mg.tensor([-100]))):
        assert math.isnan(loss(x, target).item())
        assert F.nll_loss(x, target, reduction="sum").item() == F.cross_entropy(x, target, reduction="sum").item() == 0
    for function in PAIRS:
        assert math.isnan(function(mg.zeros(0, 3), mg.zeros(0, 3)).item())
        assert function(mg.zeros(0, 3), mg.zeros(0, 3), reduction="sum").item() == 0


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
def test_bce_with_logits_is_stable_at_1000(dtype):
    x = mg.tensor([-1000.0, -1000.0, 1000.0, 1000.0, 0.0, 0.0], dtype=dtype, requires_grad=True)
    target = mg.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], dtype=dtype)
    y = F.binary_cross_entropy_with_logits(x, target, reduction="none", pos_weight=mg.tensor(3.0, dtype=dtype))
    y.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), [0, 3000, 1000, 0, math.log(2), 3 * math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), [0, -3, 1, 0, 0.5, -1.5], rtol=1e-6)


def test_bce_with_logits_keeps_small_losses():
    x = mg.tensor([-50.0, 50.0], dtype=mg.float64)
    y = F.binary_cross_entropy_with_logits(x, mg.tensor([0.0, 1.0]), reduction="sum")
    assert y.item() == pytest.approx(2 * math.exp(-50.0), rel=1e-12)


def test_bce_of_certain_probabilities_is_limited():
    x = leaf(0.0, 0.0, 1.0, 1.0)
    y = nn.BCELoss(reduction="none")(x, mg.tensor([0.0, 1.0, 0.0, 1.0]))
    y.sum().backward()
    assert y.tolist() == [0, 100, 100, 0]
    np.testing.assert_allclose(x.grad.numpy(), [0, -1e12, 1e12, 0])


def test_distances_by_hand():
    x, target = leaf(1.0, -2.0, 3.0), leaf(0.0, 2.0, 3.0)
    assert nn.MSELoss("none")(x, target).tolist() == [1, 16, 0]
    assert nn.L1Loss("none")(x, target).tolist() == [1, 4, 0]
    assert nn.MSELoss()(x, target).item() == pytest.approx(17 / 3)
    nn.L1Loss(reduction="sum")(x, target).backward()
    assert x.grad.tolist() == [1, -1, 0] and target.grad.tolist() == [-1, 1, 0]


@pytest.mark.parametrize("function", [F.mse_loss, F.l1_loss, F.binary_cross_entropy_with_logits])
def test_integer_targets_take_the_dtype_of_the_scores(function):
    x = mg.tensor([0.5, -0.5], dtype=mg.float64)
    y = function(x, mg.tensor([1, 0]), reduction="none")
    assert y.dtype == mg.float64
    assert y.tolist() == function(x, mg.tensor([1.0, 0.0], dtype=mg.float64), reduction="none").tolist()
    assert function(mg.tensor([0.5]), mg.tensor([1])).dtype == mg.float32
    large = 2**24 + 1  # no float32
    assert function(mg.tensor([2.0**24], dtype=mg.float64), mg.tensor([large])).item() == function(
        mg.tensor([2.0**24], dtype=mg.float64), mg.tensor([large], dtype=mg.float64)
    ).item()


def test_weights_are_buffers_and_do_not_widen_float32():
    weight = np.array([1.0, 3.0])
    losses = [
        (nn.NLLLoss(weight), mg.tensor([0, 1])), (nn.CrossEntropyLoss(weight), mg.tensor([0, 1])),
        (nn.BCELoss(weight), mg.ones(2, 2)), (nn.BCEWithLogitsLoss(weight, pos_weight=weight), mg.ones(2, 2)),
    ]
    for loss, target in losses:
        assert set(loss.state_dict()) <= {"weight", "pos_weight"} and list(loss.parameters()) == []
        assert loss(mg.full((2, 2), 0.5), target).dtype == mg.float32
    assert list(losses[-1][0].state_dict()) == ["weight", "pos_weight"]
