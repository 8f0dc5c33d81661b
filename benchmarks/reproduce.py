"""Train recipes to their end, each in a process of its own, and write the table of results.

    python benchmarks/reproduce.py --data-root data --recipes convnet-mnist,nin-cifar10 --seeds 0,1,2 --peers torch \\
        --out benchmarks/results --readme README.md
    python benchmarks/reproduce.py --recipes none --out benchmarks/results --readme README.md    # the table alone

Results are added to reproduce.json in --out; a recipe trained again with the same seed on the same hardware replaces
its earlier one. reproduce.md there is the table, which README has between its marks. Options after -- go to
`minigrad train` (`-- --epochs 1 --limit 1000`); such results are kept, but stay out of the table. Times are those of
the epochs, with an evaluation after each. PyTorch's are measured by recipe_torch.py.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

import common

from minigrad.train import RECIPES

BEGIN, END = "<!-- results: made by benchmarks/reproduce.py -->", "<!-- results end -->"
HEADER = ("| recipe | source: accuracy, time | minigrad: accuracy | time | PyTorch: accuracy | time | ratio of times "
          "| seeds | on |\n|---|---|---|---|---|---|---|---|---|")
KEY = ("recipe", "framework", "seed", "hardware", "changed")  # what makes a result another one


def main(argv=None):
    """Train, write the results, the table, and README's."""
    options = arguments(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "reproduce.json"
    for seed in options.seeds:
        for name in options.recipes:
            for framework in ("minigrad", *options.peers):
                found = train(framework, name, seed, options)
                write(path, [*(row for row in read(path) if key(row) != key(found)), found])
                print(f"{name} by {framework}, seed {seed}: {found['accuracy']:.2%}, {minutes(found['seconds'])}\n",
                      flush=True)
    made = table(read(path))
    (options.out / "reproduce.md").write_text(made + "\n", encoding="utf-8")
    print(made)
    if options.readme:
        options.readme.write_text(replaced(options.readme.read_text(encoding="utf-8"), made), encoding="utf-8")


def arguments(argv):
    """The options; `more` are those after --."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--recipes", type=common.split, metavar="NAMES", help="see `minigrad recipes`; none for the table "
                   "alone", required=True)
    p.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0], metavar="NUMBERS")
    p.add_argument("--data-root", type=Path, help="where the data sets are")
    p.add_argument("--note", default="", help="said beside each result, as: JPEG copy of CIFAR-10")
    p.add_argument("--peers", type=common.split, default=[], metavar="NAMES", help="compare with: torch")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cpu", help="minigrad's device")
    p.add_argument("--runs", type=Path, default=Path("runs/reproduce"), help="folder for the run folders")
    p.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of reproduce.json")
    p.add_argument("--readme", type=Path, help="put the table into this file, between its marks")
    given = sys.argv[1:] if argv is None else list(argv)
    place = given.index("--") if "--" in given else len(given)
    options = p.parse_args(given[:place])
    options.more, options.known_peers = given[place + 1 :], ("torch",)
    options.recipes = [] if options.recipes == ["none"] else list(
        common.choose(p, options.recipes, RECIPES, "recipes"))
    common.choose(p, options.peers, dict.fromkeys(options.known_peers), "peers")
    return options


def train(framework, name, seed, options):
    """Train a recipe in a process of its own; returns a row of the results. Ends where the training fails."""
    shared = ["--seed", str(seed), *(["--data-root", str(options.data_root)] if options.data_root else [])]
    folder = options.runs / f"{name}-{seed}"
    if framework == "minigrad":
        command = ["-m", "minigrad", "train", "--recipe", name, *shared, "--out", str(folder), "--device",
                   options.device, *options.more]
    else:
        command = [str(common.HERE / f"recipe_{framework}.py"), name, *shared, "--threads", str(options.threads),
                   *options.more]
    print(f"=== {' '.join(command)}", flush=True)
    before = time.perf_counter()
    last = run([sys.executable, *command], options.threads)
    wall = time.perf_counter() - before
    found = read_history(folder / "history.csv") if framework == "minigrad" else json.loads(last)
    machine = common.machine()
    return {
        "recipe": name, "framework": framework, "seed": seed, "changed": " ".join(options.more),
        "hardware": hardware(options.device if framework == "minigrad" else "cpu", options.threads), **found,
        "wall": round(wall, 1), "note": options.note, "machine": common.describe(machine),
        "python": machine["python"], "date": time.strftime("%Y-%m-%d"),
    }


def run(command, threads):
    """Run a command with so many threads, showing what it prints; returns the last line. Ends where it fails."""
    variables = dict.fromkeys(common.THREAD_VARIABLES, str(threads))
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line
    if process.returncode:
        sys.exit(process.returncode)
    return last


def read_history(path):
    """{"accuracy", "seconds"} of a run of `minigrad train`."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {"accuracy": float(rows[-1]["test_accuracy"]), "seconds": sum(float(row["seconds"]) for row in rows)}


def hardware(device, threads):
    """What computes, in a word or two."""
    if device != "cuda":
        return f"{threads} CPU threads"
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


# --- results


def read(path):
    """The rows of a file of results; none if it is not there."""
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []


def write(path, rows):
    """Write rows in the order of the recipes."""
    order = list(RECIPES)
    rows = sorted(rows, key=lambda row: (order.index(row["recipe"]), row["framework"], row["seed"], row["changed"]))
    path.write_text(json.dumps({"benchmark": "reproduce", "results": rows}, indent=1) + "\n", encoding="utf-8")


def key(row):
    """What distinguishes a result."""
    return tuple(row[name] for name in KEY)


def replaced(text, made):
    """A README with this table between the marks. Raises ValueError where it has no marks."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"README has no lines {BEGIN} and {END}")
    return f"{text.partition(BEGIN)[0]}{BEGIN}\n{made}\n{END}{text.partition(END)[2]}"


def table(rows):
    """The table as Markdown: a row for each recipe and each hardware it was trained on, or "not yet run"."""
    rows = [row for row in rows if not row["changed"]]
    lines = []
    for name, recipe in RECIPES.items():
        own = [row for row in rows if row["recipe"] == name]
        told = ", ".join(filter(None, (recipe.accuracy is not None and f"{recipe.accuracy:.2f}%",
                                       recipe.minutes is not None and minutes(60 * recipe.minutes))))
        for place in dict.fromkeys(row["hardware"] for row in own if row["framework"] == "minigrad"):
            lines.append([f"`{name}`", told, *_measured(own, place), place])
        if not any(row["framework"] == "minigrad" for row in own):
            lines.append([f"`{name}`", told, "not yet run", *[""] * 6])
    text = [HEADER, *("| " + " | ".join(line) + " |" for line in lines)]
    if rows:
        dates = sorted({row["date"] for row in rows})
        text += ["", f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on "
                 f"{' and '.join(sorted({row['machine'] for row in rows}))}."]
    return "\n".join(text)


def _measured(rows, place):
    """Cells of a recipe: our accuracy and time, PyTorch's, the ratio of times, and the seeds."""
    ours, theirs = ([row for row in rows if row["framework"] == framework and row["hardware"] == place]
                    for framework in ("minigrad", "torch"))
    note = "".join(f" ({note})" for note in dict.fromkeys(row["note"] for row in ours) if note)
    cells = [accuracy(ours) + note, minutes(fmean(row["seconds"] for row in ours)), "", "", ""]
    if theirs:
        both = {row["seed"] for row in theirs}
        paired = [row["seconds"] for row in ours if row["seed"] in both]
        taken = fmean(row["seconds"] for row in theirs)
        cells[2:] = [accuracy(theirs), minutes(taken), f"{fmean(paired) / taken:.2f}" if paired else ""]
    return [*cells, ", ".join(str(row["seed"]) for row in ours)]


def accuracy(rows):
    """The mean accuracy, and its range where there are several."""
    values = [row["accuracy"] for row in rows]
    spread = f" ({100 * min(values):.2f} to {100 * max(values):.2f})" if len(values) > 1 else ""
    return f"{fmean(values):.2%}{spread}"


def minutes(seconds):
    """Seconds as "2.25 min"; hours from two on."""
    return f"{seconds / 60:.2f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


if __name__ == "__main__":
    main()
