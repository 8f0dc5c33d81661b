"""Waiting without sleeping, for the short time between two loops.

To wake a sleeping thread takes longer than many loops run: an idle core has to be called back first. So a thread that
has finished its piece watches a number in memory for a while, outside the GIL, before it goes to sleep.
"""
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import jit

ROUNDS = 60000  # to watch before going to sleep: about 2 ms, longer than most of what lies between two loops
GRACE = 200  # after a job was posted: time for the thread that did to begin with it, and so to release the GIL
LEAVING = 40  # after a job is over: time for the thread that ended it to release the GIL


@intrinsic
def _look(context, address):
    """The int64 at an address, read anew each time."""

    def generate(context, b, signature, given):
        if binding.get_default_triple().startswith(("x86_64", "i686")):  # leave the core to its other hardware thread
            nothing = ir.FunctionType(ir.VoidType(), [])
            b.call(cgutils.get_or_insert_function(b.module, nothing, "llvm.x86.sse2.pause"), [])
        return b.load_atomic(b.inttoptr(given[0], ir.IntType(64).as_pointer()), "acquire", 8)

    return types.int64(types.intp), generate


@jit
def watch(number, old, rounds, grace):
    """Look at number[0] until it is not `old`, for so many rounds at most; then, if it changed, `grace` rounds more."""
    for _ in range(rounds):
        if _look(number.ctypes.data) != old:
            for _ in range(grace):
                _look(number.ctypes.data)
            return True
    return False
