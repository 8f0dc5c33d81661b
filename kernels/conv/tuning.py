"""What is fastest on this machine: measured once by `minigrad tune`, kept in a file, and asked first by "auto".

The file is convolutions.json in MINIGRAD_CACHE, or else in minigrad's folder of XDG_CACHE_HOME or ~/.cache. It holds
choices for any number of machines, and a choice counts only for the one it was measured on: the same processor, width
of vectors, number of threads and kernel files. Without a file, or without an entry for a convolution, the rules
of __init__.py decide; a file that cannot be read is a warning, and otherwise as if it were not there.
"""
import contextlib
import json
import os
import platform
import tempfile
import time
import warnings
from functools import lru_cache
from pathlib import Path
from statistics import median

import numpy as np

from ..folders import cache_folder
from ..threads import get_num_threads
from .params import conv_output_shape, conv_params

FORMAT = 1  # of the file
PASSES = ("forward", "grad_input", "grad_weight")


def cache_file():
    """Where the choices of this user are kept."""
    return cache_folder() / "convolutions.json"


def machine(threads):
    """The name under which this machine's choices are kept, with so many threads."""
    from ..jit import stamp
    from ..tile import host

    return f"{_processor()}, {host().vector_bytes}-byte vectors, {threads} threads, kernels {stamp():08x}"


def _processor():
    from llvmlite import binding

    name = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name or platform.machine()} ({binding.get_host_cpu_name()})"


def choice(which, x_shape, w_shape, p):
    """The algorithm measured as the fastest for one pass of a convolution, or None."""
    chosen = choices(get_num_threads())
    return chosen.get((which, tuple(x_shape), tuple(w_shape), p)) if chosen else None


@lru_cache
def choices(threads):
    """{(pass, x_shape, w_shape, p): algorithm} of this machine. Read once; `forget` makes it be read again."""
    if not (machines := _read()):
        return {}
    try:
        rows = machines.get(machine(threads), [])
        return dict(map(_choice, rows))
    except (KeyError, TypeError, ValueError) as error:
        return _warn(error)


def forget():
    """Read the file again when it is next needed."""
    choices.cache_clear()
    _read.cache_clear()


@lru_cache(1)
def _read():
    """{machine: rows} of the file; empty without one, and with a warning if it is not one of ours."""
    try:
        text = cache_file().read_bytes()
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # RuntimeError: there is no home folder
        return {}
    except OSError as error:
        return _warn(error)
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {FORMAT}")
        return dict(content["machines"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        return _warn(error)


def _warn(error):
    reason = f"{type(error).__name__}: {error}"
    text = f"minigrad: {cache_file()} is ignored ({reason}); `minigrad tune` writes a new one"
    warnings.warn(text, RuntimeWarning, stacklevel=2)
    return {}


def _choice(row):
    """A row of the file as (key, algorithm). Raises KeyError, TypeError or ValueError if it is no such thing."""
    from . import CROSS_CORRELATION, supports

    x_shape, w_shape, stride, dilation = (tuple(row[name]) for name in ("x", "w", "stride", "dilation"))
    p = conv_params(x_shape, w_shape, stride, tuple(map(tuple, row["padding"])), dilation, row["groups"])
    algorithm = row["algorithm"]
    if algorithm not in CROSS_CORRELATION or not supports(algorithm, "cpu", w_shape, p):
        raise ValueError(f"{algorithm!r} does not compute {row}")
    return (row["pass"], x_shape, w_shape, p), algorithm


def store(measured):
    """Keep choices: measured, {(pass, x_shape, w_shape, p): {algorithm: seconds}}, joins what the file has. Its path.

    Raises OSError where the folder cannot be written; the file is replaced as a whole or not at all.
    """
    path, name = cache_file(), machine(get_num_threads())
    path.parent.mkdir(parents=True, exist_ok=True)
    forget()
    machines, rows = _read(), {}
    with contextlib.suppress(KeyError, TypeError, ValueError):
        rows = {_choice(row)[0]: row for row in machines.get(name, [])}
    for key, seconds in measured.items():
        which, x_shape, w_shape, p = key
        rows[key] = {
            "pass": which, "x": x_shape, "w": w_shape, "stride": p.stride, "padding": p.padding, "dilation": p.dilation,
            "groups": p.groups, "algorithm": min(seconds, key=seconds.get), "seconds": seconds,
        }
    machines = {**machines, name: list(rows.values())}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "machines": machines}, file, indent=1)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    forget()
    return path


def measure(which, x_shape, w_shape, p, seconds=0.1, rounds=3):
    """{algorithm: seconds a call} of one pass, float32, for every fast row that supports this convolution.

    Each works about `seconds` in all, in turns: the median of `rounds` times. Images are channels-last, as in networks.
    """
    from . import CROSS_CORRELATION, LESSONS, lookup, supports

    rng = np.random.default_rng(0)
    y_shape = conv_output_shape(x_shape, w_shape, p)
    x, w, gy = (rng.standard_normal(shape, dtype=np.float32) for shape in (x_shape, w_shape, y_shape))
    x, gy = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, gy))
    arguments = {"forward": (x, w, p), "grad_input": (gy, w, p, x_shape), "grad_weight": (x, gy, p, w_shape)}[which]
    names = [n for n in CROSS_CORRELATION if n not in LESSONS and supports(n, "cpu", w_shape, p)]
    calls = {name: getattr(lookup(name, "cpu", x_shape, w_shape, p), which) for name in names}
    for call in calls.values():
        call(*arguments)  # compiles
    once = {name: _seconds(call, arguments, 1) for name, call in calls.items()}
    times = {name: [] for name in names}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_seconds(call, arguments, max(1, int(seconds / rounds / once[name]))))
    return {name: median(values) for name, values in times.items()}


def _seconds(call, arguments, repeats):
    """Seconds of one call, the mean of so many."""
    start = time.perf_counter()
    for _ in range(repeats):
        call(*arguments)
    return (time.perf_counter() - start) / repeats
