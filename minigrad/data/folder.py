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
        self.root, self.size, self.open = Path(root), size, _pillow()
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
        try:
            with self.open(path) as image:
                image.draft("RGB", (self.size, self.size))  # a JPEG is decoded at a fraction of its size
                image = image.convert("RGB")
                w, h = image.size
                scale = self.size / min(w, h)
                w, h = (max(self.size, int(side * scale)) for side in (w, h))
                image = image.resize((w, h), 2)  # bilinear
                left, top = (w - self.size) // 2, (h - self.size) // 2
                image = image.crop((left, top, left + self.size, top + self.size))
                return np.asarray(image, np.uint8).transpose(2, 0, 1)
        except Exception as error:  # Pillow's decoders raise what they like, SyntaxError and struct.error included
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise ValueError(f"{path}: not a picture that Pillow can read ({' '.join(str(error).split())})") from None


def _pillow():
    """PIL.Image.open. Raises ImportError, which names the extra, without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError('pictures are read with Pillow: pip install "minigrad[images]"') from None
    return Image.open
