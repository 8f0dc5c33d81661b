"""Everything around the convolutions: batch norm, ReLU, pooling, linear, cross-entropy, and the optimisers' steps.

    python benchmarks/layers.py --peers torch
    python benchmarks/layers.py --peers torch --device cuda

Timed through each framework's layers and its autograd: the forward pass (recorded), and forward with backward. The
sizes are those of ResNets, VGG-16 and GoogLeNet and of small networks. PyTorch runs in both memory layouts, its
optimisers plain and fused; the fastest is the opponent.
"""
import common
import numpy as np
import pictures


def case(kind, x=None, **options):
    """A row of CASES: a layer of that name with these options, on an x of that shape."""
    return {"kind": kind, "x": x, "options": options}


def optimizer(kind, shapes, **options):
    """A row of CASES: a step over parameters of these shapes."""
    return {"kind": kind, "shapes": shapes, "options": options}


MEDIUM = [(512, 512, 3, 3), (512, 256, 3, 3), (1000, 512), (512,)] * 2  # 8.1 million parameters
SMALL = [(16, 16, 3, 3), (16,), (16,)] * 30  # many small ones: overhead
MOMENTUM = {"lr": 1e-9, "momentum": 0.9}
CASES = {
    "batch norm 8x64x56x56": case("BatchNorm2d", (8, 64, 56, 56), num_features=64),
    "batch norm 8x256x14x14": case("BatchNorm2d", (8, 256, 14, 14), num_features=256),
    "batch norm 32x64x32x32": case("BatchNorm2d", (32, 64, 32, 32), num_features=64),
    "relu 8x64x56x56": case("ReLU", (8, 64, 56, 56)),
    "relu 4x64x224x224": case("ReLU", (4, 64, 224, 224)),
    "max pool 2/2 4x64x224x224": case("MaxPool2d", (4, 64, 224, 224), kernel_size=2),
    "max pool 3/2 8x64x112x112": case("MaxPool2d", (8, 64, 112, 112), kernel_size=3, stride=2, padding=1),
    "max pool 3/1 8x480x14x14": case("MaxPool2d", (8, 480, 14, 14), kernel_size=3, stride=1, padding=1),
    "average pool 2/2 8x256x28x28": case("AvgPool2d", (8, 256, 28, 28), kernel_size=2),
    "global average 8x2048x7x7": case("AdaptiveAvgPool2d", (8, 2048, 7, 7), output_size=1),
    "linear 4x25088 -> 4096": case("Linear", (4, 25088), in_features=25088, out_features=4096),
    "linear 128x512 -> 1000": case("Linear", (128, 512), in_features=512, out_features=1000),
    "cross-entropy 128x1000": case("cross_entropy", (128, 1000)),
    "cross-entropy 128x10": case("cross_entropy", (128, 10)),
    "SGD, 8.1 million in 8": optimizer("SGD", MEDIUM, **MOMENTUM),
    "SGD, 70 thousand in 90": optimizer("SGD", SMALL, **MOMENTUM),
    "Adam, 8.1 million in 8": optimizer("Adam", MEDIUM, lr=1e-9),
    "Adam, 70 thousand in 90": optimizer("Adam", SMALL, lr=1e-9),
    "tiny relu": case("ReLU", (2, 4, 6, 6)),  # the last ones to try the script
    "tiny batch norm": case("BatchNorm2d", (2, 4, 6, 6), num_features=4),
    "tiny max pool": case("MaxPool2d", (2, 4, 6, 6), kernel_size=2),
    "tiny linear": case("Linear", (4, 6), in_features=6, out_features=5),
    "tiny cross-entropy": case("cross_entropy", (4, 5)),
    "tiny SGD": optimizer("SGD", [(2, 3), (4,)], **MOMENTUM),
    "tiny Adam": optimizer("Adam", [(2, 3), (4,)], lr=1e-9),
}


def main(argv=None):
    """Measure, print the table, write layers.json and its picture."""
    p = common.parser(__doc__.split("\n")[0], peers=("torch",), gpu=True)
    p.add_argument("--layers", type=common.split, metavar="WORDS", help="only those whose names start so")
    options = common.arguments(p, argv)
    cases = {name: row for name, row in CASES.items() if chosen(name, options.layers)}
    if not cases:
        p.error(f"--layers: nothing starts with {' or '.join(options.layers)}; there is {', '.join(CASES)}")
    load, results, lines = [common.warn_if_busy("at the start")], [], []
    with common.sides(["minigrad", *options.peers], options) as sides:
        for name, row in cases.items():
            found = measure(sides, options, row)
            results += [{"name": f"{name}, {part}", **values} for part, values in found.items()]
            lines += [line for part, values in found.items() for line in report(f"{name}, {part}", values)]
        descriptions = {name: side.description for name, side in sides.items()}
    common.table(["layer", "by", "ms (quartiles)", "ratio"], lines)
    ratios = [row["ratio"] for row in results if row["ratio"]]
    if ratios:
        print(f"\ngeometric mean of the ratios: {common.geometric_mean(ratios):.3g}")
    load.append(common.warn_if_busy("at the end"))
    stem = common.write(options, "layers", results, descriptions, load=load)
    pictures.ratios(results, stem, "layers: minigrad's time / PyTorch's fastest variant")


def chosen(name, words):
    """Whether a case is wanted: all but the tiny ones, or those that start so."""
    return name.startswith(tuple(words)) if words else not name.startswith("tiny")


def measure(sides, options, row):
    """{part: {"measured": {side: {variant: spread}}, "opponent", "ratio", "elements"}}."""
    entrants = []
    for name, side in sides.items():
        labels = side.ask("offer", "layer", row, () if name == "minigrad" else common.LAYOUTS)
        for variant in dict.fromkeys(label[0] for label in labels):
            entrants.append((name, side, [label for label in labels if label[0] == variant]))
    times = common.alternate(entrants, options.rounds, options.seconds, options.settle)
    found = {}
    for (name, (variant, part)), values in times.items():
        measured = found.setdefault(part, {"measured": {}})["measured"]
        measured.setdefault(name, {})[variant] = common.spread(values)
    for values in found.values():
        medians = {name: {v: t["median"] for v, t in sides.items()} for name, sides in values["measured"].items()}
        ours = medians.pop("minigrad")["minigrad"]
        theirs = medians.popitem()[1] if medians else {}
        values["elements"] = int(np.prod(row["x"])) if row.get("x") else sum(int(np.prod(s)) for s in row["shapes"])
        values["opponent"] = common.best(theirs)
        values["ratio"] = ours / min(theirs.values()) if theirs else None
    return found


def report(name, values):
    """Lines of the table for one part of a case."""
    for side, variants in values["measured"].items():
        for variant, times in variants.items():
            first = side != "minigrad" and variant == values["opponent"]
            label = side if variant == side else f"{side} {variant}"
            yield [name, label, common.milliseconds(times), values["ratio"] if first else None]


if __name__ == "__main__":
    common.script(main)
