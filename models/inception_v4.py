"""Inception-v4: the Inception blocks made uniform, without shortcuts.

C. Szegedy, S. Ioffe, V. Vanhoucke and A. Alemi, "Inception-v4, Inception-ResNet and the impact of residual connections
on learning", 2016 (arXiv:1602.07261): figure 9 for the whole, figures 3 to 8 for the stem and the blocks, table 1 for
the widths of the first reduction. 42,679,816 parameters, every convolution with batch normalisation (eps 0.001).

Chosen where the paper leaves it open, as in the authors' published code: averages at the border do not count the
padding, and the order of rows and columns in the branches with both. Initial weights are He's, which the code has not;
its auxiliary head on the 17x17 maps, which the paper does not show, is left out.
"""

from .catalogue import Model
from .inception_parts import Conv, Mixed, Trunk
from .initial import he_

ROW, COLUMN = (1, 7), (7, 1)
STEM = (  # figure 3: three forks, each taking the size down or the channels up
    ("stem_1", ((Conv("conv1", 32, 3, 2), Conv("conv2", 32, 3, padding=0), Conv("conv3", 64, 3)),)),  # 299 -> 147
    ("stem_2", (("max_pool",), (Conv("conv", 96, 3, 2),))),  # -> 73x73x160
    ("stem_3", (
        (Conv("short_1", 64), Conv("short_2", 96, 3, padding=0)),
        (Conv("long_1", 64), Conv("long_2", 64, ROW), Conv("long_3", 64, COLUMN), Conv("long_4", 96, 3, padding=0)),
    )),  # -> 71x71x192
    ("stem_4", ((Conv("conv", 192, 3, 2),), ("max_pool",))),  # -> 35x35x384
)
A = (  # 35x35x384, figure 4
    (Conv("branch1x1", 96),),
    (Conv("branch3x3_1", 64), Conv("branch3x3_2", 96, 3)),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, 3), Conv("branch3x3dbl_3", 96, 3)),
    ("average_pool", Conv("branch_pool", 96)),
)
REDUCTION_A = (  # -> 17x17x1024, figure 7 with k, l, m, n = 192, 224, 256, 384
    (Conv("branch3x3", 384, 3, 2),),
    (Conv("branch3x3dbl_1", 192), Conv("branch3x3dbl_2", 224, 3), Conv("branch3x3dbl_3", 256, 3, 2)),
    ("max_pool",),
)
B = (  # 17x17x1024, figure 5
    (Conv("branch1x1", 384),),
    (Conv("branch7x7_1", 192), Conv("branch7x7_2", 224, ROW), Conv("branch7x7_3", 256, COLUMN)),
    (
        Conv("branch7x7dbl_1", 192), Conv("branch7x7dbl_2", 192, COLUMN), Conv("branch7x7dbl_3", 224, ROW),
        Conv("branch7x7dbl_4", 224, COLUMN), Conv("branch7x7dbl_5", 256, ROW),
    ),
    ("average_pool", Conv("branch_pool", 128)),
)
REDUCTION_B = (  # -> 8x8x1536, figure 8
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 192, 3, 2)),
    (
        Conv("branch7x7x3_1", 256), Conv("branch7x7x3_2", 256, ROW), Conv("branch7x7x3_3", 320, COLUMN),
        Conv("branch7x7x3_4", 320, 3, 2),
    ),
    ("max_pool",),
)
C = (  # 8x8x1536, figure 6
    (Conv("branch1x1", 256),),
    (Conv("branch3x3_1", 384), ((Conv("branch3x3_2a", 256, (1, 3)),), (Conv("branch3x3_2b", 256, (3, 1)),))),
    (
        Conv("branch3x3dbl_1", 384), Conv("branch3x3dbl_2", 448, (3, 1)), Conv("branch3x3dbl_3", 512, (1, 3)),
        ((Conv("branch3x3dbl_4a", 256, (1, 3)),), (Conv("branch3x3dbl_4b", 256, (3, 1)),)),
    ),
    ("average_pool", Conv("branch_pool", 256)),
)


class InceptionV4(Trunk):
    """in_channels x H x W images -> num_classes scores.

    repeats: how many blocks A, B and C. dropout: before the last layer (the paper keeps 0.8). width: factor for all
    channels. Images are at least 75x75.
    """

    def __init__(self, num_classes=1000, in_channels=3, *, repeats=(4, 7, 3), dropout=0.2, width=1.0):
        super().__init__(in_channels, transform_input=False)
        blocks = [*STEM]
        for letter, branches, count, reduction in (
            ("a", A, repeats[0], REDUCTION_A), ("b", B, repeats[1], REDUCTION_B), ("c", C, repeats[2], None)
        ):
            blocks += [(f"{letter}{i}", branches) for i in range(1, count + 1)]
            blocks += [(f"reduction_{letter}", reduction)] if reduction else []
        channels = in_channels
        for name, branches in blocks:
            channels = self.extend(name, Mixed(channels, branches, width, count_include_pad=False)).out_channels
        self.finish(channels, num_classes, dropout)
        he_(self)


MODELS = {"inception_v4": Model(InceptionV4, (3, 299, 299), "Inception-v4 (Szegedy et al. 2016, figure 9)")}
