"""All benchmarks, one after the other, and the table of README from their results.

    python benchmarks/run_all.py --peers torch
    python benchmarks/run_all.py --peers torch --out benchmarks/results --readme README.md --quick
    python benchmarks/run_all.py --peers torch --device cuda --out runs/gpu.json

--quick: fewer and shorter rounds. The scripts can be run alone, with more options (`python benchmarks/conv.py --help`).
On a GPU both precisions of float32 are measured, against PyTorch where it is installed; the sets are chosen to stay
below 8 minutes on an H100. All results go into one file, script by script, and gpu_table.py makes the table of it.
"""
import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import device
import gpu_table
import speed_table

SCRIPTS = ("startup", "data", "layers", "inference", "train_step", "conv")
PEERS = {"conv": common.PEERS, "data": ()}  # the others know PyTorch only
QUICK = {
    "startup": ["--rounds", "1"],
    "data": ["--rounds", "3", "--steps", "4"],
    "layers": ["--rounds", "3"],
    "inference": ["--rounds", "3"],
    "train_step": ["--rounds", "3"],
    "conv": ["--rounds", "3", "--seconds", "0.02", "--settle", "0.1", "--algorithms", "auto"],
}

# On a GPU: the scripts with the precision of float32, what matters most first, and their options.
ON_GPU = (
    ("conv", "strict"), ("train_step", "strict"), ("conv", "tf32"), ("train_step", "tf32"), ("layers", "strict"),
    ("inference", "strict"),
)
GPU = {
    "conv": ["--rounds", "5", "--seconds", "0.01", "--settle", "0", "--algorithms", "auto",
             "--shapes", "vgg16,resnet18,resnet50"],
    "train_step": ["--rounds", "5", "--seconds", "0.2", "--settle", "0", "--nets", "resnet18_cifar,convnet"],
    "layers": ["--rounds", "5", "--seconds", "0.01", "--settle", "0"],
    "inference": ["--rounds", "3", "--seconds", "0.1", "--settle", "0", "--nets", "resnet18", "--batches", "1,32"],
}


def main(argv=None):
    """Run the scripts; end with the status of the first that fails."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--peers", type=common.split, default=[], metavar="NAMES", help=f"of {','.join(common.PEERS)}")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run (default cpu)")
    p.add_argument("--out", type=Path, help="folder of results (runs/benchmarks); on cuda a file (runs/gpu.json)")
    p.add_argument("--only", type=common.split, metavar="NAMES", help=f"of {','.join(SCRIPTS)} (all)")
    p.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    p.add_argument("--readme", type=Path, help="put the table into this file, between its marks")
    options = p.parse_args(argv)
    missing = device.DEVICES[options.device].missing()
    if missing:
        p.error(missing)
    known = SCRIPTS if options.device == "cpu" else tuple(dict.fromkeys(name for name, _ in ON_GPU))
    names = common.choose(p, options.only, dict.fromkeys(known), "only")
    options.out = options.out or Path("runs/benchmarks" if options.device == "cpu" else "runs/gpu.json")
    if options.device == "cuda":
        gpu(names, options)
        return
    for name in names:
        run(arguments(name, options))
    speed_table.main(["--results", str(options.out), *(["--readme", str(options.readme)] if options.readme else [])])


def run(command):
    """Run a script; end with its status if it fails."""
    print(f"\n=== {' '.join(command)}", flush=True)
    before = time.perf_counter()
    done = subprocess.run([sys.executable, *command])
    if done.returncode:
        sys.exit(done.returncode)
    print(f"=== {Path(command[0]).stem}: {time.perf_counter() - before:.0f} s", flush=True)


def gpu(names, options):
    """Run the scripts on a GPU, write their results into one file after each, and print the table."""
    documents = {}
    if not options.peers and importlib.util.find_spec("torch"):
        options.peers = ["torch"]
    with tempfile.TemporaryDirectory() as folder:
        for name, precision in ON_GPU:
            if name in names:
                more = ["--device", "cuda", "--precision", precision, *GPU[name]]
                run([*arguments(name, options, folder), *more])
                text = (Path(folder) / f"{name}.json").read_text(encoding="utf-8")
                documents[f"{name} {precision}"] = json.loads(text)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {options.out}\n\n{gpu_table.table(documents)}")


def arguments(name, options, folder=None):
    """The command line of a script, after `python`. folder: for its results, if not options.out."""
    peers = [peer for peer in options.peers if peer in PEERS.get(name, ("torch",))]
    chosen = ["--peers", ",".join(peers)] if peers else []
    quick = QUICK[name] if options.quick else []
    return [str(common.HERE / f"{name}.py"), "--out", str(folder or options.out), *chosen, *quick]


if __name__ == "__main__":
    main()
