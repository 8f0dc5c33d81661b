"""The one thread pool: a range of independent pieces of work, shared out over all cores.

Compiled loops release the GIL (jit.py), so plain Python threads run them side by side. That is the whole design, in
place of Numba's own `prange`: its threading layers abort or hang when used from two threads, inside each other or after
a fork ("omp" kills forked children, "workqueue" aborts on concurrent use), and `parallel=True` triples compile time.

- The caller works too, and only waits for pieces that another thread has begun: two callers at once share the workers.
- Inside a piece of work `share_out` runs everything in place: nested use is an ordinary loop.
- A forked child starts a pool of its own when it first needs one.
- Half of the range and more is dealt out in one large part to each thread, the rest in small ones to whoever is done:
  each part taken is a wait for the GIL.
Which thread computes what, and where a part begins and ends, never changes a bit of the result.
"""
import contextlib
import ctypes
import math
import os
import threading
from functools import lru_cache
from itertools import count
from numbers import Integral
from queue import SimpleQueue

import numpy as np

DEALT = 0.75  # the share of a range that the large parts have

_settings = {"threads": None, "cores": None}  # how many threads there should be, and the cores that a caller may use
_local = threading.local()
_jobs, _workers = SimpleQueue(), []
_asleep, _moved = set(), set()  # the system's numbers of workers: those that wait in `get`; see `_wake_elsewhere`
_posted = np.zeros(1, np.int64)  # how many jobs there have been

_this_core = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


def available_cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_num_threads():
    """How many threads work together: what `set_num_threads` was given, or MINIGRAD_NUM_THREADS, or all cores."""
    if _settings["threads"] is None:
        wanted = os.environ.get("MINIGRAD_NUM_THREADS", "")
        _settings["threads"] = max(1, int(wanted)) if wanted.isdigit() else available_cores()
    return _settings["threads"]


def set_num_threads(threads):
    """Use so many threads from now on, the calling one included. Raises ValueError below 1."""
    if not isinstance(threads, Integral) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"set_num_threads: expected an integer >= 1, got {threads!r}")
    _settings["threads"] = int(threads)


def scratch(slot, shape, dtype):
    """An uninitialised array of this thread's own, in memory that the next call with the same slot hands out again.

    For what lives only inside one kernel call: memory fresh from the system costs more than most uses of it.
    """
    arrays = _local.__dict__.setdefault("scratch", {}).setdefault(slot, {})
    if (shape, dtype) not in arrays:
        size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
        memory = arrays.get("memory")
        if memory is None or memory.size < size:
            arrays.clear()  # they hold the smaller memory
            memory = arrays["memory"] = np.empty(size, np.uint8)
        arrays[shape, dtype] = np.ndarray(shape, dtype, memory)
    return arrays[shape, dtype]


class _Job:
    """Pieces of a range: `work` takes the next one until there is none left."""

    def __init__(self, function, bounds, arguments):
        self.function, self.bounds, self.arguments = function, bounds, arguments
        self.taken, self.done, self.error = count(), count(1), None  # next() on a count is atomic
        self.finished = threading.Lock()
        self.finished.acquire()
        self.over = np.zeros(1, np.int64)  # the same as `finished`, to be watched

    def work(self):
        pieces = len(self.bounds) - 1
        while (i := next(self.taken)) < pieces:
            try:
                if self.error is None:
                    self.function(self.bounds[i], self.bounds[i + 1], *self.arguments)
            except BaseException as error:
                self.error = error
            if next(self.done) == pieces:
                self.function = self.arguments = None  # a worker keeps its last job: nobody's arrays with it
                self.over[0] = 1
                self.finished.release()


def share_out(function, size, *arguments, pieces=None):
    """Call function(start, stop, *arguments) on consecutive parts of range(size), until all of it is done.

    pieces: how many parts, one a thread if left out. What a part raises is raised here.
    """
    threads = 1 if getattr(_local, "busy", False) else get_num_threads()
    pieces = min(size, threads if pieces is None else pieces)
    if threads == 1 or pieces <= 1:
        if size:
            function(0, size, *arguments)
        return
    from . import spin

    job = _Job(function, _bounds(size, pieces, threads), arguments)
    helpers = min(threads, pieces) - 1
    if not _workers:
        spin.watch(_posted, -1, 1, 0)  # compiled here, not by a worker that others count on
    while len(_workers) < helpers:
        _workers.append(threading.Thread(target=_serve, args=(_jobs,), name="minigrad", daemon=True))
        _workers[-1].start()
    if _asleep:
        _wake_elsewhere()
    for _ in range(helpers):
        _jobs.put(job)
    _posted[0] += 1
    _local.busy = True
    try:
        job.work()
    finally:
        _local.busy = False
    if not job.finished.acquire(blocking=False):
        spin.watch(job.over, 0, spin.ROUNDS, spin.LEAVING)
        job.finished.acquire()
    if job.error is not None:
        raise job.error


@lru_cache(1024)
def _bounds(size, pieces, threads):
    """Where the parts begin and end: one large part a thread, then small ones."""
    bounds = [size * i // pieces for i in range(pieces + 1)]
    large = int(DEALT * pieces) // threads
    return bounds[: large * threads : large] + bounds[large * threads :] if large > 1 else bounds


def _wake_elsewhere():
    """Have the workers that sleep wake on other cores than this one, which is about to be busy.

    Linux tends to wake a thread where its waker runs, and in a virtual machine to leave both there for tens of
    milliseconds. Once awake it may use all cores again that its caller may.
    """
    if _this_core is None:
        return
    allowed = _settings["cores"] = os.sched_getaffinity(0)
    others = allowed - {_this_core()} or allowed
    for worker in tuple(_asleep):
        _run_on(worker, others)
        _moved.add(worker)


def _run_on(worker, cores):
    with contextlib.suppress(OSError):  # a system that forbids it, or a worker that has gone
        os.sched_setaffinity(worker, cores)


def _serve(jobs):
    """The life of a worker. Before it sleeps in `get` it looks out for the next job for a while: see spin.py."""
    from . import spin

    _local.busy = True
    me = threading.get_native_id()
    while True:
        _asleep.add(me)
        job = jobs.get()
        _asleep.discard(me)
        if me in _moved:
            _moved.discard(me)
            _run_on(me, _settings["cores"])
        job.work()
        seen = int(_posted[0])
        if jobs.empty():
            spin.watch(_posted, seen, spin.ROUNDS, spin.GRACE)


def _after_fork():
    """The parent's workers are not in the child."""
    global _jobs
    _jobs = SimpleQueue()
    _workers.clear()
    _asleep.clear()
    _moved.clear()
    _local.busy = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
