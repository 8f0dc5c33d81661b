"""Devices: tests of GPUs are marked `gpu` and skipped without one (`pytest -m gpu` runs them alone); tests of the
simulated device are skipped without g++, and run every kernel in every order of its threads."""
import signal

import pytest

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
    skip = {"gpu": no_gpu() if any(item.get_closest_marker("gpu") for item in items) else "",
            "simulated": simulator.missing()}
    for item in items:
        for mark, reason in skip.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def every_order_of_threads():
    """Simulated kernels run in every order, and have to give the same bits in each."""
    with simulator.checking():
        yield


@pytest.fixture(params=[pytest.param(device, marks=marks) for device, marks in MARKS.items()])
def device(request):
    """Each device in turn: "cpu", "cuda-sim" and "cuda"."""
    return request.param
