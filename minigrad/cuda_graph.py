"""A training step as a CUDA graph: its work is recorded once, and after that given to the GPU in a single call.

In small networks Python and the launches take longer than the kernels; a replayed graph costs neither. What is recorded
is work on fixed memory, so a replay is right only where nothing else has changed: `Graph` watches what the step reads.
What cannot be fixed runs anew each time, between two graphs: the optimiser, whose rates and bias corrections are
numbers of the host (`each_time` in modes.py), and values that the host makes (`from_host`).
"""
import functools
import traceback
import warnings
from pathlib import Path

from minigrad.kernels.cuda.graphs import recorder

from .device import get_rng_state, set_rng_state
from .modes import Setting, step_observer
from .step_surroundings import Surroundings, Watched
from .tensor import Tensor

DIRECT = 2  # calls that run directly before one is recorded: kernels are compiled in them, and states made
PATIENCE = 3  # recordings in a row that were of no use because the next call found something changed


def graph(step):
    """A function that does what `step` does, and from the third call on by replaying a CUDA graph of it.

        step = mg.cuda.graph(step)  # def step(images, labels): zero_grad, forward, backward, optimizer.step
        for images, labels in loader:
            loss = step(images.to("cuda"), labels.to("cuda"))

    step: takes Tensors of one device and returns None, a Tensor or a tuple, list or dict of them. Arguments are copied
    to fixed memory, results from it (they carry no graph of gradients). Optimisers and schedules in the step work with
    numbers of the host, so they are called each time, between two graphs. All other Python in it runs only while it is
    recorded: what it prints, counts, checks or decides is not seen again (labels that name no class make the loss NaN).

    Where a tensor that it reads, a gradient or a variable has been replaced, or the mode of a network changed, it is
    recorded anew. Where it cannot be recorded it runs directly, with one RuntimeWarning, and `.reason` says why:
    tensors on the CPU; a value that the host reads (`.item()`, a condition) or sends; random numbers of the host;
    cuBLAS; something that is another at each call. Calls with other shapes than those recorded run directly, too.
    `.recorded` says whether there is a graph. On "cuda-sim" all this is simulated. Source: CUDA C++ Programming Guide,
    chapter "CUDA Graphs".
    """
    return Graph(step)


class Graph:
    """What `graph` returns."""

    def __init__(self, step):
        if not callable(step):
            raise TypeError(f"graph: expected a function, got {step!r}")
        functools.update_wrapper(self, step, updated=())
        self.step, self.reason = step, ""
        self._surroundings = Surroundings(step)
        self._recording = self._shapes = self._watched = None
        self._direct = self._changes = 0

    @property
    def recorded(self):
        """Whether there is a graph."""
        return self._recording is not None

    def __call__(self, *inputs):
        if self.reason:
            return _each(_detached, self.step(*inputs))
        if self._recording is not None:
            if _shapes(inputs) != self._shapes:
                return _each(_detached, self.step(*inputs))
            change = self._recording.change()
            if not change:
                self._changes = 0
                return self._recording.replay(inputs)
            self._start_again(change)
        elif self._direct and _shapes(inputs) != self._shapes:
            self._start_again("its arguments have other shapes", 0)
        if not self.reason and self._direct >= DIRECT:
            return self._record(inputs)
        return self._watch(inputs)

    def _watch(self, inputs):
        """Run directly, and see what the step reads."""
        self._shapes, self._watched = _shapes(inputs), Watched(self._surroundings.tensors())
        with Setting(step_observer, Observer(self._watched)):
            outputs = _each(_detached, self.step(*inputs))
        self._direct += 1
        away = self._watched.devices - {"cpu"}
        if len(away) != 1:
            where = " and ".join(sorted(away)) or "the CPU, where there is nothing to record"
            self._give_up(f"its tensors are on {where}")
        return outputs

    def _record(self, inputs):
        """Record the step and run it for the first time from there; directly, if that fails."""
        (device,) = self._watched.devices - {"cpu"}
        chance = get_rng_state()
        try:
            recording = Recording(self.step, inputs, recorder(device), self._surroundings, self._watched)
            if get_rng_state() != chance:
                raise RuntimeError("it draws random numbers of the host, which would be the same in every replay")
        except Exception as error:  # whatever it was: the step itself tells, or runs without a graph
            set_rng_state(chance)
            self._give_up(_why(error))
            return _each(_detached, self.step(*inputs))
        self._recording = recording
        return recording.replay(inputs)

    def _start_again(self, change, direct=1):
        """Forget what was recorded, because of a change; so many direct calls count."""
        self._recording, self._direct = None, direct
        self._changes += 1
        if self._changes >= PATIENCE:
            self._give_up(f"{change} at each call")

    def _give_up(self, reason):
        self.reason = reason
        name = getattr(self.step, "__name__", repr(self.step))
        warnings.warn(f"mg.cuda.graph: {name} runs without a graph: {reason}", RuntimeWarning, stacklevel=4)


class Observer:
    """What the engine tells about a step that runs directly. `inputs`: called with those of every Function."""

    recording = False

    def __init__(self, watched):
        self.inputs = watched.add

    def each_time(self, function, args, kwargs):
        """Called in place of a function that is marked `each_time`."""
        return function(*args, **kwargs)


class Recording(Observer):
    """A recorded step: graphs, and between them what is called each time.

    Nothing is done while recording, also no `each_time` function. Raises whatever the step does when its work cannot
    be recorded; the gradients are then as they were.
    """

    recording = True

    def __init__(self, step, inputs, recorder, surroundings, before):
        self.recorder, self.surroundings = recorder, surroundings
        self.parts = []  # graphs, and (function, args, kwargs, gradients at that time)
        self.renewed = []  # (array, make): what the host makes before each replay (`device.from_host`)
        self.fixed = [_fixed(t) for t in inputs]
        self.watched = Watched(surroundings.tensors())
        super().__init__(self.watched)
        leaves = [t for t in before.alive() if t.requires_grad]
        self.leaves, self.grads_before = leaves, [t._grad for t in leaves]
        try:
            with recorder.apart(), Setting(step_observer, self):
                self._run(step)
        except BaseException:
            self._set_grads(self.grads_before)
            raise
        self.grads_after = self._grads()
        self.arrays_before = [None if g is None else g._data for g in self.grads_before]
        self.watched.settle(before)
        self.around = surroundings.now()

    def _run(self, step):
        self.recorder.begin()
        try:
            self.outputs = _each(_detached, step(*self.fixed))
        except BaseException:
            self.recorder.abandon()
            raise
        self.parts.append(self.recorder.end())

    def each_time(self, function, args, kwargs):
        """Keep the call: it is made when all that was recorded before is done."""
        self.parts += self.recorder.end(), (function, args, kwargs, self._grads())
        self.recorder.begin()

    def change(self):
        """What is not as it was when this was recorded, in words, or ""."""
        return self.surroundings.change(self.around) or self.watched.change() or self._changed_gradient()

    def _changed_gradient(self):
        """Gradients may be gone or new, as they were gone or new before; those added to must be the same."""
        for t, before, array, after in zip(
            self.leaves, self.grads_before, self.arrays_before, self.grads_after, strict=True
        ):
            if (t._grad is None) != (before is None):
                return f"a gradient of shape {t.shape} comes or goes"
            if array is not None and after is not None and after._data is array and t._grad._data is not array:
                return f"a gradient of shape {t.shape} that it adds to is replaced"
        return ""

    def replay(self, inputs):
        """Do what the step does, with these inputs; returns copies of its results."""
        for fixed, t in zip(self.fixed, inputs, strict=True):
            if isinstance(t, Tensor):
                self.recorder.copy(fixed._data, t._data)
        for array, make in self.renewed:
            self.recorder.write(array, make())
        for part in self.parts:
            if isinstance(part, tuple):
                function, args, kwargs, grads = part
                self._set_grads(grads)
                function(*args, **kwargs)
            else:
                part.launch()
        self._set_grads(self.grads_after)
        self.watched.mark_written()
        return _each(_copied, self.outputs)

    def _grads(self):
        return [t._grad for t in self.leaves]

    def _set_grads(self, grads):
        for t, g in zip(self.leaves, grads, strict=True):
            t._grad = g


def _shapes(inputs):
    """What must be as it was when a step was recorded: shapes and dtypes, devices, and all that are no Tensors."""
    return [(t.shape, t.dtype, t.device) if isinstance(t, Tensor) else t for t in inputs]


def _each(function, value):
    """The value with function(tensor) in place of every Tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _each(function, v) for key, v in value.items()}
    return type(value)([_each(function, v) for v in value]) if type(value) in (tuple, list) else value


def _detached(t):
    return t.detach()


def _copied(t):
    return Tensor._wrap(t._data.copy(order="K"))


def _fixed(t):
    """An argument as the recorded step gets it."""
    if not isinstance(t, Tensor):
        return t
    if t.requires_grad:
        raise RuntimeError("an argument requires gradients: let the step read it as a variable")
    return _copied(t)


ENGINE = tuple(str(Path(module).parent) for module in (__file__, recorder.__code__.co_filename))


def _why(error):
    """An error, with the user's line that it comes from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ENGINE)]
    frames = [f for f in frames if "cupy" not in f.filename]
    at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{type(error).__name__}: {error}{at}"
