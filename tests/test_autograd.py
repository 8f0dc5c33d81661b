"""The engine: what `backward` and `grad` compute, and what they keep and free."""
import gc
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import Function


def leaf(*values):
    return mg.tensor(list(values), dtype=mg.float64, requires_grad=True)


class Cube(Function):
    """y = x ** 3, counting how often its backward runs."""

    calls = 0

    def forward(self, x):
        self.save(x)
        return x**3

    def backward(self, gy):
        type(self).calls += 1
        (x,) = self.saved
        return gy * (3.0 * x * x)


# Functions made by tests must not count among the library's own
del Function.registry["Cube"]


def broken(result):
    """A Function whose backward returns `result(gy)`."""

    class Broken(Function):
        def forward(self, a, b):
            return a * b

        def backward(self, gy):
            return result(gy)

    del Function.registry["Broken"]
    return Broken


# --- accumulation


def test_backward_adds_to_grad_and_keeps_the_same_tensor():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert x.grad is first
    np.testing.assert_array_equal(x.grad.numpy(), [3 + 2, 3 + 4])


def test_accumulating_marks_the_gradient_as_modified():
    x = leaf(2.0)
    (3 * x).sum().backward()
    w = leaf(5.0)
    y = (w * x.grad).sum()
    (3 * x).sum().backward()
    with pytest.raises(RuntimeError, match=r"Mul: input 1.*modified in place"):
        y.backward()


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_two_leaves_never_share_memory(create_graph):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward(create_graph=create_graph)
    assert a.grad is not b.grad
    assert not np.shares_memory(a.grad._data, b.grad._data)
    a.grad._data[...] = 7.0
    np.testing.assert_array_equal(b.grad.detach().numpy(), [1, 1])


def test_a_leafs_gradient_does_not_share_memory_with_the_given_gradient():
    x, g = leaf(1.0, 2.0), mg.tensor([3.0, 4.0], dtype=mg.float64)
    x.clone().backward(g)
    assert not np.shares_memory(x.grad._data, g._data)


def test_a_shared_subexpression_is_walked_once_with_the_summed_gradient():
    Cube.calls = 0
    x = leaf(2.0)
    y = Cube()(x)
    (y * 2 + y * 5 + y * y).sum().backward()
    assert Cube.calls == 1
    assert x.grad.item() == 3 * 4 * (2 + 5 + 2 * 8)


def test_the_same_tensor_on_both_sides_gets_both_gradients():
    x = leaf(3.0)
    (x * x + x / x + (x - x)).sum().backward()
    assert x.grad.item() == pytest.approx(6.0)


def test_backward_from_a_leaf_sets_its_own_gradient():
    x = leaf(3.0)
    x.backward()
    assert x.grad.item() == 1.0


def test_a_branch_that_does_not_require_gradients_gets_none():
    x, c = leaf(1.0), mg.tensor([2.0], dtype=mg.float64)
    (x * c).sum().backward()
    assert c.grad is None
    assert x.grad.item() == 2.0


def test_gradient_of_another_float_dtype_is_cast_and_leaf_gradients_keep_the_leafs_dtype():
    x = mg.ones(2, requires_grad=True)
    (x.astype(mg.float64) * 2).backward(mg.ones(2))
    assert x.grad.dtype == mg.float32
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2])


# --- deep graphs


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_chain_of_100_000_operations_needs_no_recursion(create_graph):
    x = mg.ones(1, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + x
    y.backward(create_graph=create_graph)
    assert x.grad.item() == 100_001
    x.grad = None
    del y
    gc.collect()


# --- freeing


def test_activations_are_freed_while_backward_passes_them():
    alive, x = [], mg.ones(4, requires_grad=True)
    y, refs = x, []
    for _ in range(5):
        y = y.exp()
        refs.append(weakref.ref(y._data))
        y.register_hook(lambda g: alive.append(sum(r() is not None for r in refs)) and None)
    loss = y.sum()
    del y
    assert sum(r() is not None for r in refs) == 5
    loss.backward()
    assert alive == [5, 4, 3, 2, 1]
    assert all(r() is None for r in refs)


def test_a_dropped_graph_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = mg.ones(4, requires_grad=True)
        y = (x * x).exp().sum()
        ref = weakref.ref(y._fn)
        del y
        assert ref() is None
    finally:
        gc.enable()


def test_retain_graph_allows_a_second_backward_and_the_third_is_an_error():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0
    with pytest.raises(RuntimeError, match=r"Mul: the values saved for backward were freed.*retain_graph=True"):
        y.backward()


def test_functions_that_save_nothing_can_be_walked_twice():
    x = leaf(1.0, 2.0)
    y = (x + x - 1).reshape(2, 1).sum()
    y.backward()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4, 4])


def test_functional_grad_frees_only_what_it_walked():
    x = leaf(2.0)
    a = x.exp()
    y = a.exp()
    mg.grad(y, a)
    with pytest.raises(RuntimeError, match="Exp"):
        mg.grad(y, a)
    assert mg.grad(a, x)[0].item() == pytest.approx(np.exp(2.0))


# --- seeds


def test_backward_of_a_vector_needs_a_gradient():
    with pytest.raises(RuntimeError, match=r"backward: a gradient is needed.*shape \(2,\)"):
        leaf(1.0, 2.0).exp().backward()


def test_backward_of_one_element_needs_no_gradient():
    x = leaf(2.0)
    (x * 3).reshape(1, 1).backward()
    assert x.grad.item() == 3.0


def test_a_gradient_of_the_wrong_shape_is_an_error():
    with pytest.raises(RuntimeError, match=r"\(3,\).*\(2,\)"):
        leaf(1.0, 2.0).exp().backward(mg.ones(3))


@pytest.mark.parametrize("call", ["backward", "grad"])
def test_a_constant_has_no_backward(call):
    c = mg.ones(1)
    with pytest.raises(RuntimeError, match=f"{call}: the tensor does not require gradients"):
        c.backward() if call == "backward" else mg.grad(c, leaf(1.0))


# --- functional grad


def test_grad_leaves_grad_attributes_alone():
    x = leaf(3.0)
    (g,) = mg.grad((x * x).sum(), x)
    assert g.item() == 6.0
    assert not g.requires_grad
    assert x.grad is None


def test_grad_with_respect_to_leaves_and_intermediates_at_once():
    x = leaf(2.0)
    a = x * x
    b = a * 3
    y = (a * b).sum()  # 3 a ** 2 = 3 x ** 4
    ga, gb, gx, gy = mg.grad(y, [a, b, x, y])
    assert [g.item() for g in (ga, gb, gx, gy)] == [6 * 4, 4, 12 * 8, 1]


def test_grad_stops_below_the_inputs():
    Cube.calls = 0
    x = leaf(2.0)
    a = Cube()(x)
    mg.grad((a * a).sum(), a)
    assert Cube.calls == 0


def test_grad_sums_over_several_outputs_with_their_gradients():
    x = leaf(1.0, 2.0)
    outputs = [x * 2, (x * x).sum()]
    (g,) = mg.grad(outputs, x, [mg.tensor([10.0, 20.0]), None])
    np.testing.assert_array_equal(g.numpy(), [20 + 2, 40 + 4])


def test_grad_of_the_same_output_twice_counts_twice():
    x = leaf(1.0)
    y = x * 2
    assert mg.grad([y, y], x)[0].item() == 4.0


def test_the_number_of_grad_outputs_must_fit():
    x = leaf(1.0)
    with pytest.raises(ValueError, match="2 outputs but 1 grad_outputs"):
        mg.grad([x * 2, x * 3], x, [mg.ones(1)])


def test_an_unused_input_is_an_error_or_none():
    x, unused = leaf(1.0), leaf(1.0)
    y = x * 2
    with pytest.raises(RuntimeError, match=r"do not depend on input 1.*allow_unused"):
        mg.grad(y, [x, unused], retain_graph=True)
    gx, nothing = mg.grad(y, [x, unused], allow_unused=True)
    assert gx.item() == 2.0
    assert nothing is None


def test_an_input_that_does_not_require_gradients_is_an_error():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="input 1 does not require gradients"):
        mg.grad(x * 2, [x, mg.ones(1)])


# --- higher orders


def test_derivatives_up_to_the_fourth_order():
    x = leaf(0.7)
    derivatives, y = [], (x.exp() * x).tanh() + x**5
    for _ in range(4):
        (y,) = mg.grad(y, x, create_graph=True)
        derivatives.append(y.item())
    torch = pytest.importorskip("torch")
    z = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    w, expected = (z.exp() * z).tanh() + z**5, []
    for _ in range(4):
        (w,) = torch.autograd.grad(w, z, create_graph=True)
        expected.append(w.item())
    np.testing.assert_allclose(derivatives, expected, rtol=1e-10)


def test_third_derivative_of_a_polynomial():
    x = leaf(2.0)
    y = x**4 + x * x * x
    for expected in (4 * 8 + 3 * 4, 12 * 4 + 6 * 2, 24 * 2 + 6):
        (y,) = mg.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected)


def test_backward_with_create_graph_gives_gradients_with_a_graph():
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    assert mg.grad(x.grad, x)[0].item() == pytest.approx(18.0)


def test_create_graph_accumulates_differentiably_and_also_inside_no_grad():
    x = leaf(3.0)
    y = x**3
    with mg.no_grad():
        y.backward(create_graph=True)
        y.backward(create_graph=True)
    assert x.grad.item() == pytest.approx(54.0)
    assert mg.grad(x.grad, x)[0].item() == pytest.approx(36.0)


def test_create_graph_implies_retain_graph():
    x = leaf(3.0)
    y = x**3
    mg.grad(y, x, create_graph=True)
    assert mg.grad(y, x)[0].item() == 27.0


def test_a_constant_saved_for_backward_is_still_guarded_in_the_second_derivative():
    x, gy, c = leaf(2.0), leaf(1.0), mg.tensor([3.0], dtype=mg.float64)
    (g,) = mg.grad(x * c, x, gy, create_graph=True)  # g = gy c
    c.fill_(100.0)
    with pytest.raises(RuntimeError, match="modified in place"):
        mg.grad(g, gy)


# --- wrong Functions


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda gy: gy, "Broken.backward returned 1 gradients for 2 inputs"),
        (lambda gy: (gy, gy, gy), "Broken.backward returned 3 gradients for 2 inputs"),
        (lambda gy: (gy, gy.sum()), r"Broken.backward returned a gradient of shape \(\), float64 for input 1 of shape"),
        (lambda gy: (gy.astype(mg.float32), gy), "of shape .2,., float32 for input 0 of shape .2,., float64"),
    ],
)
def test_a_backward_with_wrong_results_is_a_clear_error(result, message):
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=message):
        broken(result)()(x, x).sum().backward()


def test_none_means_no_gradient_for_that_input():
    a, b = leaf(2.0), leaf(5.0)
    broken(lambda gy: (None, gy))()(a, b).sum().backward()
    assert a.grad is None
    assert b.grad.item() == 1.0


def test_a_function_may_return_its_input():
    class Same(Function):
        def forward(self, x):
            return x

        def backward(self, gy):
            return gy * 2

    del Function.registry["Same"]
    x = leaf(1.0)
    y = Same()(x)
    y.sum().backward()
    assert x.is_leaf
    assert x.grad.item() == 2.0
