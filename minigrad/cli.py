"""The command line: minigrad train | recipes | eval | predict | models | summary | gradcheck | tune.

A mistake of the user (a bad option, an unknown name, a folder that cannot be written) is one line on stderr and exit
code 2: a CommandError. The larger commands are in commands/.
"""
import argparse
import os
import sys
from functools import partial
from inspect import signature

from . import __version__
from .commands.common import CommandError, Parser, at_least, user_mistakes
from .commands.evaluate import add_evaluation_commands
from .commands.train import run_train
from .commands.train_options import add_options


def parser():
    """Every command with its options."""
    root = Parser(prog="minigrad", description="A deep-learning framework from scratch, built to be read.")
    root.add_argument("--version", action="version", version=f"minigrad {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="command")
    add = partial(commands.add_parser, formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    train = add("train", help="train a network", description="Train a network on images and write a run folder.")
    add_options(train)
    train.set_defaults(run=run_train)

    recipes = add("recipes", help="list the trainings whose results are known, for `minigrad train --recipe`")
    recipes.set_defaults(run=run_recipes)

    add_evaluation_commands(add)

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


def run_recipes(options):
    """minigrad recipes"""
    from .train import RECIPES

    for name, recipe in RECIPES.items():
        given = recipe.options
        bar = "" if recipe.accuracy is None else f"{recipe.accuracy:.2f}%"
        print(f"{name:<26} {given['model']:<19} {given['optimizer']:<4} {given['lr']:<7g} batch "
              f"{given['batch_size']:<4} {given['epochs']:>3} epochs  {bar:>6}  {recipe.source}")


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
