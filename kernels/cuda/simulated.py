"""Arrays on the simulated device: NumPy arrays that say "cuda-sim", so that kernels for CUDA compute with them.

They are as strict as CuPy's: an array of the simulated device and one of NumPy do not meet in an operation, so code
that mixes devices fails here as it would on a GPU.
"""
import numpy as np

STRANGERS = "arrays on cuda-sim and on the cpu do not meet; move one to the other's device"


class SimulatedArray(np.ndarray):
    """An array of the simulated device. Everything NumPy computes from it is one, too."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        _check_devices(ufunc.__name__, (*inputs, *(out or ()), kwargs.get("where")))
        if out is not None:
            kwargs["out"] = out
        result = getattr(ufunc, method)(*_host(inputs), **_host(kwargs))
        return on_device(result) if out is None else out[0]

    def __array_function__(self, func, types, args, kwargs):
        if np.ndarray in types:
            raise TypeError(f"{func.__name__}: {STRANGERS}")
        return on_device(func(*_host(args), **_host(kwargs)))

    @property
    def base(self):
        """The array that holds the memory, the same for all views of it, as CuPy's `base` is."""
        found = np.ndarray.base.__get__(self)
        while isinstance(found, np.ndarray) and np.ndarray.base.__get__(found) is not None:
            found = np.ndarray.base.__get__(found)
        return found

    def get(self):
        """A NumPy array with the same values, as CuPy's `get`."""
        return np.array(self.view(np.ndarray))


class _ArrayModule:
    """NumPy's functions, with results on the simulated device: what `array_module` gives, in the place of cupy."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, (type, np.ufunc)) or not callable(found):
            return found

        def function(*args, **kwargs):
            return on_device(found(*args, **kwargs))

        return function


array_module = _ArrayModule()


def on_device(value):
    """A NumPy array or scalar, or a tuple or list of them, on the simulated device; anything else as it is."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(on_device, value)) if type(value) in (tuple, list) else value
    if isinstance(value, (np.ndarray, np.generic)) and not isinstance(value, SimulatedArray):
        return np.asarray(value).view(SimulatedArray)
    return value


def poison(shape, dtype):
    """Uninitialised memory: ones in every bit, which is NaN in any floating-point type."""
    array = np.empty(shape, dtype)
    array.reshape(-1).view(np.uint8)[...] = 0xFF
    return on_device(array)


def _host(value):
    """The same with NumPy's arrays, of the same memory, in place of mine."""
    if isinstance(value, (tuple, list)):
        return [_host(v) for v in value] if isinstance(value, list) else tuple(map(_host, value))
    if isinstance(value, dict):
        return {key: _host(v) for key, v in value.items()}
    return value.view(np.ndarray) if isinstance(value, SimulatedArray) else value


def _check_devices(name, values):
    for value in values:
        if isinstance(value, np.ndarray) and not isinstance(value, SimulatedArray):
            raise TypeError(f"{name}: {STRANGERS}")
