"""The files of `torch.save`, read without PyTorch: zip files (since 1.6) and the format before.

Zip: one folder with data.pkl, the pickled object, data/0, data/1 ..., the numbers of each storage, and byteorder.
Before: five pickles one after the other (a magic number, a version, facts about the machine, the object, the keys of
its storages), then for each key the count and the numbers, always little-endian. Sources: torch/serialization.py.
"""
import io
import mmap
import struct
import zipfile
import zlib

import numpy as np

from .elements import element_type, fill
from .rebuild import Storage
from .unpickle import Machine

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def is_zip(head):
    """Whether a file that begins with these bytes is a zip file."""
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06") and head[8:9] != b"{"


def is_legacy(head):
    """Whether a file that begins with these bytes was written by `torch.save` without zip."""
    return head[:1] == b"\x80" and MAGIC.to_bytes(10, "little") in head[:32]


class Storages:
    """The storages of a file, each made once. Refused is what would need more bytes than the file has."""

    def __init__(self, size, read=None):
        self.left, self.read = size, read
        self.made = {}

    def __call__(self, name, key, count):
        kind = element_type(name)
        if key not in self.made:
            self.left -= count * kind.stored.itemsize
            if self.left < 0:
                raise ValueError(f"storage {key!r:.60} has {count} numbers of {name}, more than the file can hold")
            self.made[key] = Storage(np.empty(count, kind.dtype), kind)
            if self.read is not None:
                self.read(key, self.made[key])
        storage = self.made[key]
        if storage.kind != kind or storage.array.size != count:
            raise ValueError(f"storage {key!r:.60} is said to be two different ones")
        return storage


# --- zip files


def load_zip(file, size):
    """What an open zip file of `size` bytes holds. Raises ValueError if `torch.save` did not write it like that."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            root = _root(members)
            _check(members, size)
            order = archive.read(members[root + "byteorder"]) if root + "byteorder" in members else b"little"
            if order not in (b"little", b"big"):
                raise ValueError(f"byteorder is {order[:20]!r}, neither little nor big")

            def read(key, storage):
                _read_member(archive, members.get(f"{root}data/{key}"), key, storage, order.decode())

            with archive.open(members[root + "data.pkl"]) as pickle:
                return Machine(io.BytesIO(pickle.read()), Storages(size, read)).load()
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, UnicodeError) as error:
        raise ValueError(f"a damaged zip file: {error}") from None


def _check(members, size):
    """ValueError unless every member is plain bytes in the file, as PyTorch writes them."""
    for name, info in members.items():
        if info.flag_bits & 1:
            raise ValueError(f"an encrypted zip file ({name!r:.100}), which cannot be read")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"a zip file with compressed members ({name!r:.100}); torch.save writes none")
        if not 0 <= info.header_offset < size:
            raise ValueError(f"a damaged zip file: {name!r:.100} lies outside of it")
    if sum(info.file_size for info in members.values()) > size:
        raise ValueError("a zip file whose members overlap")


def _root(members):
    """The folder of the archive, with its slash."""
    roots = [name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise ValueError("a zip file without data.pkl, which torch.save did not write")
    if roots[0] + "constants.pkl" in members:
        raise ValueError("a TorchScript archive, which is a program: load it in PyTorch and save its state_dict()")
    return roots[0]


def _read_member(archive, info, key, storage, order):
    stored = storage.array.size * storage.kind.stored.itemsize
    if info is None or info.file_size != stored:
        there = "missing" if info is None else f"{info.file_size} bytes long"
        raise ValueError(f"storage {key!r:.60} should have {stored} bytes and is {there}")
    with archive.open(info) as member:
        fill(storage.array, storage.kind, member, order)  # at its end the member's checksum is compared


# --- the format before


def load_legacy(file, size):
    """What an open file of `size` bytes in the format before zip holds. Raises ValueError if it is damaged."""
    storages = Storages(size)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pickles:
        if Machine(pickles).load() != MAGIC or Machine(pickles).load() != VERSION:
            raise ValueError(f"not a file of torch.save in its version {VERSION}")
        Machine(pickles).load()  # facts about the machine, on which nothing depends
        value = Machine(pickles, storages).load()
        keys = Machine(pickles).load()
        file.seek(pickles.tell())
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages.made):
        raise ValueError("the storages in the file are not those that its tensors need")
    for key in keys:
        storage = storages.made[key]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.array.size:
            raise ValueError(f"storage {key!r:.60} should have {storage.array.size} numbers and has {count}")
        fill(storage.array, storage.kind, file)
    return value
