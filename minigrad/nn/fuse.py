"""`fuse`: a network for inference, with batch norm inside its convolutions and ReLU in their store.

In evaluation batch norm is a factor and an offset for each channel, which the weight and bias of the convolution before
it can take in. Python code decides which module reads what, so one run on a batch of no images is watched: the outputs
in question are Tensors that note which module is running when their values are read. (The graph of autograd would not
show who detaches a tensor, compares it or puts it away.) Sources: Ioffe & Szegedy 2015, algorithm 2, step 11; Jacob et
al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference", equation 14.
"""
import copy
import weakref

import numpy as np

from ..creation import tensor, zeros
from ..modes import no_grad
from ..tensor import DEFAULT_FLOAT, Tensor
from .activations import ReLU
from .containers import Identity
from .conv import Conv1d, Conv2d
from .linear import Linear
from .module import Parameter
from .norm import BatchNorm1d, BatchNorm2d

NORM = {Conv2d: BatchNorm2d, Conv1d: BatchNorm1d, Linear: BatchNorm1d}  # layer -> what may be folded into it


def fuse(model, *input_shapes):
    """A copy of a network for inference: the same outputs but for rounding, from fewer walks through memory.

    input_shapes: of one example, without N, for each input of the network: fuse(model, (3, 224, 224)). The copy is in
    evaluation mode and its parameters require no gradients; `model` stays as it is. In the copy

    - a BatchNorm2d after a Conv2d, or a BatchNorm1d after a Conv1d or a Linear (of N x C), is folded into its weight
      and bias: y = (conv(x) - running_mean) s + bias with s = weight / sqrt(running_var + eps), in float64;
    - a ReLU after a Conv2d, also one whose batch norm is folded, becomes part of the convolution's store;

    and Identity takes the place of what is gone, for good: `train()` does not bring it back. Left as they are: layers
    whose output, weight or bias anything else reads too, or that run more than once (of a ReLU every use must follow a
    convolution), have hooks or are of a subclass; batch norm without running statistics. What runs may not depend on
    the values of the input. Raises ValueError without a shape, and what the network raises for these shapes.
    """
    if not input_shapes:
        raise ValueError("fuse: the shape of an input is needed, such as fuse(model, (3, 224, 224))")
    net = copy.deepcopy(model).eval().requires_grad_(False)
    net.zero_grad()
    runs = _watch(net, input_shapes)
    gone, rectified = [], {}
    for layer, run in runs.items():
        if type(layer) not in NORM or not run.foldable:
            continue
        following = run.reader
        while _folds(layer, run, following, runs.get(following)):
            _fold(layer, following)
            gone.append(following)
            run = runs[following]
            following = run.reader
        if type(layer) is Conv2d and type(following) is ReLU:
            rectified.setdefault(following, []).append(layer)
    for relu, layers in rectified.items():
        if runs[relu].calls == len(layers) and not runs[relu].hooked:
            gone.append(relu)
            for layer in layers:
                layer.fused_relu = True
    for module in gone:
        _become_identity(module)
    return net


def _folds(layer, run, norm, norm_run):
    """Whether `norm`, the only reader of the layer's output, is a batch norm that can be folded into the layer."""
    if type(norm) is not NORM[type(layer)] or not norm_run.foldable or norm.training:
        return False
    if norm.running_mean is None or norm.running_var is None or norm_run.dtype != run.dtype:
        return False
    return type(layer) is not Linear or run.ndim == 2  # of N x L x C, batch norm takes L for the channels


def _fold(layer, norm):
    """Put the batch norm into the layer's weight and bias."""
    def float64(t, missing=None):
        return missing if t is None else t.numpy().astype(np.float64)

    dtype, scale_shape = layer.weight.dtype, (-1, *(1,) * (layer.weight.ndim - 1))
    with np.errstate(all="ignore"):  # as in batch norm itself, infinities and NaN flow
        scale = float64(norm.weight, 1.0) / np.sqrt(float64(norm.running_var) + norm.eps)
        weight = (float64(layer.weight) * scale.reshape(scale_shape)).astype(dtype)
        bias = (float64(layer.bias, 0.0) - float64(norm.running_mean)) * scale + float64(norm.bias, 0.0)
        bias = bias.astype(dtype)
    for name, array in (("weight", weight), ("bias", bias)):
        layer.register_parameter(name, Parameter(tensor(array, device=norm.running_var.device), requires_grad=False))


def _become_identity(module):
    """Turn the module itself into an Identity, so that it is one under all of its names and in lists of Python's."""
    module.__dict__.clear()
    object.__setattr__(module, "__class__", Identity)
    Identity.__init__(module)
    module.eval()


# --- watching a run


class _Watched(Tensor):
    """A Tensor that notes in `readers` which module is running (the last of `running`) when its values are used.

    Of its shape and dtype everybody may know: fusing does not change them.
    """

    __slots__ = ("readers", "running")

    @classmethod
    def of(cls, t, running):
        """The same values, watched."""
        watched = cls.__new__(cls)
        watched.running, watched.readers = running, set()
        watched._setup(t._data, None, t._version)
        watched.readers.clear()
        return watched

    @property
    def _data(self):
        self.readers.add(self.running[-1])
        return Tensor._data.__get__(self)

    @_data.setter
    def _data(self, array):
        self.readers.add(self.running[-1])
        Tensor._data.__set__(self, array)

    shape = property(lambda self: Tensor._data.__get__(self).shape)
    ndim = property(lambda self: Tensor._data.__get__(self).ndim)
    dtype = property(lambda self: Tensor._data.__get__(self).dtype)

    def is_floating_point(self):
        """Whether its dtype is float32 or float64."""
        return self.dtype.kind == "f"


class _Run:
    """What is seen of a module in the run: its calls, and of its output, if that is watched, dtype and dimensions."""

    def __init__(self, module):
        self.hooked = bool(module._forward_hooks or module._forward_pre_hooks)
        self.calls, self.readers = 0, set()
        self.dtype = self.ndim = None
        self.output = lambda: None
        self.private = True  # nobody but the module reads its parameters and buffers
        self.kept = False  # the output is there after the run: it was returned, or put away

    def end(self, module, state):
        """Draw the conclusions. state: the module's parameters and buffers, watched."""
        self.private = all(t.readers <= {module} for t in state)
        self.kept = self.output() is not None

    @property
    def foldable(self):
        """Whether the module may be changed or removed, as far as itself is concerned."""
        return self.calls == 1 and self.private and not self.hooked

    @property
    def reader(self):
        """The only module that read the output; None where others did too, or where the output was kept."""
        return next(iter(self.readers)) if len(self.readers) == 1 and not self.kept else None


def _watch(net, input_shapes):
    """{module: its _Run}, from a run on no images, or on one of zeros where a network cannot work on none."""
    dtype, device = next(((p.dtype, p.device) for p in net.parameters()), (DEFAULT_FLOAT, "cpu"))
    with no_grad():
        try:
            return _watched_run(net, [zeros(0, *shape, dtype=dtype, device=device) for shape in input_shapes])
        except Exception:  # of any kind: user code divides by N, or reshapes to (N, -1)
            return _watched_run(net, [zeros(1, *shape, dtype=dtype, device=device) for shape in input_shapes])


def _watched_run(net, inputs):
    runs, running, handles, tables = {m: _Run(m) for m in net.modules()}, [None], [], []

    def enter(module, inputs):
        running.append(module)

    def leave(module, inputs, output):
        while running.pop() is not module:  # one inside has raised what was caught
            pass
        run = runs[module]
        run.calls += 1
        if module in states:
            output = _Watched.of(output, running)
            run.output, run.readers = weakref.ref(output), output.readers
            run.dtype, run.ndim = output.dtype, output.ndim
        return output

    states = {m: [] for m in runs if type(m) in {*NORM, *NORM.values()}}
    try:
        for module, state in states.items():
            for table in (module._parameters, module._buffers):
                tables.append((table, dict(table)))
                table.update({key: _Watched.of(t, running) for key, t in table.items() if t is not None})
                state += [t for t in table.values() if t is not None]
        for module in runs:
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        result = net(*inputs)
        for module, state in states.items():
            runs[module].end(module, state)
        del result  # alive until here: what was returned counts as kept
    finally:
        for handle in handles:
            handle.remove()
        for table, original in tables:
            table.update(original)
    return runs
