"""CuPy's side: what a GPU can do, as roofs for the rest; the product is cuBLAS's."""
import device
import numpy as np

COPY = 2**28  # floats
clock = None


def start(threads, place):
    """Take the GPU; returns versions. In TF32 if the environment says so (see `Device.environment`)."""
    global cupy, clock
    import cupy

    clock = device.cupy_clock()
    return {"version": cupy.__version__, "numpy": np.__version__, **device.describe_gpu()}


def machine(size):
    """The work: "sgemm", a product of two size x size matrices, and "copy" of COPY floats."""
    a, b = (cupy.random.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    c, source, target = cupy.empty_like(a), cupy.ones(COPY, np.float32), cupy.empty(COPY, np.float32)
    return {"sgemm": lambda: cupy.matmul(a, b, out=c), "copy": lambda: cupy.copyto(target, source)}


def copied():
    """Bytes that "copy" moves: each is read and written."""
    return 2 * 4 * COPY
