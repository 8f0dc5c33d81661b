"""README's table of speed, made from the files that the benchmarks wrote.

    python benchmarks/speed_table.py --results benchmarks/results --readme README.md

A row: the work, minigrad's time / PyTorch's in its better memory layout, what we hold it to, the peak memory of whole
processes likewise, and the script that measures it. Rows whose file is missing are left out.
"""
import argparse
import json
from pathlib import Path

import common

BEGIN, END = "<!-- speed: made by benchmarks/speed_table.py -->", "<!-- speed ends -->"
HEADER = "| work | time | aim | worst layer | memory | `python benchmarks/...` |\n|---|---|---|---|---|---|"
THREE = "3x3 of vgg16 and resnet18"
CONVOLUTIONS = {  # group of conv.json's summary, its column: what README calls it, the aim
    (THREE, "forward"): ("3x3 convolutions of VGG-16 and ResNet-18, forward", 0.65),
    (THREE, "sum"): ("the same, forward and both gradients", 0.70),
    ("all 3x3 strided", "sum"): ("3x3 convolutions of stride 2", 1.10),
    ("all 1x1", "sum"): ("1x1 convolutions", 1.10),
    ("all 1x1 strided", "sum"): ("1x1 convolutions of stride 2", 1.10),
    ("all 5x5/1", "sum"): ("5x5 convolutions", 1.10),
    ("all 7x7/2", "sum"): ("7x7 convolutions of stride 2, 3 channels", 1.10),
    ("all 11x11/4", "sum"): ("11x11 convolutions of stride 4, 3 channels", 1.10),
    ("all grouped", "sum"): ("grouped convolutions", 1.10),
    ("all depthwise", "sum"): ("depthwise 3x3 convolutions", 1.0),
}
STEPS = {  # name in train_step.json, without the batch: what README calls it, the aim
    "allcnn_c": ("All-CNN-C", 0.75),
    "allcnn_c_all": ("All-CNN-C, of convolutions only", 0.75),
    "resnet18_cifar": ("ResNet-18 for 32x32 images", 0.75),
    "vgg16": ("VGG-16", 0.70),
    "resnet50": ("ResNet-50", 1.0),
    "googlenet_2014": ("GoogLeNet", 1.0),
    "densenet121": ("DenseNet-121", 1.0),
    "convnet": ("the lecture's MNIST ConvNet", 1.0),
}
COLD = {"lenet5_modern": 12.0, "resnet18": 30.0}  # seconds
INFERENCE = {"vgg16": ("VGG-16", 0.75), "resnet18": ("ResNet-18", 0.9), "resnet50": ("ResNet-50", 1.0)}


def main(argv=None):
    """Print the table, or put it into README between its marks."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--results", type=Path, default=common.HERE / "results", help="folder of the JSON files")
    p.add_argument("--readme", type=Path, help="write it there instead of printing it")
    options = p.parse_args(argv)
    made = table(options.results)
    if options.readme:
        options.readme.write_text(replaced(options.readme.read_text(encoding="utf-8"), made), encoding="utf-8")
    else:
        print(made)


def replaced(text, made):
    """A README with this table between the marks. Raises ValueError where it has no marks."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"README has no lines {BEGIN} and {END}")
    return f"{text.partition(BEGIN)[0]}{BEGIN}\n{made}\n{END}{text.partition(END)[2]}"


def table(folder):
    """The table as Markdown, with a line about the machine."""
    documents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    rows = [row for name, make in ROWS.items() if name in documents for row in make(documents[name])]
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    machines = {common.describe(d["machine"]) for name, d in documents.items() if name in ROWS}
    dates = sorted({d["date"] for name, d in documents.items() if name in ROWS})
    return "\n".join([HEADER, *lines, "", f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on "
                      f"{' and '.join(sorted(machines))}."])


def convolutions(document):
    """Rows of conv.json: geometric means over layers, and the worst of them."""
    found = {line["group"]: line for line in document["summary"] if line["peer"] == "torch"}
    for (group, column), (work, aim) in CONVOLUTIONS.items():
        if group in found:
            worst = found[group]["worst"] if column == "sum" else None
            yield f"{work} ({found[group]['layers']})", found[group][column], aim, worst, None, "conv.py"


def steps(document):
    """Rows of train_step.json."""
    for result, work, batch, aim in _networks(document, STEPS):
        yield f"training step, {work}, {batch}", result["ratio"], aim, None, result["memory_ratio"], "train_step.py"


def inference(document):
    """Rows of inference.json."""
    for result, work, batch, aim in _networks(document, INFERENCE):
        yield f"inference, {work}, {batch}", result["ratio"], aim, None, result["memory_ratio"], "inference.py"


def _networks(document, known):
    for result in document["results"]:
        name, _, batch = result["name"].partition(", ")
        if name in known and result["ratio"]:
            yield result, known[name][0], batch, known[name][1]


def layers(document):
    """One row of layers.json: the mean and the worst."""
    ratios = [result["ratio"] for result in document["results"] if result["ratio"]]
    work = f"other layers and optimisers ({len(ratios)} cases)"
    yield work, common.geometric_mean(ratios), None, max(ratios), None, "layers.py"


def startup(document):
    """Rows of startup.json, in seconds."""
    for result in document["results"]:
        if result["side"] == "minigrad" and result["name"] in COLD:
            aim = {"cold": COLD[result["name"]], "warm": 1.5}[result["state"]]
            work = f"first training step of {result['name']} in a new process, {result['state']} cache"
            took = f"{result['seconds']['first']['median']:.2f} s"
            yield work, took, f"{aim:g} s", None, None, "startup.py"


ROWS = {"conv": convolutions, "train_step": steps, "inference": inference, "layers": layers, "startup": startup}


def _cell(value):
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
