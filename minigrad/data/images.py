"""Images kept as they are in their files, as bytes, and turned into floats batch by batch.

CIFAR-10 takes 180 MB like this, against 740 MB as floats. What a loader's transform gets are the bytes.
"""
import numpy as np

from .loader import Dataset, TensorDataset
from .transforms import ConvertImageDtype, Normalize, Resize


class Images(TensorDataset):
    """Images (N x C x H x W) and their labels (N numbers of `classes`); an example is (image, label).

    convert: a function that turns a batch of stored images into what a network takes; None if they are that already.
    Indexing gives converted images, `arrays` has what is stored, and a loader converts what its transform returns.
    """

    def __init__(self, images, labels, classes, convert=None):
        super().__init__(images, np.asarray(labels, np.int64))
        self.classes, self.convert = tuple(classes), convert

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        if self.convert is None:
            return image, label
        return (self.convert(image) if image.ndim == 4 else self.convert(image[None])[0]), label

    def __getitems__(self, indices):
        return super().__getitem__(indices)


class Some(Dataset):
    """`number` examples of a dataset, evenly spread over it; all of them, if it has no more."""

    def __init__(self, dataset, number):
        self.dataset, self.length = dataset, min(number, len(dataset))
        self.classes, self.convert = dataset.classes, dataset.convert

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.dataset[self._place(np.arange(self.length)[index])]

    def __getitems__(self, indices):
        return self.dataset.__getitems__(self._place(indices))

    def _place(self, index):
        return index * len(self.dataset) // self.length


class Conversion:
    """What `Images.convert` does with bytes: floats from 0 to 1, resized to size x size (None: not), normalised.

    Images that are floats already (a transform has made them so) are only resized.
    """

    def __init__(self, mean, std, size=None):
        self.resize = None if size is None else Resize((size, size), antialias=False)
        self.float, self.normalize = ConvertImageDtype(), Normalize(mean, std)

    def __call__(self, images):
        pixels = images.dtype == np.uint8
        images = self.float(images) if pixels else images
        images = images if self.resize is None else self.resize(images)
        return self.normalize(images) if pixels else images
