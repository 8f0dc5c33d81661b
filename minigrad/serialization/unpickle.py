"""Reading pickles as data: a stack machine that knows plain containers, numbers, strings and PyTorch's tensors.

Python's own unpickler imports and calls what a file names. This machine takes the opcodes from `pickletools.genops`,
which only parses, and never imports: a name in the file is looked up in GLOBALS below, and the functions there are
the only ones that a file can have called. Objects are not handed out, so there is no attribute to set and no method
to reach; opcodes that would make them, and the extension registry, are unknown here. Work and memory stay
proportional to the length of the file. Opcodes: the comments in Python's pickletools.py.
"""
from contextlib import suppress
from pickletools import genops
from typing import NamedTuple

from ..tensor import Tensor
from . import rebuild

ATOMS = (str, int, float, bool, bytes, type(None))  # what keys and elements of sets are made of
VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
)


class Named(NamedTuple):
    """What a file may name: a function, called with the machine and the file's arguments, or only a name (None)."""

    name: str
    function: object = None


class StorageType(NamedTuple):
    """What a file names where it says of which numbers a storage consists: "float32", or "untyped"."""

    element: str


class Machine:
    """One pickle. file: open and at its first byte. storage(element, key, count): a rebuild.Storage; None to have none.

    `load` returns the object and leaves the file behind the last byte; it raises ValueError for what is not plain
    data or does not fit together. A subclass may know other names, and other kinds of objects that they make.
    """

    kinds = set, frozenset, Tensor

    @property
    def names(self):
        """{(module, name): what a file that names it gets}."""
        return GLOBALS

    def __init__(self, file, storage=None):
        self.file, self.storage = file, storage
        self.stack, self.marks, self.memo = [], [], {}
        self.copied = 0  # bytes or entries that functions copied
        self.position, self.start = 0, file.tell()

    def load(self):
        """Run to the end of the pickle and return what it describes."""
        try:
            for opcode, argument, position in genops(self.file):
                self.position = position
                if opcode.name not in STEPS:
                    what = f"{opcode.name} {argument!s:.100}" if type(argument) in (int, str) else opcode.name
                    raise ValueError(f"the pickle wants {what}, {REFUSED}")
                STEPS[opcode.name](self, argument)
            (value,) = self.take(1)
            check_plain(value, (*ATOMS, *self.kinds))
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
            raise ValueError(f"a damaged pickle ({type(error).__name__} at byte {self.position})") from None
        except ValueError as error:
            raise ValueError(f"{error!s:.400}") from None
        return value

    def push(self, value):
        self.stack.append(value)

    def take(self, count):
        """Remove the last `count` values from the stack, none of them below the last mark."""
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise IndexError("the stack is too short")
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def since_mark(self):
        """Remove the values since the last mark from the stack."""
        return self.take(len(self.stack) - self.marks.pop())

    def copying(self, count):
        """Count what a function is about to copy: a file need not have it copied more than once."""
        self.copied += count
        if self.copied > self.position - self.start:
            raise ValueError("the pickle wants the same values copied again and again")

    def remember(self, index):
        self.memo[index] = self.stack[-1]

    def string(self, text):
        """A Python 2 string: bytes, which genops took for Latin-1."""
        with suppress(UnicodeError):
            text = text.encode("latin-1").decode("utf-8")
        self.push(text)

    def extend(self, kind, values):
        """Put values into the list or set on top of the stack."""
        target = self.stack[-1]
        if type(target) is not kind:
            raise TypeError(f"no {kind.__name__}")
        if kind is set:
            target.update(check_keys(values))
        else:
            target.extend(values)

    def set_items(self, values):
        """Put key, value, key, value ... into the dict on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise TypeError("no dict or no pairs")
        target.update(zip(check_keys(values[::2]), values[1::2], strict=True))

    def name(self, module, name):
        """Push what the file names by module and name."""
        if type(module) is not str or type(name) is not str:
            raise TypeError("a name that is no string")
        if (module, name) not in self.names:
            raise ValueError(f"the pickle wants {module:.100}.{name:.100}, {REFUSED}{HINTS.get(name, '')}")
        self.push(self.names[module, name])

    def call(self):
        """Replace a function and its arguments by what it returns."""
        function, arguments = self.take(2)
        if type(function) is not Named or function.function is None or type(arguments) is not tuple:
            raise ValueError(f"the pickle calls {describe(function)}, {REFUSED}")
        self.push(function.function(self, *arguments))

    def build(self):
        """Set an object's state: attributes of an OrderedDict and of a Tensor are of no interest here."""
        target, state = self.take(2)
        if type(target) is Tensor:
            rebuild.set_state(target, state)
        elif type(target) is not dict:
            raise ValueError(f"the pickle sets the state of {describe(target)}, {REFUSED}")
        self.push(target)

    def persistent(self):
        """Replace ("storage", type, key, device, count) by the storage; the older format adds the view of another."""
        (given,) = self.take(1)
        if type(given) is not tuple or len(given) not in (5, 6) or given[0] != "storage" or self.storage is None:
            raise ValueError("the pickle has a reference that is not to a storage")
        _, kind, key, _, count, *view = given
        if type(kind) is not StorageType or type(key) is not str or not rebuild.is_count(count):
            raise ValueError("the pickle has a reference to a storage that makes no sense")
        if kind.element == "untyped":
            self.push(rebuild.Untyped(key, count, self.storage))
        else:
            storage = self.storage(kind.element, key, count)
            self.push(storage if not view or view[0] is None else storage.part(*view[0]))


REFUSED = "which is not plain data and is refused"
HINTS = {
    "_rebuild_qtensor": " (a quantised tensor)", "_rebuild_sparse_tensor": " (a sparse tensor)",
    "_rebuild_meta_tensor_no_storage": " (a tensor without numbers)", "_rebuild_nested_tensor": " (a nested tensor)",
}
STEPS = {
    "PROTO": lambda m, _: None, "FRAME": lambda m, _: None, "STOP": lambda m, _: None,
    **dict.fromkeys(VALUES, Machine.push),
    "NONE": lambda m, _: m.push(None), "NEWTRUE": lambda m, _: m.push(True), "NEWFALSE": lambda m, _: m.push(False),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), lambda m, text: m.string(text)),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.take(1) if m.marks[-1:] != [len(m.stack)] else m.since_mark(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "GET": lambda m, index: m.push(m.memo[index]),
    "BINGET": lambda m, index: m.push(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.push(m.memo[index]),
    "PUT": Machine.remember, "BINPUT": Machine.remember, "LONG_BINPUT": Machine.remember,
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "EMPTY_TUPLE": lambda m, _: m.push(()), "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}), "EMPTY_SET": lambda m, _: m.push(set()),
    "TUPLE1": lambda m, _: m.push(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.take(3))),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "APPEND": lambda m, _: m.extend(list, m.take(1)),
    "APPENDS": lambda m, _: m.extend(list, m.since_mark()),
    "DICT": lambda m, _: (values := m.since_mark(), m.push({}), m.set_items(values)),
    "SETITEM": lambda m, _: m.set_items(m.take(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "ADDITEMS": lambda m, _: m.extend(set, m.since_mark()),
    "FROZENSET": lambda m, _: m.push(frozenset(check_keys(m.since_mark()))),
    "GLOBAL": lambda m, both: m.name(*both.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.take(2)),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.persistent(),
}


def check_keys(values):
    """Values that can be keys: strings, numbers, and flat tuples of them (a deeper one may take forever to hash)."""
    for value in values:
        if any(type(part) not in ATOMS for part in (value if type(value) is tuple else (value,))):
            raise ValueError(f"the pickle has {describe(value)} as a key or in a set, {REFUSED}")
    return values


def check_plain(value, kinds):
    """ValueError unless a value consists of plain containers and objects of these kinds."""
    seen, todo = set(), [value]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) in (list, tuple):
            todo.extend(value)
        elif type(value) is dict:
            todo.extend(value.values())
        elif type(value) not in kinds:
            raise ValueError(f"the pickle holds {describe(value)}, {REFUSED}")


def describe(value):
    """A value in a message."""
    return value.name if type(value) is Named else f"a {type(value).__name__}"


def _set(kind):
    def make(machine, values=()):
        if type(values) not in (list, tuple):
            raise TypeError("no list")
        machine.copying(len(values))
        return kind(check_keys(values))

    return make


def _ordered_dict(machine, pairs=()):
    machine.copying(len(pairs))
    check_keys([key for key, _ in pairs])
    return dict(pairs)


def _encode(machine, text, encoding):
    """How protocol 2 writes bytes."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError("the pickle wants an encoding that no bytes have")
    machine.copying(len(text))
    return text.encode("latin-1")


def _device(_, kind, index=None):
    if type(kind) is not str or len(kind) > 32 or type(index) not in (int, type(None)):
        raise TypeError("no device")
    return kind if index is None else f"{kind}:{index % 2**16}"


def _layout(_, name):
    return name.removeprefix("torch.")


def _from_type(machine, function, kind, arguments, _):
    """A tensor with attributes of its own, or a buffer."""
    if function not in GLOBALS.values() or kind.name not in TENSOR_TYPES:
        raise ValueError(f"the pickle wants {describe(kind)} made by {describe(function)}, {REFUSED}")
    return function.function(machine, *arguments)


TENSOR_TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
FUNCTIONS = {
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _encode,
    **{f"{m}.{kind.__name__}": _set(kind) for m in ("builtins", "__builtin__") for kind in (set, frozenset)},
    **{f"{m}.bytes": lambda _: b"" for m in ("builtins", "__builtin__")},
    "torch.Size": lambda _, size: rebuild.sizes(size),
    "torch.device": _device,
    "torch.serialization._get_layout": _layout,
    "torch.Tensor": None,
    "torch.nn.parameter.Buffer": None,
    "torch.nn.parameter.Parameter": lambda _, data, requires_grad=True: rebuild.parameter(data, requires_grad),
    "torch._utils._rebuild_tensor": lambda _, *args: rebuild.tensor(*args),
    "torch._utils._rebuild_tensor_v2": lambda _, *args: rebuild.tensor_v2(*args),
    "torch._utils._rebuild_tensor_v3": lambda _, *args: rebuild.tensor_v3(*args),
    "torch._utils._rebuild_parameter": lambda _, *args: rebuild.parameter(*args),
    "torch._utils._rebuild_parameter_with_state": lambda _, *args: rebuild.parameter(*args),
    "torch._tensor._rebuild_from_type_v2": _from_type,
}
STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
    "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}
DTYPES = (
    *STORAGES.values(), "complex32", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
    "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2",
)
GLOBALS = {
    **{tuple(name.rsplit(".", 1)): Named(name, function) for name, function in FUNCTIONS.items()},
    **{("torch", f"{name}Storage"): StorageType(element) for name, element in STORAGES.items()},
    ("torch.storage", "UntypedStorage"): StorageType("untyped"),
    **{("torch", name): name for name in DTYPES},
}
