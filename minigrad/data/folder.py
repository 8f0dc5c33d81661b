"""Pictures in folders, one for each class, read with Pillow when they are needed."""
from pathlib import Path

import numpy as np

from .images import Conversion
from .loader import Dataset

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training images, as torchvision states them


class ImageFolder(Dataset):
    """Pictures ROOT/CLASS/**/NAME.jpg (.png ...) as 3 x size x size; a class's number is its place in the alphabet.

    Each picture is scaled until its shorter side has `size` pixels; the middle of it is taken. Indexing gives (image,
    label), float32 and normalised by mean and std; a loader's transform gets uint8. `samples` is the list of (path,
    label), `classes` the names. Raises FileNotFoundError for a folder without classes or a class without pictures,
    ImportError without Pillow, and ValueError, when it is read, for a file that is no picture.
    """

    def __init__(self, root, size=224, mean=MEAN, std=STD):
        self.root, self.size, self.open = Path(root), size, pillow()
        self.convert = Conversion(mean, std)
        self.classes = tuple(sorted(path.name for path in self.root.iterdir() if path.is_dir()))
        if not self.classes:
            raise FileNotFoundError(f"ImageFolder: no folders, one for each class, in {self.root}")
        self.samples = []
        for label, name in enumerate(self.classes):
            paths = sorted(p for p in (self.root / name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not paths:
                raise FileNotFoundError(f"ImageFolder: no pictures ({', '.join(SUFFIXES)}) in {self.root / name}")
            self.samples += [(path, label) for path in paths]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        return self.convert(self.pixels(path)[None])[0], label

    def __getitems__(self, indices):
        chosen = [self.samples[int(i)] for i in indices]
        return np.stack([self.pixels(path) for path, _ in chosen]), np.array([label for _, label in chosen])

    def pixels(self, path):
        """A picture as uint8, 3 x size x size."""
        return pixels(path, self.size, self.open)


def pixels(path, size, open_image, mode="RGB"):
    """The middle of a picture whose shorter side is scaled to `size`, as uint8, C x size x size.

    open_image: PIL.Image.open. mode: "RGB", or "L" for one channel of grey. Raises ValueError for what is no picture.
    """
    try:
        with open_image(path) as image:
            image.draft(mode, (size, size))  # a JPEG is decoded at a fraction of its size
            image = image.convert(mode)
            w, h = image.size
            scale = size / min(w, h)
            w, h = (max(size, int(side * scale)) for side in (w, h))
            image = image.resize((w, h), 2)  # bilinear
            left, top = (w - size) // 2, (h - size) // 2
            array = np.asarray(image.crop((left, top, left + size, top + size)), np.uint8)
            return np.atleast_3d(array).transpose(2, 0, 1)
    except Exception as error:  # Pillow's decoders raise what they like, SyntaxError and struct.error included
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise ValueError(f"{path}: not a picture that Pillow can read ({' '.join(str(error).split())})") from None


def pillow():
    """PIL.Image.open. Raises ImportError, which names the extra, without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError('pictures are read with Pillow: pip install "minigrad[images]"') from None
    return Image.open
