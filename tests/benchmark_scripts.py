"""What the tests of benchmarks/ share: running its scripts, on tiny work, and reading what they wrote."""
import gc
import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import common  # noqa: E402
import device  # noqa: E402
import pictures  # noqa: E402

import minigrad  # noqa: E402

FAST = ["--rounds", "1", "--seconds", "0", "--settle", "0", "--threads", "1"]


@pytest.fixture(name="in_process")
def sides_in_process(monkeypatch):
    """Sides that live in this process, which is faster than to start theirs; and no pictures."""
    class InProcess(common.Side):
        def __init__(self, name, threads, device=device.CPU):
            spec = importlib.util.spec_from_file_location(f"worker_{name}", BENCHMARKS / "worker.py")
            self.worker = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.worker)
            self.description = self.ask("start", name, threads, device)

        def ask(self, request, *arguments):
            return self.worker.REQUESTS[request](*arguments)

        def close(self):
            self.worker.close()
            gc.unfreeze()

    monkeypatch.setattr(common, "Side", InProcess)
    monkeypatch.setattr(minigrad, "set_num_threads", lambda threads: None, raising=False)
    monkeypatch.setattr(pictures, "plots", lambda: None)
    if not torch_peer():
        yield
        return
    import torch

    threads, precision = torch.get_num_threads(), torch.backends.mkldnn.fp32_precision
    yield
    torch.set_num_threads(threads)
    for switch in (torch.backends.mkldnn, torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul):
        switch.fp32_precision = precision


def script(name):
    """The module benchmarks/NAME.py (not imported as "conv", which could be anything)."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torch_peer():
    """["--peers", "torch"] where PyTorch is installed."""
    return ["--peers", "torch"] if importlib.util.find_spec("torch") else []


def result(folder, name):
    """The JSON that a script wrote, with what all of them must tell."""
    document = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert document["machine"]["processor"] and document["machine"]["cores"] >= 1
    assert document["frameworks"]["minigrad"]["version"]
    return document["results"]
