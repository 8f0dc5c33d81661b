"""Files of `torch.save` are read without PyTorch: those it wrote itself, and ones put together by hand."""
import io
import pickle
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_pickles import (
    call,
    group,
    legacy_file,
    mapping,
    name,
    number,
    numbers,
    old_storage,
    storage,
    tensor,
    text,
    zip_file,
)

import minigrad as mg
from minigrad.serialization.unpickle import Machine

# --- what is read


def test_hand_made_files_of_both_formats_are_read(tmp_path):
    a = mg.load(zip_file(tmp_path / "a", mapping(w=tensor(), n=number(3))))
    b = mg.load(legacy_file(tmp_path / "b", mapping(w=tensor(old_storage()), n=number(3))))
    for loaded in (a, b):
        assert type(loaded) is dict
        assert loaded["n"] == 3
        assert type(loaded["w"]) is mg.Tensor
        assert loaded["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
        loaded["w"].add_(1)


def test_any_name_of_file_and_folder_will_do(tmp_path):
    assert mg.load(str(zip_file(tmp_path / "x.safetensors", tensor(), root="resnet18"))).shape == (2, 3)


@pytest.mark.parametrize(("kind", "stored", "values"), [
    ("FloatStorage", "f4", [0, -1.5, np.inf]), ("DoubleStorage", "f8", [0, -1.5, np.inf]),
    ("HalfStorage", "f2", [0, -1.5, np.inf]), ("BFloat16Storage", "u2", [0, 0xBFC0, 0x7F80]),
    ("LongStorage", "i8", [0, -1, 2**62]), ("IntStorage", "i4", [0, -1, 2**30]), ("ShortStorage", "i2", [0, -1, 2**14]),
    ("CharStorage", "i1", [0, -1, 127]), ("ByteStorage", "u1", [0, 1, 255]), ("BoolStorage", "u1", [0, 1, 2]),
])
@pytest.mark.parametrize("order", ["little", "big"])
def test_every_type_of_numbers_in_both_byte_orders(tmp_path, kind, stored, values, order):
    raw = np.array(values, dtype=("<" if order == "little" else ">") + stored).tobytes()
    path = zip_file(tmp_path / "x", tensor(storage(kind, "0", 3), (3,), (1,)), [("0", raw)],
                    [("byteorder", order.encode())])
    expected = {"Half": "f4", "BFloat16": "f4", "Bool": "bool"}.get(kind.removesuffix("Storage"), stored)
    values = {"BFloat16Storage": [0, -1.5, np.inf], "BoolStorage": [False, True, True]}.get(kind, values)
    loaded = mg.load(path)
    assert loaded.dtype == np.dtype(expected)
    assert loaded.tolist() == values
    assert loaded.dtype != np.bool_ or loaded.numpy().view(np.uint8).tolist() == [0, 1, 1]
    if order == "little":
        old = legacy_file(tmp_path / "y", tensor(old_storage(kind, "0", 3), (3,), (1,)), [("0", 3, raw)])
        assert mg.load(old).tolist() == values


@pytest.mark.parametrize(("size", "stride", "offset"), [
    ((6,), (1,), 0), ((2, 3), (3, 1), 0), ((3, 2), (1, 3), 0), ((2, 2), (3, 1), 1), ((), (), 5), ((0, 3), (3, 1), 6),
    ((4,), (0,), 5), ((1, 6), (99, 1), 0), ((2, 2), (1, 1), 3), ((2, 1, 3), (3, 7, 1), 0),
    ((1,) * 64, (2**60,) * 64, 5),
])
def test_views_are_those_that_numpy_makes(tmp_path, size, stride, offset):
    x = np.arange(6, dtype=np.float32)
    steps = tuple(4 * s if n > 1 else 0 for n, s in zip(size, stride, strict=True))
    expected = np.lib.stride_tricks.as_strided(x[offset:], size, steps)
    loaded = mg.load(zip_file(tmp_path / "x", tensor(None, size, stride, offset)))
    assert loaded.shape == size
    np.testing.assert_array_equal(loaded.numpy(), expected)


def test_tensors_of_one_storage_share_memory_and_notice_changes(tmp_path):
    path = zip_file(tmp_path / "x", mapping(a=tensor(), b=tensor(None, (3,), (1,), 3)))
    loaded = mg.load(path)
    y = (loaded["b"] * mg.ones(3, requires_grad=True)).sum()
    loaded["a"].fill_(7.0)
    assert loaded["b"].tolist() == [7, 7, 7]
    with pytest.raises(RuntimeError, match="modified in place"):
        y.backward()


def test_many_views_of_one_storage_cost_no_memory(tmp_path):
    big = np.zeros(250_000, dtype="<f4")
    views = tensor(storage(count=big.size), (big.size,), (1,)) + b"0" + b"]("
    views += tensor(storage(count=big.size), (big.size // 2,), (2,)) * 200 + b"e"
    path = zip_file(tmp_path / "x", views, [("0", big.tobytes())])
    tracemalloc.start()
    loaded = mg.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(loaded) == 200
    assert peak < 3e6  # the storage is 1e6


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_numbers_are_in_memory_once(tmp_path, form):
    data = np.ones(2_000_000, dtype="<f4")
    path = tmp_path / "x"
    if form == "zip":
        zip_file(path, tensor(storage(count=data.size), (data.size,), (1,)), [("0", data.tobytes())])
    elif form == "legacy":
        pickled = tensor(old_storage(count=data.size), (data.size,), (1,))
        legacy_file(path, pickled, [("0", data.size, data.tobytes())])
    else:
        mg.save({"x": data}, path)
    mg.load(zip_file(tmp_path / "warm", tensor()))
    tracemalloc.start()
    loaded = mg.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    loaded = loaded["x"] if form == "safetensors" else loaded
    assert loaded.numpy().all()
    assert peak < 1.5 * data.nbytes


def test_parameters_require_gradients(tmp_path):
    parts = {
        "p": call("torch._utils", "_rebuild_parameter", tensor(), b"\x88", b"}"),
        "q": call("torch._utils", "_rebuild_parameter_with_state", tensor(), b"\x89", b"}", b"}" + text("a") + b"Ns"),
        "r": call("torch.nn.parameter", "Parameter", tensor()),
        "s": call("torch.nn.parameter", "Parameter", tensor()) + group(b"\x89", b"\x89", b"}") + b"b",
        "t": call("torch._utils", "_rebuild_tensor", storage(), number(2), numbers((2,)), numbers((2,))),
        "u": call("torch._tensor", "_rebuild_from_type_v2", name("torch._utils", "_rebuild_tensor_v2"),
                  name("torch", "Tensor"), tensor()[len(name("torch._utils", "_rebuild_tensor_v2")) : -1], b"}"),
    }
    loaded = mg.load(zip_file(tmp_path / "x", mapping(**parts)))
    assert all(type(t) is mg.Tensor for t in loaded.values())
    assert {key: t.requires_grad for key, t in loaded.items()} == {
        "p": True, "q": False, "r": True, "s": False, "t": False, "u": False,
    }
    assert loaded["t"].tolist() == [2, 4]


def test_python_2_files_are_read(tmp_path):
    """Strings without encoding, an OrderedDict made of pairs, longs, attributes of the OrderedDict."""
    word = b"U\x02\xc3\xa4"
    pairs = b"](](" + word + tensor() + b"e](U\x01b" + b"I7\n" + b"ee"
    pickled = name("collections", "OrderedDict") + pairs + b"\x85R" + b"}U\x09_metadataL5L\nsb"
    loaded = mg.load(zip_file(tmp_path / "x", pickled))
    assert list(loaded) == ["ä", "b"]
    assert loaded["b"] == 7


def test_a_view_of_a_storage_in_the_old_format(tmp_path):
    view = group(text("view"), number(2), number(3))
    loaded = mg.load(legacy_file(tmp_path / "x", tensor(old_storage(view=view), (2,), (2,))))
    assert loaded.tolist() == [2, 4]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner)
    | st.sets(st.text() | st.integers(), max_size=1) | st.dictionaries(st.tuples(st.text(), st.integers()), inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_objects_of_every_protocol_are_what_pickle_reads(value, protocol):
    value = [value, value]  # a reference to what was there before
    raw = pickle.dumps(value, protocol)
    loaded = Machine(io.BytesIO(raw)).load()
    assert loaded == value
    assert repr(loaded) == repr(value)


def test_an_ordered_dict_becomes_a_dict_in_its_order():
    for protocol in range(6):
        loaded = Machine(io.BytesIO(pickle.dumps(OrderedDict(b=1, a=2), protocol))).load()
        assert type(loaded) is dict
        assert list(loaded) == ["b", "a"]


# --- files that PyTorch wrote


@pytest.fixture(params=["zip", "legacy", "zip, protocol 4"])
def write(request, tmp_path):
    """torch.save in each of its formats."""
    torch = pytest.importorskip("torch")

    def save(value):
        old = request.param == "legacy"
        protocol = 4 if "4" in request.param else 2
        torch.save(value, tmp_path / "x.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
        return tmp_path / "x.pth"

    return save


def same(ours, theirs):
    """Whether what was loaded is what was saved."""
    import torch

    if isinstance(theirs, torch.Tensor):
        wide = theirs.detach().float() if theirs.dtype in (torch.float16, torch.bfloat16) else theirs.detach()
        assert type(ours) is mg.Tensor
        assert ours.requires_grad == theirs.requires_grad
        assert str(ours.dtype) == str(wide.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(ours.detach().numpy(), wide.numpy())
    elif isinstance(theirs, dict):
        assert type(ours) is dict
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is (list if isinstance(theirs, list) else tuple)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    else:
        assert (type(ours), ours) == (type(theirs), theirs)


def test_a_checkpoint_of_pytorch_is_read(write):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(4, 5))
    optimizer = torch.optim.Adam(net.parameters())
    net[0](torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    value = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.5, "name": "ä",
             "none": None, "flags": (True, False), "ids": {1, 2}, "raw": b"\0\xff", "big": 1 << 80,
             "size": torch.Size([1, 2]), "parameters": dict(net.named_parameters())}
    same(mg.load(write(value)), value)


def test_tensors_of_every_kind_are_read(write):
    torch = pytest.importorskip("torch")
    x = torch.arange(24.0).reshape(2, 3, 4)
    names = ("float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool")
    tied = torch.nn.Parameter(torch.ones(3))
    tied.note = "kept with it"
    value = {
        **{n: x.clone().to(getattr(torch, n)) for n in names},
        "view": x[:, 1:, ::2], "permuted": x.permute(2, 0, 1), "expanded": x[:1].expand(5, 3, 4),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "0-d": torch.tensor(3.5), "empty": torch.zeros(0, 3), "tied": tied, "tied too": tied,
        "buffer": torch.nn.Buffer(torch.ones(2)), "grad": torch.ones(2, requires_grad=True),
    }
    loaded = mg.load(write(value))
    same(loaded, value)
    assert loaded["tied"] is loaded["tied too"]


def test_dtypes_and_devices_become_names(write):
    torch = pytest.importorskip("torch")
    value = [torch.float32, torch.complex64, torch.device("cpu"), torch.device("cuda", 1), torch.strided]
    assert mg.load(write(value)) == ["float32", "complex64", "cpu", "cuda:1", "strided"]


@pytest.mark.parametrize(("make", "message"), [
    (lambda torch: torch.ones(2, dtype=torch.complex64), "complex64"),
    (lambda torch: torch.ones(2, dtype=torch.complex64).conj().imag, "flag .neg"),
    (lambda torch: torch.ones(2).to(torch.float8_e4m3fn), "float8_e4m3fn"),
    (lambda torch: torch.ones(2).to(torch.uint16), "uint16"),
    (lambda torch: torch.ones(2).to_sparse(), "a sparse tensor"),
    (lambda torch: torch.ones(2, device="meta"), "a tensor without numbers"),
    (lambda torch: torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
    (lambda torch: torch.ones(2).untyped_storage(), "holds a Untyped"),
    (lambda torch: np.float32(1), r"numpy.*\.scalar"),
    (lambda torch: 1j, "complex"),
])
def test_what_tensors_here_cannot_be_is_refused_by_name(write, make, message):
    torch = pytest.importorskip("torch")
    path = write([make(torch)])
    with pytest.raises(ValueError, match=message) as caught:
        mg.load(path)
    assert str(path) in str(caught.value)


def test_torchscript_of_pytorch_is_refused(tmp_path):
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def forward(self, x):
            return x

    torch.jit.trace(Net(), torch.ones(1)).save(tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: a TorchScript archive"):
        mg.load(tmp_path / "x.pt")


def test_pytorch_reads_the_hand_made_files(tmp_path):
    """So that the tests above speak of files as PyTorch knows them."""
    torch = pytest.importorskip("torch")
    for path in (zip_file(tmp_path / "a", mapping(w=tensor()), extra=[("byteorder", b"little")]),
                 legacy_file(tmp_path / "b", mapping(w=tensor(old_storage())))):
        assert torch.load(path, weights_only=False)["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
