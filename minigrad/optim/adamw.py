"""AdamW: Adam whose weight decay shrinks the parameters and leaves the gradient alone."""
from ..modes import each_time
from .adam import Adam


class AdamW(Adam):
    """p = (1 - lr weight_decay) p, and then a step of Adam without decay. Loshchilov & Hutter 2019, algorithm 2.

    Options and errors: those of Adam; weight_decay is 0.01 unless given.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)

    @each_time
    def step(self):
        """Change every parameter that has a gradient, in place."""
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = 0.0  # for Adam, who would add it to the gradient
            for p in group["params"]:
                if decay and p.grad is not None:
                    p._data *= 1.0 - group["lr"] * decay
        try:
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
