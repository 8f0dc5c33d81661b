"""gradcheck and gradgradcheck themselves: what they must catch, what they must accept, and what they say."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import Function
from minigrad.gradcheck import GradcheckError, worst_error


def defined(forward, backward):
    """A function of Tensors with this forward and backward, which may be wrong on purpose."""

    class Defined(Function):
        def forward(self, *arrays):
            self.save(*arrays)
            return forward(*arrays)

        def backward(self, gy):
            return backward(gy, *self.saved)

    del Function.registry["Defined"]  # the library's own operations only
    return lambda *xs: Defined()(*xs)


def leaf(*shape, seed=0):
    return mg.tensor(np.random.default_rng(seed).uniform(0.5, 2.0, shape), requires_grad=True)


cube = defined(lambda x: x**3, lambda gy, x: gy * 3.0 * x * x)
cube_without_second = defined(lambda x: x**3, lambda gy, x: gy * 3.0 * x.detach() * x.detach())
cube_ignoring_gy = defined(lambda x: x**3, lambda gy, x: 3.0 * x * x)
cube_scaled = defined(lambda x: x**3, lambda gy, x: gy * 3.01 * x * x)
cube_nan = defined(lambda x: x**3, lambda gy, x: gy * x * np.nan)
cube_without_gradient = defined(lambda x: x**3, lambda gy, x: None)
product_missing_a_term = defined(lambda a, b: a * b, lambda gy, a, b: (gy * b, gy * 0.0))
product_by_sum = defined(lambda a, b: a * b, lambda gy, a, b: (gy * b, gy * a.detach()))
transposed = defined(lambda x: x @ x, lambda gy, x: gy @ x + x @ gy)  # both factors should be transposed


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("function", [cube, lambda x: (x @ x.T).exp().sum(0), lambda x: (x * 2, x.log(), x.sum())])
def test_right_gradients_pass(function, fast_mode):
    assert mg.gradcheck(function, leaf(2, 2), fast_mode=fast_mode) is True


WRONG = {
    "scaled": (cube_scaled, 1), "nan": (cube_nan, 1), "none": (cube_without_gradient, 1), "transposed": (transposed, 1),
    "ignoring gy": (lambda x: cube_ignoring_gy(x) * 2.0, 1), "missing term": (product_missing_a_term, 2),
}


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_caught(name, fast_mode):
    function, count = WRONG[name]
    inputs = [leaf(2, 2, seed=i) for i in range(count)]
    with pytest.raises(GradcheckError):
        mg.gradcheck(function, inputs, fast_mode=fast_mode)
    assert mg.gradcheck(function, inputs, fast_mode=fast_mode, raise_exception=False) is False


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize(("function", "count"), [(cube_without_second, 1), (product_by_sum, 2)])
def test_wrong_second_derivatives_pass_gradcheck_and_are_caught_by_gradgradcheck(function, count, fast_mode):
    inputs = [leaf(2, 2, seed=i) for i in range(count)]
    assert mg.gradcheck(function, inputs, fast_mode=fast_mode)
    with pytest.raises(GradcheckError):
        mg.gradgradcheck(function, inputs, fast_mode=fast_mode)
    assert not mg.gradgradcheck(function, inputs, fast_mode=fast_mode, raise_exception=False)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_right_second_derivatives_pass(fast_mode):
    assert mg.gradgradcheck(cube, leaf(2, 3), fast_mode=fast_mode)
    assert mg.gradgradcheck(lambda a, b: (a @ b, a.sum()), (leaf(2, 3), leaf(3, 2)), fast_mode=fast_mode)
    assert mg.gradgradcheck(lambda x: x * 2.0, leaf(2), fast_mode=fast_mode)  # second derivative 0


def test_gradgradcheck_ignoring_the_incoming_gradient_is_caught():
    """The incoming gradient must flow into the second derivative."""
    ignoring = defined(lambda x: x * 2.0, lambda gy, x: gy.detach() * 2.0)
    assert mg.gradcheck(ignoring, leaf(3))
    with pytest.raises(GradcheckError):
        mg.gradgradcheck(ignoring, leaf(3))


def test_given_grad_outputs_are_used():
    x, gy = leaf(3), mg.tensor(np.ones(3), requires_grad=True)
    assert mg.gradgradcheck(cube, x, gy)
    assert mg.gradgradcheck(cube, x, [gy])


def test_the_error_names_input_output_entry_and_both_values():
    x = mg.tensor([1.0, 2.0], dtype=mg.float64, requires_grad=True)
    pattern = r"gradient of output 0 with respect to input 0 is wrong at \(1, 1\): analytic 12\.04\d*, numerical 12"
    with pytest.raises(GradcheckError, match=pattern):
        mg.gradcheck(cube_scaled, x)
    with pytest.raises(GradcheckError, match="output 1 with respect to input 1"):
        mg.gradcheck(lambda a, b: (a * b, product_missing_a_term(a, b)), (leaf(2), leaf(2)))
    with pytest.raises(GradcheckError, match="projected"):
        mg.gradcheck(cube_scaled, x, fast_mode=True)


def test_an_output_cut_off_from_its_input_is_caught():
    with pytest.raises(GradcheckError, match="analytic 0, numerical 3"):
        mg.gradcheck(lambda x: (x * 2.0, x.detach() * 3.0), leaf(1))


def test_inputs_may_be_awkward():
    transposed_input = mg.tensor(np.random.default_rng(0).uniform(0.5, 2, (3, 2)).T, requires_grad=True)
    assert not transposed_input._data.flags.c_contiguous
    strided = mg.Tensor(np.linspace(0.5, 2.0, 8)[::-2], requires_grad=True)
    broadcast = mg.Tensor(np.broadcast_to(1.5, (2, 3)), requires_grad=True)
    for x in (transposed_input, strided, broadcast, leaf(), leaf(0), leaf(1, 1)):
        assert mg.gradcheck(cube, x) and mg.gradcheck(cube, x, fast_mode=True)
        assert mg.gradgradcheck(cube, x)


def test_the_function_sees_the_layout_of_the_input():
    x = mg.tensor(np.ones((2, 3, 4)).transpose(0, 2, 1), requires_grad=True)
    seen = set()
    mg.gradcheck(lambda x: seen.add(x._data.strides) or x * 2.0, x)
    assert seen == {x._data.strides}


def test_inputs_and_their_gradients_are_left_alone():
    x = leaf(2, 2)
    before = x.tolist()
    mg.gradcheck(cube, x)
    mg.gradgradcheck(cube, x)
    assert x.tolist() == before and x.grad is None


def test_inputs_that_need_no_gradient_are_passed_through():
    c = mg.tensor([2, 3])
    assert mg.gradcheck(lambda x, c, flag: x * c if flag else x, (leaf(2), c, True))
    assert mg.gradgradcheck(lambda x, c: x * x * c, (leaf(2), c))


def test_integer_outputs_are_not_compared():
    assert mg.gradcheck(lambda x: x.max(0), leaf(3))


def test_inputs_that_cannot_be_checked_are_errors():
    with pytest.raises(ValueError, match="input 1 is float32; finite differences need float64"):
        mg.gradcheck(lambda a, b: a * b, (leaf(2), mg.ones(2, requires_grad=True)))
    with pytest.raises(ValueError, match="no input requires gradients"):
        mg.gradcheck(cube, mg.ones(2, dtype=mg.float64))


def test_tolerances_are_those_given():
    slightly = defined(lambda x: x**3, lambda gy, x: gy * 3.0 * x * x * (1 + 1e-5))
    x = leaf(2)
    assert mg.gradcheck(slightly, x)
    assert not mg.gradcheck(slightly, x, rtol=0.0, atol=1e-6, raise_exception=False)
    assert mg.gradcheck(slightly, x, rtol=0.0, atol=1e-2)
    assert mg.gradcheck(slightly, x, rtol=1e-4, atol=0.0)
    assert not mg.gradcheck(slightly, x, rtol=1e-6, atol=0.0, raise_exception=False)


def test_worst_error_is_small_for_right_gradients():
    assert 0.0 < worst_error(cube, leaf(2, 2)) < 1e-7
