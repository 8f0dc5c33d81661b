"""ResNets, which learn what to add to their input, and the plain networks they are compared with.

K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016 (arXiv 1512.03385),
sections 3.3 and 4.1, figures 2, 3 and 5, table 1. resnet18, 34, 50, 101 and 152 have 11,689,512, 21,797,672,
25,557,032, 44,549,160 and 60,192,808 parameters and torchvision's names and shapes; plain18 and plain34 are the same
without shortcuts and therefore without projections: 11,515,688 and 21,623,848 parameters. Deviations from the paper:

- a bottleneck that halves the map does so in its 3x3 convolution, as in torchvision ("v1.5"), not in its first 1x1;
- resnet18 and 34 have projections wherever the shape changes (option B), for which table 2 takes option A;
- convolutions start with variance 2 / fan_out instead of 2 / fan_in, the linear layer with uniform values;
- zero_init_residual starts every block as the identity (Goyal et al. 2017, "Accurate, large minibatch SGD", section
  5.1); off by default;
- the last pooling is over maps of any size.
"""
from minigrad import nn, ops

from .catalogue import Model


class ZeroPadShortcut(nn.Module):
    """Option A of section 3.3: every stride-th row and column, and zero maps after those that x has.

    N x C x H x W -> N x out_channels x ceil(H / stride) x ceil(W / stride), without parameters.
    """

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.new, self.stride = out_channels - in_channels, stride

    def forward(self, x):
        return ops.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))

    def extra_repr(self):
        return f"new={self.new}, stride={self.stride}"


def projection(in_channels, out_channels, stride):
    """Option B of section 3.3: a 1x1 convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x)), eq. 1 and 2: N x in_channels x H x W -> N x out_channels x OH x OW.

    Subclasses have `branch`, the layers of what is added to the shortcut, and call `join` when they have made them.
    """

    def join(self, in_channels, out_channels, stride, shortcut):
        """Make the shortcut: "projection" or "pad" where the shape changes, and x itself elsewhere.

        With "none" there is none, and the block is a plain one, relu(branch(x)).
        """
        self.shortcut, self.relu = shortcut, nn.ReLU()
        make = SHORTCUTS[shortcut] if stride != 1 or in_channels != out_channels else None
        self.downsample = make(in_channels, out_channels, stride) if make else None

    def forward(self, x):
        if self.shortcut == "none":
            return nn.in_turn(x, *self.branch, self.relu)
        return nn.in_turn(x, *self.branch, self.relu, plus=x if self.downsample is None else self.downsample(x))


class BasicBlock(Residual):
    """Two 3x3 convolutions. Figure 5, left."""

    expansion = 1  # out_channels / width

    def __init__(self, in_channels, width, stride=1, shortcut="projection"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.join(in_channels, width, stride, shortcut)

    @property
    def branch(self):
        """The layers of what is added to the shortcut."""
        return self.conv1, self.bn1, self.relu1, self.conv2, self.bn2


class Bottleneck(Residual):
    """1x1 to a fourth of the maps, 3x3 on these, 1x1 back to all of them. Figure 5, right."""

    expansion = 4

    def __init__(self, in_channels, width, stride=1, shortcut="projection"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.join(in_channels, 4 * width, stride, shortcut)

    @property
    def branch(self):
        """The layers of what is added to the shortcut."""
        return self.conv1, self.bn1, self.relu1, self.conv2, self.bn2, self.relu2, self.conv3, self.bn3


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
SHORTCUTS = {"projection": projection, "pad": ZeroPadShortcut, "none": None}
STEMS = ("7x7", "3x3")


def resnet(
    num_classes=1000, in_channels=3, layers=(2, 2, 2, 2), block="basic", width=64, shortcut="projection", stem="7x7",
    zero_init_residual=False,
):
    """in_channels x H x W images -> num_classes scores, through stages of blocks: each halves the map but the first.

    layers: the number of blocks of each stage. block: "basic" or "bottleneck". width: of the blocks of the first stage,
    doubled from stage to stage. shortcut: see `Residual`. stem: "7x7" with stride 2 and max pooling, or "3x3" with
    stride 1 and none, for small images. zero_init_residual: the last factor of each branch is 0 at first. Raises
    ValueError for other names, and for zero_init_residual without shortcuts.
    """
    for name, value, table in (("block", block, BLOCKS), ("shortcut", shortcut, SHORTCUTS), ("stem", stem, STEMS)):
        if value not in table:
            raise ValueError(f"resnet: {name} must be one of {', '.join(table)}, got {value!r}")
    if zero_init_residual and shortcut == "none":
        raise ValueError("resnet: zero_init_residual needs shortcuts, got shortcut='none'")
    kernel, stride = (7, 2) if stem == "7x7" else (3, 1)
    parts = {"conv1": nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2, bias=False)}
    parts |= {"bn1": nn.BatchNorm2d(width), "relu": nn.ReLU()}
    if stem == "7x7":
        parts["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    kind, channels = BLOCKS[block], width
    for i, depth in enumerate(layers):
        blocks = []
        for j in range(depth):
            blocks.append(kind(channels, width << i, 2 if i and j == 0 else 1, shortcut))
            channels = kind.expansion * (width << i)
        parts[f"layer{i + 1}"] = nn.Sequential(*blocks)
    parts |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(channels, num_classes)}
    net = nn.Sequential(parts)
    _initialise(net, zero_init_residual)
    return net


def _initialise(net, zero_init_residual):
    """Convolutions as in He et al. 2015; batch norm starts as (1, 0), in zero_init_residual's case partly as (0, 0)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_residual and isinstance(module, Residual):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.constant_(last.weight, 0.0)


def _family(kind, blocks, depths, **options):
    """Entries of the catalogue: {kind + number of weighted layers: its Model}."""
    summary = "residual network" if kind == "resnet" else "ResNet without its shortcuts"
    return {
        f"{kind}{depth}": Model(
            resnet, (3, 224, 224), f"{depth} layers, {summary} (He et al. 2015)",
            {"layers": layers, "block": blocks, **options},
        )
        for depth, layers in depths.items()
    }


SHALLOW = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
DEEP = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
MODELS = {
    **_family("resnet", "basic", SHALLOW),
    **_family("resnet", "bottleneck", DEEP),
    **_family("plain", "basic", SHALLOW, shortcut="none"),
}
