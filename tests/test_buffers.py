"""The memory pool: who gets what, and when it comes back."""
import gc
import os
import random
import signal
import threading
from collections import deque

import numpy as np
import pytest

from minigrad.kernels import buffers


@pytest.fixture(autouse=True)
def an_empty_pool(monkeypatch):
    gc.collect()
    monkeypatch.setattr(buffers, "_pieces", [])
    monkeypatch.setattr(buffers, "_dead", deque())


def place(a):
    return a.__array_interface__["data"][0]


def test_the_memory_of_a_dead_array_is_used_again():
    a = buffers.empty((100, 1000), np.float32)
    was = place(a)
    del a
    assert place(buffers.empty((100, 1000), np.float32)) == was
    assert place(buffers.empty((99, 1000), np.float32)) == was, "one that needs less of it"


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


def gaps():
    return [size for piece in buffers._pieces for _, size in piece.gaps]


def test_gaps_that_touch_become_one():
    a, b, c = arrays = [buffers.empty(1 << 20, np.uint8) for _ in range(3)]
    places = [place(x) for x in arrays]
    assert places == [places[0] + (i << 20) for i in range(3)]
    del a, c, arrays[0], arrays[1]
    buffers._bury()
    assert gaps() == [1 << 20, buffers.PIECE - (2 << 20)]
    del b, arrays
    assert place(buffers.empty(3 << 20, np.uint8)) == places[0], "all three"
    assert len(buffers._pieces) == 1


def test_an_array_gets_the_first_gap_that_is_large_enough():
    sizes = [5 << 20, 1 << 16, 6 << 20, 1 << 16, 9 << 20, 1 << 16]
    arrays = [buffers.empty(size, np.uint8) for size in sizes]
    places = [place(x) for x in arrays]
    arrays[0] = arrays[2] = arrays[4] = None
    assert place(buffers.empty(6 << 20, np.uint8)) == places[2]


def test_arrays_never_overlap_and_all_comes_back():
    """Random lives, checked by what the arrays hold: each is filled with its own number."""
    rng, alive = random.Random(0), {}
    for number in range(2000):
        size = rng.choice((1 << 16, 3 << 15, 100_003, 1 << 18, 5 << 20, 7 << 20))
        alive[number] = a = buffers.empty(size, np.uint8)
        assert place(a) % buffers.LINE == 0
        a[:] = number % 251
        while sum(a.size for a in alive.values()) > 30 << 20:
            gone = rng.choice(list(alive))
            assert (alive.pop(gone) == gone % 251).all()
        del a
    assert all((a == number % 251).all() for number, a in alive.items())
    alive.clear()
    buffers._bury()
    assert [piece.gaps for piece in buffers._pieces] == [[piece.whole] for piece in buffers._pieces]
    assert len(buffers._pieces) == 1, "64 MB, for 37 at a time"


def test_pieces_grow_with_what_there_is_and_an_array_may_need_more(monkeypatch):
    monkeypatch.setattr(buffers, "PIECE", 1 << 20)
    monkeypatch.setattr(buffers, "LARGEST", 1 << 22)
    arrays = [buffers.empty(1 << 20, np.uint8) for _ in range(10)]
    arrays.append(buffers.empty(1 << 23, np.uint8))
    assert [piece.whole[1] >> 20 for piece in buffers._pieces] == [1, 1, 2, 4, 4, 8]


def test_release_gives_back_what_no_array_has_a_part_of(monkeypatch):
    monkeypatch.setattr(buffers, "PIECE", 1 << 20)
    a, b = buffers.empty(1 << 20, np.uint8), buffers.empty(1 << 20, np.uint8)
    del a
    buffers.release()
    assert len(buffers._pieces) == 1 and place(b) == buffers._pieces[0].whole[0]
    del b
    buffers.release()
    assert not buffers._pieces


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_another_thread_takes_memory_can_take_some_too():
    def work():
        while not done:
            buffers.empty(1 << 17, np.uint8)

    done = []
    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(30):
            child = os.fork()
            if child == 0:
                buffers.empty(1 << 18, np.uint8)[:] = 1
                os._exit(7)
            timer = threading.Timer(20, os.kill, (child, signal.SIGKILL))
            timer.start()
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            timer.cancel()
    finally:
        done.append(True)
        thread.join()


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
