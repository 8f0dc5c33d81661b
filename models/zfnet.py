"""ZFNet: AlexNet with a finer first layer, found by looking at what the features respond to.

M. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, figure 3: convolution 1 is
7 x 7 of stride 2 instead of 11 x 11 of stride 4, convolution 2 has stride 2 and no padding, no streams. Maps at 224:
110, pooled 55, 26, pooled 13, 13, 13, 13, pooled 6. `zfnet`, 62,357,608 parameters, has convolutions 3, 4, 5 of 384,
384 and 256 maps, as figure 3. `zfnet_wide`, 107,627,624, has 512, 1024 and 512, as the lecture gives for the entry of
the 2013 challenge, after model (b) of the paper's table 2.
Where the paper leaves things open: padding 1 in front gives its 110 and pooling rounded up its 55 and 13; the "contrast
normalisation across feature maps" after the first two poolings has AlexNet's constants. Deviation: initial weights are
those of alexnet.py, where the paper draws all from N(0, 0.01).
"""
from .alexnet import Conv, alexnet
from .catalogue import Model


def _table(*last):
    """The convolutions, given the numbers of maps of the last three."""
    return (
        Conv(96, 7, stride=2, padding=1, after="relu pool lrn"),
        Conv(256, 5, stride=2, after="relu pool lrn"),
        Conv(last[0], 3, padding=1),
        Conv(last[1], 3, padding=1),
        Conv(last[2], 3, padding=1, after="relu pool"),
    )


_PAPER = {"adaptive": False, "dropout_first": False, "ceil_mode": True}
MODELS = {
    "zfnet": Model(
        alexnet, (3, 224, 224), "ZFNet (Zeiler & Fergus 2014)", {"convs": _table(384, 384, 256), **_PAPER}
    ),
    "zfnet_wide": Model(
        alexnet, (3, 224, 224), "ZFNet with 512, 1024, 512 maps in convolutions 3, 4, 5",
        {"convs": _table(512, 1024, 512), **_PAPER},
    ),
}
