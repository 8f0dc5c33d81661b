"""Memory of the GPU, as CuPy tells it: by a stand-in for CuPy, and where there is a GPU, by itself."""
import sys
from types import SimpleNamespace

import pytest

import minigrad as mg


class Pool:
    """A pool of which 3 MiB are arrays and 2 MiB are kept."""

    kept = 2 << 20
    used_bytes = staticmethod(lambda: 3 << 20)

    def free_bytes(self):
        return self.kept

    def free_all_blocks(self):
        self.kept = 0


def test_the_summary_tells_where_memory_is(monkeypatch):
    pool = Pool()
    runtime = SimpleNamespace(memGetInfo=lambda: (90 << 20, 100 << 20))
    cuda = SimpleNamespace(is_available=lambda: True, runtime=runtime)
    stand_in = SimpleNamespace(cuda=cuda, get_default_memory_pool=lambda: pool)
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    assert [line.split() for line in mg.cuda.memory_summary().splitlines()] == [
        ["arrays", "3.0", "MiB"], ["kept", "2.0", "MiB"], ["others", "5.0", "MiB"], ["free", "90.0", "MiB"],
        ["total", "100.0", "MiB"],
    ]
    mg.cuda.empty_cache()
    assert "kept          0.0 MiB" in mg.cuda.memory_summary()


def test_without_a_gpu_there_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for function in (mg.cuda.memory_summary, mg.cuda.empty_cache):
        with pytest.raises(RuntimeError, match="device 'cuda': needs CuPy"):
            function()


@pytest.mark.gpu
def test_a_large_array_shows_and_goes():
    def kept_or_used():
        words = [line.split() for line in mg.cuda.memory_summary().splitlines()]
        return float(words[0][1]), float(words[1][1])

    mg.cuda.empty_cache()
    before = kept_or_used()
    x = mg.zeros(64, 1 << 20, device="cuda")
    assert kept_or_used()[0] == pytest.approx(before[0] + 256, abs=1)
    del x
    assert kept_or_used()[1] >= before[1] + 255
    mg.cuda.empty_cache()
    assert kept_or_used()[1] <= before[1] + 1
