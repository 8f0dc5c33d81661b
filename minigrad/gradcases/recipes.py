"""What the examples are made of: values to differentiate at, and ways to turn a function or a layer into an example.

Kinks and ties are kept away on purpose: ordinary values are at least 0.1 from 0 and from each other, so that a step of
1e-6 crosses nothing.
"""
from typing import NamedTuple

import numpy as np

from .. import device
from ..tensor import Tensor

IMAGE = (2, 2, 5, 4)
MASK = np.array([[True, False, True], [False, True, True]])
LABELS = np.array([2, 0, 1])


class Example(NamedTuple):
    """A function and a recipe for each of its inputs: a shape, or (kind, shape) with a kind of KINDS."""

    function: object
    inputs: tuple
    eps: float = 1e-6  # the step of the finite differences


def spread(rng, shape):
    """Distinct values from -2 to 2, none near 0, in random order; two calls have no value in common."""
    n = int(np.prod(shape))
    values = np.linspace(0.1, 1.9, max(n, 1))[:n] + rng.uniform(0.0, 0.05)
    return rng.permutation(values * np.where(np.arange(n) % 2, 1.0, -1.0)).reshape(shape)


KINDS = {
    "spread": spread,
    "positive": lambda rng, shape: np.abs(spread(rng, shape)) + 0.2,
    "dyadic": lambda rng, shape: rng.integers(-9, 10, shape) / 4,  # exact in float32, as are sums and halves
    "probabilities": lambda rng, shape: rng.dirichlet(np.ones(shape[1]), shape[0]),
}


def fresh_inputs(example):
    """New float64 Tensors for one example; the same values each time."""
    rng = np.random.default_rng(0)
    recipes = [("spread", i) if not i or not isinstance(i[0], str) else i for i in example.inputs]
    return [Tensor(KINDS[kind](rng, shape), requires_grad=True) for kind, shape in recipes]


def on(function, *inputs):
    """An Example; `inputs` are shapes or (kind, shape)."""
    return Example(function, inputs)


def seeded(function):
    """The function with the random generator set to the same state before each call, for dropout."""

    def call(*inputs):
        device.manual_seed(3)
        return function(*inputs)

    return call


def layer(make, *inputs, train=True):
    """An Example of a layer: its parameters are inputs as well. inputs: recipes for what forward takes."""
    model = make().double().train(train)
    parameters = list(model.parameters())

    def call(*values):
        for p, value in zip(parameters, values[len(inputs) :], strict=True):
            _replace(model, p, value)
        try:
            return model(*values[: len(inputs)])
        finally:
            for p, value in zip(parameters, values[len(inputs) :], strict=True):
                _replace(model, value, p)

    return Example(call, (*inputs, *(p.shape for p in parameters)))


def _replace(model, old, new):
    """Put the Tensor `new` where the module has `old` among its parameters."""
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is old:
                module._parameters[name] = new
