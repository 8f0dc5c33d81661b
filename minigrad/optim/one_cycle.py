"""The 1cycle policy: the learning rate rises once and then falls to almost nothing, the momentum goes the other way."""
import math

from minigrad.kernels.conv.params import integer

from .schedule import Schedule


class OneCycleLR(Schedule):
    """Rates from max_lr / div_factor up to max_lr, then down to 1 / final_div_factor of the first; one step a batch.

    max_lr, base_momentum, max_momentum: a number, or one for each group. total_steps, or epochs and steps_per_epoch.
    pct_start: the share of the steps in which rates rise. anneal_strategy: "cos" or "linear". cycle_momentum: move
    SGD's momentum, or Adam's first beta, from max_momentum to base_momentum and back. three_phase: fall in the time it
    took to rise, and then to the last rate. Source: Smith & Topin 2017, section 3. Raises ValueError for what makes no
    sense, and for steps beyond the last.
    """

    def __init__(self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3,
                 anneal_strategy="cos", cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0,
                 final_div_factor=1e4, three_phase=False):
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: total_steps is needed, or epochs and steps_per_epoch")
            total_steps = (integer(epochs, "epochs", "OneCycleLR", 1)
                           * integer(steps_per_epoch, "steps_per_epoch", "OneCycleLR", 1))
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start must be between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.momentum_option = next((name for name in ("betas", "momentum") if name in optimizer.defaults), None)
        if cycle_momentum and self.momentum_option is None:
            raise ValueError(f"OneCycleLR: {type(optimizer).__name__} has no momentum to cycle")
        self.total_steps = integer(total_steps, "total_steps", "OneCycleLR", 1)
        self.pct_start, self.anneal_strategy, self.three_phase = pct_start, anneal_strategy, three_phase
        self.cycle_momentum, self.final_div_factor = cycle_momentum, final_div_factor
        self.max_lrs, self.base_momentums, self.max_momentums = (
            _for_groups(optimizer, name, value)
            for name, value in (("max_lr", max_lr), ("base_momentum", base_momentum), ("max_momentum", max_momentum))
        )
        for group, lr in zip(optimizer.param_groups, self.max_lrs, strict=True):
            group["initial_lr"] = lr / div_factor
        super().__init__(optimizer)

    def _phases(self):
        """(last step, which value it starts from, which it goes to) of every phase; 0: low, 1: high, 2: the last."""
        up, last = float(self.pct_start * self.total_steps) - 1, self.total_steps - 1
        if self.three_phase:
            return (up, 0, 1), (2 * up, 1, 0), (last, 0, 2)
        return (up, 0, 1), (last, 1, 2)

    def _between(self, values):
        """The value that belongs to this step, given the low, the high and the last one."""
        phases = self._phases()
        number = next((i for i, phase in enumerate(phases[:-1]) if self.last_epoch <= phase[0]), len(phases) - 1)
        begin = phases[number - 1][0] if number else 0.0
        end, start, stop = phases[number]
        share = (self.last_epoch - begin) / (end - begin)
        if self.anneal_strategy == "linear":
            return values[start] + (values[stop] - values[start]) * share
        return values[stop] + (values[start] - values[stop]) / 2.0 * (1.0 + math.cos(math.pi * share))

    def get_lr(self):
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {self.last_epoch} of {self.total_steps}")
        return [self._between((low, high, low / self.final_div_factor))
                for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def _set(self):
        super()._set()
        if not self.cycle_momentum:
            return
        for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True):
            momentum = self._between((high, low, high))
            group[self.momentum_option] = (momentum, group["betas"][1]) if "betas" in group else momentum


def _for_groups(optimizer, name, value):
    """One number for each group."""
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (tuple, list)) else [value] * groups
    if len(values) != groups:
        raise ValueError(f"OneCycleLR: {len(values)} values of {name} for {groups} groups")
    return values
