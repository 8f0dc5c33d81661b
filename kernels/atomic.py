"""One number in memory that several threads use at once, in compiled code: read, store, add, compare-and-swap.

Addresses are those of int64 numbers. What a thread stored before it `put` a number is seen by whoever reads that number
with `look` (release and acquire, as in C11).
"""
import os

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INT64, INT32 = ir.IntType(64), ir.IntType(32)


def _place(b, address):
    return b.inttoptr(address, INT64.as_pointer())


@intrinsic
def look(typing, address):
    """The int64 at an address, read anew each time."""

    def generate(context, b, signature, given):
        if binding.get_default_triple().startswith(("x86_64", "i686")):  # leave the core to its other hardware thread
            nothing = ir.FunctionType(ir.VoidType(), [])
            b.call(cgutils.get_or_insert_function(b.module, nothing, "llvm.x86.sse2.pause"), [])
        return b.load_atomic(_place(b, given[0]), "acquire", 8)

    return types.int64(types.intp), generate


@intrinsic
def put(typing, address, value):
    """Store an int64 where other threads look; what was stored before is there for those who see it."""

    def generate(context, b, signature, given):
        b.store_atomic(given[1], _place(b, given[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), generate


@intrinsic
def add_one(typing, address):
    """Add 1 to an int64, whoever else does so at the same time, and give what it was."""

    def generate(context, b, signature, given):
        return b.atomic_rmw("add", _place(b, given[0]), INT64(1), "acq_rel")

    return types.int64(types.intp), generate


@intrinsic
def swap(typing, address, old, new):
    """If the int64 is `old`, put `new` in its place, and say whether it was."""

    def generate(context, b, signature, given):
        found = b.cmpxchg(_place(b, given[0]), given[1], given[2], "acq_rel", "acquire")
        return b.extract_value(found, 1)

    return types.boolean(types.intp, types.int64, types.int64), generate


@intrinsic
def give_way(typing):
    """Let another thread have this core, where the system has a function for that."""

    def generate(context, b, signature, given):
        if os.name == "posix":
            b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(INT32, []), "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate
