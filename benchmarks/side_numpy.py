"""NumPy's side: what the machine can do, as roofs for the rest."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np

COPY = 2**24  # floats a thread copies


def start(threads, place=None):
    """Remember the number of threads (BLAS has it from the environment)."""
    global pool, count
    pool, count = ThreadPoolExecutor(threads), threads
    return {"version": np.__version__}


def machine(size):
    """The work: "sgemm", a product of two size x size matrices, and "copy" of COPY floats by every thread."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    c = np.empty_like(a)
    source, target = np.ones((2, count, COPY), np.float32)
    return {
        "sgemm": lambda: np.matmul(a, b, out=c),
        "copy": lambda: list(pool.map(np.copyto, target, source)),
    }


def copied():
    """Bytes that "copy" moves: each is read and written."""
    return 2 * 4 * count * COPY
