"""VGG: stacks of 3 x 3 convolutions between poolings, and three linear layers.

K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, table 1
(configurations A to E), table 2 (their parameters), section 2.1 (ReLU after every hidden layer), 3.1 (dropout after the
two hidden linear layers).
- `vgg_a`, `vgg_a_lrn`, `vgg_b`, `vgg_c`, `vgg_d`, `vgg_e`: the paper's six, for 224 x 224 images only; 132,863,336
  (twice), 133,047,848, 133,638,952, 138,357,544 and 143,667,240 parameters. C has 1 x 1 convolutions; the
  normalisation of A-LRN, after the first ReLU, has AlexNet's constants.
- `vgg11`, `vgg13`, `vgg16`, `vgg19` (A, B, D, E) and, with batch normalisation in front of every ReLU of the
  convolutions, `vgg11_bn` ...: torchvision's, with its names. Its adaptive pooling to 7 x 7 changes nothing at 224 and
  lets any image from 32 x 32 up pass.
- `vgg16_cifar`, 33,638,218: the lecture's (S. Raschka, STAT 479: Deep Learning, Spring 2019, lecture 13, "VGG-16") for
  32 x 32 images: D, then 512-4096-4096-10 without dropout; He's uniform initial weights. Deviations: `forward` returns
  the scores alone, not (scores, probabilities), and the five blocks are one Sequential.
Deviation: the paper draws the weights of A from N(0, 0.01) and starts the deeper networks from a trained A; here they
are torchvision's, He's normal ones by fan-out for convolutions and N(0, 0.01) for linear layers, biases 0.
"""
from minigrad import nn

from .alexnet import classifier, response_norm
from .catalogue import Model

# Columns of table 1: maps of a 3 x 3 convolution, (maps, 1) for a 1 x 1 one, "M" max pooling, "L" normalisation
CONFIGS = {
    "A": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "A-LRN": (64, "L", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "B": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "C": (
        64, 64, "M", 128, 128, "M", 256, 256, (256, 1), "M", 512, 512, (512, 1), "M", 512, 512, (512, 1), "M",
    ),
    "D": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
    "E": (
        64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M",
    ),
}


def features(config, in_channels, width=1.0, batch_norm=False):
    """The convolutions and poolings of a column of CONFIGS, as a Sequential, and the number of its output channels.

    width: a factor on every number of maps. batch_norm: between a convolution and its ReLU.
    """
    layers, channels = [], in_channels
    for entry in config:
        if entry == "M":
            layers.append(nn.MaxPool2d(2, 2))
        elif entry == "L":
            layers.append(response_norm())
        else:
            maps, kernel = entry if isinstance(entry, tuple) else (entry, 3)
            out = max(1, round(maps * width))
            norm = [nn.BatchNorm2d(out)] if batch_norm else []
            layers += [nn.Conv2d(channels, out, kernel, padding=kernel // 2), *norm, nn.ReLU()]
            channels = out
    return nn.Sequential(*layers), channels


def _initialise(net, initial):
    """Weights and biases as the module's docstring says; initial: "torchvision" or "lecture"."""
    for m in net.modules():
        if not isinstance(m, (nn.Conv2d, nn.Linear)):
            continue
        if initial == "lecture":
            nn.init.kaiming_uniform_(m.weight, nonlinearity="relu")
        elif isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(m.weight, 0.0, 0.01)
        nn.init.zeros_(m.bias)
    return net


def vgg(
    num_classes=1000, in_channels=3, dropout=0.5, config="D", batch_norm=False, width=1.0, hidden=4096, grid=7,
    adaptive=True, initial="torchvision",
):
    """in_channels x 224 x 224 images -> num_classes scores.

    config: a name of CONFIGS, or a column like those. width: a factor on its numbers of maps. hidden: units of the two
    hidden linear layers. grid: height and width of the map in front of these, to which the last one is pooled if
    adaptive (else images whose last map is another raise ValueError). dropout: after the hidden linear layers; None: no
    such layers. initial: "torchvision" or "lecture" weights, see the module. Raises ValueError for other names.
    """
    if isinstance(config, str) and config not in CONFIGS:
        raise ValueError(f"vgg: config must be one of {', '.join(CONFIGS)}, or a tuple, got {config!r}")
    if initial not in ("torchvision", "lecture"):
        raise ValueError(f"vgg: initial must be one of torchvision, lecture, got {initial!r}")
    column = CONFIGS[config] if isinstance(config, str) else config
    with nn.init.skip():
        first, channels = features(column, in_channels, width, batch_norm)
        net = nn.Sequential({
            "features": first,
            **({"avgpool": nn.AdaptiveAvgPool2d((grid, grid))} if adaptive else {}),
            "flatten": nn.Flatten(),
            "classifier": classifier(channels * grid**2, hidden, num_classes, dropout),
        })
    return _initialise(net, initial)


def _row(summary, config, **options):
    return Model(vgg, (3, 224, 224), f"VGG {summary} (Simonyan & Zisserman 2015)", {"config": config, **options})


MODELS = {f"vgg_{c.lower().replace('-', '_')}": _row(f"configuration {c}", c, adaptive=False) for c in CONFIGS}
for _name, _config in (("vgg11", "A"), ("vgg13", "B"), ("vgg16", "D"), ("vgg19", "E")):
    MODELS[_name] = _row(f"configuration {_config}, torchvision's", _config)
    MODELS[f"{_name}_bn"] = _row(f"configuration {_config} with batch norm, torchvision's", _config, batch_norm=True)
MODELS["vgg16_cifar"] = Model(
    vgg, (3, 32, 32), "VGG-16 for CIFAR-10 (lecture 13)",
    {"num_classes": 10, "config": "D", "grid": 1, "adaptive": False, "dropout": None, "initial": "lecture"},
)
