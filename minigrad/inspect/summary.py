"""What a network consists of: its layers, the shapes between them, its parameters and its multiplications.

The shapes come from running the network on a batch of no images: every layer answers with the shape it would have, and
nothing is computed. So a summary needs neither the activations nor the time of a forward pass.
"""
import math
from typing import NamedTuple

from .. import nn
from ..creation import zeros
from ..modes import no_grad


class Row(NamedTuple):
    """One layer of a summary."""

    name: str
    kind: str
    output_shape: tuple  # of one image: C x OH x OW, or C
    parameters: int  # that no earlier row has counted
    multiplications: int  # for one image; biases, normalisation, activations and pooling not counted


def summary(module, input_shape):
    """The layers (modules without submodules) in the order in which they run on one input, as a list of Rows.

    input_shape: C x H x W. Runs in evaluation mode; what runs only in training (auxiliary heads) has no row. A layer
    that runs twice has two rows; parameters count once. Of a layer with several outputs the first is shown. A module
    with submodules and parameters of its own has a row for these, after those of its submodules.
    """
    rows, counted, handles = [], set(), []

    def record(name):
        def hook(layer, inputs, output):
            new = [p for p in layer._parameters.values() if p is not None and id(p) not in counted]
            counted.update(map(id, new))
            shape = (output[0] if isinstance(output, tuple) else output).shape[1:]
            count = multiplications(layer, inputs[0].shape[1:], shape)
            rows.append(Row(name, type(layer).__name__, shape, sum(p.numel() for p in new), count))

        return hook

    for name, layer in module.named_modules():
        if layer._parameters or not list(layer.children()):
            handles.append(layer.register_forward_hook(record(name or type(layer).__name__)))
    modes = [(m, m.training) for m in module.modules()]
    device = next((p.device for p in module.parameters()), "cpu")
    try:
        with no_grad():
            module.eval()(zeros(0, *input_shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
        for m, training in modes:
            object.__setattr__(m, "training", training)
    return rows


def multiplications(layer, input_shape, output_shape):
    """How often a layer multiplies an activation with a weight, for one image: the papers' "multiply-adds".

    A layer of another kind says it itself, in a method of that name: multiplications(input_shape, output_shape).
    """
    if hasattr(layer, "multiplications"):
        return layer.multiplications(input_shape, output_shape)
    weight = getattr(layer, "weight", None)
    if isinstance(layer, (nn.Conv2d, nn.Conv1d, nn.Linear)):
        return math.prod(output_shape) * math.prod(weight.shape[1:])
    if isinstance(layer, nn.ConvTranspose2d):
        return math.prod(input_shape) * math.prod(weight.shape[1:])
    return 0


def format_summary(rows, total):
    """The rows as an aligned table with the sums below. total: the network's parameters, which may be more than ran."""
    cells = [("layer", "kind", "output", "parameters", "multiplications")]
    for r in rows:
        shape = "x".join(map(str, r.output_shape))
        cells.append((r.name, r.kind, shape, f"{r.parameters:,}", f"{r.multiplications:,}"))
    unseen = total - sum(r.parameters for r in rows)
    if unseen:
        cells.append(("(in no layer that ran)", "", "", f"{unseen:,}", ""))
    cells.append(("total", "", "", f"{total:,}", f"{sum(r.multiplications for r in rows):,}"))
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = ["  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in cells]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
