"""How work is recorded: on the simulated device, and by CuPy, with a stand-in that checks what is called when."""
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from recorded import adam, reads_a_number, runs_directly, simulated, trained

import minigrad as mg
from minigrad import cuda_graph
from minigrad.kernels.cuda import graphs, recording

# --- recording on the simulated device


@simulated
def test_recorded_work_has_memory_at_once_and_values_when_launched():
    x = mg.full((3,), 2.0, device="cuda-sim")._data
    xp = mg.device.array_module(x)
    recording.begin()
    try:
        y, z = x * 3.0, xp.zeros(3)
        z[1:] = y[[0, 2]].astype("float64")
        z += 1.0
        total = z.sum()
        for read in (total.item, total.get, total.__float__, y.tolist, lambda: bool(total)):
            with pytest.raises(RuntimeError, match="has none yet"):
                read()
        with pytest.raises(RuntimeError, match="of the host is copied to the device"):
            xp.asarray(np.ones(3))
        with pytest.raises(RuntimeError, match="being recorded already"):
            recording.begin()
    finally:
        graph = graphs.SimulatedGraph(recording.end())
    assert np.isnan(y.get()).all() and np.isnan(total.get())
    graph.launch()
    assert z.tolist() == [1, 7, 7] and total.item() == 15
    x[...] = 1.0
    graph.launch()
    assert z.tolist() == [1, 4, 4] and total.item() == 9


# --- CuPy's part, without a GPU


class StandIn:
    """What graphs.py uses of CuPy. It keeps a diary and checks what CUDA checks; arrays are those of cuda-sim."""

    def __init__(self):
        self.diary, self.allocators, self.streams = [], ["pool of all"], [Stream(self, "caller's")]
        self.cuda = SimpleNamespace(
            Stream=lambda non_blocking: Stream(self, "own" if non_blocking else "blocking"), using_allocator=self.using,
            MemoryPool=lambda: SimpleNamespace(malloc="own pool"), get_current_stream=lambda: self.streams[-1],
            set_pinned_memory_allocator=lambda allocator: setattr(self, "pinned", allocator),
        )
        self.copyto, self.pinned = np.copyto, self.default_pinned

    def default_pinned(self, size):
        return f"{size} bytes"

    def get_default_pinned_memory_pool(self):
        return SimpleNamespace(malloc=self.default_pinned)

    def get_default_memory_pool(self):
        return SimpleNamespace(free_all_blocks=lambda: self.diary.append("free"))

    def using(self, allocator):
        return Inside(self.allocators, allocator)


class Inside:
    def __init__(self, stack, value):
        self.stack, self.value = stack, value

    def __enter__(self):
        self.stack.append(self.value)

    def __exit__(self, *error):
        assert self.stack.pop() is self.value


class Stream(Inside):
    def __init__(self, cupy, name):
        self.cupy, self.name = cupy, name

    stack = property(lambda self: self.cupy.streams)
    value = property(lambda self: self)

    def record(self):
        return f"all on the {self.name} stream"

    def wait_event(self, event):
        self.cupy.diary.append(f"{self.name} waits for {event}")

    def begin_capture(self):
        assert self.name == "own", "CUDA does not capture the default stream"
        assert self.cupy.streams[-1] is self and self.cupy.allocators[-1] == "own pool"
        self.cupy.diary.append("begin")
        recording.begin()

    def end_capture(self):
        assert self.cupy.streams[-1] is self and self.cupy.allocators[-1] == "own pool"
        self.cupy.diary.append("end")
        return Launched(self.cupy, recording.end())


class Launched(graphs.SimulatedGraph):
    def __init__(self, cupy, work):
        super().__init__(work)
        self.cupy = cupy

    def launch(self):
        assert [s.name for s in self.cupy.streams] == ["caller's"] and self.cupy.allocators == ["pool of all"]
        self.cupy.diary.append("launch")
        super().launch()


@pytest.fixture
def cupy(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    monkeypatch.setattr(cuda_graph, "recorder", lambda device: graphs.GpuRecorder())
    return stand_in


@simulated
def test_cupy_records_on_a_stream_and_in_a_pool_of_its_own_and_launches_on_the_callers(cupy):
    losses, numbers, graph = trained("cuda-sim", adam)
    before, after = "own waits for all on the caller's stream", "caller's waits for all on the own stream"
    recorded, replayed = ["free", before, "begin", "end", "begin", "end", after], ["launch", "launch"]
    assert cupy.diary == recorded + 4 * replayed
    assert graph._recording.recorder.pool.malloc == "own pool"  # it lives as long as the graph
    cupy.diary.clear()
    assert (losses, numbers) == trained("cuda-sim", adam, direct=True)[:2] and not cupy.diary


@simulated
def test_cupy_leaves_its_stream_and_pool_after_an_error(cupy):
    calls = [[mg.ones(3, device="cuda-sim")] for _ in range(4)]
    runs_directly(lambda x: reads_a_number(x * 2.0), calls, "y.sum().item()")
    assert cupy.diary.count("begin") == cupy.diary.count("end") == 1 and "launch" not in cupy.diary
    assert cupy.diary[-1] == "caller's waits for all on the own stream"
    assert len(cupy.streams) == len(cupy.allocators) == 1 and not recording.is_recording()
    assert cupy.pinned == cupy.default_pinned


@simulated
def test_cupy_sends_nothing_from_the_host_while_it_records_but_other_threads_may(cupy):
    def send(x):
        with ThreadPoolExecutor(1) as other:
            assert other.submit(cupy.pinned, 3).result() == "3 bytes"
        cupy.pinned(8)  # as CuPy does for the list of an index, or the addresses of more than eight arrays to join
        return x * 2.0

    runs_directly(send, [[mg.ones(3, device="cuda-sim")] for _ in range(4)], "of the host is copied to the device")
