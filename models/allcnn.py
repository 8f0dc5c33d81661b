"""The All Convolutional Net: pooling replaced by convolutions with stride; and the lecture's small one for MNIST.

J. T. Springenberg, A. Dosovitskiy, T. Brox and M. Riedmiller, "Striving for simplicity: The all convolutional net",
2014 (arXiv:1412.6806). Three base networks for CIFAR-10 (table 1: A, B and C) and of each three relatives (table 2):
"strided" leaves the pooling out and gives the convolution before it stride 2, "convpool" puts one more 3x3 convolution
before the pooling, "all" has a 3x3 convolution of stride 2 in its place. Dropout of 20% on the input and 50% after each
pooling or what replaces it (section 3). allcnn_imagenet is the network of the appendix, 9,372,840 parameters.

Parameters, base / strided / convpool / all: A 839,242 / 839,242 / 1,254,250 / 1,254,250; B 885,610 / 885,610 /
1,300,618 / 1,300,618; C 954,730 / 954,730 / 1,369,738 / 1,369,738. Table 3 rounds them to 0.9, 1.28, 1, 1.35, 1.3 and
1.4 M; its 1.3 M for base C and strided C does not follow from table 1.

What the paper leaves open: the padding, chosen here so that the last maps are 6x6, as it says they are (everything
"same" but the 3x3 convolution after the second pooling; for ImageNet the first convolution is padded by 2 and the
strided ones not at all, which gives AlexNet's 55, 27, 13, 6), and the initial weights, here Glorot's with zero biases
(He's make the scores too large after max pooling: the first losses are near 15). A ReLU follows the last convolution
too, as in the tables, so that no score is negative.

convnet_allconv is the network of S. Raschka, STAT 479: Deep Learning, Spring 2019, lecture 13, convnet-allconv: 6,006
parameters, no dropout. Deviations: `forward` returns the scores alone, not (scores, probabilities); the initial weights
are Glorot's too, for with those that the layers draw training often ends with a class whose last ReLU no image passes.
"""
from typing import NamedTuple

from minigrad import nn

from .catalogue import Model
from .initial import xavier_

BASES = {"a": (5,), "b": (5, 1), "c": (3, 3)}  # the kernels of the convolutions before each pooling
REDUCTIONS = ("pool", "strided", "convpool", "all")


class Conv(NamedTuple):
    """One convolution, followed by a ReLU and perhaps by dropout."""

    kernel: int
    channels: int | None  # None: one map a class
    stride: int = 1
    padding: int | None = None  # None: (kernel - 1) / 2, which keeps the size at stride 1
    dropout: float = 0.0


IMAGENET = (
    Conv(11, 96, 4, 2), Conv(1, 96), Conv(3, 96, 2, 0),  # 224x224 -> 55x55 -> 27x27x96
    Conv(5, 256), Conv(1, 256), Conv(3, 256, 2, 0),  # -> 13x13x256
    Conv(3, 384), Conv(1, 384), Conv(3, 384, 2, 0, dropout=0.5),  # -> 6x6x384
    Conv(3, 1024), Conv(1, 1024), Conv(1, None),  # -> 6x6, one map a class
)
MNIST = (Conv(3, 4), Conv(3, 4, 2), Conv(3, 8), Conv(3, 8, 2), Conv(3, 16), Conv(3, 16, 2), Conv(3, None))


def all_convolutional(num_classes=1000, in_channels=3, *, layers=IMAGENET, dropout=None):
    """in_channels x H x W images -> num_classes scores, by convolutions alone; layers conv1, conv2 ... as the paper.

    layers: a sequence of Conv. dropout: one probability for all layers that have it; None: those of `layers`.
    """
    modules = {}
    for i, layer in enumerate(layers, 1):
        width = num_classes if layer.channels is None else layer.channels
        modules.update(_convolution(i, in_channels, layer._replace(channels=width)))
        if layer.dropout:
            modules[f"drop{i}"] = nn.Dropout(layer.dropout if dropout is None else dropout)
        in_channels = width
    return _averaged(modules)


def allcnn(num_classes=10, in_channels=3, *, base="c", reduction="all", widths=(96, 192), dropout=(0.2, 0.5)):
    """in_channels x H x W images -> num_classes scores; the networks of tables 1 and 2.

    base: "a", "b" or "c". reduction: "pool", "strided", "convpool" or "all", see the top of this file. widths: the
    channels of the convolutions before and after the first reduction. dropout: the probabilities on the input and after
    each reduction. Raises ValueError for other names.
    """
    for name, value, known in (("base", base, BASES), ("reduction", reduction, REDUCTIONS)):
        if value not in known:
            raise ValueError(f"allcnn: {name} must be one of {', '.join(known)}, got {value!r}")
    modules = {"drop0": nn.Dropout(dropout[0])}
    number = 0
    for stage, width in enumerate(widths, 1):
        convolutions = [Conv(kernel, width) for kernel in BASES[base]]
        if reduction == "strided":
            convolutions[-1] = convolutions[-1]._replace(stride=2)
        elif reduction != "pool":
            convolutions.append(Conv(3, width, stride=2 if reduction == "all" else 1))
        for layer in convolutions:
            number += 1
            modules.update(_convolution(number, in_channels, layer))
            in_channels = width
        if reduction in ("pool", "convpool"):
            modules[f"pool{stage}"] = nn.MaxPool2d(3, 2, padding=1)  # 32x32 -> 16x16 -> 8x8
        modules[f"drop{stage}"] = nn.Dropout(dropout[1])
    for layer in (Conv(3, widths[-1], padding=0), Conv(1, widths[-1]), Conv(1, num_classes)):  # 8x8 -> 6x6
        number += 1
        modules.update(_convolution(number, in_channels, layer))
        in_channels = layer.channels
    return _averaged(modules)


def _convolution(number, in_channels, layer):
    """{name: module} of a Conv: the convolution and its ReLU."""
    padding = (layer.kernel - 1) // 2 if layer.padding is None else layer.padding
    conv = nn.Conv2d(in_channels, layer.channels, layer.kernel, layer.stride, padding)
    return {f"conv{number}": conv, f"relu{number}": nn.ReLU()}


def _averaged(modules):
    """The network of these modules and global average pooling."""
    net = nn.Sequential({**modules, "average": nn.GlobalAvgPool2d(), "flatten": nn.Flatten()})
    return xavier_(net)


_WHAT = {"pool": "base network", "strided": "Strided-CNN", "convpool": "ConvPool-CNN", "all": "All-CNN"}
MODELS = {
    f"allcnn_{base}" + ("" if reduction == "pool" else f"_{reduction}"): Model(
        allcnn, (3, 32, 32), f"{_WHAT[reduction]} {base.upper()} (Springenberg et al. 2014, tables 1 and 2)",
        {"base": base, "reduction": reduction},
    )
    for base in BASES for reduction in REDUCTIONS
}
MODELS["allcnn_imagenet"] = Model(
    all_convolutional, (3, 224, 224), "All-CNN for ImageNet (Springenberg et al. 2014, appendix)"
)
MODELS["convnet_allconv"] = Model(
    all_convolutional, (1, 28, 28), "seven convolutions, three of them in place of pooling (lecture 13)",
    {"num_classes": 10, "in_channels": 1, "layers": MNIST},
)
