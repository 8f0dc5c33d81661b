"""Network in Network: convolutions followed by 1x1 convolutions, and global average pooling instead of a linear layer.

M. Lin, Q. Chen and S. Yan, "Network in network", 2013 (arXiv:1312.4400): section 3.1 and figure 1 for the mlpconv
layer, section 3.2 and figure 4 for global average pooling, section 4 for dropout between the mlpconv layers.

nin_cifar is the network of the lecture (S. Raschka, STAT 479: Deep Learning, Spring 2019, lecture 13, nin-cifar10),
966,986 parameters. Deviations from the lecture: `forward` returns the scores alone, not (scores, probabilities); the
last pooling is over the whole map, whatever its size, which is the lecture's 8x8 for 32x32 images; initial weights are
Glorot's: with those of the layers, as there, half of the classes were lost behind the last ReLU (seed 0).

nin_imagenet is the authors' network for ImageNet, which the paper does not describe: the widths, the pooling with
sizes rounded up and the one dropout before the last block are those of the authors' published Caffe definition.
7,595,176 parameters. Initial weights are Glorot's, not the definition's normal ones of std 0.01 and 0.05.

nin_imagenet_bn, the batch-normalised one in the comparison of Canziani, Paszke and Culurciello 2016, "An analysis of
deep neural network models for practical applications", normalises after every convolution, before its ReLU; the
convolutions keep their biases, and their initial weights are He's. 7,605,688 parameters: twice 5,256 channels more.
A published one of that time, ninbn of Torch's imagenet-multiGPU, differs from it: the first
convolution padded by 5 and the poolings by 1, no dropout, 1024 averaged maps and a linear layer at the end, eps 0.001.

In all of them a ReLU follows the last convolution too, so that no score is negative.
"""
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from minigrad import nn

from .catalogue import Model
from .initial import he_, xavier_


class Mlpconv(NamedTuple):
    """One mlpconv layer and what follows it."""

    channels: tuple  # of the convolution and of the 1x1 convolutions after it; None: one map a class
    kernel: int  # of the first convolution
    stride: int = 1
    padding: int = 0
    pool: Callable | None = None  # makes the pooling layer
    dropout: bool = False


OVERLAPPING = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
CIFAR = (
    Mlpconv((192, 160, 96), 5, padding=2, pool=partial(nn.MaxPool2d, 3, 2, 1), dropout=True),  # 32x32 -> 16x16x96
    Mlpconv((192, 192, 192), 5, padding=2, pool=partial(nn.AvgPool2d, 3, 2, 1), dropout=True),  # -> 8x8x192
    Mlpconv((192, 192, None), 3, padding=1),  # -> 8x8, one map a class
)
IMAGENET = (
    Mlpconv((96, 96, 96), 11, stride=4, pool=OVERLAPPING),  # 224x224 -> 54x54 -> 27x27x96
    Mlpconv((256, 256, 256), 5, padding=2, pool=OVERLAPPING),  # -> 13x13x256
    Mlpconv((384, 384, 384), 3, padding=1, pool=OVERLAPPING, dropout=True),  # -> 6x6x384
    Mlpconv((1024, 1024, None), 3, padding=1),  # -> 6x6, one map a class
)


def mlpconv(in_channels, block, num_classes, batch_norm=False):
    """The convolutions of an Mlpconv, each with its ReLU; N x in_channels x H x W -> N x channels[-1] x OH x OW."""
    layers = []
    for i, channels in enumerate(block.channels):
        width = num_classes if channels is None else channels
        window = {"kernel_size": 1} if i else {
            "kernel_size": block.kernel, "stride": block.stride, "padding": block.padding
        }
        layers.append(nn.Conv2d(in_channels, width, **window))
        layers += [nn.BatchNorm2d(width)] if batch_norm else []
        layers.append(nn.ReLU())
        in_channels = width
    return nn.Sequential(*layers)


def nin(num_classes=10, in_channels=3, *, blocks=CIFAR, dropout=0.5, batch_norm=False, initial=None):
    """in_channels x H x W images -> num_classes scores.

    blocks: a sequence of Mlpconv. dropout: the probability after the blocks that have it. batch_norm: after every
    convolution. initial: draws the weights of the whole network; None: as the layers do.
    """
    layers = {}
    for i, block in enumerate(blocks, 1):
        layers[f"mlpconv{i}"] = mlpconv(in_channels, block, num_classes, batch_norm)
        if block.pool is not None:
            layers[f"pool{i}"] = block.pool()
        if block.dropout:
            layers[f"drop{i}"] = nn.Dropout(dropout)
        in_channels = block.channels[-1]
    net = nn.Sequential({**layers, "average": nn.GlobalAvgPool2d(), "flatten": nn.Flatten()})
    return initial(net) if initial else net


_IMAGENET = {"num_classes": 1000, "blocks": IMAGENET, "initial": xavier_}
MODELS = {
    "nin_cifar": Model(nin, (3, 32, 32), "Network in Network for CIFAR-10 (Lin et al. 2013, lecture 13)",
                       {"initial": xavier_}),
    "nin_imagenet": Model(nin, (3, 224, 224), "Network in Network for ImageNet (Lin et al. 2013)", _IMAGENET),
    "nin_imagenet_bn": Model(
        nin, (3, 224, 224), "Network in Network for ImageNet with batch norm (Canziani et al. 2016)",
        {**_IMAGENET, "batch_norm": True, "initial": he_},
    ),
}
