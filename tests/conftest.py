"""Devices: tests of GPUs are marked `gpu` and skipped without one (`pytest -m gpu` runs them alone); tests of the
simulated device are skipped without g++, and run every kernel in every order of its threads."""
import functools
import inspect
import signal

import pytest

import minigrad as mg
from minigrad import creation, nn
from minigrad.kernels.cuda import simulator

# A shell that runs the tests in the background has Ctrl-C ignored, in them and in the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

MARKS = {"cpu": (), "cuda-sim": pytest.mark.simulated, "cuda": pytest.mark.gpu}


def no_gpu():
    """What keeps the tests from using a GPU, "" if nothing does."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    return "" if cupy.cuda.is_available() else "CuPy finds no GPU"


def pytest_collection_modifyitems(items):
    items[:] = [i for i in items if not i.get_closest_marker("host_only") or i.callspec.params["device"] == "cpu"]
    skip = {"gpu": no_gpu() if any(item.get_closest_marker("gpu") for item in items) else "",
            "simulated": simulator.missing()}
    kept, told = [], set()
    for item in items:
        reasons = [reason for mark, reason in skip.items() if reason and item.get_closest_marker(mark)]
        if reasons and "made_there" in item.fixturenames:  # of a whole file, one skipped test tells enough
            if (item.path, *reasons) in told:
                continue
            told.add((item.path, *reasons))
        if reasons:
            item.add_marker(pytest.mark.skip(reason=reasons[0]))
        kept.append(item)
    items[:] = kept


@pytest.fixture(autouse=True)
def every_order_of_threads():
    """Simulated kernels run in every order, and have to give the same bits in each."""
    with simulator.checking():
        yield


@pytest.fixture(params=[pytest.param(device, marks=marks) for device, marks in MARKS.items()])
def device(request):
    """Each device in turn: "cpu", "cuda-sim" and "cuda"."""
    return request.param


@pytest.fixture
def made_there(device, monkeypatch):
    """For whole files: what a test makes through `mg` is on each device in turn, and modules go there when called.

    Only names in `mg` are changed, which tests look up and the library does not: what it makes for itself must find its
    own way to the device. `mg.Tensor(array)` stays on the CPU. Tests marked `host_only` run on the CPU alone.
    """
    if device == "cpu":
        return
    for name, make in inspect.getmembers(creation, inspect.isfunction):
        if hasattr(mg, name) and "device" in inspect.signature(make).parameters:
            monkeypatch.setattr(mg, name, functools.partial(_made, make, device))
    call = nn.Module.__call__
    monkeypatch.setattr(nn.Module, "__call__", lambda self, *inputs, **more: call(self.to(device), *inputs, **more))


def _made(make, there, /, *args, **kwargs):
    return make(*args, **{"device": there, **kwargs})
