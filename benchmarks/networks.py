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
def twin(net, peers, threads):
    """{peer: (tree, file of weights)} of a checked twin for each peer. Raises RuntimeError where they do not agree."""
    if not peers:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.npz")
        with common.Side("minigrad", threads) as side:
            ours = side.ask("ask", "export", net, path)
        for peer in peers:
            with common.Side(peer, threads) as side:
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
    process for each variant, after so many runs.
    """
    peers = [name for name in variants if name != "minigrad"]
    with twin(net, peers, options.threads) as made:
        given = {name: (net, *made.get(name, (None, None))) for name in variants}
        with common.sides(variants, options.threads) as sides:
            entrants = []
            for name, side in sides.items():
                labels = side.ask("offer", function, *given[name], variants[name])
                entrants += [(name, side, [label]) for label in labels]
            times = common.alternate(entrants, options.rounds, options.seconds, options.settle)
            descriptions = {name: side.description for name, side in sides.items()}
        found = {name: {} for name in variants}
        for (name, label), values in times.items():
            used = common.peak(name, options.threads, runs, function, *given[name], [label])
            found[name][label] = {"seconds": common.spread(values), "memory": used}
    return found, descriptions


def winner(variants, peer=None):
    """(name, seconds, memory) of the fastest variant: medians, and peak MiB."""
    name = min(variants, key=lambda v: variants[v]["seconds"]["median"])
    return name, variants[name]["seconds"]["median"], variants[name]["memory"]["peak"]


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
                ours[1] / seconds if first else None, f"{values['memory']['peak']:.0f} MiB",
                f"{values['memory']['growth']:.0f} MiB", ours[2] / memory if first else None,
            ])
    return lines


HEADER = ["network", "by", "ms (quartiles)", "time ratio", "peak memory", "growth", "memory ratio"]


def result(name, found):
    """A row of the JSON file."""
    row = {"name": name, "measured": found}
    for side in found:
        if side != "minigrad":
            ours, theirs = winner(found["minigrad"]), winner(found[side])
            row |= {"peer": side, "opponent": theirs[0]}
            row |= {"ratio": ours[1] / theirs[1], "memory_ratio": ours[2] / theirs[2]}
    return row
