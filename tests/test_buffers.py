"""The memory pool: who gets what, and when it comes back."""
import gc
import threading

import numpy as np
import pytest

from minigrad.kernels import buffers


@pytest.fixture(autouse=True)
def an_empty_pool(monkeypatch):
    monkeypatch.setattr(buffers, "LITTLE", 0)
    gc.collect()
    buffers.release()
    yield
    buffers.release()


def place(a):
    return a.__array_interface__["data"][0]


def test_the_memory_of_a_dead_array_is_used_again():
    a = buffers.empty((100, 1000), np.float32)
    was = place(a)
    del a
    assert place(buffers.empty((99, 1000), np.float32)) == was, "a little smaller: the same capacity"


def test_a_view_keeps_its_array_alive():
    a = buffers.empty((1000, 100), np.float64)
    a[:] = 7
    view = a.T[3:5]
    del a
    others = [buffers.empty((1000, 100), np.float64) for _ in range(3)]
    for other in others:
        other[:] = 1
    assert (view == 7).all()


def test_an_array_and_its_views_have_one_base():
    a = buffers.empty((1000, 100), np.float32)
    assert isinstance(a.base, np.ndarray), "by which autograd knows that they share memory"
    assert a[3:].T.base is a.base


def test_shapes_types_and_small_arrays():
    for shape, dtype in (((3, 0, 5), "float32"), ((2, 3), "float64"), ((70, 40, 30), "float64"), ((), "float32")):
        a = buffers.empty(shape, dtype)
        assert a.shape == shape and a.dtype == dtype and a.flags.writeable and a.flags.c_contiguous


def test_empty_like_keeps_the_order_of_dimensions():
    a = np.zeros((8, 30, 31, 64), np.float32).transpose(0, 3, 1, 2)
    y = buffers.empty_like(a)
    assert y.strides == a.strides and y.shape == a.shape and y.dtype == a.dtype


@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000, (1 << 20) + 1, 123456789])
def test_capacity_is_enough_and_a_sixteenth_too_much_at_most(size):
    assert size <= buffers.capacity(size) <= size * 17 / 16 + 1
    assert buffers.capacity(buffers.capacity(size)) == buffers.capacity(size)


def test_what_waits_takes_no_more_than_arrays_took_before():
    arrays = [buffers.empty(1 << 18, np.uint8) for _ in range(4)]
    del arrays
    gc.collect()
    assert buffers.waiting() == 1 << 20
    other = buffers.empty(3 << 18, np.uint8)  # of another size: three of the four have to go
    assert buffers.waiting() == 1 << 18
    last = buffers.empty(1 << 18, np.uint8)
    assert buffers.waiting() == 0
    del other, last
    gc.collect()
    assert buffers.waiting() == 1 << 20


def test_what_nobody_asked_for_lately_goes_first():
    old, new = buffers.empty(5 << 17, np.uint8), buffers.empty(1 << 19, np.uint8)
    del old
    del new
    gc.collect()
    kept = buffers.empty(3 << 17, np.uint8)
    assert buffers.waiting() == 1 << 19
    assert kept.size == 3 << 17


def test_threads_never_share_memory():
    def work(number):
        for _ in range(300):
            a = buffers.empty(1 << 17, np.uint8)
            a[:] = number
            if not (a == number).all():
                wrong.append(number)

    wrong = []
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
