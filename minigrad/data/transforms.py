"""Transforms of whole batches of images: N x C x H x W arrays, uint8 (0 ... 255) or floats (0 ... 1, until normalised).

Every transform is called as transform(images, rng) and returns a new array; rng is a NumPy generator, from which the
random ones draw for each image of its own. Names and semantics are those of torchvision.transforms where it has the
thing; colours are in colour.py.
"""
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minigrad.kernels.conv.params import integer, pair

from .colour import ColorJitter, Lighting, principal_components, to_float, to_uint8

__all__ = [
    "CenterCrop", "ColorJitter", "Compose", "ConvertImageDtype", "Cutout", "Lighting", "MixUp", "Normalize",
    "RandomCrop", "RandomHorizontalFlip", "RandomShift", "Resize", "normalize", "principal_components", "resize",
]


class Compose:
    """Several transforms, one after the other, drawing from one generator."""

    def __init__(self, transforms):
        self.transforms = list(transforms)

    def __call__(self, images, rng=None):
        for transform in self.transforms:
            images = transform(images, rng)
        return images


# --- numbers


class ConvertImageDtype:
    """uint8 images as floats from 0 to 1, or floats as uint8 (cut down, as in torchvision).

    dtype: float32, float64 or uint8; ValueError for others.
    """

    def __init__(self, dtype="float32"):
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in ("float32", "float64", "uint8"):
            raise ValueError(f"ConvertImageDtype: expected float32, float64 or uint8, got {self.dtype.name}")

    def __call__(self, images, rng=None):
        if images.dtype == self.dtype:
            return images
        if images.dtype == np.uint8:
            return to_float(images, self.dtype)
        if self.dtype == np.uint8:
            return (np.clip(images, 0, 1) * (256 - 1e-3)).astype(np.uint8)
        return images.astype(self.dtype)


class Normalize:
    """(images - mean) / std, with a mean and a standard deviation for each channel (or one for all).

    Raises TypeError for images that are no floats, and ValueError for a std of 0 or numbers that do not fit C.
    """

    def __init__(self, mean, std):
        self.mean, self.std = (np.atleast_1d(np.asarray(v, np.float64)) for v in (mean, std))
        if self.mean.ndim != 1 or self.std.ndim != 1 or not self.std.all():
            raise ValueError(f"Normalize: expected numbers for the channels, no std of 0, got {mean} and {std}")

    def __call__(self, images, rng=None):
        if images.dtype.kind != "f":
            raise TypeError(f"Normalize: expected floats, got {images.dtype}; convert with ConvertImageDtype first")
        for values in (self.mean, self.std):
            if len(values) not in (1, images.shape[1]):
                raise ValueError(f"Normalize: {len(values)} numbers for images of {images.shape[1]} channels")
        mean, std = (v.astype(images.dtype)[:, None, None] for v in (self.mean, self.std))
        y = images - mean
        y /= std
        return y


def normalize(images, mean, std):
    """(images - mean) / std."""
    return (images - mean) / std


# --- sizes


class Resize:
    """Bilinear resize to `size`: (H, W), or an integer for the shorter side, with the ratio kept.

    antialias: smooth where images become smaller, as PIL does. uint8 images are rounded. Raises ValueError for a size
    below 1.
    """

    def __init__(self, size, antialias=True):
        check = pair if isinstance(size, (tuple, list)) else integer
        self.size = check(size, "size", "Resize", 1)
        self.antialias = antialias

    def __call__(self, images, rng=None):
        h, w = images.shape[2:]
        short = min(h, w)
        to = self.size if isinstance(self.size, tuple) else (self.size * h // short, self.size * w // short)
        if to == (h, w):
            return images
        if images.dtype == np.uint8:
            return to_uint8(resample(to_float(images), to, self.antialias))
        return resample(images, to, self.antialias)


def resize(images, size):
    """Bilinear resize of N x C x H x W to N x C x size x size.

    Pixel centres are at half-integers (PyTorch's align_corners=False, without antialiasing). images: floating-point.
    Raises ValueError for a size below 1.
    """
    integer(size, "size", "resize", 1)
    if images.shape[2:] == (size, size):
        return images
    return resample(images, (size, size), False)


def resample(images, size, antialias):
    """Float images at another size, H x W: first all rows are mixed, then all columns.

    A handful of weighted copies instead of matrix products: BLAS would wake threads that others compute with.
    """
    for axis, to in ((2, size[0]), (3, size[1])):
        indices, weights = interpolation(images.shape[axis], to, antialias)
        weights = weights.astype(images.dtype).reshape(*weights.shape, *[1] * (3 - axis))
        mixed = images.take(indices[0], axis) * weights[0]
        for index, weight in zip(indices[1:], weights[1:], strict=True):
            mixed += images.take(index, axis) * weight
        images = mixed
    return images


def interpolation(size, output, antialias):
    """(indices, weights), both taps x output: output i is the sum over t of weights[t, i] * input[indices[t, i]].

    The weights are a triangle around the centre of output i, one input wide on both sides, or, with antialias and an
    output that is smaller, as wide as an output.
    """
    scale = size / output
    wide = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(output) + 0.5) * scale
    first = np.floor(centre - wide - 0.5).astype(int) + 1
    indices = first + np.arange(math.ceil(2 * wide))[:, None]
    weights = np.maximum(1 - np.abs(indices + 0.5 - centre) / wide, 0) * ((indices >= 0) & (indices < size))
    return np.clip(indices, 0, size - 1), weights / weights.sum(0)


class CenterCrop:
    """The middle of each image, `size`: (H, W) or one number for both; what is smaller is padded with zeros first."""

    def __init__(self, size):
        self.size = pair(size, "size", "CenterCrop")

    def __call__(self, images, rng=None):
        missing = [max(0, want - have) for want, have in zip(self.size, images.shape[2:], strict=True)]
        if any(missing):
            images = np.pad(images, ((0, 0), (0, 0), *((m // 2, m - m // 2) for m in missing)))
        top, left = (round((have - want) / 2) for want, have in zip(self.size, images.shape[2:], strict=True))
        return images[:, :, top : top + self.size[0], left : left + self.size[1]]


# --- random places


def crop(images, top, left, size):
    """From each image of a batch the H x W pixels that begin at its own top and left (N integers each)."""
    windows = sliding_window_view(images, size, (2, 3))
    return windows[np.arange(len(images)), :, top, left]


class RandomCrop:
    """A piece of each image at a random place, `size`: (H, W) or one number for both.

    padding: around the images before: one number, (left and right, top and bottom) or (left, top, right, bottom).
    pad_if_needed: pad images that are smaller than the piece, too. fill, padding_mode: what with: "constant", "edge",
    "reflect" or "symmetric". Raises ValueError for what makes no sense and for images that are too small.
    """

    def __init__(self, size, padding=None, pad_if_needed=False, fill=0, padding_mode="constant"):
        self.size, self.pad_if_needed = pair(size, "size", "RandomCrop"), pad_if_needed
        self.fill, self.mode = fill, padding_mode
        sides = (padding or 0,) * 4 if not isinstance(padding, (tuple, list)) else tuple(padding)
        sides = sides * 2 if len(sides) == 2 else sides
        if len(sides) != 4:
            raise ValueError(f"RandomCrop: padding must be a number, a pair or four numbers, got {padding!r}")
        self.left, self.top, self.right, self.bottom = (integer(s, "padding", "RandomCrop", 0) for s in sides)
        if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError(f"RandomCrop: unknown padding_mode {padding_mode!r}")

    def __call__(self, images, rng):
        images = self._padded(images, (self.top, self.bottom), (self.left, self.right))
        if self.pad_if_needed:
            rows, columns = (max(0, want - have) for want, have in zip(self.size, images.shape[2:], strict=True))
            images = self._padded(images, (rows, rows), (columns, columns))
        spare = [have - want for want, have in zip(self.size, images.shape[2:], strict=True)]
        if min(spare) < 0:
            h, w = images.shape[2:]
            raise ValueError(f"RandomCrop: {self.size[0]}x{self.size[1]} does not fit into images of {h}x{w}")
        return crop(images, *(rng.integers(0, s + 1, len(images)) for s in spare), self.size)

    def _padded(self, images, rows, columns):
        if not any((*rows, *columns)):
            return images
        options = {"constant_values": self.fill} if self.mode == "constant" else {}
        return np.pad(images, ((0, 0), (0, 0), rows, columns), self.mode, **options)


class RandomShift:
    """Move each image by up to `pixels` in both directions.

    fill: with the batch's darkest value ("dark"), or with the image's own mirror image at its edge ("reflect"). Raises
    ValueError for a negative number of pixels and for another fill.
    """

    def __init__(self, pixels, fill="dark"):
        if fill not in ("dark", "reflect"):
            raise ValueError(f"RandomShift: fill must be 'dark' or 'reflect', got {fill!r}")
        self.pixels, self.fill = integer(pixels, "pixels", "RandomShift", 0), fill

    def __call__(self, images, rng):
        k = self.pixels
        mode = {"mode": "reflect"} if self.fill == "reflect" else {"constant_values": images.min()}
        wide = np.pad(images, ((0, 0), (0, 0), (k, k), (k, k)), **mode)
        top, left = rng.integers(0, 2 * k + 1, (2, len(images)))
        return crop(wide, top, left, images.shape[2:])


class RandomHorizontalFlip:
    """Mirror each image with probability p. Raises ValueError for a p outside of 0 ... 1."""

    def __init__(self, p=0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be between 0 and 1, got {p!r}")
        self.p = p

    def __call__(self, images, rng):
        chosen = rng.random(len(images)) < self.p
        y = images.copy()
        y[chosen] = images[chosen, :, :, ::-1]
        return y


class Cutout:
    """A square of size x size pixels around a random one is filled, as far as it lies within the image.

    fill: a number, or one for each channel. Source: DeVries & Taylor 2017, section 3. Raises ValueError for a size < 1.
    """

    def __init__(self, size, fill=0):
        self.size, self.fill = integer(size, "size", "Cutout", 1), fill

    def __call__(self, images, rng):
        n, _, h, w = images.shape
        inside = []
        for length in (h, w):
            start = rng.integers(0, length, (n, 1)) - self.size // 2
            inside.append((np.arange(length) >= start) & (np.arange(length) < start + self.size))
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return np.where(hole, np.asarray(self.fill, images.dtype).reshape(-1, 1, 1), images)


# --- images and labels


class MixUp:
    """Each image mixed with its neighbour in the batch, and their labels likewise: mix(images, labels, rng).

    images: floats, N x C x H x W. labels: N class indices, or N x num_classes probabilities, which are what is
    returned and `cross_entropy` takes. The share is drawn from Beta(alpha, alpha) once a batch. Source: Zhang et al.
    2017, "mixup", in torchvision's form. Raises ValueError for an alpha that is not above 0.
    """

    def __init__(self, alpha=1.0, *, num_classes):
        if not 0 < alpha < math.inf:
            raise ValueError(f"MixUp: alpha must be above 0, got {alpha!r}")
        self.alpha, self.num_classes = alpha, integer(num_classes, "num_classes", "MixUp", 1)

    def __call__(self, images, labels, rng):
        if images.dtype.kind != "f":
            raise TypeError(f"MixUp: expected floats, got {images.dtype}")
        share = rng.beta(self.alpha, self.alpha)
        targets = np.eye(self.num_classes, dtype=images.dtype)[labels] if labels.ndim == 1 else labels
        return tuple(_blend(values, np.roll(values, 1, 0), share) for values in (images, targets))


def _blend(a, b, share):
    share = a.dtype.type(share)
    return a * share + b * (1 - share)
