"""What a benchmark runs on, as one value that the parent and every side share, and the clock of a GPU.

On a GPU calls are timed by events that it records itself, in front of each call and behind it; the calls are queued
without waiting. Before kernels and layers its L2 cache is overwritten, so that none finds its inputs there; whole
networks find what the step before left, as in training.
"""
import math
from typing import NamedTuple


class Device(NamedTuple):
    """name; roofs: the side that measures what the machine can do; product: the size of its matrix product; batch:
    images of a convolution in place of those of shapes.py, or None; peers: what it can be compared with; precision of
    float32 products on a GPU: "strict" or "tf32"."""

    name: str
    roofs: str
    product: int
    batch: int | None
    peers: tuple
    precision: str = "strict"

    def missing(self):
        """Why this machine has no such device, "" if it has."""
        if self.name == "cpu":
            return ""
        from minigrad.device import check_device

        try:
            check_device(self.name)
        except RuntimeError as error:
            return str(error)
        return ""

    def environment(self):
        """Variables for the process of a side: those that say how float32 is multiplied."""
        tf32 = self.precision == "tf32"  # 0 in NVIDIA's variable forbids it, nothing leaves it to the program
        return {"CUPY_TF32": "1"} if tf32 else {"NVIDIA_TF32_OVERRIDE": "0"}

    def told(self):
        """What the JSON file tells of it, beyond what it tells on the CPU."""
        return {} if self.name == "cpu" else {"device": self.name, "precision": self.precision}


CPU = Device("cpu", "numpy", 2048, None, ("torch", "jax", "tinygrad"))
DEVICES = {
    "cpu": CPU,
    "cuda": Device("cuda", "cupy", 8192, 32, ("torch",)),
    "cuda-sim": Device("cuda-sim", "numpy", 64, None, ()),  # to try the scripts; its times say nothing
}
PRECISIONS = ("strict", "tf32")
COLD = ("machine", "conv", "layer")  # work that begins with an empty cache


class GpuClock:
    """Times calls on the current stream of a GPU.

    event: makes an event with record() and synchronize(). elapsed: milliseconds from one to another. overwrite: writes
    more than the L2 cache holds.
    """

    def __init__(self, event, elapsed, overwrite):
        self.event, self.elapsed, self.overwrite = event, elapsed, overwrite

    def times(self, function, calls, cold):
        """Seconds of each call. FloatingPointError where the last one returns a loss that is not finite."""
        pairs = [(self.event(), self.event()) for _ in range(calls)]
        for start, end in pairs:
            if cold:
                self.overwrite()
            start.record()
            value = function()
            end.record()
        end.synchronize()
        if getattr(value, "ndim", None) == 0 and not math.isfinite(value.item()):
            raise FloatingPointError(f"the loss is {value.item()}")
        return [self.elapsed(start, end) / 1e3 for start, end in pairs]


def cupy_clock():
    """The clock of sides that compute with CuPy."""
    import cupy

    memory = cupy.empty(2 * cupy.cuda.runtime.getDeviceProperties(0)["l2CacheSize"], cupy.uint8)
    return GpuClock(cupy.cuda.Event, cupy.cuda.get_elapsed_time, lambda: memory.fill(0))


def describe_gpu():
    """{"gpu", "driver"}: the name of the GPU, and the CUDA version of its driver."""
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return {"gpu": name, "driver": cupy.cuda.runtime.driverGetVersion()}
