"""Optimisers, which change parameters by their gradients, and schedules of their learning rates."""
from .adam import Adam
from .adamw import AdamW
from .one_cycle import OneCycleLR
from .optimizer import Optimizer
from .plateau import ReduceLROnPlateau
from .schedule import CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR, StepLR
from .sgd import SGD
