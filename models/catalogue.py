"""What an entry of the catalogue is. Every file of this package ends with MODELS, its own part of the catalogue."""
from collections.abc import Callable
from typing import NamedTuple


class Model(NamedTuple):
    """One architecture: the function that builds it, and the options that make it this one of the family."""

    build: Callable  # build(num_classes=..., in_channels=..., **options) -> nn.Module
    input_shape: tuple  # C x H x W it is made for
    summary: str  # a line: what it is, and whose
    options: dict = {}  # for build; a caller's own go before them
    adapt: Callable | None = None  # {name: Tensor} of a published weight file -> the same under our names
