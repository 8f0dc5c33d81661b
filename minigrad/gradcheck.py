"""Comparing gradients with finite differences: is what `backward` says what the function does?

For a function f and a direction, the derivative is (f(x + eps) - f(x - eps)) / (2 eps) up to eps squared. `gradcheck`
compares the Jacobian built column by column from such differences with the one built row by row from `grad`; in its
fast mode one random projection u^T J v stands for the whole matrix. `gradgradcheck` does the same to the function
that computes the gradient. Everything runs in float64, where eps = 1e-6 leaves about nine correct digits.
"""
import numpy as np

from .autograd import grad
from .device import to_device
from .tensor import Tensor


class GradcheckError(RuntimeError):
    """The analytic and the numerical gradient differ."""


def gradcheck(func, inputs, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, fast_mode=False):
    """Compare the gradients of func(*inputs) with central differences.

    func: takes Tensors, returns a Tensor or a tuple of them. inputs: a Tensor or a tuple; those that require gradients
    are checked and must be float64. Passes where |analytic - numerical| <= atol + rtol |numerical| for every entry of
    every Jacobian, or, with fast_mode, for one random projection of each. Returns True, or raises GradcheckError (with
    raise_exception=False: returns False). Raises ValueError for inputs that cannot be checked.
    """
    try:
        worst_error(func, inputs, eps, atol, rtol, fast_mode)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func, inputs, grad_outputs=None, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, fast_mode=False
):
    """`gradcheck` of the function that computes the gradients of func: second derivatives.

    grad_outputs: the gradients of the outputs (a Tensor or a tuple of them), random if left out; the derivatives with
    respect to them are checked as well.
    """
    function, both = gradient_function(func, inputs, grad_outputs)
    return gradcheck(function, both, eps, atol, rtol, raise_exception, fast_mode)


def gradient_function(func, inputs, grad_outputs=None):
    """The function (inputs, grad_outputs) -> gradients of func, and its inputs: what `gradgradcheck` checks."""
    inputs = _tuple(inputs)
    outputs = [o for o in _tuple(func(*inputs)) if o.requires_grad]
    if grad_outputs is None:
        rng = np.random.default_rng(1)
        values = [to_device(rng.standard_normal(o.shape), o.device) for o in outputs]
        grad_outputs = tuple(Tensor(v, requires_grad=True) for v in values)
    grad_outputs = _tuple(grad_outputs)

    def gradients(*args):
        xs, gys = args[: len(inputs)], args[len(inputs) :]
        ys = [y for y in _tuple(func(*xs)) if y.requires_grad]
        gxs = grad(ys, [x for x in xs if x.requires_grad], gys, create_graph=True, allow_unused=True)
        return tuple(gx for gx in gxs if gx is not None)

    return gradients, (*inputs, *grad_outputs)


def worst_error(func, inputs, eps=1e-6, atol=1e-5, rtol=1e-3, fast_mode=False):
    """The largest |analytic - numerical| / (atol + rtol |numerical|) times atol that was seen; see `gradcheck`.

    So it passes up to atol. Raises GradcheckError, naming the input and the entry, where that is exceeded.
    """
    inputs = _tuple(inputs)
    wanted = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError("gradcheck: no input requires gradients")
    for i in wanted:
        if inputs[i].dtype != np.float64:
            raise ValueError(f"gradcheck: input {i} is {inputs[i].dtype}; finite differences need float64")
    compare = _compare_projections if fast_mode else _compare_jacobians
    worst = 0.0
    for i in wanted:
        worst = max(worst, compare(func, inputs, i, eps, atol, rtol))
    return worst


def _compare_jacobians(func, inputs, i, eps, atol, rtol):
    """Every entry of the Jacobian of every output with respect to input i."""
    outputs = _outputs(func, inputs)
    x = inputs[i]
    numerical = [np.zeros((x.numel(), o.numel())) for o in outputs]
    for column in range(x.numel()):
        step = np.zeros(x.numel())
        step[column] = eps
        difference = _central_difference(func, inputs, {i: step.reshape(x.shape)}, eps)
        for k, d in enumerate(difference):
            numerical[k][column] = d.ravel()
    worst = 0.0
    for k, o in enumerate(outputs):
        analytic = np.zeros_like(numerical[k])
        for row in range(o.numel() if o.requires_grad else 0):
            unit = np.zeros(o.numel())
            unit[row] = 1.0
            analytic[:, row] = _gradient(o, x, unit.reshape(o.shape)).ravel()
        worst = max(worst, _judge(analytic, numerical[k], f"output {k} with respect to input {i}", atol, rtol))
    return worst


def _compare_projections(func, inputs, i, eps, atol, rtol):
    """u^T J v of every output with respect to input i, for a random u and v."""
    rng = np.random.default_rng(0)
    x = inputs[i]
    v = rng.standard_normal(x.shape)
    difference = _central_difference(func, inputs, {i: eps * v}, eps)
    worst = 0.0
    for k, o in enumerate(_outputs(func, inputs)):
        u = rng.standard_normal(o.shape)
        numerical = np.sum(u * difference[k])
        analytic = np.sum(_gradient(o, x, u) * v) if o.requires_grad else 0.0
        name = f"output {k} with respect to input {i} (projected)"
        worst = max(worst, _judge(np.atleast_1d(analytic), np.atleast_1d(numerical), name, atol, rtol))
    return worst


def _outputs(func, inputs):
    return [o for o in _tuple(func(*inputs)) if o.is_floating_point()]


def _gradient(output, x, seed):
    (g,) = grad(output, x, Tensor(to_device(seed, output.device)), retain_graph=True, allow_unused=True)
    return np.zeros(x.shape) if g is None else g.detach().numpy()


def _central_difference(func, inputs, steps, eps):
    """(func(inputs + steps) - func(inputs - steps)) / (2 eps), one array for each floating-point output."""
    values = []
    for sign in (1.0, -1.0):
        moved = [_moved(x, sign * steps[i]) if i in steps else x for i, x in enumerate(inputs)]
        values.append([o.detach().numpy().copy() for o in _outputs(func, moved)])
    with np.errstate(all="ignore"):  # infinities of both signs, say, are judged later
        return [(plus - minus) / (2.0 * eps) for plus, minus in zip(*values, strict=True)]


def _moved(x, step):
    """A leaf at x + step whose dimensions lie in memory in the order of those of x."""
    values = x._data.copy(order="K")
    values += to_device(step, x.device)
    return Tensor(values, requires_grad=x.requires_grad)


def _judge(analytic, numerical, name, atol, rtol):
    if not analytic.size:
        return 0.0
    with np.errstate(all="ignore"):
        error = np.abs(analytic - numerical)
    error = np.where(np.isfinite(error), error, np.inf)
    allowed = atol + rtol * np.abs(np.nan_to_num(numerical))
    at = np.unravel_index(np.argmax(error - allowed), error.shape)
    if error[at] > allowed[at]:
        raise GradcheckError(
            f"gradient of {name} is wrong at {tuple(map(int, at))}: "
            f"analytic {analytic[at]:.10g}, numerical {numerical[at]:.10g}"
        )
    return atol * float(np.max(error / np.maximum(allowed, np.finfo(float).tiny)))


def _tuple(x):
    return x if isinstance(x, tuple) else tuple(x) if isinstance(x, list) else (x,)


__all__ = ["GradcheckError", "gradcheck", "gradgradcheck", "worst_error"]
