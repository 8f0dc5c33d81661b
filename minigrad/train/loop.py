"""The training loop, small enough to copy: an epoch and an evaluation."""
import math
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..modes import no_grad
from ..nn.utils import clip_grad_norm_
from ..ops import cross_entropy

AUXILIARY_WEIGHT = 0.3  # Szegedy et al. 2014, section 5


def train_epoch(model, loader, optimizer, loss_function=cross_entropy, *, accumulate=1, clip_norm=None, totals=None,
                after_step=None):
    """One pass over the loader. Returns (mean loss, accuracy), both over the examples.

    accumulate: batches for one step of the optimiser, whose gradients are averaged. clip_norm: the largest norm of the
    gradients. totals: where to count on, if the pass was begun before. after_step: called after each step. Raises
    FloatingPointError as soon as a loss is NaN or infinite, before anything is changed by it.
    """
    train_mode(model)
    totals = Totals() if totals is None else totals
    for group in groups_of(accumulate, on_device_of(model, loader)):
        optimizer.zero_grad()
        for images, labels in group:
            outputs = model(images)
            loss = training_loss(outputs, labels, loss_function)
            totals.add(outputs[0] if isinstance(outputs, tuple) else outputs, labels, loss)
            (loss if len(group) == 1 else loss / len(group)).backward()
        if clip_norm is not None:
            clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        if after_step is not None:
            after_step()
    return totals.averages()


def training_loss(outputs, labels, loss_function=cross_entropy):
    """The loss of a network's outputs: of its scores, or of a tuple of scores and those of auxiliary heads.

    The main scores stand first; each auxiliary loss is weighed by AUXILIARY_WEIGHT. Source: Szegedy et al. 2014,
    section 5 (GoogLeNet).
    """
    if not isinstance(outputs, tuple):
        return loss_function(outputs, labels)
    scores, *auxiliary = outputs
    return loss_function(scores, labels) + AUXILIARY_WEIGHT * sum(loss_function(a, labels) for a in auxiliary)


class Evaluation(NamedTuple):
    """What `evaluate` finds. confusion[i, j]: how many images of class i were taken for class j."""

    loss: float
    accuracy: float
    top5: float
    confusion: np.ndarray


def evaluate(model, loader, loss_function=cross_entropy):
    """One pass over the loader in evaluation mode: an Evaluation, its loss and accuracies (0 to 1) over the examples.

    top5: the share of examples with fewer than five scores above that of their class (or equal to it, and before it).
    """
    model.eval()
    totals, among_five, confusion = Totals(), 0, 0
    with no_grad():
        for images, labels in on_device_of(model, loader):
            scores = model(images)
            totals.add(scores, labels, loss_function(scores, labels), finite=False)
            scores, labels = scores.cpu().numpy(), labels.cpu().numpy()
            classes, own = scores.shape[1], scores[np.arange(len(labels)), labels][:, None]
            before = (scores > own) | ((scores == own) & (np.arange(classes) < labels[:, None]))
            among_five += int((before.sum(1) < 5).sum())
            pairs = labels * classes + scores.argmax(1)
            confusion = confusion + np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return Evaluation(*totals.averages(), among_five / (totals.examples or math.nan), confusion)


class Totals:
    """Loss and hits summed over batches."""

    def __init__(self, loss=0.0, hits=0, examples=0, batches=0):
        self.loss, self.hits, self.examples, self.batches = loss, hits, examples, batches

    def add(self, scores, labels, loss, finite=True):
        """Count one batch. scores: N x C, labels: N classes or N x C shares of them, loss: their mean.

        Raises FloatingPointError for a loss that is not finite, unless that is allowed.
        """
        value = loss.item()
        if finite and not math.isfinite(value):
            raise FloatingPointError(f"the loss became {value}; a smaller learning rate may help")
        scores, labels = scores.detach().cpu().numpy(), labels.cpu().numpy()
        classes = labels if labels.ndim == 1 else labels.argmax(1)
        self.loss += value * len(labels)
        self.hits += int((scores.argmax(1) == classes).sum())
        self.examples += len(labels)
        self.batches += 1

    def averages(self):
        """(mean loss, accuracy from 0 to 1) over all examples; NaN if there were none."""
        n = self.examples or math.nan
        return self.loss / n, self.hits / n


def train_mode(model):
    """Training mode, but for layers whose parameters are all frozen: a frozen batch norm keeps its statistics."""
    model.train()
    for module in model.modules():
        own = [p for p in module._parameters.values() if p is not None]
        if own and not any(p.requires_grad for p in own):
            module.eval()


def on_device_of(model, loader):
    """The batches of a loader, tuples of Tensors, on the device of a model's parameters."""
    device = next((p.device for p in model.parameters()), "cpu")
    return (tuple(t.to(device) for t in batch) for batch in loader)


def groups_of(size, batches):
    """Lists of `size` batches; the last may be shorter."""
    batches = iter(batches)
    while group := list(islice(batches, size)):
        yield group
