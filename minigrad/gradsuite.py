"""The gradient-check suite: every differentiable operation, layer and convolution row against finite differences.

`CASES` in gradcases/ holds the examples. What must have one is discovered from the code: the public functions of
`ops` (but those listed as NOT_DIFFERENTIABLE), the methods that work in place, the layers of `nn`, the rows of the
convolution table, and every Function class, which must occur in the graph of some example. Each example is checked to
first and second order, as it is and in awkward forms: with strides that are not contiguous, and with one tensor used
for several inputs.
"""
from typing import NamedTuple

import numpy as np

from minigrad.kernels import conv

from . import nn, ops
from .autograd import Function
from .gradcases import CASES, NOT_DIFFERENTIABLE, fresh_inputs
from .gradcheck import GradcheckError, gradient_function, worst_error
from .ops.methods import METHODS
from .tensor import Tensor

SMALL = 40  # inputs of up to so many elements have their whole Jacobian checked, larger ones a random projection


class Result(NamedTuple):
    """What checking one name gave."""

    name: str
    first: float  # the worst error of the gradient over all examples, see gradcheck.worst_error
    second: float  # and of the gradient's gradient
    examples: int  # how many were checked, awkward forms included
    functions: frozenset  # the Function classes seen in the graphs
    failure: str  # what is wrong, or ""


def required():
    """Everything that must have an example: public ops, layers and convolution rows, as named in CASES."""
    functions = {name for name in ops.__all__ if name not in NOT_DIFFERENTIABLE}
    layers = {f"nn.{name}" for name, value in vars(nn).items() if _is_layer(value)}
    rows = {f"conv2d[{algorithm}, {device}]" for algorithm, device in conv.TABLE if device == "cpu"}
    in_place = {f"Tensor.{name}" for name, method in METHODS.items() if _is_in_place(name, method)}
    return sorted(functions | layers | rows | in_place)


def _is_layer(value):
    return isinstance(value, type) and issubclass(value, nn.Module) and value is not nn.Module


def _is_in_place(name, method):
    return getattr(method, "__module__", "") == "minigrad.ops.inplace" and not name.startswith("__i")  # += is add_


def own_functions():
    """The names of minigrad's Function classes; those that users define elsewhere are theirs to check."""
    classes = Function.registry.items()
    return {name for name, cls in classes if cls.__module__.startswith("minigrad.") and not name.startswith("_")}


def matching(words):
    """The required names that contain one of `words` (all of them if there are none). ValueError if nothing does."""
    names = [name for name in required() if not words or any(word in name for word in words)]
    if not names:
        raise ValueError(f"no operation or layer is called {' or '.join(words)}")
    return names


def check(name):
    """Check all examples of one name, in every form, to first and second order."""
    first = second = 0.0
    functions, examples = set(), 0
    if name not in CASES:
        return Result(name, np.inf, np.inf, 0, frozenset(), "there is no example for it in gradcases/")
    for example in CASES[name]:
        for form, function, inputs in forms(example):
            examples += 1
            fast = sum(t.numel() for t in inputs) > SMALL
            order = "first order"
            try:
                first = max(first, worst_error(function, inputs, example.eps, fast_mode=fast))
                order = "second order"
                functions |= functions_in(function(*inputs))
                gradients, both = gradient_function(function, inputs)
                third, all_three = gradient_function(gradients, both)  # only for the Functions that it reaches
                functions |= functions_in(*gradients(*both)) | functions_in(*third(*all_three))
                second = max(second, worst_error(gradients, both, example.eps, fast_mode=True))
            except (GradcheckError, RuntimeError, ValueError, TypeError, IndexError) as error:
                failure = f"{form}, {order}: {type(error).__name__}: {error}"
                return Result(name, first, second, examples, frozenset(functions), failure)
    return Result(name, first, second, examples, frozenset(functions), "")


def forms(example):
    """(form, function, inputs) of one example: plain, with awkward strides, and with its inputs made the same."""
    function, shapes = example.function, [t.shape for t in fresh_inputs(example)]
    yield "plain", function, fresh_inputs(example)
    yield "strided", function, [strided(t) for t in fresh_inputs(example)]
    if len(shapes) > 1 and len(set(shapes)) == 1:
        yield "repeated", (lambda x: function(*(x for _ in shapes))), fresh_inputs(example)[:1]


def strided(t):
    """The same values in memory that is walked backwards with gaps and in column order."""
    wide = np.zeros(tuple(2 * n for n in reversed(t.shape)), t.dtype).transpose()
    view = wide[(..., *(slice(None, None, -2) for _ in t.shape))]
    view[...] = t.detach().numpy()
    return Tensor(view, requires_grad=t.requires_grad)


def functions_in(*outputs):
    """The names of the Function classes in the graphs of Tensors."""
    stack, seen, names = [o._fn for o in _flat(outputs) if o._fn is not None], set(), set()
    while stack:
        node = stack.pop()
        if isinstance(node, Function) and id(node) not in seen:
            seen.add(id(node))
            names.add(node.name)
            stack.extend(node.edges)
    return names


def _flat(outputs):
    for o in outputs:
        yield from _flat(o) if isinstance(o, (tuple, list)) else (o,)


def run(names, write):
    """Check `names`, writing a table line by line with write(text). Returns whether everything passed.

    If `names` is everything there is, Function classes that no example reaches fail too.
    """
    width = max(map(len, names))
    write(f"{'operation':<{width}}  examples  worst error of first order  of second order")
    reached, failed = set(), 0
    for name in names:
        result = check(name)
        reached |= result.functions
        failed += bool(result.failure)
        verdict = f"FAILED {result.failure}" if result.failure else "ok"
        write(f"{name:<{width}}  {result.examples:>8}  {result.first:>26.1e}  {result.second:>15.1e}  {verdict}")
    unreached = sorted(own_functions() - reached) if len(names) == len(required()) else []
    for name in unreached:
        write(f"{name:<{width}}  FAILED no example reaches this Function")
    total = len(names) + len(unreached)
    write(f"{total - failed - len(unreached)} of {total} passed")
    return not failed and not unreached
