"""Y = M X M^T for small constant matrices M, on many channels at once: the transforms of Winograd's algorithm.

Each element of X and Y stands for the channels of one pixel, which are neighbours in memory, and vectors of L of them
are transformed together. A transform is compiled once for each matrix and dtype, to a plain C function: M's zeros cost
nothing, its ones no multiplication, and X is read and Y written once.
"""
from fractions import Fraction
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import c_function, indirect_call
from .tile import lanes

_ARGUMENTS = ("x", "xi", "xj", "y", "yi", "yj", "start", "channels")  # and `low`


@lru_cache
def sandwich(matrix, dtype):
    """The compiled transform, an object with an `address` for `run_sandwich`. matrix: text, see `numbers`."""
    L, bits = lanes(dtype), 8 * np.dtype(dtype).itemsize

    def function(x, xi, xj, y, yi, yj, start, channels, low):
        _transform(matrix, L, bits, x, xi, xj, y, yi, yj, start, channels, low)

    return c_function(function, len(_ARGUMENTS))


def numbers(matrix):
    """The rows of a matrix written as text, "1 0 -1; 1/2 1 1/2": lists of Fractions."""
    return [[Fraction(entry) for entry in row.split()] for row in matrix.split(";")]


@lru_cache
def transposed(matrix):
    """The text of the transposed matrix."""
    return "; ".join(" ".join(map(str, column)) for column in zip(*numbers(matrix), strict=True))


@intrinsic
def run_sandwich(context, address, x, xi, xj, y, yi, yj, start, channels, low):
    """Run the transform at `address`: Y[i, j] = max(low, start + (M X M^T)[i, j]) for each channel.

    x, y: addresses of the first channel of X[0, 0] and Y[0, 0]; xi, xj, yi, yj: steps in elements to the next row and
    column. start: the address of one number a channel. channels: a multiple of L.
    """
    return indirect_call(len(_ARGUMENTS))


@intrinsic(prefer_literal=True)
def _transform(context, matrix, L, bits, x, xi, xj, y, yi, yj, start, channels, low):
    """The body of a transform; matrix, L, bits: constants."""
    signature = types.void(matrix, L, bits, *[types.intp] * len(_ARGUMENTS), types.float64)
    rows, lanes_, width = numbers(matrix.literal_value), L.literal_value, bits.literal_value

    def generate(context, builder, signature, arguments):
        given = dict(zip((*_ARGUMENTS, "low"), arguments[3:], strict=True))
        step = given["x"].type(lanes_)
        count = builder.udiv(given.pop("channels"), step)
        with cgutils.for_range(builder, count) as loop:
            _Emitter(builder, rows, lanes_, width).emit(builder.mul(loop.index, step), **given)
        return context.get_dummy_value()

    return signature, generate


class _Emitter:
    """Writes one transform of L channels in LLVM's intermediate representation."""

    def __init__(self, builder, rows, L, bits):
        self.b, self.rows, self.L, self.bytes = builder, rows, L, bits // 8
        self.scalar = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, L)
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{L}f{bits}")

    def emit(self, channel, x, xi, xj, y, yi, yj, start, low):
        b, q = self.b, range(len(self.rows[0]))
        columns = []
        for j in q:
            columns.append(self.times([self.load(x, channel, (i, xi), (j, xj)) for i in q]))  # M X, column by column
        first, low = self.load(start, channel), self.constant(low if self.bytes == 8 else b.fptrunc(low, self.scalar))
        for i in range(len(self.rows)):
            for j, value in enumerate(self.times([column[i] for column in columns], first)):  # its rows times M^T
                value = b.select(b.fcmp_ordered("<", value, low), low, value)
                b.store(value, self.pointer(y, channel, (i, yi), (j, yj)), align=self.bytes)

    def times(self, vectors, start=None):
        """M times a column of vectors, plus start."""
        return [self.combined(row, vectors, start) for row in self.rows]

    def combined(self, factors, vectors, total):
        """The sum of factor times vector, added to total."""
        b = self.b
        for factor, v in sorted(zip(factors, vectors, strict=True), key=lambda pair: abs(pair[0]) != 1):
            if factor == 0:
                continue
            if total is None:
                total = v if factor == 1 else b.fmul(v, self.constant(self.scalar(float(factor))))
            elif abs(factor) == 1:
                total = b.fadd(total, v) if factor == 1 else b.fsub(total, v)
            else:
                total = b.call(self.fma, [v, self.constant(self.scalar(float(factor))), total])
        return total

    def constant(self, number):
        """One number in all lanes."""
        undefined, first = ir.Constant(self.vector, ir.Undefined), ir.IntType(32)(0)
        one = self.b.insert_element(undefined, number, first)
        return self.b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), self.L), [0] * self.L))

    def pointer(self, address, channel, *steps):
        for count, step in steps:
            channel = self.b.add(channel, self.b.mul(step, step.type(count)))
        array = self.b.inttoptr(address, self.scalar.as_pointer())
        return self.b.bitcast(self.b.gep(array, [channel]), self.vector.as_pointer())

    def load(self, address, channel, *steps):
        return self.b.load(self.pointer(address, channel, *steps), align=self.bytes)
