"""The modes of the engine: is it recording, is it looking for NaN, is a step watched? Each holds for one thread."""
import functools
import inspect
from contextvars import ContextVar

grad_enabled = ContextVar("grad_enabled", default=True)
anomaly = ContextVar("anomaly", default=False)
step_observer = ContextVar("step_observer", default=None)  # see cuda_graph.py


class Setting:
    """Give a context variable a value for the length of a `with` block or of a decorated function or generator."""

    def __init__(self, variable, value):
        self.variable, self.value, self.previous = variable, value, []

    def __enter__(self):
        self.previous.append(self.variable.get())
        self.variable.set(self.value)

    def __exit__(self, *exception):
        self.variable.set(self.previous.pop())

    def __call__(self, function):
        if inspect.isgeneratorfunction(function):
            return self._around_generator(function)

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        return wrapped

    def _around_generator(self, function):
        """The setting holds while the generator runs, not while it waits."""

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with self:
                generator = function(*args, **kwargs)
            while True:
                try:
                    with self:
                        value = next(generator)
                except StopIteration as end:
                    return end.value
                yield value

        return wrapped


def no_grad(function=None):
    """Context manager or decorator: nothing is recorded inside, results do not require gradients."""
    setting = Setting(grad_enabled, False)
    return setting if function is None else setting(function)


def enable_grad(function=None):
    """Context manager or decorator: recording is on inside, also within `no_grad`."""
    setting = Setting(grad_enabled, True)
    return setting if function is None else setting(function)


class set_grad_enabled(Setting):
    """Switch recording on or off, as `mode` says: from here on, or, as a context manager or decorator, inside."""

    def __init__(self, mode):
        super().__init__(grad_enabled, bool(mode))
        super().__enter__()
        self.entered = False

    def __enter__(self):
        if self.entered:  # the first `with` ends what the constructor began
            super().__enter__()
        self.entered = True

    def __call__(self, function):
        self.__exit__()
        self.entered = True
        return super().__call__(function)


def is_grad_enabled():
    """Whether operations are being recorded (in this thread)."""
    return grad_enabled.get()


def detect_anomaly():
    """Context manager: the first NaN or infinity, forward or backward, raises FloatingPointError.

    The error names the operation and the line of user code that called it. Costs time: for hunting only.
    """
    return Setting(anomaly, True)


def each_time(function):
    """Decorator of what computes with numbers of the host that change, as optimisers and schedules do.

    A step that is replayed as a CUDA graph calls it anew each time; its result must not be needed in the step.
    """

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        observer = step_observer.get()
        return function(*args, **kwargs) if observer is None else observer.each_time(function, args, kwargs)

    return wrapped


def is_watched():
    """Whether a step is running that is, or will be, recorded as a CUDA graph."""
    return step_observer.get() is not None


def is_recorded():
    """Whether what runs is being recorded as a CUDA graph: it is not done yet, and no value is known."""
    observer = step_observer.get()
    return observer is not None and observer.recording
