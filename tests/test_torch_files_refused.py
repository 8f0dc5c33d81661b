"""What is not plain data in a file of `torch.save`, and a damaged file, is refused by name; nothing in it ever runs."""
import copyreg
import os
import pickle
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from torch_pickles import (
    MAGIC,
    SIX,
    call,
    group,
    legacy_file,
    mapping,
    name,
    number,
    old_storage,
    storage,
    tensor,
    text,
    zip_file,
)

import minigrad as mg

# --- what is refused

EXECUTE = text("touch executed")
SOMETHING = text("builtins") + text("getattr")
HOSTILE = {
    "system": (call("os", "system", EXECUTE), r"wants os\.system"),
    "posix": (call("posix", "system", EXECUTE), r"wants posix\.system"),
    "eval": (call("builtins", "eval", text("open('executed', 'w')")), r"wants builtins\.eval"),
    "eval of Python 2": (call("__builtin__", "eval", text("1")), r"wants __builtin__\.eval"),
    "getattr": (SOMETHING + b"\x93" + group(name("torch", "Tensor"), text("__init__")) + b"R", r"builtins\.getattr"),
    "dotted": (text("torch.serialization") + text("os.system") + b"\x93" + group(EXECUTE) + b"R", r"ion\.os\.system"),
    "dotted after one that may": (text("collections") + text("OrderedDict.update") + b"\x93", r"OrderedDict\.update"),
    "dots in the module": (text("torch._utils._rebuild_tensor_v2") + text("__globals__") + b"\x93", "__globals__"),
    "split differently": (name("torch", "_utils._rebuild_tensor_v2"), r"wants torch\._utils\._rebuild_tensor_v2"),
    "spaces": (name("torch", "Size x"), r"wants torch\.Size x"),
    "a name that is no string": (b"NN\x93", "damaged pickle"),
    "whole model": (name("torch.nn.modules.linear", "Linear"), r"torch\.nn\.modules\.linear\.Linear, .* refused"),
    "numpy": (name("numpy._core.multiarray", "scalar"), r"numpy\._core\.multiarray\.scalar"),
    "quantised": (name("torch._utils", "_rebuild_qtensor"), "a quantised tensor"),
    "extension": (b"\x82\xf0", "EXT1 240"),
    "long extension": (b"\x84\xf0\0\0\0", "EXT4 240"),
    "INST": (b"(" + EXECUTE + b"ios\nsystem\n", "INST os system"),
    "OBJ": (b"(" + name("torch", "Size") + b"o", "OBJ"),
    "NEWOBJ": (name("torch", "Size") + b")\x81", "NEWOBJ"),
    "NEWOBJ_EX": (name("torch", "Size") + b")}\x92", "NEWOBJ_EX"),
    "bytearray": (b"\x96" + struct.pack("<Q", 1) + b"a", "BYTEARRAY8"),
    "out of band": (b"\x97", "NEXT_BUFFER"),
    "calls a string": (text("os.system") + group(EXECUTE) + b"R", "calls a str"),
    "calls a tensor": (tensor() + b")R", "calls a Tensor"),
    "calls a name": (name("torch", "Tensor") + b")R", r"calls torch\.Tensor"),
    "calls with a list": (name("torch", "Size") + b"]R", r"calls torch\.Size"),
    "calls with too much": (call("torch", "Size", b"N", b"N"), "damaged pickle"),
    "state of a function": (name("torch", "Size") + b"N}" + text("__defaults__") + b")s\x86b", r"state of torch\.Size"),
    "state of a list": (b"]" + b"}b", "state of a list"),
    "a function as a value": (b"](" + name("torch", "Size") + b"e", r"holds torch\.Size"),
    "a storage as a value": (storage(), "holds a Storage"),
    "an untyped storage as a value": (storage("FloatStorage").replace(b"ctorch\nFloat", b"ctorch.storage\nUntyped"),
                                      "holds a Untyped"),
    "a storage type in a tuple": (name("torch", "FloatStorage") + b"\x85", "holds a StorageType"),
    "persistent text": (b"P0\n", "PERSID 0"),
    "persistent number": (b"K\0Q", "not to a storage"),
    "persistent list": (b"]Q", "not to a storage"),
    "persistent triple": (group(text("storage"), b"N", b"N") + b"Q", "not to a storage"),
    "persistent module": (group(text("module"), b"N", b"N", b"N", b"N") + b"Q", "not to a storage"),
    "storage of a string": (group(text("storage"), text("os"), text("0"), b"N", number(6)) + b"Q", "no sense"),
    "storage by number": (group(text("storage"), name("torch", "FloatStorage"), b"NNK\6") + b"Q", "no sense"),
    "storage of less than nothing": (storage(count=-1), "no sense"),
    "tensor of no storage": (tensor(b"N"), "a tensor of a NoneType"),
    "tensor of a tensor": (tensor(tensor()), "a tensor of a Tensor"),
    "parameter of a string": (call("torch._utils", "_rebuild_parameter", text("a"), b"\x88", b"N"), "of a str"),
    "another function": (call("torch._tensor", "_rebuild_from_type_v2", name("os", "system"), b"N", b"N", b"N"),
                         r"os\.system"),
    "another type": (call("torch._tensor", "_rebuild_from_type_v2", name("torch", "Size"), name("torch", "Size"),
                          b")", b"N"), r"torch\.Size made by torch\.Size"),
    "encoding": (call("_codecs", "encode", text("a"), text("zlib")), "encoding"),
    "list as a key": (b"}]Ns", "a list as a key"),
    "nested tuple as a key": (b"}))\x86\x85Ns", "a tuple as a key"),
    "tensor in a set": (call("builtins", "set", b"](" + tensor() + b"e"), "a Tensor as a key"),
    "tensor added to a set": (b"\x8f(" + tensor() + b"\x90", "a Tensor as a key"),
    "tensor in a frozenset": (b"(" + tensor() + b"\x91", "a Tensor as a key"),
    "tensor as the key of a pair": (name("collections", "OrderedDict") + b"](](" + tensor() + b"Nee\x85R", "as a key"),
    "append to a dict": (b"}Na", "damaged pickle"),
    "item of a list": (b"]NNs", "damaged pickle"),
    "empty stack": (b"", "damaged pickle"),
    "below a mark": (b"N(\x85", "damaged pickle"),
    "no memo": (b"h\7", "damaged pickle"),
    "no such opcode": (b"\xff", "opcode"),
    "long string": (b"\x8d" + struct.pack("<Q", 2**62) + b"a", "only"),
    "flags": (tensor(extra=b"}" + text("neg") + b"\x88s"), r"flag \(neg\)"),
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_plain_data_is_named_and_refused(tmp_path, monkeypatch, form, what):
    monkeypatch.chdir(tmp_path)
    pickled, message = HOSTILE[what]
    if form == "zip":
        path = zip_file(tmp_path / "bad.pth", pickled)
    else:
        path = legacy_file(tmp_path / "bad.pth", pickled.replace(number(6) + b"tQ", number(6) + b"NtQ"))
    with pytest.raises(ValueError, match=message) as caught:
        mg.load(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < len(str(path)) + 500
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pth"]


def test_hostile_files_would_have_run():
    """The bytes above are ones that pickle itself obeys."""
    copyreg.add_extension("os", "getcwd", 240)
    try:
        assert pickle.loads(b"\x80\x02\x82\xf0)R.") == os.getcwd()
    finally:
        copyreg.remove_extension("os", "getcwd", 240)
    assert pickle.loads(b"\x80\x02" + call("builtins", "eval", text("6 * 7")) + b".") == 42


@pytest.mark.parametrize(("kind", "named"), [
    ("ComplexFloatStorage", "complex64"), ("ComplexDoubleStorage", "complex128"), ("QInt8Storage", "qint8"),
    ("QUInt8Storage", "quint8"),
])
def test_other_numbers_are_refused_by_name(tmp_path, kind, named):
    with pytest.raises(ValueError, match=f"cannot read numbers of type {named}"):
        mg.load(zip_file(tmp_path / "x", tensor(storage(kind))))


@pytest.mark.parametrize(("change", "message"), [
    ({"size": (7,), "stride": (1,)}, "beyond its 6 numbers"),
    ({"size": (2, 3), "stride": (4, 1)}, "beyond its 6 numbers"),
    ({"offset": 1}, "beyond its 6 numbers"),
    ({"size": (), "stride": (), "offset": 6}, "beyond its 6 numbers"),
    ({"offset": 7, "size": (0,), "stride": (1,)}, "makes no sense"),
    ({"offset": -1}, "makes no sense"),
    ({"size": (2, 3), "stride": (-3, 1)}, "non-negative"),
    ({"size": (-2, 3)}, "non-negative"),
    ({"size": (2,)}, "makes no sense"),
    ({"size": (1,) * 65, "stride": (1,) * 65}, "non-negative"),
    ({"size": (2**62, 2**62), "stride": (2**62, 1)}, "beyond its 6 numbers"),
    ({"size": (2**62, 2**62), "stride": (0, 0)}, "large|big|exceed|dimension"),
    ({"size": (0, 2**62, 2**62), "stride": (1, 1, 1)}, "large|big|exceed|dimension"),
])
def test_views_that_leave_their_storage_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        mg.load(zip_file(tmp_path / "x", tensor(**change)))


@pytest.mark.parametrize(("pickled", "data", "message"), [
    (tensor(storage(count=5), (5,), (1,)), [("0", SIX)], "should have 20 bytes and is 24 bytes long"),
    (tensor(storage(count=7), (7,), (1,)), [("0", SIX)], "should have 28 bytes and is 24 bytes long"),
    (tensor(), [("1", SIX)], "'0' should have 24 bytes and is missing"),
    (tensor(storage(key="../../etc/passwd")), [("0", SIX)], "is missing"),
    (tensor(storage(count=10**12), (1,), (1,)), [("0", SIX)], "more than the file can hold"),
    (tensor() + tensor(storage("IntStorage")), [("0", SIX)], "two different ones"),
])
def test_storages_must_be_there_and_as_large_as_they_say(tmp_path, pickled, data, message):
    with pytest.raises(ValueError, match=message):
        mg.load(zip_file(tmp_path / "x", pickled, data))


@pytest.mark.parametrize(("count", "data", "message"), [
    (6, [("0", 5, SIX)], "should have 6 numbers and has 5"),
    (6, [], "not those that its tensors need"),
    (6, [("0", 6, SIX), ("1", 6, SIX)], "not those that its tensors need"),
    (6, [("0", 6, SIX), ("0", 6, SIX)], "not those that its tensors need"),
    (6, [("0", 6, SIX[:-1])], "ends 1 bytes too early"),
    (10**12, [("0", 10**12, SIX)], "more than the file can hold"),
    (6, [(0, 6, SIX)], "not those that its tensors need"),
])
def test_storages_of_the_old_format_must_be_complete(tmp_path, count, data, message):
    with pytest.raises(ValueError, match=message):
        mg.load(legacy_file(tmp_path / "x", tensor(old_storage(count=count)), data))


def test_memory_and_time_stay_in_proportion(tmp_path):
    """What pickle's own machine would multiply, or run for ever on."""
    ten = b"](" + b"".join(number(i) for i in range(1000)) + b"eq\0"
    again = ten + (name("builtins", "set") + b"h\0\x85R") * 1000
    laughs = b"N" + b"2\x86" * 100 + b"q\0" + b"}h\0Ns"
    deep = b"]" * 100_000 + b"a" * 99_999
    endless = b"\x8e" + b"\xff" * 7 + b"\x0f"
    for what, message in ((again, "again and again"), (laughs, "as a key"), (endless, "only")):
        tracemalloc.start()
        with pytest.raises(ValueError, match=message):
            mg.load(zip_file(tmp_path / "x", what))
        assert tracemalloc.get_traced_memory()[1] < 1e7
        tracemalloc.stop()
    assert mg.load(zip_file(tmp_path / "x", b"Nr\xff\xff\xff\xff")) is None
    assert len(mg.load(zip_file(tmp_path / "x", deep))) == 1


# --- zip files that are something else


def test_torchscript_archives_are_named(tmp_path):
    path = zip_file(tmp_path / "x.pt", tensor(), extra=[("constants.pkl", b"\x80\x02).")])
    with pytest.raises(ValueError, match=r"x\.pt: a TorchScript archive"):
        mg.load(path)


def test_other_zip_files_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    with pytest.raises(ValueError, match=r"x\.npz: a zip file without data\.pkl"):
        mg.load(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "empty", "w"):
        pass
    with pytest.raises(ValueError, match=r"empty: a zip file without data\.pkl"):
        mg.load(tmp_path / "empty")


def test_compressed_zip_files_are_not_unpacked(tmp_path):
    zeros = [("0", bytes(4_000_000))]
    path = zip_file(tmp_path / "x", tensor(storage(count=10**6)), zeros, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="x: a zip file with compressed members"):
        mg.load(path)


def test_encrypted_zip_files_are_named(tmp_path):
    raw = bytearray(zip_file(tmp_path / "x", tensor()).read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 8] |= 1
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(ValueError, match="x: an encrypted zip file"):
        mg.load(tmp_path / "x")


def test_members_that_overlap_are_refused(tmp_path):
    """Many names for the same bytes."""
    big = [("0", bytes(1_000_000))]
    path = zip_file(tmp_path / "x", tensor(storage(count=250_000)), big)
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("archive/data/0")
        for i in range(1, 5):
            copy = zipfile.ZipInfo(f"archive/data/{i}")
            copy.file_size = copy.compress_size = first.file_size
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            archive.filelist.append(copy)
        archive._didModify = True
    with pytest.raises(ValueError, match="overlap"):
        mg.load(path)


def test_a_changed_number_fails_the_checksum(tmp_path):
    raw = zip_file(tmp_path / "x", tensor()).read_bytes()
    (tmp_path / "x").write_bytes(raw.replace(SIX, SIX[:-1] + b"\1"))
    with pytest.raises(ValueError, match=r"x: a damaged zip file: .*CRC"):
        mg.load(tmp_path / "x")


def test_an_unknown_byte_order_is_named(tmp_path):
    with pytest.raises(ValueError, match="byteorder is b'middle'"):
        mg.load(zip_file(tmp_path / "x", tensor(), extra=[("byteorder", b"middle")]))


@pytest.mark.parametrize(("raw", "message"), [
    (pickle.dumps({"a": 1}), "another program's pickle, which is not opened"),
    (pickle.dumps({"a": 1}, 2), "another program's pickle, which is not opened"),
    (MAGIC + pickle.dumps(1000, 2) + bytes(20), "not a file of torch.save in its version 1001"),
    (b"PK\x03\x04" + bytes(100), "damaged zip file"),
    (bytes(257) + b"ustar" + bytes(300), "a tar file"),
])
def test_other_files_are_named(tmp_path, raw, message):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(ValueError, match=f"x: .*{message}"):
        mg.load(tmp_path / "x")


def outcome(path):
    """Load a damaged file: a result or a ValueError that names it, and not much memory."""
    tracemalloc.reset_peak()
    try:
        mg.load(path)
    except ValueError as error:
        assert str(error).startswith(str(path))
    assert tracemalloc.get_traced_memory()[1] < 4e6


def test_damaged_files_give_a_value_error_or_a_result(tmp_path):
    rng = random.Random(0)
    contents = mapping(w=tensor(), m=mapping(b=tensor(None, (3,), (2,), 1), s=call("builtins", "set", b"](NK\1e")))
    old = contents.replace(number(6) + b"tQ", number(6) + b"NtQ")
    files = [zip_file(tmp_path / "x", contents).read_bytes(), legacy_file(tmp_path / "x", old).read_bytes()]
    path = tmp_path / "damaged"
    tracemalloc.start()
    try:
        for raw in files:
            for end in range(0, len(raw), 7):
                path.write_bytes(raw[:end])
                outcome(path)
            for _ in range(250):
                changed = bytearray(raw)
                for _ in range(rng.choice((1, 1, 3))):
                    changed[rng.randrange(len(raw))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
                path.write_bytes(changed)
                outcome(path)
        for _ in range(250):  # the pickle within a zip file that is whole
            changed = bytearray(contents)
            for _ in range(rng.choice((1, 2, 5))):
                changed[rng.randrange(len(contents))] = rng.choice((*b"RQbtuse.()}]h0\x93\x85", rng.randrange(256)))
            outcome(zip_file(path, bytes(changed)))
    finally:
        tracemalloc.stop()
