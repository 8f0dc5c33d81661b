"""Saving and loading: every kind of tensor comes back, files are whole or absent, and foreign ones are refused."""
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.tensor import DTYPES

pytestmark = pytest.mark.usefixtures("made_there")

GRID = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("array", [
    *(pytest.param((GRID % 2 if d.kind == "b" else GRID).astype(d), id=d.name) for d in DTYPES),
    pytest.param(np.array(2.5, dtype=np.float32), id="0-d"),
    pytest.param(np.zeros((0, 3)), id="empty"),
    pytest.param(GRID.T, id="transposed"),
    pytest.param(GRID[:, ::-1, 1:, ::2], id="strided"),
    pytest.param(np.broadcast_to(np.float32(3), (2, 3)), id="broadcast"),
    pytest.param(GRID.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), id="channels-last"),
    pytest.param(np.array([np.nan, np.inf, -0.0, 5e-324]), id="special"),
])
def test_a_tensor_comes_back_as_it_was(tmp_path, array):
    path = tmp_path / "x.safetensors"
    mg.save({"x": mg.Tensor(array), "an odd / name": mg.ones(1)}, path)
    loaded = mg.load(path)
    assert set(loaded) == {"x", "an odd / name"}
    assert isinstance(loaded["x"], mg.Tensor)
    assert loaded["x"].dtype == array.dtype
    np.testing.assert_array_equal(loaded["x"].numpy(), array)
    assert np.signbit(loaded["x"].numpy()).tolist() == np.signbit(array).tolist()


def test_parameters_arrays_and_an_empty_dict_can_be_saved(tmp_path):
    path = str(tmp_path / "x.safetensors")
    mg.save({"p": mg.nn.Parameter(mg.ones(2)), "a": np.ones(3, dtype=np.int8)}, path)
    loaded = mg.load(path)
    assert not loaded["p"].requires_grad
    assert loaded["a"].dtype == np.int8
    mg.save({}, path)
    assert mg.load(path) == {}


def test_loaded_tensors_can_be_changed(tmp_path):
    mg.save({"x": mg.zeros(2)}, tmp_path / "x")
    x = mg.load(tmp_path / "x")["x"]
    x.add_(1)
    assert x.tolist() == [1, 1]


def test_the_safetensors_library_reads_what_was_saved_and_the_other_way_round(tmp_path):
    mg.save({"x": mg.Tensor(GRID.T)}, tmp_path / "ours")
    np.testing.assert_array_equal(safetensors.numpy.load_file(tmp_path / "ours")["x"], GRID.T)
    safetensors.numpy.save_file({"x": GRID}, tmp_path / "theirs")
    np.testing.assert_array_equal(mg.load(tmp_path / "theirs")["x"].numpy(), GRID)


@pytest.mark.parametrize("stage", ["write", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, stage):
    path = tmp_path / "x.safetensors"
    mg.save({"x": mg.zeros(2)}, path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, {"write": "fsync", "replace": "replace"}[stage], fail)
    with pytest.raises(OSError, match="disk full"):
        mg.save({"x": mg.ones(2)}, path)
    monkeypatch.undo()
    assert mg.load(path)["x"].tolist() == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "x.safetensors"
    mg.save({"long": mg.zeros(1000)}, path)
    mg.save({"short": mg.ones(1)}, path)
    assert list(mg.load(path)) == ["short"]
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_do_not_exist_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mg.save({"x": mg.zeros(1)}, tmp_path / "nowhere" / "x")
    with pytest.raises(FileNotFoundError, match="nothing"):
        mg.load(tmp_path / "nothing")


def test_a_module_is_saved_as_its_state(tmp_path):
    net = mg.nn.Sequential(mg.nn.Conv2d(1, 2, 3), mg.nn.BatchNorm2d(2), mg.nn.ReLU())
    mg.save(net, tmp_path / "x")
    loaded = mg.load(tmp_path / "x")
    assert loaded.keys() == net.state_dict().keys()
    for name, t in net.state_dict().items():
        np.testing.assert_array_equal(loaded[name].numpy(), t.numpy())
    assert net.load_state_dict(loaded) == ([], [])


@pytest.mark.parametrize(("state", "error", "message"), [
    ([mg.ones(1)], TypeError, "expected a Module or a dict such as .*got list"),
    (mg.ones(1), TypeError, "expected a Module or a dict such as .*got Tensor"),
    ({1: mg.ones(1)}, TypeError, "names are strings, got 1"),
    ({"a": "text"}, TypeError, "'a' is no tensor but a str"),
    ({"model": {"w": mg.ones(1)}}, TypeError, "'model' is no tensor but a dict"),
    ({"a": None}, TypeError, "'a' is no tensor but a NoneType"),
    ({"a": np.ones(1, dtype=np.complex64)}, TypeError, "'a' is no tensor but a ndarray: .*complex64"),
    ({"__metadata__": mg.ones(1)}, ValueError, "__metadata__"),
])
def test_only_modules_and_dicts_of_tensors_can_be_saved(tmp_path, state, error, message):
    with pytest.raises(error, match=message):
        mg.save(state, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def file_of(dtype, values, shape=(2,)):
    """A safetensors file with one tensor of any dtype."""
    header = json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(values)]}}).encode()
    return struct.pack("<Q", len(header)) + header + values


GOOD = file_of("F32", struct.pack("<2f", 1.0, 2.0))


def test_a_file_written_byte_by_byte_is_read(tmp_path):
    (tmp_path / "x").write_bytes(GOOD)
    assert mg.load(tmp_path / "x")["x"].tolist() == [1, 2]


@pytest.mark.parametrize(("raw", "message"), [
    (b"", "neither a safetensors file nor one that PyTorch wrote, but an empty file"),
    (b"hello, world: this is text", "neither a safetensors file nor .* begins with b'hello, world"),
    (GOOD[:-1], "not a safetensors file"),
    (GOOD[:30], "not a safetensors file"),
    (GOOD + b"\0", "not a safetensors file"),
    (GOOD.replace(b'"F32"', b'"XYZ"'), "not a safetensors file"),
    (b"\xff" * 8 + GOOD[8:], "not a safetensors file"),
    (file_of("F8_E4M3", bytes(2)), "cannot read numbers of type F8_E4M3"),
    (file_of("U32", bytes(8)), "cannot read numbers of type U32"),
], ids=["empty", "text", "short", "header", "long", "dtype", "length", "F8", "U32"])
def test_damaged_and_foreign_files_are_refused_by_name(tmp_path, raw, message):
    path = tmp_path / "weights"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=message) as caught:
        mg.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("dtype", "values"), [
    ("F16", [1.0, -2.5, 6e-8, -0.0, np.inf, np.nan]), ("BF16", [1.0, -2.5, 1e-40, -0.0, np.inf, np.nan]),
])
def test_half_precision_becomes_float32(tmp_path, dtype, values):
    wide = np.array(values, dtype=np.float32)
    if dtype == "F16":
        raw = wide.astype(np.float16)
        wide = raw.astype(np.float32)
    else:  # the upper halves
        raw = (wide.view(np.uint32) >> 16).astype(np.uint16)
        wide = (raw.astype(np.uint32) << 16).view(np.float32)
    (tmp_path / "x").write_bytes(file_of(dtype, raw.tobytes(), (2, 3)))
    x = mg.load(tmp_path / "x")["x"]
    assert x.dtype == mg.float32
    assert x.numpy().tobytes() == wide.tobytes()
    assert x.shape == (2, 3)


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_path_may_be_of_any_kind(tmp_path, kind):
    mg.save({"x": mg.ones(2)}, tmp_path / "x.safetensors")
    assert mg.load(kind(tmp_path / "x.safetensors"))["x"].tolist() == [1, 1]


@pytest.mark.parametrize("path", [True, 0, 1.5, None, {}])
def test_what_is_no_path_is_refused_and_no_open_file_is_touched(path):
    with pytest.raises(TypeError, match="expected str, bytes or os.PathLike object, not " + type(path).__name__):
        mg.load(path)
    os.fstat(1)  # True, as a number, is standard output


def test_a_file_with_metadata_is_read(tmp_path):
    safetensors.numpy.save_file({"x": GRID}, tmp_path / "x", metadata={"format": "pt"})
    assert list(mg.load(tmp_path / "x")) == ["x"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_changed_byte_gives_tensors_or_a_value_error(tmp_path, position, value):
    path = tmp_path / "weights"
    path.write_bytes(GOOD[:position] + bytes([value]) + GOOD[position + 1 :])
    try:
        assert all(isinstance(t, mg.Tensor) for t in mg.load(path).values())
    except ValueError as error:
        assert str(path) in str(error)
