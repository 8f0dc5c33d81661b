"""Modules made of modules, and the plumbing between them."""
from itertools import count, groupby
from operator import index as as_index

from .. import ops
from ..tensor import Tensor
from .activations import ReLU
from .conv import Conv2d
from .module import Module, Parameter
from .norm import BatchNorm1d, BatchNorm2d

RECTIFYING = BatchNorm1d, BatchNorm2d, Conv2d


def in_turn(x, *modules, plus=None):
    """x through the modules one after the other: in_turn(x, norm, relu, conv) is conv(relu(norm(x))).

    plus: added before the last of at least two. A ReLU, and an addition before it, is done by the batch norm or Conv2d
    before it, in the same walk through memory; not where a hook looks at what is between the two.
    """
    if plus is not None:
        *modules, last = modules
        *modules, inner = _effective(modules) or modules[-1:]
        x = in_turn(x, *modules)
        return inner(x, relu=True, plus=plus) if _takes_in(inner, last, plus) else last(inner(x) + plus)
    rest = _effective(modules)
    while rest:
        module, *rest = rest
        if rest and _takes_in(module, rest[0]):
            x, rest = module(x, relu=True), rest[1:]
        else:
            x = module(x)
    return x


def _effective(modules):
    """The modules but for each Identity that no hook looks at: `fuse` leaves many."""
    return [m for m in modules if type(m) is not Identity or m._forward_pre_hooks or m._forward_hooks]


def _takes_in(module, following, plus=None):
    """Whether a module does the ReLU that follows, and an addition between the two, and nobody looks in between."""
    hooks = module._forward_hooks or following._forward_pre_hooks or following._forward_hooks
    rectified = plus is not None and type(module) is Conv2d and module.fused_relu  # before the addition
    return type(module) in RECTIFYING and type(following) is ReLU and not hooks and not rectified


class _List(Module):
    """What Sequential and ModuleList share: the behaviour of a list, in which names are numbers."""

    def _add(self, name, module):
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: expected a Module for {name!r}, got {module!r}")
        self.add_module(name, module)

    def _name(self, index):
        """The name of the module at an index, which may be negative."""
        names = list(self._modules)
        if not -len(names) <= as_index(index) < len(names):
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {len(names)} modules")
        return names[index]

    def _reset(self, modules):
        """Hold these modules, numbered from 0."""
        modules = list(modules)
        self._modules.clear()
        for i, module in enumerate(modules):
            self._add(str(i), module)

    def append(self, module):
        """Add a module at the end, named by the first free number from its position on; returns self."""
        self._add(next(name for name in map(str, count(len(self))) if name not in self._modules), module)
        return self

    def extend(self, modules):
        """Append every module of an iterable; returns self."""
        if isinstance(modules, Module) and not isinstance(modules, _List):
            raise TypeError(f"{type(self).__name__}.extend: expected several modules, got {modules!r}")
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index, module):
        """Add a module before position `index`; returns self. Numbers are given anew, other names are kept."""
        if not -len(self) <= as_index(index) <= len(self):
            raise IndexError(f"{type(self).__name__}: cannot insert at {index}, there are {len(self)} modules")
        numbered = all(name.isdigit() for name in self._modules)
        self.append(module)
        items = list(self._modules.items())
        items.insert(index, items.pop())
        if numbered:
            self._reset(m for _, m in items)
        else:
            self._modules.clear()
            self._modules.update(items)
        return self

    def pop(self, index):
        """Remove the module at an index, or the modules of a slice, and return what was removed."""
        removed = self[index]
        del self[index]
        return removed

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __getitem__(self, index):
        return self._modules[self._name(index)]

    def __setitem__(self, index, module):
        self._add(self._name(index), module)

    def __delitem__(self, index):
        names = list(self._modules)[index] if isinstance(index, slice) else [self._name(index)]
        self._reset(module for name, module in self._modules.items() if name not in names)

    def __iadd__(self, modules):
        return self.extend(modules)

    def __add__(self, modules):
        return type(self)().extend(self).extend(modules)


class Sequential(_List):
    """Modules called one after the other: Sequential(a, b) or Sequential({"first": a, "second": b}).

    Behaves like a list: len, iteration, indexing and slicing, assignment, append, extend, insert, pop, del (which
    numbers what is left from 0) and +. A slice shares the modules and keeps their names.
    Raises TypeError for anything that is not a Module.
    """

    def __init__(self, *modules):
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = modules[0].items()
        else:
            named = ((str(i), module) for i, module in enumerate(modules))
        for name, module in named:
            self._add(name, module)

    def forward(self, x):
        return in_turn(x, *self._modules.values())

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def __add__(self, modules):
        return Sequential().extend(self).extend(modules)


class ModuleList(_List):
    """A list of modules that the network finds; calling them is up to its `forward`. Names are "0", "1", ...

    modules: an iterable of Modules. Behaves like a list; a slice is a new ModuleList, numbered from 0.
    Raises TypeError for anything that is not a Module.
    """

    def __init__(self, modules=()):
        super().__init__()
        self.extend(() if modules is None else modules)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return type(self)(list(self._modules.values())[index])
        return super().__getitem__(index)

    def __repr__(self):
        """Like that of other modules, but equal neighbours share a line."""
        lines, start = [], 0
        for text, group in groupby(map(repr, self)):
            n = len(list(group))
            text = text.replace("\n", "\n  ")
            lines.append(f"({start}): {text}" if n == 1 else f"({start}-{start + n - 1}): {n} x {text}")
            start += n
        return f"{type(self).__name__}(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


class ModuleDict(Module):
    """A dict of modules that the network finds, in the order of insertion; calling them is up to its `forward`.

    modules: a mapping from names to Modules, or an iterable of pairs. Behaves like a dict: [name], del, in, len,
    iteration over names, keys, values, items, update, pop, clear. Raises TypeError for anything that is not a Module.
    """

    def __init__(self, modules=None):
        super().__init__()
        self.update(modules or {})

    def update(self, modules):
        """Add or replace modules from a mapping, a ModuleDict or an iterable of (name, module)."""
        for name, module in modules.items() if hasattr(modules, "items") else modules:
            self[name] = module

    def pop(self, name):
        """Remove a module and return it. Raises KeyError if there is none of that name."""
        return self._modules.pop(name)

    def clear(self):
        """Remove all modules."""
        self._modules.clear()

    def keys(self):
        """The names."""
        return self._modules.keys()

    def values(self):
        """The modules."""
        return self._modules.values()

    def items(self):
        """The (name, module) pairs."""
        return self._modules.items()

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __contains__(self, name):
        return name in self._modules

    def __getitem__(self, name):
        return self._modules[name]

    def __setitem__(self, name, module):
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict: expected a Module for {name!r}, got {module!r}")
        self.add_module(name, module)

    def __delitem__(self, name):
        del self._modules[name]


class ParameterList(Module):
    """A list of Parameters that the network finds, named "0", "1", ...; Tensors become Parameters.

    Behaves like PyTorch's list: len, in, iteration, indexing and slicing, assignment, append, extend, +=.
    Raises TypeError for anything that is not a Tensor.
    """

    def __init__(self, values=()):
        super().__init__()
        self.extend(() if values is None else values)

    def _set(self, name, value):
        if not isinstance(value, Tensor):
            raise TypeError(f"ParameterList: expected a Tensor for {name!r}, got {value!r}")
        self.register_parameter(name, value if isinstance(value, Parameter) else Parameter(value))

    def append(self, value):
        """Add a Tensor at the end; returns self."""
        self._set(str(len(self)), value)
        return self

    def extend(self, values):
        """Append every Tensor of an iterable; returns self."""
        if isinstance(values, Tensor):
            raise TypeError("ParameterList.extend: expected several tensors, got one")
        for value in list(values):
            self.append(value)
        return self

    def __len__(self):
        return len(self._parameters)

    def __iter__(self):
        return iter(self._parameters.values())

    def __contains__(self, value):
        return any(p is value for p in self)

    def __getitem__(self, index):
        found = list(self._parameters.values())[index]
        return type(self)(found) if isinstance(index, slice) else found

    def __setitem__(self, index, value):
        self._set(list(self._parameters)[index], value)

    def __iadd__(self, values):
        return self.extend(values)

    def __repr__(self):
        lines = [
            f"({name}): Parameter containing: [{p.dtype} of size {'x'.join(map(str, p.shape))}]"
            for name, p in self._parameters.items()
        ]
        return "ParameterList(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


class Identity(Module):
    """y = x. Any arguments are accepted and ignored, so that it can stand in for another layer."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, x):
        return x


class Flatten(Module):
    """Make the dimensions start_dim ... end_dim one: N x C x H x W -> N x (C H W)."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return ops.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
