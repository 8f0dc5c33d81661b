"""`minigrad train` interrupted, resumed, stopped by a NaN or early: what is printed, and what is left in the folder."""
import csv
import json
import os
import signal

import pytest

import minigrad as mg
from minigrad import cli, train
from minigrad.commands import run_folder, train_options

SHORT = ("train", "--model", "convnet", "--epochs", 3, "--batch-size", 64, "--seed", 4)
FEATURES = ("--optimizer", "adamw", "--weight-decay", 0.01, "--schedule", "plateau", "--plateau-patience", 0,
            "--ema", 0.9, "--label-smoothing", 0.1, "--clip-norm", 1, "--accumulate", 2, "--flip")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures take longer than all the rest, and test_cli looks at them."""
    monkeypatch.setattr(run_folder, "draw", lambda *_: None)


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = cli.main([*map(str, arguments)])
    return code, *capsys.readouterr()


def bits(folder):
    """All that a training has computed."""
    found = {name: t.numpy().tobytes() for name, t in mg.load(folder / "checkpoint.safetensors").items()}
    with open(folder / "history.csv", encoding="utf-8") as file:
        history = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return found, (folder / "model.safetensors").read_bytes(), history


def interrupt_at(monkeypatch, batch):
    """Press Ctrl-C while batch number `batch` of all is counted, for training or evaluation."""
    real, batches = train.Totals.add, []

    def add(self, *args, **kwargs):
        batches.append(1)
        if len(batches) == batch:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(train.Totals, "add", add)


@pytest.mark.parametrize(("options", "batch", "epochs"), [((), 30, 1), (FEATURES, 31, 1), (FEATURES, 24, 0)],
                         ids=["plain, within an epoch", "all features", "in an evaluation"])
def test_ctrl_c_saves_and_going_on_gives_the_same_bits(capsys, tmp_path, monkeypatch, options, batch, epochs):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(capsys, *SHORT, *options, "--out", whole)[0] == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, batch)
        code, _, err = run(capsys, *SHORT, *options, "--out", broken)
    assert code == 130
    assert err.splitlines()[-1] == (
        f"minigrad train: interrupted and saved; go on with: minigrad train --resume {broken}")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    state = json.loads(mg.serialization.load_metadata(broken / "checkpoint.safetensors")["training"])
    assert len(state["history"]) == epochs and state["totals"]["batches"] > 0
    code, out, _ = run(capsys, "train", "--resume", broken)
    assert code == 0 and "going on in" in out.splitlines()[0] and "test accuracy" in out.splitlines()[-1]
    assert bits(broken) == bits(whole)


def test_a_second_ctrl_c_stops_at_once(capsys, tmp_path, monkeypatch):
    def twice(*_, **__):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train.training, "train_epoch", twice)
    code, _, err = run(capsys, *SHORT, "--out", tmp_path)
    assert code == 130 and err.splitlines()[-1] == "minigrad: interrupted"


def test_a_finished_run_says_its_accuracy_again(capsys, tmp_path):
    _, first, _ = run(capsys, *SHORT, "--out", tmp_path)
    before = bits(tmp_path)
    code, out, _ = run(capsys, "train", "--resume", tmp_path)
    assert code == 0 and out.splitlines()[1:] == first.splitlines()[-1:] and bits(tmp_path) == before


def test_a_run_killed_before_its_first_checkpoint_begins_anew(capsys, tmp_path):
    run(capsys, *SHORT, "--out", tmp_path / "a")
    run(capsys, *SHORT, "--out", tmp_path / "b")
    for name in ("checkpoint.safetensors", "model.safetensors", "history.csv"):
        (tmp_path / "b" / name).unlink()
    assert run(capsys, "train", "--resume", tmp_path / "b")[0] == 0
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


def test_a_nan_stops_and_leaves_the_last_good_checkpoint(capsys, tmp_path, monkeypatch):
    real, calls = train.loop.training_loss, []

    def loss(outputs, labels, function):
        calls.append(1)
        return real(outputs, labels, function) * (float("nan") if len(calls) == 30 else 1.0)

    monkeypatch.setattr(train.loop, "training_loss", loss)
    code, _, err = run(capsys, *SHORT, "--checkpoint-every", 0, "--out", tmp_path)
    assert code == 1 and "stopped: the loss became nan" in err
    state = json.loads(mg.serialization.load_metadata(tmp_path / "checkpoint.safetensors")["training"])
    assert (len(state["history"]), state["totals"]["batches"]) == (1, 6)  # 23 batches an epoch, and six of the second
    monkeypatch.undo()
    monkeypatch.setattr(run_folder, "draw", lambda *_: None)
    assert run(capsys, "train", "--resume", tmp_path)[0] == 0


def test_weights_that_overflow_stop_the_training_before_they_are_saved(capsys, tmp_path):
    code, _, err = run(capsys, *SHORT, "--optimizer", "sgd", "--lr", 1e30, "--checkpoint-every", 0, "--out", tmp_path)
    assert code == 1 and "stopped:" in err
    for name in ("checkpoint.safetensors", "model.safetensors"):
        assert all(abs(t).max().item() < 1e35 for t in mg.load(tmp_path / name).values())


def test_patience_stops_early(capsys, tmp_path):
    code, out, _ = run(capsys, *SHORT[:3], "--epochs", 9, "--batch-size", 64, "--schedule", "constant", "--lr", 1e-12,
                       "--patience", 2, "--out", tmp_path)
    lines = out.splitlines()
    assert code == 0 and lines[-2] == "stopped early: the test loss has not fallen for 2 epochs", out
    assert 3 <= len([text for text in lines if text.startswith("epoch")]) < 9
    assert run(capsys, "train", "--resume", tmp_path)[1].splitlines()[1:] == lines[-2:]


@pytest.mark.parametrize(("arguments", "message"), [
    (("--resume", "/nowhere"), "/nowhere is no run folder: there is no run.json in it"),
    (("--resume", "RUN", "--lr", 0.1), "--lr cannot be given with it"),
    (("--resume", "RUN", "--out", "x"), "--out cannot be given with it"),
    (("--resume", "BAD"), "run.json is damaged"),
    (("--resume", "TORN"), "not a safetensors file"),
    (("--warm-up", 3, "--epochs", 3), "--warm-up 3 leaves nothing of 3 epochs"),
    (("--warm-up", 1, "--schedule", "plateau"), "--warm-up does not go with --schedule plateau"),
    (("--schedule", "multi-step"), "needs --milestones"),
    (("--ema", 2), "--ema: must be from 0 to 1, got 2"),
    (("--freeze", "nothing.*"), "no parameter is called 'nothing.*'; there is"),
    (("--freeze", "*"), "every parameter is frozen"),
])
def test_a_mistake_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": tmp_path / "run", "BAD": tmp_path / "bad", "TORN": tmp_path / "torn"}
    if places.keys() & {*arguments}:
        for place in places.values():
            place.mkdir()
        options = cli.parser().parse_args(["train"])
        run_folder.begin(places["RUN"], train_options.saved_form(options), mg.data.digits(size=32))
        (places["BAD"] / "run.json").write_text("{")
        (places["TORN"] / "run.json").write_bytes((places["RUN"] / "run.json").read_bytes())
        (places["TORN"] / "checkpoint.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    code, out, err = run(capsys, "train", *(places.get(a, a) for a in arguments))
    assert code == 2 and out == "" and message in err and len(err.splitlines()) == 1, err
