"""Rearranging and picking elements, against NumPy: values, gradients, views and error messages."""
import numpy as np
import pytest

import minigrad as mg

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as npst  # noqa: E402

pytestmark = pytest.mark.usefixtures("made_there")


def counted(*shape):
    """0, 1, 2 ... in a tensor of this shape."""
    return mg.arange(int(np.prod(shape))).astype(mg.float64).reshape(shape)


def check(result, expected):
    assert result.shape == np.shape(expected)
    np.testing.assert_array_equal(result.detach().numpy(), expected)


# --- shapes

CASES = {
    "reshape": (lambda x: x.reshape(4, 6), lambda x: x.reshape(4, 6)),
    "reshape -1": (lambda x: x.reshape((-1, 2)), lambda x: x.reshape(-1, 2)),
    "view": (lambda x: x.view(24), np.ravel),
    "permute": (lambda x: x.permute(2, 0, -2), lambda x: x.transpose(2, 0, 1)),
    "permute tuple": (lambda x: mg.permute(x, (1, 0, 2)), lambda x: x.transpose(1, 0, 2)),
    "transpose": (lambda x: x.transpose(0, -1), lambda x: x.swapaxes(0, 2)),
    "t": (lambda x: x[0].t(), lambda x: x[0].T),
    "T": (lambda x: x.T, lambda x: x.T),
    "expand": (lambda x: x[:1].expand(5, -1, 4), lambda x: np.broadcast_to(x[:1], (5, 3, 4))),
    "expand new": (lambda x: x.expand(2, 2, 3, 4), lambda x: np.broadcast_to(x, (2, 2, 3, 4))),
    "flatten": (lambda x: x.flatten(), np.ravel),
    "flatten from 1": (lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
    "flatten 0 to -2": (lambda x: x.flatten(0, -2), lambda x: x.reshape(6, 4)),
    "unsqueeze": (lambda x: x.unsqueeze(1), lambda x: x[:, None]),
    "unsqueeze -1": (lambda x: x.unsqueeze(-1), lambda x: x[..., None]),
    "squeeze": (lambda x: x[:1, :, :1].squeeze(), lambda x: x[:1, :, :1].squeeze()),
    "squeeze dim": (lambda x: x[:1, :, :1].squeeze(-1), lambda x: x[:1, :, 0]),
    "squeeze not 1": (lambda x: x.squeeze(0), lambda x: x),
    "squeeze dims": (lambda x: x[:1, :, :1].squeeze((0, 1, 2)), lambda x: x[0, :, 0]),
    "flip": (lambda x: x.flip(0), lambda x: x[::-1]),
    "flip dims": (lambda x: mg.flip(x, (0, -1)), lambda x: x[::-1, :, ::-1]),
    "pad": (lambda x: mg.pad(x, (1, 2)), lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2)])),
    "pad more": (lambda x: mg.pad(x, (1, 0, 0, 2), value=7.0),
                 lambda x: np.pad(x, [(0, 0), (0, 2), (1, 0)], constant_values=7.0)),
    "pad nothing": (lambda x: mg.pad(x, ()), lambda x: x),
    "cat": (lambda x: mg.cat([x, x * 2], 1), lambda x: np.concatenate([x, x * 2], 1)),
    "concatenate -1": (lambda x: mg.concatenate((x, x[:, :, :1]), -1), lambda x: np.concatenate([x, x[..., :1]], -1)),
    "stack": (lambda x: mg.stack([x, -x]), lambda x: np.stack([x, -x])),
    "stack -1": (lambda x: mg.stack([x, -x], -1), lambda x: np.stack([x, -x], -1)),
    "split": (lambda x: mg.cat([p * (i + 1) for i, p in enumerate(x.split(2, 1))], 1),
              lambda x: x * np.array([1, 1, 2])[:, None]),
    "split sizes": (lambda x: x.split([1, 0, 2], -2)[2], lambda x: x[:, 1:]),
    "chunk": (lambda x: x.chunk(2, 2)[1], lambda x: x[..., 2:]),
    "gather": (lambda x: x.gather(-1, mg.tensor([[[3, 0], [1, 1]]])),
               lambda x: np.take_along_axis(x[:1, :2], np.array([[[3, 0], [1, 1]]]), -1)),
}


@pytest.mark.parametrize("name", CASES)
def test_rearranging(name):
    ours, numpys = CASES[name]
    x = counted(2, 3, 4)
    check(ours(x), numpys(x.numpy()))


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_rearranging(name):
    x = counted(2, 3, 4).permute(2, 1, 0).clone().permute(2, 1, 0).requires_grad_()  # not contiguous
    assert mg.gradcheck(CASES[name][0], x)
    assert mg.gradgradcheck(CASES[name][0], x)


@pytest.mark.parametrize("view", ["reshape", "permute", "transpose", "T", "expand", "unsqueeze", "flatten", "squeeze",
                                  "flip", "split sizes", "chunk"])
def test_views_share_memory(view):
    x = counted(2, 3, 4)
    assert np.shares_memory(CASES[view][0](x)._data, x._data)


@pytest.mark.parametrize(
    ("n", "chunks", "sizes"), [(6, 3, [2, 2, 2]), (7, 3, [3, 3, 1]), (5, 4, [2, 2, 1]), (2, 5, [1, 1]), (0, 2, [0])]
)
def test_chunk_sizes_are_pytorchs(n, chunks, sizes):
    assert [p.shape[0] for p in mg.zeros(n).chunk(chunks)][: len(sizes)] == sizes


def test_0_d_and_empty_tensors():
    s = mg.tensor(3.0)
    assert s.flatten().shape == s.unsqueeze(-1).shape == s.reshape(1).shape == (1,)
    assert s.expand(2, 3).shape == (2, 3) and s.squeeze().shape == s.transpose(0, -1).shape == ()
    assert s[None].shape == (1,) and s[...].item() == 3.0
    assert mg.zeros(0, 3).reshape(3, 0).shape == (3, 0)
    assert mg.cat([mg.zeros(0, 3), mg.ones(2, 3)]).shape == (2, 3)
    assert mg.zeros(1).expand(0).shape == (0,)
    x = mg.ones(1, requires_grad=True)
    x.expand(0).sum().backward()
    assert x.grad.tolist() == [0.0]


def test_joining_promotes_dtypes():
    assert mg.cat([mg.ones(1), mg.tensor([2])]).dtype == np.float32
    assert mg.stack([mg.ones(1), mg.ones(1, dtype=mg.float64)]).dtype == np.float64


X = mg.zeros(2, 3)
ERRORS = [
    (lambda: X.reshape(4, 2), ValueError, r"6 elements of shape \(2, 3\) do not fit into \(4, 2\)"),
    (lambda: X.reshape(-1, -1), ValueError, r"\(-1, -1\)"),
    (lambda: X.permute(0, 0), ValueError, r"\(0, 0\) does not name each of 2"),
    (lambda: X.permute(0, 2), ValueError, r"\(0, 2\)"),
    (lambda: X.transpose(0, 2), IndexError, "2 is out of range for a 2-d"),
    (lambda: X.expand(2, 4), ValueError, r"\(2, 3\) does not broadcast to \(2, 4\)"),
    (lambda: X.expand(3), ValueError, r"\(3,\)"),
    (lambda: X.flatten(1, 0), ValueError, "start_dim 1 comes after end_dim 0"),
    (lambda: X.flatten(0, 2), IndexError, "2 is out of range"),
    (lambda: X.squeeze(5), IndexError, "5"),
    (lambda: X.unsqueeze(3), IndexError, "3 is out of range for a 3-d"),
    (lambda: X.unsqueeze((0, 1)), TypeError, r"one dimension, got \(0, 1\)"),
    (lambda: X.flip((0, 0)), ValueError, "twice"),
    (lambda: mg.cat([]), ValueError, "no tensors"),
    (lambda: mg.cat([mg.tensor(1.0)]), ValueError, "0-d"),
    (lambda: mg.cat([X, mg.zeros(2, 4)]), ValueError, r"\(2, 3\), \(2, 4\).*beyond dimension 0"),
    (lambda: mg.cat([X, mg.zeros(2)]), ValueError, r"\(2,\)"),
    (lambda: mg.stack([X, mg.zeros(2, 4)]), ValueError, r"\(1, 2, 4\)"),
    (lambda: X.split(0), ValueError, "at least 1, got 0"),
    (lambda: X.split([1, 2]), ValueError, r"\[1, 2\] do not add up to 2"),
    (lambda: X.split([3, -1]), ValueError, r"\[3, -1\]"),
    (lambda: mg.tensor(1.0).split(1), ValueError, "split: a 0-d"),
    (lambda: X.chunk(0), ValueError, "at least 1, got 0"),
    (lambda: mg.pad(X, (1,)), ValueError, r"got \(1,\)"),
    (lambda: mg.pad(X, (1, -1)), ValueError, r"got \(1, -1\)"),
    (lambda: mg.pad(X, (1,) * 6), ValueError, "up to 2 pairs"),
    (lambda: mg.pad(X, (1, 1), mode="reflect"), ValueError, "'reflect'"),
    (lambda: X.gather(0, mg.tensor([0])), ValueError, "integer 2-d tensor, got 1-d int64"),
    (lambda: X.gather(0, mg.zeros(1, 1)), ValueError, "got 2-d float32"),
    (lambda: X.gather(2, mg.tensor([[0]])), IndexError, "2 is out of range"),
    (lambda: X.gather(0, mg.tensor([[0, 2]])), IndexError, "index 2 is out of range for dimension 0 of size 2"),
    (lambda: X.gather(0, mg.tensor([[-1]])), IndexError, "index -1"),
    (lambda: X.gather(0, mg.zeros(1, 4, dtype=mg.int64)), ValueError, r"\(1, 4\) is longer than x \(2, 3\)"),
    (lambda: X[5], IndexError, "5"),
    (lambda: X[0, 0, 0], IndexError, "too many indices"),
    (lambda: X[mg.tensor([True, False, True])], IndexError, "boolean"),
    (lambda: X[1.5], IndexError, "only integers"),
    (lambda: X[mg.ones(1)], IndexError, "integer"),
]


@pytest.mark.parametrize("i", range(len(ERRORS)))
def test_errors_name_the_value(i):
    use, error, message = ERRORS[i]
    with pytest.raises(error, match=message):
        use()


# --- indexing

SHAPE = (4, 3, 5)
INTEGERS = st.sampled_from([np.array([0, 2]), np.array([[1], [-1]]), np.array([2, 2, 0]), np.array([], int), [1, 0, 1]])


def axis_index(size):
    mask = st.lists(st.booleans(), min_size=size, max_size=size).map(np.array)
    return st.one_of(st.integers(-size, size - 1), st.slices(size), st.none(), INTEGERS, mask)


@st.composite
def advanced_indices(draw):
    """Tuples that mix ints, slices, None, masks and integer arrays (some do not broadcast: NumPy refuses those)."""
    parts = [draw(axis_index(size)) for size in SHAPE[: draw(st.integers(0, 3))]]
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), Ellipsis)
    return tuple(parts)


BASIC = npst.basic_indices(SHAPE, allow_newaxis=True, allow_ellipsis=True)
MASKS = npst.arrays(bool, st.sampled_from([SHAPE, SHAPE[:2], SHAPE[:1]]))
INDICES = st.one_of(BASIC, advanced_indices(), MASKS, npst.integer_array_indices(SHAPE))


def as_tensors(index):
    """The index with a Tensor for each array."""
    if isinstance(index, tuple):
        return tuple(map(as_tensors, index))
    return mg.from_numpy(index) if isinstance(index, np.ndarray) else index


@pytest.mark.host_only
@settings(max_examples=300, deadline=None)
@given(index=INDICES)
def test_indexing_is_numpys_and_its_gradient_adds_up_repeated_elements(index):
    x = counted(*SHAPE).requires_grad_()
    try:
        expected = x._data[index]
    except IndexError:
        with pytest.raises(IndexError):
            x[index]
        return
    result = x[index]
    check(result, expected)
    check(x[as_tensors(index)], expected)
    weights = np.asarray(np.random.default_rng(0).standard_normal(np.shape(expected)))
    gy = mg.tensor(weights, requires_grad=True)
    (gx,) = mg.grad(result, x, gy, create_graph=True)
    by_hand = np.zeros(SHAPE)
    np.add.at(by_hand, index, weights)
    np.testing.assert_allclose(gx.detach().numpy(), by_hand)
    ggx = np.random.default_rng(1).standard_normal(SHAPE)
    (ggy,) = mg.grad(gx, gy, mg.tensor(ggx))
    np.testing.assert_allclose(ggy.numpy(), ggx[index])


@settings(max_examples=200, deadline=None)
@given(index=INDICES)
def test_assignment_is_numpys(index):
    x, a = counted(*SHAPE), counted(*SHAPE).numpy().copy()
    try:
        a[index] = -1.0
    except IndexError:
        return
    x[as_tensors(index)] = -1.0
    check(x, a)


def test_basic_indexing_gives_views_even_of_one_element():
    x = counted(2, 3)
    for index in (0, (0, 1), (0, slice(1, 2)), (None, 1, 1), Ellipsis, (np.int64(1), 2)):
        x[index].fill_(-5.0)
        assert (x[index].numpy() == -5.0).all()
        x[index] = 1.0


def test_iterating_is_differentiable():
    x = counted(3).requires_grad_()
    sum(row * (i + 1) for i, row in enumerate(x)).backward()
    assert x.grad.tolist() == [1, 2, 3]
