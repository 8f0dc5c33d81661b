"""The text that is compiled for a kernel file: the types it computes with, device.cuh, its macros and the file itself.

One text, so that whoever caches compiled code by its source sees every change. `#line` keeps the names and line numbers
of the files, for error messages and debuggers. A kernel file may `#include "other.cuh"` from its folder, or from the
folder of kernels ("conv/tile.cuh"): such files are inserted where they are included first.
"""
import re
from functools import lru_cache
from pathlib import Path

KERNELS = Path(__file__).parent.parent
HERE = Path(__file__).parent
INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)
ENTRY = re.compile(r'^extern "C" __global__ void(?:\s+__launch_bounds__\([^)]*\))?\s+(\w+)\(', re.MULTILINE)

# dtype -> what arrays hold, what sums are kept in, the header of CUDA that has the former
TYPES = {
    "float32": ("float", "float", None),
    "float64": ("double", "double", None),
    "float16": ("__half", "float", "cuda_fp16.h"),
    "bfloat16": ("__nv_bfloat16", "float", "cuda_bf16.h"),
}
HEADERS = ("host_types.h", "host_fibers.h", "host_threads.h", "host.h")  # in this order


def device_source(file, dtype="float32", macros=()):
    """The text for NVRTC. file: a path, or one below kernels/ ("conv/direct.cu"); macros: pairs (name, value)."""
    header = TYPES[check_dtype(dtype)][2]
    return _text([f"#include <{header}>\n" if header else "", *_body(file, dtype, macros)])


def host_source(file, dtype="float32", macros=()):
    """The text for g++, with an entry for each kernel. Arguments as in `device_source`."""
    headers = [_inserted(HERE / name, set()) for name in HEADERS]
    entries = "".join(f"HOST_KERNEL({name})\n" for name in kernels(file))
    return _text(["#define MINIGRAD_HOST\n", *headers, *_body(file, check_dtype(dtype), macros), entries])


def kernels(file):
    """The names of the kernels in a file."""
    return tuple(ENTRY.findall(_read(KERNELS / file)))


def kernel_files():
    """Every kernel file there is, below kernels/: "conv/direct.cu" and so on."""
    return sorted(path.relative_to(KERNELS).as_posix() for path in KERNELS.rglob("*.cu"))


def variants(file):
    """[(dtype, macros)] in which a file is used: a line "// variants: float32 FLIP=0 | float32 FLIP=1" each says.

    A variant without a dtype stands for all of TYPES; a file without such a line has no macros.
    """
    lines = re.findall(r"^// variants: (.*)$", _read(KERNELS / file), re.MULTILINE) or [""]
    found = []
    for words in (variant.split() for line in lines for variant in line.split("|")):
        macros = tuple((name, int(value)) for name, _, value in (w.partition("=") for w in words if "=" in w))
        found += [(dtype, macros) for dtype in ([w for w in words if "=" not in w] or TYPES)]
    return found


def check_dtype(dtype):
    """The name of a dtype that kernels are made for. Raises TypeError for any other."""
    name = getattr(dtype, "name", dtype)
    if name not in TYPES:
        raise TypeError(f"CUDA kernels are made for {', '.join(TYPES)}; got {name}")
    return name


def accumulator(dtype):
    """The dtype in which kernels keep sums of `dtype`: that of floats among the arguments."""
    return {"float": "float32", "double": "float64"}[TYPES[check_dtype(dtype)][1]]


def _body(file, dtype, macros):
    storage, accumulator, _ = TYPES[dtype]
    yield f"typedef {storage} T;\ntypedef {accumulator} A;\n#define T_{dtype} 1\n"
    yield "".join(f"#define {name} {int(value)}\n" for name, value in macros)
    yield _inserted(HERE / "device.cuh", seen := set())
    yield _inserted(KERNELS / file, seen)


def _text(parts):
    return "".join(parts)


@lru_cache
def _read(path):
    return path.read_text(encoding="utf-8")


def _inserted(path, seen):
    """The text of a file, with the files that it includes; nothing if it is in `seen`."""
    if path in seen:
        return ""
    seen.add(path)
    text, done, pieces = _read(path).replace("#pragma once\n", "\n"), 0, [f'#line 1 "{path}"\n']
    for found in INCLUDE.finditer(text):
        other = next(p for p in (path.parent / found[1], KERNELS / found[1], HERE / found[1]) if p.exists())
        line = text.count("\n", 0, found.end()) + 2
        pieces += [text[done : found.start()], _inserted(other, seen), f'#line {line} "{path}"']
        done = found.end()
    return "".join([*pieces, text[done:], "\n"])
