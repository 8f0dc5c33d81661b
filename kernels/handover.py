"""How a piece of work reaches another thread without the GIL: mailboxes in memory, which compiled code watches.

A thread that waits for the GIL sleeps, and Linux tends to wake it on the core of the thread that gave the GIL up: there
the two take turns while another core is idle. So a worker that has nothing to do watches its mailbox, outside the GIL,
and calls what it finds there by its address, with arguments that the caller has unpacked for both. What has a mailbox
in hand is decided by one number in it, which changes hands by compare-and-swap.
"""
import zlib
from functools import lru_cache
from types import FunctionType

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler import Flags, compile_internal
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from .atomic import INT64, add_one, give_way, look, put, swap
from .jit import c_function, indirect_call, jit, jit_as, jit_inside
from .threads import FIELDS

STATE, CALL, GIVEN, JOB, BOUNDS, PARTS, ROW = range(7)  # the numbers in a mailbox
IDLE, ASLEEP, FILLING, RUNNING, FIRST_TICKET = range(5)  # states; from FIRST_TICKET on: a job that waits to be begun
TAKEN, FAILED, LEFT = range(3)  # of a job: parts that were taken, parts that failed, and workers that are done with it
ROUNDS = 60000  # to watch before going to sleep: about 2 ms, longer than most of what lies between two loops
PATIENCE = 2000  # rounds to watch for the last worker before letting other threads have this core


# --- a piece of work as an address


@intrinsic
def _call(typing, address, given, first, last, row):
    """Call the piece at this address; 0 unless it failed."""
    kinds = (types.intp,) * 4

    def generate(context, b, signature, values):
        convention = context.call_conv
        function = b.inttoptr(values[0], convention.get_function_type(types.none, kinds).as_pointer())
        status, _ = convention.call_function(b, function, types.none, kinds, values[1:])
        return b.zext(status.code, INT64)

    return types.int64(types.intp, *kinds), generate


@intrinsic
def _prepared(typing, loop, arguments, own):
    """Addresses of a piece for `_call`, its arguments, and a 0, which live as long as the function this is in.

    The loop is compiled into that function: by itself it would be compiled twice.
    """
    kind, compiled = types.Tuple((arguments, own)), loop.dispatcher
    rows = [array.copy(ndim=array.ndim - 1) for array in own.types]
    kinds, numbers = (types.intp, types.intp, *arguments.types, *rows), (types.intp,) * 4

    def generate(context, b, signature, values):
        flags = Flags()
        compiled.targetdescr.options.parse_as_flags(flags, compiled.targetoptions)
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        library, convention, function = context.active_code_library, context.call_conv, _named(compiled.py_func)
        with global_compiler_lock:
            found = compile_internal(context.typing_context, context, library, function, kinds, None, flags, {})
        piece = ir.Function(b.module, convention.get_function_type(types.none, numbers), "piece")
        piece.linkage = "internal"
        convention.decorate_function(piece, ("given", "first", "last", "row"), numbers)
        p = ir.IRBuilder(piece.append_basic_block())
        given, first, last, row = convention.get_arguments(piece)
        pair = p.load(p.inttoptr(given, context.get_value_type(kind).as_pointer()))
        arguments, own = (cgutils.unpack_tuple(p, part) for part in cgutils.unpack_tuple(p, pair))
        own = [_row(context, p, *of, row) for of in zip(signature.args[2].types, rows, own, strict=True)]
        whole = context.declare_function(b.module, found.fndesc)
        status, _ = convention.call_function(p, whole, types.none, kinds, [first, last, *arguments, *own])
        with cgutils.if_unlikely(p, status.is_error):
            convention.return_status_propagate(p, status)
        convention.return_value(p, context.get_dummy_value())
        places = (cgutils.alloca_once_value(b, v) for v in (context.make_tuple(b, kind, values[1:]), INT64(0)))
        return context.make_tuple(b, signature.return_type, [b.ptrtoint(one, INT64) for one in (piece, *places)])

    return types.UniTuple(types.intp, 3)(loop, arguments, own), generate


def _row(context, b, kind, row_kind, value, row):
    """The row of an array without gaps, as an array."""
    whole, part = make_array(kind)(context, b, value), make_array(row_kind)(context, b)
    shape, strides = cgutils.unpack_tuple(b, whole.shape), cgutils.unpack_tuple(b, whole.strides)
    data = cgutils.pointer_add(b, whole.data, b.mul(row, strides[0]))
    populate_array(part, data, shape[1:], strides[1:], whole.itemsize, whole.meminfo, whole.parent)
    return part._getvalue()


@lru_cache(None)
def shared(loop):
    """`hand_out` for a compiled loop(first, last, *arguments, *rows of own), as a function
    (address of hand_out, desk, bounds, parts, helpers, workers, own, *arguments) that returns how many parts failed."""

    def run(address, desk, bounds, parts, helpers, workers, own, *arguments):
        call, given, failed = _prepared(loop, arguments, own)
        run_hand_out(address, call, given, failed, desk, bounds, parts, helpers, workers, 0.0)
        return look(failed)

    return jit_as(run, _named(loop.py_func).__qualname__)


def _named(function):
    """The function under a name that says what it has from around it: two of one name would be one to the linker."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, None, function.__closure__)
    copy.__module__, copy.__doc__ = function.__module__, function.__doc__
    name, *around = _described(function).split(" ", 1)
    copy.__qualname__ = f"{name}.shared{zlib.crc32(''.join(around).encode()):x}"
    return copy


def _described(value):
    """The same words for a value in every process: a function's name, and what it has from around it."""
    if not callable(value):
        return repr(value)
    cells = getattr(getattr(value, "py_func", value), "__closure__", None) or ()
    return " ".join([f"{value.__module__}.{value.__qualname__}", *(_described(cell.cell_contents) for cell in cells)])


# --- the two sides


@lru_cache(1)
def hand_out():
    """The compiled function that `_hand_out` is, with its address."""
    return c_function(_hand_out, 8)


@intrinsic
def run_hand_out(typing, address, call, given, failed, desk, bounds, parts, helpers, workers, nothing):
    """Call it."""
    return indirect_call(8)


def _hand_out(call, given, failed, desk, bounds, parts, helpers, workers, nothing):
    """Have a piece called for all parts, from bounds[i] to bounds[i + 1], by this thread and so many workers or fewer.

    call, given: addresses of the piece and of what it is given. failed: where to put how many parts failed. desk: its
    first row counts tickets, each other one is the mailbox of a worker. Returns when nobody is at work on any part.
    """
    job, asked = np.zeros(3, np.int64), 0
    tickets, states = np.empty(helpers, np.int64), np.empty(helpers, np.int64)
    boxes = np.empty(helpers, np.int64)
    for state in (IDLE, ASLEEP):  # those who sleep may have been called a moment ago
        for worker in range(1, workers + 1):
            box = desk + worker * FIELDS * 8
            if asked == helpers or not swap(box, state, FILLING):
                continue
            boxes[asked], tickets[asked], states[asked] = box, add_one(desk), state
            asked += 1
            put(box + CALL * 8, call)
            put(box + GIVEN * 8, given)
            put(box + JOB * 8, job.ctypes.data)
            put(box + BOUNDS * 8, bounds)
            put(box + PARTS * 8, parts)
            put(box + ROW * 8, asked)
            put(box, tickets[asked - 1])
    _take(call, given, job.ctypes.data, bounds, parts, 0)
    begun = asked
    for i in range(asked):
        if swap(boxes[i], tickets[i], states[i]):  # not begun: nothing is left of it
            begun -= 1
    rounds = 0
    while look(job.ctypes.data + LEFT * 8) < begun:
        rounds += 1
        if rounds > PATIENCE:
            give_way()
    put(failed, job[FAILED])


@jit_inside
def _take(call, given, job, bounds, parts, row):
    """Call the piece for one part after the other, until all are taken."""
    while True:
        part = add_one(job + TAKEN * 8)
        if part >= parts:
            return
        if _call(call, given, look(bounds + part * 8), look(bounds + part * 8 + 8), row) != 0:
            add_one(job + FAILED * 8)


@jit
def serve(box, rounds):
    """Do what comes into the mailbox, until nothing has come for so many rounds; the state is then ASLEEP."""
    swap(box, ASLEEP, IDLE)
    quiet = 0
    while True:
        state = look(box)
        if state >= FIRST_TICKET and swap(box, state, RUNNING):
            job = look(box + JOB * 8)
            _take(look(box + CALL * 8), look(box + GIVEN * 8), job, look(box + BOUNDS * 8), look(box + PARTS * 8),
                  look(box + ROW * 8))
            add_one(job + LEFT * 8)
            put(box, IDLE)
            quiet = 0
        quiet += 1
        if quiet > rounds and (state == ASLEEP or swap(box, IDLE, ASLEEP)):
            return
