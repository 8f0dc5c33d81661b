"""Examples of convolutions: the operations, the layers, and every row of the table."""
from minigrad.kernels import conv

from .. import nn, ops
from .recipes import IMAGE, layer, on


def conv_examples(algorithm, convolve=ops.conv2d):
    """Convolutions that between them use every parameter, for one algorithm."""
    settings = [
        ((2, 2, 4, 4), (3, 2, 3, 3), {}),
        ((1, 2, 5, 4), (2, 2, 2, 3), {"stride": (2, 1), "padding": ((1, 0), (0, 2))}),
        ((1, 4, 5, 5), (4, 2, 2, 2), {"groups": 2, "dilation": 2, "padding": 1}),
        ((2, 3, 4, 4), (3, 1, 3, 3), {"groups": 3, "padding": "same"}),
        ((2, 3, 3, 3), (2, 3, 1, 1), {"stride": 2}),
    ]
    return [
        on(lambda x, w, b, kw=kw: convolve(x, w, b, algorithm=algorithm, **kw), x, w, (w[0],)) for x, w, kw in settings
    ]


CASES = {
    "conv2d": conv_examples("auto"),
    "convolve2d": [*conv_examples("auto", ops.convolve2d), *conv_examples("im2col", ops.convolve2d)],
    "conv_transpose2d": [
        on(ops.conv_transpose2d, (2, 2, 3, 3), (2, 3, 2, 2), (3,)),
        on(
            lambda x, w, b: ops.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
            (1, 4, 3, 3), (4, 1, 2, 2), (2,),
        ),
    ],
    **{
        f"conv2d[{algorithm}, {where}]": conv_examples(
            algorithm, ops.convolve2d if algorithm == "flipped" else ops.conv2d
        )
        for algorithm, where in conv.TABLE if where == "cpu"
    },
    "nn.Conv2d": [
        layer(lambda: nn.Conv2d(2, 2, 3, padding=1), IMAGE),
        layer(lambda: nn.Conv2d(2, 4, 2, stride=2, groups=2, bias=False, flip=True), IMAGE),
    ],
    "nn.Sequential": [
        layer(lambda: nn.Sequential(nn.Conv2d(2, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(24, 2)), (2, 2, 5, 4)),
    ],
}
