"""LeNet-5 as it is built today.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", Proceedings
of the IEEE 86(11), 1998, section II.B and figure 2. 61,706 parameters. Deviations of the modern form from the paper:
pooling has no weights, C3 sees all maps of S2 instead of the subsets of table I, plain tanh (or ReLU) instead of the
scaled one, and a linear output layer with cross-entropy instead of distances to fixed prototypes.
"""
from minigrad import nn

from .catalogue import Model

POOLING = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
ACTIVATION = {"relu": nn.ReLU, "tanh": nn.Tanh}


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
    "lenet5_modern": Model(lenet5_modern, (1, 32, 32), "LeNet-5 as it is built today (LeCun et al. 1998)"),
}
