"""One framework in a process of its own: answers requests that come over a pipe, and sleeps in between.

`python worker.py SIDE` imports nothing until it is asked to. A request is a pickled tuple (name of a function below,
arguments); the answer is ("ok", value) or ("error", traceback). What a framework prints goes to standard error.

A side is a module `side_NAME.py` with `start(threads)` and functions that return {label: function without arguments}:
the pieces of work to be timed.
"""
import gc
import importlib
import os
import pickle
import sys
import time
import traceback

import device

LONG = 0.2  # seconds: a call that takes longer needs no untimed one before it
side, place, cold, work, known = None, device.CPU, False, {}, {}


def status(field):
    """A size that Linux reports of this process, in MiB: "VmRSS" (memory now) or "VmHWM" (its peak). None elsewhere."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))
    except (OSError, StopIteration):
        return None


def peak_memory():
    """The largest memory this process ever had, in MiB."""
    peak = status("VmHWM")
    if peak is None:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return peak


def start(name, threads, where):
    """Import the framework for a Device; returns its description and the memory that this has taken."""
    global side, place
    side, place = importlib.import_module(f"side_{name}"), where
    told = side.start(threads) if where.name == "cpu" else side.start(threads, where)
    gc.freeze()  # what has been imported stays: collecting garbage need not look at it
    return {**told, "memory": peak_memory()}


def offer(function, *arguments):
    """Make work: side.function(*arguments) is {label: function}. Forgets older work; returns the labels."""
    global cold
    close()
    cold = function in device.COLD
    work.update(getattr(side, function)(*arguments))
    return list(work)


def ask(function, *arguments):
    """The value of side.function(*arguments), which must survive pickling."""
    return getattr(side, function)(*arguments)


def turn(labels, seconds):
    """Run every label for about so many seconds (at least once); {label: median seconds of a call}."""
    return {label: measure(label, seconds) for label in labels}


def measure(label, seconds):
    """The median time of a call. Short calls get an untimed one first: caches and sleeping threads are no matter."""
    function = work[label]
    if known.get(label, 0.0) < LONG:
        (known[label],) = clock(function, 1)
    if seconds == 0:
        return known[label]
    calls = max(1, min(1000, int(seconds / max(known[label], 1e-7))))
    times = sorted(clock(function, calls))
    known[label] = times[calls // 2]
    return known[label]


def clock(function, calls):
    """Seconds of each of so many calls."""
    if place.name == "cuda":
        return side.clock.times(function, calls, cold)
    times = []
    for _ in range(calls):
        before = time.perf_counter()
        function()
        times.append(time.perf_counter() - before)
    return times


def errors(spec):
    """{(variant, pass): relative error against float64} of the work at hand, which `conv` of the side made."""
    import problems

    if place.name == "cuda":
        import cupy as module
    else:
        import numpy as module
    exact, found = {}, {}
    for variant, which in work:
        flip = variant == "flipped"
        if flip not in exact:
            exact[flip] = problems.exact(spec, flip, module)
        value = side.to_numpy(work[variant, which]())
        found[variant, which] = problems.relative_error(value, exact[flip][which])
    return found


def close():
    """Forget the work."""
    work.clear()
    known.clear()
    gc.collect()


REQUESTS = {f.__name__: f for f in (start, offer, ask, turn, errors, close, peak_memory)}


def main():
    """Answer requests until the pipe closes."""
    answers, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    while True:
        try:
            name, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = ("ok", REQUESTS[name](*arguments))
        except Exception as error:
            answer = ("error", f"{type(error).__name__}: {error}", traceback.format_exc())
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
