"""Start-up: how long the import takes, and the first training step, with nothing compiled yet and the next time.

    python benchmarks/startup.py --peers torch

Every figure is of a new process. "cold": NUMBA_CACHE_DIR is a new, empty folder, so all loops are compiled; "warm": the
process after it, with the same folder. The first step includes building the network and the optimiser; "all" is the
whole process, from its start to the end of the step. The second step tells what the first would take without start-up.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

import common

NETS = {  # name: model, options, batch, image
    "lenet5_modern": ("lenet5_modern", {}, 32, (1, 32, 32)),
    "resnet18": ("resnet18", {}, 4, (3, 224, 224)),
    "tiny": ("convnet", {}, 2, (1, 28, 28)),  # to try the script
}


def main(argv=None):
    """Measure, print the table, write startup.json."""
    p = common.parser(__doc__.split("\n")[0], peers=("torch",), rounds=3)
    p.add_argument("--nets", type=common.split, metavar="NAMES", help=f"of {', '.join(NETS)} (all but tiny)")
    options = common.arguments(p, argv)
    nets = common.choose(p, options.nets or [name for name in NETS if name != "tiny"], NETS, "nets")
    load, results, lines, descriptions = [common.warn_if_busy("at the start")], [], [], {}
    for name, net in nets.items():
        samples = {}
        with tempfile.TemporaryDirectory() as folder:
            exported = export(net, folder, options) if options.peers else {}
            for i in range(options.rounds):
                cache = os.path.join(folder, f"cache{i}")
                for state in ("cold", "warm"):
                    samples.setdefault(("minigrad", state), []).append(child("minigrad", net, options, cache=cache))
                for peer in options.peers:
                    samples.setdefault((peer, "warm"), []).append(child(peer, net, options, **exported))
        for (side, state), found in samples.items():
            descriptions[side] = {"version": found[0]["version"]}
            values = {key: common.spread([s[key] for s in found]) for key in ("import", "first", "second", "all")}
            results.append({"name": name, "side": side, "state": state, "seconds": values})
            by = f"{side} {state}" if side == "minigrad" else side
            lines.append([name, by, *(values[key]["median"] for key in values)])
    common.table(["network", "by", "import s", "first step s", "second step s", "all s"], lines)
    load.append(common.warn_if_busy("at the end"))
    common.write(options, "startup", results, descriptions, load=load)


def given(net):
    """A row of NETS as the dict that the sides take."""
    model, extra, batch, image = net
    return {"model": model, "options": extra, "batch": batch, "image": image, "lr": 1e-4, "fused": False}


def export(net, folder, options):
    """What a peer needs to build the same network."""
    path = os.path.join(folder, "weights.npz")
    with common.Side("minigrad", options.threads) as side:
        return {"tree": side.ask("ask", "export", given(net), path)["tree"], "weights": path}


def child(side, net, options, cache=None, **exported):
    """{"import", "first", "second", "all", "version"} of a new process of this script."""
    variables = dict.fromkeys(common.THREAD_VARIABLES, str(options.threads))
    if cache:
        variables["NUMBA_CACHE_DIR"] = cache
    task = {"side": side, "threads": options.threads, "net": given(net), **exported}
    before = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--child"], input=json.dumps(task), capture_output=True, text=True,
        env={**os.environ, **variables},
    )
    total = time.perf_counter() - before
    if done.returncode:
        raise common.SideError(f"{side}: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "all": total - found["second"]}


def measure(task):
    """What the new process does: import, make a step, make another one."""
    start = time.perf_counter()
    __import__(task["side"])
    imported = time.perf_counter()
    side = __import__(f"side_{task['side']}")
    description = side.start(task["threads"])
    before = time.perf_counter()
    (step,) = side.train(task["net"], task.get("tree"), task.get("weights"), ("contiguous",)).values()
    step()
    first = time.perf_counter()
    step()
    second = time.perf_counter()
    times = {"import": imported - start, "first": first - before, "second": second - first}
    print(json.dumps({**times, "version": description["version"]}))


if __name__ == "__main__":
    if sys.argv[1:] == ["--child"]:
        measure(json.load(sys.stdin))
    else:
        common.script(main)
