"""The embedded digits: 1,797 handwritten digits of 8 x 8 pixels, so that training needs no download.

"Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998,
doi:10.24432/C50P49), the test set as scikit-learn distributes it. Licence: CC BY 4.0.
"""
from pathlib import Path

import numpy as np

from .images import Images
from .transforms import normalize, resize

FILE = Path(__file__).parent / "digits.npz"
MEAN, STD = 0.3049, 0.3759  # of the training images, scaled to 0 ... 1


def digits(train=True, size=8):
    """The digits as a data set of (image, label): 1 x size x size float32, normalised, and int64 0 ... 9.

    train: 1,437 examples (80%) or the other 360; the split is fixed. size: the 8 x 8 images are scaled bilinearly.
    Raises ValueError for a size below 1.
    """
    with np.load(FILE) as archive:
        chosen = archive["test"] != train
        images, labels = archive["images"][chosen], archive["labels"][chosen]
    images = resize(images[:, None].astype(np.float32) / 16, size)
    return Images(normalize(images, np.float32(MEAN), np.float32(STD)), labels, map(str, range(10)))
