"""The benchmark scripts on GPUs, real and simulated: their clock, their precision, their errors, their table."""
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_scripts import FAST, result, script, sides_in_process, torch_peer  # noqa: F401 (a fixture)

import common  # isort: skip
import device  # isort: skip
import gpu_table  # isort: skip
import inference  # isort: skip
import layers  # isort: skip
import problems  # isort: skip
import run_all  # isort: skip
import train_step  # isort: skip


@pytest.mark.simulated
def test_the_scripts_run_on_the_simulated_device(in_process, tmp_path, capsys):
    options = [*FAST, "--device", "cuda-sim", "--out", str(tmp_path)]
    script("conv").main([*options, "--shapes", "tiny", "--algorithms", "auto,im2col"])
    rows = result(tmp_path, "conv")
    assert {r["variant"] for row in rows for r in row["results"]} == {"auto", "im2col"}
    assert all(r["error"] < 5e-5 for row in rows for r in row["results"])
    layers.main([*options, "--layers", "tiny"])
    assert len(result(tmp_path, "layers")) == 2 * 5 + 2
    inference.main([*options, "--nets", "tiny", "--batches", "1"])
    assert set(result(tmp_path, "inference")[0]["measured"]["minigrad"]) == {"plain", "fused"}
    train_step.main([*options, "--nets", "tiny"])
    assert json.loads((tmp_path / "train_step.json").read_text(encoding="utf-8"))["device"] == "cuda-sim"


@pytest.mark.gpu
def test_the_scripts_run_on_a_gpu(tmp_path, capsys):
    for precision in device.PRECISIONS:
        options = [*FAST, "--device", "cuda", "--precision", precision, "--out", str(tmp_path), *torch_peer()]
        script("conv").main([*options, "--shapes", "tiny", "--algorithms", "auto", "--sgemm", "64", "--batch", "2"])
        bound = 5e-5 if precision == "strict" else 5e-3
        assert all(r["error"] < bound for row in result(tmp_path, "conv") for r in row["results"])
        layers.main([*options, "--layers", "tiny"])
        inference.main([*options, "--nets", "tiny", "--batches", "1"])
        train_step.main([*options, "--nets", "tiny"])
        assert result(tmp_path, "train_step")[0]["measured"]["minigrad"]["minigrad"]["seconds"]["median"] > 0


class FakeGpu:
    """Events of a GPU whose clock advances by the work that is queued."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def clock(self):
        def event():
            e = SimpleNamespace(time=None, synchronize=lambda: self.log.append("wait"))
            e.record = lambda: setattr(e, "time", self.now)
            return e

        return device.GpuClock(event, lambda a, b: b.time - a.time, lambda: self.work("overwrite", 100.0))

    def work(self, name, milliseconds, value=None):
        self.log.append(name)
        self.now += milliseconds
        return value


@pytest.mark.parametrize("cold", [True, False])
def test_a_gpu_is_timed_by_its_events_without_the_emptying_of_its_cache(cold):
    gpu = FakeGpu()
    assert gpu.clock().times(lambda: gpu.work("f", 2.0), 3, cold) == [0.002] * 3
    assert gpu.log == [*(["overwrite", "f"] if cold else ["f"]) * 3, "wait"]


def test_a_loss_that_is_not_finite_stops_the_clock_of_a_gpu():
    gpu = FakeGpu()
    gpu.clock().times(lambda: gpu.work("step", 1.0, np.float32(2.0)), 2, False)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        gpu.clock().times(lambda: gpu.work("step", 1.0, np.float32("nan")), 2, False)


def test_precisions_on_a_gpu_are_chosen_in_each_side(monkeypatch):
    assert device.CPU.environment() == {"NVIDIA_TF32_OVERRIDE": "0"}
    assert device.DEVICES["cuda"]._replace(precision="tf32").environment() == {"CUPY_TF32": "1"}
    torch = pytest.importorskip("torch")
    import side_torch

    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [switch.fp32_precision for switch in switches]
    try:
        for precision, name in (("tf32", "tf32"), ("strict", "ieee")):
            side_torch.choose_precision(precision)
            assert {switch.fp32_precision for switch in switches} == {name}
    finally:
        for switch, old in zip(switches, before, strict=True):
            switch.fp32_precision = old


@pytest.mark.parametrize("name", ["conv", "layers", "inference", "train_step", "run_all"])
def test_without_a_gpu_there_is_one_clear_error(name, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(SystemExit):
        script(name).main(["--device", "cuda"])
    assert "error: device 'cuda': needs CuPy: pip install" in capsys.readouterr().err


def test_the_table_of_a_gpu():
    def timed(side, variant, which, median):
        return {"side": side, "variant": variant, "pass": which, "seconds": {"median": median}}

    results = [timed("minigrad", "auto", which, 2.0) for which in problems.PASSES]
    results += [timed("torch", layout, which, t) for layout, t in (("contiguous", 1.0), ("channels_last", 4.0))
                for which in problems.PASSES]
    layer = {"set": "vgg16", "kind": "3x3", "flops": 1e12, "sgemm": 1000.0, "results": results}
    nets = {"minigrad": {"minigrad": 4.0, "graph": 1.0}, "torch": {"contiguous": 5.0, "contiguous graph": 2.0}}
    measured = {side: {v: {"seconds": {"median": t}} for v, t in row.items()} for side, row in nets.items()}
    about = {"date": "2026-01-02", "frameworks": {"minigrad": {"gpu": "H"}}}
    text = gpu_table.table({
        "conv tf32": {**about, "results": [layer]},
        "train_step strict": {**about, "results": [{"name": "convnet, batch 128", "measured": measured}]},
    })
    assert "3x3 convolutions of VGG-16 and ResNet-18, forward (1) | tf32 | 2 | 1.5 | 2 | 0.5 |" in text
    assert "convnet, batch 128, against eager PyTorch | strict | 0.2 | 0.4 |" in text
    assert "against its CUDA graph | strict | 0.5 | 1.1 |" in text
    assert text.endswith("Measured 2026-01-02 on H.")


def test_the_command_that_runs_all_on_a_gpu_gathers_the_results_in_one_file(monkeypatch, tmp_path, capsys):
    ran = []

    def run(command):
        ran.append(command[1:])
        known = "".join(Path(name).read_text(encoding="utf-8") for name in (command[1], common.__file__))
        assert all(f'"{word}"' in known for word in command[1:] if word.startswith("--"))
        folder = Path(command[command.index("--out") + 1])
        document = {"date": "2026-01-02", "frameworks": {"minigrad": {}}, "results": []}
        (folder / f"{Path(command[1]).stem}.json").write_text(json.dumps(document), encoding="utf-8")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(run_all.subprocess, "run", run)
    monkeypatch.setattr(device.Device, "missing", lambda self: "")
    run_all.main(["--device", "cuda", "--out", str(tmp_path / "deep" / "gpu.json")])
    assert list(json.loads((tmp_path / "deep" / "gpu.json").read_text(encoding="utf-8"))) == [
        " ".join(row) for row in run_all.ON_GPU]
    assert [command[command.index("--precision") + 1] for command in ran] == [p for _, p in run_all.ON_GPU]
