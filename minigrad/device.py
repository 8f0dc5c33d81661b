"""Devices and chance: which device and array module an array belongs to, moving arrays, and the generator seeds set.

The device is a property of the array, never a global switch: "cpu" (NumPy), "cuda" (an NVIDIA GPU, through CuPy), or
"cuda-sim", on which the CUDA kernels run on the CPU, slowly and checked, where there is no GPU.
"""
import numpy as np

from minigrad.kernels.arrays import device_of

from .modes import is_recorded, step_observer

__all__ = [
    "array_module", "check_device", "device_of", "from_host", "generator", "get_rng_state", "is_device", "manual_seed",
    "on_one_device", "set_rng_state", "synchronize", "to_device",
]

DEVICES = ("cpu", "cuda", "cuda-sim")

_generator = np.random.default_rng()  # on the CPU for every device: the same seed, the same numbers everywhere


def array_module(array):
    """The module whose functions take this array: numpy, cupy, or NumPy's functions with simulated results."""
    device = device_of(array)
    if device == "cpu":
        return np
    if device == "cuda":
        import cupy

        return cupy
    from minigrad.kernels.cuda.simulated import array_module as simulated

    return simulated


def is_device(name):
    """Whether something names a device, rather than a dtype."""
    return isinstance(name, str) and name.partition(":")[0] in DEVICES


def check_device(device):
    """The device's name ("cuda:0" is "cuda"), or an error that says what is missing.

    Raises ValueError for a device that there is not, RuntimeError for one that this machine does not have.
    """
    name = "cuda" if device == "cuda:0" else device
    if name not in DEVICES:
        raise ValueError(f"unknown device {device!r}; there is {', '.join(map(repr, DEVICES))}")
    problem = {"cpu": str, "cuda": _no_cuda, "cuda-sim": _no_simulator}[name]()
    if problem:
        raise RuntimeError(f"device {device!r}: {problem}")
    return name


def _no_cuda():
    try:
        import cupy
    except ImportError:
        return ('needs CuPy: pip install "minigrad[cuda13]", or "minigrad[cuda12]" for older drivers; '
                'without a GPU, "cuda-sim" runs the same kernels, slowly')
    if not cupy.cuda.is_available():
        return "CuPy finds no NVIDIA driver, or no GPU (does nvidia-smi list one?)"
    return ""


def _no_simulator():
    from minigrad.kernels.cuda.simulator import missing

    return missing()


def to_device(array, device):
    """The array on another device, its layout kept; itself if it is there already. device: a checked name."""
    here = device_of(array)
    if here == device:
        return array
    if is_recorded():
        raise RuntimeError(f"an array of shape {array.shape} goes from {here} to {device} inside of a recorded step")
    order = sorted(range(array.ndim), key=lambda i: -array.strides[i])  # cupy.asarray keeps no other layout
    back = sorted(range(array.ndim), key=order.__getitem__)
    array = array.transpose(order)
    if here != "cpu":
        array = array.get()
    if device == "cuda":
        import cupy

        array = cupy.asarray(np.ascontiguousarray(array))
    elif device == "cuda-sim":
        from minigrad.kernels.cuda.simulated import on_device

        array = on_device(np.array(array, order="C"))
    return array.transpose(back)


def from_host(make, shape, dtype, like):
    """An array on the device of `like` with the values of make(), an array of NumPy of this shape.

    Where a step is recorded as a CUDA graph, make is called, and the values are renewed, before each replay.
    """
    if is_recorded():
        from minigrad.kernels.cuda import empty

        array = empty(shape, dtype, like)
        step_observer.get().renewed.append((array, make))
        return array
    return to_device(np.asarray(make(), dtype), device_of(like))


def on_one_device(arrays, op):
    """The arrays of an operation, which must be on one device; beside others, a 0-d one of the CPU becomes a number.

    Raises RuntimeError, naming the operation, where two devices meet.
    """
    devices = [device_of(a) for a in arrays]
    away = {*devices} - {"cpu"}
    if len(away) > 1 or any(a.ndim and d == "cpu" for a, d in zip(arrays, devices, strict=True) if away):
        raise RuntimeError(f"{op}: its inputs are on {' and '.join(sorted({*devices}))}; move them to one by .to()")
    return [a[()] if away and d == "cpu" else a for a, d in zip(arrays, devices, strict=True)]


def synchronize(device="cuda"):
    """Wait until a GPU has done all that it was given; on other devices everything is done already."""
    if check_device(device) == "cuda":
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def manual_seed(seed):
    """Seed every random choice minigrad makes from here on (initial weights, dropout, shuffling). Returns nothing.

    seed: a non-negative integer. The same seed gives the same bits on the same device.
    """
    global _generator
    _generator = np.random.default_rng(seed)


def generator():
    """The NumPy generator behind every random choice."""
    return _generator


def get_rng_state():
    """The state of the generator behind every random choice: strings and integers, for `set_rng_state`."""
    return _generator.bit_generator.state


def set_rng_state(state):
    """Go on with random choices from where `get_rng_state` was called."""
    _generator.bit_generator.state = state
