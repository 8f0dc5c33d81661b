"""Whose memory a leaf's gradient is: backward's own array where nobody else has it, a copy everywhere else."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import Function


def leaf(*shape):
    return mg.Tensor(np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape), requires_grad=True)


def separate(*tensors):
    """Whether no two of the tensors share memory."""
    arrays = [t._data for t in tensors]
    return not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


@pytest.fixture
def clones(monkeypatch):
    """The shapes of the gradients that were copied."""
    found, original = [], mg.Tensor.clone
    monkeypatch.setattr(mg.Tensor, "clone", lambda t: found.append(t.shape) or original(t))
    return found


def test_a_gradient_of_its_own_is_not_copied(clones):
    x, w, b = leaf(4, 3), leaf(2, 3), leaf(2)
    mg.linear(x, w, b).sum().backward()
    assert clones == []
    np.testing.assert_array_equal(w.grad.numpy(), np.tile(x.detach().numpy().sum(0), (2, 1)))


def test_two_leaves_never_share_a_gradient():
    a, b = leaf(3), leaf(3)
    ((a + b) * leaf(3)).sum().backward()
    assert separate(a.grad, b.grad)
    a.grad.zero_()
    assert b.grad.tolist() == [1, 2, 3]


def test_views_of_one_gradient_are_not_shared():
    a, b = leaf(2, 3), leaf(3, 2)
    ((a + b.t()) * leaf(2, 3)).sum().backward()
    assert separate(a.grad, b.grad)
    c, d = leaf(2), leaf(4)
    (mg.concatenate([c, d]) * leaf(6)).sum().backward()
    assert separate(c.grad, d.grad)


def test_a_broadcast_gradient_gets_memory_of_its_own():
    x = leaf(3, 4)
    x.sum().backward()
    assert 0 not in x.grad._data.strides
    x.grad[0, 0] = 5.0
    assert x.grad.sum().item() == 16


def test_the_users_gradient_is_not_taken():
    x, gy = leaf(3), mg.ones(3, dtype="float64")
    x.backward(gy)
    assert separate(x.grad, gy)
    y, array = leaf(3), np.ones(3)
    (y.reshape(3, 1) + 0.0).backward(mg.Tensor(array).reshape(3, 1))
    assert not np.shares_memory(y.grad._data, array)


def test_what_hooks_have_seen_is_not_taken():
    x, seen = leaf(3), []
    y = x * 2.0
    x.register_hook(seen.append)
    y.register_hook(seen.append)
    (y * leaf(3)).sum().backward()
    assert len(seen) == 2 and separate(x.grad, *seen)
    a, kept = leaf(3), []
    b = a.reshape(3)
    b.register_hook(lambda g: kept.append(g.detach().numpy()))
    (b * leaf(3)).sum().backward()
    assert not np.shares_memory(a.grad._data, kept[0])


def test_what_retain_grad_keeps_is_not_taken():
    x = leaf(3)
    y = x.reshape(3, 1)
    y.retain_grad()
    (y * leaf(3, 1)).sum().backward()
    assert separate(x.grad, y.grad)


class Constant(Function):
    """y = x, with a constant of the user's as gradient."""

    def forward(self, x):
        self.save(self.constant)
        return x.copy()

    def backward(self, gy):
        return self.saved[0]


def test_a_constant_that_a_function_returns_is_not_taken():
    x, constant = leaf(3), np.ones(3)
    Constant(constant=constant)(x).sum().backward()
    assert not np.shares_memory(x.grad._data, constant)


def test_repeated_walks_add_to_separate_memory():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    first = x.grad
    y.backward()
    assert x.grad is first and first.tolist() == [4, 8, 12]
    z = (x * x).sum()
    x.grad = None
    z.backward(create_graph=True)
    assert x.grad.requires_grad and first.tolist() == [4, 8, 12]
