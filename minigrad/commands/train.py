"""`minigrad train`: a training with its run folder, which may be interrupted, or killed, and resumed."""
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np

from .. import data, device, ops, train
from . import run_folder
from .common import user_mistakes
from .interrupt import Interrupt, Interrupted
from .train_options import build_batches, build_model, build_training, image_size, resumed, saved_form

PREPARING = 5000  # images


def run_train(options):
    """minigrad train"""
    with user_mistakes("train"):
        folder = Path(options.resume) if options.resume is not None else None
        if folder is not None:
            options = resumed(options, run_folder.settings(folder)["options"])
        forced = ops.conv_algorithm(options.algorithm)
        run = _prepare(options, folder)
    with forced:
        return _train(options, run)


def _prepare(options, folder):
    """The training with its data and its folder, as new or as a checkpoint has left it: a namespace."""
    target = device.check_device(options.device)
    device.manual_seed(options.seed)
    size = image_size(options)
    if options.out == "":
        raise ValueError("--out needs the name of a folder")
    train_set, test_set = load_data(options, size)
    classes, shape = len(train_set.classes), np.shape(train_set[0][0])
    saved = folder is not None and (folder / run_folder.CHECKPOINT).exists()
    model, head, frozen = build_model(options, classes, shape[0], None if saved else options.weights)
    if options.weights is None:
        prepare(model, train_set)
    run_folder.check_scores(options.model, model.to(target), shape, classes)
    batches, test_batches = build_batches(options, train_set, test_set)
    training = build_training(options, model, head, -(-len(batches) // options.accumulate))
    if saved:
        train.load_checkpoint(training, folder / run_folder.CHECKPOINT)
    elif folder is None:
        folder = run_folder.make(options)
        run_folder.begin(folder, saved_form(options), train_set)
    parameters = sum(p.numel() for p in model.parameters())
    held = f", {sum(p.numel() for p in model.parameters() if not p.requires_grad):,} of them frozen" if frozen else ""
    print(f"{options.model} ({parameters:,} parameters{held}) on {options.dataset}: {len(train_set):,} training "
          f"images, {len(test_set):,} test images; {_place(training, folder, options.resume)}", flush=True)
    return Namespace(training=training, folder=folder, batches=batches, test_batches=test_batches,
                     classes=train_set.classes)


def _place(training, folder, resumed_run):
    """Where the training begins and what it writes, for the first line."""
    if resumed_run is None:
        return f"writing to {folder}"
    within = f" and {training.totals.batches} batches" if training.totals.batches else ""
    return f"going on in {folder} after epoch {len(training.history)}{within}"


def prepare(model, train_set):
    """Let a network with a method `prepare` look at some training images; the first filters of FastNet come of that."""
    if hasattr(model, "prepare"):
        images, _ = next(iter(data.DataLoader(data.Some(train_set, PREPARING), PREPARING)))
        model.prepare(images.numpy())


def load_data(options, size):
    """The training and the test part of the data set that the options name."""
    parts = [data.load(options.dataset, options.data_root, part, size, options.download) for part in (True, False)]
    if options.limit is not None:
        parts = [data.Some(part, options.limit) for part in parts]
    if parts[0].classes != parts[1].classes:
        raise ValueError("the training and the test images have different classes")
    return parts


def _train(options, run):
    """The training itself, from wherever it stands: bars, lines, checkpoints, pictures. Returns the exit code."""
    from tqdm import tqdm

    training, folder = run.training, run.folder
    title = f"{options.model} on {options.dataset}, seed {options.seed}"
    quiet = None if sys.stderr else True  # None: no bar unless stderr is a terminal
    total, saver = options.epochs * len(run.batches), Saver(folder, training, options.checkpoint_every)
    with Interrupt() as interrupt, tqdm(total=total, unit="batch", leave=False, disable=quiet) as bar:
        def after_step():
            done = len(training.history) * len(run.batches) + training.totals.batches
            bar.update(done - bar.n)
            interrupt.check()
            saver.after_step()

        def after_epoch():
            saver.save()
            bar.write(line(training.history[-1], options.epochs))

        try:
            saver.save()
            training.fit(run.batches, interrupt.between(run.test_batches), options.epochs, after_step, after_epoch)
        except Interrupted:
            saver.save()
            bar.write(f"minigrad train: interrupted and saved; go on with: minigrad train --resume {folder}",
                      file=sys.stderr)
            return 130
        except (FloatingPointError, ValueError) as error:  # ValueError: one image left over for a batch norm, say
            bar.write(f"minigrad train: stopped: {error}", file=sys.stderr)
            return 1
    if training.is_stuck() and len(training.history) < options.epochs:
        print(f"stopped early: the test loss has not fallen for {options.patience} epochs")
    if training.evaluation is None:  # everything had been done before
        training.evaluation = train.evaluate(training.network, run.test_batches)
    with user_mistakes("train"):
        run_folder.draw(folder, training, run.classes, title)
    print(f"test accuracy: {training.history[-1]['test_accuracy']:.2%}")
    return 0


def line(row, epochs):
    """A line of text for an epoch of the history."""
    return (f"epoch {row['epoch']:3d}/{epochs}  train loss {row['train_loss']:.4f} accuracy "
            f"{row['train_accuracy']:7.2%}  test loss {row['test_loss']:.4f} accuracy {row['test_accuracy']:7.2%}  "
            f"{row['seconds']:.1f} s")


class Saver:
    """Writes a training into its folder, and within an epoch as soon as the last time is `every` seconds ago."""

    def __init__(self, folder, training, every):
        self.folder, self.training, self.every, self.last = folder, training, every, time.monotonic()

    def after_step(self):
        """Save if it is time to."""
        if time.monotonic() - self.last >= self.every:
            self.save()

    def save(self):
        """Save now. What cannot be written is the user's mistake."""
        with user_mistakes("train"):
            run_folder.save(self.folder, self.training)
        self.last = time.monotonic()
