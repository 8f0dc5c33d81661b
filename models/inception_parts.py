"""What the Inception networks share: the convolution unit, branches side by side, and a trunk with auxiliary heads.

The names of submodules are torchvision's (inception.py and googlenet.py), so that its weight files fit.
"""
from typing import NamedTuple

from minigrad import nn, ops
from minigrad.creation import tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's images, red, green and blue


class BasicConv2d(nn.Module):
    """Convolution, batch normalisation (eps 0.001) and ReLU; with batch_norm=False, convolution with bias and ReLU."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, batch_norm=True):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001) if batch_norm else None
        self.relu = nn.ReLU()

    def forward(self, x):
        return nn.in_turn(x, self.conv, *(() if self.bn is None else (self.bn,)), self.relu)


class Conv(NamedTuple):
    """One BasicConv2d of a block's table."""

    name: str
    out_channels: int
    kernel: int | tuple = 1
    stride: int = 1
    padding: int | tuple | None = None  # None: keep the size at stride 1, and none at stride 2 ("valid")


class Mixed(nn.Module):
    """Branches side by side, their outputs concatenated: N x in_channels x H x W -> N x out_channels x OH x OW.

    branches: a tuple of branches, each a tuple of steps that follow each other. A step is a Conv, or "average_pool"
    (3x3, stride 1) or "max_pool" (3x3, stride 2), or again a tuple of branches. width: factor for the channels.
    count_include_pad: whether the average at the border counts the padding.
    """

    def __init__(self, in_channels, branches, width=1.0, count_include_pad=True):
        super().__init__()
        self.branches, self.width, self.count_include_pad = branches, width, count_include_pad
        self.out_channels = self._build(in_channels, (branches,))

    def _build(self, channels, steps):
        """Make the layers of steps that follow each other; returns the channels of the last."""
        for step in steps:
            if isinstance(step, Conv):
                out, padding = scaled(step.out_channels, self.width), step.padding
                if padding is None:
                    padding = "same" if step.stride == 1 else 0
                self.add_module(step.name, BasicConv2d(channels, out, step.kernel, step.stride, padding))
                channels = out
            elif step == "average_pool":
                self.average_pool = nn.AvgPool2d(3, 1, 1, count_include_pad=self.count_include_pad)
            elif step == "max_pool":
                self.max_pool = nn.MaxPool2d(3, 2)
            else:
                channels = sum(self._build(channels, branch) for branch in step)
        return channels

    def _run(self, x, steps):
        for step in steps:
            if isinstance(step, Conv):
                x = getattr(self, step.name)(x)
            elif isinstance(step, str):
                x = getattr(self, step)(x)
            else:
                x = ops.concatenate([self._run(x, branch) for branch in step], 1)
        return x

    def forward(self, x):
        return self._run(x, (self.branches,))


class Trunk(nn.Module):
    """A network of layers one after the other, global average pooling, dropout and a linear layer, `fc`.

    A subclass adds the layers with `extend` and ends with `finish`. In training, with auxiliary heads, the result is
    outputs(scores, *those of the heads, the last first); else the scores, N x num_classes.
    """

    outputs = None  # the NamedTuple

    def __init__(self, in_channels, transform_input):
        super().__init__()
        if transform_input and in_channels != 3:
            raise ValueError(f"transform_input is for red, green and blue; in_channels is {in_channels}")
        self.transform_input = transform_input
        self.order, self.heads = [], {}  # names of the layers; {name of a layer: name of the head that reads it}

    def extend(self, name, module):
        """Put a module at the end; returns it."""
        self.add_module(name, module)
        self.order.append(name)
        return module

    def finish(self, channels, num_classes, dropout):
        """Add what turns the last layer's maps into scores."""
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        if self.transform_input:
            x = half_normalised(x)
        extra = []
        for name in self.order:
            x = getattr(self, name)(x)
            if self.training and name in self.heads:
                extra.insert(0, getattr(self, self.heads[name])(x))
        x = self.fc(self.dropout(ops.flatten(self.avgpool(x), 1)))
        return self.outputs(x, *extra) if extra else x


def scaled(channels, width):
    """channels times width, rounded, at least 1."""
    return max(1, round(channels * width))


def half_normalised(x):
    """Images normalised by ImageNet's mean and std -> the same normalised by 0.5 and 0.5; N x 3 x H x W both."""
    scale = tensor([[[s / 0.5]] for s in STD], dtype=x.dtype)
    shift = tensor([[[(m - 0.5) / 0.5]] for m in MEAN], dtype=x.dtype)
    return x * scale + shift
