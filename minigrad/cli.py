"""The command line: minigrad train | models | summary | gradcheck | tune.

A mistake of the user (a bad option, an unknown name, a folder that cannot be written) is one line on stderr and exit
code 2: a CommandError.
"""
import argparse
import os
import sys
import tempfile
import warnings
from contextlib import contextmanager
from functools import partial
from inspect import signature
from itertools import count
from pathlib import Path

from . import __version__

OPTIMIZERS = {"adam": 0.002, "sgd": 0.01}  # name -> its default learning rate


class CommandError(Exception):
    """A mistake of the user; the message is all there is to say."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that reports a mistake in one line."""

    def error(self, message):
        raise CommandError(f"{self.prog}: {message} (see {self.prog} --help)")


def at_least(minimum, kind=int):
    """An argparse type: a number not below `minimum` (for floats: above it)."""

    def parse(text):
        value = kind(text)
        if value < minimum or (kind is float and not minimum < value < float("inf")):
            raise argparse.ArgumentTypeError(f"must be {'>' if kind is float else '>='} {minimum}, got {text}")
        return value

    parse.__name__ = "number" if kind is float else "integer"
    return parse


def parser():
    """Every command with its options."""
    root = Parser(prog="minigrad", description="A deep-learning framework from scratch, built to be read.")
    root.add_argument("--version", action="version", version=f"minigrad {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="command")
    add = partial(commands.add_parser, formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    train = add("train", help="train a network", description="Train a network on images and write a run folder.")
    train.add_argument("--model", default="lenet5_modern", help="see `minigrad models`")
    train.add_argument("--dataset", default="digits", help="digits (embedded); mnist, fashion_mnist, kmnist, cifar10, "
                       "cifar100 (files); or folder (pictures in DIR/train/CLASS and DIR/test/CLASS)")
    train.add_argument("--data-root", metavar="DIR", help="the folder of all data sets, or of this one's files; "
                       "MINIGRAD_DATA or ~/.cache/minigrad if left out")
    train.add_argument("--download", action="store_true", help="fetch the data set's files if they are not there")
    train.add_argument("--epochs", type=at_least(1), default=20)
    train.add_argument("--batch-size", type=at_least(1), default=32)
    train.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    train.add_argument("--lr", type=at_least(0, float), help="first learning rate, lowered along a cosine; "
                       + ", ".join(f"{lr} for {name}" for name, lr in OPTIMIZERS.items()))
    train.add_argument("--shift", type=at_least(0), default=2, help="move training images by up to so many pixels")
    train.add_argument("--flip", action="store_true", help="mirror every other training image")
    train.add_argument("--seed", type=at_least(0), default=0, help="same seed, same bits")
    train.add_argument("--out", metavar="DIR", help="the run folder; runs/MODEL-DATASET-NUMBER if left out")
    train.add_argument("--algorithm", default="auto", help="convolution algorithm: auto, direct, im2col, "
                       "or reference (plain loops to compare with, far too slow for whole networks)")
    train.add_argument("--device", default="cpu", help="cpu, cuda (an NVIDIA GPU), or cuda-sim, which runs the CUDA "
                       "kernels on the CPU: for tiny networks only")
    train.set_defaults(run=run_train)

    models = add("models", help="list the networks")
    models.add_argument("--parameters", action="store_true", help="with their numbers of trainable parameters")
    models.set_defaults(run=run_models)

    summary = add("summary", help="show a network's layers, shapes and parameters")
    summary.add_argument("model", help="see `minigrad models`")
    summary.set_defaults(run=run_summary)

    check = add("gradcheck", help="compare every gradient with finite differences")
    check.add_argument("names", nargs="*", help="only operations and layers whose name contains one of these")
    check.set_defaults(run=run_gradcheck)

    tune = add("tune", help="measure which convolution algorithms are fastest on this machine",
               description="Time every convolution algorithm; \"auto\" then takes the fastest on this machine.")
    tune.add_argument("--net", metavar="NAME", help="for the layers of this network, see `minigrad models`")
    tune.add_argument("--batch", type=at_least(1), default=32, help="images at a time")
    tune.add_argument("--shapes", nargs="+", default=[], metavar="SHAPE", help="or for such convolutions: "
                      "NxCxHxW,OCxCxKHxKW[,stride[,padding[,groups]]]")
    tune.add_argument("--forget", action="store_true", help="begin with removing all that was measured")
    tune.set_defaults(run=run_tune)
    return root


def main(arguments=None):
    """Run one command. Returns the exit code: 0, 1 where a check or the training failed, 2 for a user's mistake."""
    try:
        options = parser().parse_args(arguments)
        code = options.run(options) or 0
        sys.stdout.flush()
        return code
    except CommandError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # stdout is full or, with `| head`, gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"minigrad: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minigrad: interrupted", file=sys.stderr)
        return 130


@contextmanager
def user_mistakes(command):
    """Around code whose errors are about what the user asked for: they become one line."""
    try:
        yield
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.strerror else error
        raise CommandError(f"minigrad {command}: {reason}") from error
    except (ValueError, RuntimeError, ImportError) as error:
        raise CommandError(f"minigrad {command}: {error}") from error


def run_train(options):
    """minigrad train"""
    import numpy as np
    from tqdm import tqdm

    from . import data, device, models, ops, optim, train

    with user_mistakes("train"):
        target = device.check_device(options.device)
        forced = ops.conv_algorithm(options.algorithm)
        device.manual_seed(options.seed)
        size = models.entry(options.model).input_shape[1]
        if options.shift >= size:
            raise ValueError(f"--shift {options.shift} moves images of {size} pixels out of sight")
        if options.out == "":
            raise ValueError("--out needs the name of a folder")
        train_set, test_set = load_data(options, size)
        classes, shape = len(train_set.classes), np.shape(train_set[0][0])
        model = models.create(options.model, num_classes=classes, in_channels=shape[0]).to(target)
        check_scores(options.model, model, shape, classes)
        folder = make_run_folder(options)
    rate = options.lr or OPTIMIZERS[options.optimizer]
    momentum = {"momentum": 0.9} if options.optimizer == "sgd" else {}
    optimizer = {"adam": optim.Adam, "sgd": optim.SGD}[options.optimizer](model.parameters(), lr=rate, **momentum)
    schedule = optim.CosineAnnealingLR(optimizer, options.epochs)
    batches = data.DataLoader(train_set, options.batch_size, shuffle=True, seed=options.seed,
                              transform=augmentation(options), prefetch=2)
    test_batches = data.DataLoader(test_set, 256, prefetch=2)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{options.model} ({parameters:,} parameters) on {options.dataset}: {len(train_set):,} training images, "
          f"{len(test_set):,} test images; writing to {folder}", flush=True)

    quiet = None if sys.stderr else True  # None: no bar unless stderr is a terminal
    history = []
    with forced, tqdm(total=options.epochs * len(batches), unit="batch", leave=False, disable=quiet) as bar:
        def report(row):
            schedule.step()
            history.append(row)
            write_run(folder, model, history)
            bar.write(
                f"epoch {row['epoch']:3d}/{options.epochs}  train loss {row['train_loss']:.4f} accuracy "
                f"{row['train_accuracy']:7.2%}  test loss {row['test_loss']:.4f} accuracy {row['test_accuracy']:7.2%}  "
                f"{row['seconds']:.1f} s"
            )

        try:
            train.fit(model, Counted(batches, bar), test_batches, optimizer, options.epochs, report)
        except (FloatingPointError, ValueError) as error:  # ValueError: one image left over for a batch norm, say
            bar.write(f"minigrad train: stopped: {error}", file=sys.stderr)
            return 1
    plot_run(folder, history, f"{options.model} on {options.dataset}, seed {options.seed}")
    print(f"test accuracy: {history[-1]['test_accuracy']:.2%}")
    return 0


def load_data(options, size):
    """The training and the test part of the data set that the options name; what is odd about it becomes a line."""
    from . import data

    with warnings.catch_warnings(record=True) as odd:
        warnings.simplefilter("always")
        parts = [data.load(options.dataset, options.data_root, part, size, options.download) for part in (True, False)]
    for warning in odd:
        print(f"minigrad train: {warning.message}", file=sys.stderr)
    if parts[0].classes != parts[1].classes:
        raise ValueError("the training and the test images have different classes")
    return parts


def augmentation(options):
    """The transform of training images that the options ask for, or None."""
    from .data import transforms

    chosen = [transforms.RandomShift(options.shift)] if options.shift else []
    chosen += [transforms.RandomHorizontalFlip()] if options.flip else []
    return transforms.Compose(chosen) if chosen else None


class Counted:
    """A loader that moves a progress bar with every batch."""

    def __init__(self, loader, bar):
        self.loader, self.bar = loader, bar

    def __iter__(self):
        for batch in self.loader:
            yield batch
            self.bar.update()


def check_scores(name, model, image_shape, classes):
    """ValueError unless a network gives a score for each class."""
    from . import creation, modes

    with modes.no_grad():
        device = next(model.parameters()).device
        shape = model.eval()(creation.zeros(0, *image_shape, device=device)).shape[1:]
    if shape != (classes,):
        maps = "x".join(map(str, shape))
        raise ValueError(f"{name} gives {maps} values for an image, not {classes} scores; it is a block, not a network")


def make_run_folder(options):
    """Create the folder that --out names, or the next free runs/MODEL-DATASET-NUMBER. OSError if that fails."""
    if options.out is not None:
        folder = Path(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a folder that cannot be written is found before training
            pass
        for name in ("model.safetensors", "history.csv", "curves.png"):
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


def write_run(folder, model, history):
    """model.safetensors and history.csv, after every epoch: an interrupted training leaves what it has reached."""
    from . import serialization, train

    with user_mistakes("train"):
        serialization.save(model.state_dict(), folder / "model.safetensors")
        train.write_history(history, folder / "history.csv")
        (folder / "curves.png").unlink(missing_ok=True)  # of an earlier run in this folder


def plot_run(folder, history, title):
    """curves.png, where matplotlib is installed."""
    from . import train

    try:
        train.plot_history(history, folder / "curves.png", title)
    except ImportError as error:
        print(f"no curves.png: {error}")


def run_models(options):
    """minigrad models"""
    from . import models

    for name, entry in models.CATALOGUE.items():
        number, note = parameter_counts(name, entry) if options.parameters else ("", "")
        shape = "x".join(map(str, entry.input_shape))
        print(f"{name:<23} {shape:<10} {number:>{11 if options.parameters else 0}}  {entry.summary}{note}")


def parameter_counts(name, entry):
    """A network's number of trainable parameters, and a note on those without its auxiliary heads, if it has them."""
    from . import models

    def count(**options):
        return f"{sum(p.numel() for p in models.create(name, init=False, **options).parameters()):,}"

    headed = "aux_heads" in signature(entry.build).parameters
    return count(), f"; {count(aux_heads=False)} without aux_heads" if headed else ""


def run_summary(options):
    """minigrad summary MODEL"""
    from . import inspect, models

    with user_mistakes("summary"):
        entry = models.entry(options.model)
    model = models.create(options.model, init=False)
    print(f"{options.model}: {entry.summary}; input {'x'.join(map(str, entry.input_shape))}\n")
    rows = inspect.summary(model, entry.input_shape)
    print(inspect.format_summary(rows, sum(p.numel() for p in model.parameters())))


def run_gradcheck(options):
    """minigrad gradcheck"""
    from . import gradsuite

    with user_mistakes("gradcheck"):
        names = gradsuite.matching(options.names)
    return 0 if gradsuite.run(names, print) else 1


def run_tune(options):
    """minigrad tune"""
    from . import tune

    with user_mistakes("tune"):
        passes = tune.network_passes(options.net, options.batch) if options.net else []
        for text in options.shapes:
            passes += tune.shape_passes(text)
        if options.forget:
            tune.tuning.cache_file().unlink(missing_ok=True)
            print(f"removed {tune.tuning.cache_file()}")
        elif not passes:
            raise ValueError("nothing to measure; name a network with --net or convolutions with --shapes")
        if passes:
            print(f"written to {tune.run(passes, partial(print, flush=True))}")
