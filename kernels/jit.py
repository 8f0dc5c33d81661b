"""The one way this project compiles a loop with Numba.

Code is cached on disk, so only the first run after an install or an edit compiles; where no folder is writable the
loop is compiled anew in each process. Numba notices edits only in the file that holds a loop; here every cached loop
carries a stamp of all kernel files, so a loop may call those of another file, and build on tile.py.
"""
import gc
import zlib
from functools import lru_cache
from pathlib import Path

import numba
from llvmlite import ir
from numba import types
from numba.core import event
from numba.core.caching import FunctionCache, NullCache
from numba.core.ccallback import CFunc

from .notice import NOTICE

# May fuse a*b+c and reorder sums (which vectorises them); still honours NaN and infinity.
FASTMATH = {"contract", "reassoc", "nsz"}
OPTIONS = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}


@lru_cache(1)
def stamp():
    """A checksum of every kernel file: other sources, other compiled code."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return zlib.crc32(b"".join(path.read_bytes() for path in files))


class _Announced:
    """A cache that has nothing for us means that compiling begins, and what it is given to keep, that it is over."""

    def load_overload(self, sig, target_context):
        found = super().load_overload(sig, target_context)
        if found is None:
            NOTICE.begin((id(self), sig))
        return found

    def save_overload(self, sig, data):
        NOTICE.end((id(self), sig))
        super().save_overload(sig, data)


class StampedCache(_Announced, FunctionCache):
    """Numba's cache on disk, whose entries also depend on the stamp."""

    named = False  # whether the name stands for what the function has from around it, which has no lasting identity

    def _index_key(self, sig, codegen):
        if self.named:
            return sig, codegen.magic_tuple(), stamp()
        return *super()._index_key(sig, codegen), stamp()


class NoCache(_Announced, NullCache):
    """What takes its place where no folder is writable."""


class _NoCollection(event.Listener):
    """Python's search for cycles of garbage finds little in a compiler, and takes a tenth of its time: it has to wait.

    Numba compiles in one thread at a time, and tells of the end also where that is an error.
    """

    def __init__(self):
        self.compiling, self.enabled = [], False

    def on_start(self, started):
        if isinstance(getattr(started.data["dispatcher"], "_cache", None), _Announced):
            if not self.compiling:
                self.enabled = gc.isenabled()
                gc.disable()
            self.compiling.append(started.data["dispatcher"])

    def on_end(self, ended):
        if self.compiling and self.compiling[-1] is ended.data["dispatcher"]:
            self.compiling.pop()
            if not self.compiling and self.enabled:
                gc.enable()


event.register("numba:compile", _NoCollection())


def jit(function):
    """Compile `function` in nopython mode on its first call; it releases the GIL while it runs."""
    return _cached(numba.njit(**OPTIONS)(function), function)


def jit_inside(function):
    """`jit` for what only compiled code calls: without a way in from Python, which takes a fifth of the time."""

    def refuse(*args):
        raise TypeError(f"{function.__qualname__}: only compiled code can call it; `jit` makes a way in from Python")

    compiled = _cached(numba.njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function), function)
    compiled._compile_for_args, compiled._insert = refuse, lambda *entry: None  # Numba itself would crash
    return compiled


def jit_as(function, name):
    """`jit` for a function made inside another one: kept on disk under this name, which says all that it depends on."""
    function.__qualname__ = name
    compiled = jit(function)
    if isinstance(compiled._cache, StampedCache):
        compiled._cache.named = True
    return compiled


def _cached(compiled, function):
    try:
        compiled._cache = StampedCache(function)
    except RuntimeError:  # "no locator available": no folder for the cache is writable
        compiled._cache = NoCache()
    return compiled


def c_function(function, integers):
    """`function`, compiled for so many integers and a float64, as an object with the `address` of a C function."""
    signature = (types.intp,) * integers + (types.float64,), types.void
    compiled = _cached(CFunc(function, sig=signature, locals={}, options={"error_model": "numpy"}), function)
    compiled.compile()
    return compiled


def indirect_call(integers):
    """What an intrinsic(address, so many integers, a float64) returns to call the C function at that address."""
    signature = types.void(*[types.intp] * (1 + integers), types.float64)

    def generate(context, builder, signature, given):
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in given[1:]]).as_pointer()
        builder.call(builder.inttoptr(given[0], kind), given[1:])
        return context.get_dummy_value()

    return signature, generate
