"""Hooks: user functions called at set moments, on tensors when their gradient is known, on modules around forward."""
import weakref

from .tensor import Tensor

_RETAIN = object()  # the key, among the hooks of a node, of what `retain_grad` registers


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away again."""

    def __init__(self, hooks, hook):
        self._hooks, self._key = hooks, object()
        hooks[self._key] = hook

    def remove(self):
        self._hooks.pop(self._key, None)


def register_hook(tensor, hook):
    """Call hook(gradient) when the whole gradient of `tensor` is known; what it returns, if anything, replaces it.

    Returns a handle with `remove()`. Raises RuntimeError if the tensor does not require gradients.
    """
    if not tensor.requires_grad:
        raise RuntimeError("register_hook: the tensor does not require gradients")
    return RemovableHandle(_hooks_of(tensor), hook)


def retain_grad(tensor):
    """Have backward fill `.grad` of this intermediate result as well (leaves are always filled).

    Raises RuntimeError if the tensor does not require gradients.
    """
    if not tensor.requires_grad:
        raise RuntimeError("retain_grad: the tensor does not require gradients")
    if tensor._fn is None:
        return
    target = weakref.ref(tensor)  # the graph must not keep the tensor alive

    def keep(g):
        t = target()
        if t is not None:
            t.grad = g.clone() if t.grad is None else t.grad + g

    _hooks_of(tensor)[_RETAIN] = keep


def _hooks_of(tensor):
    """The hooks of the node behind `tensor`: key -> function, in the order in which they run."""
    node = tensor._fn or tensor
    if node.hooks is None:
        node.hooks = {}
    return node.hooks


def run_hooks(hooks, g):
    """The gradient after every hook has seen it, that of `retain_grad` last.

    Raises TypeError or RuntimeError if a hook replaces it by no Tensor or by one of another shape or dtype.
    """
    for _, hook in sorted(hooks.items(), key=lambda item: item[0] is _RETAIN):
        replaced = hook(g)
        if replaced is None:
            continue
        if not isinstance(replaced, Tensor):
            raise TypeError(f"a hook must return a Tensor or None, got a {type(replaced).__name__}")
        if replaced.shape != g.shape or replaced.dtype != g.dtype:
            raise RuntimeError(
                f"a hook replaced a gradient of shape {g.shape}, {g.dtype} "
                f"by one of shape {replaced.shape}, {replaced.dtype}"
            )
        g = replaced
    return g
