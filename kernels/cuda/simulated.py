"""Arrays on the simulated device: NumPy arrays that say "cuda-sim", so that kernels for CUDA compute with them.

They are as strict as CuPy's: an array of the simulated device and one of NumPy do not meet in an operation, so code
that mixes devices fails here as it would on a GPU.
"""
import numpy as np

from . import recording
from .recording import HOST_WRITES, done, is_recording, made, no_reading

STRANGERS = "arrays on cuda-sim and on the cpu do not meet; move one to the other's device"


class SimulatedArray(np.ndarray):
    """An array of the simulated device. Everything NumPy computes from it is one, too."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        _check_devices(ufunc.__name__, (*inputs, *(out or ()), kwargs.get("where")))
        if out is None:
            return on_device(made(getattr(ufunc, method), _host(inputs), _host(kwargs)))
        done(getattr(ufunc, method), *_host(inputs), **_host({**kwargs, "out": out}))
        return out[0]

    def __array_function__(self, func, types, args, kwargs):
        if np.ndarray in types:
            raise TypeError(f"{func.__name__}: {STRANGERS}")
        if func in CHANGE:
            return done(func, *_host(args), **_host(kwargs))
        return on_device(made(func, _host(args), _host(kwargs)))

    @property
    def base(self):
        """The array that holds the memory, the same for all views of it, as CuPy's `base` is."""
        found = np.ndarray.base.__get__(self)
        while isinstance(found, np.ndarray) and np.ndarray.base.__get__(found) is not None:
            found = np.ndarray.base.__get__(found)
        return found

    def get(self):
        """A NumPy array with the same values, as CuPy's `get`."""
        no_reading()
        return np.array(self.view(np.ndarray))


CHANGE = {np.copyto, np.put, np.place, np.putmask}  # functions that make nothing and change an argument


def _recorded(name, how):
    """A method of NumPy's arrays that is recorded while work is: see recording.py."""
    method = getattr(np.ndarray, name)

    def recorded(self, *args, **kwargs):
        if not is_recording():
            return method(self, *args, **kwargs)
        return on_device(how(method, _host((self, *args)), _host(kwargs)))

    return recorded


def _changing(method, args, kwargs):
    done(method, *args, **kwargs)


def _reading(method, args, kwargs):
    no_reading()


METHODS = {
    made: "__getitem__ all any argmax argmin astype clip copy cumsum dot flatten max mean min prod ravel repeat "
          "reshape round std sum take var __matmul__",
    _changing: "__setitem__ fill sort",
    _reading: "__bool__ __float__ __index__ __int__ item nonzero tobytes tolist",
}
for _how, _names in METHODS.items():
    for _name in _names.split():
        setattr(SimulatedArray, _name, _recorded(_name, _how))


class _ArrayModule:
    """NumPy's functions, with results on the simulated device: what `array_module` gives, in the place of cupy."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, (type, np.ufunc)) or not callable(found):
            return found

        def function(*args, **kwargs):
            if not is_recording():
                return on_device(found(*args, **kwargs))
            if any(type(a) is np.ndarray for a in args):
                raise RuntimeError(HOST_WRITES)
            if found in CHANGE:
                return done(found, *_host(args), **_host(kwargs))
            return on_device(made(found, _host(args), _host(kwargs)))

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
    recording.poison(array)
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
