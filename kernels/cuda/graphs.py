"""Recording work on a device instead of doing it, as a graph that can then be launched again and again.

Three steps, the same on both devices: inside `apart()`, `begin()`, the work, and `end()`, which returns the graph; its
`launch()` does the work, on the arrays that were there when it was recorded. While recording, values are unknown: what
asks for one, or brings one from the host, is an error. On a GPU this is CuPy's stream capture; the simulated device
keeps a list of what it is to do.
"""
from contextlib import contextmanager, nullcontext
from threading import get_ident

import numpy as np

from . import recording
from .simulated import array_module, on_device


def recorder(device):
    """A Recorder for a device, "cuda" or "cuda-sim"."""
    return GpuRecorder() if device == "cuda" else SimulatedRecorder()


class GpuRecorder:
    """Records on a stream of its own, as CUDA demands, with memory that is its own for as long as it lives.

    The memory that an array frees while a graph is recorded serves the next one in the same graph, and nobody else.
    What waits in the common pool is given back first: direct calls needed it, replays do not.
    """

    def __init__(self):
        import cupy

        self.cuda, self.copy = cupy.cuda, cupy.copyto
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.pool = cupy.cuda.MemoryPool()
        self.pinned = cupy.get_default_pinned_memory_pool().malloc
        cupy.get_default_memory_pool().free_all_blocks()

    @contextmanager
    def apart(self):
        """Inside, work goes to this stream: after all that the caller's was given, and before what it is given next."""
        outer = self.cuda.get_current_stream()
        self.stream.wait_event(outer.record())
        self.cuda.set_pinned_memory_allocator(self._pinned_memory(get_ident()))
        try:
            with self.cuda.using_allocator(self.pool.malloc), self.stream:
                yield
        finally:
            self.cuda.set_pinned_memory_allocator(self.pinned)
            outer.wait_event(self.stream.record())

    def _pinned_memory(self, recording_thread):
        """An allocator of the memory through which CuPy sends values of the host; not for the thread that records.

        Its values would be sent again in every replay, from memory that has long served something else.
        """

        def allocate(size):
            if get_ident() == recording_thread:
                raise RuntimeError(recording.HOST_WRITES)
            return self.pinned(size)

        return allocate

    def write(self, array, values):
        """Put values of the host into an array."""
        array.set(np.ascontiguousarray(values, array.dtype))

    def begin(self):
        """Record from here on."""
        self.stream.begin_capture()

    def end(self):
        """What was recorded: a graph, which `launch()` gives to the current stream."""
        return self.stream.end_capture()

    def abandon(self):
        """Stop recording after an error."""
        try:
            self.stream.end_capture()
        except Exception:  # CUDA says again that the recording is invalid
            return


class SimulatedRecorder:
    """The same on the simulated device."""

    copy = staticmethod(array_module.copyto)
    apart = staticmethod(nullcontext)

    def write(self, array, values):
        """Put values of the host into an array."""
        array[...] = on_device(np.asarray(values))

    def begin(self):
        """Record from here on."""
        recording.begin()

    def end(self):
        """What was recorded."""
        return SimulatedGraph(recording.end())

    def abandon(self):
        """Stop recording after an error."""
        recording.end()


class SimulatedGraph:
    """A list of functions without arguments."""

    def __init__(self, work):
        self.work = work

    def launch(self):
        """Call them all."""
        with np.errstate(all="ignore"):
            for function in self.work:
                function()
