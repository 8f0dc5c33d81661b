"""Tensor: an array, its gradient, and the function that made it.

This file holds what a Tensor *is*: its data, identity, conversions and in-place bookkeeping. What can be computed
with it (operators and methods such as `+`, `sum`, `reshape`) is defined in `ops/` and listed in `ops/methods.py`,
the table that attaches those functions to this class; `backward` and the hooks come from `autograd.py`.
"""
import math

import numpy as np

from .device import device_of

DTYPES = tuple(np.dtype(name) for name in ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"))
DEFAULT_FLOAT = np.dtype("float32")


class Version:
    """How often a piece of memory was changed in place; shared by every Tensor that looks at this memory."""

    __slots__ = ("count", "recorded")

    def __init__(self):
        self.count = 0
        self.recorded = 0  # the count at the last change that was recorded in the graph


class Tensor:
    """A multi-dimensional array that remembers how it was computed.

    data: anything NumPy reads (an array's memory is shared, not copied). dtype: float32, float64, an integer type or
    bool; Python floats become float32, Python ints int64. requires_grad: whether `backward` should fill `.grad`;
    only floating-point tensors can. Raises TypeError for dtypes and data that cannot be handled.
    """

    __slots__ = (
        "__weakref__", "_data", "_fn", "_grad", "_is_view", "_kept", "_made_at", "_version", "hooks", "requires_grad",
    )
    __array_ufunc__ = None  # ndarray + Tensor: NumPy steps back and lets Tensor.__radd__ do it

    def __init__(self, data, dtype=None, requires_grad=False):
        array = to_array(data, dtype)
        shared = isinstance(data, Tensor) and np.may_share_memory(array, data._data)
        self._setup(array, None, data._version if shared else Version())
        self.requires_grad_(requires_grad)

    @classmethod
    def _wrap(cls, array, fn=None, version=None):
        """A Tensor around exactly this array, made by `fn`; `version` is given where the memory is another Tensor's."""
        t = Tensor.__new__(Tensor)
        t._setup(array, fn, version or Version())
        t._is_view = version is not None
        return t

    def _setup(self, array, fn, version):
        self._data = array
        self._grad = None
        self.requires_grad = fn is not None
        self._fn = fn  # the Function that computed it, None for a leaf
        self.hooks = None  # see hooks.py
        self._version = version
        self._kept = None  # see kept.py
        self._made_at = version.count  # the state of the memory that `_fn` accounts for
        self._is_view = False

    # --- what it is

    @property
    def data(self):
        """The values as a Tensor that shares this one's memory but not its graph. Assigning replaces the values."""
        return self.detach()

    @data.setter
    def data(self, array):
        self._data = to_array(array, self.dtype)
        self.mark_modified()

    @property
    def shape(self):
        return self._data.shape

    @property
    def dtype(self):
        return self._data.dtype

    @property
    def ndim(self):
        return self._data.ndim

    def dim(self):
        """The number of dimensions."""
        return self._data.ndim

    def size(self, dim=None):
        """The shape, or its entry `dim`."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self):
        """The number of elements."""
        return self._data.size

    @property
    def device(self):
        """Where the array lives: "cpu", "cuda" or "cuda-sim"."""
        return device_of(self._data)

    @property
    def is_leaf(self):
        """True unless a recorded operation computed it."""
        return self._fn is None

    @property
    def grad_fn(self):
        """The Function that computed it, None for a leaf."""
        return self._fn

    def is_floating_point(self):
        """Whether its dtype is float32 or float64."""
        return self._data.dtype.kind == "f"

    @property
    def grad(self):
        """What backward added up here: a Tensor of this shape, or None."""
        return self._grad

    @grad.setter
    def grad(self, g):
        if g is not None and (not isinstance(g, Tensor) or g.shape != self.shape or g.dtype != self.dtype):
            got = f"{g.dtype} of shape {g.shape}" if isinstance(g, Tensor) else f"a {type(g).__name__}"
            raise TypeError(f"grad must be a Tensor of {self.dtype} and shape {self.shape}, or None; got {got}")
        self._grad = g

    def __len__(self):
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self.shape[0]))

    __hash__ = object.__hash__  # identity, although == compares elements

    def __bool__(self):
        if self.numel() != 1:
            raise ValueError(f"the truth value of a tensor with {self.numel()} elements is ambiguous")
        return bool(self.item())

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        if self._data.dtype.kind not in "iu":
            raise TypeError(f"only an integer tensor can be an index, got {self.dtype}")
        return self.item()

    def __repr__(self):
        body = np.array2string(_to_numpy(self._data), separator=", ", precision=4, threshold=1000, prefix="tensor(")
        notes = [f"size={self.shape}"] if self.numel() == 0 and self.ndim > 1 else []
        notes += [] if self.dtype in (DEFAULT_FLOAT, np.int64, np.bool_) else [f"dtype={self.dtype}"]
        notes += [] if self.device == "cpu" else [f"device={self.device!r}"]
        if self._fn is not None:
            notes.append(f"grad_fn=<{self._fn.name}>")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join([body, *notes])})"

    def __format__(self, spec):
        return format(self.item(), spec) if self.ndim == 0 and spec else repr(self)

    # --- conversions

    def item(self):
        """The only element as a Python number. Raises ValueError if there is more than one."""
        if self.numel() != 1:
            raise ValueError(f"item() needs exactly one element, the tensor has {self.numel()} (shape {self.shape})")
        return self._data.item()

    def tolist(self):
        """The elements as nested Python lists (a Python number for a 0-d tensor)."""
        return self._data.tolist()

    def numpy(self):
        """A NumPy array; on the CPU it shares this tensor's memory. Raises RuntimeError if gradients are required."""
        if self.requires_grad:
            raise RuntimeError("numpy() of a tensor that requires grad would lose the graph: use .detach().numpy()")
        return _to_numpy(self._data)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numpy(), dtype=dtype, copy=copy) if copy is not None else np.asarray(self.numpy(), dtype)

    def __dlpack__(self, **kwargs):
        if self.requires_grad:
            raise BufferError("a tensor that requires grad cannot be exported: use .detach()")
        return self._data.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._data.__dlpack_device__()

    def detach(self):
        """The same memory, cut off from the graph: changes in place are seen by both."""
        t = Tensor._wrap(self._data.view(), version=self._version)
        t._made_at = math.inf  # constant, whatever becomes of the memory
        return t

    def cpu(self):
        """This tensor with its data in host memory."""
        return self.to("cpu")

    # --- gradients and changes in place

    def requires_grad_(self, requires_grad=True):
        """Switch gradient recording for this leaf on or off, in place; returns self."""
        if requires_grad and not self.is_floating_point():
            raise RuntimeError(f"only floating-point tensors can require gradients, got {self.dtype}")
        if self._fn is not None and not requires_grad:
            raise RuntimeError("only leaves can stop requiring gradients: use .detach()")
        self.requires_grad = bool(requires_grad) or self._fn is not None
        return self

    def mark_modified(self):
        """Tell autograd that the data were changed in place: saved uses of the old values become errors."""
        self._version.count += 1
        self._made_at = max(self._made_at, self._version.count)

    def _is_stale(self):
        """Whether the memory was changed through another Tensor, in a way that the graph does not know of."""
        return self._fn is not None or self._made_at < self._version.recorded

    def __deepcopy__(self, memo):
        if self._fn is not None:
            raise RuntimeError("only leaves can be deep-copied: use .detach() or .clone()")
        t = self._unpickle(self._data.copy(order="K"), self.requires_grad)
        t.grad = None if self.grad is None else self.grad.detach().clone()
        return t

    def __reduce__(self):
        if self._fn is not None:
            raise RuntimeError("only leaves can be pickled: use .detach()")
        return type(self)._unpickle, (self._data, self.requires_grad)

    @classmethod
    def _unpickle(cls, data, requires_grad):
        t = cls.__new__(cls)
        t._setup(data, None, Version())
        t.requires_grad = requires_grad
        return t


def _to_numpy(array):
    return array if device_of(array) == "cpu" else array.get()


def to_array(data, dtype=None):
    """`data` as an array of a supported dtype, sharing memory where `data` is an array already.

    The result is always a new array object, so that one array object belongs to one Tensor.
    """
    if isinstance(data, Tensor):
        data = data._data
    typed = hasattr(_first(data), "dtype")
    if isinstance(data, (list, tuple)):
        data = _without_tensors(data)
    array = data.view() if type(data) is np.ndarray or device_of(data) != "cpu" else np.array(data)
    if dtype is None:
        dtype = array.dtype.newbyteorder("=") if typed or array.dtype != np.float64 else DEFAULT_FLOAT
    dtype = check_dtype(dtype)
    if array.dtype.kind not in "biuf":  # NumPy would parse strings and drop imaginary parts
        raise TypeError(f"tensors hold real numbers and bools; got data of dtype {array.dtype}")
    if array.dtype == dtype and getattr(array.flags, "aligned", True):
        return array
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def _first(data):
    """The first element of nested lists: it decides whether numbers are Python's (float -> float32) or typed."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _without_tensors(data):
    """Nested lists with arrays in place of Tensors."""
    if isinstance(data, (list, tuple)):
        return [_without_tensors(d) for d in data]
    return data.numpy() if isinstance(data, Tensor) else data


def check_dtype(dtype):
    """`dtype` as a np.dtype that Tensors support, or TypeError."""
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{dtype!r} is not a dtype") from None
    if dtype not in DTYPES:
        raise TypeError(f"tensors are {', '.join(d.name for d in DTYPES)}; got {dtype}")
    return dtype


def as_tensor(value, dtype=None):
    """`value` as a Tensor: itself if it is one (cast, within the graph), else sharing its memory where it can."""
    if isinstance(value, Tensor):
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)
    return Tensor(value, dtype)
