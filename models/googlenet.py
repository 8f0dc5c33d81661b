"""GoogLeNet, the first Inception network: as in its paper, and as torchvision has it. And its block alone.

C. Szegedy, W. Liu, Y. Jia, P. Sermanet, S. Reed, D. Anguelov, D. Erhan, V. Vanhoucke and A. Rabinovich, "Going deeper
with convolutions", 2014 (arXiv:1409.4842): table 1 for the sizes, figure 2 for the block, figure 3 for the order of
pooling and normalisation, section 5 for the auxiliary heads (on 4a and 4d; their losses count 0.3).

googlenet_2014 is the paper's: 6,998,552 parameters, 13,378,280 with both heads. Chosen where the paper is silent: the
constants of the local response normalisation (5 maps, alpha 1e-4, beta 0.75, k 1) and the initial values (uniform
weights of variance 1 / fan_in, biases 0.2, but 0 before the scores) are those of Caffe's bvlc_googlenet; pooling rounds
sizes up, which gives the sizes of table 1. The last pooling, the paper's 7x7, is over the whole map whatever its size.

googlenet is torchvision's, with its names and shapes: 13,004,888 parameters with heads (torchvision's own count of
6,624,904 is without). It differs from the paper: batch normalisation after every convolution, which then has no bias,
and no local response normalisation; 3x3 convolutions in place of the 5x5 (a mistake that its weights were trained
with); the fourth pooling 2x2 instead of 3x3; pooling onto a 4x4 grid in the heads; dropout 0.2 before the last layer
instead of 0.4. Initial weights are torchvision's (std 0.01). Its published weights expect transform_input=True for
images normalised by ImageNet's mean and standard deviation.

inception_block_naive and inception_block_reduced are the two blocks of figure 2 with the numbers of the lecture's
example: 854.2 and 271.4 million multiplications for 256 x 28 x 28. They return feature maps, not scores.
"""
from functools import partial
from typing import NamedTuple

from minigrad import nn, ops
from minigrad.tensor import Tensor

from .catalogue import Model
from .inception_parts import BasicConv2d, Trunk, scaled
from .initial import fill_, he_, truncated_normal_

BLOCKS = {  # table 1: 1x1; 1x1 before the 3x3, 3x3; 1x1 before the 5x5, 5x5; 1x1 after the pooling
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
HEADS = {"inception4a": "aux1", "inception4d": "aux2"}


class GoogLeNetOutputs(NamedTuple):
    """What GoogLeNet returns in training: scores, and those of the heads on 4d and 4a, all N x num_classes."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class Inception(nn.Module):
    """The block of figure 2: N x in_channels x H x W -> N x out_channels x H x W.

    widths: the channels of its six convolutions, as in BLOCKS; None leaves a 1x1 convolution out. unit: makes a
    convolution with what follows it. kernel: of the third branch.
    """

    def __init__(self, in_channels, widths, unit=BasicConv2d, kernel=5):
        super().__init__()
        first, reduce3, three, reduce5, five, project = widths
        self.branch1 = unit(in_channels, first, 1)
        self.branch2 = self._reduced(in_channels, reduce3, three, 3, unit)
        self.branch3 = self._reduced(in_channels, reduce5, five, kernel, unit)
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1))
        if project is not None:
            self.branch4.append(unit(in_channels, project, 1))
        self.out_channels = first + three + five + (in_channels if project is None else project)

    @staticmethod
    def _reduced(in_channels, reduction, width, kernel, unit):
        """A convolution that keeps the size, after a 1x1 convolution unless reduction is None."""
        before = [] if reduction is None else [unit(in_channels, reduction, 1)]
        last = unit(in_channels if reduction is None else reduction, width, kernel, padding=(kernel - 1) // 2)
        return nn.Sequential(*before, last)

    def forward(self, x):
        return ops.concatenate([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """An auxiliary head: N x in_channels x H x W -> N x num_classes. pool: makes the maps 4x4."""

    def __init__(self, in_channels, num_classes, unit, pool, dropout, width):
        super().__init__()
        self.pool = pool
        self.conv = unit(in_channels, scaled(128, width), 1)
        self.fc1 = nn.Linear(scaled(128, width) * 4 * 4, scaled(1024, width))
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(scaled(1024, width), num_classes)

    def forward(self, x):
        x = ops.flatten(self.conv(self.pool(x)), 1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(Trunk):
    """in_channels x H x W images -> num_classes scores; in training with aux_heads, GoogLeNetOutputs.

    transform_input: the images are normalised by ImageNet's mean and std, the weights expect 0.5 and 0.5. dropout,
    aux_dropout: before the last layers of the network and of its heads. width: factor for all channels. blocks: those
    of table 1, or fewer; a pooling stands before the first of 4 and of 5. The other options distinguish the paper's
    network (paper=True) from torchvision's. Raises ValueError for heads without blocks 4a and 4d.
    """

    outputs = GoogLeNetOutputs

    def __init__(
        self, num_classes=1000, in_channels=3, *, aux_heads=True, transform_input=False, dropout=0.2, aux_dropout=0.7,
        width=1.0, blocks=BLOCKS, paper=False,
    ):
        super().__init__(in_channels, transform_input)
        if aux_heads and not {"4a", "4d"} <= set(blocks):
            raise ValueError(f"GoogLeNet: the heads read blocks 4a and 4d, but there is {', '.join(blocks)}")
        unit = partial(BasicConv2d, batch_norm=not paper)
        down = partial(nn.MaxPool2d, stride=2, ceil_mode=True)
        a, b, c = (scaled(n, width) for n in (64, 64, 192))
        self.extend("conv1", unit(in_channels, a, 7, stride=2, padding=3))
        self.extend("maxpool1", down(3))
        self._normalise("norm1", paper)
        self.extend("conv2", unit(a, b, 1))
        self.extend("conv3", unit(b, c, 3, padding=1))
        self._normalise("norm2", paper)
        self.extend("maxpool2", down(3))
        channels, stage = c, "3"
        for name, widths in blocks.items():
            if name[0] != stage:
                stage = name[0]
                self.extend("maxpool3" if stage == "4" else "maxpool4", down(2 if stage == "5" and not paper else 3))
            block = Inception(channels, [scaled(n, width) for n in widths], unit, 5 if paper else 3)
            channels = self.extend(f"inception{name}", block).out_channels
        self.heads = HEADS if aux_heads else {}
        for name, head in self.heads.items():
            pool = nn.AvgPool2d(5, 3) if paper else nn.AdaptiveAvgPool2d(4)
            maps = getattr(self, name).out_channels
            self.add_module(head, InceptionAux(maps, num_classes, unit, pool, aux_dropout, width))
        self.finish(channels, num_classes, dropout)
        if not paper:
            truncated_normal_(self, 0.01)
            return
        fill_(self, partial(nn.init.kaiming_uniform_, nonlinearity="linear"), 0.2)
        for layer in (self.fc, *(getattr(self, head).fc2 for head in self.heads.values())):
            nn.init.zeros_(layer.bias)

    def _normalise(self, name, paper):
        if paper:
            self.extend(name, nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0))


def inception_block(num_classes=None, in_channels=256, *, widths=(128, None, 192, None, 96, None)):
    """in_channels x H x W maps -> the maps of the block of figure 2 (convolutions with biases, and ReLUs).

    num_classes: not used, a block gives no scores. widths: see Inception. Initial weights are He's.
    """
    return he_(Inception(in_channels, widths, partial(BasicConv2d, batch_norm=False)))


MODELS = {
    "googlenet_2014": Model(
        GoogLeNet, (3, 224, 224), "GoogLeNet as in the paper (Szegedy et al. 2014)", {"paper": True, "dropout": 0.4}
    ),
    "googlenet": Model(GoogLeNet, (3, 224, 224), "GoogLeNet with batch norm, torchvision's (Szegedy et al. 2014)"),
    "inception_block_naive": Model(
        inception_block, (256, 28, 28), "Inception block without reductions (Szegedy et al. 2014, figure 2a)"
    ),
    "inception_block_reduced": Model(
        inception_block, (256, 28, 28), "Inception block with 1x1 reductions (Szegedy et al. 2014, figure 2b)",
        {"widths": (128, 64, 192, 64, 96, 64)},
    ),
}
