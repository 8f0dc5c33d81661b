"""Examples of arithmetic, elementary functions and activations."""
from .. import nn, ops
from ..ops.moving import ToDevice
from .recipes import MASK, Example, layer, on

CASES = {
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
    **{f.__name__: [on(f, (2, 3)), on(f, ())] for f in (ops.exp, ops.absolute, ops.tanh, ops.sigmoid, ops.clone)},
    **{f.__name__: [on(f, ("positive", (2, 3))), on(f, ("positive", ()))] for f in (ops.log, ops.sqrt)},
    "astype": [
        Example(lambda x: ops.astype(ops.astype(x, "float32") * 2.0, "float64"), (("dyadic", (2, 3)),), eps=0.25),
        on(lambda x: ToDevice(device="cpu")(ToDevice(device="cuda-sim")(x) * 2.0), (2, 3)),
    ],
    "where": [on(lambda a, b: ops.where(MASK, a, b), (2, 3), (2, 3)), on(lambda a, b: ops.where(MASK, a, b), (3,), ())],
    "clip": [
        on(lambda x: ops.clip(x, -0.75, 0.93), (2, 3)), on(lambda x: ops.clip(x, min=0.01), (2, 3)),
        on(lambda x: ops.clip(x, max=0.01), (2, 3)),
    ],
    **{f.__name__: [on(f, (2, 3))] for f in (ops.relu, ops.silu)},
    "leaky_relu": [on(ops.leaky_relu, (2, 3)), on(lambda x: ops.leaky_relu(x, -0.7) ** 2, (2, 3))],
    "prelu": [
        on(ops.prelu, (2, 3), (1,)), on(ops.prelu, (2, 3), (3,)), on(ops.prelu, (2, 3, 2), (3,)), on(ops.prelu, (), ()),
    ],
    "elu": [on(ops.elu, (2, 3)), on(lambda x: ops.elu(x, 0.7), ())],
    "hardtanh": [on(ops.hardtanh, (2, 3)), on(lambda x: ops.hardtanh(x, -0.4, 1.4) ** 2, (2, 3))],
    "relu6": [on(lambda x: ops.relu6(4.0 * x) ** 2, (2, 3))],
    "softplus": [on(ops.softplus, (2, 3)), on(lambda x: ops.softplus(x, 2.0, 1.5), (2, 3))],
    "softmax": [on(lambda x: ops.softmax(x, -1), (2, 3)), on(lambda x: ops.softmax(x, 0), (3, 2, 2))],
    "log_softmax": [on(lambda x: ops.log_softmax(x, -1), (2, 3)), on(lambda x: ops.log_softmax(x, 1), (2, 3, 2))],
    "nn.ReLU": [layer(nn.ReLU, (2, 3))],
    "nn.Tanh": [layer(nn.Tanh, (2, 3))],
    "nn.Sigmoid": [layer(nn.Sigmoid, (2, 3))],
    "nn.ReLU6": [layer(nn.ReLU6, (2, 3))],
    "nn.SiLU": [layer(nn.SiLU, (2, 3))],
    "nn.LeakyReLU": [layer(lambda: nn.LeakyReLU(0.2), (2, 3))],
    "nn.ELU": [layer(lambda: nn.ELU(0.7), (2, 3))],
    "nn.Hardtanh": [layer(lambda: nn.Hardtanh(-0.4, 1.4), (2, 3))],
    "nn.PReLU": [layer(nn.PReLU, (2, 3)), layer(lambda: nn.PReLU(3), (2, 3, 2))],
    "nn.Softplus": [layer(lambda: nn.Softplus(3.0), (2, 3))],
    "nn.Softmax": [layer(lambda: nn.Softmax(1), (2, 3, 2))],
    "nn.LogSoftmax": [layer(lambda: nn.LogSoftmax(0), (3, 2))],
}
