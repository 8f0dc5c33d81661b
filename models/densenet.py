"""DenseNets: within a block, every layer sees the maps of all layers before it.

G. Huang, Z. Liu, L. van der Maaten and K. Q. Weinberger, "Densely connected convolutional networks", CVPR 2017 (arXiv
1608.06993), section 3 and table 1 (DenseNet-BC: bottlenecks, and transitions that keep half of the maps). densenet121,
161, 169 and 201 have 7,978,856, 28,681,000, 14,149,480 and 20,013,928 parameters and torchvision's names and shapes.
densenet161, of growth rate 48 and with 96 maps at first, is a released network of the authors; the other three are
columns of table 1. Deviations from the paper:

- dropout, off by default, comes once in a layer, after its 3x3 convolution, as in torchvision, not after both
  convolutions;
- the linear layer's bias starts at 0, its weight with uniform values;
- the last pooling is over maps of any size.
"""
import re

from minigrad import nn, ops

from .catalogue import Model


class DenseLayer(nn.Module):
    """H_l of section 3: BN-ReLU-1x1 to bn_size growth_rate maps, then BN-ReLU-3x3 to growth_rate new ones."""

    def __init__(self, in_channels, growth_rate, bn_size, drop_rate):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, bn_size * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(drop_rate) if drop_rate else None

    def forward(self, x):
        x = nn.in_turn(x, self.norm1, self.relu1, self.conv1, self.norm2, self.relu2, self.conv2)
        return x if self.dropout is None else self.dropout(x)


class DenseBlock(nn.Sequential):
    """[x, H_1(x), H_2([x, H_1(x)]), ...], eq. 2: N x C x H x W -> N x (C + layers growth_rate) x H x W."""

    def __init__(self, layers, in_channels, growth_rate, bn_size, drop_rate):
        super().__init__({
            f"denselayer{i + 1}": DenseLayer(in_channels + i * growth_rate, growth_rate, bn_size, drop_rate)
            for i in range(layers)
        })

    def forward(self, x):
        for layer in self:
            x = ops.concatenate([x, layer(x)], dim=1)
        return x


def transition(in_channels, out_channels):
    """Between two blocks: fewer maps of half the size. Section 3, "Pooling layers" and "Compression"."""
    return nn.Sequential({
        "norm": nn.BatchNorm2d(in_channels), "relu": nn.ReLU(),
        "conv": nn.Conv2d(in_channels, out_channels, 1, bias=False), "pool": nn.AvgPool2d(2),
    })


def densenet(
    num_classes=1000, in_channels=3, layers=(6, 12, 24, 16), growth_rate=32, width=64, bn_size=4, drop_rate=0.0,
):
    """in_channels x H x W images -> num_classes scores. H and W: at least 29 for four blocks.

    layers: the number of layers of each block. growth_rate: k, the maps that each adds. width: maps before the first
    block. bn_size: maps of a bottleneck / k. drop_rate: probability of dropout in each layer.
    """
    features = {
        "conv0": nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
        "norm0": nn.BatchNorm2d(width), "relu0": nn.ReLU(), "pool0": nn.MaxPool2d(3, stride=2, padding=1),
    }
    channels = width
    for i, depth in enumerate(layers, 1):
        if i > 1:
            features[f"transition{i - 1}"] = transition(channels, channels // 2)
            channels //= 2
        features[f"denseblock{i}"] = DenseBlock(depth, channels, growth_rate, bn_size, drop_rate)
        channels += depth * growth_rate
    features[f"norm{len(layers) + 1}"] = nn.BatchNorm2d(channels)
    net = nn.Sequential({
        "features": nn.Sequential(features), "relu": nn.ReLU(), "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(), "classifier": nn.Linear(channels, num_classes),
    })
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    nn.init.constant_(net.classifier.bias, 0.0)
    return net


def adapt(state):
    """torchvision's published files are older than its names: they have denselayer1.norm.1 for denselayer1.norm1."""
    return {re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): t for name, t in state.items()}


def _entry(depth, layers, **options):
    summary = f"{depth} layers, densely connected (Huang et al. 2016)"
    return Model(densenet, (3, 224, 224), summary, {"layers": layers, **options}, adapt)


MODELS = {
    "densenet121": _entry(121, (6, 12, 24, 16)),
    "densenet161": _entry(161, (6, 12, 36, 24), growth_rate=48, width=96),
    "densenet169": _entry(169, (6, 12, 32, 32)),
    "densenet201": _entry(201, (6, 12, 48, 32)),
}
