"""The networks of minigrad.models in PyTorch, built from the plain data that `side_minigrad.tree` makes of them.

Layers are PyTorch's own, under the same names and with the same options, so a state_dict fits unchanged. The few
blocks whose forward is more than one layer after another are written out here. ReLUs work in place, as in torchvision.
"""
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def _basic(m, x):
    y = m.bn2(m.conv2(m.relu(m.bn1(m.conv1(x)))))
    return m.relu(y + _shortcut(m, x))


def _bottleneck(m, x):
    y = m.relu(m.bn1(m.conv1(x)))
    y = m.bn3(m.conv3(m.relu(m.bn2(m.conv2(y)))))
    return m.relu(y + _shortcut(m, x))


def _shortcut(m, x):
    return m.downsample(x) if hasattr(m, "downsample") else x


def _dense_layer(m, x):
    x = m.conv1(m.relu1(m.norm1(x)))
    return m.conv2(m.relu2(m.norm2(x)))


def _dense_block(m, x):
    for layer in m.children():
        x = torch.cat([x, layer(x)], 1)
    return x


def _unit(m, x):
    x = m.conv(x)
    return m.relu(m.bn(x) if hasattr(m, "bn") else x)


def _inception(m, x):
    return torch.cat([m.branch1(x), m.branch2(x), m.branch3(x), m.branch4(x)], 1)


def _googlenet(m, x):
    for name in m.options["order"]:
        x = getattr(m, name)(x)
    return m.fc(m.dropout(torch.flatten(m.avgpool(x), 1)))


def _convnet(m, x):
    x = m.pool_1(m.relu(m.conv_1(x)))
    x = m.pool_2(m.relu(m.conv_2(x)))
    return m.linear_1(m.flatten(x))


def _residual(m, x):
    y = m.conv_2_bn(m.conv_2(m.relu_1(m.conv_1_bn(m.conv_1(x)))))
    return m.relu(y + (m.conv_shortcut_bn(m.conv_shortcut(x)) if hasattr(m, "conv_shortcut") else x))


def _fast(m, x):
    return m.linear(m.layers(x)) * m.options["scale"]


FORWARD = {
    "BasicBlock": _basic, "Bottleneck": _bottleneck, "DenseLayer": _dense_layer, "DenseBlock": _dense_block,
    "BasicConv2d": _unit, "Inception": _inception, "GoogLeNet": _googlenet, "ConvNet": _convnet,
    "Block": _residual, "FastNet": _fast,
}


class Block(nn.Module):
    """Submodules by name, and a forward of FORWARD."""

    def __init__(self, kind, options, children):
        super().__init__()
        self.options, self.run = options, FORWARD[kind]
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x):
        return self.run(self, x)


def build(tree):
    """The PyTorch module of a tree. Raises ValueError for a kind that is unknown here."""
    kind, options, below = tree
    children = {name: build(child) for name, child in below.items()}
    if kind in FORWARD:
        return Block(kind, options, children)
    if kind == "Sequential":
        sequence = nn.Sequential()
        for name, child in children.items():
            sequence.add_module(name, child)
        return sequence
    if kind == "ReLU":
        return nn.ReLU(inplace=True)
    if kind == "GlobalAvgPool2d":
        return nn.AdaptiveAvgPool2d(1)
    if children or not hasattr(nn, kind):
        raise ValueError(f"no {kind} in PyTorch, and torch_models.FORWARD has none")
    return getattr(nn, kind)(**options)


def fold_batch_norm(module):
    """Fold every BatchNorm2d into the Conv2d defined right before it, in place; returns the module, in eval mode."""
    previous = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None:
            setattr(module, previous, fuse_conv_bn_eval(getattr(module, previous), child))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norm(child)
        previous = name if isinstance(child, nn.Conv2d) else None
    return module
