"""Maxima, their gradients, and means, for some channels of one window at once: vectors of L, written in LLVM's terms.

A loop over the channels of a window is too short to be worth the compiler's own vectors where there are few of them.
Arrays are contiguous, channels last; places in them are counted in elements.
"""
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic(prefer_literal=True)
def best(context, L, KH, KW, x, at, row, column, y, index, to, where, down, across):
    """The maxima of KH x KW taps, `row` and `column` apart, from x[at] on: to y[to], and where they stand to index[to].

    where: the index of the first tap; down, across: how it changes from tap to tap. Of equals the first wins, NaN over
    all. L, KH, KW: constants.
    """
    signature = types.void(L, KH, KW, x, types.intp, types.intp, types.intp, y, index, *[types.intp] * 4)

    def generate(context, b, signature, given):
        x, at, row, column, y, index, to, where, down, across = given[3:]
        lanes = _Lanes(context, b, L.literal_value)

        def tap(i, j, first, rows, columns):
            return b.add(first, b.add(b.mul(rows, rows.type(i)), b.mul(columns, columns.type(j))))

        most, place = lanes.load(signature.args[3], x, at), lanes.same(where, signature.args[8])
        for i in range(KH.literal_value):
            for j in range(KW.literal_value):
                value = lanes.load(signature.args[3], x, tap(i, j, at, row, column))
                wins = b.and_(b.fcmp_unordered(">", value, most), b.fcmp_ordered("ord", most, most))
                most = b.select(wins, value, most)
                place = b.select(wins, lanes.same(tap(i, j, where, down, across), signature.args[8]), place)
        lanes.store(signature.args[7], y, to, most)
        lanes.store(signature.args[8], index, to, place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def share(context, L, gy, index, at, gx, to, here):
    """gx[to] = gy[at] where index[at] is `here`, 0 elsewhere. L: a constant."""
    signature = types.void(L, gy, index, types.intp, gx, types.intp, types.intp)

    def generate(context, b, signature, given):
        _, gy, index, at, gx, to, here = given
        lanes = _Lanes(context, b, L.literal_value)
        value = lanes.load(signature.args[1], gy, at)
        chosen = b.icmp_signed("==", lanes.load(signature.args[2], index, at), lanes.same(here, signature.args[2]))
        lanes.store(signature.args[4], gx, to, b.select(chosen, value, ir.Constant(value.type, None)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def mean(context, L, x, at, row, column, rows, columns, y, to, divisor):
    """y[to] = the sum of rows x columns taps, `row` and `column` apart, from x[at] on, over the divisor. L: a constant.

    Sums are kept in the divisor's dtype.
    """
    signature = types.void(L, x, *[types.intp] * 5, y, types.intp, divisor)

    def generate(context, b, signature, given):
        _, x, at, row, column, rows, columns, y, to, divisor = given
        lanes = _Lanes(context, b, L.literal_value)
        wide = ir.VectorType(divisor.type, lanes.L)
        total = cgutils.alloca_once_value(b, ir.Constant(wide, None))
        with cgutils.for_range(b, rows) as down, cgutils.for_range(b, columns) as across:
            tap = b.add(b.mul(down.index, row), b.mul(across.index, column))
            value = lanes.load(signature.args[1], x, b.add(at, tap))
            value = value if value.type == wide else b.fpext(value, wide)
            b.store(b.fadd(b.load(total), value), total)
        value = b.fdiv(b.load(total), lanes.spread(divisor))
        element = context.get_data_type(signature.args[7].dtype)
        value = value if element == divisor.type else b.fptrunc(value, ir.VectorType(element, lanes.L))
        lanes.store(signature.args[7], y, to, value)
        return context.get_dummy_value()

    return signature, generate


class _Lanes:
    """Reads and writes vectors of L neighbouring elements of arrays."""

    def __init__(self, context, b, L):
        self.context, self.b, self.L = context, b, L

    def pointer(self, kind, array, at):
        element = self.context.get_data_type(kind.dtype)
        start = self.context.make_array(kind)(self.context, self.b, array).data
        return self.b.bitcast(self.b.gep(start, [at]), ir.VectorType(element, self.L).as_pointer())

    def load(self, kind, array, at):
        return self.b.load(self.pointer(kind, array, at), align=kind.dtype.bitwidth // 8)

    def store(self, kind, array, at, value):
        self.b.store(value, self.pointer(kind, array, at), align=kind.dtype.bitwidth // 8)

    def same(self, number, kind):
        """An integer in all lanes, as an element of an array of that kind."""
        element = self.context.get_data_type(kind.dtype)
        return self.spread(self.b.trunc(number, element) if element.width < number.type.width else number)

    def spread(self, number):
        """One number in all lanes."""
        undefined = ir.Constant(ir.VectorType(number.type, self.L), ir.Undefined)
        one = self.b.insert_element(undefined, number, ir.IntType(32)(0))
        return self.b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), self.L), [0] * self.L))
