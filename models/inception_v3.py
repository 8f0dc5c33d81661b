"""Inception-v3: larger convolutions taken apart into 3x3, 1x7 and 7x1 ones.

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception architecture for computer
vision", 2015 (arXiv:1512.00567): table 1, figures 5, 6, 7 and 10 for the blocks, section 4 for the auxiliary head.
27,161,264 parameters with the auxiliary head, 23,834,568 without; names and shapes are torchvision's.

Deviations from the paper, all torchvision's (and those of the authors' published weights): after the first pooling a
1x1 convolution to 80 maps, a 3x3 one to 192 and another pooling, where table 1 has three 3x3 convolutions (80 maps, 192
with stride 2, 288); 5x5 convolutions in one branch of the 35x35 blocks; dropout of 0.5 before the last layer. Initial
weights are torchvision's: normal of std 0.1 cut off at +-2, 0.01 and 0.001 in the head. Its published weights expect
transform_input=True for images normalised by ImageNet's mean and standard deviation.
"""
from typing import NamedTuple

from minigrad import nn, ops
from minigrad.tensor import Tensor

from .catalogue import Model
from .inception_parts import BasicConv2d, Conv, Mixed, Trunk, scaled
from .initial import truncated_normal_


class InceptionOutputs(NamedTuple):
    """What Inception-v3 returns in training: scores, and those of the auxiliary head, both N x num_classes."""

    logits: Tensor
    aux_logits: Tensor


def block_a(pool):
    """35x35, figure 5, with 5x5 in one branch; pool: the channels of the branch with pooling."""
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, 5)),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, 3), Conv("branch3x3dbl_3", 96, 3)),
        ("average_pool", Conv("branch_pool", pool)),
    )


def block_c(width):
    """17x17, figure 6 with n = 7; width: the channels inside the branches of 1x7 and 7x1."""
    row, column = (1, 7), (7, 1)
    return (
        (Conv("branch1x1", 192),),
        (Conv("branch7x7_1", width), Conv("branch7x7_2", width, row), Conv("branch7x7_3", 192, column)),
        (
            Conv("branch7x7dbl_1", width), Conv("branch7x7dbl_2", width, column), Conv("branch7x7dbl_3", width, row),
            Conv("branch7x7dbl_4", width, column), Conv("branch7x7dbl_5", 192, row),
        ),
        ("average_pool", Conv("branch_pool", 192)),
    )


BLOCK_B = (  # 35x35 -> 17x17, figure 10
    (Conv("branch3x3", 384, 3, 2),),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, 3), Conv("branch3x3dbl_3", 96, 3, 2)),
    ("max_pool",),
)
BLOCK_D = (  # 17x17 -> 8x8
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, 3, 2)),
    (
        Conv("branch7x7x3_1", 192), Conv("branch7x7x3_2", 192, (1, 7)), Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, 3, 2),
    ),
    ("max_pool",),
)
BLOCK_E = (  # 8x8, figure 7
    (Conv("branch1x1", 320),),
    (Conv("branch3x3_1", 384), ((Conv("branch3x3_2a", 384, (1, 3)),), (Conv("branch3x3_2b", 384, (3, 1)),))),
    (
        Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, 3),
        ((Conv("branch3x3dbl_3a", 384, (1, 3)),), (Conv("branch3x3dbl_3b", 384, (3, 1)),)),
    ),
    ("average_pool", Conv("branch_pool", 192)),
)
STEM = (
    Conv("Conv2d_1a_3x3", 32, 3, 2), Conv("Conv2d_2a_3x3", 32, 3, padding=0), Conv("Conv2d_2b_3x3", 64, 3), "maxpool1",
    Conv("Conv2d_3b_1x1", 80), Conv("Conv2d_4a_3x3", 192, 3, padding=0), "maxpool2",
)  # 299x299 -> 149 -> 147 -> 147 -> 73 -> 73 -> 71 -> 35x35x192
BLOCKS = {
    "Mixed_5b": block_a(32), "Mixed_5c": block_a(64), "Mixed_5d": block_a(64), "Mixed_6a": BLOCK_B,
    "Mixed_6b": block_c(128), "Mixed_6c": block_c(160), "Mixed_6d": block_c(160), "Mixed_6e": block_c(192),
    "Mixed_7a": BLOCK_D, "Mixed_7b": BLOCK_E, "Mixed_7c": BLOCK_E,
}


class InceptionAux(nn.Module):
    """The auxiliary head: N x in_channels x 17 x 17 -> N x num_classes."""

    def __init__(self, in_channels, num_classes, width):
        super().__init__()
        self.pool = nn.AvgPool2d(5, 3)  # 17x17 -> 5x5
        self.conv0 = BasicConv2d(in_channels, scaled(128, width), 1)
        self.conv1 = BasicConv2d(scaled(128, width), scaled(768, width), 5)  # -> 1x1
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(scaled(768, width), num_classes)

    def forward(self, x):
        return self.fc(ops.flatten(self.avgpool(self.conv1(self.conv0(self.pool(x)))), 1))


class InceptionV3(Trunk):
    """in_channels x H x W images -> num_classes scores; in training with aux_heads, InceptionOutputs.

    transform_input: the images are normalised by ImageNet's mean and std, the weights expect 0.5 and 0.5. dropout:
    before the last layer. width: factor for all channels. blocks: {name: branches}; the head reads the last one named
    Mixed_6. Images are at least 75x75, in training with the head at least 299x299. Raises ValueError for a head
    without a block to read.
    """

    outputs = InceptionOutputs

    def __init__(
        self, num_classes=1000, in_channels=3, *, aux_heads=True, transform_input=False, dropout=0.5, width=1.0,
        blocks=BLOCKS,
    ):
        super().__init__(in_channels, transform_input)
        channels = in_channels
        for step in STEM:
            if isinstance(step, str):
                self.extend(step, nn.MaxPool2d(3, 2))
            else:
                padding = (step.kernel - 1) // 2 if step.padding is None and step.stride == 1 else 0
                out = scaled(step.out_channels, width)
                self.extend(step.name, BasicConv2d(channels, out, step.kernel, step.stride, padding))
                channels = out
        read = [name for name in blocks if name.startswith("Mixed_6")] if aux_heads else []
        if aux_heads and not read:
            raise ValueError(f"InceptionV3: the head reads a block named Mixed_6, but there is {', '.join(blocks)}")
        for name, branches in blocks.items():
            channels = self.extend(name, Mixed(channels, branches, width)).out_channels
            if name in read[-1:]:
                self.AuxLogits = InceptionAux(channels, num_classes, width)
                self.heads = {name: "AuxLogits"}
        self.finish(channels, num_classes, dropout)
        truncated_normal_(self, 0.1)
        if aux_heads:
            truncated_normal_(self.AuxLogits.conv1, 0.01)
            truncated_normal_(self.AuxLogits.fc, 0.001)


MODELS = {"inception_v3": Model(InceptionV3, (3, 299, 299), "Inception-v3, torchvision's (Szegedy et al. 2015)")}
