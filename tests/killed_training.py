"""Run as `python killed_training.py FOLDER KILLS`: a tiny training that is killed over and over again, and resumed.

This process makes one training without interruption. Then it forks: the child is `minigrad train`, which tells through
a pipe when it begins and ends to write a file, and this process kills it (SIGKILL) at a random moment, looks at what
is left, and forks the next one, which resumes. A fork saves the start of Python and the imports, nothing else. The last
child is left to end. The last line is JSON: what there is to compare.
"""
import contextlib
import csv
import io
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

from minigrad import cli, serialization
from minigrad.serialization import atomic

EPOCHS, BATCH = 16, 8
BEGUN, DONE = b"<", b">"  # the marks of a write; that of a checkpoint tells between them how far it is: "<3,5>"


def write_data(folder):
    """64 + 16 random images in the form of MNIST."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for part, n in (("train", 64), ("t10k", 16)):
        arrays = {"images-idx3": rng.integers(0, 256, (n, 28, 28)), "labels-idx1": rng.integers(0, 10, n)}
        for kind, array in arrays.items():
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())


def command(folder, run, every):
    """The arguments of a new training."""
    return ["train", "--model", "convnet", "--dataset", "mnist", "--data-root", str(folder / "data"), "--epochs",
            str(EPOCHS), "--batch-size", str(BATCH), "--ema", "0.9", "--schedule", "one-cycle", "--checkpoint-every",
            str(every), "--out", str(run)]


def quietly(arguments):
    """The exit code of a command, whose output nobody sees."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return cli.main(arguments)


def start(arguments):
    """(pid of a child that runs the command, the pipe in which it tells of its writing)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    real = atomic.write

    def told(path, raw):
        os.write(writing, BEGUN)
        real(path, raw)
        at = b"%d,%d" % reached(json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]) if (
            path.name == "checkpoint.safetensors") else b""
        os.write(writing, at + DONE)

    atomic.write = told
    os._exit(quietly(arguments))


def reached(metadata):
    """(epochs done, batches of the next) of a checkpoint, by what stands in its header."""
    state = json.loads(metadata["training"])
    return len(state["history"]), state["totals"]["batches"]


def progress(run):
    """How far a run's checkpoint is; what is damaged in the run is an error."""
    if not (run / "checkpoint.safetensors").exists():
        return 0, 0
    serialization.load(run / "checkpoint.safetensors")
    if (run / "model.safetensors").exists():
        serialization.load(run / "model.safetensors")
    at = reached(serialization.load_metadata(run / "checkpoint.safetensors"))
    if (run / "history.csv").exists():
        with open(run / "history.csv", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) in (at[0], at[0] - 1)
    return at


def kill_once(rng, arguments):
    """Kill a child at a random moment. Returns the marks it made."""
    pid, pipe = start(arguments)
    marks, many = b"", rng.randrange(1, 10)
    while marks.count(BEGUN) + marks.count(DONE) < many:
        marks += os.read(pipe, 1)
    time.sleep(rng.choice((0, 0, 0.0002, 0.001, 0.003, 0.01)))
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    while more := os.read(pipe, 1 << 16):
        marks += more
    os.close(pipe)
    return marks


def results(run):
    """All bits that training makes."""
    return {name: t.numpy().tobytes().hex() for file in ("model", "checkpoint")
            for name, t in serialization.load(run / f"{file}.safetensors").items()}


def main(folder, kills):
    """The whole experiment."""
    sys.modules["matplotlib"] = None  # pictures take longer than all the rest
    write_data(folder / "data")
    whole, run = folder / "whole", folder / "run"
    assert quietly(command(folder, whole, 1e6)) == 0
    rng, at, inside = random.Random(7), (0, 0), 0
    for _ in range(kills):
        resume = (run / "run.json").exists()
        marks = kill_once(rng, ["train", "--resume", str(run)] if resume else command(folder, run, 0))
        inside += marks[-1:] == BEGUN
        now = progress(run)
        saved = [(int(e), int(b)) for e, b in re.findall(rb"(\d+),(\d+)>", marks)]
        assert now >= max([at, *saved]), f"at {now} after {at} and {marks}"
        at = now
    assert at < (EPOCHS, 0), "killed too late"
    assert quietly(["train", "--resume", str(run)]) == 0
    print(json.dumps({"kills": kills, "inside": inside, "at": at, "same": results(run) == results(whole),
                      "left": sorted(path.name for path in run.iterdir())}))


main(Path(sys.argv[1]), int(sys.argv[2]))
