"""The thread pool: every piece once, concurrent use, errors, forks, and the same bits for any number."""
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import threads
from minigrad.kernels.conv import conv_params, direct_cpu, winograd_cpu
from minigrad.kernels.jit import jit


@pytest.fixture(autouse=True)
def four_threads():
    before = threads.get_num_threads()
    threads.set_num_threads(4)
    yield
    threads.set_num_threads(before)


@jit
def count_up(first, last, done):
    for i in range(first, last):
        done[i] += 1


@pytest.mark.parametrize("pieces", [None, 1, 3, 16, 1000])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 100])
def test_every_piece_is_done_once(size, pieces):
    done = np.zeros(size, int)
    threads.share_out(count_up, size, done, pieces=pieces)
    assert (done == 1).all()


@jit
def busy_count(first, last, done, rounds, taken, clashes):
    """Counts in the row of this thread, and how often somebody else counted in it meanwhile."""
    for i in range(first, last):
        before = taken[0]
        total = 0.0
        for j in range(rounds):
            total += np.sqrt(j + total)
        clashes[0] += taken[0] != before
        taken[0] += 1
        done[i] += 1 if total >= 0 else 2


def test_several_threads_take_part_and_each_has_a_row_of_its_own():
    for _ in range(50):  # a worker may be late on a busy machine
        done, taken, clashes = np.zeros(64, int), np.zeros((4, 8), int), np.zeros((4, 8), int)
        threads.share_out(busy_count, 64, done, 20000, own=(taken, clashes), pieces=64)
        assert (done == 1).all()
        assert taken[:, 0].sum() == 64
        assert not clashes.any()
        if (taken[:, 0] > 0).sum() > 1:
            return
    pytest.fail("one thread did everything, 50 times")


def test_no_more_threads_take_part_than_there_are_rows():
    for _ in range(20):
        done, taken, clashes = np.zeros(64, int), np.zeros((4, 8), int), np.zeros((4, 8), int)
        threads.share_out(busy_count, 64, done, 20000, own=(taken[:2], clashes[:2]), pieces=64)
        assert (done == 1).all()
        assert taken[:2, 0].sum() == 64 and not taken[2:].any()


def test_what_was_shared_out_is_held_by_nobody_afterwards():
    for _ in range(20):
        array = np.zeros(16, int)
        threads.share_out(count_up, 16, array, pieces=16)
        assert sys.getrefcount(array) == 2, "a worker that kept its last job would keep the memory of its arrays"


def test_callers_that_compete_for_the_workers_never_get_into_each_other_s_jobs():
    wrong = []

    def call(seed):
        rng = np.random.default_rng(seed)
        for _ in range(2000):
            size, pieces = (int(n) for n in rng.integers(1, 40, 2))
            done = np.zeros(size, int)
            threads.share_out(count_up, size, done, pieces=pieces)
            if (done != 1).any():
                wrong.append(done)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.parametrize("pause", [0, 0.0015, 0.02])
def test_workers_that_are_about_to_sleep_or_asleep_miss_nothing(pause):
    for _ in range(30):
        done = np.zeros(100, int)
        threads.share_out(count_up, 100, done, pieces=16)
        assert (done == 1).all()
        time.sleep(pause)


@jit
def fail(first, last, done):
    if first == 2:
        raise ValueError("part 2")
    for i in range(first, last):
        done[i] += 1


def test_an_error_in_a_part_reaches_the_caller_and_the_others_are_done():
    for _ in range(3):
        done = np.zeros(4, int)
        with pytest.raises(RuntimeError, match="a part of fail failed"):
            threads.share_out(fail, 4, done, pieces=4)
        assert done.tolist() == [1, 1, 0, 1]


def problem():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 20, 13, 11), dtype=np.float32), rng.standard_normal((40, 20, 3, 3), dtype=np.float32)
    return x, w, conv_params(x.shape, w.shape, padding=1)


def bits(row):
    x, w, p = problem()
    y = row.forward(x, w, p)
    results = y, row.grad_input(y, w, p, x.shape), row.grad_weight(x, y, p, w.shape)
    return [a.tobytes() for a in results]


@pytest.mark.parametrize("row", [direct_cpu, winograd_cpu])
def test_two_callers_at_once_get_what_each_gets_alone(row):
    alone, results = bits(row), {}

    def work(name):
        results[name] = [bits(row) == alone for _ in range(5)]

    callers = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == dict.fromkeys(range(3), [True] * 5)


def test_tasks_of_a_user_s_pool_may_have_pools_of_their_own_and_all_compute():
    """What Dask, joblib or a web server do: pools within pools, and each task trains or predicts."""

    def step(seed):
        x, w = (mg.Tensor(np.random.default_rng(seed + i).standard_normal(shape, dtype=np.float32), requires_grad=True)
                for i, shape in enumerate([(2, 20, 13, 11), (40, 20, 3, 3)]))
        mg.max_pool2d(mg.conv2d(x, w, padding=1).relu(), 2).sum().backward()
        return x.grad.numpy().tobytes(), w.grad.numpy().tobytes()

    def task(seed):
        with ThreadPoolExecutor(2) as inner:
            others = [inner.submit(step, seed + 100 * i) for i in range(2)]
            return [step(seed), *(other.result() for other in others)]

    wanted = [[step(seed), step(seed), step(seed + 100)] for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(task, range(6))) == wanted


@pytest.mark.parametrize("row", [direct_cpu, winograd_cpu])
def test_the_number_of_threads_does_not_change_the_bits(row):
    results = []
    for number in (1, 2, 3, 7):
        mg.set_num_threads(number)
        results.append(bits(row))
    assert all(r == results[0] for r in results)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_and_so_does_its_parent_afterwards():
    code = """
import os, sys
import numpy as np
import minigrad as mg
mg.set_num_threads(3)
def compute():
    mg.manual_seed(0)
    return mg.conv2d(mg.randn(4, 16, 20, 20), mg.randn(16, 16, 3, 3), padding=1).numpy().tobytes()
before = compute()
child = os.fork()
if child == 0:
    os._exit(0 if compute() == before else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert compute() == before
print("fine")
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "fine"), done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores can't be chosen here")
@pytest.mark.parametrize("cores", [None, 1])
def test_a_worker_that_slept_wakes_on_another_core_and_may_then_use_all_that_its_caller_may(cores, monkeypatch):
    allowed, asked = os.sched_getaffinity(0), []
    given = set(sorted(allowed)[:cores])
    choose = threads._run_on
    monkeypatch.setattr(threads, "_run_on", lambda *of: (asked.append(of), choose(*of)))
    os.sched_setaffinity(0, given)
    try:
        threads.share_out(count_up, 4, np.zeros(4, int))
        sleepers, end = set(threads._workers), time.monotonic() + 20
        workers = {worker.native_id for worker in sleepers}
        while threads._asleep != sleepers and time.monotonic() < end:
            time.sleep(0.01)
        asked.clear()
        threads.share_out(count_up, 4, np.zeros(4, int))
        while len(asked) < 6 and time.monotonic() < end:
            time.sleep(0.01)
        woken = {worker for worker, _ in asked}
        assert len(woken) == 3 and woken <= workers
        for worker in woken:
            elsewhere, afterwards = (cores for who, cores in asked if who == worker)
            assert elsewhere <= given and len(elsewhere) == max(1, len(given) - 1)
            assert afterwards == given == os.sched_getaffinity(worker)
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("size", "pieces", "bounds"), [
    (160, 16, [0, 60, 120, 130, 140, 150, 160]),
    (8, 8, [0, 3, 6, 7, 8]),
    (7, 2, [0, 3, 7]),
    (5, 4, [0, 1, 2, 3, 5]),
])
def test_most_of_a_range_is_dealt_out_in_large_parts(size, pieces, bounds):
    assert threads._bounds(size, pieces, 2)[0].tolist() == bounds


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_a_number_of_threads_that_makes_no_sense_is_named(wrong):
    with pytest.raises(ValueError, match="set_num_threads: expected an integer >= 1, got"):
        mg.set_num_threads(wrong)


def test_the_environment_sets_the_number_of_threads():
    for value, wanted in (("3", "3"), ("", str(threads.available_cores()))):
        code = "import minigrad as mg; print(mg.get_num_threads())"
        environment = {**os.environ, "MINIGRAD_NUM_THREADS": value}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted
