"""Initial values for whole networks, where a paper or a published implementation draws them unlike the layers do.

Sources: He et al. 2015, "Delving deep into rectifiers", section 2.2; Glorot & Bengio 2010, "Understanding the
difficulty of training deep feedforward neural networks", equation 16; torchvision's googlenet.py and inception.py.
"""
from functools import partial

from minigrad import nn


def fill_(net, draw, bias=None):
    """draw(weight) for all convolution and linear layers, and one value for their biases; returns the network.

    bias: None leaves the biases as the layers drew them.
    """
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            draw(layer.weight)
            if bias is not None and layer.bias is not None:
                nn.init.constant_(layer.bias, bias)
    return net


def he_(net):
    """He's normal weights of variance 2 / fan_in, zero biases; returns the network."""
    return fill_(net, partial(nn.init.kaiming_normal_, nonlinearity="relu"), 0.0)


def xavier_(net):
    """Glorot's uniform weights of variance 2 / (fan_in + fan_out), zero biases; returns the network."""
    return fill_(net, nn.init.xavier_uniform_, 0.0)


def truncated_normal_(net, std):
    """Normal weights of one std, cut off at +-2; biases stay as they are; returns the network."""
    return fill_(net, partial(nn.init.trunc_normal_, std=std))
