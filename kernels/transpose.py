"""L x L numbers transposed in registers: how weights get from a kernel's order into that of the register tile.

Row i of the block is the vector of L numbers at x + i xi; its column j is stored as a vector at the address table[j].
Blocks of half the size change places first, then blocks of a quarter, down to single numbers: log2 L rounds of shuffles
in place of L L single loads and stores (Eklundh 1972, "A fast computer method for matrix transposing").
"""
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import c_function, indirect_call
from .tile import lanes

_ARGUMENTS = 3


@lru_cache
def transpose(dtype):
    """The compiled block, an object with an `address` for `run_transpose`."""
    L, bits = lanes(dtype), 8 * np.dtype(dtype).itemsize

    def function(x, xi, table, low):
        _shuffle(L, bits, x, xi, table)

    return c_function(function, _ARGUMENTS)


@intrinsic
def run_transpose(context, address, x, xi, table, low):
    """Run the block at `address`. x: address of the first number; xi: elements from row to row; table: the address of L
    addresses, int64. low: unused."""
    return indirect_call(_ARGUMENTS)


@intrinsic(prefer_literal=True)
def _shuffle(context, L, bits, x, xi, table):
    """The body of the block; L, bits: constants."""
    signature = types.void(L, bits, *[types.intp] * _ARGUMENTS)
    lanes_, width = L.literal_value, bits.literal_value

    def generate(context, b, signature, arguments):
        x, xi, table = arguments[2:]
        scalar = ir.FloatType() if width == 32 else ir.DoubleType()
        vector = ir.VectorType(scalar, lanes_).as_pointer()
        x, table = b.inttoptr(x, scalar.as_pointer()), b.inttoptr(table, x.type.as_pointer())
        rows = [
            b.load(b.bitcast(b.gep(x, [b.mul(xi, xi.type(i))]), vector), align=width // 8) for i in range(lanes_)
        ]
        half = lanes_ // 2
        while half:
            for i in range(lanes_):
                if not i & half:
                    rows[i], rows[i + half] = _exchange(b, rows[i], rows[i + half], half, lanes_)
            half //= 2
        for j, row in enumerate(rows):
            to = b.load(b.gep(table, [xi.type(j)]))
            b.store(row, b.inttoptr(to, vector), align=width // 8)
        return context.get_dummy_value()

    return signature, generate


def _exchange(b, upper, lower, half, L):
    """Of two rows `half` apart: the upper one's odd runs of `half` numbers against the lower one's even runs."""
    first = [j if not j & half else L + j - half for j in range(L)]
    second = [j + half if not j & half else L + j for j in range(L)]
    mask = ir.VectorType(ir.IntType(32), L)
    return tuple(b.shuffle_vector(upper, lower, ir.Constant(mask, order)) for order in (first, second))
