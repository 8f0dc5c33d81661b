"""What a recorded step depends on beside its arguments: the variables it reads, and the tensors.

A CUDA graph works with the memory that was there when it was recorded (cuda_graph.py); these tell, cheaply and before
each replay, whether a variable, a parameter, a buffer or another tensor is not that of then.
"""
import functools
import weakref
from types import CodeType

from .device import device_of
from .nn.module import Module
from .tensor import Tensor

PLAIN = (int, float, complex, str, bytes, bool, type(None))  # compared by value, all others by identity
MISSING = object()


class Surroundings:
    """The variables that a function reads: globals, those of enclosing functions, the attributes of its `self`.

    Of a Module its parameters, buffers and modes (`training`) are part. What functions that it calls read is not seen.
    """

    def __init__(self, step):
        self.arguments = []
        while isinstance(step, functools.partial):
            self.arguments += [*step.args, *step.keywords.values()]
            step = step.func
        if not hasattr(step, "__code__") and not hasattr(step, "__func__"):  # an object that can be called
            step = type(step).__call__.__get__(step)
        self.owner = getattr(step, "__self__", None)
        function = getattr(step, "__func__", step)
        code = getattr(function, "__code__", None)
        self.globals = getattr(function, "__globals__", {})
        self.names = sorted(_names(code)) if code else []
        self.cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True)) if code else {}

    def variables(self):
        """{name: value} as they are now."""
        found = {name: self.globals.get(name, MISSING) for name in self.names}
        for name, cell in self.cells.items():
            try:
                found[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                found[name] = MISSING
        if isinstance(self.owner, Module):
            found["self"] = self.owner
        found.update((f"self.{name}", value) for name, value in getattr(self.owner, "__dict__", {}).items())
        found.update((f"argument {i}", value) for i, value in enumerate(self.arguments))
        return found

    def now(self):
        """{name: what is compared}, for `change`."""
        return {name: _parts(value) for name, value in self.variables().items()}

    def change(self, before):
        """A difference between `before`, which was `now()` once, and now, in words; "" if there is none."""
        now = self.now()
        for name in now.keys() | before.keys():
            if not _same(now.get(name, ()), before.get(name, ())):
                return f"the variable {name!r} that it reads, or something in it, is another"
        return ""

    def tensors(self):
        """The Tensors among the variables, and in their Modules."""
        return [part for value in self.variables().values() for part in _parts(value) if isinstance(part, Tensor)]


def _names(code):
    """The names of globals that a function may read (attributes have names, too, and do not disturb)."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return {*code.co_names}.union(*map(_names, inner))


def _parts(value):
    if isinstance(value, Module):
        return [value, *value.parameters(), *value.buffers(), *(module.training for module in value.modules())]
    return [value]


def _same(a, b):
    return len(a) == len(b) and all(
        x is y or (isinstance(x, PLAIN) and type(x) is type(y) and x == y) for x, y in zip(a, b, strict=True)
    )


class Watched:
    """The leaves that a step reads, and the devices of all that it computes with. Leaves may die: none is held."""

    def __init__(self, tensors):
        self.seen = {}  # id -> (weak reference, its version when it was seen first)
        self.devices = set()
        self._note(tensors)

    def add(self, tensors):
        """Note the inputs of a Function."""
        self.devices.update(device_of(t._data) for t in tensors if t.ndim)
        self._note(tensors)

    def _note(self, tensors):
        for t in tensors:
            known = self.seen.get(id(t))
            if t._fn is None and (known is None or known[0]() is not t):
                self.seen[id(t)] = weakref.ref(t), t._version.count

    def alive(self):
        """The leaves that have not died."""
        return [t for ref, _ in self.seen.values() if (t := ref()) is not None]

    def settle(self, before):
        """Keep the leaves that were there `before` (a Watched of an earlier call), as they are now, for `change`."""
        counts = {id(t): self.seen[id(t)][1] for t in self.alive()}
        both = [t for t in before.alive() if id(t) in counts]
        self.written = [weakref.ref(t) for t in both if t._version.count != counts[id(t)]]
        self.states = [(weakref.ref(t), *_state(t)) for t in both]

    def change(self):
        """A leaf that is not as it was, in words; "" if there is none."""
        for ref, array, requires_grad, _, count in self.states:
            t = ref()
            if t is None or t._data is not array or t.requires_grad != requires_grad:
                return f"a tensor of shape {array.shape} that it reads is another"
            if count is not None and t._version.count != count:
                return f"a tensor of shape {array.shape} that it has read on the host, or prepared, is changed"
        return ""

    def mark_written(self):
        """Tell autograd of what a replay has changed."""
        for ref in self.written:
            t = ref()
            if t is not None:
                t.mark_modified()


def _state(t):
    """The array, and where the step has made something of its values that is fixed now, the version of that."""
    fixed = t._kept is not None or (t.ndim == 0 and t.device == "cpu")
    return t._data, t.requires_grad, t._kept, t._version.count if fixed else None
