"""Schedules: they change an optimiser's learning rates between epochs."""
import math


class CosineAnnealingLR:
    """Lower every learning rate from its first value to eta_min along half a cosine, over T_max calls of `step`.

    After T_max steps the rates rise again. Source: Loshchilov & Hutter 2017, equation 5, without restarts.
    Raises ValueError for T_max below 1.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0):
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.optimizer, self.T_max, self.eta_min, self.last_epoch = optimizer, T_max, eta_min, 0
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]

    def step(self):
        """Go to the next epoch."""
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            share = (1.0 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2.0
            group["lr"] = self.eta_min + (lr - self.eta_min) * share

    def get_last_lr(self):
        """The learning rate of each parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]
