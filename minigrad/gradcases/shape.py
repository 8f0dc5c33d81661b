"""Examples of reductions, changes of shape, indexing, changes in place and matrix products."""
import numpy as np

from .. import nn, ops
from .recipes import IMAGE, MASK, layer, on


def in_place(change):
    """A function that makes a change to a copy of its first input and uses the result."""

    def call(x, *others):
        y = x.clone()
        change(y, *others)
        return y * 2.0

    return call


CASES = {
    **{
        f.__name__: [
            on(f, (2, 3)), on(lambda x, f=f: f(x, 1), (2, 3, 2)),
            on(lambda x, f=f: f(x, (0, -1), keepdim=True), (2, 3, 2)),
        ]
        for f in (ops.sum, ops.mean, ops.var, ops.std, ops.amax, ops.amin, ops.logsumexp)
    },
    **{
        f.__name__: [
            on(f, (2, 3)), on(lambda x, f=f: f(x, 1).values, (2, 3, 2)),
            on(lambda x, f=f: f(x, -1, keepdim=True).values, (2, 3)),
        ]
        for f in (ops.max, ops.min)
    },
    "reshape": [on(lambda x: ops.reshape(x, 3, -1), (2, 6)), on(lambda x: ops.reshape(x, ()), (1, 1))],
    "permute": [on(lambda x: ops.permute(x, 2, 0, 1), (2, 3, 4))],
    "transpose": [on(lambda x: ops.transpose(x, 0, -1), (2, 3, 4))],
    "t": [on(ops.t, (2, 3))],
    "expand": [on(lambda x: ops.expand(x, 2, 3, 4), (3, 1)), on(lambda x: ops.expand(x, 3, -1), (1, 2))],
    "expand_as": [on(ops.expand_as, (1, 3), (2, 3))],
    "flatten": [on(lambda x: ops.flatten(x, 1), (2, 3, 2))],
    "squeeze": [on(lambda x: ops.squeeze(x, 1), (2, 1, 3))],
    "unsqueeze": [on(lambda x: ops.unsqueeze(x, 1), (2, 3))],
    "concatenate": [
        on(lambda *xs: ops.concatenate(xs, 1), (2, 1), (2, 3)), on(lambda *xs: ops.concatenate(xs), (2,), (2,)),
    ],
    "stack": [on(lambda *xs: ops.stack(xs, 1), (2, 3), (2, 3))],
    "split": [on(lambda x: ops.split(x, [1, 3], 1), (2, 4))],
    "chunk": [on(lambda x: ops.chunk(x, 2), (5, 2))],
    "flip": [on(lambda x: ops.flip(x, (0, 2)), (2, 2, 3))],
    "pad": [on(lambda x: ops.pad(x, (1, 2, 0, 1), value=3.0), (2, 2, 3))],
    "interpolate": [
        on(lambda x: ops.interpolate(x, (4, 7)), (2, 1, 3, 3)), on(lambda x: ops.interpolate(x, 2), (1, 2, 5, 3)),
        on(lambda x: ops.interpolate(x, scale_factor=(1.6, 2.0), mode="bilinear"), (2, 2, 3, 2)),
        on(lambda x: ops.interpolate(x, (3, 7), mode="bilinear", align_corners=True), (1, 2, 5, 4)),
        on(lambda x: ops.interpolate(x, (2, 3)) * x, (1, 2, 2, 3)),
    ],
    "nn.Upsample": [
        layer(lambda: nn.Upsample(scale_factor=2), (2, 2, 2, 3)),
        layer(lambda: nn.Upsample((3, 5), mode="bilinear"), (2, 2, 2, 4)),
    ],
    "nn.ZeroPad2d": [layer(lambda: nn.ZeroPad2d(1), (2, 1, 2, 3)), layer(lambda: nn.ZeroPad2d((1, -1, -2, 0)), IMAGE)],
    "nn.Identity": [layer(nn.Identity, (2, 3))],
    "getitem": [
        on(lambda x: x[1], (3, 2)), on(lambda x: x[..., ::-2], (2, 5)), on(lambda x: x[None, 1:, -1], (3, 4)),
        on(lambda x: x[MASK], (2, 3)), on(lambda x: x[[0, 2, 0, 0]], (3, 2)),
        on(lambda x: x[[1, 1], [0, 0]], (2, 3)), on(lambda x: x[[[0, 1], [1, 1]], :, 0], (2, 2, 2)),
    ],
    "gather": [on(lambda x: ops.gather(x, 1, np.array([[0, 0], [2, 1]])), (2, 3))],
    **{
        f"Tensor.{name}": [
            on(in_place(lambda y, v, name=name: getattr(y, name)(v)), (2, 3), (2, 3)),
            on(in_place(lambda y, v, name=name: getattr(y, name)(v)), (2, 3), (3,)),
        ]
        for name in ("add_", "sub_", "mul_", "div_", "copy_")
    },
    "Tensor.fill_": [on(lambda x: x * x.clone().fill_(2.0), (2, 3))],
    "Tensor.zero_": [on(lambda x: x + x.clone().zero_(), (2, 3))],
    "Tensor.__setitem__": [
        on(in_place(lambda y, v: y.__setitem__((slice(None), 1), v)), (2, 3), (2,)),
        on(in_place(lambda y, v: y.__setitem__(MASK, v)), (2, 3), (4,)),
    ],
    "matmul": [
        on(ops.matmul, (2, 3), (3, 4)), on(ops.matmul, (2, 2), (2, 2)), on(ops.matmul, (3,), (3,)),
        on(ops.matmul, (3,), (3, 2)), on(ops.matmul, (2, 3), (3,)), on(ops.matmul, (2, 2, 3), (3, 2)),
        on(ops.matmul, (2, 1, 2, 3), (2, 3, 2)), on(ops.matmul, (2,), (3, 2, 2)),
    ],
    "linear": [on(ops.linear, (2, 3), (4, 3), (4,)), on(ops.linear, (2, 2, 3), (2, 3))],
    "nn.Linear": [layer(lambda: nn.Linear(3, 2), (2, 3))],
    "nn.Flatten": [layer(nn.Flatten, (2, 2, 3))],
}
