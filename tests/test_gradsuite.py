"""Every operation, layer and convolution row against finite differences, found from the code."""
import pytest

from minigrad import gradsuite, ops
from minigrad.autograd import Function
from minigrad.gradcases import CASES, NOT_DIFFERENTIABLE, Example
from minigrad.tensor import Tensor

RESULTS = {}


def result(name):
    """The result of checking one name, computed once."""
    if name not in RESULTS:
        RESULTS[name] = gradsuite.check(name)
    return RESULTS[name]


@pytest.mark.parametrize("name", gradsuite.required())
def test_gradients_agree_with_finite_differences(name):
    assert result(name).failure == ""
    assert result(name).first < 1e-8 and result(name).second < 1e-7


def test_every_function_is_reached_by_some_example():
    reached = set().union(*(result(name).functions for name in gradsuite.required()))
    assert gradsuite.own_functions() - reached == set()


def test_there_is_no_example_for_something_that_is_gone():
    assert set(CASES) - set(gradsuite.required()) == set()
    assert set(NOT_DIFFERENTIABLE) <= set(ops.__all__)


def test_an_operation_without_an_example_fails(monkeypatch):
    monkeypatch.setattr(ops, "__all__", [*ops.__all__, "newcomer"])
    assert "newcomer" in gradsuite.required()
    assert "no example" in gradsuite.check("newcomer").failure


class Wrong(Function):
    """y = x^2 with a gradient that lacks a factor of 2."""

    def forward(self, x):
        self.save(x)
        return x * x

    def backward(self, gy):
        (x,) = self.saved
        return gy * x


class WrongSecond(Function):
    """y = x^3 whose gradient is right but hides its dependence on x from the second order."""

    def forward(self, x):
        self.save(x)
        return x**3

    def backward(self, gy):
        (x,) = self.saved
        return gy * 3.0 * (x * x).detach()


@pytest.mark.parametrize(("function", "order"), [(Wrong, "first order"), (WrongSecond, "second order")])
def test_a_wrong_gradient_fails_and_says_at_which_order(monkeypatch, function, order):
    monkeypatch.setitem(CASES, "exp", [Example(lambda x: function()(x), ((2, 2),))])
    assert order in gradsuite.check("exp").failure


def test_the_table_reports_failures(monkeypatch):
    lines = []
    assert gradsuite.run(["add", "exp"], lines.append)
    assert lines[-1] == "2 of 2 passed"
    monkeypatch.setitem(CASES, "exp", [Example(lambda x: Wrong()(x), ((2, 2),))])
    assert not gradsuite.run(["add", "exp"], lines.append)
    assert lines[-1] == "1 of 2 passed" and "FAILED" in lines[-2]


def test_strided_inputs_have_the_same_values_and_no_contiguous_memory():
    t = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "float64", requires_grad=True)
    s = gradsuite.strided(t)
    assert s.tolist() == t.tolist() and s.requires_grad
    assert not s._data.flags.c_contiguous and not s._data.flags.f_contiguous and min(s._data.strides) < 0
