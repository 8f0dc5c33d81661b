"""A network for CIFAR-10 that learns in few passes: filters made from the data, then three pairs of convolutions.

The design is that of K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024 (arXiv 2404.00498), section 3:
2x2 filters that whiten patches (the eigenvectors of their covariance, and the same negated), convolutions that begin as
the identity, as far as they have as many channels, pooling before the normalisation, batch norm with a short memory,
and scores divided by 9. `FastNet.prepare` makes the filters from training images; they are to be frozen then, as is
what multiplies in the batch norms. fast_cifar_wide has the widths of the paper's network for 95%. Deviation: ReLU
instead of GELU, for it is done in the same walk through memory as the batch norm before it.
"""
import numpy as np

from minigrad import nn

from .catalogue import Model

SCALE = 1 / 9  # of the scores
NOISE = 5e-4  # added to the variances, so that directions in which nothing varies are not blown up


class FastNet(nn.Module):
    """in_channels x 32 x 32 images -> num_classes scores. widths: the maps of each pair of convolutions."""

    def __init__(self, num_classes=10, in_channels=3, widths=(64, 256, 256)):
        super().__init__()
        maps = 2 * in_channels * 2 * 2
        layers = {"whiten": nn.Conv2d(in_channels, maps, 2), "relu": nn.ReLU()}  # 32x32 -> 31x31
        for i, width in enumerate(widths, 1):
            layers[f"pair{i}"] = pair(maps, width)  # -> 15x15 -> 7x7 -> 3x3
            maps = width
        self.layers = nn.Sequential({**layers, "pool": nn.MaxPool2d(3), "flatten": nn.Flatten()})
        self.linear = nn.Linear(maps, num_classes, bias=False)
        self.scale = SCALE

    def forward(self, x):
        return self.linear(self.layers(x)) * self.scale

    def prepare(self, images):
        """Make the first filters from training images, N x C x H x W as the network takes them (an array)."""
        whiten = self.layers[0]
        filters = whitening_filters(images, whiten.kernel_size[0])
        whiten.weight.detach().copy_(np.concatenate([filters, -filters]).astype(np.float32))
        nn.init.zeros_(whiten.bias)


def pair(in_channels, width):
    """Two convolutions, the map halved in between: in_channels x H x W -> width x H/2 x W/2."""
    convolutions = [nn.Conv2d(channels, width, 3, padding=1, bias=False) for channels in (in_channels, width)]
    for conv in convolutions:
        identity_(conv.weight)
    return nn.Sequential({
        "conv1": convolutions[0], "pool": nn.MaxPool2d(2), "norm1": nn.BatchNorm2d(width, momentum=0.4),
        "relu1": nn.ReLU(), "conv2": convolutions[1], "norm2": nn.BatchNorm2d(width, momentum=0.4), "relu2": nn.ReLU(),
    })


def identity_(weight):
    """The first filters copy the channels of what comes in; those that are left over stay as they were drawn."""
    channels, (_, _, kh, kw) = min(weight.shape[:2]), weight.shape
    values = weight.detach().numpy().copy()
    values[:channels] = 0
    values[np.arange(channels), np.arange(channels), kh // 2, kw // 2] = 1
    weight.detach().copy_(values)


def whitening_filters(images, k):
    """The k x k filters whose outputs for patches of these images are uncorrelated and of variance 1: n x C x k x k.

    Largest variance first; n = C k k. Source: Jordan 2024, section 3.2.
    """
    channels = images.shape[1]
    patches = np.lib.stride_tricks.sliding_window_view(images, (k, k), (2, 3))  # N x C x OH x OW x k x k
    patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * k * k).astype(np.float64)
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = directions.T[::-1] / np.sqrt(variances[::-1, None] + NOISE)
    return filters.reshape(-1, channels, k, k)


MODELS = {
    "fast_cifar": Model(FastNet, (3, 32, 32), "a network for CIFAR-10 that learns in few passes (Jordan 2024)"),
    "fast_cifar_wide": Model(
        FastNet, (3, 32, 32), "the same with 128, 384 and 384 maps", {"widths": (128, 384, 384)},
    ),
}
