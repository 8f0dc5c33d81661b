"""Module: what has parameters, submodules and a forward pass. Semantics and names are PyTorch's."""
from collections.abc import Mapping
from typing import NamedTuple

from ..device import is_device
from ..hooks import RemovableHandle
from ..tensor import Tensor, as_tensor

_TABLES = ("_parameters", "_buffers", "_modules")  # the dicts in which a Module keeps what is assigned to it


class Parameter(Tensor):
    """A Tensor that a Module trains: assigned to an attribute of a Module, it is found by `parameters()`."""

    __slots__ = ()

    def __init__(self, data, requires_grad=True):
        super().__init__(data, requires_grad=requires_grad)

    def __repr__(self):
        return "Parameter containing:\n" + super().__repr__()


class LoadResult(NamedTuple):
    """What `load_state_dict` returns."""

    missing_keys: list
    unexpected_keys: list


class Module:
    """The base class of layers and networks.

    Subclass it, call super().__init__(), assign Parameters, Modules and buffers to attributes, and write `forward`.
    They are found in the order of their definition, those of a module before those of its submodules.
    """

    training = True
    optional_state = frozenset()  # names of own entries whose absence is not an error in a strict load

    def __init__(self):
        object.__setattr__(self, "_parameters", {})
        object.__setattr__(self, "_buffers", {})
        object.__setattr__(self, "_modules", {})
        self._forward_hooks, self._forward_pre_hooks = {}, {}

    # --- attributes

    def __setattr__(self, name, value):
        if "_modules" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        for table, kind in (("_parameters", Parameter), ("_modules", Module)):
            if isinstance(value, kind):
                self._place(table, name, value)
                return
        for table in _TABLES:
            if name in self.__dict__[table]:
                if value is not None and not (table == "_buffers" and isinstance(value, Tensor)):
                    raise TypeError(f"{type(self).__name__}.{name} cannot become a {type(value).__name__}")
                self.__dict__[table][name] = value
                return
        object.__setattr__(self, name, value)

    def __getattr__(self, name):  # called only where ordinary lookup fails
        if "_modules" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}: super().__init__() was not called")
        for table in _TABLES:
            if name in self.__dict__[table]:
                return self.__dict__[table][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name):
        for table in _TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                return
        object.__delattr__(self, name)

    def __dir__(self):
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def _place(self, table, name, value):
        """Keep value in one table and nowhere else; a name that is there already keeps its place in the order."""
        if hasattr(type(self), name):
            raise ValueError(f"{type(self).__name__}: {name!r} is an attribute of the class, choose another name")
        for other in (self.__dict__, *(self.__dict__[t] for t in _TABLES if t != table)):
            other.pop(name, None)
        self.__dict__[table][name] = value

    def _register(self, table, name, value, kind):
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{type(self).__name__}: a name must be a string without dots, not empty, got {name!r}")
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{type(self).__name__}: expected a {kind.__name__} for {name!r}, got {value!r}")
        self._place(table, name, value)

    def register_parameter(self, name, parameter):
        """Add a Parameter, or None for one that this module could have but does not (`bias=False`).

        Raises TypeError for anything else, and ValueError for an empty name, one with a dot or one of a method.
        """
        self._register("_parameters", name, parameter, Parameter)

    def register_buffer(self, name, tensor):
        """Add a Tensor (or None) that is saved with the module but not trained, such as running statistics.

        Raises TypeError for anything else, and ValueError for an empty name, one with a dot or one of a method.
        """
        self._register("_buffers", name, tensor, Tensor)

    def add_module(self, name, module):
        """Add a submodule (or None) under a name that need not be an identifier.

        Raises TypeError for anything else, and ValueError for an empty name, one with a dot or one of a method.
        """
        self._register("_modules", name, module, Module)

    # --- calling

    def forward(self, *inputs):
        """Compute the output. Every subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def __call__(self, *inputs, **kwargs):
        for hook in list(self._forward_pre_hooks.values()):
            replaced = hook(self, inputs)
            if replaced is not None:
                inputs = replaced if isinstance(replaced, tuple) else (replaced,)
        output = self.forward(*inputs, **kwargs)
        for hook in list(self._forward_hooks.values()):
            replaced = hook(self, inputs, output)
            output = output if replaced is None else replaced
        return output

    def register_forward_pre_hook(self, hook):
        """Call hook(module, inputs) before forward; what it returns, if anything, replaces the inputs."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook):
        """Call hook(module, inputs, output) after forward; what it returns, if anything, replaces the output."""
        return RemovableHandle(self._forward_hooks, hook)

    # --- what is inside

    def named_modules(self, prefix="", remove_duplicate=True):
        """(name, module) of this module and all below, parents first; each once, or else under all of its names."""
        seen = set()

        def walk(module, name):
            if not remove_duplicate or id(module) not in seen:
                seen.add(id(module))
                yield name, module
                for key, child in module._modules.items():
                    if child is not None:
                        yield from walk(child, f"{name}.{key}" if name else key)

        yield from walk(self, prefix)

    def _named(self, table, prefix):
        seen = set()
        for name, module in self.named_modules(prefix):
            for key, tensor in module.__dict__[table].items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield (f"{name}.{key}" if name else key), tensor

    def named_parameters(self, prefix=""):
        """(name, Parameter), each once, in the order of definition."""
        return self._named("_parameters", prefix)

    def named_buffers(self, prefix=""):
        """(name, buffer), each once, in the order of definition."""
        return self._named("_buffers", prefix)

    def named_children(self):
        """(name, module) of the direct submodules, each once."""
        first = {id(child): name for name, child in reversed(self._modules.items()) if child is not None}
        return ((name, child) for name, child in self._modules.items() if first.get(id(child)) == name)

    def parameters(self):
        """Every Parameter, each once, in the order of definition."""
        return (p for _, p in self.named_parameters())

    def buffers(self):
        """Every buffer, each once, in the order of definition."""
        return (b for _, b in self.named_buffers())

    def modules(self):
        """This module and all below, each once, parents first."""
        return (m for _, m in self.named_modules())

    def children(self):
        """The direct submodules, each once."""
        return (m for _, m in self.named_children())

    # --- changing all of it

    def apply(self, function):
        """Call function(module) on every module below and then on this one; returns self."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def train(self, mode=True):
        """Set training mode (or, with False, evaluation mode) here and below; returns self."""
        self.training = bool(mode)
        for child in self.children():
            child.train(mode)
        return self

    def eval(self):
        """Set evaluation mode here and below; returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Train all parameters, or freeze them; returns self."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self):
        """Forget every parameter's gradient."""
        for p in self.parameters():
            p.grad = None

    def to(self, target):
        """Move to a device, or cast floating-point parameters, buffers and gradients to a dtype; returns self.

        target: "cpu", "cuda", "cuda-sim", or a dtype. Optimisers go on with the same parameters, but what they have
        remembered (momentum) stays where it was: move first. Integer buffers keep their dtype. Raises TypeError for a
        dtype that is not floating-point, RuntimeError for a device that this machine does not have.
        """
        if not Tensor(0.0).to(target).is_floating_point():
            raise TypeError(f"{type(self).__name__}.to: only floating-point dtypes, got {target!r}")
        for t in (*self.parameters(), *self.buffers()):
            if t.is_floating_point() or is_device(target):
                converted = t.detach().to(target)
                if converted.dtype != t.dtype or converted.device != t.device:
                    t._data, t.grad = converted._data, None if t.grad is None else t.grad.detach().to(target)
                    t.mark_modified()
        return self

    def float(self):
        """Cast to float32 in place; returns self."""
        return self.to("float32")

    def double(self):
        """Cast to float64 in place; returns self."""
        return self.to("float64")

    # --- state

    def state_dict(self):
        """{name: Tensor} of all parameters and buffers; the Tensors share the module's memory.

        What is shared inside the module has an entry for each of its names.
        """
        state = {}
        for name, module in self.named_modules(remove_duplicate=False):
            for key, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    state[f"{name}.{key}" if name else key] = tensor.detach()
        return state

    def load_state_dict(self, state, strict=True):
        """Copy {name: Tensor or array} into the parameters and buffers.

        Nothing is copied unless everything fits: with strict, missing and unexpected names, and in any case wrong
        shapes, raise RuntimeError listing them all. Entries that a module calls optional (`optional_state`) may be
        missing, and then keep their values. Returns (missing_keys, unexpected_keys). Raises TypeError for what is no
        mapping of names.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"{type(self).__name__}.load_state_dict: expected a dict, got a {type(state).__name__}")
        own = self.state_dict()
        modules = self.named_modules(remove_duplicate=False)
        optional = {f"{name}.{key}" if name else key for name, m in modules for key in m.optional_state}
        missing = [name for name in own if name not in state and name not in optional]
        unexpected = [name for name in state if name not in own]
        found = {name: as_tensor(state[name]) for name in own if name in state}
        misshapen = [f"{n} (here {own[n].shape}, given {t.shape})" for n, t in found.items() if t.shape != own[n].shape]
        problems = []
        for title, names in (("missing", missing), ("unexpected", unexpected)):
            if names and strict:
                problems.append(f"{title}: {', '.join(map(str, names))}")
        if misshapen:
            problems.append(f"wrong shape: {', '.join(misshapen)}")
        if problems:
            raise RuntimeError(f"{type(self).__name__}.load_state_dict: " + "; ".join(problems))
        for name, t in found.items():
            own[name].copy_(t.detach())
        return LoadResult(missing, unexpected)

    # --- display

    def extra_repr(self):
        """What stands between the parentheses of `repr` for a module without submodules."""
        return ""

    def __repr__(self):
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        head = [self.extra_repr()] if self.extra_repr() else []
        return f"{type(self).__name__}(\n  " + "\n  ".join([*head, *lines]) + "\n)"
