"""Files like those of `torch.save`, written by hand: pickles of protocol 2, opcode by opcode, and zip files of them."""
import pickle
import struct
import zipfile

import numpy as np


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def group(*parts):
    return b"(" + b"".join(parts) + b"t"


def numbers(values):
    return group(*map(number, values))


def call(module, attribute, *arguments):
    return name(module, attribute) + group(*arguments) + b"R"


def storage(kind="FloatStorage", key="0", count=6, *view):
    return group(text("storage"), name("torch", kind), text(key), text("cpu"), number(count), *view) + b"Q"


def tensor(of=None, size=(2, 3), stride=(3, 1), offset=0, extra=b""):
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", of or storage(), number(offset), numbers(size), numbers(stride),
                b"\x89", hooks, extra)


def mapping(**entries):
    return call("collections", "OrderedDict") + b"(" + b"".join(text(k) + v for k, v in entries.items()) + b"u"


SIX = np.arange(6, dtype="<f4").tobytes()


def zip_file(path, pickled, data=(("0", SIX),), extra=(), root="archive", compression=zipfile.ZIP_STORED):
    """A file like torch.save's around a pickle given without its first and last opcode."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", b"\x80\x02" + pickled + b".")
        for key, value in (("version", b"3\n"), *extra, *((f"data/{key}", value) for key, value in data)):
            archive.writestr(f"{root}/{key}", value)
    return path


MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


def legacy_file(path, pickled, data=(("0", 6, SIX),), magic=MAGIC, version=1001):
    """A file like torch.save's before zip."""
    raw = magic + pickle.dumps(version, 2) + pickle.dumps({"little_endian": True}, 2) + b"\x80\x02" + pickled + b"."
    raw += pickle.dumps([key for key, _, _ in data], 2)
    path.write_bytes(raw + b"".join(struct.pack("<q", count) + values for _, count, values in data))
    return path


def old_storage(kind="FloatStorage", key="0", count=6, view=b"N"):
    return storage(kind, key, count, view)
