"""MNIST from its own files (IDX, http://yann.lecun.com/exdb/mnist): 70,000 handwritten digits of 28 x 28 pixels."""
import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from .loader import TensorDataset
from .transforms import normalize, resize

MEAN, STD = 0.1307, 0.3081  # of the training images, scaled to 0 ... 1
FILES = {True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
         False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}


def mnist(root, train=True, size=28):
    """MNIST as a TensorDataset of (image, label): 1 x size x size float32, normalised, and int64 0 ... 9.

    root: the folder with the four files, gzipped or not. train: the 60,000 training or the 10,000 test images.
    Raises FileNotFoundError naming the missing file, and ValueError for a damaged one.
    """
    images, labels = (read_idx(find(root, name)) for name in FILES[train])
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"MNIST in {root}: images of shape {images.shape} do not fit labels of shape {labels.shape}")
    if 0 in images.shape:
        raise ValueError(f"MNIST in {root}: no images or no pixels, shape {images.shape}")
    if labels.max(initial=0) > 9:
        raise ValueError(f"MNIST in {root}: a label is {labels.max()}, expected 0 ... 9")
    images = resize(images[:, None].astype(np.float32) / 255, size)
    return TensorDataset(normalize(images, np.float32(MEAN), np.float32(STD)), labels.astype(np.int64))


def find(root, name):
    """The path of a file, gzipped or not, or FileNotFoundError."""
    for path in (Path(root) / f"{name}.gz", Path(root) / name):
        if path.is_file():
            return path
    raise FileNotFoundError(f"MNIST: no {name}.gz or {name} in {root}")


def read_idx(path):
    """A uint8 array from an IDX file, gzipped or not. Raises ValueError if it is no such file or is cut short.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each size as a big-endian
    32-bit integer, then the values.
    """
    raw = Path(path).read_bytes()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file ({error})") from None
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    header = 4 + 4 * raw[3]
    if len(raw) < header:
        raise ValueError(f"{path}: cut short in its header, which announces {raw[3]} dimensions")
    shape = tuple(np.frombuffer(raw[4:header], ">u4").tolist())
    if len(raw) - header != math.prod(shape):
        raise ValueError(f"{path}: announces shape {shape}, but {len(raw) - header} values follow")
    try:
        return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)
    except ValueError as error:  # more dimensions than an array can have
        raise ValueError(f"{path}: {error}") from None
