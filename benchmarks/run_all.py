"""All benchmarks, one after the other, and the table of README from their results.

    python benchmarks/run_all.py --peers torch
    python benchmarks/run_all.py --peers torch --out benchmarks/results --readme README.md --quick

--quick: fewer and shorter rounds. The scripts can be run alone, with more options (`python benchmarks/conv.py --help`).
"""
import argparse
import subprocess
import sys
import time
from pathlib import Path

import common
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


def main(argv=None):
    """Run the scripts; end with the status of the first that fails."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--peers", type=common.split, default=[], metavar="NAMES", help=f"of {','.join(common.PEERS)}")
    p.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder for JSON and pictures")
    p.add_argument("--only", type=common.split, metavar="NAMES", help=f"of {','.join(SCRIPTS)} (all)")
    p.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    p.add_argument("--readme", type=Path, help="put the table into this file, between its marks")
    options = p.parse_args(argv)
    for name in common.choose(p, options.only, dict.fromkeys(SCRIPTS), "only"):
        command = arguments(name, options)
        print(f"\n=== {' '.join(command)}", flush=True)
        before = time.perf_counter()
        done = subprocess.run([sys.executable, *command])
        if done.returncode:
            sys.exit(done.returncode)
        print(f"=== {name}: {time.perf_counter() - before:.0f} s", flush=True)
    speed_table.main(["--results", str(options.out), *(["--readme", str(options.readme)] if options.readme else [])])


def arguments(name, options):
    """The command line of a script, after `python`."""
    peers = [peer for peer in options.peers if peer in PEERS.get(name, ("torch",))]
    chosen = ["--peers", ",".join(peers)] if peers else []
    quick = QUICK[name] if options.quick else []
    return [str(common.HERE / f"{name}.py"), "--out", str(options.out), *chosen, *quick]


if __name__ == "__main__":
    main()
