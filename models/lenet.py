"""LeNet-5: of 1998, and as it is built today.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", Proceedings
of the IEEE 86(11), 1998: section II.B, figure 2 (the layers), table I (which maps of S2 each map of C3 sees), appendix
A (the scaled tanh). `lenet5`, 60,000 trainable parameters as the paper counts them; its deviations:
- The paper's ten bitmaps are in its figure 3, of which only the size, 7 x 12, is in the text; ours are drawn anew.
- It prints a distance for each class, the smallest wins; here the scores are minus these distances, so that argmax is
  the answer and the cross-entropy of the scores is the paper's equation 9 without the constant "rubbish class".
- Coefficients of the subsampling start at 1/4 (the mean), and biases at 0, instead of being drawn like the weights.
`lenet5_modern`, 61,706 parameters: pooling has no weights, C3 sees all maps of S2, plain tanh (or ReLU) instead of the
scaled one, and a linear output layer with cross-entropy instead of distances to fixed prototypes.
"""
import math

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.kernels.conv.params import integer
from minigrad.nn import functional as F

from .catalogue import Model

POOLING = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
ACTIVATION = {"relu": nn.ReLU, "tanh": nn.Tanh}

# Table I: the maps of S2 that each of the sixteen maps of C3 sees
TABLE_I = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# The digits 0 ... 9, seven wide and twelve high: # is +1, . is -1
DIGITS = """
..###..  ...#...  .#####.  .#####.  .....#.  #######  ..####.  #######  .#####.  .#####.
.#...#.  ..##...  #.....#  #.....#  ....##.  #......  .#.....  #.....#  #.....#  #.....#
#.....#  .#.#...  #.....#  ......#  ...#.#.  #......  #......  ......#  #.....#  #.....#
#.....#  #..#...  ......#  ......#  ..#..#.  #......  #......  .....#.  #.....#  #.....#
#.....#  ...#...  ......#  ......#  .#...#.  #####..  #......  .....#.  .#...#.  #.....#
#.....#  ...#...  .....#.  ..####.  #....#.  .....#.  #.####.  ....#..  ..###..  .######
#.....#  ...#...  ....#..  ......#  #######  ......#  ##....#  ....#..  .#...#.  ......#
#.....#  ...#...  ...#...  ......#  .....#.  ......#  #.....#  ...#...  #.....#  ......#
#.....#  ...#...  ..#....  ......#  .....#.  ......#  #.....#  ...#...  #.....#  ......#
#.....#  ...#...  .#.....  ......#  .....#.  #.....#  #.....#  ..#....  #.....#  ......#
.#...#.  ...#...  #......  #.....#  .....#.  #.....#  .#...#.  ..#....  #.....#  .....#.
..###..  #######  #######  .#####.  .....#.  .#####.  ..###..  .#.....  .#####.  .####..
"""


def digit_prototypes():
    """The ten drawings as a float32 array 10 x 84 of +-1, each read row by row."""
    rows = [line.split() for line in DIGITS.split("\n") if line]
    return np.array([[1.0 if c == "#" else -1.0 for row in rows for c in row[d]] for d in range(10)], "float32")


def _uniform(weight, fan_in):
    """The paper's initial weights (appendix A): uniform in +-2.4 / fan_in."""
    return nn.init.uniform_(weight, -2.4 / fan_in, 2.4 / fan_in)


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x / 3): close to +-1 at +-1, where its second derivative is largest. Appendix A of the paper."""

    def forward(self, x):
        return F.tanh(x * (2.0 / 3.0)) * 1.7159


class Subsampling(nn.Module):
    """The sum of each 2 x 2 window times a coefficient plus a bias, both trained, one of each for a map.

    N x channels x H x W -> N x channels x H/2 x W/2 (rounded down). weight (1/4 at first), bias (0): channels. What
    follows it in the paper is a squashing function, which is a module of its own. Section II.B, layer S2.
    """

    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        self.weight = nn.Parameter(mg.zeros(channels))
        self.bias = nn.Parameter(mg.zeros(channels))
        nn.init.constant_(self.weight, 0.25)

    def forward(self, x):
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"Subsampling: expected N x {self.channels} x H x W, got shape {x.shape}")
        total = F.avg_pool2d(x, 2) * 4.0
        return total * self.weight.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)

    def multiplications(self, input_shape, output_shape):
        """One a value, for one image; shapes C x H x W. Asked by `inspect.summary`."""
        return math.prod(output_shape)

    def extra_repr(self):
        return str(self.channels)


class PartialConv2d(nn.Module):
    """A convolution whose output maps each see only some of the input maps. Section II.B, layer C3 and table I.

    connections: for each output map the numbers of the input maps that it sees. N x C x H x W -> N x OC x OH x OW with
    C = 1 + the largest number, OC = len(connections). weight: one KH x KW kernel a connection, in the order of the
    table; bias: OC. The convolution runs with zeros where there is no connection. Raises ValueError for an output map
    without inputs, or with one twice.
    """

    def __init__(self, connections, kernel_size):
        super().__init__()
        self.connections = tuple(tuple(inputs) for inputs in connections)
        for o, inputs in enumerate(self.connections):
            if not inputs or len(set(inputs)) != len(inputs) or min(inputs) < 0:
                raise ValueError(f"PartialConv2d: output map {o} must see one or more different maps, got {inputs}")
        self.in_channels = 1 + max(map(max, self.connections))
        self.out_channels, self.kernel_size = len(self.connections), kernel_size
        count = sum(map(len, self.connections))
        self.weight = nn.Parameter(mg.zeros(count, kernel_size, kernel_size))
        self.bias = nn.Parameter(mg.zeros(self.out_channels))
        self.place = np.full((self.out_channels, self.in_channels), count)  # which kernel; the last one is zeros
        start = 0
        for o, inputs in enumerate(self.connections):
            self.place[o, list(inputs)] = np.arange(start, start + len(inputs))
            _uniform(self.weight[start : start + len(inputs)], len(inputs) * kernel_size**2)
            start += len(inputs)

    def forward(self, x):
        none = mg.zeros(1, self.kernel_size, self.kernel_size, dtype=self.weight.dtype)
        return F.conv2d(x, mg.cat([self.weight, none])[self.place], self.bias)

    def multiplications(self, input_shape, output_shape):
        """Those of the connections that there are, for one image; shapes C x H x W. Asked by `inspect.summary`."""
        return math.prod(output_shape[1:]) * self.weight.numel()

    def extra_repr(self):
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, kernels={len(self.weight)}"


class GaussianConnections(nn.Module):
    """Squared Euclidean distances to fixed prototypes: N x F -> N x K, y_k = sum over j of (x_j - prototypes_kj)^2.

    prototypes: K x F, a buffer: saved, not trained. Section II.B, equation 7 (one Gaussian unit a class, of which this
    is the negative log-likelihood up to constants).
    """

    def __init__(self, prototypes):
        super().__init__()
        self.register_buffer("prototypes", mg.tensor(prototypes))

    def forward(self, x):
        if x.ndim != 2 or x.shape[1] != self.prototypes.shape[1]:
            raise ValueError(f"GaussianConnections: expected N x {self.prototypes.shape[1]}, got shape {x.shape}")
        difference = x.unsqueeze(1) - self.prototypes
        return (difference * difference).sum(2)

    def extra_repr(self):
        return "{1}, {0}".format(*self.prototypes.shape)


class LeNet5(nn.Sequential):
    """The network of 1998: in_channels x 32 x 32 images -> num_classes scores, minus the distances to the prototypes.

    Ten classes are compared with the drawings of the digits; any other number with rows of 84 random +-1, the same
    ones always. connections: table I of C3, or another one (S2 has as many maps as it needs, C3 as it has). c5: units
    of C5. Layers are named as in the paper; each but the last is followed by the scaled tanh. Initial weights: the
    paper's, uniform in +-2.4 / fan-in. Raises ValueError for connections or a number of classes that make no sense.
    """

    def __init__(self, num_classes=10, in_channels=1, connections=TABLE_I, c5=120):
        num_classes = integer(num_classes, "num_classes", "lenet5", 1)
        c3 = PartialConv2d(connections, 5)
        if num_classes == 10:
            prototypes = digit_prototypes()
        else:
            prototypes = np.random.default_rng(0).choice(np.float32([-1, 1]), (num_classes, 84))
        super().__init__({
            "c1": nn.Conv2d(in_channels, c3.in_channels, 5), "act1": ScaledTanh(),  # 32x32 -> 28x28x6
            "s2": Subsampling(c3.in_channels), "act2": ScaledTanh(),  # -> 14x14x6
            "c3": c3, "act3": ScaledTanh(),  # -> 10x10x16
            "s4": Subsampling(c3.out_channels), "act4": ScaledTanh(),  # -> 5x5x16
            "c5": nn.Conv2d(c3.out_channels, c5, 5), "act5": ScaledTanh(),  # -> 1x1x120
            "flatten": nn.Flatten(),
            "f6": nn.Linear(c5, 84), "act6": ScaledTanh(),
            "output": GaussianConnections(prototypes),
        })
        for layer in (self.c1, self.c5, self.f6):
            _uniform(layer.weight, math.prod(layer.weight.shape[1:]))
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return -super().forward(x)


def lenet5_modern(num_classes=10, in_channels=1, pooling="max", activation="relu"):
    """in_channels x 32 x 32 images -> num_classes scores.

    pooling: "max" or "average". activation: "relu" or "tanh". Raises ValueError for other names. Layers are named as in
    the paper: C convolution, S subsampling, F fully connected.
    """
    for name, value, table in (("pooling", pooling, POOLING), ("activation", activation, ACTIVATION)):
        if value not in table:
            raise ValueError(f"lenet5_modern: {name} must be one of {', '.join(table)}, got {value!r}")
    subsample, squash = POOLING[pooling], ACTIVATION[activation]
    return nn.Sequential({
        "c1": nn.Conv2d(in_channels, 6, 5), "act1": squash(),  # 32x32 -> 28x28x6
        "s2": subsample(2),  # -> 14x14x6
        "c3": nn.Conv2d(6, 16, 5), "act3": squash(),  # -> 10x10x16
        "s4": subsample(2),  # -> 5x5x16
        "c5": nn.Conv2d(16, 120, 5), "act5": squash(),  # -> 1x1x120
        "flatten": nn.Flatten(),
        "f6": nn.Linear(120, 84), "act6": squash(),
        "output": nn.Linear(84, num_classes),
    })


MODELS = {
    "lenet5": Model(LeNet5, (1, 32, 32), "LeNet-5 of 1998 (LeCun et al. 1998)"),
    "lenet5_modern": Model(lenet5_modern, (1, 32, 32), "LeNet-5 as it is built today (LeCun et al. 1998)"),
}
