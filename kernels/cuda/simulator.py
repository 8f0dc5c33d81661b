"""CUDA kernels on the CPU, for tests, for learning, and for machines without a GPU: correct, checked and slow.

The same .cu source is compiled by g++ (with host.h, which says how threads become fibers) and called through `Module`,
which has the interface of CuPy's RawModule. The arguments' memory is copied between pages without access rights, shared
memory is NaN at the start of every block, and what goes wrong is a KernelError that names the thread and the line:

- a barrier that not all threads of a block (or lanes of a warp) reach;
- an access outside an argument's memory, outside a `strided` array's sizes, or outside an array of known size;
- a misaligned vector access, an overflow of a signed integer, a division of an integer by zero;
- an argument of another type than the kernel's parameter;
- a floating-point array, uninitialised before, in which elements are still not written afterwards;
- under `checking()`: results whose bits depend on the order in which threads and blocks run, so a missing barrier.

To step through a kernel, run Python in a debugger: gdb --args python example.py, then `break direct.cu:20` and `run`.
`with options(flags="-O0"):` around the launch keeps every variable visible.
"""
import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from threading import RLock
from types import MappingProxyType

import numpy as np

from ..folders import cache_folder
from .arguments import arrays, described, held, packed
from .source import HERE, accumulator, host_source, kernels

ORDERS = {"forward": 0, "reverse": 1, "shuffled": 2}
FLAGS = ("-std=c++17", "-shared", "-fPIC", "-gdwarf-4", "-w", "-fno-strict-aliasing", "-ffp-contract=off",
         "-fsanitize=bounds,alignment,signed-integer-overflow,integer-divide-by-zero,shift",
         "-fsanitize-undefined-trap-on-error")
FINE, OUTSIDE, TRAPPED, BARRIER, ASSERTION, NO_MEMORY = range(6)

_lock = RLock()  # a compiled file has one set of threads
_options = ContextVar("simulator", default=MappingProxyType({"orders": ("forward",), "flags": "-O1"}))


class KernelError(RuntimeError):
    """A kernel did what it must not do, or nothing can compile it."""


@contextlib.contextmanager
def options(**changes):
    """Inside: orders, a tuple of names from ORDERS, in which every kernel runs; flags, options for g++."""
    token = _options.set({**_options.get(), **changes})
    try:
        yield
    finally:
        _options.reset(token)


def checking():
    """Inside, every launch runs in every order of ORDERS, and results that differ in a bit are an error."""
    return options(orders=tuple(ORDERS))


def missing():
    """What keeps this machine from simulating, in words; "" if nothing does."""
    if not sys.platform.startswith("linux"):
        return f"the simulator of CUDA kernels runs on Linux only, this is {sys.platform}"
    if not shutil.which("g++"):
        return "CUDA kernels are simulated with the compiler g++, which is not on the PATH (Debian: apt install g++)"
    return ""


class _Failure(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("block", ctypes.c_int * 3), ("thread", ctypes.c_int * 3),
                ("address", ctypes.c_void_p), ("code", ctypes.c_void_p), ("text", ctypes.c_char * 400)]


class _Launch(ctypes.Structure):
    _fields_ = [("arguments", ctypes.c_void_p), ("grid", ctypes.c_int * 3), ("block", ctypes.c_int * 3),
                ("shared", ctypes.c_longlong), ("order", ctypes.c_int), ("seed", ctypes.c_int), ("failure", _Failure)]


class Module:
    """A kernel file, compiled for a dtype and macros (pairs of name and value). Stands in for CuPy's RawModule."""

    def __init__(self, file, dtype, macros=()):
        self.file, self.accumulator = file, accumulator(dtype)
        self.source = host_source(file, dtype, macros)

    def get_function(self, name):
        """The kernel of that name. Raises KernelError if the file has none."""
        if name not in kernels(self.file):
            raise KernelError(f"{self.file} has no kernel {name!r}; there is {', '.join(kernels(self.file))}")
        return Kernel(self, name)


class Kernel:
    """One kernel: call it with a grid, a block and arguments, as CuPy's, but for arguments that are not yet packed."""

    def __init__(self, module, name):
        self.module, self.name = module, name
        self.library = _library(module.source, _options.get()["flags"])

    def __call__(self, grid, block, args, shared_mem=0):
        self._check(args)
        launch = _Launch(grid=grid, block=block, shared=shared_mem, seed=1)
        with _lock:
            results = [self._run(launch, args, order) for order in _options.get()["orders"]]
        first = results[0]
        for order, result in zip(_options.get()["orders"][1:], results[1:], strict=True):
            for a, b in zip(first, result, strict=True):
                if not np.array_equal(a.bytes, b.bytes):
                    raise KernelError(f"{self}: argument {a.number} differs when threads run in {order} order: "
                                      f"{int((a.bytes != b.bytes).sum())} bytes. Is a barrier missing, or does more "
                                      "than one thread write to a place?")
        for memory in first:
            memory.check_written(self)
            memory.give_back(self)

    def _check(self, args):
        """KernelError unless the arguments are of the types of the parameters."""
        function = getattr(self.library, f"parameters_{self.name}")
        function.restype = ctypes.c_char_p
        parameters = function().decode().split(";")[:-1]
        given = [described(a, self.module.accumulator) for a in args]
        if len(given) != len(parameters):
            raise KernelError(f"{self} has {len(parameters)} parameters, got {len(given)} arguments")
        for i, (a, b) in enumerate(zip(parameters, given, strict=True)):
            if a != b and not (b == "None" and a.endswith("*")):
                raise KernelError(f"{self}: parameter {i} is {a}, got {b}")

    def _run(self, launch, args, order):
        """Run in one order, on copies of the arrays' memory. Returns the copies."""
        launch.order, launch.failure = ORDERS[order], _Failure()
        memories = _memories(args)
        with contextlib.ExitStack() as stack:
            for memory in memories:
                stack.enter_context(memory.guarded(self.library, at_end=order == "forward"))
            values = [np.array(packed(a, self.module.accumulator, lambda x: _address(x, memories))) for a in args]
            pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
            launch.arguments = ctypes.addressof(pointers)
            if getattr(self.library, f"run_{self.name}")(ctypes.byref(launch)) != FINE:
                raise KernelError(self._explained(launch.failure, memories))
            for memory in memories:
                memory.take_back(self)
        return memories

    def _explained(self, failure, memories):
        """A failure in words."""
        if failure.kind == NO_MEMORY:
            return f"{self}: no memory left for its threads"
        where = f"{self}, thread {tuple(failure.thread)} of block {tuple(failure.block)}"
        text = failure.text.decode()
        if failure.kind == TRAPPED:
            text = ("an index outside its array, a misaligned access, an integer overflow, a shift by too much, a "
                    "division by zero or a null pointer")
        elif failure.kind == OUTSIDE:
            text = next(filter(None, (m.near(failure.address) for m in memories)),
                        "access outside all memory (a stack that overflows, dynamic shared memory, or a null pointer)")
        line = _line(self.library._name, failure.code) if failure.code else ""
        return f"{where}: {text}{line and f', at {line}'}"

    def __str__(self):
        return f"kernel {self.name} of {self.module.file}"


class _Memory:
    """The memory of one array argument, or of several that overlap, and its copy in a guarded place."""

    def __init__(self, start, end, number, array):
        self.start, self.end, self.arrays = start, end, {number: array}
        self.number = number

    def join(self, other):
        """Take over the arrays of another, whose memory overlaps."""
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        self.arrays |= other.arrays

    @contextlib.contextmanager
    def guarded(self, library, at_end):
        """A copy between two pages without access rights; it keeps the position relative to multiples of 16."""
        self.library, self.shift = library, self.start % 16
        room, self.all = ctypes.c_size_t(self.shift + self.end - self.start), ctypes.c_void_p()
        library.guarded_new.restype = ctypes.c_void_p
        begin = library.guarded_new(room, int(at_end), ctypes.byref(self.all))
        if not begin:
            raise KernelError("no memory left for the arguments of a kernel")
        self.copy = begin + self.shift
        ctypes.memmove(self.copy, self.start, self.end - self.start)
        try:
            yield self
        finally:
            library.guarded_delete(self.all, room)

    def take_back(self, kernel):
        """Keep the bytes of the copy, after a look at whether any beside it were written."""
        self.library.guarded_hurt.restype = ctypes.c_void_p
        size = self.end - self.start
        if hurt := self.library.guarded_hurt(self.all, ctypes.c_void_p(self.copy), ctypes.c_size_t(size)):
            raise KernelError(f"{kernel}: {self.near(hurt)}")
        self.bytes = np.frombuffer(ctypes.string_at(self.copy, size), np.uint8)

    def check_written(self, kernel):
        """KernelError if an array that was uninitialised still is, somewhere."""
        for number, array in self.arrays.items():
            if not _poison(array).all():
                continue
            offset = array.__array_interface__["data"][0] - self.start
            left = _poison(np.ndarray(array.shape, array.dtype, self.bytes, offset, array.strides))
            if left.any():
                place = ", ".join(map(str, np.argwhere(left)[0]))
                raise KernelError(f"{kernel} left {int(left.sum())} of {left.size} elements of argument {number} "
                                  f"unwritten, or computed them from memory that nobody wrote; the first is ({place})")

    def give_back(self, kernel):
        """Copy what the kernel wrote to where the arrays are."""
        before = np.frombuffer(ctypes.string_at(self.start, self.end - self.start), np.uint8)
        if np.array_equal(before, self.bytes):
            return
        if not any(a.flags.writeable for a in self.arrays.values()):
            raise KernelError(f"{kernel} writes to argument {self.number}, which is read-only")
        ctypes.memmove(self.start, self.bytes.ctypes.data, self.bytes.size)

    def near(self, address):
        """Words for an address close to this memory, "" for one that is not."""
        first, last = self.copy, self.copy + self.end - self.start
        if not first - 8192 <= address < last + 8192:
            return ""
        number, array = next(iter(self.arrays.items()))
        where = f"{first - address} bytes before" if address < first else f"{address - last} bytes behind"
        size = "x".join(map(str, array.shape))
        return f"access {where} the memory of argument {number} ({array.dtype}, {size})"


def _poison(array):
    """Where the elements of a floating-point array are all ones, bit for bit: uninitialised memory."""
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        return np.zeros(1, bool)
    unsigned = np.dtype(f"u{array.itemsize}")
    return np.asarray(array).view(unsigned) == np.iinfo(unsigned).max


def _memories(args):
    """The memory behind the arrays among the arguments, each piece once."""
    found = []
    for array in arrays(args):
        number = next(i for i, a in enumerate(args) if any(one is array for one in held(a)))
        start, end = np.lib.array_utils.byte_bounds(array)
        if start == end or not array.size:
            continue
        new = _Memory(start, end, number, array)
        for old in [m for m in found if m.start < end and start < m.end]:
            new.join(old)
            found.remove(old)
        found.append(new)
    return found


def _address(array, memories):
    """Where the first element of an array is, in the copies."""
    start = array.__array_interface__["data"][0]
    return next((m.copy + start - m.start for m in memories if m.start <= start < m.end), 0)


@lru_cache(None)
def _library(source, flags):
    """The compiled source, from the cache folder or from g++. Raises KernelError with what g++ says."""
    if problem := missing():
        raise KernelError(problem)
    command = ["g++", *FLAGS, *flags.split(), "-x", "c++", "-"]
    name = hashlib.sha256(f"{command}{_compiler()}{source}".encode()).hexdigest()[:24]
    path = cache_folder() / "simulator" / f"{name}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".so")
        os.close(handle)
        done = subprocess.run([*command, "-o", temporary], input=source, capture_output=True, text=True)
        if done.returncode:
            os.unlink(temporary)
            raise KernelError(f"g++ does not compile this kernel file:\n{done.stderr}")
        os.replace(temporary, path)
    return ctypes.CDLL(str(path))


@lru_cache(1)
def _compiler():
    return subprocess.run(["g++", "--version"], capture_output=True, text=True).stdout


def _line(library, code):
    """"file:line" of an address in a compiled file, in the kernel file if it is there; "" where no tool tells."""
    base = next((int(line.split("-")[0], 16) for line in Path("/proc/self/maps").read_text().splitlines()
                 if line.endswith(library)), None)
    if base is None or not shutil.which("addr2line"):
        return ""
    done = subprocess.run(["addr2line", "-i", "-e", library, hex(code - base)], capture_output=True, text=True)
    lines = [line.partition(" ")[0] for line in done.stdout.splitlines()]  # from the innermost to the outermost
    return next((line for line in lines if not line.startswith(f"{HERE}/")), "")
