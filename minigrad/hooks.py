"""Hooks: user functions called at set moments, on tensors when their gradient is known, on modules around forward."""
import weakref


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
    node = tensor._fn or tensor
    if node.hooks is None:
        node.hooks = {}
    return RemovableHandle(node.hooks, hook)


def retain_grad(tensor):
    """Have backward fill `.grad` of this intermediate result as well (leaves are always filled)."""
    if tensor._fn is None:
        return
    target = weakref.ref(tensor)  # the graph must not keep the tensor alive

    def keep(g):
        t = target()
        if t is not None:
            t.grad = g if t.grad is None else t.grad + g

    register_hook(tensor, keep)


def run_hooks(hooks, g):
    """The gradient after every hook has seen it. Raises RuntimeError if one returns another shape."""
    for hook in list((hooks or {}).values()):
        replaced = hook(g)
        if replaced is not None:
            if replaced.shape != g.shape:
                raise RuntimeError(f"a hook replaced a gradient of shape {g.shape} by one of shape {replaced.shape}")
            g = replaced
    return g
