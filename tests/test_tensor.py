"""Tensors as values: creation, NumPy interoperability, printing, copying, and memory layout."""
import copy
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad.tensor import to_array

# --- creation


@pytest.mark.parametrize(
    ("made", "expected", "dtype"),
    [
        (lambda: mg.zeros(2, 3), np.zeros((2, 3)), "float32"),
        (lambda: mg.zeros((2, 3), dtype=mg.int64), np.zeros((2, 3)), "int64"),
        (lambda: mg.zeros(()), np.zeros(()), "float32"),
        (lambda: mg.zeros(), np.zeros(()), "float32"),
        (lambda: mg.ones([4]), np.ones(4), "float32"),
        (lambda: mg.full((2,), 7), np.full(2, 7), "int64"),
        (lambda: mg.full((2,), 2.5), np.full(2, 2.5), "float32"),
        (lambda: mg.full((2,), True), np.full(2, True), "bool"),
        (lambda: mg.full((2,), 7, dtype=mg.float64), np.full(2, 7), "float64"),
        (lambda: mg.eye(2), np.eye(2), "float32"),
        (lambda: mg.eye(2, 3, dtype=mg.float64), np.eye(2, 3), "float64"),
        (lambda: mg.arange(4), np.arange(4), "int64"),
        (lambda: mg.arange(1, 7, 2), np.arange(1, 7, 2), "int64"),
        (lambda: mg.arange(0.0, 1.0, 0.25), np.arange(0.0, 1.0, 0.25), "float32"),
        (lambda: mg.arange(3, dtype=mg.float64), np.arange(3.0), "float64"),
        (lambda: mg.linspace(0, 1, 5), np.linspace(0, 1, 5), "float32"),
        (lambda: mg.zeros_like(mg.ones(2, dtype=mg.float64)), np.zeros(2), "float64"),
        (lambda: mg.ones_like(mg.zeros(2), dtype=mg.int64), np.ones(2), "int64"),
        (lambda: mg.full_like(mg.zeros(2), 3), np.full(2, 3), "float32"),
        (lambda: mg.tensor([[1, 2], [3, 4]]), [[1, 2], [3, 4]], "int64"),
        (lambda: mg.tensor([1, 2.5]), [1, 2.5], "float32"),
        (lambda: mg.tensor([]), [], "float32"),
        (lambda: mg.tensor(True), True, "bool"),
        (lambda: mg.tensor([np.float64(1.5)]), [1.5], "float64"),
        (lambda: mg.tensor(np.ones(2)), [1, 1], "float64"),
        (lambda: mg.tensor([mg.ones(2), mg.zeros(2)]), [[1, 1], [0, 0]], "float32"),
        (lambda: mg.tensor(np.arange(3, dtype=">f8")), [0, 1, 2], "float64"),
        (lambda: mg.as_tensor([1, 2], mg.float64), [1, 2], "float64"),
    ],
)
def test_creation(made, expected, dtype):
    t = made()
    np.testing.assert_array_equal(t.numpy(), expected)
    assert t.shape == np.shape(expected)
    assert t.dtype == dtype
    assert t.dtype.isnative and not t.requires_grad


CREATORS = [
    lambda **k: mg.zeros(2, **k),
    lambda **k: mg.ones(2, **k),
    lambda **k: mg.full((2,), 1.0, **k),
    lambda **k: mg.eye(2, **k),
    lambda **k: mg.linspace(0, 1, 2, **k),
    lambda **k: mg.arange(2.0, **k),
    lambda **k: mg.rand(2, **k),
    lambda **k: mg.randn(2, **k),
    lambda **k: mg.tensor([1.0], **k),
    lambda **k: mg.zeros_like(mg.ones(2), **k),
    lambda **k: mg.ones_like(mg.ones(2), **k),
    lambda **k: mg.full_like(mg.ones(2), 3.0, **k),
]


@pytest.mark.parametrize("create", CREATORS)
def test_creators_take_requires_grad_and_only_floats_can(create):
    t = create(requires_grad=True)
    assert t.requires_grad and t.is_leaf
    with pytest.raises((RuntimeError, TypeError), match="int32"):
        create(dtype="int32", requires_grad=True)


@pytest.mark.parametrize("create", [lambda: mg.rand(50), lambda: mg.randn(50), lambda: mg.randint(0, 9, (50,)),
                                    lambda: mg.randperm(50), lambda: mg.dropout(mg.ones(50))])
def test_the_same_seed_gives_the_same_bits(create):
    mg.manual_seed(3)
    a, b = create(), create()
    mg.manual_seed(3)
    c = create()
    assert a.tolist() == c.tolist() != b.tolist()


def test_random_values_lie_where_they_should():
    mg.manual_seed(0)
    assert mg.rand(1000).numpy().min() >= 0 and mg.rand(1000).numpy().max() < 1
    assert set(mg.randint(2, 5, (200,)).tolist()) == {2, 3, 4}
    assert sorted(mg.randperm(10).tolist()) == list(range(10))
    assert abs(mg.randn(10_000).mean().item()) < 0.05 and abs(mg.randn(10_000).std().item() - 1) < 0.05


NOT_NUMBERS = [np.ones(2, np.float16), [None], "3", ["a"], 1 + 2j, [1j], object(), np.ones(2, ">c8")]


@pytest.mark.parametrize("data", NOT_NUMBERS)
@pytest.mark.parametrize("make", [mg.tensor, mg.as_tensor, mg.Tensor, lambda d: mg.ones(2) + d])
def test_data_that_is_not_real_numbers_is_a_type_error(make, data):
    with pytest.raises(TypeError, match="float32"):
        make(data)


@pytest.mark.parametrize("data", ["3", 1j, object(), np.array([1 + 1j])])
def test_naming_a_dtype_does_not_make_such_data_numbers(data):
    with pytest.raises(TypeError, match=r"got data of dtype|not 'object'"):
        mg.tensor(data, dtype=mg.float32)


@pytest.mark.parametrize("dtype", ["float16", "complex64", "uint32", "object", "U3", "no such thing"])
def test_unsupported_dtypes_are_a_type_error(dtype):
    uses = lambda: mg.tensor([1], dtype=dtype), lambda: mg.ones(2).astype(dtype), lambda: mg.zeros(2, dtype=dtype)
    for use in uses:
        with pytest.raises(TypeError, match=r"float32|is not a dtype|not understood"):
            use()


def test_a_ragged_list_is_a_value_error():
    with pytest.raises(ValueError, match="inhomogeneous"):
        mg.tensor([[1, 2], [3]])


def test_unknown_devices_are_named():
    with pytest.raises(ValueError, match="'tpu'"):
        mg.tensor([1], device="tpu")
    assert mg.ones(1).to("cpu").cpu().device == "cpu"


# --- NumPy and others


def test_numpy_shares_memory_both_ways():
    a = np.zeros(3, np.float32)
    t = mg.from_numpy(a)
    t.add_(1)
    assert a.tolist() == [1, 1, 1]
    assert np.shares_memory(t.numpy(), a) and np.shares_memory(np.asarray(t), a)
    assert not np.shares_memory(mg.tensor(a).numpy(), a)
    assert np.array(t, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(t, copy=True), a)


def test_from_numpy_takes_arrays_only():
    with pytest.raises(TypeError, match="list"):
        mg.from_numpy([1, 2])


def test_arrays_that_would_lose_a_graph_are_refused():
    x = mg.ones(2, requires_grad=True)
    for convert in (lambda: x.numpy(), lambda: np.asarray(x), lambda: mg.tensor([x, x])):
        with pytest.raises(RuntimeError, match=r"\.detach\(\)"):
            convert()
    with pytest.raises(BufferError, match=r"\.detach\(\)"):
        np.from_dlpack(x)
    assert x.detach().numpy().tolist() == [1, 1]


@pytest.mark.parametrize("op", ["__add__", "__sub__", "__mul__", "__truediv__", "__pow__", "__mod__", "__floordiv__",
                                "__matmul__", "__lt__", "__ge__", "__eq__", "__ne__"])
def test_arrays_and_tensors_mix_in_operators(op):
    import operator

    function = getattr(operator, op)
    a, b = np.array([1.0, 2.0, 5.0]), np.array([3.0, 2.0, 4.0])
    for left, right in ((a, mg.from_numpy(b)), (mg.from_numpy(a), b)):
        result = function(left, right)
        assert isinstance(result, mg.Tensor)
        np.testing.assert_array_equal(result.numpy(), function(a, b))


def test_dlpack_with_numpy():
    t = mg.ones(3)
    np.from_dlpack(t)[0] = 5
    assert t.tolist() == [5, 1, 1]
    a = np.arange(4.0)
    mg.from_dlpack(a).mul_(2)
    assert a.tolist() == [0, 2, 4, 6]


def test_dlpack_with_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.arange(3.0)
    ours = mg.from_dlpack(theirs)
    assert ours.dtype == np.float32
    ours.mul_(2)
    assert theirs.tolist() == [0, 2, 4]
    torch.from_dlpack(ours)[0] = 9
    assert ours.tolist() == [9, 2, 4]


# --- Python's protocols


def test_item_tolist_and_numbers():
    assert mg.tensor([[2.5]]).item() == 2.5
    assert isinstance(mg.tensor(3).item(), int) and isinstance(mg.tensor(True).item(), bool)
    assert mg.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert mg.tensor(1.5).tolist() == 1.5
    assert (float(mg.tensor([1.5])), int(mg.tensor(2.7)), bool(mg.tensor(0.0))) == (1.5, 2, False)
    assert [10, 20, 30][mg.tensor(1)] == 20
    assert f"{mg.tensor(3.14159):.2f}" == "3.14"
    assert f"{mg.tensor([1])}" == "tensor([1])"


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: mg.ones(2).item(), ValueError, r"has 2 \(shape \(2,\)\)"),
        (lambda: bool(mg.ones(2)), ValueError, "2 elements is ambiguous"),
        (lambda: bool(mg.ones(0)), ValueError, "0 elements is ambiguous"),
        (lambda: len(mg.tensor(1)), TypeError, "0-d"),
        (lambda: iter(mg.tensor(1)), TypeError, "0-d"),
        (lambda: [1, 2][mg.tensor(1.0)], TypeError, "float32"),
    ],
)
def test_conversions_that_make_no_sense_are_errors(use, error, message):
    with pytest.raises(error, match=message):
        use()


def test_len_iteration_size_and_hash():
    t = mg.tensor([[1, 2], [3, 4], [5, 6]])
    assert len(t) == 3 and t.dim() == t.ndim == 2 and t.numel() == 6
    assert t.size() == (3, 2) and t.size(-1) == 2
    assert [row.tolist() for row in t] == [[1, 2], [3, 4], [5, 6]]
    assert len({t, t, mg.ones(1)}) == 2
    assert (t == t).dtype == np.bool_


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (lambda: mg.tensor(1.5), "tensor(1.5)"),
        (lambda: mg.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: mg.tensor([1, 2]), "tensor([1, 2])"),
        (lambda: mg.tensor([True]), "tensor([ True])"),
        (lambda: mg.tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
        (lambda: mg.ones(1, dtype=mg.float64), "tensor([1.], dtype=float64)"),
        (lambda: mg.zeros(0), "tensor([])"),
        (lambda: mg.ones(1, requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: mg.ones(1, requires_grad=True).exp(), "tensor([2.7183], grad_fn=<Exp>)"),
    ],
)
def test_repr(tensor, text):
    assert repr(tensor()) == text


def test_repr_of_a_large_tensor_is_short():
    assert len(repr(mg.zeros(1000, 1000))) < 1000


def test_deepcopy_copies_values_gradient_and_layout():
    x = mg.tensor(np.ones((2, 3)).T, requires_grad=True)
    (x * 2).sum().backward()
    y, z = copy.deepcopy([x, x])
    assert y is z
    assert y.requires_grad and y.is_leaf and y._data.strides == x._data.strides
    assert y.grad.tolist() == x.grad.tolist()
    y.grad.zero_()
    assert x.grad.tolist() == [[2, 2]] * 3
    with mg.no_grad():
        y.zero_()
    assert x.tolist() == [[1, 1]] * 3


def test_pickle_keeps_values_dtype_and_requires_grad():
    x = mg.tensor([1.0, 2.0], dtype=mg.float64, requires_grad=True)
    y = pickle.loads(pickle.dumps(x))
    assert y.tolist() == [1, 2] and y.dtype == np.float64 and y.requires_grad


@pytest.mark.parametrize("use", [copy.deepcopy, pickle.dumps])
def test_intermediates_cannot_be_copied_or_pickled(use):
    with pytest.raises(RuntimeError, match=r"only leaves.*\.detach\(\)"):
        use(mg.ones(1, requires_grad=True) * 2)


# --- detach, requires_grad, data


def test_detach_shares_memory_and_leaves_the_graph():
    x = mg.ones(2, requires_grad=True)
    d = (x * 2).detach()
    assert d.is_leaf and not d.requires_grad
    assert np.shares_memory(x.detach()._data, x._data)


def test_requires_grad_can_be_switched_on_leaves_only():
    x = mg.ones(2).requires_grad_()
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(RuntimeError, match=r"\.detach\(\)"):
        (x.requires_grad_() * 2).requires_grad_(False)
    with pytest.raises(RuntimeError, match="int64"):
        mg.tensor([1]).requires_grad_()


def test_casting_with_as_tensor_stays_in_the_graph():
    x = mg.ones(2, requires_grad=True)
    assert mg.as_tensor(x) is x
    mg.as_tensor(x, mg.float64).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_new_data_keeps_the_dtype():
    x = mg.ones(2)
    x.data = np.array([1.5, 2.5])
    assert x.dtype == np.float32 and x.tolist() == [1.5, 2.5]


def test_one_array_object_belongs_to_one_tensor():
    a = np.ones(2)
    assert to_array(a) is not a


# --- layout


@pytest.mark.parametrize("function", [
    lambda x: x + x, lambda x: x * 2.0, lambda x: 1.0 / x, lambda x: x**2, lambda x: -x, lambda x: x.exp(), mg.relu,
    mg.sigmoid, mg.tanh, mg.softplus, mg.elu, lambda x: x.clip(0.0, 1.0), lambda x: mg.maximum(x, 0.5),
    lambda x: mg.where(x > 0.5, x, 0.0), lambda x: x.clone(), lambda x: x.astype(mg.float64),
    lambda x: x + x[:1, :, :1, :1], lambda x: mg.dropout2d(x), lambda x: mg.minimum(x, x[:, :1]), lambda x: x > 0.5,
    mg.zeros_like, mg.ones_like, lambda x: mg.full_like(x, 2.0), lambda x: mg.log_softmax(x, 1), mg.dropout,
    lambda x: mg.batch_norm(x, training=True), lambda x: mg.pad(x, (0, 0)), lambda x: mg.tensor(x),
])
def test_elementwise_operations_keep_channels_last_strides(function):
    x = mg.tensor(np.random.default_rng(0).random((2, 4, 5, 3)) + 0.1).permute(0, 3, 1, 2)
    y = function(x)
    assert y._data.strides[1] == y.dtype.itemsize
    assert y._data.transpose(0, 2, 3, 1).flags.c_contiguous
