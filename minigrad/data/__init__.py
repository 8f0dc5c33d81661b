"""Datasets, loading and transforms."""
from . import transforms
from .digits import digits
from .loader import DataLoader, Dataset, TensorDataset
from .mnist import mnist

# name -> function (root, train, size) -> Dataset
DATASETS = {
    "digits": lambda root, train, size: digits(train, size),
    "mnist": mnist,
}


def load(name, root, train, size):
    """A data set by name, its images scaled to size x size: the training part or the test part.

    Raises ValueError for an unknown name or a missing root, and what the data set itself raises.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; there is {', '.join(DATASETS)}")
    if root is None and name != "digits":
        raise ValueError(f"dataset {name!r} is read from a folder: give --data-root")
    return DATASETS[name](root, train, size)
