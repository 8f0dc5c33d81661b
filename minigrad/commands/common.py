"""What all commands share: how mistakes are told, and the types of options."""
import argparse
import sys
import warnings
from contextlib import contextmanager


class CommandError(Exception):
    """A mistake of the user; the message is all there is to say."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that reports a mistake in one line.

    presets: a function of the options that gives other defaults, {name: value}, which what stands on the command line
    still overrides.
    """

    presets = None

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's; where there are presets the arguments are read twice."""
        if self.presets is not None:
            options, _ = super().parse_known_args(args)
            self.set_defaults(**self.presets(options))
        return super().parse_known_args(args, namespace)

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


def between(low, high):
    """An argparse type: a number from `low` to `high`."""

    def parse(text):
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, got {text}")
        return value

    parse.__name__ = "number"
    return parse


@contextmanager
def user_mistakes(command):
    """Around code whose errors and warnings are about what the user asked for: each becomes one line."""
    try:
        with warnings.catch_warnings(record=True) as odd:
            warnings.simplefilter("always", UserWarning)
            try:
                yield
            finally:
                for warning in odd:
                    print(f"minigrad {command}: {warning.message}", file=sys.stderr)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.strerror else error
        raise CommandError(f"minigrad {command}: {reason}") from error
    except (ValueError, RuntimeError, ImportError) as error:
        raise CommandError(f"minigrad {command}: {error}") from error
