"""The register tile: the one inner loop under every fast convolution and matrix product on the CPU.

A tile is P rows ("pixels") times V vectors of L numbers ("channels"), all held in registers while it sums

    y[p ys + v L ...] = start[p ss + v L ...] + sum over t < T, k < K of
                        x[offsets[t] + p xs + k ks] * w[t wt + k ws + v L ...]

For every k it loads V vectors of w once and P single numbers of x, each of which is spread over a vector and multiplied
into V sums: P V multiplications for P + V loads, which is what keeps the multipliers busy. With the table `offsets` of
T starting points the same loop is a matrix product (T = 1), a sliding dot product (one entry a tap, in any order), or a
sum over image rows. `start` may be y itself (adding up), one bias for all pixels (its row step 0) or zeros.

LLVM's own vectoriser does not keep such a tile in registers, so `_Emitter` writes the loop down as LLVM code: P V sums
as phi nodes, `llvm.fma` on vectors of L numbers. How many registers there are, and how wide, follows the host. Each
(P, V, dtype) is compiled on first use, to a plain C function; loops elsewhere call it by its address with `run_tile`,
so that they need not be compiled again for every shape of tile.
Sources: Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication", sections 4 and 5 (the tile, the
packed panel); Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions", section II.
"""
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import c_function, indirect_call


class Host(NamedTuple):
    """What the processor offers: bytes in a vector register, and how many rows of two vectors fit into all of them."""

    vector_bytes: int
    pixels: int


@lru_cache(1)
def host():
    """The Host this runs on; 16 bytes and few registers, which every processor can imitate, where it is unknown."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return Host(64, 14)  # 32 registers: 28 sums, 2 vectors of w, the rest for addresses of x
    if features.get("avx2") and features.get("fma"):
        return Host(32, 6)  # 16 registers
    if binding.get_default_triple().startswith(("aarch64", "arm64")):
        return Host(16, 12)  # 32 registers
    return Host(16, 6)


def lanes(dtype):
    """L: how many numbers of a dtype a vector register holds."""
    return host().vector_bytes // np.dtype(dtype).itemsize


def most_pixels(vectors):
    """The largest P for V = 1, 2, 3 or 4, so that all sums stay in registers."""
    return host().pixels if vectors < 3 else host().pixels * (4 if vectors == 3 else 3) // 7


def split(count, most):
    """P: `count` rows in as few tiles as possible, and these as equal as possible: 28 -> 14, 27 -> 14, 7 -> 7."""
    return -(-count // -(-count // most))


NEAR = 3  # pixels found from one address each; one vector a pixel is over too soon to pay for more than one address
_ARGUMENTS = ("x", "xs", "ks", "offsets", "T", "K", "w", "wt", "ws", "start", "ss", "y", "ys")  # and `low`


@lru_cache
def tile(P, V, dtype, joining=False):
    """The compiled tile, an object with an `address` for `run_tile`. dtype: float32 or float64.

    joining: y is float64 and the sum is added to it (`low` then counts for nothing): long sums keep their digits in
    parts.
    """
    L, bits = lanes(dtype), 8 * np.dtype(dtype).itemsize

    def function(x, xs, ks, offsets, T, K, w, wt, ws, start, ss, y, ys, low):
        _multiply_add(P, V, L, bits, joining, x, xs, ks, offsets, T, K, w, wt, ws, start, ss, y, ys, low)

    return c_function(function, len(_ARGUMENTS))


@intrinsic
def run_tile(context, address, x, xs, ks, offsets, T, K, w, wt, ws, start, ss, y, ys, low):
    """Run the tile at `address`: y = max(low, start + the sum above).

    x, offsets (int64), w, start, y: addresses of the first element in use. Steps in elements; T, K >= 1. low: -inf, or
    0 for a ReLU; NaN stays NaN.
    """
    return indirect_call(len(_ARGUMENTS))


@intrinsic(prefer_literal=True)
def _multiply_add(context, P, V, L, bits, joining, x, xs, ks, offsets, T, K, w, wt, ws, start, ss, y, ys, low):
    """The body of a tile; P, V, L, bits, joining: constants."""
    signature = types.void(P, V, L, bits, joining, *[types.intp] * len(_ARGUMENTS), types.float64)
    shape = P.literal_value, V.literal_value, L.literal_value

    def generate(context, builder, signature, arguments):
        given = dict(zip((*_ARGUMENTS, "low"), arguments[5:], strict=True))
        _Emitter(builder, shape, bits.literal_value, joining.literal_value).emit(**given)
        return context.get_dummy_value()

    return signature, generate


class _Emitter:
    """Writes the loops of one tile in LLVM's intermediate representation."""

    def __init__(self, builder, shape, bits, joining):
        self.b, (self.P, self.V, self.L), self.bytes = builder, shape, bits // 8
        self.joining = joining
        self.scalar = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, self.L)
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{self.L}f{bits}")

    def emit(self, x, xs, ks, offsets, T, K, w, wt, ws, start, ss, y, ys, low):
        b, integer, near = self.b, x.type, NEAR if self.V > 1 else self.P
        x, w, start = (b.inttoptr(a, self.scalar.as_pointer()) for a in (x, w, start))
        y = b.inttoptr(y, (ir.DoubleType() if self.joining else self.scalar).as_pointer())
        offsets = b.inttoptr(offsets, integer.as_pointer())
        sums = [self.load(start, self.at(p, ss, v)) for p, v in self.cells()]
        entry, tap, inner, after, done = b.block, *map(b.append_basic_block, ("tap", "inner", "after", "done"))
        b.branch(tap)
        b.position_at_end(tap)
        t, sums_t = self.counter(integer, entry), self.carried(sums, entry)
        row, panel = b.gep(x, [b.load(b.gep(offsets, [t]))]), b.gep(w, [b.mul(t, wt)])
        rows = [self.opaque(b.gep(row, [b.mul(xs, integer(p))])) for p in range(0, self.P, near)]
        b.branch(inner)
        b.position_at_end(inner)
        k, sums_k = self.counter(integer, tap), self.carried(sums_t, tap)
        column, factors = b.mul(k, ks), b.gep(panel, [b.mul(k, ws)])
        wide = [self.load(factors, integer(v * self.L)) for v in range(self.V)]
        new = []
        for p in range(self.P):
            place = b.add(column, b.mul(xs, integer(p % near)))
            pixel = self.spread(b.load(b.gep(rows[p // near], [place])))
            new += [b.call(self.fma, [pixel, wide[v], sums_k[p * self.V + v]]) for v in range(self.V)]
        self.repeat(k, K, sums_k, new, inner, after)
        b.position_at_end(after)
        self.repeat(t, T, sums_t, new, tap, done)
        b.position_at_end(done)
        if self.joining:
            self.join(y, ys, new)
            return
        low = self.spread(low if self.bytes == 8 else b.fptrunc(low, self.scalar))
        for (p, v), total in zip(self.cells(), new, strict=True):
            total = b.select(b.fcmp_ordered("<", total, low), low, total)
            b.store(total, self.pointer(y, self.at(p, ys, v)), align=self.bytes)

    def join(self, y, ys, sums):
        """y += sums, in float64."""
        b, doubles = self.b, ir.VectorType(ir.DoubleType(), self.L)
        for (p, v), total in zip(self.cells(), sums, strict=True):
            place = b.bitcast(b.gep(y, [self.at(p, ys, v)]), doubles.as_pointer())
            total = total if self.bytes == 8 else b.fpext(total, doubles)
            b.store(b.fadd(b.load(place, align=8), total), place, align=8)

    def cells(self):
        return [(p, v) for p in range(self.P) for v in range(self.V)]

    def at(self, p, step, v):
        return self.b.add(self.b.mul(step, step.type(p)), step.type(v * self.L))

    def pointer(self, array, index):
        return self.b.bitcast(self.b.gep(array, [index]), self.vector.as_pointer())

    def load(self, array, index):
        return self.b.load(self.pointer(array, index), align=self.bytes)

    def spread(self, number):
        """One number in all lanes."""
        undefined, first = ir.Constant(self.vector, ir.Undefined), ir.IntType(32)(0)
        one = self.b.insert_element(undefined, number, first)
        return self.b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), self.L), [0] * self.L))

    def opaque(self, pointer):
        """The same address, whose origin the optimiser does not see: it would add up all P of them one by one."""
        kind = ir.FunctionType(pointer.type, [pointer.type])
        return self.b.asm(kind, "", "=r,0", [pointer], side_effect=False)

    def counter(self, kind, before):
        phi = self.b.phi(kind)
        phi.add_incoming(kind(0), before)
        return phi

    def carried(self, values, before):
        phis = [self.b.phi(self.vector) for _ in values]
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, before)
        return phis

    def repeat(self, index, count, phis, values, loop, after):
        """End the current block: once more from `loop` with index + 1 and these values, or on to `after`."""
        following = self.b.add(index, index.type(1))
        for phi, value in ((index, following), *zip(phis, values, strict=True)):
            phi.add_incoming(value, self.b.block)
        self.b.cbranch(self.b.icmp_signed("<", following, count), loop, after)
