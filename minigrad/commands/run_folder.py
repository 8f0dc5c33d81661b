"""A run folder: what a training writes and what `--resume`, `eval` and `predict` read.

run.json          the options, the classes, and how images become what the network takes
checkpoint.safetensors  everything that changes (see train/checkpoint.py)
model.safetensors       the weights alone, after the last whole epoch (their average, with --ema)
history.csv, curves.png, confusion.png
"""
import json
import tempfile
from itertools import count
from pathlib import Path

import numpy as np

from .. import creation, data, models, modes, serialization, train
from ..data.digits import MEAN, STD
from ..serialization import atomic

SETTINGS, CHECKPOINT, WEIGHTS, HISTORY = "run.json", "checkpoint.safetensors", "model.safetensors", "history.csv"
CURVES, CONFUSION = "curves.png", "confusion.png"
FILES = (SETTINGS, CHECKPOINT, WEIGHTS, HISTORY, CURVES, CONFUSION)


def make(options):
    """Create the folder that --out names, or the next free runs/MODEL-DATASET-NUMBER. OSError if that fails."""
    if options.out is not None:
        folder = Path(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a folder that cannot be written is found before training
            pass
        for name in FILES:
            if (folder / name).is_dir():
                raise ValueError(f"{folder / name} is a folder, but that file is to be written")
        return folder
    for number in count(1):
        folder = Path("runs") / f"{options.model}-{options.dataset}-{number:03d}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue


def begin(folder, options, dataset):
    """Remove what an earlier run has left in the folder and write the settings of a new one."""
    for name in (CHECKPOINT, *FILES[2:], SETTINGS):
        (folder / name).unlink(missing_ok=True)
    normalize = getattr(dataset.convert, "normalize", None)
    settings = {
        "options": options, "classes": list(dataset.classes), "image": list(np.shape(dataset[0][0])),
        "mean": [MEAN] if normalize is None else normalize.mean.tolist(),
        "std": [STD] if normalize is None else normalize.std.tolist(),
    }
    atomic.write(folder / SETTINGS, json.dumps(settings, indent=1).encode())


def settings(folder):
    """What `begin` has written. Raises ValueError for a folder that is no run."""
    path = Path(folder) / SETTINGS
    if not path.is_file():
        raise ValueError(f"{folder} is no run folder: there is no {SETTINGS} in it")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or {"options", "classes", "image", "mean", "std"} - found.keys():
            raise ValueError("something is missing in it")
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return found


def network(folder, found):
    """The trained network of a run, in evaluation mode. found: its settings."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{folder}: no {WEIGHTS} yet; go on with minigrad train --resume {folder}")
    classes, channels = len(found["classes"]), found["image"][0]
    model = models.create(found["options"]["model"], num_classes=classes, in_channels=channels, init=False)
    try:
        model.load_state_dict(serialization.load(path))
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit: {error}") from None
    return model.eval()


def test_images(found, data_root=None):
    """The test images of a run's data set."""
    options = found["options"]
    images = data.load(options["dataset"], data_root or options["data_root"], False, found["image"][1])
    if list(images.classes) != found["classes"]:
        raise ValueError("the data set's classes are not those of the run")
    return images


def save(folder, training):
    """The checkpoint, and after whole epochs the weights and the history."""
    train.save_checkpoint(training, folder / CHECKPOINT)
    if training.totals.batches == 0:
        serialization.save(training.network.state_dict(), folder / WEIGHTS)
        if training.history:
            train.write_history(training.history, folder / HISTORY)


def draw(folder, training, classes, title):
    """The pictures, where matplotlib is installed."""
    try:
        train.plot_history(training.history, folder / CURVES, title)
        accuracy = f"{training.evaluation.accuracy:.2%}"
        train.plot_confusion(training.evaluation.confusion, classes, folder / CONFUSION, f"{title}: {accuracy}")
    except ImportError as error:
        print(f"no {CURVES}: {error}")


def check_scores(name, model, image_shape, classes):
    """ValueError unless a network gives a score for each class."""
    with modes.no_grad():
        device = next(model.parameters()).device
        shape = model.eval()(creation.zeros(0, *image_shape, device=device)).shape[1:]
    if shape != (classes,):
        maps = "x".join(map(str, shape))
        raise ValueError(f"{name} gives {maps} values for an image, not {classes} scores; it is a block, not a network")
