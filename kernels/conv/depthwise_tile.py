"""The register tiles of convolutions with few channels a group, depthwise first of all: here channels fill the vectors.

A vector holds L neighbouring output channels, so L / OCg whole groups, and meets the vector of the same groups' input
channels, once for each k < Cg, with channel k of its group put into each lane (depthwise: as it is). Two loops:

    slide:     y[q, j] = w[0] + sum over r, k, t of  x[r, q, j stride + columns[t]] (channel k)  times  w[r, k, t]
    gradient:  sums[r, k, t] += sum over j of        x[r, j stride + columns[t]] (channel k)     times  gy[j]

for R x P neighbouring outputs (q, j), in the gradient P of one row; r runs over the rows of the kernel and t over its
columns. A vector of x is loaded once for all the outputs of a row that see it, and the sums (or gy) stay in registers.
Which pixel is where is asked of a table of addresses, one for each input pixel: pixels outside the image are the
address of zeros, so an edge costs nothing and nothing is copied.

Source: the layout is that of Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions", section
II-B, with groups for lanes; the table is Dukhan 2019, "The indirect convolution algorithm", section 3.
"""
from functools import lru_cache
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..jit import c_function, indirect_call


class Form(NamedTuple):
    """What a tile is compiled for: all that is unrolled."""

    bits: int  # of a number
    lanes: int  # L, a multiple of ocg
    cg: int
    ocg: int
    rows: int  # R
    pixels: int  # P
    stride: int  # input columns from one output to the next
    past_cache: bool  # y goes to memory directly; for vectors that are cache lines
    columns: tuple[int, ...]  # of the kernel, the first one is 0


_SLIDE = ("x", "rows", "pitch", "count", "vectors", "channels", "xc", "w", "y", "yr", "yc")  # and `low`
_GRADIENT = ("x", "rows", "count", "vectors", "channels", "xc", "gy", "gyc", "sums")  # and a number that does not count


@lru_cache
def slide(form):
    """The compiled tile of a Form, an object with an `address` for `run_slide`."""
    text = _text(form)

    def function(x, rows, pitch, count, vectors, channels, xc, w, y, yr, yc, low):
        _slide(text, x, rows, pitch, count, vectors, channels, xc, w, y, yr, yc, low)

    return c_function(function, len(_SLIDE))


@lru_cache
def gradient(form):
    """The compiled weight gradient of a Form, an object with an `address` for `run_gradient`."""
    text = _text(form)

    def function(x, rows, count, vectors, channels, xc, gy, gyc, sums, unused):
        _gradient(text, x, rows, count, vectors, channels, xc, gy, gyc, sums)

    return c_function(function, len(_GRADIENT))


@intrinsic
def run_slide(context, address, x, rows, pitch, count, vectors, channels, xc, w, y, yr, yc, low):
    """Run the tile at `address` on `vectors` vectors of channels; the last one ends with the last of `channels`.

    x: address of the table's entry for output (0, 0), column 0. rows: address of the steps in the table to the `count`
    rows of the kernel. pitch: step in the table to the next row of outputs. xc: the first input channel. w: address of
    vectors x (start; rows, k, columns) x L weights. y: address of output (0, 0), with steps yr and yc to its
    neighbours. y is at least low: -inf, or 0 for a ReLU; NaN stays NaN.
    """
    return indirect_call(len(_SLIDE))


@intrinsic
def run_gradient(context, address, x, rows, count, vectors, channels, xc, gy, gyc, sums, unused):
    """Run the tile at `address`; see `run_slide`. sums: address of vectors x count x Cg x columns x L numbers."""
    return indirect_call(len(_GRADIENT))


def _text(form):
    return " ".join(str(int(number)) for number in (*form[:-1], *form.columns))


def _parsed(text):
    fixed = len(Form._fields) - 1
    values = [int(word) for word in text.split()]
    return Form(*values[:fixed], tuple(values[fixed:]))


@intrinsic(prefer_literal=True)
def _slide(context, text, x, rows, pitch, count, vectors, channels, xc, w, y, yr, yc, low):
    """The body of a tile; text: a constant."""
    form = _parsed(text.literal_value)

    def generate(context, builder, signature, arguments):
        _Emitter(builder, form).slide(**dict(zip((*_SLIDE, "low"), arguments[1:], strict=True)))
        return context.get_dummy_value()

    return types.void(text, *[types.intp] * len(_SLIDE), types.float64), generate


@intrinsic(prefer_literal=True)
def _gradient(context, text, x, rows, count, vectors, channels, xc, gy, gyc, sums):
    """The body of a weight gradient; text: a constant."""
    form = _parsed(text.literal_value)

    def generate(context, builder, signature, arguments):
        _Emitter(builder, form).gradient(**dict(zip(_GRADIENT, arguments[1:], strict=True)))
        return context.get_dummy_value()

    return types.void(text, *[types.intp] * len(_GRADIENT)), generate


class _Emitter:
    """Writes a tile in LLVM's intermediate representation; variables live on the stack, until LLVM finds registers."""

    def __init__(self, builder, form):
        self.b, self.form = builder, form
        self.scalar = ir.FloatType() if form.bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, form.lanes)
        self.zero = ir.Constant(self.vector, [self.scalar(0)] * form.lanes)
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{form.lanes}f{form.bits}")

    def slide(self, x, rows, pitch, count, vectors, channels, xc, w, y, yr, yc, low):
        b, f = self.b, self.form
        low = self.spread(low if f.bits == 64 else b.fptrunc(low, self.scalar))
        variables = {(q, j): cgutils.alloca_once(b, self.vector) for q in range(f.rows) for j in range(f.pixels)}
        row_of_w = f.cg * len(f.columns) * f.lanes
        with cgutils.for_range(b, vectors) as loop:
            c, at_x = self.channel(loop.index, channels, xc)
            panel = b.mul(loop.index, b.add(b.mul(count, count.type(row_of_w)), count.type(f.lanes)))
            for variable in variables.values():
                b.store(self.load(w, panel), variable)
            with cgutils.for_range(b, count) as tap:
                row = self.entry(rows, tap.index)
                at = b.add(b.add(panel, panel.type(f.lanes)), b.mul(tap.index, count.type(row_of_w)))
                for k in range(f.cg):
                    first = k * len(f.columns)
                    factors = [self.load(w, b.add(at, at.type((first + t) * f.lanes))) for t in range(len(f.columns))]
                    for q in range(f.rows):
                        entry = b.add(row, b.mul(pitch, pitch.type(q)))
                        for column, seen_by in self.outputs():
                            pixel = self.pixel(x, entry, column, at_x, k)
                            for j, t in seen_by:
                                self.add_product(variables[q, j], pixel, factors[t])
            for (q, j), variable in variables.items():
                total = b.load(variable)
                total = b.select(b.fcmp_ordered("<", total, low), low, total)
                place = b.add(c, b.add(b.mul(yr, yr.type(q)), b.mul(yc, yc.type(j))))
                stored = b.store(total, self.pointer(y, place), align=64 if f.past_cache else f.bits // 8)
                if f.past_cache:
                    stored.set_metadata("nontemporal", b.module.add_metadata([ir.IntType(32)(1)]))

    def gradient(self, x, rows, count, vectors, channels, xc, gy, gyc, sums):
        b, f = self.b, self.form
        variables = [[cgutils.alloca_once(b, self.vector) for _ in range(2)] for _ in f.columns]
        row_of_sums = f.cg * len(f.columns) * f.lanes
        with cgutils.for_range(b, vectors) as loop:
            c, at_x = self.channel(loop.index, channels, xc)
            given = [self.load(gy, b.add(c, b.mul(gyc, gyc.type(j)))) for j in range(f.pixels)]
            with cgutils.for_range(b, count) as tap:
                row = self.entry(rows, tap.index)
                at = b.mul(b.add(b.mul(loop.index, count), tap.index), count.type(row_of_sums))
                for k in range(f.cg):
                    for variable in (one for pair in variables for one in pair):
                        b.store(self.zero, variable)
                    for column, seen_by in self.outputs():
                        pixel = self.pixel(x, row, column, at_x, k)
                        for j, t in seen_by:
                            self.add_product(variables[t][j % 2], pixel, given[j])
                    for t, (even, odd) in enumerate(variables):
                        place = b.add(at, at.type((k * len(f.columns) + t) * f.lanes))
                        total = b.fadd(self.load(sums, place), b.fadd(b.load(even), b.load(odd)))
                        b.store(total, self.pointer(sums, place), align=f.bits // 8)

    def channel(self, v, channels, xc):
        """The first output channel of a vector, and the first input channel of its groups."""
        b, f = self.b, self.form
        c, last = b.mul(v, v.type(f.lanes)), b.sub(channels, v.type(f.lanes))
        c = b.select(b.icmp_signed("<", c, last), c, last)
        return c, b.add(xc, b.mul(b.sdiv(c, c.type(f.ocg), flags=("exact",)), c.type(f.cg)))

    def outputs(self):
        """For each input column that is seen: (column, [(output j, kernel column t), ...])."""
        seen = {}
        for j in range(self.form.pixels):
            for t, column in enumerate(self.form.columns):
                seen.setdefault(j * self.form.stride + column, []).append((j, t))
        return sorted(seen.items())

    def pixel(self, x, row, column, channel, k):
        """L numbers of a pixel: in each lane channel k of the lane's group."""
        b, f = self.b, self.form
        address = self.entry(x, b.add(row, row.type(column)))
        wide = ir.VectorType(self.scalar, f.lanes // f.ocg * f.cg)
        start = b.gep(b.inttoptr(address, self.scalar.as_pointer()), [channel])
        numbers = b.load(b.bitcast(start, wide.as_pointer()), align=f.bits // 8)
        if f.cg == f.ocg == 1:
            return numbers
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), f.lanes), [o // f.ocg * f.cg + k for o in range(f.lanes)])
        return b.shuffle_vector(numbers, ir.Constant(wide, ir.Undefined), lanes)

    def add_product(self, variable, pixel, factor):
        self.b.store(self.b.call(self.fma, [pixel, factor, self.b.load(variable)]), variable)

    def entry(self, table, index):
        return self.b.load(self.b.gep(self.b.inttoptr(table, index.type.as_pointer()), [index]))

    def pointer(self, address, index):
        start = self.b.gep(self.b.inttoptr(address, self.scalar.as_pointer()), [index])
        return self.b.bitcast(start, self.vector.as_pointer())

    def load(self, address, index):
        return self.b.load(self.pointer(address, index), align=self.form.bits // 8)

    def spread(self, number):
        """One number in all lanes."""
        one = self.b.insert_element(ir.Constant(self.vector, ir.Undefined), number, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.form.lanes), [0] * self.form.lanes)
        return self.b.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), lanes)
