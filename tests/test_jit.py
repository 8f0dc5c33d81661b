"""How loops are compiled: cached where that is possible, compiled anyway where it is not."""
import gc
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from numba.extending import intrinsic

from minigrad.kernels import jit as jit_module
from minigrad.kernels.conv import correlate


def double(x):
    """A loop to compile."""
    for i in range(x.size):
        x[i] *= 2


@pytest.fixture
def no_writable_folder(monkeypatch):
    def without_locator(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(jit_module, "StampedCache", without_locator)


def test_where_no_folder_is_writable_a_loop_is_compiled_without_a_cache(no_writable_folder):
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


def test_what_only_compiled_code_can_call_says_so(no_writable_folder):
    inside = jit_module.jit_inside(double)
    outside = jit_module.jit(lambda x: inside(x))
    x = np.arange(3.0)
    for _ in range(2):
        with pytest.raises(TypeError, match="double: only compiled code"):
            inside(x)
        outside(x)
    np.testing.assert_array_equal(x, [0, 4, 8])


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_collected_while_loops_compile_and_all_is_as_before_then(enabled, no_writable_folder):
    seen = []

    @intrinsic
    def looked_at(typing, x):
        seen.append(gc.isenabled())
        return x(x), lambda context, builder, signature, given: given[0]

    @jit_module.jit
    def inner(x):
        return looked_at(x)

    @jit_module.jit
    def outer(x):
        return inner(x) + looked_at(x)

    @jit_module.jit
    def wrong(x):
        return looked_at(x) + no_such_name  # noqa: F821

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        assert outer(3) == 6
        assert gc.isenabled() is enabled
        with pytest.raises(numba.core.errors.NumbaError):
            wrong(3)
        assert gc.isenabled() is enabled
        assert numba.njit(lambda x: looked_at(x))(3.0) == 3.0  # not ours
        assert seen.pop() is enabled and seen and not any(seen)
    finally:
        (gc.enable if before else gc.disable)()


TRAIN = """
import numba.core.event as event
import minigrad as mg
from minigrad import models, nn, optim

class Compiled(event.Listener):
    def on_start(self, started):
        print(started.data["dispatcher"].py_func.__qualname__)

    def on_end(self, ended):
        pass

event.register("numba:compile", Compiled())
for name, shape in {"resnet20_cifar": (3, 32, 32), "convnet": (1, 28, 28), "residual_resized": (1, 28, 28)}.items():
    net = models.create(name)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    mg.cross_entropy(net(mg.randn(2, *shape)), mg.tensor([0, 1])).backward()
    optimizer.step()
a, b = mg.randn(400, 700), mg.randn(400, 700)
results = a * b - (a + b).relu(), mg.where(a > 0, a, b).max(1), a.exp().sum(0), nn.Dropout(0.5)(a)
x = mg.randn(2, 32, 20, 20, requires_grad=True)
w = mg.randn(32, 1, 3, 3, requires_grad=True)
y = mg.avg_pool2d(mg.cat([mg.conv2d(x, w, groups=32, padding=1), x], 1), 2) + mg.max_pool2d(mg.cat([x, x], 1), 2)
(y * y).sum().backward()
"""


def test_a_second_process_compiles_nothing():
    """Loops made inside functions are found again too: what they have from around them has the same name everywhere."""
    command = [sys.executable, "-c", TRAIN]
    subprocess.run(command, capture_output=True, check=True)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
