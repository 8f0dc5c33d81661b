"""minigrad tune: measure which convolution algorithm is fastest here, for the layers of a network or for given shapes.

The choices go into a file that "auto" asks first; kernels/conv/tuning.py says where it is and when it counts.
"""
from minigrad.kernels import conv
from minigrad.kernels.conv import tuning

from . import models, nn, ops
from .creation import zeros
from .modes import enable_grad


def network_passes(name, batch):
    """The passes of a training step's convolutions, each once: a list of (pass, x_shape, w_shape, ConvParams).

    The network runs on a batch of no images, which computes nothing, and its graph tells what it consists of. Raises
    ValueError for an unknown name.
    """
    shape = models.entry(name).input_shape
    model = models.create(name, init=False).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.eval()  # no images have no mean
    with enable_grad():
        outputs = model(zeros(0, *shape))
    found = {}
    functions = _functions(outputs if isinstance(outputs, tuple) else (outputs,))
    for function in sorted(functions, key=lambda f: f.order):
        if isinstance(function, ops.conv.Conv2d | ops.conv.Conv2dInputGrad) and function.algorithm == "auto":
            partner = ops.conv.Conv2dInputGrad if isinstance(function, ops.conv.Conv2d) else ops.conv.Conv2d
            which = [function.which, *[partner.which] * function.needs[0], *["grad_weight"] * function.needs[1]]
            for one in which:
                found[one, (batch, *function.x_shape[1:]), tuple(function.w_shape), function.p] = None
    return list(found)


def _functions(outputs):
    """Every Function of the graphs under some Tensors, from the end to the beginning."""
    waiting, seen = [y._fn for y in outputs], set()
    while waiting:
        function = waiting.pop()
        if hasattr(function, "edges") and id(function) not in seen:
            seen.add(id(function))
            yield function
            waiting += function.edges


def shape_passes(text):
    """The passes of a convolution written NxCxHxW,OCxCxKHxKW[,stride[,padding[,groups]]], as `network_passes` has them.

    Raises ValueError where it does not fit.
    """
    try:
        x, w, *rest = ([int(n) for n in part.split("x")] for part in text.split(","))
        stride, padding, groups = ([n for (n,) in rest] + [1, 0, 1][len(rest) :])[:3]
    except ValueError:
        raise ValueError(f"expected NxCxHxW,OCxCxKHxKW[,stride[,padding[,groups]]], got {text!r}") from None
    p = conv.conv_params(x, w, stride, padding, 1, groups)
    return [(which, tuple(x), tuple(w), p) for which in tuning.PASSES]


def describe(key):
    """One pass in words."""
    which, x, w, p = key
    extra = f", groups {p.groups}" if p.groups > 1 else ""
    return f"{'x'.join(map(str, x))} * {'x'.join(map(str, w))}, stride {p.stride[0]}{extra}, {which}"


def run(passes, report):
    """Measure every pass, hand `report` a line for each, and keep the choices. Returns the file's path.

    The file is written after each one: an interrupted run leaves what it has measured. Raises OSError where it cannot
    be written.
    """
    path = tuning.store({})
    for key in passes:
        seconds = tuning.measure(*key)
        path = tuning.store({key: seconds})
        best = sorted(seconds, key=seconds.get)
        rule = conv.select(*key[1:], key[0])
        times = ", ".join(f"{name} {1e3 * seconds[name]:.2f} ms" for name in best)
        report(f"{describe(key)}: {times}" + ("" if rule == best[0] else f" (the rules say {rule})"))
    return path
