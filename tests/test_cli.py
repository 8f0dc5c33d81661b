"""The command line, as a user calls it: output, run folder, reproducibility, and mistakes."""
import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import cli, nn


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = cli.main([*map(str, arguments)])
    return code, *capsys.readouterr()


SHORT = ("train", "--epochs", 2, "--batch-size", 64)


def test_train_prints_a_line_an_epoch_and_the_accuracy_and_writes_a_run_folder(capsys, tmp_path):
    code, out, _ = run(capsys, *SHORT, "--out", tmp_path / "run")
    assert code == 0
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("epoch")] == lines[1:3]
    assert re.fullmatch(r"test accuracy: \d+\.\d\d%", lines[-1])
    with open(tmp_path / "run" / "history.csv", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert f"{float(history[-1]['test_accuracy']):.2%}" in lines[-1]
    state = mg.load(tmp_path / "run" / "model.safetensors")
    model = mg.models.create("lenet5_modern")
    model.load_state_dict(state)
    found = mg.train.evaluate(model, mg.data.DataLoader(mg.data.digits(train=False, size=32), 256))
    assert f"{found.accuracy:.2%}" in lines[-1]


def test_curves_are_a_picture_where_matplotlib_is_installed(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    run(capsys, *SHORT, "--out", tmp_path)
    assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_without_matplotlib_training_says_what_to_install(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (tmp_path / "curves.png").write_bytes(b"an earlier run's")
    code, out, _ = run(capsys, *SHORT, "--out", tmp_path)
    assert code == 0 and "minigrad[plot]" in out and not (tmp_path / "curves.png").exists()
    assert out.splitlines()[-1].startswith("test accuracy")


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(capsys, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(capsys, "train", "--model", "convnet", "--epochs", 1, "--seed", seed, "--out", tmp_path / name)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_runs_without_out_are_numbered(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run(capsys, "train", "--model", "convnet", "--epochs", 1, "--optimizer", "sgd", "--algorithm", "direct")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["convnet-digits-001", "convnet-digits-002"]


def write_idx(path, array):
    """A small IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_training_on_mnist_files(capsys, tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 10)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", rng.integers(0, 10, n))
    code, out, _ = run(
        capsys, "train", "--model", "convnet", "--dataset", "mnist", "--data-root", tmp_path, "--epochs", 1,
        "--out", tmp_path / "run",
    )
    assert code == 0 and "40 training images, 10 test images" in out


class Small(nn.Module):
    """A net with everything a convolutional one has, that a simulated GPU can train."""

    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 2, 3, stride=4), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(18, num_classes),
        )

    def forward(self, x):
        return self.layers(x)


def test_training_evaluation_and_resuming_on_every_device(capsys, tmp_path, monkeypatch, device):
    monkeypatch.setitem(mg.models.CATALOGUE, "small", mg.models.Model(Small, (1, 28, 28), "for this test"))
    rng = np.random.default_rng(0)
    for part, n in (("train", 6), ("t10k", 4)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(n) % 3)
    losses = {}
    for place in ("cpu", device):
        code, out, err = run(
            capsys, "train", "--model", "small", "--dataset", "mnist", "--data-root", tmp_path, "--epochs", 2,
            "--batch-size", 3, "--device", place, "--out", tmp_path / place,
        )
        assert code == 0, err
        losses[place] = [float(row.split(",")[1]) for row in (tmp_path / place / "history.csv").read_text().split()[1:]]
    np.testing.assert_allclose(losses[device], losses["cpu"], rtol=1e-4)
    for command in (("eval", tmp_path / device), ("train", "--resume", tmp_path / device)):
        code, out, err = run(capsys, *command, "--device", device, "--data-root", tmp_path)
        assert code == 0 and "accuracy" in out, err


def test_a_class_that_only_the_test_images_have_gets_a_score_too(capsys, tmp_path):
    for part, labels in (("train", [0, 1, 2, 0]), ("t10k", [0, 9])):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", np.zeros((len(labels), 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.array(labels))
    code, out, err = run(
        capsys, "train", "--model", "convnet", "--dataset", "mnist", "--data-root", tmp_path, "--epochs", 1,
        "--out", tmp_path / "run",
    )
    assert code == 0 and "convnet (4,266 parameters)" in out, err


def test_models_lists_every_model(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == mg.models.list()


def test_models_with_their_parameters(capsys):
    code, out, _ = run(capsys, "models", "--parameters")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert list(rows) == mg.models.list()
    assert rows["vgg16"].split()[1:3] == ["3x224x224", "138,357,544"]
    assert rows["googlenet_2014"].split()[2] == "13,378,280"
    assert rows["googlenet_2014"].endswith("; 6,998,552 without aux_heads")


def test_summary_shows_layers_shapes_and_parameters(capsys):
    code, out, _ = run(capsys, "summary", "lenet5_modern")
    assert code == 0
    assert re.search(r"c3 +Conv2d +16x10x10 +2,416", out) and re.search(r"total +61,706", out)


def test_gradcheck_prints_a_table_and_fails_with_exit_code_1(capsys, monkeypatch):
    code, out, _ = run(capsys, "gradcheck", "conv2d[im2col,", "nn.Linear")
    assert code == 0 and out.splitlines()[-1] == "2 of 2 passed"
    monkeypatch.delitem(mg.gradsuite.CASES, "nn.Linear")
    code, out, _ = run(capsys, "gradcheck", "nn.Linear")
    assert code == 1 and "FAILED" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "required: command"),
        (("fly",), "invalid choice: 'fly'"),
        (("train", "--bogus"), "--bogus"),
        (("train", "--epochs", "0"), "--epochs: must be >= 1, got 0"),
        (("train", "--epochs", "many"), "invalid integer value: 'many'"),
        (("train", "--batch-size", "0"), "--batch-size: must be >= 1"),
        (("train", "--lr", "0"), "--lr: must be > 0, got 0"),
        (("train", "--lr", "nan"), "--lr: must be > 0, got nan"),
        (("train", "--seed", "-1"), "--seed: must be >= 0"),
        (("train", "--optimizer", "guess"), "invalid choice: 'guess'"),
        (("train", "--model", "x"), "unknown model 'x'; there is convnet, lenet5"),
        (("train", "--model", "inception_block_naive"), "gives 417x28x28 values for an image, not 10 scores"),
        (("train", "--dataset", "x"), "unknown dataset 'x'; there is digits, mnist"),
        (("train", "--dataset", "mnist"), "MNIST: no train-images-idx3-ubyte.gz or train-images-idx3-ubyte in"),
        (("train", "--dataset", "cifar10"), "CIFAR10: no data_batch_1.bin in"),
        (("train", "--dataset", "folder", "--data-root", "/nowhere"), "no folder train in /nowhere"),
        (("train", "--dataset", "mnist", "--data-root", "/nowhere"), "no train-images-idx3-ubyte.gz"),
        (("train", "--algorithm", "x"), "no algorithm 'x'"),
        (("train", "--algorithm", "flipped"), "true convolution"),
        (("train", "--device", "cuda"), "device 'cuda'"),
        (("train", "--device", "abacus"), "unknown device 'abacus'"),
        (("train", "--out", ""), "--out needs the name"),
        (("train", "--shift", "32"), "--shift 32 moves images of 32 pixels out of sight"),
        (("train", "--out", "/dev/null/run"), "/dev/null/run: Not a directory"),
        (("summary", "x"), "unknown model 'x'"),
        (("summary", "VGG-16"), "unknown model 'VGG-16'; there is vgg16"),
        (("gradcheck", "x?"), "no operation or layer is called x?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, arguments, message, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", "/nowhere")
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == ""
    assert message in err and err.startswith("minigrad") and len(err.splitlines()) == 1


def test_a_loss_that_is_not_finite_stops_with_a_reason(capsys, tmp_path):
    code, _, err = run(capsys, "train", "--model", "convnet", "--optimizer", "sgd", "--lr", "1e30", "--out", tmp_path)
    assert code == 1 and "the loss became" in err


def test_a_batch_that_the_network_refuses_stops_with_a_reason(capsys, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("BatchNorm1d: one value a channel")

    monkeypatch.setattr(mg.train.training, "train_epoch", refuse)
    code, _, err = run(capsys, "train", "--model", "convnet", "--out", tmp_path)
    assert code == 1 and err.splitlines()[-1] == "minigrad train: stopped: BatchNorm1d: one value a channel"


def test_python_m_minigrad_is_the_same_command(tmp_path):
    done = subprocess.run([sys.executable, "-m", "minigrad", "models"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "lenet5_modern" in done.stdout
    done = subprocess.run([sys.executable, "-m", "minigrad", "fly"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["model.safetensors", "history.csv", "curves.png"])
def test_a_folder_in_the_place_of_an_output_file_is_found_before_training(capsys, tmp_path, name):
    (tmp_path / name).mkdir()
    earlier = {"model.safetensors", "history.csv", "curves.png"} - {name}
    for other in earlier:
        (tmp_path / other).write_bytes(b"an earlier run")
    code, out, err = run(capsys, "train", "--out", tmp_path)
    assert code == 2 and out == "" and "is a folder" in err
    assert all((tmp_path / other).read_bytes() == b"an earlier run" for other in earlier)


@pytest.mark.parametrize("stdout", ["closed pipe", "/dev/full"])
def test_output_that_nobody_reads_ends_without_a_traceback(stdout):
    command = f"{sys.executable} -m minigrad models"
    command += " | true; exit ${PIPESTATUS[0]}" if stdout == "closed pipe" else f" > {stdout}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_the_sources_run_where_they_lie_without_an_install(tmp_path):
    for name, package in (("minigrad", mg), ("kernels", mg.ops.conv.conv), ("models", mg.models)):
        folder = Path(package.__file__).parent
        folder = folder.parent if name == "kernels" else folder
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", "import minigrad.kernels as k, minigrad.models as m; print(k.__file__, m.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )
    assert done.stdout.count(str(tmp_path)) == 2
