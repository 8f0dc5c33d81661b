"""The examples of the gradient-check suite: for each operation or layer, functions and inputs to differentiate.

An example is a function and the inputs it is called with, given as shapes or recipes. Kinks and ties are kept away on
purpose: ordinary values are at least 0.1 from 0 and from each other, so that a step of 1e-6 crosses nothing.
"""
from typing import NamedTuple

import numpy as np

from minigrad.kernels import conv
from minigrad.kernels.pool import pool_params

from . import device, nn, ops
from .ops.pool import MaxPool2d, MaxPool2dGather
from .tensor import Tensor


class Example(NamedTuple):
    """A function and a recipe for each of its inputs: a shape, or (kind, shape) with a kind of KINDS."""

    function: object
    inputs: tuple
    eps: float = 1e-6  # the step of the finite differences


def spread(rng, shape):
    """Distinct values from -2 to 2, none near 0, in random order; two calls have no value in common."""
    n = int(np.prod(shape))
    values = np.linspace(0.1, 1.9, max(n, 1))[:n] + rng.uniform(0.0, 0.05)
    return rng.permutation(values * np.where(np.arange(n) % 2, 1.0, -1.0)).reshape(shape)


KINDS = {
    "spread": spread,
    "positive": lambda rng, shape: np.abs(spread(rng, shape)) + 0.2,
    "dyadic": lambda rng, shape: rng.integers(-9, 10, shape) / 4,  # exact in float32, as are sums and halves
    "probabilities": lambda rng, shape: rng.dirichlet(np.ones(shape[1]), shape[0]),
}


def fresh_inputs(example):
    """New float64 Tensors for one example; the same values each time."""
    rng = np.random.default_rng(0)
    recipes = [("spread", i) if not i or not isinstance(i[0], str) else i for i in example.inputs]
    return [Tensor(KINDS[kind](rng, shape), requires_grad=True) for kind, shape in recipes]


def on(function, *inputs):
    """An Example; `inputs` are shapes or (kind, shape)."""
    return Example(function, inputs)


def seeded(function):
    """The function with the random generator set to the same state before each call, for dropout."""

    def call(*inputs):
        device.manual_seed(3)
        return function(*inputs)

    return call


def layer(make, *inputs, train=True):
    """An Example of a layer: its parameters are inputs as well. inputs: recipes for what forward takes."""
    model = make().double().train(train)
    parameters = list(model.parameters())

    def call(*values):
        for p, value in zip(parameters, values[len(inputs) :], strict=True):
            _replace(model, p, value)
        try:
            return model(*values[: len(inputs)])
        finally:
            for p, value in zip(parameters, values[len(inputs) :], strict=True):
                _replace(model, value, p)

    return Example(call, (*inputs, *(p.shape for p in parameters)))


def _replace(model, old, new):
    """Put the Tensor `new` where the module has `old` among its parameters."""
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is old:
                module._parameters[name] = new


def conv_examples(algorithm, convolve=ops.conv2d):
    """Convolutions that between them use every parameter, for one algorithm."""
    settings = [
        ((2, 2, 4, 4), (3, 2, 3, 3), {}),
        ((1, 2, 5, 4), (2, 2, 2, 3), {"stride": (2, 1), "padding": ((1, 0), (0, 2))}),
        ((1, 4, 5, 5), (4, 2, 2, 2), {"groups": 2, "dilation": 2, "padding": 1}),
        ((2, 3, 4, 4), (3, 1, 3, 3), {"groups": 3, "padding": "same"}),
        ((2, 3, 3, 3), (2, 3, 1, 1), {"stride": 2}),
    ]
    return [
        on(lambda x, w, b, kw=kw: convolve(x, w, b, algorithm=algorithm, **kw), x, w, (w[0],)) for x, w, kw in settings
    ]


LABELS = np.array([2, 0, 1])
MASK = np.array([[True, False, True], [False, True, True]])
IMAGE = (2, 2, 5, 4)


def in_place(change):
    """A function that makes a change to a copy of its first input and uses the result."""

    def call(x, *others):
        y = x.clone()
        change(y, *others)
        return y * 2.0

    return call


def max_pool_gather(x):
    """The elements at fixed positions: a Function that otherwise occurs in second derivatives only."""
    f = MaxPool2d(p=pool_params(x.shape, 2))
    f(Tensor(spread(np.random.default_rng(1), x.shape)))
    return MaxPool2dGather(p=f.p, index=f.index, x_shape=x.shape)(x)


# Public functions of `ops` without a gradient
NOT_DIFFERENTIABLE = {
    "all", "any", "argmax", "argmin", "bitwise_and", "bitwise_not", "bitwise_or", "conv_algorithm", "eq",
    "floor_divide", "ge", "gt", "isfinite", "isnan", "le", "logical_and", "logical_not", "logical_or", "lt", "ne",
    "remainder", "result_dtype", "sign",
}

CASES = {
    # arithmetic
    **{
        f.__name__: [on(f, (2, 3), (2, 3)), on(f, (2, 1, 3), (4, 1)), on(f, (), (3,))]
        for f in (ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.minimum)
    },
    "neg": [on(ops.neg, (2, 3))],
    "pow": [
        on(ops.pow, ("positive", (2, 3)), (2, 3)),
        on(ops.pow, ("positive", (3,)), (2, 1)),
        *(on(lambda x, n=n: x**n, (2, 3)) for n in (0, 1, 2, 3, -1)),
        on(lambda x: x**0.5, ("positive", (4,))),
        on(lambda x: 2.0**x, (4,)),
    ],
    # elementary functions
    **{f.__name__: [on(f, (2, 3)), on(f, ())] for f in (ops.exp, ops.absolute, ops.tanh, ops.sigmoid, ops.clone)},
    **{f.__name__: [on(f, ("positive", (2, 3))), on(f, ("positive", ()))] for f in (ops.log, ops.sqrt)},
    "astype": [
        Example(lambda x: ops.astype(ops.astype(x, "float32") * 2.0, "float64"), (("dyadic", (2, 3)),), eps=0.25),
    ],
    "where": [on(lambda a, b: ops.where(MASK, a, b), (2, 3), (2, 3)), on(lambda a, b: ops.where(MASK, a, b), (3,), ())],
    "clip": [
        on(lambda x: ops.clip(x, -0.75, 0.93), (2, 3)), on(lambda x: ops.clip(x, min=0.01), (2, 3)),
        on(lambda x: ops.clip(x, max=0.01), (2, 3)),
    ],
    # activations
    **{f.__name__: [on(f, (2, 3))] for f in (ops.relu, ops.leaky_relu, ops.elu, ops.silu, ops.softplus)},
    "softmax": [on(ops.softmax, (2, 3)), on(lambda x: ops.softmax(x, 0), (3, 2, 2))],
    "log_softmax": [on(ops.log_softmax, (2, 3)), on(lambda x: ops.log_softmax(x, 1), (2, 3, 2))],
    # reductions
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
    # shape
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
    "getitem": [
        on(lambda x: x[1], (3, 2)), on(lambda x: x[..., ::-2], (2, 5)), on(lambda x: x[None, 1:, -1], (3, 4)),
        on(lambda x: x[MASK], (2, 3)), on(lambda x: x[[0, 2, 0, 0]], (3, 2)),
        on(lambda x: x[[1, 1], [0, 0]], (2, 3)), on(lambda x: x[[[0, 1], [1, 1]], :, 0], (2, 2, 2)),
    ],
    "gather": [on(lambda x: ops.gather(x, 1, np.array([[0, 0], [2, 1]])), (2, 3))],
    # in place
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
    # linear algebra
    "matmul": [
        on(ops.matmul, (2, 3), (3, 4)), on(ops.matmul, (2, 2), (2, 2)), on(ops.matmul, (3,), (3,)),
        on(ops.matmul, (3,), (3, 2)), on(ops.matmul, (2, 3), (3,)), on(ops.matmul, (2, 2, 3), (3, 2)),
        on(ops.matmul, (2, 1, 2, 3), (2, 3, 2)), on(ops.matmul, (2,), (3, 2, 2)),
    ],
    "linear": [on(ops.linear, (2, 3), (4, 3), (4,)), on(ops.linear, (2, 2, 3), (2, 3))],
    # convolution
    "conv2d": conv_examples("auto"),
    "convolve2d": [*conv_examples("auto", ops.convolve2d), *conv_examples("im2col", ops.convolve2d)],
    "conv_transpose2d": [
        on(ops.conv_transpose2d, (2, 2, 3, 3), (2, 3, 2, 2), (3,)),
        on(
            lambda x, w, b: ops.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
            (1, 4, 3, 3), (4, 1, 2, 2), (2,),
        ),
    ],
    **{
        f"conv2d[{algorithm}, {where}]": conv_examples(
            algorithm, ops.convolve2d if algorithm == "flipped" else ops.conv2d
        )
        for algorithm, where in conv.TABLE if where == "cpu"
    },
    # pooling
    "max_pool2d": [
        on(lambda x: ops.max_pool2d(x, 2), IMAGE),
        on(lambda x: ops.max_pool2d(x, (3, 2), stride=1, padding=1, dilation=(1, 2), ceil_mode=True), IMAGE),
        on(max_pool_gather, IMAGE),
    ],
    "avg_pool2d": [
        on(lambda x: ops.avg_pool2d(x, 2), IMAGE),
        on(lambda x: ops.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    ],
    "adaptive_avg_pool2d": [on(lambda x: ops.adaptive_avg_pool2d(x, (3, 2)), IMAGE)],
    "global_avg_pool2d": [on(ops.global_avg_pool2d, IMAGE)],
    # normalisation, dropout, losses
    "batch_norm": [
        on(lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True), (3, 2, 2, 2), (2,), (2,)),
        on(
            lambda x, w, b: ops.batch_norm(x, Tensor([0.1, 0.2], "float64"), Tensor([1.0, 2.0], "float64"), w, b),
            (3, 2), (2,), (2,),
        ),
    ],
    "dropout": [on(seeded(lambda x: ops.dropout(x, 0.4)), (3, 4))],
    "dropout2d": [on(seeded(lambda x: ops.dropout2d(x, 0.4)), (2, 3, 2, 2))],
    "cross_entropy": [
        on(lambda x: ops.cross_entropy(x, LABELS), (3, 4)),
        on(lambda x: ops.cross_entropy(x, LABELS, reduction="none", label_smoothing=0.1), (3, 4)),
        on(lambda x: ops.cross_entropy(x, LABELS, Tensor([0.5, 1.0, 2.0], "float64"), ignore_index=0), (3, 3)),
        on(lambda x, p: ops.cross_entropy(x, p, label_smoothing=0.2), (3, 4), ("probabilities", (3, 4))),
        on(lambda x: ops.cross_entropy(x, np.array([[0, 1], [2, 2]]), reduction="sum"), (2, 3, 2)),
    ],
    # layers
    "nn.Conv2d": [
        layer(lambda: nn.Conv2d(2, 2, 3, padding=1), IMAGE),
        layer(lambda: nn.Conv2d(2, 4, 2, stride=2, groups=2, bias=False, flip=True), IMAGE),
    ],
    "nn.Linear": [layer(lambda: nn.Linear(3, 2), (2, 3))],
    "nn.BatchNorm2d": [
        layer(lambda: nn.BatchNorm2d(2), (2, 2, 3, 2)),
        layer(lambda: nn.BatchNorm2d(2), (2, 2, 3, 2), train=False),
        layer(lambda: nn.BatchNorm2d(2, affine=False, track_running_stats=False), (2, 2, 3, 2), train=False),
    ],
    "nn.ReLU": [layer(nn.ReLU, (2, 3))],
    "nn.Tanh": [layer(nn.Tanh, (2, 3))],
    "nn.Sigmoid": [layer(nn.Sigmoid, (2, 3))],
    "nn.Dropout": [on(seeded(nn.Dropout(0.4)), (3, 4)), layer(nn.Dropout, (3, 4), train=False)],
    "nn.Dropout2d": [on(seeded(nn.Dropout2d(0.4)), (2, 3, 2, 2)), layer(nn.Dropout2d, (2, 3, 2, 2), train=False)],
    "nn.MaxPool2d": [layer(lambda: nn.MaxPool2d(3, 2, padding=1), IMAGE)],
    "nn.AvgPool2d": [layer(lambda: nn.AvgPool2d(3, 2, padding=1), IMAGE)],
    "nn.AdaptiveAvgPool2d": [layer(lambda: nn.AdaptiveAvgPool2d((2, None)), IMAGE)],
    "nn.GlobalAvgPool2d": [layer(nn.GlobalAvgPool2d, IMAGE)],
    "nn.Flatten": [layer(nn.Flatten, (2, 2, 3))],
    "nn.Sequential": [
        layer(lambda: nn.Sequential(nn.Conv2d(2, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(24, 2)), (2, 2, 5, 4)),
    ],
    "nn.CrossEntropyLoss": [on(lambda x: nn.CrossEntropyLoss(label_smoothing=0.1)(x, LABELS), (3, 4))],
}
