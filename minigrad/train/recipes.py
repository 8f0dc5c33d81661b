"""Recipes: trainings whose results are known, as data. `minigrad train --recipe NAME` takes the options of one.

The lecture is S. Raschka, STAT 479: Deep Learning, Spring 2019, lecture 13; what it leaves open is as PyTorch
has it by default: constant rates, SGD without momentum, no augmentation. Deviations: images are normalised by the mean
and the standard deviation of each channel; convnet_allconv and nin_cifar start from Glorot's weights (their files say
why).

The All-CNN paper (Springenberg et al. 2014, section 3, table 3) chose its rate among 0.25, 0.1, 0.05 and 0.01 and does
not state the size of its batches; here they are 0.05 and 128. Deviations: its images were whitened, and its weight
decay was not of the kernels alone.
"""
from difflib import get_close_matches
from typing import NamedTuple


class Recipe(NamedTuple):
    """A training. options: of `minigrad train`, by their names in Python. accuracy, minutes: what the source states.

    accuracy is in percent of the test images, minutes are those of the source's machine; None: not stated.
    """

    options: dict
    source: str
    accuracy: float | None = None
    minutes: float | None = None


PLAIN = {"schedule": "constant", "shift": 0}
ADAM = {**PLAIN, "optimizer": "adam", "lr": 0.001, "batch_size": 256}
MNIST, CIFAR = {"dataset": "mnist"}, {"dataset": "cifar10", "size": 32}
LECTURE, PAPER = "lecture 13", "Springenberg et al. 2014, table 3"
# The error in percent without augmentation, of each base network and its relatives
ALLCNN = {
    "a": 12.47, "a_strided": 13.46, "a_convpool": 10.21, "a_all": 10.30,
    "b": 10.20, "b_strided": 10.98, "b_convpool": 9.33, "b_all": 9.10,
    "c": 9.74, "c_strided": 10.19, "c_convpool": 9.31, "c_all": 9.08,
}


def _lecture(options, accuracy, minutes):
    return Recipe({**ADAM, **options}, LECTURE, accuracy, minutes)


def _allcnn(variant, error):
    return Recipe({
        **PLAIN, **CIFAR, "model": f"allcnn_{variant}", "optimizer": "sgd", "lr": 0.05, "momentum": 0.9,
        "weight_decay": 0.001, "schedule": "multi-step", "milestones": [200, 250, 300], "epochs": 350,
        "batch_size": 128,
    }, PAPER, round(100 - error, 2), 600)


# Jordan 2024, section 3: SGD with Nesterov's momentum, much label smoothing, reflected edges, a high rate for the
# offsets of batch norms, whose factors stay 1, and a rate that rises and falls once
FAST = {
    **CIFAR, "optimizer": "sgd", "momentum": 0.85, "nesterov": True, "weight_decay": 0.0013, "schedule": "one-cycle",
    "label_smoothing": 0.2, "flip": True, "shift_fill": "reflect", "pct_start": 0.23,
    "freeze": ["layers.whiten.weight", "layers.pair*.norm*.weight"],
}
RECIPES = {
    "convnet-mnist": _lecture(
        {**MNIST, "model": "convnet", "optimizer": "sgd", "lr": 0.05, "momentum": 0.0, "batch_size": 128, "epochs": 10},
        97.77, 2.25),
    "convnet_allconv-mnist": _lecture({**MNIST, "model": "convnet_allconv", "epochs": 15}, 96.42, 3.37),
    "residual_identity-mnist": _lecture(
        {**MNIST, "model": "residual_identity", "lr": 0.0001, "batch_size": 128, "epochs": 10}, 92.47, 2.44),
    "residual_resized-mnist": _lecture(
        {**MNIST, "model": "residual_resized", "lr": 0.0001, "batch_size": 128, "epochs": 10}, 97.68, 2.44),
    "nin-cifar10": _lecture({**CIFAR, "model": "nin_cifar", "epochs": 10}, 70.67, 3.9),
    "vgg16-cifar10": _lecture({**CIFAR, "model": "vgg16_cifar", "epochs": 50}, 77.22, 27.6),
    "resnet34-cifar10": _lecture({**CIFAR, "model": "resnet34", "epochs": 50}, 73.24, 27.2),
    "resnet152-cifar10": _lecture({**CIFAR, "model": "resnet152", "epochs": 50}, 69.59, 60.0),
    **{f"allcnn_{variant}-cifar10": _allcnn(variant, error) for variant, error in ALLCNN.items()},
    "cifar10-80": Recipe({
        **FAST, "model": "fast_cifar", "batch_size": 256, "epochs": 10, "lr": 0.6, "lr_bias": 25.6, "shift": 2,
        "ema": 0.99,
    }, "our answer to the lectures' challenge, above 80%, on two cores in 15 minutes", 80.0),
    "cifar10-94": Recipe({
        **FAST, "model": "fast_cifar_wide", "batch_size": 512, "epochs": 30, "lr": 1.0, "lr_bias": 44.8, "shift": 4,
        "cutout": 8, "ema": 0.995,
    }, "Jordan 2024, with more passes; for a GPU", 94.0),
}


def recipe(name):
    """The Recipe of this name. Raises ValueError, with the nearest names before all others, for an unknown one."""
    if name not in RECIPES:
        near = get_close_matches(str(name).lower(), RECIPES, 3, 0.5)
        raise ValueError(f"unknown recipe {name!r}; there is "
                         f"{', '.join([*near, *(known for known in RECIPES if known not in near)])}")
    return RECIPES[name]
