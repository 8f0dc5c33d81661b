"""Layers, containers and losses with PyTorch's names; `nn.functional` has them as functions."""
from . import functional, init, utils
from .activations import (
    ELU,
    Dropout,
    Dropout2d,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .containers import Flatten, Identity, ModuleDict, ModuleList, ParameterList, Sequential, in_turn
from .conv import Conv1d, Conv2d, ConvTranspose2d
from .fuse import fuse
from .linear import Linear
from .loss import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from .module import Module, Parameter
from .norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, LocalResponseNorm
from .padding import ZeroPad2d
from .pooling import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool2d,
    LPPool2d,
    MaxPool1d,
    MaxPool2d,
    MaxUnpool2d,
)
from .upsample import Upsample
