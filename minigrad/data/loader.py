"""Datasets and the loader that cuts them into batches.

A dataset has a length and gives one example for an index (`__getitem__`); one that can also give a whole batch for an
array of indices (`__getitems__`, PyTorch's name) is not asked example by example.
"""
import numpy as np

from ..device import generator
from ..tensor import Tensor, as_tensor


class Dataset:
    """The interface: subclass it and write `__len__` and `__getitem__` (a tuple of arrays or numbers)."""

    def __len__(self):
        raise NotImplementedError(f"{type(self).__name__} has no __len__")

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")


class TensorDataset(Dataset):
    """Arrays or Tensors whose first dimension counts the examples. Raises ValueError if their lengths differ."""

    def __init__(self, *tensors):
        self.arrays = [t.detach().numpy() if isinstance(t, Tensor) else np.asarray(t) for t in tensors]
        if not self.arrays or len({len(a) for a in self.arrays}) != 1:
            raise ValueError(f"TensorDataset: lengths differ or nothing given: {[len(a) for a in self.arrays]}")

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple(a[index] for a in self.arrays)

    __getitems__ = __getitem__


class DataLoader:
    """Batches of a dataset as tuples of Tensors, in order or shuffled anew for every pass.

    batch_size: examples a batch; the last one is smaller, or left out with drop_last. seed: the order of pass k depends
    on (seed, k) only; without it a seed is drawn from the generator that `manual_seed` sets. transform: called as
    transform(images, rng) on the first array of each batch; its random numbers depend on (seed, k, batch) only.
    Raises ValueError for a batch size below 1.
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, drop_last=False, seed=None, transform=None):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be an integer >= 1, got {batch_size!r}")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.transform = transform
        drawn = seed is None and (shuffle or transform)
        self.seed = int(generator().integers(2**31)) if drawn else seed
        self.epoch = 0

    def __len__(self):
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self):
        n, order = len(self.dataset), np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(n)
        epoch, self.epoch = self.epoch, self.epoch + 1
        slices = (slice(i * self.batch_size, (i + 1) * self.batch_size) for i in range(len(self)))
        return (self._batch(order[s], (epoch, i)) for i, s in enumerate(slices))

    def _batch(self, indices, position):
        if hasattr(self.dataset, "__getitems__"):
            columns = self.dataset.__getitems__(indices)
        else:
            columns = zip(*(self.dataset[int(i)] for i in indices), strict=True)
        first, *rest = (c if isinstance(c, Tensor) else _stacked(c) for c in columns)
        if self.transform:
            first = self.transform(first, np.random.default_rng((self.seed, *position)))
        return tuple(as_tensor(c) for c in (first, *rest))


def _stacked(column):
    """A batch as one array; a tuple of examples is stacked."""
    if not isinstance(column, tuple):
        return column
    return list(column) if isinstance(column[0], (int, float)) else np.stack([np.asarray(c) for c in column])
