"""The architectures: one file per paper, and the catalogue of what they build. Installed as `minigrad.models`.

`create(name)` builds any of them; `models.resnet18(...)` is `create("resnet18", ...)`.
"""
from difflib import get_close_matches
from functools import partial

from minigrad.nn.init import skip

from . import (
    alexnet,
    allcnn,
    convnet,
    densenet,
    enet,
    fast_cifar,
    googlenet,
    inception_v3,
    inception_v4,
    lenet,
    nin,
    residual_blocks,
    resnet,
    resnet_cifar,
    vgg,
    zfnet,
)
from .catalogue import Model
from .fc_to_conv import fc_to_conv
from .weights import head_names, load_weights

FILES = (  # in the order of the lectures
    convnet, lenet, alexnet, zfnet, vgg, nin, allcnn, googlenet, inception_v3, inception_v4, residual_blocks, resnet,
    resnet_cifar, densenet, enet, fast_cifar,
)
CATALOGUE = {name: model for file in FILES for name, model in file.MODELS.items()}


def list():
    """The names that `create` knows."""
    return [*CATALOGUE]


def entry(name):
    """The catalogue's Model. Raises ValueError, naming the nearest ones, for an unknown name."""
    if name not in CATALOGUE:
        near = get_close_matches(str(name).lower(), CATALOGUE, 5, 0.5) or CATALOGUE
        raise ValueError(f"unknown model {name!r}; there is {', '.join(near)}{' ...' if near is not CATALOGUE else ''}")
    return CATALOGUE[name]


def create(name, num_classes=None, in_channels=None, *, weights=None, new_head=False, init=True, **options):
    """Build an architecture by name: create("lenet5_modern", num_classes=10, in_channels=1, pooling="average").

    num_classes, in_channels: None for those of the paper. options: those of the function that `entry(name).build` is;
    what distinguishes the members of a family (`entry(name).options`) can be overridden too. weights: a .safetensors,
    .pth or .pt file, loaded strictly, with new_head all of it but the head; see `load_weights`. init=False leaves the
    parameters zero, at no cost: for a network that is only looked at, or whose weights are loaded later. Raises
    ValueError for an unknown name and RuntimeError for weights that do not fit.
    """
    model = entry(name)
    given = {"num_classes": num_classes, "in_channels": in_channels}
    given = {**model.options, **{k: v for k, v in given.items() if v is not None}, **options}
    if weights is not None:
        return load_weights(name, model, given, weights, new_head)
    if init:
        return model.build(**given)
    with skip():
        return model.build(**given)


def head(name, **options):
    """The names of the parameters whose shapes depend on the number of classes: a network's head, or heads.

    Raises ValueError for an unknown name, and for a network whose number of classes cannot be chosen freely.
    """
    model = entry(name)
    return head_names(model, {**model.options, **options})


def _plain(name, model):
    """`create` for one name: models.resnet18(num_classes=10)."""
    function = partial(create, name)
    function.__name__ = name
    function.__doc__ = f"{model.summary}. The same as create({name!r}, ...); see `create` and `{model.build.__name__}`."
    return function


globals().update({name: _plain(name, model) for name, model in CATALOGUE.items()})
__all__ = ["CATALOGUE", "Model", "create", "entry", "fc_to_conv", "head", "list", *CATALOGUE]
