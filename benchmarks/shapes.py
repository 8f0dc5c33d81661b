"""The convolutions of well-known networks, as data: a row per different shape, and how many layers have it.

Sources: the files of `minigrad/models`, whose papers these are; images of 224 x 224 (All-CNN: 32 x 32). "depthwise" are
the 3x3 depthwise layers of MobileNet (Howard et al. 2017, table 1).
"""
from typing import NamedTuple


class Layer(NamedTuple):
    """C x size x size -> OC maps, k x k."""

    channels: int
    size: int
    out: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1
    count: int = 1  # layers of this shape in the network


def one(channels, size, out, count=1, stride=1):
    """A 1x1 convolution."""
    return Layer(channels, size, out, 1, stride, 0, 1, count)


def three(channels, size, out, count=1, stride=1):
    """A 3x3 convolution that keeps the size, or halves it."""
    return Layer(channels, size, out, 3, stride, 1, 1, count)


def depthwise(channels, size, stride=1, count=1):
    """A 3x3 depthwise convolution."""
    return Layer(channels, size, channels, 3, stride, 1, channels, count)


STEM = Layer(3, 224, 64, 7, 2, 3)

SETS = {  # name: (batch, layers)
    "vgg16": (4, (
        three(3, 224, 64), three(64, 224, 64), three(64, 112, 128), three(128, 112, 128), three(128, 56, 256),
        three(256, 56, 256, 2), three(256, 28, 512), three(512, 28, 512, 2), three(512, 14, 512, 3),
    )),
    "resnet18": (8, (
        STEM, three(64, 56, 64, 4), three(64, 56, 128, stride=2), one(64, 56, 128, stride=2), three(128, 28, 128, 3),
        three(128, 28, 256, stride=2), one(128, 28, 256, stride=2), three(256, 14, 256, 3),
        three(256, 14, 512, stride=2), one(256, 14, 512, stride=2), three(512, 7, 512, 3),
    )),
    "resnet50": (8, (
        STEM, one(64, 56, 64), three(64, 56, 64, 3), one(64, 56, 256, 4), one(256, 56, 64, 2), one(256, 56, 128),
        three(128, 56, 128, stride=2), one(256, 56, 512, stride=2), one(128, 28, 512, 4), one(512, 28, 128, 3),
        three(128, 28, 128, 3), one(512, 28, 256), three(256, 28, 256, stride=2), one(512, 28, 1024, stride=2),
        one(256, 14, 1024, 6), one(1024, 14, 256, 5), three(256, 14, 256, 5), one(1024, 14, 512),
        three(512, 14, 512, stride=2), one(1024, 14, 2048, stride=2), one(512, 7, 2048, 3), one(2048, 7, 512, 2),
        three(512, 7, 512, 2),
    )),
    "alexnet": (16, (  # of one tower; the last three are those of two streams, as groups
        Layer(3, 224, 64, 11, 4, 2), Layer(64, 27, 192, 5, 1, 2), three(192, 13, 384), three(384, 13, 256),
        three(256, 13, 256), Layer(96, 27, 256, 5, 1, 2, 2), Layer(384, 13, 384, 3, 1, 1, 2),
        Layer(384, 13, 256, 3, 1, 1, 2),
    )),
    "googlenet": (8, (
        STEM, one(64, 56, 64), three(64, 56, 192), one(192, 28, 64), one(192, 28, 96), three(96, 28, 128),
        one(192, 28, 16), Layer(16, 28, 32, 5, 1, 2), one(192, 28, 32), one(480, 14, 192), three(96, 14, 208),
        Layer(16, 14, 48, 5, 1, 2), one(528, 14, 256), three(160, 14, 320), Layer(32, 14, 128, 5, 1, 2),
        one(832, 7, 384), three(192, 7, 384), Layer(48, 7, 128, 5, 1, 2),
    )),
    "allcnn": (64, (
        three(3, 32, 96), three(96, 32, 96), three(96, 32, 96, stride=2), three(96, 16, 192), three(192, 16, 192),
        three(192, 16, 192, stride=2), Layer(192, 8, 192, 3, 1, 0), one(192, 6, 192), one(192, 6, 10),
    )),
    "depthwise": (8, (
        depthwise(32, 112), depthwise(64, 112, 2), depthwise(128, 56), depthwise(128, 56, 2), depthwise(256, 28),
        depthwise(256, 28, 2), depthwise(512, 14, count=5), depthwise(512, 14, 2), depthwise(1024, 7),
    )),
    "tiny": (2, (three(4, 8, 8), one(4, 6, 8), Layer(3, 13, 4, 5, 2, 2), depthwise(8, 6))),  # to try the script
}


def spec(layer, batch):
    """A Layer as the dict that problems.py describes."""
    x, w = (batch, layer.channels, layer.size, layer.size), (layer.out, layer.channels // layer.groups)
    rest = {name: getattr(layer, name) for name in ("stride", "padding", "groups")}
    return {"x": x, "w": (*w, layer.kernel, layer.kernel), **rest}


def name(layer, batch):
    """"8,64,56 -> 128, 3/2": N, C, H -> OC, k / stride."""
    groups = f" g{layer.groups}" if layer.groups > 1 else ""
    return f"{batch},{layer.channels},{layer.size} -> {layer.out}, {layer.kernel}/{layer.stride}{groups}"


def kind(layer):
    """What sort of layer it is, as the summary groups them."""
    if layer.groups > 1:
        return "depthwise" if layer.groups == layer.channels else "grouped"
    if layer.kernel > 3:
        return f"{layer.kernel}x{layer.kernel}/{layer.stride}"
    return f"{layer.kernel}x{layer.kernel}" if layer.stride == 1 else f"{layer.kernel}x{layer.kernel} strided"
