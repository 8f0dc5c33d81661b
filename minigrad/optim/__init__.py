"""Optimisers, which change parameters by their gradients, and schedules of their learning rates."""
from .adam import Adam
from .optimizer import Optimizer
from .schedule import CosineAnnealingLR
from .sgd import SGD
