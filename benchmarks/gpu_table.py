"""The table of a run on a GPU, made from the file that `run_all.py --device cuda` wrote.

    python benchmarks/gpu_table.py runs/gpu.json

A row: the work, the precision, minigrad's time / PyTorch's (cuDNN's) in its better memory layout, what we hold it to,
and, for convolutions, the worst layer and minigrad's rate / that of cuBLAS in the same run.
"""
import json
import sys
from pathlib import Path

import common

HEADER = "| work | precision | time | aim | worst layer | of cuBLAS |\n|---|---|---|---|---|---|"
THREE, ONE = "3x3 of vgg16 and resnet18", "1x1 of resnet50"
CONVOLUTIONS = {  # (group, column): name, {precision: aim}
    (THREE, "forward"): ("3x3 convolutions of VGG-16 and ResNet-18, forward", {"strict": 0.8, "tf32": 1.5}),
    (THREE, "sum"): ("the same, forward and both gradients", {"strict": 1.0, "tf32": 1.5}),
    (ONE, "sum"): ("1x1 convolutions of ResNet-50, forward and both gradients", {"strict": 1.0, "tf32": 1.2}),
}
PASSES = {"forward": ("forward",), "sum": ("forward", "grad_input", "grad_weight")}


def main(argv):
    """Print the table of a file."""
    print(table(json.loads(Path(argv[0]).read_text(encoding="utf-8"))))


def table(documents):
    """The table as Markdown. documents: {"conv strict": what conv.py wrote, ...}."""
    rows = []
    for name, document in documents.items():
        script, _, precision = name.partition(" ")
        rows += [(work, precision, *rest) for work, *rest in ROWS[script](document, precision)]
    lines = ["| " + " | ".join("" if v is None else common.cell(v) for v in row) + " |" for row in rows]
    gpus = sorted({d["frameworks"]["minigrad"].get("gpu", "unknown") for d in documents.values()})
    dates = sorted({d["date"] for d in documents.values()})
    return "\n".join([HEADER, *lines, "", f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on "
                      f"{' and '.join(gpus)}."])


def convolutions(document, precision):
    """Rows of conv.json."""
    for (group, column), (work, aims) in CONVOLUTIONS.items():
        members = [row for row in document["results"] if _belongs(row, group)]
        ratios = [r for r in (_ratio(row, PASSES[column]) for row in members) if r]
        if ratios:
            rates = [len(PASSES[column]) * row["flops"] / _fastest(row, "minigrad", PASSES[column]) / 1e9 / row["sgemm"]
                     for row in members]
            yield (f"{work} ({len(ratios)})", common.geometric_mean(ratios), aims[precision], max(ratios),
                   common.geometric_mean(rates))


def _belongs(row, group):
    if group == ONE:
        return row["set"] == "resnet50" and row["kind"] == "1x1"
    return row["set"] in ("vgg16", "resnet18") and row["kind"] == "3x3"


def _fastest(row, side, passes):
    """Seconds of a side's fastest variant for these passes together, or None."""
    sums = {}
    for r in row["results"]:
        if r["side"] == side and r["pass"] in passes:
            sums.setdefault(r["variant"], []).append(r["seconds"]["median"])
    return min((sum(times) for times in sums.values() if len(times) == len(passes)), default=None)


def _ratio(row, passes):
    ours, theirs = (_fastest(row, side, passes) for side in ("minigrad", "torch"))
    return ours / theirs if ours and theirs else None


def steps(document, precision):
    """Rows of train_step.json: against PyTorch as it is, and, for the small network, against its CUDA graph."""
    for result in document["results"]:
        measured = {side: {v: m["seconds"]["median"] for v, m in variants.items()}
                    for side, variants in result["measured"].items()}
        ours, theirs = min(measured["minigrad"].values()), measured.get("torch", {})
        eager = min((t for v, t in theirs.items() if v in common.LAYOUTS), default=None)
        graph = min((t for v, t in theirs.items() if v not in common.LAYOUTS), default=None)
        small = result["name"].startswith("convnet")
        aim, graph_aim = (0.4, 1.1) if small else ({"strict": 1.0, "tf32": 1.5}[precision], None)
        if eager:
            yield f"training step, {result['name']}, against eager PyTorch", ours / eager, aim, None, None
        if graph:
            yield f"training step, {result['name']}, against its CUDA graph", ours / graph, graph_aim, None, None


def whole(document, precision):
    """Rows of inference.json."""
    for result in document["results"]:
        if result.get("ratio"):
            yield f"inference, {result['name']}", result["ratio"], None, None, None


def layers(document, precision):
    """One row of layers.json: the mean and the worst."""
    ratios = [result["ratio"] for result in document["results"] if result["ratio"]]
    if ratios:
        work = f"other layers and optimisers ({len(ratios)} cases)"
        yield work, common.geometric_mean(ratios), None, max(ratios), None


ROWS = {"conv": convolutions, "train_step": steps, "inference": whole, "layers": layers}


if __name__ == "__main__":
    main(sys.argv[1:])
