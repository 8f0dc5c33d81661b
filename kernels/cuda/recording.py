"""Work of the simulated device that is recorded and not done: see graphs.py.

As on a GPU, what is recorded gives arrays their memory at once and their values only when the graph is launched; until
then they hold NaN (all bits are ones), so that whoever reads them early is found out. Functions are called once while
recording, to see what shape their results have.
"""
from contextvars import ContextVar

import numpy as np

_work = ContextVar("work", default=None)  # of this thread: None, or the list of what is being recorded

HOST_READS = "the value of an array is asked for while work is being recorded: it has none yet"
HOST_WRITES = "an array of the host is copied to the device while work is being recorded"


def begin():
    """Record from here on."""
    if _work.get() is not None:
        raise RuntimeError("work is being recorded already")
    _work.set([])


def end():
    """What was recorded: a list of functions without arguments."""
    work = _work.get()
    _work.set(None)
    return work


def is_recording():
    """Whether work is recorded (in this thread)."""
    return _work.get() is not None


def no_reading():
    """Called by what brings a value to the host. Raises RuntimeError while recording."""
    if is_recording():
        raise RuntimeError(HOST_READS)


def done(function, *args, **kwargs):
    """function(*args, **kwargs), which changes arrays that there are: done now, or recorded."""
    if is_recording():
        _work.get().append(lambda: function(*args, **kwargs))
    else:
        function(*args, **kwargs)


def made(function, args, kwargs):
    """function(*args, **kwargs), which makes arrays: their values come now, or when what is recorded is launched.

    args: arrays of NumPy, of the device's memory.
    """
    result = function(*args, **kwargs)
    if not is_recording():
        return result
    memories = [a for a in _flat(args) if isinstance(a, np.ndarray)]
    several = isinstance(result, (tuple, list))
    results = [np.asarray(r) if isinstance(r, np.generic) else r for r in (result if several else [result])]
    new = [i for i, r in enumerate(results)
           if isinstance(r, np.ndarray) and not any(np.may_share_memory(r, m) for m in memories)]
    if new:
        def again():
            values = function(*args, **kwargs)
            for i in new:
                results[i][...] = values[i] if several else values

        _work.get().append(again)
        for i in new:
            poison(results[i])
    return type(result)(results) if type(result) in (tuple, list) else results if several else results[0]


def poison(array):
    """Set every bit of an array that is contiguous in some order: NaN in any floating-point type."""
    order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
    array.transpose(order).reshape(-1).view(np.uint8)[...] = 0xFF


def _flat(values):
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _flat(value)
        else:
            yield value
