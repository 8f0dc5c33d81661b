"""Adam: steps scaled by running estimates of the gradient's mean and variance."""
from minigrad.kernels import optim

from ..device import array_module
from .optimizer import Optimizer


class Adam(Optimizer):
    """p = p - lr m / (sqrt(v) + eps), m and v corrected for their start at zero. Kingma & Ba 2015, algorithm 1.

    betas: how slowly m and v forget. weight_decay: adds weight_decay p to the gradient (L2 penalty).
    Raises ValueError for options that make no sense.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    def check(self, group):
        super().check(group)
        betas, eps = group["betas"], group["eps"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"Adam: betas must be two numbers from 0 to below 1, got {betas}")
        if not eps >= 0:
            raise ValueError(f"Adam: eps must be at least 0, got {eps}")

    def update(self, parameters, group):
        together = {}  # step number -> parameters: each counts its own steps
        for p, g, state in parameters:
            if not state:
                xp = array_module(p)
                state.update(step=0, mean=xp.zeros_like(p), square=xp.zeros_like(p))
            state["step"] += 1
            together.setdefault(state["step"], []).append((p, g, state["mean"], state["square"]))
        for step, arrays in together.items():
            optim.adam(arrays, step, group["lr"], group["betas"], group["eps"], *self.decay(group))

    def decay(self, group):
        """How much of p is added to its gradient, and what p is multiplied with."""
        return group["weight_decay"], 1.0
