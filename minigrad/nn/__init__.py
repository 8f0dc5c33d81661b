"""Layers, containers and losses with PyTorch's names; `nn.functional` has them as functions."""
from . import functional, init
from .activations import Dropout, Dropout2d, ReLU, Sigmoid, Tanh
from .containers import Flatten, Sequential
from .conv import Conv2d
from .linear import Linear
from .loss import CrossEntropyLoss
from .module import Module, Parameter
from .norm import BatchNorm2d
from .pooling import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, MaxPool2d
