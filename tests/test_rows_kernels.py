"""Rows that lie apart in memory: joined, and added up, as NumPy does it, whatever the layout."""
import numpy as np
import pytest
from layouts import LAYOUTS

from minigrad.kernels import rows
from minigrad.kernels.elementwise import apply

WIDTHS = (64, 7, 1, 33)  # channels, with 4 x 53 x 51 pixels more than LARGE elements


def parts(dtype="float32", pixels=(4, 53, 51)):
    n, h, w = pixels
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, c, h, w)).astype(dtype) for c in WIDTHS]


def last(a):
    return a.transpose(0, 2, 3, 1)


def channels_last(a):
    return np.ascontiguousarray(last(a)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("pixels", [(4, 53, 51), (1, 9, 9), (2, 1, 1), (0, 3, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_concatenate_is_that_of_numpy(dtype, pixels, layout):
    arrays = [layout(a) for a in parts(dtype, pixels)]
    y = rows.concatenate(arrays, 1)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.concatenate(arrays, 1))
    doubled = rows.concatenate([arrays[0], arrays[0]], 2)
    np.testing.assert_array_equal(doubled, np.concatenate([arrays[0]] * 2, 2))


def test_channels_are_joined_by_rows_whether_they_are_views_or_not(monkeypatch):
    whole = channels_last(np.concatenate(parts(), 1))
    monkeypatch.setattr(rows.np, "concatenate", None)
    y = rows.concatenate([whole[:, :64], channels_last(whole[:, 64:71]), whole[:, 71:]], 1)
    np.testing.assert_array_equal(y, whole)
    assert last(y).flags.c_contiguous and not np.shares_memory(y, whole)


def test_some_channels_and_an_array_of_its_own_are_added_by_rows():
    whole = channels_last(np.concatenate(parts(), 1))
    a, b = whole[:, 3:67], channels_last(parts()[0])
    assert a.size >= rows.LARGE
    for x, y in ((a, b), (b, a), (a, whole[:, 40:104])):
        got = apply(np.add, x, y)
        assert got.tobytes() == np.add(x, y).tobytes() and last(got).flags.c_contiguous


def test_what_counts_as_rows():
    a = np.arange(120.0).reshape(2, 3, 4, 5)
    assert [m.shape for m in rows.matrices((0, 1, 2, 3), a, a[..., 1:4], a[:, :, :, :1])] == [(24, 5), (24, 3), (24, 1)]
    assert all(np.shares_memory(m, a) for m in rows.matrices((0, 1, 2, 3), a[..., 1:4]))
    for other in (a[..., ::2], a[:, ::2], a[:, :, 1:], a[..., ::-1], a[::-1], np.broadcast_to(a[:1], a.shape), a[:0]):
        assert rows.matrices((0, 1, 2, 3), other) is None
    assert rows.matrices((0, 2, 3, 1), a) is None
    assert rows.matrices((1, 0), a[0, 0].T)[0].tolist() == a[0, 0].tolist()


def test_contiguous_is_ascontiguousarray(monkeypatch):
    a = np.random.default_rng(4).standard_normal((4, 21, 20, 40)).astype(np.float32)
    views = [a, a[..., 3:24], a[:, ::-1], a[::2], a[:, 1:, 2:], a.transpose(0, 3, 1, 2), a[..., ::2], a[..., :1]]
    for view in [*views, np.broadcast_to(a[:1], (9, 21, 20, 40)), np.empty((0, 3)), np.float32(3)]:
        y = rows.contiguous(np.asarray(view))
        assert y.flags.c_contiguous and y.dtype == view.dtype
        np.testing.assert_array_equal(y, np.atleast_1d(view))
    assert rows.contiguous(a) is a
    wanted = a[..., 3:24].copy()
    monkeypatch.setattr(rows.np, "ascontiguousarray", None)  # the loop does it
    np.testing.assert_array_equal(rows.contiguous(a[..., 3:24]), wanted)
