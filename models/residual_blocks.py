"""The two small MNIST networks with which the lecture shows what a residual block is.

S. Raschka, STAT 479: Deep Learning, Spring 2019, lecture 13, "ResNet Block Implementation" (resnet-blocks.ipynb).
Two blocks of two convolutions with batch norm, then a linear layer. In residual_identity each block goes from the image
to 4 maps and back to one, so the shortcut is x itself: 7,960 parameters. In residual_resized each block halves the map,
and so does its shortcut, a 1x1 convolution with batch norm: 17,986 parameters. Deviations: the blocks are modules of
their own, block_1 and block_2, and `forward` returns the scores alone, not (scores, probabilities); the loss takes
scores.
"""
from minigrad import nn

from .catalogue import Model


class Block(nn.Module):
    """relu(BN(conv(relu(BN(conv(x))))) + shortcut): N x in_channels x H x W -> N x out_channels x OH x OW.

    kernels: of the two convolutions, with "same" padding. stride: of the first. resize: the shortcut is a 1x1
    convolution of that stride with batch norm and no ReLU, instead of x itself.
    """

    def __init__(self, in_channels, maps, out_channels, kernels, stride=1, resize=False):
        super().__init__()
        first, second = kernels
        self.conv_1 = nn.Conv2d(in_channels, maps, first, stride, padding=first // 2)
        self.conv_1_bn = nn.BatchNorm2d(maps)
        self.relu_1 = nn.ReLU()
        self.conv_2 = nn.Conv2d(maps, out_channels, second, padding=second // 2)
        self.conv_2_bn = nn.BatchNorm2d(out_channels)
        self.resize = resize
        if resize:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1, stride)
            self.conv_shortcut_bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = nn.in_turn(x, self.conv_1, self.conv_1_bn, self.relu_1)
        shortcut = self.conv_shortcut_bn(self.conv_shortcut(x)) if self.resize else x
        return nn.in_turn(y, self.conv_2, self.conv_2_bn, self.relu, plus=shortcut)


def residual_identity(num_classes=10, in_channels=1, maps=(4, 4)):
    """in_channels x 28 x 28 images -> num_classes scores. maps: inside each of the blocks."""
    blocks = {
        f"block_{i}": Block(in_channels, inside, in_channels, (1, 3))  # 28x28 -> 28x28
        for i, inside in enumerate(maps, 1)
    }
    return nn.Sequential({**blocks, "flatten": nn.Flatten(), "linear_1": nn.Linear(28 * 28 * in_channels, num_classes)})


def residual_resized(num_classes=10, in_channels=1, maps=((4, 8), (16, 32))):
    """in_channels x 28 x 28 images -> num_classes scores. maps: inside each of the blocks and after it."""
    parts, side = {}, 28
    for i, (inside, after) in enumerate(maps, 1):
        parts[f"block_{i}"] = Block(in_channels, inside, after, (3, 1), stride=2, resize=True)
        in_channels, side = after, -(-side // 2)  # 28x28 -> 14x14 -> 7x7
    return nn.Sequential({**parts, "flatten": nn.Flatten(), "linear_1": nn.Linear(side**2 * in_channels, num_classes)})


MODELS = {
    "residual_identity": Model(residual_identity, (1, 28, 28), "two residual blocks of one size (lecture 13)"),
    "residual_resized": Model(residual_resized, (1, 28, 28), "two residual blocks that halve the map (lecture 13)"),
}
