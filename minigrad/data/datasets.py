"""The data sets by name. Torchvision's names (MNIST, CIFAR10 ...) are functions here: they return a Dataset."""
from . import catalogue, sources
from .digits import digits
from .folder import ImageFolder
from .images import Conversion, Images


def _from_files(entry, root, train, size, download):
    images, labels = sources.read(entry, root, train, download)
    return Images(images, labels, entry.classes, Conversion(entry.mean, entry.std, size))


def MNIST(root=None, train=True, *, size=None, download=False):
    """Handwritten digits, 28 x 28, 10 classes; 60,000 for training and 10,000 for testing (LeCun et al. 1998).

    root: the folder of all data sets, or that with the files; without it MINIGRAD_DATA or ~/.cache/minigrad. An example
    is (image, label): 1 x 28 x 28 float32 (1 x size x size if a size is given), normalised, and int64. download: fetch
    the files if they are not there. Raises FileNotFoundError naming a missing file, ValueError for a damaged one, and
    OSError, with a word about what to do by hand, where a download fails.
    """
    return _from_files(catalogue.MNIST, root, train, size, download)


def FashionMNIST(root=None, train=True, *, size=None, download=False):
    """Clothes, in the form of MNIST (Xiao et al. 2017), with its arguments and errors."""
    return _from_files(catalogue.FASHION_MNIST, root, train, size, download)


def KMNIST(root=None, train=True, *, size=None, download=False):
    """Japanese cursive characters, in the form of MNIST (Clanuwat et al. 2018), with its arguments and errors."""
    return _from_files(catalogue.KMNIST, root, train, size, download)


def CIFAR10(root=None, train=True, *, size=None, download=False):
    """Photographs, 3 x 32 x 32, 10 classes; 50,000 for training and 10,000 for testing (Krizhevsky 2009).

    Arguments and errors: those of MNIST.
    """
    return _from_files(catalogue.CIFAR10, root, train, size, download)


def CIFAR100(root=None, train=True, *, size=None, download=False):
    """The same with 100 classes (the "fine" labels). Arguments and errors: those of MNIST."""
    return _from_files(catalogue.CIFAR100, root, train, size, download)


def mnist(root=None, train=True, size=28):
    """MNIST(root, train, size=size)."""
    return MNIST(root, train, size=size)


def folder(root=None, train=True, size=None):
    """ImageFolder of ROOT/train, or of ROOT/val or ROOT/test; pixels: size x size (224 if None)."""
    names = ("train",) if train else ("val", "test")
    root = sources.data_root(root)
    found = [root / name for name in names if (root / name).is_dir()]
    if not found:
        raise FileNotFoundError(f"no folder {' or '.join(names)} in {root}: give --data-root (root=)")
    return ImageFolder(found[0], size or 224)


FROM_FILES = {"mnist": MNIST, "fashion_mnist": FashionMNIST, "kmnist": KMNIST, "cifar10": CIFAR10, "cifar100": CIFAR100}
DATASETS = ("digits", *FROM_FILES, "folder")


def load(name, root=None, train=True, size=None, download=False):
    """A data set by name, its images scaled to size x size (None: as they are): the training part or the test part.

    Names: digits (embedded), mnist, fashion_mnist, kmnist, cifar10, cifar100, and folder (see `folder`). Raises
    ValueError for an unknown name, and what the data set itself raises.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; there is {', '.join(DATASETS)}")
    if name == "digits":
        return digits(train, 8 if size is None else size)
    if name == "folder":
        return folder(root, train, size)
    return FROM_FILES[name](root, train, size=size, download=download)
