"""Moving runs of numbers inside compiled loops: the C library's memcpy and memset, which loops do not match.

Numba compiles a copying loop between two arrays that might overlap element by element; these say that they do not.
"""
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable


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


@intrinsic
def _pointer(context, address, like):
    """The address as a pointer to numbers of like's dtype."""
    kind = types.CPointer(like.dtype)

    def generate(context, builder, signature, given):
        return builder.inttoptr(given[0], context.get_value_type(kind))

    return kind(types.intp, like), generate


@register_jitable
def numbers(address, count, like):
    """The `count` numbers at an address, as an array of like's dtype."""
    return carray(_pointer(address, like), (count,))


@intrinsic
def fetch(context, address, size):
    """Ask for `size` bytes from an address on, which will be read soon: they are on their way while others are in work.

    Nothing waits for them, and no address is wrong.
    """
    return types.void(types.intp, types.intp), _prefetch(0)


@intrinsic
def claim(context, address, size):
    """The same for bytes that will be written: lines that are in no cache would hold up one store after the other."""
    return types.void(types.intp, types.intp), _prefetch(1)


def _prefetch(write):
    def generate(context, builder, signature, given):
        integer, byte = given[0].type, ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte] + [ir.IntType(32)] * 3)
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        hints = [ir.IntType(32)(i) for i in (write, 3, 1)]  # to the first-level cache, data
        with cgutils.for_range_slice(builder, integer(0), given[1], integer(64), integer) as (i, _):
            builder.call(prefetch, [builder.inttoptr(builder.add(given[0], i), byte), *hints])
        return context.get_dummy_value()

    return generate
