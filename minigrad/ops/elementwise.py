"""Arithmetic, comparisons and elementary functions, element by element.

Binary operations make their operands agree in dtype and shape first (`promotion.operands`), so the Functions here
never see broadcasting: its gradient is that of `Expand` in shape.py. They save only what a wanted gradient needs.
"""
import numpy as np

from minigrad.kernels.elementwise import apply

from ..autograd import Function
from ..device import array_module, on_one_device
from ..tensor import Tensor, as_tensor, check_dtype
from .dims import broadcast_shapes
from .promotion import as_float, operands, result_dtype, same_dtype

# --- arithmetic


class Add(Function):
    """y = a + b."""

    def forward(self, a, b):
        return apply(np.add, a, b)

    def backward(self, gy):
        return gy, gy


class Sub(Function):
    """y = a - b."""

    def forward(self, a, b):
        return apply(np.subtract, a, b)

    def backward(self, gy):
        return gy, -gy


class Mul(Function):
    """y = a b."""

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return apply(np.multiply, a, b)

    def backward(self, gy):
        a, b = self.saved
        return gy * b if self.needs[0] else None, gy * a if self.needs[1] else None


class Div(Function):
    """y = a / b."""

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b)
        return a / b

    def backward(self, gy):
        a, b = self.saved
        return gy / b if self.needs[0] else None, -gy * a / (b * b) if self.needs[1] else None


class Neg(Function):
    """y = -x."""

    def forward(self, x):
        return -x

    def backward(self, gy):
        return -gy


class PowConstant(Function):
    """y = x ** exponent, exponent a Python number."""

    def forward(self, x):
        self.save(x)
        return x**self.exponent

    def backward(self, gy):
        (x,) = self.saved
        if self.exponent == 0:  # avoids 0 * (0 ** -1)
            return gy * 0.0
        return gy * (self.exponent * x ** (self.exponent - 1))


class Pow(Function):
    """y = a ** b, both tensors. Where a = 0 the gradient of b is 0, and where b = 0 as well, that of a."""

    def forward(self, a, b):
        self.save(a, b)
        return a**b

    def backward(self, gy):
        a, b = self.saved
        ga = gb = None
        if self.needs[0]:
            ga = gy * b * pow(a, where(logical_and(a == 0, b == 0), 1.0, b) - 1.0)
        if self.needs[1]:
            gb = gy * where(a == 0, 0.0, pow(a, b) * log(where(a == 0, 1.0, a)))
        return ga, gb


def add(a, b):
    """a + b with broadcasting."""
    return Add()(*operands(a, b))


def sub(a, b):
    """a - b with broadcasting."""
    return Sub()(*operands(a, b))


def mul(a, b):
    """a b with broadcasting."""
    return Mul()(*operands(a, b))


def div(a, b):
    """a / b with broadcasting; integers give float32."""
    return Div()(*(as_float(t) for t in operands(a, b)))


def neg(x):
    """-x."""
    return Neg()(as_tensor(x))


def pow(a, b):
    """a ** b with broadcasting; one of the two may be a Python number."""
    if isinstance(a, Tensor) and np.isscalar(b):
        b = b.item() if isinstance(b, np.generic) else b
        return PowConstant(exponent=b)(a.astype(result_dtype(a, b)))
    return Pow()(*operands(a, b))


# --- elementary functions


class Exp(Function):
    """y = e ** x."""

    def forward(self, x):
        y = array_module(x).exp(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * y


class Log(Function):
    """y = ln x."""

    def forward(self, x):
        self.save(x)
        return array_module(x).log(x)

    def backward(self, gy):
        (x,) = self.saved
        return gy / x


class Sqrt(Function):
    """y = the square root of x."""

    def forward(self, x):
        y = array_module(x).sqrt(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy / (2.0 * y)


class Abs(Function):
    """y = |x|; the gradient at 0 is 0."""

    def forward(self, x):
        self.save(x)
        return abs(x)

    def backward(self, gy):
        (x,) = self.saved
        return gy * sign(x)


def exp(x):
    """e ** x, elementwise."""
    return Exp()(as_float(x))


def log(x):
    """Natural logarithm, elementwise."""
    return Log()(as_float(x))


def sqrt(x):
    """Square root, elementwise."""
    return Sqrt()(as_float(x))


def absolute(x):
    """|x|, elementwise (also `x.abs()`)."""
    return Abs()(as_tensor(x))


# --- choosing between elements


class Maximum(Function):
    """y = the larger of a and b; equals share the gradient half and half."""

    def forward(self, a, b):
        self.save(a, b)
        return array_module(a).maximum(a, b)

    def backward(self, gy):
        a, b = self.saved
        return _share(gy, a < b, a == b, a > b)


class Minimum(Function):
    """y = the smaller of a and b; equals share the gradient half and half."""

    def forward(self, a, b):
        self.save(a, b)
        return array_module(a).minimum(a, b)

    def backward(self, gy):
        a, b = self.saved
        return _share(gy, a > b, a == b, a < b)


def _share(gy, lost_by_a, equal, lost_by_b):
    """The gradients of a and b: all of gy, half of it or nothing; both get all where either is NaN."""
    share = 1.0 - 0.5 * equal.astype(gy.dtype)
    return gy * (share - lost_by_a.astype(gy.dtype)), gy * (share - lost_by_b.astype(gy.dtype))


class Where(Function):
    """y = a where `condition` holds, b elsewhere."""

    def forward(self, condition, a, b):
        self.save(condition)
        return array_module(a).where(condition, a, b)

    def backward(self, gy):
        (condition,) = self.saved
        return None, where(condition, gy, 0.0), where(condition, 0.0, gy)


class Clip(Function):
    """y = x limited to [low, high]; the gradient passes where low <= x <= high."""

    def forward(self, x):
        self.save(x)
        return array_module(x).clip(x, self.low, self.high)

    def backward(self, gy):
        (x,) = self.saved
        inside = as_tensor(True)
        if self.low is not None:
            inside = logical_and(inside, x >= self.low)
        if self.high is not None:
            inside = logical_and(inside, x <= self.high)
        return gy * inside.astype(gy.dtype)


def maximum(a, b):
    """The larger of a and b, elementwise with broadcasting; NaN wins."""
    return Maximum()(*operands(a, b))


def minimum(a, b):
    """The smaller of a and b, elementwise with broadcasting; NaN wins."""
    return Minimum()(*operands(a, b))


def where(condition, a, b):
    """a where condition holds, b elsewhere, with broadcasting. condition: bool Tensor or array, no gradient."""
    condition = as_tensor(condition)
    if condition.dtype != np.bool_:
        raise TypeError(f"where: the condition must be bool, got {condition.dtype}")
    a, b = same_dtype(a, b)
    shape = broadcast_shapes(condition.shape, a.shape, b.shape, op="where: ")
    return Where()(*(t if t.ndim == 0 and not t.requires_grad else t.expand(shape) for t in (condition, a, b)))


def clip(x, min=None, max=None):
    """x limited to [min, max], numbers or None (also `clamp`); for tensors there are `maximum` and `minimum`."""
    if min is None and max is None:
        raise ValueError("clip: give min, max or both")
    for bound in (min, max):
        if bound is not None and not np.isscalar(bound):
            raise TypeError(f"clip: min and max must be numbers, got {type(bound).__name__}; use maximum and minimum")
    min, max = (v.item() if isinstance(v, np.generic) else v for v in (min, max))
    x = as_tensor(x)
    return Clip(low=min, high=max)(x.astype(result_dtype(x, *(v for v in (min, max) if v is not None))))


# --- comparisons, signs and rounding: no gradient


def _without_gradient(name, arity, doc):
    """A public function around the array function `name`; its result never requires a gradient."""

    def function(*values):
        if len(values) != arity:
            raise TypeError(f"{name}: expected {arity} operands, got {len(values)}")
        arrays = [t._data for t in (operands(*values) if arity == 2 else map(as_tensor, values))]
        arrays = on_one_device(arrays, name)
        with np.errstate(all="ignore"):
            return Tensor(getattr(array_module(arrays[0]), name)(*arrays))

    function.__doc__ = doc
    return function


eq = _without_gradient("equal", 2, "a == b, elementwise with broadcasting.")
ne = _without_gradient("not_equal", 2, "a != b, elementwise with broadcasting.")
lt = _without_gradient("less", 2, "a < b, elementwise with broadcasting.")
le = _without_gradient("less_equal", 2, "a <= b, elementwise with broadcasting.")
gt = _without_gradient("greater", 2, "a > b, elementwise with broadcasting.")
ge = _without_gradient("greater_equal", 2, "a >= b, elementwise with broadcasting.")
logical_and = _without_gradient("logical_and", 2, "a and b, elementwise with broadcasting.")
logical_or = _without_gradient("logical_or", 2, "a or b, elementwise with broadcasting.")
logical_not = _without_gradient("logical_not", 1, "not x, elementwise.")
bitwise_and = _without_gradient("bitwise_and", 2, "a & b for bools and integers, elementwise with broadcasting.")
bitwise_or = _without_gradient("bitwise_or", 2, "a | b for bools and integers, elementwise with broadcasting.")
bitwise_not = _without_gradient("invert", 1, "~x for bools and integers, elementwise.")
sign = _without_gradient("sign", 1, "-1, 0 or 1, elementwise; no gradient.")
isnan = _without_gradient("isnan", 1, "Whether each element is NaN.")
isfinite = _without_gradient("isfinite", 1, "Whether each element is neither NaN nor infinite.")
floor_divide = _without_gradient("floor_divide", 2, "a // b, rounded towards minus infinity; no gradient.")
remainder = _without_gradient("remainder", 2, "a % b with the sign of b; no gradient.")


# --- dtype


class AsType(Function):
    """y = x in another dtype."""

    def forward(self, x):
        self.source = x.dtype
        return x.astype(self.dtype)

    def backward(self, gy):
        return gy.astype(self.source)


class Clone(Function):
    """y = a copy of x in memory of its own."""

    def forward(self, x):
        return x.copy(order="K")

    def backward(self, gy):
        return gy


def astype(x, dtype):
    """x in another dtype (x itself if it has it already). Between float types it is differentiable."""
    dtype = check_dtype(dtype)
    return x if x.dtype == dtype else AsType(dtype=dtype)(x)


def clone(x):
    """A copy in memory of its own, part of the graph."""
    return Clone()(x)
