"""Functions used wrongly, and PyTorch's habits that must work or fail with a clear word."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import Function
from minigrad.ops.elementwise import Exp


class Custom(Function):
    """y = x, with a forward and a backward to be set by a test."""

    def forward(self, x):
        return self.result(x) if hasattr(self, "result") else x.copy()

    def backward(self, gy):
        return gy.numpy()


@pytest.fixture(autouse=True)
def no_trace_in_the_registry():
    yield
    Function.registry.pop("Custom", None)


def leaf(*values):
    return mg.tensor([*map(float, values)], requires_grad=True)


def test_a_function_that_is_in_a_graph_cannot_be_called_again():
    exp, x = Exp(), leaf(1)
    y = exp(x)
    with pytest.raises(RuntimeError, match="Exp: this Function is part of a graph already"):
        exp(leaf(2))
    y.backward()
    with pytest.raises(RuntimeError, match="make a new one"):
        exp(x)


def test_wrong_types_in_and_out_of_a_function_are_named():
    with pytest.raises(TypeError, match="Custom: expected Tensors, got a ndarray"):
        Custom()(np.ones(2))
    with pytest.raises(TypeError, match="forward must return an array, got a tuple"):
        Custom(result=lambda x: (x, x))(leaf(1))
    with pytest.raises(TypeError, match="backward must return Tensors, got a ndarray for input 0"):
        Custom()(leaf(1)).backward()


def test_a_constant_made_from_memory_that_then_joined_the_graph_is_an_error():
    w, b = leaf(1, 2, 3), mg.zeros(3)
    view = b[0:2]
    b.add_(w)
    with pytest.raises(RuntimeError, match="changed in place through another tensor"):
        view.sum()


@pytest.mark.parametrize("name", ["mul_", "div_", "add_", "sub_"])
def test_in_place_arithmetic_with_both_operands_in_the_graph(name):
    gradients = []
    for in_place in (True, False):
        x = leaf(3, 4)
        y = x * 2.0
        z = getattr(y, name)(x) if in_place else getattr(y, name[:-1])(x)
        z.sum().backward()
        gradients.append(x.grad.tolist())
    assert gradients[0] == gradients[1]


def test_a_wider_operand_in_place_is_cast_to_the_tensor_as_in_pytorch():
    x = mg.zeros(2)
    assert x.add_(mg.ones(2, dtype=mg.float64)).dtype == np.float32 and x.tolist() == [1, 1]


def test_grad_takes_only_a_tensor_of_the_same_shape_and_dtype():
    x = leaf(1, 2)
    for wrong in (5, np.ones(2), mg.ones(3), mg.ones(2, dtype=mg.float64)):
        with pytest.raises(TypeError, match="grad must be a Tensor"):
            x.grad = wrong
    x.grad = mg.ones(2)
    x.grad = None


def test_data_is_a_tensor_that_shares_memory_but_not_the_graph():
    x = leaf(1, 2)
    assert not x.data.requires_grad and x.data.fill_(7).tolist() == [7, 7] == x.tolist()


def test_comparing_with_none_or_a_string_is_plain_inequality():
    x = leaf(1)
    assert (x == None) is False and (x != None) is True and (x == "a") is False  # noqa: E711


def test_max_and_min_of_two_tensors():
    a, b = leaf(1, 5), leaf(3, 2)
    assert a.max(b).tolist() == [3, 5] and mg.min(a, b).tolist() == [1, 2]


def test_casts_and_predicates():
    x = leaf(0, 1.5)
    assert (x.double().dtype, x.int().dtype) == ("f8", "i4")
    assert (x.long().tolist(), x.bool().tolist()) == ([0, 1], [False, True])
    assert x.any().item() is True and x.all().item() is False and x.is_floating_point()
    assert x.to(dtype="float64", device="cpu").dtype == np.float64
    assert mg.zeros(2, 3).all(dim=1).tolist() == [False, False]


def test_functions_of_shape_take_arrays():
    a = np.arange(6.0)
    assert mg.reshape(a, 2, 3).shape == (2, 3) and mg.flip(a, 0).tolist() == [5, 4, 3, 2, 1, 0]
    assert [p.shape for p in mg.split(a, np.int64(4))] == [(4,), (2,)]


def test_sums_keep_their_digits_in_every_layout():
    a = np.full((16, 8, 128, 128), 0.1, np.float32)
    channels_last = mg.Tensor(np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(channels_last.mean((0, 2, 3)).numpy(), np.float32(0.1), rtol=1e-6)


def test_direct_weight_gradient_keeps_its_digits():
    x, gy = mg.full((8, 1, 128, 128), 0.1), mg.ones(8, 1, 128, 128)
    w = mg.ones(1, 1, 1, 1, requires_grad=True)
    mg.conv2d(x, w, algorithm="direct").backward(gy)
    np.testing.assert_allclose(w.grad.item(), 0.1 * 8 * 128 * 128, rtol=1e-6)


def test_empty_and_nan_reductions():
    assert mg.zeros(0, 3).softmax(0).shape == (0, 3) and np.isneginf(mg.zeros(0, 3).logsumexp(0).numpy()).all()
    assert repr(mg.zeros(0, 3)) == "tensor([], size=(0, 3))"
    x = leaf(np.nan, 1)
    x.amax().backward()
    assert x.grad.tolist() == [1, 0]


def test_layers_check_their_arguments_when_they_are_made():
    with pytest.raises(ValueError, match="no algorithm 'foo'"):
        mg.nn.Conv2d(1, 1, 3, algorithm="foo")
    with pytest.raises(ValueError, match="flipped"):
        mg.nn.Conv2d(1, 1, 3, algorithm="flipped")
    for layer in (mg.nn.MaxPool2d, mg.nn.AvgPool2d):
        with pytest.raises(ValueError, match=f"{layer.__name__}: kernel_size must be an integer >= 1, got -1"):
            layer(-1)
    mg.nn.Conv2d(1, 1, 3, flip=True, algorithm="flipped")
