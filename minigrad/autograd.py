"""The engine: Functions record a graph as they run, and `backward` walks it from the result to the leaves.

A graph node is a Function (one that computed something) or a leaf Tensor. A Function is created after everything it
depends on, so descending creation order is a topological order: no recursion, however deep the graph. Gradients are
Tensors and every `Function.backward` is composed of Functions, so with create_graph=True the gradients have a graph
of their own and can be differentiated again.
"""
import itertools
import sys
from pathlib import Path

import numpy as np

from minigrad.kernels.elementwise import join

from .device import array_module, device_of, on_one_device, to_device
from .hooks import run_hooks
from .modes import Setting, anomaly, grad_enabled, step_observer
from .tensor import Tensor, as_tensor

_creation_order = itertools.count()


# --- functions


class Function:
    """One differentiable operation. Subclass it, write `forward` and `backward`, and call an instance on Tensors.

        class Scale(Function):
            \"\"\"y = factor x.\"\"\"
            def forward(self, x): return x * self.factor          # arrays in, one array out
            def backward(self, gy): return gy * self.factor       # Tensors in, Tensors out

        y = Scale(factor=3.0)(x)

    Keyword arguments of the constructor become attributes. `forward` keeps what `backward` needs with
    `self.save(...)`; `backward` reads it as Tensors from `self.saved` and returns one gradient per input (None where
    there is none; a single one need not be in a tuple). `self.needs[i]` says whether input i wants a gradient, and
    in `backward` `self.owns_gradient` whether nobody else will read gy, so that a result may take its place.
    """

    registry = {}  # name -> subclass: every differentiable operation there is
    hooks = None
    edges = ()  # per input: the Function that made it, the leaf itself, or None if it needs no gradient
    order = None  # when it became part of a graph
    where = None  # the user's line, recorded in anomaly mode
    owns_gradient = False
    _saved = None
    _pending = ()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.name = cls.__name__
        Function.registry[cls.__name__] = cls

    def __init__(self, **params):
        self.__dict__.update(params)

    def forward(self, *arrays):
        """Compute the result. arrays: the inputs' data. Returns one array."""
        raise NotImplementedError(f"{self.name}.forward")

    def backward(self, gy):
        """The gradients of the inputs, given that of the output, as Tensors composed of Functions."""
        raise NotImplementedError(f"{self.name}.backward")

    def __call__(self, *inputs):
        recording = grad_enabled.get()
        self._check_inputs(inputs, recording)
        arrays = [t._data for t in inputs]
        away = [a for a in arrays if type(a) is not np.ndarray]  # arrays that are not on the CPU
        if away:
            arrays = on_one_device(arrays, self.name)
        self.needs = [recording and t.requires_grad for t in inputs]
        observer = step_observer.get()
        if observer is not None:
            observer.inputs(inputs)
        if anomaly.get():
            self.where = _user_line()
        with np.errstate(all="ignore"):  # infinities and NaN flow, as in PyTorch; detect_anomaly finds them
            y = result = self.forward(*arrays)
        if isinstance(y, np.generic):  # what NumPy makes of 0-d arrays
            y = to_device(np.asarray(y), device_of(away[0])) if away else np.asarray(y)
        elif not hasattr(y, "dtype"):
            raise TypeError(f"{self.name}.forward must return an array, got a {type(y).__name__}")
        version = made_at = None
        memory = y if y.base is None else y.base
        for t, a in zip(inputs, arrays, strict=True):
            if memory is (a if a.base is None else a.base):  # one is a view of the other, or both are of the same
                version, made_at = t._version, t._made_at
                y = y.view() if y is a else y
                break
        if True in self.needs and y.dtype.kind == "f":
            out = Tensor._wrap(y, self, version)
            self._record(inputs, arrays, result, out)
        else:
            out = Tensor._wrap(y, None, version)
            if version is not None:
                out._made_at = made_at
        self._pending = ()
        if self.where:
            self._check_forward(inputs, out)
        return out

    def save(self, *arrays):
        """Keep arrays for `backward`: inputs, the output, or others that are constants (None is kept as None)."""
        self._pending = arrays

    @property
    def saved(self):
        """What `save` kept, as Tensors: inputs and the output are connected to the graph again."""
        if self._saved is None:
            raise RuntimeError(
                f"{self.name}: the values saved for backward were freed by an earlier backward; "
                "call that one with retain_graph=True to go through the graph again"
            )
        return tuple(None if s is None else s.unpack(self) for s in self._saved)

    def _record(self, inputs, arrays, result, out):
        """Become a node of the graph."""
        self.order = next(_creation_order)
        self.edges = [(t._fn or t) if need else None for t, need in zip(inputs, self.needs, strict=True)]
        self.input_types = [(a.shape, a.dtype) for a in arrays]
        self._saved = [_Saved.pack(a, inputs, arrays, result, out) for a in self._pending]

    def _check_inputs(self, inputs, recording):
        """TypeError for no Tensors. RuntimeError for a wrong graph: this node is in use, or an input was changed."""
        if recording and self.order is not None:
            raise RuntimeError(f"{self.name}: this Function is part of a graph already; make a new one for each call")
        for t in inputs:
            if not isinstance(t, Tensor):
                raise TypeError(f"{self.name}: expected Tensors, got a {type(t).__name__}; `as_tensor` makes one")
            if recording and t._made_at != t._version.count and t._is_stale():
                maker = "leaf" if t._fn is None else f"result of {t._fn.name}"
                raise RuntimeError(
                    f"{self.name}: an input, a {maker}, was changed in place through another tensor that shares its "
                    "memory, so its gradient would be wrong; change a .clone() instead"
                )

    def _check_forward(self, inputs, out):
        if _all_finite(out):
            return
        source = "" if all(map(_all_finite, inputs)) else " (an input had one already)"
        raise FloatingPointError(f"{self.name} produced NaN or infinity{source}, called at {self.where}")

    def _gradients(self, gy):
        """`backward`, with its results checked: one gradient or None per input."""
        hunting = anomaly.get()
        if hunting:  # report the operation that was differentiated, not one inside its backward
            with Setting(anomaly, False):
                grads = self.backward(gy)
        else:
            grads = self.backward(gy)
        grads = grads if isinstance(grads, tuple) else (grads,)
        if len(grads) != len(self.edges):
            raise RuntimeError(f"{self.name}.backward returned {len(grads)} gradients for {len(self.edges)} inputs")
        for i, (g, edge, (shape, dtype)) in enumerate(zip(grads, self.edges, self.input_types, strict=True)):
            if g is None or edge is None:
                continue
            if not isinstance(g, Tensor):
                raise TypeError(f"{self.name}.backward must return Tensors, got a {type(g).__name__} for input {i}")
            if g.shape != shape or g.dtype != dtype:
                raise RuntimeError(
                    f"{self.name}.backward returned a gradient of shape {g.shape}, {g.dtype} for input {i} "
                    f"of shape {shape}, {dtype}"
                )
            if hunting and not _all_finite(g):
                line = self.where or "an unknown line: run forward under detect_anomaly too"
                source = "" if _all_finite(gy) else " (the gradient it got had one already)"
                raise FloatingPointError(
                    f"backward of {self.name} gave NaN or infinity{source}, input {i}, called at {line}"
                )
        return grads


class _Saved:
    """One array kept for backward, with what it takes to check it and to connect it to the graph again."""

    __slots__ = ("array", "count", "label", "node", "version")
    OUTPUT = object()

    @classmethod
    def pack(cls, array, inputs, arrays, result, out):
        if array is None:
            return None
        s = cls()
        s.array, s.node, s.version, s.label = array, None, None, ""
        if array is result:
            s.array, s.node, s.version, s.label = out._data, cls.OUTPUT, out._version, "its output"
        for i, (t, a) in enumerate(zip(inputs, arrays, strict=True)):
            if array is a:
                s.node = (t._fn or t) if t.requires_grad else None
                s.version, s.label = t._version, f"input {i}"
                break
        if isinstance(array, np.generic):  # a 0-d array of the CPU beside arrays of a GPU
            s.array = np.asarray(array)
        s.count = s.version.count if s.version else 0
        return s

    def unpack(self, fn):
        if self.version and self.version.count != self.count:
            at = f" (called at {fn.where})" if fn.where else ""
            raise RuntimeError(
                f"{fn.name}{at}: {self.label}, which backward needs (shape {self.array.shape}), "
                f"was modified in place: it is at version {self.version.count}, saved at version {self.count}"
            )
        if isinstance(self.node, Tensor):
            return self.node
        node = fn if self.node is _Saved.OUTPUT else self.node
        return Tensor._wrap(self.array, node, self.version)


def _all_finite(t):
    return not t.is_floating_point() or bool(array_module(t._data).isfinite(t._data).all())


_ENGINE_FOLDERS = tuple(str(Path(__file__).parent / name) for name in ("", "ops", "nn", "kernels", "optim"))


def _user_line():
    """"file:line: code" of the innermost caller outside the engine."""
    import linecache

    frame = sys._getframe(2)
    while frame.f_back and str(Path(frame.f_code.co_filename).parent) in _ENGINE_FOLDERS:
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    return f"{file}:{line}: {linecache.getline(file, line).strip()}"


# --- the walk backwards


def backward(tensor, gradient=None, retain_graph=False, create_graph=False):
    """Add the gradient of `tensor` to the `.grad` of every leaf that it depends on.

    gradient: the gradient of some scalar with respect to `tensor`, of its shape; may be left out for a scalar (1).
    retain_graph: keep saved values, so that the graph can be walked again. create_graph: record the walk itself, so
    that the gradients can be differentiated (implies retain_graph). Raises RuntimeError where the graph was freed,
    where a saved value was modified in place, or where `tensor` does not require gradients.
    """
    seeds = [(tensor, _seed("backward", tensor, gradient))]
    _walk(seeds, None, _accumulate, retain_graph, create_graph)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False):
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no `.grad` is touched.

    outputs, inputs, grad_outputs: a Tensor or a sequence of them; inputs may be leaves or intermediate results.
    retain_graph: defaults to create_graph. An input that the outputs do not depend on is an error, or None with
    allow_unused.
    """
    outputs, inputs = _as_tuple(outputs), _as_tuple(inputs)
    gradients = (None,) * len(outputs) if grad_outputs is None else _as_tuple(grad_outputs)
    if len(gradients) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(gradients)} grad_outputs")
    for i, t in enumerate(inputs):
        if not t.requires_grad:
            raise RuntimeError(f"grad: input {i} does not require gradients")
    seeds = [(t, _seed("grad", t, g)) for t, g in zip(outputs, gradients, strict=True)]
    nodes = [t._fn or t for t in inputs]
    found = {}

    def keep(node, g, unshared):
        found[id(node)] = g

    _walk(seeds, nodes, keep, retain_graph or False, create_graph)
    for i, node in enumerate(nodes):
        if id(node) not in found and not allow_unused:
            raise RuntimeError(f"grad: the outputs do not depend on input {i}; allow_unused=True gives None for it")
    return tuple(found.get(id(node)) for node in nodes)


def _walk(seeds, wanted, deliver, retain_graph, create_graph):
    """Call deliver(node, gradient) for every leaf, or for the `wanted` nodes, going from the seeds to the leaves."""
    nodes = _reachable([t._fn or t for t, _ in seeds])
    wanted_ids = {id(n) for n in (nodes if wanted is None else wanted) if wanted is not None or isinstance(n, Tensor)}
    useful = _leading_to(nodes, wanted_ids)
    pending, overwriting = {}, not create_graph and not anomaly.get()
    with Setting(grad_enabled, bool(create_graph)):
        for t, g in seeds:
            _add(pending, t._fn or t, g, False)
        while nodes:
            node = nodes.pop()
            if id(node) not in pending or id(node) not in useful:
                continue
            unshared = not node.hooks and _unshared(pending, id(node))
            g = pending.pop(id(node))
            if node.hooks:
                g = run_hooks(node.hooks, g)
            if isinstance(node, Function) and not useful.isdisjoint(map(id, node.edges)):
                node.owns_gradient = overwriting and unshared and id(node) not in wanted_ids
                _spread(pending, node, g, overwriting)
                if not (retain_graph or create_graph):
                    node._saved = None
            if id(node) in wanted_ids:
                deliver(node, g, unshared)
            g = None  # what comes next may be a view of it, which nobody else holds


def _reachable(roots):
    """Every node below the roots, leaves first and then Functions in the order of their creation."""
    seen, stack = {}, list(roots)
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            if isinstance(node, Function):
                stack.extend(e for e in node.edges if e is not None)
    return sorted(seen.values(), key=lambda n: n.order if isinstance(n, Function) else -1)


def _leading_to(nodes, wanted_ids):
    """The ids of the nodes from which a wanted one can be reached. nodes: in order of creation."""
    useful = set()
    for node in nodes:
        below = isinstance(node, Function) and not useful.isdisjoint(map(id, node.edges))
        if below or id(node) in wanted_ids:
            useful.add(id(node))
    return useful


def _spread(pending, node, g, overwriting):
    """Hand the gradients of a Function's inputs to the nodes that made those."""
    for edge, ge in zip(node.edges, node._gradients(g), strict=True):
        if edge is not None and ge is not None:
            _add(pending, edge, ge, overwriting)


def _unshared(pending, key):
    """Whether nobody else holds the gradient pending[key], its array, or memory that this is a view of.

    Python counts who holds an object: one is the place where it was found, another this question. PyTorch's
    accumulate_grad.h asks the same. A broadcast view, or a small part of an array, counts as shared.
    """
    if sys.getrefcount(pending[key]) > 2 or sys.getrefcount(pending[key]._data) > 2:
        return False
    array = pending[key]._data
    if 0 in array.strides or not getattr(array.flags, "writeable", True):
        return False
    return array.base is None or (sys.getrefcount(array.base) <= 2 and array.base.nbytes <= 2 * array.nbytes)


def _add(pending, node, g, overwriting):
    """Add g to what is pending for a node; in its place, where that is allowed and nobody else looks at it."""
    key = id(node)
    if key not in pending:
        pending[key] = g
    elif overwriting and _unshared(pending, key) and _alike(pending[key]._data, g._data):
        with np.errstate(all="ignore"):
            join(pending[key]._data, g._data)
    else:
        pending[key] = pending[key] + g


def _alike(a, b):
    return type(a) is type(b) is np.ndarray and a.dtype == b.dtype


def _seed(name, t, gradient):
    """The gradient to start from, checked."""
    if not t.requires_grad:
        raise RuntimeError(f"{name}: the tensor does not require gradients and was not computed from any that does")
    if gradient is None:
        if t.numel() != 1:
            raise RuntimeError(f"{name}: a gradient is needed for a tensor that is no scalar (shape {t.shape})")
        return Tensor._wrap(array_module(t._data).ones_like(t._data))
    gradient = as_tensor(gradient)
    if gradient.shape != t.shape:
        raise RuntimeError(f"{name}: the gradient has shape {gradient.shape}, the tensor {t.shape}")
    return gradient if gradient.dtype == t.dtype else gradient.astype(t.dtype)


def _accumulate(leaf, g, unshared):
    """Add g to leaf.grad: to the same Tensor, or to a new one where the sum has a graph of its own."""
    if leaf.grad is None:
        keep = unshared and g.is_leaf
        leaf.grad = Tensor._wrap(g._data) if keep else g.clone()  # another leaf may have g too, or it is broadcast
    elif grad_enabled.get() or leaf.grad.requires_grad:
        leaf.grad = leaf.grad + g
    else:
        with np.errstate(all="ignore"):
            leaf.grad._data += g._data
        leaf.grad.mark_modified()


def _as_tuple(x):
    return (x,) if isinstance(x, Tensor) else tuple(x)
