"""ENet's encoder as a classifier.

A. Paszke, A. Chaurasia, S. Kim and E. Culurciello, "ENet: a deep neural network architecture for real-time semantic
segmentation", 2016 (arXiv 1606.02147), section 3, figure 2 and table 1, rows "initial" to "bottleneck3.8". The
comparison of A. Canziani, A. Paszke and E. Culurciello, "An analysis of deep neural network models for practical
applications", 2016 (arXiv 1605.07678), has it on ImageNet. 467,156 parameters, 129,000 of them in the linear layer;
with the decoder of its authors' code, for 20 classes, in place of that layer 364,376, the paper's 0.36 M (0.37 M if it
has "79x less parameters" than SegNet's 29.46 M). Deviations from the paper:

- in place of the decoder: global average pooling and a linear layer, which the comparison does not describe further;
- what the paper leaves open is as in its authors' Torch7 code: a bottleneck reduces to a fourth of the maps it puts
  out, the initial block ends with batch norm and PReLU over all of its 16 maps, batch norm has eps = 0.001, the 5x1
  convolution has no bias, the 1x5 one and all 3x3 ones do;
- 5x1 is read as height x width: the first of the two is high, in the code it is wide;
- spatial dropout scales what it keeps by 1 / (1 - p) in training, instead of everything by 1 - p in evaluation;
- weights start as PyTorch's do; the paper does not say how.
"""
from minigrad import nn, ops

from .catalogue import Model

SECTION = (  # bottlenecks 2.1 ... 2.8, and once more as 3.1 ... 3.8
    ("regular", 3), ("dilated", 2), ("asymmetric", 5), ("dilated", 4),
    ("regular", 3), ("dilated", 8), ("asymmetric", 5), ("dilated", 16),
)
EPS = 1e-3


class InitialBlock(nn.Module):
    """A 3x3 convolution of stride 2 beside max pooling: N x C x H x W -> N x width x H/2 x W/2. Figure 2a."""

    def __init__(self, in_channels, width):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width - in_channels, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(width, eps=EPS)
        self.act = nn.PReLU(width)

    def forward(self, x):
        return self.act(self.norm(ops.concatenate([self.conv(x), self.pool(x)], dim=1)))


def middle(kind, maps, size):
    """The convolution in the middle of a bottleneck, which keeps the size of the map.

    kind: "regular", size x size; "dilated", 3x3 by `size`; or "asymmetric", size x 1 and 1 x size.
    """
    if kind == "regular":
        return nn.Conv2d(maps, maps, size, padding=size // 2)
    if kind == "dilated":
        return nn.Conv2d(maps, maps, 3, padding=size, dilation=size)
    if kind == "asymmetric":
        return nn.Sequential(
            nn.Conv2d(maps, maps, (size, 1), padding=(size // 2, 0), bias=False),
            nn.Conv2d(maps, maps, (1, size), padding=(0, size // 2)),
        )
    raise ValueError(f"enet: a bottleneck must be regular, dilated or asymmetric, got {kind!r}")


class Bottleneck(nn.Module):
    """PReLU(branch(x) + x): N x C x H x W -> N x out_channels x H x W, or half of H and W. Figure 2b.

    The branch goes through out_channels / 4 maps. downsample: it starts with a 2x2 convolution of stride 2 instead of
    a 1x1 one, and x is max-pooled; x gets zero maps where out_channels is larger than C.
    """

    def __init__(self, in_channels, out_channels, dropout, kind="regular", size=3, downsample=False):
        super().__init__()
        maps, first = out_channels // 4, 2 if downsample else 1
        self.branch = nn.Sequential({
            "reduce": nn.Conv2d(in_channels, maps, first, stride=first, bias=False),
            "norm1": nn.BatchNorm2d(maps, eps=EPS), "act1": nn.PReLU(maps),
            "conv": middle(kind, maps, size),
            "norm2": nn.BatchNorm2d(maps, eps=EPS), "act2": nn.PReLU(maps),
            "expand": nn.Conv2d(maps, out_channels, 1, bias=False),
            "norm3": nn.BatchNorm2d(out_channels, eps=EPS), "dropout": nn.Dropout2d(dropout),
        })
        self.pool = nn.MaxPool2d(2) if downsample else None
        self.new = out_channels - in_channels
        self.act = nn.PReLU(out_channels)

    def forward(self, x):
        y = self.branch(x)
        x = x if self.pool is None else self.pool(x)
        return self.act(y + (ops.pad(x, (0, 0, 0, 0, 0, self.new)) if self.new else x))


def enet(num_classes=1000, in_channels=3, width=16, layers=(4, 2), section=SECTION, dropout=(0.01, 0.1)):
    """in_channels x H x W images -> num_classes scores. H and W: multiples of 8.

    width: maps after the initial block, four times as many in stage 1, eight times in stages 2 and 3. layers: regular
    bottlenecks of stage 1, and how often the section comes. section: (kind, size) of its bottlenecks; see `middle`.
    dropout: p in stage 1 and after it. Raises ValueError where in_channels leaves no map for the first convolution.
    """
    if not in_channels < width:
        raise ValueError(f"enet: in_channels must be below width = {width}, got {in_channels}")
    early, late = dropout
    first, second = 4 * width, 8 * width
    parts = {  # for 224x224: 112x112, then 56x56
        "initial": InitialBlock(in_channels, width),
        "bottleneck1_0": Bottleneck(width, first, early, downsample=True),
    }
    parts |= {f"bottleneck1_{i}": Bottleneck(first, first, early) for i in range(1, layers[0] + 1)}
    parts["bottleneck2_0"] = Bottleneck(first, second, late, downsample=True)  # 28x28
    for stage in range(2, 2 + layers[1]):
        parts |= {
            f"bottleneck{stage}_{i}": Bottleneck(second, second, late, kind, size)
            for i, (kind, size) in enumerate(section, 1)
        }
    return nn.Sequential({
        **parts, "avgpool": nn.GlobalAvgPool2d(), "flatten": nn.Flatten(), "linear": nn.Linear(second, num_classes),
    })


MODELS = {"enet": Model(enet, (3, 224, 224), "encoder of a segmentation network as a classifier (Paszke et al. 2016)")}
