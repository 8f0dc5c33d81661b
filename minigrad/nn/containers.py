"""Modules made of modules, and the plumbing between them."""
from itertools import count

from .. import ops
from .module import Module


class Sequential(Module):
    """Modules called one after the other: Sequential(a, b) or Sequential({"first": a, "second": b}).

    Behaves like a list: len, iteration, indexing and slicing, append. A slice shares the modules and keeps their names.
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

    def _add(self, name, module):
        if not isinstance(module, Module):
            raise TypeError(f"Sequential: expected a Module for {name!r}, got {module!r}")
        self.add_module(name, module)

    def forward(self, x):
        for module in self._modules.values():
            x = module(x)
        return x

    def append(self, module):
        """Add a module at the end, named by the first free number from its position on; returns self."""
        self._add(next(name for name in map(str, count(len(self))) if name not in self._modules), module)
        return self

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return list(self._modules.values())[index]


class Flatten(Module):
    """Make the dimensions start_dim ... end_dim one: N x C x H x W -> N x (C H W)."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return ops.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
