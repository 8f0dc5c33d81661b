"""Changing a Tensor in place: the version counter moves, so that backward notices a saved value that is gone.

In the graph an in-place operation is the ordinary one whose result takes over the Tensor's name and memory.
"""
from ..autograd import Function
from ..device import array_module
from ..modes import is_grad_enabled
from ..tensor import Tensor, as_tensor
from .elementwise import add, div, mul, sub
from .index import IndexAdd, getitem, is_basic, plain_index
from .moving import to_device


class SetIndex(Function):
    """y = x with x[index] replaced by v (v has the shape of x[index])."""

    def forward(self, x, v):
        y = x.copy(order="K")
        y[self.index] = v
        return y

    def backward(self, gy):
        kept = SetIndex(index=self.index)(gy, Tensor(array_module(gy._data).zeros_like(gy._data[self.index])))
        return kept, getitem(gy, self.index)


def check_in_place(x, *others):
    """RuntimeError where changing x in place, with the help of others, would make the graph wrong."""
    if not is_grad_enabled() or not any(isinstance(t, Tensor) and t.requires_grad for t in (x, *others)):
        return
    if x.is_leaf and x.requires_grad:
        raise RuntimeError("a leaf that requires gradients cannot be changed in place; do it under no_grad()")
    if x._is_view:
        maker = "this tensor" if x.is_leaf else f"the result of {x._fn.name}"
        raise RuntimeError(f"{maker} is a view of another, whose gradient would be wrong; change a .clone() of it")


def assign(x, y):
    """Give x the value and the place in the graph of y, a tensor just computed from it; returns x."""
    if y.shape != x.shape:
        raise ValueError(f"in place: a tensor of shape {x.shape} cannot hold a result of shape {y.shape}")
    if y.dtype != x.dtype:
        if not x.is_floating_point():
            raise TypeError(f"in place: a tensor of {x.dtype} cannot hold a result of {y.dtype}")
        y = y.astype(x.dtype)
    x._data[...] = y._data
    x.mark_modified()
    if is_grad_enabled() and y.requires_grad:
        x._fn, x.requires_grad = y._fn, True
        x._version.recorded = x._version.count
    return x


def _in_place(operation):
    def function(x, other):
        check_in_place(x, other)
        # the gradient of `other` may need the value of x that is about to be overwritten
        keep = is_grad_enabled() and isinstance(other, Tensor) and other.requires_grad
        return assign(x, operation(x.clone() if keep else x, other))

    function.__doc__ = f"`{operation.__name__}` with the result written into x, which is returned."
    return function


add_ = _in_place(add)
sub_ = _in_place(sub)
mul_ = _in_place(mul)
div_ = _in_place(div)


def copy_(x, source):
    """Overwrite x with `source` (broadcast, cast to x's dtype); returns x."""
    setitem(x, ..., source)
    return x


def fill_(x, value):
    """Overwrite x with one number; returns x."""
    return copy_(x, as_tensor(value))


def zero_(x):
    """Overwrite x with zeros; returns x."""
    return fill_(x, 0)


def setitem(x, index, value):
    """x[index] = value, with broadcasting; value is cast to x's dtype."""
    check_in_place(x, value)
    index = plain_index(index, x)
    shape = x._data[index].shape
    value = to_device(as_tensor(value).astype(x.dtype), x.device)
    extra = value.ndim - len(shape)
    if extra > 0 and value.shape[:extra] == (1,) * extra:  # leading 1s are too many for expand, but harmless
        value = value.reshape(value.shape[extra:])
    value = value.expand(shape)
    if is_grad_enabled() and (x.requires_grad or value.requires_grad):
        if not is_basic(index) and _repeats(x, index):
            raise ValueError("setitem: an index that names an element twice has no well-defined gradient")
        assign(x, SetIndex(index=index)(x, value))
    else:
        x._data[index] = value._data
        x.mark_modified()


def _repeats(x, index):
    ones = Tensor(array_module(x._data).ones_like(x._data[index]))
    return bool((IndexAdd(index=index, x_shape=x.shape)(ones)._data > 1).any())
