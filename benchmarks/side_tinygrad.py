"""tinygrad's side: convolutions captured by its TinyJit, on the CPU in float32."""
import importlib.metadata
import os
import subprocess

import numpy as np
import problems


def start(threads):
    """Import tinygrad for the CPU, on so many cores; returns versions. Raises RuntimeError where it cannot compile."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ.setdefault("DEV", "CPU")
    global tinygrad
    import tinygrad

    assert tinygrad.dtypes.default_float == tinygrad.dtypes.float32
    assert tinygrad.Device.DEFAULT.startswith("CPU")
    try:
        (tinygrad.Tensor([1.0]) + 1).realize()
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"tinygrad calls clang (or $CC) to compile, and that failed: {error}") from error
    return {"version": importlib.metadata.version("tinygrad"), "numpy": np.__version__}


def to_numpy(value):
    """A Tensor as an array."""
    return value.numpy()


def conv(spec, layouts, passes):
    """{("nchw", pass): work}. The kernels are made in the first calls."""
    x, w, gy = (tinygrad.Tensor(array).contiguous().realize() for array in problems.data(spec))

    def run():
        return x.conv2d(w, groups=spec["groups"], stride=spec["stride"], padding=spec["padding"])

    calls = {
        "forward": run,
        "grad_input": lambda: run().gradient(x, gradient=gy)[0],
        "grad_weight": lambda: run().gradient(w, gradient=gy)[0],
    }
    return {(layout, which): _call(calls[which]) for layout in layouts for which in passes}


def _call(function):
    captured = tinygrad.TinyJit(lambda: function().realize())
    for _ in range(3):  # plain, captured, replayed
        captured()

    def call():
        value = captured()
        tinygrad.Device[tinygrad.Device.DEFAULT].synchronize()
        return value

    return call
