"""Checkpoints: a training that goes on from one ends with the same bits, and files are whole or not there."""
import os

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim, serialization, train
from minigrad.serialization import atomic


class Stop(Exception):
    """Ends a training from within, as Ctrl-C does."""


def images(n, seed):
    rng = np.random.default_rng(seed)
    return data.TensorDataset(rng.standard_normal((n, 1, 6, 6)).astype(np.float32), rng.integers(0, 4, n))


def noisy(x, rng):
    """A transform that draws."""
    return x + rng.standard_normal(x.shape).astype(np.float32) * np.float32(0.1)


SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
CONFIGURATIONS = {
    "sgd and cosine": (optim.SGD, SGD, lambda o: optim.CosineAnnealingLR(o, 4), {}),
    "adam and one-cycle": (optim.Adam, {}, lambda o: optim.OneCycleLR(o, 0.01, 4 * 8), {"average": 0.9}),
    "adamw and a plateau": (optim.AdamW, {}, lambda o: optim.ReduceLROnPlateau(o, patience=0), {"clip_norm": 0.5}),
    "accumulation and a warm-up": (optim.SGD, SGD, lambda o: optim.SequentialLR(
        o, [optim.LinearLR(o, 0.1, total_iters=2), optim.StepLR(o, 1)], [2]), {"accumulate": 3, "average": 0.5}),
    "a constant rate": (optim.SGD, {"lr": 0.01}, lambda o: None, {}),
}


def make(name):
    """A new training and its loaders: dropout, batch norm, noise in the images."""
    mg.manual_seed(3)
    kind, options, schedule, more = CONFIGURATIONS[name]
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
                        nn.Linear(48, 4))
    optimizer = kind(train.parameter_groups(net, options.get("weight_decay", 0.0)), **options)
    average = train.AveragedModel(net, more["average"]) if "average" in more else None
    training = train.Training(net, optimizer, schedule(optimizer), average, accumulate=more.get("accumulate", 1),
                              clip_norm=more.get("clip_norm"))
    loader = data.DataLoader(images(50, 0), 7 if "accumulate" not in more else 3, shuffle=True, seed=5, transform=noisy,
                             prefetch=1)
    return training, loader, data.DataLoader(images(20, 1), 8)


def state(training):
    """All that is saved, but for times."""
    arrays = {name: t.numpy().copy() for name, t in training.model.state_dict().items()}
    arrays |= {f"average {name}": t.numpy().copy() for name, t in training.network.state_dict().items()}
    for i, values in training.optimizer.state_dict()["state"].items():
        arrays |= {f"{i} {key}": np.array(value) for key, value in values.items()}
    return arrays, [{k: v for k, v in row.items() if k != "seconds"} for row in training.history]


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x == y if isinstance(x, list) else x.keys() == y.keys()
        for name in x if isinstance(x, dict) else ():
            np.testing.assert_array_equal(x[name], y[name], err_msg=name)


@pytest.mark.parametrize("stop_at", [1, 6, 8])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_resumed_training_ends_with_the_same_bits(name, stop_at, tmp_path):
    training, loader, test_loader = make(name)
    training.fit(loader, test_loader, 4)
    whole = state(training)
    assert len(whole[1]) == 4

    training, loader, test_loader = make(name)
    steps = []

    def stop():
        steps.append(1)
        if len(steps) == stop_at:
            raise Stop

    with pytest.raises(Stop):
        training.fit(loader, test_loader, 4, after_step=stop)
    train.save_checkpoint(training, tmp_path / "checkpoint")

    resumed, loader, test_loader = make(name)
    mg.manual_seed(99)
    train.load_checkpoint(resumed, tmp_path / "checkpoint")
    resumed.fit(loader, test_loader, 4)
    assert_same(state(resumed), whole)


def test_a_training_stopped_in_its_evaluation_repeats_only_that(tmp_path):
    training, loader, test_loader = make("sgd and cosine")
    training.fit(loader, test_loader, 2)
    whole = state(training)

    class Broken:
        def __iter__(self):
            yield next(iter(test_loader))
            raise Stop

    training, loader, _ = make("sgd and cosine")
    with pytest.raises(Stop):
        training.fit(loader, Broken(), 2)
    assert training.totals.batches == len(loader)
    train.save_checkpoint(training, tmp_path / "checkpoint")
    resumed, loader, _ = make("sgd and cosine")
    train.load_checkpoint(resumed, tmp_path / "checkpoint")
    resumed.fit(loader, test_loader, 2)
    assert_same(state(resumed), whole)


def test_a_weight_that_is_not_finite_is_not_saved(tmp_path):
    training, _, _ = make("sgd and cosine")
    train.save_checkpoint(training, tmp_path / "checkpoint")
    before = (tmp_path / "checkpoint").read_bytes()
    training.model[0].bias.detach()[1] = np.inf
    with pytest.raises(FloatingPointError, match=r"0\.bias became NaN or infinite"):
        train.save_checkpoint(training, tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint").read_bytes() == before


def test_files_that_do_not_fit_are_refused(tmp_path):
    training, _, _ = make("sgd and cosine")
    path = tmp_path / "checkpoint"
    serialization.save(training.model.state_dict(), path)
    with pytest.raises(ValueError, match="is no checkpoint"):
        train.load_checkpoint(training, path)
    train.save_checkpoint(training, path)
    with pytest.raises(ValueError, match="another schedule or average"):
        train.load_checkpoint(make("a constant rate")[0], path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a safetensors file"):
        train.load_checkpoint(training, path)


def test_metadata_stands_in_the_header_beside_the_tensors(tmp_path):
    serialization.save({"a": mg.ones(2)}, tmp_path / "file", {"key": "value"})
    assert serialization.load_metadata(tmp_path / "file") == {"key": "value"}
    assert serialization.load(tmp_path / "file")["a"].tolist() == [1.0, 1.0]
    serialization.save({"a": mg.ones(2)}, tmp_path / "file")
    assert serialization.load_metadata(tmp_path / "file") == {}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("point", ["open", "fsync", "replace"])
def test_a_write_that_ends_anywhere_leaves_the_old_file_or_the_new_one(point, after, tmp_path):
    """A child process ends, without any clean-up, before or after each call that the writing of a file makes."""
    path = tmp_path / "file"
    atomic.write(path, b"old")
    pid = os.fork()
    if pid == 0:
        module = atomic if point == "open" else os
        real = open if point == "open" else getattr(os, point)

        def last(*args, **kwargs):
            if after:
                real(*args, **kwargs)
            os._exit(9)

        setattr(module, point, last)
        atomic.write(path, b"new!")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert path.read_bytes() == (b"new!" if (point, after) == ("replace", True) else b"old")
    atomic.write(path, b"later")
    assert path.read_bytes() == b"later" and os.listdir(tmp_path) == ["file"]
