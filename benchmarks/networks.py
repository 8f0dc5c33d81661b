"""What the benchmarks of whole networks share: the twin in PyTorch, made, checked, and then timed and weighed.

The twin has minigrad's weights. Before anything is timed, both must have equally many parameters and give the same
scores for the same two images: the largest difference must be below 1e-4 of the largest score.
"""
import contextlib
import tempfile
from pathlib import Path

import common
import numpy as np

TOLERANCE = 1e-4


@contextlib.contextmanager
def twin(net, peers, options):
    """{peer: (tree, file of weights)} of a checked twin for each peer. Raises RuntimeError where they do not agree."""
    if not peers:
        yield {}
        return
    strict = options.device._replace(precision="strict")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.npz")
        with common.Side("minigrad", options.threads, strict) as side:
            ours = side.ask("ask", "export", net, path)
        for peer in peers:
            with common.Side(peer, options.threads, strict) as side:
                compare(net["model"], peer, ours, side.ask("ask", "check", net, ours["tree"], path))
        yield dict.fromkeys(peers, (ours["tree"], path))


def compare(model, peer, ours, theirs):
    """RuntimeError unless parameters and scores are the same."""
    if ours["parameters"] != theirs["parameters"]:
        raise RuntimeError(f"{model}: {ours['parameters']} parameters, but {theirs['parameters']} in {peer}")
    error = np.abs(ours["scores"] - theirs["scores"]).max() / np.abs(ours["scores"]).max()
    if not error < TOLERANCE:
        raise RuntimeError(f"{model}: the scores differ from {peer}'s by {error:.1e} of the largest one")


def measure(options, function, net, variants, runs):
    """Time and weigh a network: {side: {variant: {"seconds": spread, "memory": {"peak", "growth"}}}}, and descriptions.

    function: "train" or "inference" of the sides. variants: {side: names}, minigrad's first. Memory is that of a fresh
    process for each variant, after so many runs; it is not measured on a GPU, where "memory" is None.
    """
    peers = [name for name in variants if name != "minigrad"]
    with twin(net, peers, options) as made:
        given = {name: (net, *made.get(name, (None, None))) for name in variants}
        with common.sides(variants, options) as sides:
            entrants = []
            for name, side in sides.items():
                labels = side.ask("offer", function, *given[name], variants[name])
                entrants += [(name, side, [label]) for label in labels]
            times = common.alternate(entrants, options.rounds, options.seconds, options.settle)
            descriptions = {name: side.description for name, side in sides.items()}
        found = {name: {} for name in variants}
        for (name, label), values in times.items():
            used = None
            if options.device.name != "cuda":
                used = common.peak(name, options, runs, function, *given[name], [label])
            found[name][label] = {"seconds": common.spread(values), "memory": used}
    return found, descriptions


def winner(variants, peer=None):
    """(name, seconds, memory) of the fastest variant: medians, and peak MiB or None."""
    name = min(variants, key=lambda v: variants[v]["seconds"]["median"])
    memory = variants[name]["memory"]
    return name, variants[name]["seconds"]["median"], memory and memory["peak"]


def rows(name, found):
    """Lines of a table: each variant, and the ratios of minigrad's best to those of each peer's best."""
    ours = winner(found["minigrad"])
    lines = []
    for side, variants in found.items():
        best, seconds, memory = winner(variants)
        for variant, values in variants.items():
            first = side != "minigrad" and variant == best
            lines.append([
                name, side if variant == side else f"{side} {variant}", common.milliseconds(values["seconds"]),
                ours[1] / seconds if first else None, *_mebibytes(values["memory"]),
                ours[2] / memory if first and memory else None,
            ])
    return lines


def _mebibytes(memory):
    return [memory and f"{memory[key]:.0f} MiB" for key in ("peak", "growth")]


HEADER = ["network", "by", "ms (quartiles)", "time ratio", "peak memory", "growth", "memory ratio"]


def result(name, found):
    """A row of the JSON file."""
    row = {"name": name, "measured": found}
    for side in found:
        if side != "minigrad":
            ours, theirs = winner(found["minigrad"]), winner(found[side])
            row |= {"peer": side, "opponent": theirs[0]}
            row |= {"ratio": ours[1] / theirs[1], "memory_ratio": theirs[2] and ours[2] / theirs[2]}
    return row
