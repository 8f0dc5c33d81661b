"""Batches prepared ahead of time by a thread, and memory from which a GPU can copy while it computes.

A thread, not processes: NumPy releases the GIL while it copies and so do the compiled loops of training, arrays need
not travel, and the kernels' own threads stay as they are. The transforms in data/ start no threads.
"""
import os
from collections import deque

import numpy as np


def ahead(make, numbers, depth):
    """make(i) for each of the numbers, in order, while up to `depth` of the next ones are computed in one thread.

    What make raises is raised here, in its place. However this generator ends, its thread has ended with it. A forked
    child has no such thread: it computes what is left itself.
    """
    from concurrent.futures import ThreadPoolExecutor

    numbers, process = list(numbers), os.getpid()
    pool, coming = ThreadPoolExecutor(1, thread_name_prefix="minigrad-data"), deque()
    try:
        for position, number in enumerate(numbers):
            if os.getpid() != process:
                yield make(number)
                continue
            while len(coming) <= depth and position + len(coming) < len(numbers):
                coming.append(pool.submit(make, numbers[position + len(coming)]))
            yield coming.popleft().result()
    finally:
        if os.getpid() == process:
            pool.shutdown(wait=True, cancel_futures=True)


def pinned_memory():
    """A function that copies an array into page-locked memory. Raises ImportError without CuPy."""
    try:
        from cupy.cuda import alloc_pinned_memory
    except ImportError:
        raise ImportError('pin_memory needs CuPy and a GPU: pip install "minigrad[cuda12]" (or cuda13)') from None

    def pin(array):
        memory = alloc_pinned_memory(max(1, array.nbytes))
        y = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
        y[...] = array
        return y

    return pin
