"""The architectures: one file per paper, and the catalogue of what they build. Installed as `minigrad.models`."""
from importlib import import_module
from typing import NamedTuple

from .convnet import convnet
from .lenet import lenet5_modern

__all__ = ["CATALOGUE", "Entry", "convnet", "create", "entry", "lenet5_modern", "list"]


class Entry(NamedTuple):
    """One architecture: where its function stands, and what it is made for."""

    module: str  # of this package; the function has the architecture's name
    input_shape: tuple  # C x H x W
    summary: str


CATALOGUE = {
    "convnet": Entry("convnet", (1, 28, 28), "two convolutions and a linear layer (lecture 13)"),
    "lenet5_modern": Entry("lenet", (1, 32, 32), "LeNet-5 as it is built today (LeCun et al. 1998)"),
}


def list():
    """The names that `create` knows."""
    return [*CATALOGUE]


def entry(name):
    """The catalogue's entry. Raises ValueError, naming what there is, for an unknown name."""
    if name not in CATALOGUE:
        raise ValueError(f"unknown model {name!r}; there is {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def create(name, **options):
    """Build an architecture by name: create("lenet5_modern", num_classes=10, in_channels=1, pooling="average").

    options: those of the function of that name; the defaults are the paper's. Raises ValueError for an unknown name.
    """
    return getattr(import_module("." + entry(name).module, __name__), name)(**options)
