"""Stochastic gradient descent."""
from minigrad.kernels import optim

from ..device import array_module
from .optimizer import Optimizer


class SGD(Optimizer):
    """p = p - lr v with v = momentum v + g, as PyTorch writes it (Sutskever et al. 2013, equations 1-4).

    weight_decay: adds weight_decay p to the gradient. dampening: scales g in v by 1 - dampening after the first step.
    nesterov: step along g + momentum v instead of v. Raises ValueError for options that make no sense.
    """

    def __init__(self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
        options = {"lr": lr, "momentum": momentum, "dampening": dampening}
        super().__init__(params, {**options, "weight_decay": weight_decay, "nesterov": nesterov})

    def check(self, group):
        super().check(group)
        momentum, dampening = group["momentum"], group["dampening"]
        if not momentum >= 0:
            raise ValueError(f"SGD: momentum must be at least 0, got {momentum}")
        if group["nesterov"] and (momentum == 0 or dampening != 0):
            raise ValueError(f"SGD: nesterov needs momentum above 0 and dampening 0, got {momentum} and {dampening}")

    def update(self, parameters, group):
        momentum, options = group["momentum"], (group["weight_decay"], group["nesterov"])
        resting, moving = [], []
        for p, g, state in parameters:
            if not momentum:
                moving.append((p, g))
            elif "velocity" in state:
                moving.append((p, g, state["velocity"]))
            else:
                state["velocity"] = array_module(p).zeros_like(p)
                resting.append((p, g, state["velocity"]))
        optim.sgd(moving, group["lr"], momentum, group["dampening"], *options)
        optim.sgd(resting, group["lr"], momentum, 0.0, *options)  # from rest, the first gradient counts in full
