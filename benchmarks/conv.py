"""Convolutions: every algorithm on the layers of well-known networks, forward and both gradients, against others.

    python benchmarks/conv.py --peers torch
    python benchmarks/conv.py --shapes vgg16,resnet18 --algorithms auto,winograd --passes forward
    python benchmarks/conv.py --device cuda --precision tf32 --peers torch

Effective GFLOP/s are 2 multiplications of the direct method / time, whatever an algorithm really multiplies. "of
SGEMM" is that rate / the rate of NumPy's float32 matrix product in the same rounds; on a GPU it is cuBLAS's, in the
same precision. The error is the largest difference from float64, relative to the largest element. A peer is represented
by its better variant (PyTorch: memory layout), separately for each pass and for their sum. Ratios are minigrad's time /
the peer's: below 1 minigrad is faster.
"""
import sys

import common
import pictures
import problems
import shapes

SLOW = ("reference", "im2col_whole")  # only when asked for
VARIANTS = {"torch": common.LAYOUTS, "jax": ("nhwc", "nchw"), "tinygrad": ("nchw",)}
PRODUCTS = {"numpy": "NumPy SGEMM", "cupy": "cuBLAS"}
BAR_SETS = ("vgg16", "resnet18")


def main(argv=None):
    """Measure, print tables, write conv.json and its pictures."""
    p = common.parser(__doc__.split("\n")[0], gpu=True)
    p.add_argument("--shapes", type=common.split, metavar="SETS", help=f"of {', '.join(shapes.SETS)} (all but tiny)")
    p.add_argument("--algorithms", type=common.split, metavar="NAMES", help="auto and rows of the table (default: all)")
    p.add_argument("--passes", type=common.split, metavar="NAMES", help=f"of {', '.join(problems.PASSES)} (all)")
    p.add_argument("--batch", type=int, help="images; default: that of each set")
    p.add_argument("--sgemm", type=int, help="size of the matrix product to compare with (2048, on cuda 8192)")
    p.add_argument("--no-errors", action="store_true", help="do not compare with float64")
    p.add_argument("--memory", action="store_true", help="peak memory too, each of a fresh process")
    options = common.arguments(p, argv)
    place, options.sgemm = options.device, options.sgemm or options.device.product
    wanted = options.shapes or [name for name in shapes.SETS if name != "tiny"]
    sets = common.choose(p, wanted, shapes.SETS, "shapes")
    passes = list(common.choose(p, options.passes, dict.fromkeys(problems.PASSES), "passes"))
    with common.sides([place.roofs, "minigrad", *options.peers], options) as sides:
        known = dict.fromkeys(sides["minigrad"].ask("ask", "algorithms"))
        algorithms = list(common.choose(p, options.algorithms, known, "algorithms"))
        if not options.algorithms:
            algorithms = [name for name in algorithms if name not in SLOW]
        sides[place.roofs].ask("offer", "machine", options.sgemm)
        load, rows = [common.warn_if_busy("at the start")], []
        for name, (batch, layers) in sets.items():
            print(f"\n{name}")
            size = options.batch or place.batch or batch
            measured = [measure(sides, options, algorithms, passes, layer, size) for layer in layers]
            rows += [{"set": name, **row} for row in measured]
            report(measured, options.peers, passes)
        copied = sides[place.roofs].ask("ask", "copied")
        descriptions = {name: side.description for name, side in sides.items()}
    load.append(common.warn_if_busy("at the end"))
    summary = summarise(rows, options.peers, passes)
    print_summary(summary)
    roofs = {
        "sgemm": common.spread([row["sgemm"] for row in rows])["median"],
        "copy": copied / common.spread([row["copy"] for row in rows])["median"] / 1e9,
    }
    stem = common.write(options, "conv", rows, descriptions, load=load, summary=summary, roofs=roofs)
    pictures.conv(rows, options.peers, passes, roofs, stem, PRODUCTS[place.roofs])


def measure(sides, options, algorithms, passes, layer, batch):
    """Everything about one layer, as a row of the JSON file."""
    spec = shapes.spec(layer, batch)
    if sys.stderr.isatty():
        print(f"  {shapes.name(layer, batch)} ...", end="\r", file=sys.stderr, flush=True)
    machine = options.device.roofs
    entrants, errors, memory = [(machine, sides[machine], ["sgemm", "copy"])], {}, {}
    for name, side in sides.items():
        if name == machine:
            continue
        variants = algorithms if name == "minigrad" else VARIANTS[name]
        labels = side.ask("offer", "conv", spec, variants, passes)
        if not options.no_errors:
            errors.update({(name, *label): e for label, e in side.ask("errors", spec).items()})
        for variant in dict.fromkeys(label[0] for label in labels):
            entrants.append((name, side, [label for label in labels if label[0] == variant]))
            if options.memory:
                memory[f"{name} {variant}"] = common.peak(name, options, 2, "conv", spec, [variant], passes)
    times = common.alternate(entrants, options.rounds, options.seconds, options.settle)
    for name, side in sides.items():
        if name != machine:
            side.ask("close")
    flops, auto = 2 * problems.macs(spec), sides["minigrad"].ask("ask", "chosen", spec)
    results = []
    for (name, label), values in times.items():
        if name != machine:
            seconds = common.spread(values)
            error = errors.get((name, *label))
            results.append({
                "side": name, "variant": label[0], "pass": label[1], "seconds": seconds,
                "gflops": flops / seconds["median"] / 1e9, "error": error,
            })
    return {
        "layer": shapes.name(layer, batch), "kind": shapes.kind(layer), "count": layer.count, "spec": spec,
        "flops": flops, "bytes": problems.traffic(spec), "auto": auto, "memory": memory,
        "sgemm": 2 * options.sgemm**3 / common.spread(times[machine, "sgemm"])["median"] / 1e9,
        "copy": common.spread(times[machine, "copy"])["median"], "results": results,
    }


def seconds(row, side, which):
    """{variant: median seconds} of a side, for a pass or, with a list of passes, their sum."""
    which = [which] if isinstance(which, str) else which
    found = {}
    for r in row["results"]:
        if r["side"] == side and r["pass"] in which:
            found.setdefault(r["variant"], []).append(r["seconds"]["median"])
    return {variant: sum(values) for variant, values in found.items() if len(values) == len(which)}


def ours(row, which):
    """minigrad's seconds: those of "auto", or of the fastest algorithm where "auto" was not measured."""
    found = seconds(row, "minigrad", which)
    return found["auto"] if "auto" in found else min(found.values(), default=None)


def ratio(row, peer, which):
    """minigrad's time / the time of the peer's better variant. None where one is missing."""
    theirs, mine = seconds(row, peer, which), ours(row, which)
    return mine / min(theirs.values()) if theirs and mine else None


def gflops(row, which):
    """minigrad's effective GFLOP/s for a pass, or None."""
    mine = ours(row, which)
    return row["flops"] / mine / 1e9 if mine else None


def report(rows, peers, passes):
    """Print a set: one line for each layer, pass and variant."""
    header = ["layer, kernel/stride", "pass", "by", "ms (quartiles)", "GFLOP/s", "of SGEMM", "error"]
    lines = []
    for row in rows:
        for r in sorted(row["results"], key=lambda r: (passes.index(r["pass"]), r["side"] != "minigrad")):
            auto = f" = {row['auto']}" if r["variant"] == "auto" else ""
            lines.append([
                row["layer"], r["pass"], f"{r['side']} {r['variant']}{auto}", common.milliseconds(r["seconds"]),
                r["gflops"], r["gflops"] / row["sgemm"], r["error"],
            ])
        for name, used in row["memory"].items():
            lines.append([row["layer"], "peak memory", name, f"{used['peak']:.0f} MiB", None, None, None])
    common.table(header, lines)
    if peers:
        print()
        header = ["minigrad / peer", "peer", *passes, "sum", "opponent"]
        common.table(header, [
            [row["layer"], peer, *(ratio(row, peer, which) for which in passes), ratio(row, peer, passes),
             common.best(seconds(row, peer, passes))]
            for row in rows for peer in peers
        ])


def summarise(rows, peers, passes):
    """[{"group", "peer", "layers", pass: geometric mean of ratios, ..., "sum", "worst"}], by set and by kind."""
    groups = {}
    for row in rows:
        groups.setdefault(row["set"], []).append(row)
        groups.setdefault(f"all {row['kind']}", []).append(row)
        if row["set"] in BAR_SETS and row["kind"] == "3x3":
            groups.setdefault(f"3x3 of {' and '.join(BAR_SETS)}", []).append(row)
    lines = []
    for group, members in groups.items():
        for peer in peers:
            means = {which: known_mean(ratio(row, peer, which) for row in members) for which in passes}
            sums = [r for r in (ratio(row, peer, passes) for row in members) if r is not None]
            lines.append({
                "group": group, "peer": peer, "layers": len(members), **means, "sum": common.geometric_mean(sums),
                "worst": max(sums, default=None),
            })
        if not peers:
            rates = {w: known_mean(gflops(row, w) for row in members) for w in passes}
            lines.append({"group": group, "peer": "GFLOP/s", "layers": len(members), **rates})
    return lines


def known_mean(values):
    """The geometric mean of those that are not None."""
    return common.geometric_mean(value for value in values if value is not None)


def print_summary(summary):
    """The geometric means as a table."""
    print("\ngeometric means" + (" of minigrad / peer" if summary[0]["peer"] != "GFLOP/s" else " of GFLOP/s"))
    header = list(summary[0])
    common.table(header, [[line[name] for name in header] for line in summary])


if __name__ == "__main__":
    common.script(main)
