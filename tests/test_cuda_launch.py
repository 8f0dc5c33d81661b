"""What a launch hands to CuPy: a stand-in for CuPy notes it, so that no GPU is needed. And how arguments are packed."""
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from minigrad.kernels import conv
from minigrad.kernels.arrays import device_of
from minigrad.kernels.conv import direct_cuda
from minigrad.kernels.cuda import launch, module, several, strided, window
from minigrad.kernels.cuda.arguments import described, packed
from minigrad.kernels.cuda.simulated import on_device


class Array(np.ndarray):
    """A NumPy array that takes itself for one of CuPy's."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])


Array.__module__ = "cupy._core.core"


class Recorder:
    """A RawModule and its kernels in one: notes what it is made and called with."""

    made, calls = [], []

    def __init__(self, **options):
        self.made.append(options)

    def get_function(self, name):
        self.name = name
        return self

    def __call__(self, grid, block, args, shared_mem):
        self.calls.append((self.name, grid, block, args, shared_mem))


@pytest.fixture
def cupy(monkeypatch):
    stand_in = ModuleType("cupy")
    stand_in.RawModule = Recorder
    stand_in.empty = lambda shape, dtype: np.empty(shape, dtype).view(Array)
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(Recorder, "calls", [])
    module._module.cache_clear()
    yield stand_in
    module._module.cache_clear()


def test_a_launch_compiles_the_source_once_and_hands_over_bytes(cupy):
    x, w = np.ones((2, 3, 5, 4), np.float32).view(Array), np.ones((6, 3, 3, 3), np.float32).view(Array)
    assert device_of(x) == "cuda"
    p = conv.conv_params(x.shape, w.shape, 2, 1)
    for _ in range(2):
        y = direct_cuda.forward(x, w, p, low=0.0)
    (made,) = Recorder.made
    assert made["options"] == ("--std=c++17",) and made["backend"] == "nvrtc"
    assert "typedef float T;" in made["code"] and "#define FLIP 0" in made["code"]
    assert 'extern "C" __global__ void forward' in made["code"]
    name, grid, block, (x_arg, w_arg, bias, y_arg, how, low), shared = Recorder.calls[1]
    assert (name, grid, block, shared) == ("forward", (1, 1, 1), (8, 32, 1), 0)
    assert x_arg["data"] == x.data.ptr
    assert (list(x_arg["stride"]), list(x_arg["size"])) == ([60, 20, 4, 1], [2, 3, 5, 4])
    assert list(w_arg["stride"]) == [1, 6, 54, 18]  # the output channels of a copy are neighbours
    assert y_arg["data"] == y.data.ptr and list(y_arg["size"]) == [2, 6, 3, 2]
    assert bias == 0 and list(how) == [2, 2, 1, 1, 1, 1, 1]
    assert low.dtype == np.float32
    assert x_arg.nbytes == 56 and how.nbytes == 28


def test_more_than_48_kilobytes_of_shared_memory_are_asked_for(cupy):
    x = np.ones(4, np.float32).view(Array)
    launch("conv/direct.cu", "add_slices", 1, 1, (x, x, 1, 1), shared=100_000, FLIP=0)
    assert Recorder.calls[0][-1] == 100_000
    assert module._module("cuda", "conv/direct.cu", "float32", (("FLIP", 0),)).max_dynamic_shared_size_bytes == 100_000


def test_arguments_become_the_parameters_that_the_kernel_has():
    x = on_device(np.zeros((2, 3, 4, 5), np.float32))
    p = conv.conv_params((1, 2, 9, 9), (2, 2, 3, 3), (2, 3), ((1, 2), (0, 4)), (1, 2))
    for argument, text in (
        (x, "float32*"), (strided(x), "float32[4]"), (3, "int32"), (True, "int32"), (0.5, "float64"), (None, "None"),
        (np.int64(3), "int64"), (window(p), "28 bytes"), (several([x, x]), "float32*[32]"),
    ):
        assert described(argument, "float64") == text
    assert packed(0.5, "float32", None).dtype == np.float32
    assert list(window(p)) == [2, 3, 1, 0, 1, 2, 1]
    one, two = packed(several([x, x[1:]]), "float32", lambda a: a.size)[()]
    assert list(one[:3]) == [120, 60, 0] and list(two[:3]) == [120, 60, 0]


def test_one_argument_takes_a_number_of_arrays():
    for many in ([], [on_device(np.zeros(1))] * 33):
        with pytest.raises(ValueError, match=f"1 to 32 arrays in one argument, got {len(many)}"):
            several(many)


def test_dtypes_that_kernels_are_not_made_for_are_named():
    with pytest.raises(TypeError, match="CUDA kernels are made for float32, float64, float16, bfloat16; got int64"):
        launch("conv/direct.cu", "add_slices", 1, 1, (on_device(np.zeros(3, np.int64)),))
