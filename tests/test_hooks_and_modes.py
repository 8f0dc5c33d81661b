"""Hooks on tensors, `retain_grad`, and the modes that switch recording on and off."""
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg


def leaf(*values):
    return mg.tensor(list(values), dtype=mg.float64, requires_grad=True)


# --- hooks


def test_a_hook_sees_the_whole_gradient_and_may_replace_it():
    x, seen = leaf(2.0), []
    a = x * 3
    a.register_hook(lambda g: seen.append(g.item()))
    a.register_hook(lambda g: g * 10)
    (a * a + a).sum().backward()
    assert seen == [13.0]
    assert x.grad.item() == 13 * 10 * 3


def test_a_hook_on_a_leaf_changes_what_is_accumulated():
    x = leaf(2.0)
    handle = x.register_hook(lambda g: g * 2)
    (x * 3).sum().backward()
    assert x.grad.item() == 6.0
    handle.remove()
    handle.remove()  # twice does no harm
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.item() == 3.0


def test_hooks_run_in_functional_grad_too():
    x = leaf(2.0)
    a = x * 3
    a.register_hook(lambda g: g * 2)
    ga, gx = mg.grad(a.sum(), [a, x])
    assert (ga.item(), gx.item()) == (2.0, 6.0)


@pytest.mark.parametrize(
    ("replacement", "error", "message"),
    [
        (lambda g: g.sum(), RuntimeError, r"shape \(2,\), float64 by one of shape \(\), float64"),
        (lambda g: g.astype(mg.float32), RuntimeError, "float64 by one of shape .2,., float32"),
        (lambda g: 3.0, TypeError, "got a float"),
    ],
)
def test_a_hook_must_return_a_fitting_tensor(replacement, error, message):
    x = leaf(1.0, 2.0)
    a = x * 2
    a.register_hook(replacement)
    with pytest.raises(error, match=message):
        a.sum().backward()


@pytest.mark.parametrize("method", ["register_hook", "retain_grad"])
def test_hooks_need_a_tensor_that_requires_gradients(method):
    with pytest.raises(RuntimeError, match=f"{method}: the tensor does not require gradients"):
        getattr(mg.ones(1), method)(*([print] if method == "register_hook" else []))


def test_retain_grad_fills_intermediates_once_and_after_other_hooks():
    x = leaf(2.0)
    a = x * 3
    a.retain_grad()
    a.retain_grad()
    a.register_hook(lambda g: g * 5)
    b = a + 0
    b.retain_grad()
    b.sum().backward()
    assert a.grad.item() == 5.0
    assert b.grad.item() == 1.0
    assert not np.shares_memory(a.grad._data, b.grad._data)


def test_retain_grad_on_a_leaf_changes_nothing():
    x = leaf(2.0)
    x.retain_grad()
    (x * 3).sum().backward()
    assert x.grad.item() == 3.0


def test_retain_grad_does_not_keep_the_tensor_alive():
    x = leaf(2.0)
    a = x * 3
    a.retain_grad()
    ref, b = weakref.ref(a), a * 2
    del a
    assert ref() is None
    b.sum().backward()
    assert x.grad.item() == 6.0


# --- modes


def test_nothing_is_recorded_under_no_grad():
    x = leaf(1.0)
    with mg.no_grad():
        y = x * 2
        assert not mg.is_grad_enabled()
        with mg.enable_grad():
            z = x * 2
        with mg.set_grad_enabled(True):
            w = x * 2
    assert mg.is_grad_enabled()
    assert (y.requires_grad, z.requires_grad, w.requires_grad) == (False, True, True)
    with mg.set_grad_enabled(False):
        assert not (x * 2).requires_grad


def test_modes_are_decorators_and_work_repeatedly():
    @mg.no_grad()
    def evaluate(x):
        """Twice x."""
        return x * 2

    assert evaluate.__doc__ == "Twice x."
    for _ in range(2):
        assert not evaluate(leaf(1.0)).requires_grad
        assert mg.is_grad_enabled()


def test_modes_are_restored_after_exceptions():
    with pytest.raises(ZeroDivisionError), mg.no_grad():
        raise ZeroDivisionError
    assert mg.is_grad_enabled()
    x = leaf(1.0)
    a = x * 2
    a.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        a.sum().backward()
    assert mg.is_grad_enabled()


def test_modes_belong_to_a_thread():
    seen = []
    with mg.no_grad():
        thread = threading.Thread(target=lambda: seen.append(mg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_hooks_run_with_recording_off_unless_the_walk_is_recorded():
    x, seen = leaf(1.0), []
    a = x * 2
    a.register_hook(lambda g: seen.append(mg.is_grad_enabled()))
    a.backward(retain_graph=True)
    a.backward(create_graph=True)
    assert seen == [False, True]
