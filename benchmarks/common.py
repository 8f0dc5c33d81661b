"""The harness of the benchmarks: frameworks in turn, medians, tables, JSON.

Each framework ("side") lives in a process of its own (worker.py) and does something only while it is asked to; the
others wait on their pipes. The parent alternates between them round by round, because machines drift: what is compared
was measured within the same seconds. A figure is the median over the rounds, its spread the quartiles.
"""
import argparse
import contextlib
import importlib.util
import json
import math
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import device as devices

HERE = Path(__file__).parent
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "MINIGRAD_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUM_CPU_THREADS",
)
PEERS = devices.CPU.peers
BUSY = 0.1  # of all cores, by other programs: above it there is a warning
LAYOUTS = ("contiguous", "channels_last")  # of PyTorch; the better one is the opponent


class SideError(RuntimeError):
    """A request failed in a side's process; its text ends with the traceback there."""


class Side:
    """A framework in a process of its own. name: "minigrad", "torch" ...: that of a module side_NAME.py.

    device: a Device. `description` is what the side says of itself. A context manager.
    """

    def __init__(self, name, threads, device=devices.CPU):
        self.name = name
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads))
        strict = {"DNNL_DEFAULT_FPMATH_MODE": "STRICT", **device.environment()}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **variables, **strict},
        )
        try:
            self.description = self.ask("start", name, threads, device)
        except BaseException:
            self.close()
            raise

    def ask(self, request, *arguments):
        """Send a request of worker.py and wait for its answer. Raises SideError if it failed."""
        try:
            pickle.dump((request, arguments), self.process.stdin)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise SideError(f"{self.name}: the process ended with status {self.process.wait()}") from error
        if answer[0] == "error":
            raise SideError(f"{self.name}: {answer[1]}\n{answer[2]}")
        return answer[1]

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


@contextlib.contextmanager
def sides(names, options):
    """{name: Side} of all of these, started one after the other and ended together."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Side(name, options.threads, options.device)) for name in names}


def alternate(entrants, rounds, seconds, settle):
    """Times of all entrants, taken in turn: {(key, label): [seconds of a call in each round]}.

    entrants: (key, Side, labels); labels of one entrant run directly after each other. seconds: how long a label runs
    in a turn. settle: pause before each turn, in which the threads of the one before fall asleep. Every other round
    goes backwards. What runs before the first round is not counted: it compiles and warms up.
    """
    for _, side, labels in entrants:
        side.ask("turn", labels, 0)
        side.ask("turn", labels, seconds)
    times = {(key, label): [] for key, _, labels in entrants for label in labels}
    for i in range(rounds):
        for key, side, labels in entrants if i % 2 == 0 else entrants[::-1]:
            time.sleep(settle)
            for label, value in side.ask("turn", labels, seconds).items():
                times[key, label].append(value)
    return times


def peak(name, options, runs, function, *arguments):
    """{"peak", "growth"} in MiB of a fresh process that makes this work and runs all of it so many times.

    growth: what the work added to the memory of the process after it had imported the framework.
    """
    with Side(name, options.threads, options.device) as side:
        labels = side.ask("offer", function, *arguments)
        for _ in range(runs):
            side.ask("turn", labels, 0)
        total = side.ask("peak_memory")
        return {"peak": total, "growth": total - side.description["memory"]}


def spread(values):
    """{"median", "low", "high"}: the median and the quartiles."""
    if len(values) == 1:
        return dict.fromkeys(("median", "low", "high"), values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}


def geometric_mean(values):
    """The geometric mean of positive numbers, or None if there are none."""
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def best(candidates):
    """The name with the smallest value of {name: number or None}, or None."""
    known = {name: value for name, value in candidates.items() if value is not None}
    return min(known, key=known.get) if known else None


# --- the command line


def parser(description, peers=PEERS, rounds=7, seconds=0.05, gpu=False):
    """The options that all benchmarks share; gpu: those of one that runs on every device, too."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--threads", type=int, default=2, help="threads of each framework (default 2)")
    p.add_argument("--rounds", type=int, default=rounds, help=f"rounds to take the median of (default {rounds})")
    p.add_argument("--seconds", type=float, default=seconds, help=f"time for a function in a turn (default {seconds})")
    p.add_argument("--settle", type=float, default=0.2, help="pause before a turn, seconds (default 0.2)")
    p.add_argument("--peers", type=split, default=[], metavar="NAMES", help=f"compare with: {','.join(peers)}")
    p.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder for JSON and pictures")
    p.set_defaults(known_peers=peers, device="cpu", precision="strict")
    if gpu:
        p.add_argument("--device", choices=devices.DEVICES, help="where it runs (default cpu)")
        p.add_argument("--precision", choices=devices.PRECISIONS, help="of float32 products on cuda (default strict)")
    return p


def script(main):
    """Run a benchmark; what fails in the process of a side ends it with the traceback of there."""
    try:
        main()
    except SideError as error:
        sys.exit(str(error))


def split(text):
    """"a,b" -> ["a", "b"]."""
    return [part for part in text.split(",") if part]


def arguments(p, argv):
    """Parse, and end with a clear message where a peer or the device is missing, or a number makes no sense.

    options.device is a Device.
    """
    options = p.parse_args(argv)
    options.device = devices.DEVICES[options.device]._replace(precision=options.precision)
    if min(options.threads, options.rounds) < 1:
        p.error("--threads and --rounds must be at least 1")
    for name in options.peers:
        if name not in options.known_peers:
            p.error(f"--peers: unknown {name!r}; there is {', '.join(options.known_peers)}")
        if importlib.util.find_spec(name) is None:
            p.error(f"--peers: {name} is not installed for {sys.executable}; install it there, or leave it out")
        if options.device != devices.CPU and name not in options.device.peers:
            p.error(f"--peers: on {options.device.name} there is nothing to compare with called {name}")
    if options.device.missing():
        p.error(options.device.missing())
    return options


def choose(p, wanted, known, what):
    """The entries of the dict `known` with these names, in order; all for None. Ends with an error for others."""
    for name in wanted or ():
        if name not in known:
            p.error(f"--{what}: unknown {name!r}; there is {', '.join(known)}")
    return {name: known[name] for name in (wanted or known)}


# --- output


def table(header, rows):
    """Print an aligned table: the first column to the left, the others to the right; None is a dash."""
    cells = [header, *([cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]
    print("\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]]), flush=True)


def cell(value):
    """A value as a cell: three significant digits of a float."""
    if value is None:
        return "-"
    if isinstance(value, float):
        if value != 0 and abs(value) < 1e-3:
            return f"{value:.1e}"
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def milliseconds(times):
    """A spread of seconds as "median (low-high)" in milliseconds."""
    if times is None:
        return None
    digits = 3 if times["median"] < 0.01 else 1
    median, low, high = (f"{times[key] * 1e3:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low}-{high})"


def write(options, name, results, descriptions, **more):
    """Write NAME.json into options.out: the results, and what is needed to judge them. Returns the path's stem."""
    options.out.mkdir(parents=True, exist_ok=True)
    told = {key: v for key, v in vars(options).items() if key not in ("known_peers", "out", "device", "precision")}
    document = {
        "benchmark": name, "date": time.strftime("%Y-%m-%d"), "dtype": "float32", "options": told,
        "machine": machine(), **options.device.told(), "frameworks": descriptions, **more, "results": results,
    }
    path = options.out / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"\n{describe(document['machine'])}; {options.threads} threads a framework, {options.rounds} rounds")
    print(", ".join(f"{n} {d['version']}" for n, d in descriptions.items()))
    print(f"wrote {path}")
    return options.out / name


# --- the machine


def busy(seconds=0.5):
    """The share of all cores that is busy while this process sleeps so long; None where Linux does not tell."""
    def ticks():
        with open("/proc/stat", encoding="ascii") as lines:
            values = [int(v) for v in lines.readline().split()[1:9]]
        return sum(values), values[3] + values[4]

    try:
        before = ticks()
        time.sleep(seconds)
        total, idle = (b - a for a, b in zip(before, ticks(), strict=True))
    except OSError:
        return None
    return round(1 - idle / total, 3) if total else None


def warn_if_busy(when):
    """Measure what else runs on this machine, say so if it spoils the figures, and return it."""
    share = busy()
    if share is not None and share > BUSY:
        print(f"warning: other programs keep {share:.0%} of the cores busy {when}; loops that run in parallel and wait "
              "for each other, OpenMP's above all, then take many times as long", file=sys.stderr)
    return share


def machine():
    """What the machine is: processor, cores, caches, memory, system."""
    cpu = processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    return {
        "processor": cpu.get("model name") or platform.processor() or platform.machine(), "cores": cores,
        "vectors": [flag for flag in ("avx512f", "avx2", "fma", "asimd") if flag in cpu.get("flags", "").split()],
        "mhz": cpu.get("cpu MHz"), "caches": caches(), "memory_gib": memory and round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
    }


def processor():
    """{field: value} of the first processor in /proc/cpuinfo, empty where there is none."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in first.splitlines())}
    return {**fields, "flags": fields.get("flags", fields.get("Features", ""))}


def caches():
    """{"L1 Data": "48K", ...} of the first core, where Linux tells."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError):
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            found[f"L{level}" + ("" if kind == "Unified" else f" {kind}")] = size
    return found


def describe(computer):
    """A machine in one line."""
    sizes = ", ".join(f"{name} {size}" for name, size in computer["caches"].items())
    vectors = f" ({computer['vectors'][0]})" if computer["vectors"] else ""
    return f"{computer['processor']}{vectors}, {computer['cores']} cores, {sizes or 'caches unknown'}"
