"""Schedules: they change an optimiser's learning rates as training goes on, by PyTorch's names.

A rate is computed from the group's first one and the number of steps taken, so a schedule that is made anew and given
its saved state goes on with the same rates. `step` is called after an epoch, or after every batch: as one counts T_max
and its kin. Where one schedule is to follow another there is SequentialLR.
"""
import math
from bisect import bisect_right

from minigrad.kernels.conv.params import integer

from ..modes import each_time


class Schedule:
    """The base class: a subclass has `get_lr`, the rates of all groups after `last_epoch` steps.

    Making a schedule sets the first rates. What a group had before is kept in it as "initial_lr" (PyTorch's name).
    """

    def __init__(self, optimizer):
        self.optimizer, self.last_epoch = optimizer, 0
        self.base_lrs = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self._set()

    @each_time
    def step(self):
        """Go to the next epoch (or batch)."""
        self.last_epoch += 1
        self._set()

    def get_lr(self):
        """The learning rates of the groups at `last_epoch`."""
        raise NotImplementedError(f"{type(self).__name__}.get_lr")

    def get_last_lr(self):
        """The learning rate that each parameter group has now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self):
        """All that changes and all options, as numbers, strings and lists."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, saved):
        """Go on from a `state_dict()`. The optimiser's rates are part of the optimiser's own state."""
        vars(self).update(saved)

    def _set(self):
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr


class StepLR(Schedule):
    """Multiply the rates by gamma every step_size steps. Raises ValueError for a step_size below 1."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        self.step_size, self.gamma = integer(step_size, "step_size", "StepLR", 1), gamma
        super().__init__(optimizer)

    def get_lr(self):
        return [lr * self.gamma ** (self.last_epoch // self.step_size) for lr in self.base_lrs]


class MultiStepLR(Schedule):
    """Multiply the rates by gamma at each of the milestones, numbers of steps; twice at one that is there twice."""

    def __init__(self, optimizer, milestones, gamma=0.1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def get_lr(self):
        return [lr * self.gamma ** bisect_right(self.milestones, self.last_epoch) for lr in self.base_lrs]


class LinearLR(Schedule):
    """Raise (or lower) the rates from start_factor to end_factor of themselves over total_iters steps: a warm-up.

    Raises ValueError for a start_factor that is not above 0 and up to 1, or an end_factor outside of 0 ... 1.
    """

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5):
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: factors must be above 0 (the first) and up to 1, got {start_factor} and "
                             f"{end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = integer(total_iters, "total_iters", "LinearLR", 1)
        super().__init__(optimizer)

    def get_lr(self):
        share = min(1.0, self.last_epoch / self.total_iters)
        return [lr * (self.start_factor + (self.end_factor - self.start_factor) * share) for lr in self.base_lrs]


class CosineAnnealingLR(Schedule):
    """Lower every learning rate from its first value to eta_min along half a cosine, over T_max calls of `step`.

    After T_max steps the rates rise again. Source: Loshchilov & Hutter 2017, equation 5, without restarts.
    Raises ValueError for T_max below 1.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0):
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def get_lr(self):
        share = (1.0 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2.0
        return [self.eta_min + (lr - self.eta_min) * share for lr in self.base_lrs]


class SequentialLR(Schedule):
    """One schedule after the other: number i + 1 begins, at its step 0, after milestones[i] steps.

    schedulers: made for the same optimiser, all but ReduceLROnPlateau. Raises ValueError where their number is not
    one above that of the milestones, or one belongs to another optimiser.
    """

    def __init__(self, optimizer, schedulers, milestones):
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        if len(self.schedulers) != len(self.milestones) + 1:
            raise ValueError(f"SequentialLR: {len(self.schedulers)} schedules for {len(self.milestones)} milestones, "
                             "there must be one schedule more")
        for schedule in self.schedulers:
            if not isinstance(schedule, Schedule) or schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: {type(schedule).__name__} is no schedule of the same optimiser that "
                                 "goes by the number of steps alone")
        super().__init__(optimizer)

    def get_lr(self):
        number = bisect_right(self.milestones, self.last_epoch)
        schedule = self.schedulers[number]
        schedule.last_epoch = self.last_epoch - (self.milestones[number - 1] if number else 0)
        return schedule.get_lr()

    def state_dict(self):
        return {**super().state_dict(), "schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def load_state_dict(self, saved):
        super().load_state_dict({name: value for name, value in saved.items() if name != "schedulers"})
        for schedule, state in zip(self.schedulers, saved["schedulers"], strict=True):
            schedule.load_state_dict(state)
