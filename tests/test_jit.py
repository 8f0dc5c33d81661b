"""How loops are compiled: cached where that is possible, compiled anyway where it is not."""
import os
import subprocess
import sys

import numpy as np
import pytest

from minigrad.kernels import jit as jit_module
from minigrad.kernels.conv import correlate


def double(x):
    """A loop to compile."""
    for i in range(x.size):
        x[i] *= 2


def test_where_no_folder_is_writable_a_loop_is_compiled_without_a_cache(monkeypatch):
    def without_locator(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(jit_module, "StampedCache", without_locator)
    x = np.arange(3.0)
    jit_module.jit(double)(x)
    assert x.tolist() == [0, 2, 4]


def test_compiled_loops_are_cached_on_disk():
    assert isinstance(correlate._correlate._cache, jit_module.StampedCache)


SCRIPT = """
import numpy as np
from minigrad.kernels.conv import correlate, direct_cpu, pack, params
from minigrad.kernels.handover import shared
x, w = np.ones((1, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32)
y = direct_cpu.forward(x, w, params.conv_params(x.shape, w.shape))
loops = shared(correlate._correlate), shared(pack._pack)
print(y.sum(), *(sum(loop.stats.cache_hits.values()) for loop in loops))
"""


def test_the_next_process_takes_compiled_code_from_the_disk_unless_a_kernel_file_has_changed(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "MINIGRAD_NUM_THREADS": "1"}

    def run(before=""):
        command = [sys.executable, "-c", before + SCRIPT]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    assert run() == ["486.0", "0", "0"]
    assert run() == ["486.0", "1", "1"]
    edited = "import minigrad.kernels.jit as jit; jit.stamp = lambda: 1\n"
    assert run(edited) == ["486.0", "0", "0"]
    assert run(edited) == ["486.0", "1", "1"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fast_arithmetic_still_honours_nan_and_infinity(value):
    x = np.array([1.0, value])
    jit_module.jit(double)(x)
    np.testing.assert_array_equal(x, [2.0, value])
