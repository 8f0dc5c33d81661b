"""Moving runs of numbers inside compiled loops: the C library's memcpy and memset, which loops do not match.

Numba compiles a copying loop between two arrays that might overlap element by element; these say that they do not.
"""
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def copy(context, to, source, size):
    """Copy `size` bytes between two addresses; the runs must not overlap."""

    def generate(context, builder, signature, given):
        byte = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(builder, *(builder.inttoptr(a, byte) for a in given[:2]), given[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def clear(context, to, size):
    """Set `size` bytes from an address on to zero."""

    def generate(context, builder, signature, given):
        cgutils.memset(builder, builder.inttoptr(given[0], ir.IntType(8).as_pointer()), given[1], 0)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate
