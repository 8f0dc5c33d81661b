"""Datasets and the loader that cuts them into batches.

A dataset has a length and gives one example for an index (`__getitem__`). One that can also give a whole batch for an
array of indices (`__getitems__`) is not asked example by example: it returns a tuple of arrays, each with the batch
first, or, as in PyTorch, a list of examples.
"""
import numpy as np

from minigrad.kernels.conv.params import integer

from ..device import generator
from ..tensor import Tensor, as_tensor
from .prefetch import ahead, pinned_memory


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
        shapes = [a.shape for a in self.arrays]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ValueError(f"TensorDataset: expected arrays of one length, got shapes {shapes}")

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple(a[index] for a in self.arrays)

    __getitems__ = __getitem__


class DataLoader:
    """Batches of a dataset as tuples of Tensors, in order or shuffled anew for every pass.

    batch_size: examples a batch; the last one is smaller, or left out with drop_last. seed: the order of pass k depends
    on (seed, k) only; without it a seed is drawn from the generator that `manual_seed` sets. transform: called as
    transform(images, rng) on the first array of each batch, which is what the dataset stores (uint8 for images from
    files); after it the dataset's `convert`, if it has one, makes what a network takes. mix: called at last, as
    mix(images, labels, rng), see transforms.MixUp. Random numbers depend on (seed, k, batch) only.
    prefetch: how many batches are prepared ahead, by a thread of its own; it ends with the pass, or when the pass is
    broken off, and what fails in it is raised where its batch is due. pin_memory: into page-locked memory, from where
    copies to a GPU run beside the computation. Raises ValueError for a batch size below 1 or a negative prefetch,
    TypeError where an example of the dataset is no tuple, and ImportError for pin_memory without CuPy.
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, drop_last=False, seed=None, transform=None, mix=None,
                 prefetch=0, pin_memory=False):
        self.batch_size = integer(batch_size, "batch_size", "DataLoader", 1)
        self.prefetch = integer(prefetch, "prefetch", "DataLoader", 0)
        self.dataset, self.shuffle, self.drop_last = dataset, shuffle, drop_last
        self.transform, self.mix = transform, mix
        self.place = pinned_memory() if pin_memory else None
        drawn = seed is None and (shuffle or transform or mix)
        self.seed = int(generator().integers(2**31)) if drawn else seed
        self.epoch = 0

    def __len__(self):
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self):
        return self.batches()

    def batches(self, first=0):
        """The next pass, from batch number `first` on: its batches are those of the whole pass.

        To go on where a pass was interrupted, set `epoch` to its number before.
        """
        n, order = len(self.dataset), np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(n)
        epoch, self.epoch = self.epoch, self.epoch + 1

        def make(i):
            return self._batch(order[i * self.batch_size : (i + 1) * self.batch_size], (epoch, i))

        numbers = range(first, len(self))
        return ahead(make, numbers, self.prefetch) if self.prefetch else map(make, numbers)

    def _batch(self, indices, position):
        if hasattr(self.dataset, "__getitems__"):
            batch = self.dataset.__getitems__(indices)
        else:
            batch = [self.dataset[int(i)] for i in indices]
        first, *rest = _stacked(batch) if isinstance(batch, list) else map(_array, batch)
        rng = np.random.default_rng((self.seed, *position)) if self.transform or self.mix else None
        if self.transform:
            first = self.transform(first, rng)
        if getattr(self.dataset, "convert", None):
            first = self.dataset.convert(first)
        if self.mix:
            first, *rest = self.mix(first, *rest, rng)
        arrays = (first, *rest)
        return tuple(map(as_tensor, arrays if self.place is None else map(self.place, arrays)))


def _stacked(examples):
    """The arrays of a batch, each made of the same entry of every example."""
    for example in examples:
        if not isinstance(example, (tuple, list)) or len(example) != len(examples[0]):
            raise TypeError(f"DataLoader: examples must be tuples of one length, got {example!r}")
    return [np.stack([_array(entry) for entry in column]) for column in zip(*examples, strict=True)]


def _array(value):
    """An array of the dtype that a Tensor of this value has: Python's floats become float32."""
    return as_tensor(value).detach().numpy()
