"""The transforms of Winograd's algorithm as CUDA C: winograd_transforms.cuh is written by this, and not by hand.

    python -m minigrad.kernels.conv.winograd_transforms

The matrices are those of winograd_tile.py, so that CPU and GPU compute with the same ones; a test compares the file.
"""
from math import lcm
from pathlib import Path

from ..sandwich import numbers, transposed
from .winograd_tile import F2, F4

FILE = Path(__file__).with_name("winograd_transforms.cuh")
HEADER = """\
// Winograd's transforms along one axis: a matrix times d, for tiles of TILE x TILE outputs. Written by
// winograd_transforms.py from the matrices of winograd_tile.py (Lavin & Gray 2016, equations 6, 7 and 15).
#pragma once
"""


def text():
    """What the file should hold."""
    tiles = (f"\n#if TILE == {f.m}\n{''.join(_functions(f))}#endif\n" for f in (F2, F4))
    return HEADER + "".join(tiles)


def _functions(algorithm):
    yield _function("times_BT", "pixels of x under a tile", algorithm.BT)
    yield _function("times_G", "weights", algorithm.G)
    yield _function("times_AT", "sums to outputs", algorithm.AT)
    yield _function("times_A", "gradients of outputs", transposed(algorithm.AT))
    yield _function("times_GT", "sums to gradients of weights", transposed(algorithm.G))


def _function(name, what, matrix):
    """One transform: v = matrix times d."""
    rows = numbers(matrix)
    lines = "".join(f"    v[{i}] = {_sum(row)};\n" for i, row in enumerate(rows))
    given, made = len(rows[0]), len(rows)
    return f"// {what}\n__device__ inline void {name}(const A (&d)[{given}], A (&v)[{made}]) {{\n{lines}}}\n"


def _sum(row):
    """A row times d: [1/6, 0, -1/3] -> "(d[0] - 2 * d[2]) * ((A)1 / 6)"."""
    below = lcm(*(factor.denominator for factor in row))
    terms = [f"{factor * below} * d[{i}]" for i, factor in enumerate(row) if factor]
    total = " + ".join(terms).replace("+ -", "- ").replace("1 * ", "")
    if below == 1:
        return total
    return f"{f'({total})' if len(terms) > 1 else total} * ((A)1 / {below})"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
