"""What a network consists of: its layers, the shapes between them, and its parameters."""
from typing import NamedTuple

from ..creation import zeros
from ..modes import no_grad


class Row(NamedTuple):
    """One layer of a summary."""

    name: str
    kind: str
    output_shape: tuple
    parameters: int


def summary(module, input_shape):
    """The layers (modules without submodules) in the order in which they run on one input, as a list of Rows.

    input_shape: C x H x W; a batch of one is run in evaluation mode. A layer that runs twice has two rows; parameters
    count once. Of a layer with several outputs the first is shown.
    """
    rows, counted, handles = [], set(), []

    def record(name):
        def hook(layer, inputs, output):
            new = [p for p in layer.parameters() if id(p) not in counted]
            counted.update(map(id, new))
            first = output[0] if isinstance(output, tuple) else output
            rows.append(Row(name, type(layer).__name__, first.shape, sum(p.numel() for p in new)))

        return hook

    for name, layer in module.named_modules():
        if not list(layer.children()):
            handles.append(layer.register_forward_hook(record(name or type(layer).__name__)))
    modes = [(m, m.training) for m in module.modules()]
    try:
        with no_grad():
            module.eval()(zeros(1, *input_shape))
    finally:
        for handle in handles:
            handle.remove()
        for m, training in modes:
            object.__setattr__(m, "training", training)
    return rows


def format_summary(rows, total):
    """The rows as an aligned table with the total number of parameters below; shapes without the batch."""
    shapes = ["x".join(map(str, r.output_shape[1:])) for r in rows]
    cells = [("layer", "kind", "output", "parameters")]
    cells += [(r.name, r.kind, s, f"{r.parameters:,}") for r, s in zip(rows, shapes, strict=True)]
    cells.append(("total", "", "", f"{total:,}"))
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in cells]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
