"""A training with all that it changes: what a checkpoint holds, and goes on from as if nothing had happened."""
import time

from ..ops import cross_entropy
from ..optim import OneCycleLR, ReduceLROnPlateau
from .loop import Totals, evaluate, train_epoch


class Training:
    """A network, what trains it, and how far it has come.

    schedule: stepped after every epoch, with the test loss if it is a ReduceLROnPlateau; a OneCycleLR after every step.
    average: an AveragedModel, which then is what is evaluated. accumulate, clip_norm: see `train_epoch`. patience: end
    once the test loss has not become smaller for so many epochs (None: never). `history` has a dict for every epoch
    done: epoch (from 1), train_loss, train_accuracy, test_loss, test_accuracy, test_top5 (0 to 1), lr (of the first
    group, at the end of the pass), seconds. `totals` and `seconds` are of the pass under way, `evaluation` is the
    last one.
    """

    def __init__(self, model, optimizer, schedule=None, average=None, loss_function=cross_entropy, accumulate=1,
                 clip_norm=None, patience=None):
        self.model, self.optimizer, self.schedule, self.average = model, optimizer, schedule, average
        self.loss_function, self.accumulate, self.clip_norm = loss_function, accumulate, clip_norm
        self.patience = patience
        self.history, self.totals, self.seconds, self.evaluation = [], Totals(), 0.0, None

    @property
    def network(self):
        """The network that is evaluated: the average, where there is one."""
        return self.model if self.average is None else self.average.module

    def fit(self, train_loader, test_loader, epochs, after_step=None, after_epoch=None):
        """Train until `epochs` passes are done, evaluating after each; go on within one if it was begun before.

        train_loader: a DataLoader, whose passes are those with the numbers of the epochs. after_step, after_epoch:
        called without arguments; what they raise ends the training between two steps.
        """
        while len(self.history) < epochs and not self.is_stuck():
            self._clock = time.perf_counter()
            train_loader.epoch = len(self.history)
            train_loss, train_accuracy = train_epoch(
                self.model, train_loader.batches(self.totals.batches), self.optimizer, self.loss_function,
                accumulate=self.accumulate, clip_norm=self.clip_norm, totals=self.totals,
                after_step=lambda: self._count_step(after_step),
            )
            self.evaluation = evaluate(self.network, test_loader)
            self._tick()
            self.history.append({
                "epoch": len(self.history) + 1, "train_loss": train_loss, "train_accuracy": train_accuracy,
                "test_loss": self.evaluation.loss, "test_accuracy": self.evaluation.accuracy,
                "test_top5": self.evaluation.top5, "lr": self.optimizer.param_groups[0]["lr"], "seconds": self.seconds,
            })
            self.totals, self.seconds = Totals(), 0.0
            if isinstance(self.schedule, ReduceLROnPlateau):
                self.schedule.step(self.evaluation.loss)
            elif self.schedule is not None and not isinstance(self.schedule, OneCycleLR):
                self.schedule.step()
            if after_epoch is not None:
                after_epoch()

    def is_stuck(self):
        """Whether the test loss has not become smaller for `patience` epochs."""
        losses = [row["test_loss"] for row in self.history]
        if self.patience is None or not losses:
            return False
        return len(losses) - 1 - losses.index(min(losses)) >= self.patience

    def _count_step(self, after_step):
        if isinstance(self.schedule, OneCycleLR):
            self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self._tick()
        if after_step is not None:
            after_step()

    def _tick(self):
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
