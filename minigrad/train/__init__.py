"""Training: the loop (loop.py), a training with all its state (training.py), and what goes with it."""
from .average import AveragedModel
from .checkpoint import load_checkpoint, save_checkpoint
from .ensemble import Ensemble
from .groups import freeze, parameter_groups
from .loop import AUXILIARY_WEIGHT, Evaluation, Totals, evaluate, train_epoch, training_loss
from .recipes import RECIPES, Recipe, recipe
from .records import plot_confusion, plot_history, write_history
from .training import Training
