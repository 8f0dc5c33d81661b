"""The one thread pool: a range of independent pieces of work, shared out over all cores.

Compiled loops release the GIL (jit.py), so plain Python threads run them side by side. That is the whole design, in
place of Numba's own `prange`: its threading layers abort or hang when used from two threads, inside each other or after
a fork ("omp" kills forked children, "workqueue" aborts on concurrent use), and `parallel=True` triples compile time.

- A worker gets a compiled loop without the GIL (handover.py), and comes back to Python only to sleep.
- The caller works too, and only waits for parts that another thread has begun: two callers at once share the workers.
- No loop can share out another one, for compiled code does not call Python.
- A forked child starts a pool of its own when it first needs one.
- Most of the range is dealt out in one large part to each thread, the rest in small ones to whoever is done.
Which thread computes what, and where a part begins and ends, never changes a bit of the result.
"""
import contextlib
import ctypes
import math
import os
import threading
from functools import lru_cache
from numbers import Integral

import numpy as np

DEALT = 0.75  # the share of a range that the large parts have
PARTS = 16  # for each thread, where a loop does not care where its parts begin: to take one costs next to nothing
MOST, FIELDS = 256, 16  # workers that there may be, and int64 numbers of the mailbox of each: two cache lines

_settings = {"threads": None, "cores": None}  # how many threads there should be, and the cores that a caller may use
_local = threading.local()
_workers, _asleep = [], set()

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


def own(slot, size, dtype):
    """The same for `share_out`: a row of `size` elements or a few more for each thread that may take part."""
    line = 64 // np.dtype(dtype).itemsize
    return scratch(slot, (get_num_threads(), -(-size // line) * line), dtype)


def share_out(loop, size, *arguments, own=(), pieces=None):
    """Call loop(start, stop, *arguments) on consecutive parts of range(size), until all of it is done.

    loop: compiled by `jit`. own: arrays of which each thread gets a row of its own, after the arguments. pieces: how
    many parts, one a thread if left out. Raises RuntimeError if a part fails, when the others are done.
    """
    if size == 0:
        return
    threads = get_num_threads()
    pieces = 1 if threads == 1 else min(size, threads if pieces is None else pieces)
    rows = len(own[0]) if own else threads  # fewer, if somebody has just asked for more threads
    helpers = min(threads, pieces, rows, MOST + 1) - 1
    if helpers:
        _call_workers(helpers)
    handover, (_, address, parts) = _handover(), _bounds(size, pieces, threads)
    job = _desk_address, address, parts, helpers, len(_workers)
    if handover.shared(loop)(handover.hand_out().address, *job, own, *arguments):
        raise RuntimeError(f"a part of {loop.__name__} failed")


@lru_cache(1)
def _handover():
    """The compiled part of the pool, imported on first use, so that importing this file does not import Numba."""
    from . import handover

    return handover


@lru_cache(1024)
def _bounds(size, pieces, threads):
    """Where parts begin and end, one large part a thread, then small ones: an array, its address, how many parts."""
    bounds = [size * i // pieces for i in range(pieces + 1)]
    large = int(DEALT * pieces) // threads
    bounds = np.array(bounds[: large * threads : large] + bounds[large * threads :] if large > 1 else bounds, np.int64)
    return bounds, bounds.ctypes.data, len(bounds) - 1


# --- workers


class _Worker(threading.Thread):
    """A thread that does what comes into its mailbox, and sleeps when nothing comes."""

    def __init__(self, box):
        super().__init__(name="minigrad", daemon=True)
        self.box, self.wake, self.moved = box, threading.Lock(), False
        self.wake.acquire()

    def run(self):
        handover = _handover()
        while True:
            handover.serve(self.box.ctypes.data, handover.ROUNDS)
            _asleep.add(self)
            if self.box[handover.STATE] < handover.FIRST_TICKET or not _rouse(self):
                self.wake.acquire()
            if self.moved:
                self.moved = False
                _run_on(self.native_id, _settings["cores"])


def _rouse(worker):
    """Whether this is who takes the worker off the list of those that sleep."""
    try:
        _asleep.remove(worker)
    except KeyError:
        return False
    return True


def _new_desk():
    """Mailboxes that nobody uses: see handover.py."""
    global _desk, _desk_address, _hiring
    _desk = np.zeros((1 + MOST, FIELDS), np.int64)  # a row that counts tickets, and mailboxes
    _desk_address, _hiring = _desk.ctypes.data, threading.Lock()
    _workers.clear()
    _asleep.clear()


def _call_workers(helpers):
    """See to it that so many workers are there and awake, or about to be.

    Linux tends to wake a thread where its waker runs, and in a virtual machine to leave both there for tens of
    milliseconds. So a worker that sleeps is woken on another core than this one, which is about to be busy; once awake
    it may use all cores again that its caller may.
    """
    if len(_workers) < helpers:
        handover = _handover()
        if not _desk[0, 0]:
            _desk[0, 0], _desk[1:, handover.STATE] = handover.FIRST_TICKET, handover.ASLEEP
            handover.serve(_desk[1].ctypes.data, 0)  # compiled here, not by a worker that others count on
        with _hiring:
            while len(_workers) < helpers:
                _workers.append(_Worker(_desk[len(_workers) + 1]))
                _workers[-1].start()
    if not _asleep:
        return
    missing = helpers - len(_workers) + len(_asleep)
    for worker in [w for w in _workers if w in _asleep][: max(0, missing)]:
        if _rouse(worker):
            if _this_core is not None:
                allowed = _settings["cores"] = os.sched_getaffinity(0)
                worker.moved = True
                _run_on(worker.native_id, allowed - {_this_core()} or allowed)
            worker.wake.release()


def _run_on(worker, cores):
    with contextlib.suppress(OSError):  # a system that forbids it, or a worker that has gone
        os.sched_setaffinity(worker, cores)


_new_desk()  # and in a forked child, where the parent's workers are not
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_desk)
