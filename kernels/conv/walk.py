"""Which input pixels each output pixel looks at, as a table: the part of a convolution that is not arithmetic.

A Walk is a grid of outputs and a list of taps. Output (i, j) of the grid sums, over the taps t, the input pixel
(i stride + dh[t], j stride + dw[t]) times the weights at kernel position order[t]; pixels outside the image are zeros.
Cross-correlation, true convolution (the same taps with the kernel positions backwards) and the input gradient are
walks, and nothing else about them differs. With stride s the input gradient is s x s walks, one for each phase of the
output: only every s-th tap meets it (Dumoulin & Visin 2016, section 4.5, without the inserted zeros).
"""
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .params import conv_output_shape


class Walk(NamedTuple):
    """Outputs `origin` + (i, j) `step` for i, j in range of `grid`; taps in the order of rows and columns."""

    grid: tuple[int, int]
    stride: tuple[int, int]  # input pixels from one output of the grid to the next
    dh: tuple[int, ...]
    dw: tuple[int, ...]
    order: tuple[int, ...]  # kernel position kh KW + kw of each tap
    origin: tuple[int, int] = (0, 0)
    step: tuple[int, int] = (1, 1)

    def span(self, axis):
        """(lowest, highest + 1) input row or column that any output sees."""
        d, last = (self.dh, self.dw)[axis], (self.grid[axis] - 1) * self.stride[axis]
        return min(d), last + max(d) + 1

    def inside(self, size):
        """Whether no output sees anything outside an image of H x W."""
        return all(low >= 0 and high <= n for (low, high), n in zip(map(self.span, (0, 1)), size, strict=True))

    def runs(self):
        """The taps as (dh, dw of the first, first tap, count) of neighbours in one row: they lie together in memory."""
        found = []
        for t, (h, w) in enumerate(zip(self.dh, self.dw, strict=True)):
            if found and found[-1][0] == h and found[-1][1] + found[-1][3] == w:
                found[-1][3] += 1
            else:
                found.append([h, w, t, 1])
        return [tuple(run) for run in found]


@lru_cache(256)
def forward_walk(x_shape, w_shape, p, flip=False):
    """The Walk of y = conv(x, w); flip: true convolution."""
    (top, _), (left, _) = p.padding
    kh, kw = w_shape[2:]
    taps = [
        (i * p.dilation[0] - top, j * p.dilation[1] - left, (kh - 1 - i) * kw + kw - 1 - j if flip else i * kw + j)
        for i in range(kh) for j in range(kw)
    ]
    return _walk(conv_output_shape(x_shape, w_shape, p)[2:], p.stride, taps)


@lru_cache(256)
def input_grad_walks(x_shape, w_shape, p, flip=False):
    """The Walks over gy that together make gx, a tuple; outputs that none of them reaches are zero."""
    kernel, stride = w_shape[2:], p.stride
    walks = []
    for a, b in np.ndindex(*stride):
        grid = tuple(-(-(n - o) // s) for n, o, s in zip(x_shape[2:], (a, b), stride, strict=True))
        sides = []  # for rows and for columns: (input pixel, kernel position) of the taps that meet this phase
        for o, s, k, d, (before, _) in zip((a, b), stride, kernel, p.dilation, p.padding, strict=True):
            sides.append([((o + before - i * d) // s, i) for i in range(k) if (o + before - i * d) % s == 0])
        taps = [
            (h, w, (kernel[0] - 1 - i) * kernel[1] + kernel[1] - 1 - j if flip else i * kernel[1] + j)
            for h, i in sides[0] for w, j in sides[1]
        ]
        if taps and min(grid) > 0:
            walks.append(_walk(grid, (1, 1), taps, (a, b), stride))
    return tuple(walks)


def _walk(grid, stride, taps, origin=(0, 0), step=(1, 1)):
    dh, dw, order = zip(*sorted(taps), strict=True)
    return Walk(tuple(grid), tuple(stride), dh, dw, order, tuple(origin), tuple(step))
