"""Transforms of whole batches of images, N x C x H x W arrays."""
import numpy as np

from minigrad.kernels.conv.params import integer


def resize(images, size):
    """Bilinear resize of N x C x H x W to N x C x size x size, as two products with interpolation matrices.

    Pixel centres are at half-integers (PyTorch's align_corners=False, without antialiasing). images: floating-point.
    Raises ValueError for a size below 1.
    """
    integer(size, "size", "resize", 1)
    if images.shape[2:] == (size, size):
        return images
    rows, columns = (interpolation_matrix(n, size, images.dtype) for n in images.shape[2:])
    return rows @ images @ columns.T


def interpolation_matrix(size, output, dtype):
    """The output x size matrix whose row i mixes the two inputs nearest to output i, weighted by nearness."""
    centre = np.clip((np.arange(output) + 0.5) * size / output - 0.5, 0, size - 1)
    low = np.floor(centre).astype(int)
    m = np.zeros((output, size), dtype)
    m[np.arange(output), low] = 1 - (centre - low)
    m[np.arange(output), np.minimum(low + 1, size - 1)] += centre - low
    return m


def normalize(images, mean, std):
    """(images - mean) / std."""
    return (images - mean) / std


class RandomShift:
    """Move each image by up to `pixels` in both directions, filling with the batch's darkest value.

    Called with a batch (N x C x H x W) and a NumPy generator, like every random transform. Raises ValueError for a
    negative number of pixels.
    """

    def __init__(self, pixels):
        self.pixels = integer(pixels, "pixels", "RandomShift", 0)

    def __call__(self, images, rng):
        n, _, h, w = images.shape
        k = self.pixels
        wide = np.pad(images, ((0, 0), (0, 0), (k, k), (k, k)), constant_values=images.min())
        top, left = rng.integers(0, 2 * k + 1, (2, n, 1))
        rows, columns = (top + np.arange(h))[:, None, :, None], (left + np.arange(w))[:, None, None, :]
        channels = np.arange(images.shape[1])[None, :, None, None]
        return wide[np.arange(n)[:, None, None, None], channels, rows, columns]
