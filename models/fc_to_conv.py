"""A fully connected head as convolutions: the same scores, and a map of them for larger images.

Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998, section VII (space displacement neural
networks); P. Sermanet et al., "OverFeat", 2014, section 3.5; lecture 13 of STAT 479 (S. Raschka, 2019), "Replacing
fully connected by convolutional layers". A linear layer that sees a whole map C x H x W is a convolution whose kernel
is H x W; one that sees a vector is a 1 x 1 convolution on a 1 x 1 map.
"""
import copy
import math

from minigrad import nn

ELEMENTWISE = (  # what may stand between the linear layers; PReLU has a slope a channel, which stays dimension 1
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SiLU, nn.Hardtanh, nn.Softplus, nn.Tanh, nn.Sigmoid,
    nn.Dropout, nn.Identity,
)
ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def fc_to_conv(net):
    """A copy of a network with convolutions in place of its linear layers: N x C x H x W -> N x classes x OH x OW.

    net: convolutions, an nn.Flatten, then linear layers with activations, dropout or batch norm between them, defined
    in the order in which they run, the map in front of the linear layers being square. At the size for which the
    network was made OH = OW = 1 and the scores are those of net; larger images give a map of scores, one for every
    shift by the network's total stride. An adaptive pooling in front of the linear layers, which would undo that, goes;
    where it changed the map's size, so do the scores. Weights are copied and keep their names (those of the linear
    layers get two dimensions more); net is not changed. Raises ValueError for networks of another kind.
    """
    net = copy.deepcopy(net)
    modules = dict(net.named_modules())
    leaves = [(name, m) for name, m in modules.items() if not list(m.children())]
    flattens = [i for i, (_, m) in enumerate(leaves) if isinstance(m, nn.Flatten)]
    if len(flattens) != 1:
        raise _unfit(f"it has {len(flattens)} Flatten layers, not one between convolutions and linear layers")
    body, head = leaves[: flattens[0]], leaves[flattens[0] + 1 :]
    side = _check([m for _, m in body], [m for _, m in head])
    for name, m in leaves:
        new = m
        if isinstance(m, (nn.Flatten, *ADAPTIVE)):
            new = nn.Identity()
        elif isinstance(m, nn.Linear):
            new, side = _convolution(m, side), 1
        elif isinstance(m, nn.BatchNorm1d):
            new = _batch_norm(m)
        parent, _, key = name.rpartition(".")
        modules[parent].add_module(key, new.train(m.training))
    return net


def _unfit(reason):
    return ValueError(f"fc_to_conv: {reason}")


def _check(body, head):
    """Height and width of the map in front of the linear layers; ValueError if the network is of another kind."""
    convolutions = [m for m in body if isinstance(m, nn.Conv2d)]
    linear = [m for m in head if isinstance(m, nn.Linear)]
    if not convolutions or not linear or any(isinstance(m, nn.Linear) for m in body):
        raise _unfit("the network must be convolutions, a Flatten and linear layers, in this order")
    for m in body:
        if isinstance(m, nn.GlobalAvgPool2d) or (isinstance(m, ADAPTIVE) and m.output_size in (1, (1, 1))):
            raise _unfit(f"the network pools whole maps ({m}), and takes images of any size as it is")
    for m in reversed(head):
        if isinstance(m, nn.Softmax) and m.dim == 1:  # LogSoftmax is one too; the classes stay dimension 1
            continue
        if not isinstance(m, (nn.Linear, nn.BatchNorm1d, *ELEMENTWISE)):
            raise _unfit(f"{m} after the Flatten has no convolutional form")
    inputs, channels = linear[0].in_features, convolutions[-1].out_channels
    side = math.isqrt(inputs // channels)
    if side * side * channels != inputs:
        raise _unfit(f"the first linear layer has {inputs} inputs, not a square map of {channels} channels")
    return side


def _convolution(linear, side):
    """The Conv2d with the weights of a Linear on a map of side x side."""
    channels = linear.in_features // side**2
    with nn.init.skip():
        conv = nn.Conv2d(channels, linear.out_features, side, bias=linear.bias is not None)
    weight = linear.weight.detach().reshape(linear.out_features, channels, side, side)
    conv.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
    conv.register_parameter("bias", linear.bias)
    return conv


def _batch_norm(norm):
    """The BatchNorm2d with the state of a BatchNorm1d."""
    new = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, p in norm._parameters.items():
        new.register_parameter(name, p)
    for name, b in norm._buffers.items():
        new.register_buffer(name, b)
    return new
