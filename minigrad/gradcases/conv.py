"""Examples of convolutions: the operations, the layers, and every row of the table."""
from minigrad.kernels import conv

from .. import nn, ops
from ..tensor import Tensor
from .recipes import IMAGE, layer, on


def conv_examples(algorithm, convolve=ops.conv2d):
    """Convolutions that between them use every parameter, for one algorithm."""
    settings = [
        ((2, 2, 4, 4), (3, 2, 3, 3), {}),
        ((1, 2, 5, 6), (2, 2, 3, 3), {"padding": 1}),
        ((1, 2, 5, 4), (2, 2, 2, 3), {"stride": (2, 1), "padding": ((1, 0), (0, 2))}),
        ((1, 4, 5, 5), (4, 2, 2, 2), {"groups": 2, "dilation": 2, "padding": 1}),
        ((2, 3, 4, 4), (3, 1, 3, 3), {"groups": 3, "padding": "same"}),
        ((2, 3, 3, 3), (2, 3, 1, 1), {"stride": 2}),
    ]
    return [
        on(lambda x, w, b, kw=kw: convolve(x, w, b, algorithm=algorithm, **kw), x, w, (w[0],))
        for x, w, kw in settings
        if algorithm == "auto" or conv.supports(algorithm, "cpu", w, conv.conv_params(x, w, **kw))
    ]


class Branches(nn.Module):
    """A network whose parts are in every kind of list."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(2, 2, 2), nn.Conv1d(2, 1, 1)])
        self.named = nn.ModuleDict({"squash": nn.Tanh(), "skip": nn.Identity()})
        self.scales = nn.ParameterList([nn.Parameter(Tensor([1.0, 2.0])), nn.Parameter(Tensor([[3.0]]))])

    def forward(self, x):
        for convolution, scale in zip(self.layers, self.scales, strict=True):
            x = self.named["squash"](convolution(x)) * scale
        return self.named["skip"](x)


CASES = {
    "conv2d": [
        *conv_examples("auto"),
        on(lambda x, w, b, z: ops.conv2d(x, w, b, plus=z, relu=True), (1, 2, 3, 3), (2, 2, 2, 2), (2,), (1, 2, 2, 2)),
    ],
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
    "conv1d": [
        on(ops.conv1d, (2, 2, 5), (3, 2, 2), (3,)),
        on(
            lambda x, w: ops.conv1d(x, w, stride=2, padding=(1,), dilation=(2,), groups=2, algorithm="direct"),
            (1, 4, 6), (2, 2, 2),
        ),
        on(lambda x, w: ops.conv1d(x, w, padding="same"), (2, 1, 4), (2, 1, 2)),
    ],
    "nn.Conv1d": [
        layer(lambda: nn.Conv1d(2, 2, 3, padding=1), (2, 2, 5)),
        layer(lambda: nn.Conv1d(4, 2, 2, stride=2, groups=2, dilation=2, bias=False), (2, 4, 6)),
    ],
    "nn.ConvTranspose2d": [
        layer(lambda: nn.ConvTranspose2d(2, 3, 2), (2, 2, 3, 3)),
        layer(lambda: nn.ConvTranspose2d(4, 2, (3, 2), 2, 1, (1, 0), groups=2, dilation=(1, 2)), (1, 4, 2, 3)),
    ],
    "nn.Conv2d": [
        layer(lambda: nn.Conv2d(2, 2, 3, padding=1), IMAGE),
        layer(lambda: nn.Conv2d(2, 4, 2, stride=2, groups=2, bias=False, flip=True), IMAGE),
    ],
    "nn.Sequential": [
        layer(lambda: nn.Sequential(nn.Conv2d(2, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(24, 2)), (2, 2, 5, 4)),
    ],
    "nn.ModuleList": [layer(Branches, (2, 2, 3))],
    "nn.ModuleDict": [layer(Branches, (2, 2, 3))],
    "nn.ParameterList": [layer(Branches, (2, 2, 3))],
}
