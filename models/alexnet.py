"""AlexNet: five convolutions and three linear layers, in the four forms in which it is met.

A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012:
section 3.5 and figure 2 (the layers), 3.3 (local response normalisation), 3.4 (overlapping pooling), 4.2 (dropout).
- `alexnet_2012`, 60,965,224 parameters. The two GPUs' streams are groups=2 in convolutions 2, 4 and 5. Images are 227,
  not the paper's 224, which does not give its 55 x 55 maps: (224 - 11) / 4 + 1 = 54.25.
- `alexnet_cs231n`, 62,378,344: no groups, and convolution, pooling, normalisation in this order, with the sizes that
  the lecture prints after Stanford's CS231n; there too the input must be 227 where "224" is printed.
- `alexnet`, 61,100,840: torchvision's, after A. Krizhevsky, "One weird trick for parallelizing convolutional neural
  networks", 2014: one tower 64-192-384-256-256, no normalisation, padding 2 in front, dropout before the first two
  linear layers instead of after them, and adaptive pooling to 6 x 6, so that other image sizes from 63 up work.
- `alexnet_bn`, 61,119,528: the "batch normalised AlexNet (Zagoruyko, 2016)" of the comparison of A. Canziani, A. Paszke
  and E. Culurciello, "An analysis of deep neural network models for practical applications", 2016. It was trained with
  the model alexnetowtbn of Torch's imagenet-multiGPU: the same tower with batch normalisation (eps 0.001) between each
  convolution or hidden linear layer and its ReLU. Deviation: it ends with scores, not with log-probabilities.
Deviation of all: initial weights. The paper draws them from N(0, 0.01) and starts the biases of convolutions 2, 4, 5
and of the hidden linear layers at 1, which suits its own widths; here they are He's, by fan-in, with biases 0, and only
the last layer's are N(0, 0.01), so that the scores start small.
"""
import math
from typing import NamedTuple

from minigrad import nn

from .catalogue import Model
from .initial import he_


class Conv(NamedTuple):
    """A row of a table of convolutions, and what follows it: some of "batch", "relu", "lrn", "pool", in this order."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    after: str = "relu"


STREAMS = (
    Conv(96, 11, stride=4, after="relu lrn pool"),
    Conv(256, 5, padding=2, groups=2, after="relu lrn pool"),
    Conv(384, 3, padding=1),
    Conv(384, 3, padding=1, groups=2),
    Conv(256, 3, padding=1, groups=2, after="relu pool"),
)
CS231N = (
    Conv(96, 11, stride=4, after="relu pool lrn"),
    Conv(256, 5, padding=2, after="relu pool lrn"),
    Conv(384, 3, padding=1),
    Conv(384, 3, padding=1),
    Conv(256, 3, padding=1, after="relu pool"),
)
TOWER = (
    Conv(64, 11, stride=4, padding=2, after="relu pool"),
    Conv(192, 5, padding=2, after="relu pool"),
    Conv(384, 3, padding=1),
    Conv(256, 3, padding=1),
    Conv(256, 3, padding=1, after="relu pool"),
)


def response_norm():
    """The paper's b = a / (2 + 0.0001 (sum of a^2 over 5 neighbouring maps))^0.75, section 3.3.

    PyTorch's layer takes the mean over the maps where the paper takes the sum, hence the 5 in front of its alpha.
    """
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def features(convs, in_channels, width=1.0, ceil_mode=False):
    """The convolutions of a table and what follows each, as a Sequential, and the number of its output channels.

    width: a factor on every number of channels, rounded to what the groups of the row and the next divide. ceil_mode:
    that of the 3 x 3 pooling of stride 2, which overlaps.
    """
    layers, channels = [], in_channels
    for i, row in enumerate(convs):
        unit = math.lcm(*(r.groups for r in convs[i : i + 2]))
        out = max(1, round(row.channels * width / unit)) * unit
        layers.append(nn.Conv2d(channels, out, row.kernel, row.stride, row.padding, groups=row.groups))
        follow = {
            "batch": lambda n=out: nn.BatchNorm2d(n, eps=1e-3), "relu": nn.ReLU, "lrn": response_norm,
            "pool": lambda: nn.MaxPool2d(3, 2, ceil_mode=ceil_mode),
        }
        layers += [follow[word]() for word in row.after.split()]
        channels = out
    return nn.Sequential(*layers), channels


def classifier(inputs, hidden, num_classes, dropout=0.5, dropout_first=False, batch_norm=False):
    """Two hidden linear layers with ReLU and the scores, as a Sequential: N x inputs -> N x num_classes.

    hidden: their width. dropout: its probability after each hidden layer or, with dropout_first, before it; None: no
    such layers. batch_norm: between a hidden layer and its ReLU.
    """
    layers = []
    for n in (inputs, hidden):
        drop = [] if dropout is None else [nn.Dropout(dropout)]
        norm = [nn.BatchNorm1d(hidden, eps=1e-3)] if batch_norm else []
        layer = [nn.Linear(n, hidden), *norm, nn.ReLU()]
        layers += [*drop, *layer] if dropout_first else [*layer, *drop]
    return nn.Sequential(*layers, nn.Linear(hidden, num_classes))


def alexnet(
    num_classes=1000, in_channels=3, dropout=0.5, convs=TOWER, width=1.0, hidden=4096, grid=6, adaptive=True,
    dropout_first=True, batch_norm=False, ceil_mode=False,
):
    """in_channels x 224 x 224 images (227 for the tables without padding in front) -> num_classes scores.

    convs: the table of convolutions, rows of `Conv`. width: a factor on their channels. hidden: units of the two hidden
    linear layers. grid: height and width of the map in front of these, to which the last one is pooled if adaptive
    (else images whose last map is another raise ValueError). batch_norm: in front of every ReLU. dropout and
    dropout_first: see `classifier`. ceil_mode: of the pooling. Initial weights: see the module.
    """
    if batch_norm:
        convs = [row._replace(after="batch " + row.after) for row in convs]
    with nn.init.skip():
        first, channels = features(convs, in_channels, width, ceil_mode)
        net = nn.Sequential({
            "features": first,
            **({"avgpool": nn.AdaptiveAvgPool2d((grid, grid))} if adaptive else {}),
            "flatten": nn.Flatten(),
            "classifier": classifier(channels * grid**2, hidden, num_classes, dropout, dropout_first, batch_norm),
        })
    he_(net)
    nn.init.normal_(net.classifier[-1].weight, 0.0, 0.01)
    return net


_PAPER = {"adaptive": False, "dropout_first": False}
MODELS = {
    "alexnet_2012": Model(
        alexnet, (3, 227, 227), "AlexNet, two streams as groups (Krizhevsky et al. 2012)", {"convs": STREAMS, **_PAPER}
    ),
    "alexnet_cs231n": Model(
        alexnet, (3, 227, 227), "AlexNet without groups, as in Stanford's CS231n", {"convs": CS231N, **_PAPER}
    ),
    "alexnet": Model(alexnet, (3, 224, 224), "AlexNet in one tower, torchvision's (Krizhevsky 2014)"),
    "alexnet_bn": Model(
        alexnet, (3, 224, 224), "batch-normalised AlexNet (Zagoruyko 2016, in Canziani et al. 2016)",
        {"batch_norm": True, "adaptive": False},
    ),
}
