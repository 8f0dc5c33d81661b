"""The modes of the engine: does it record, look for NaN, round to TF32, watch a step? Each holds for one thread."""
import functools
import inspect
from contextvars import ContextVar

from minigrad.kernels.cuda.precision import PRECISIONS, float32_precision

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


class _FromHereOn(Setting):
    """A value from here on, or, where it is used as a context manager or decorator, inside."""

    def __init__(self, variable, value):
        super().__init__(variable, value)
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


class set_grad_enabled(_FromHereOn):
    """Switch recording on or off, as `mode` says: from here on, or, as a context manager or decorator, inside."""

    def __init__(self, mode):
        super().__init__(grad_enabled, bool(mode))


class set_float32_precision(_FromHereOn):
    """How exactly GPUs multiply float32 in convolutions: from here on, or, as context manager or decorator, inside.

    "strict": in float32. "tf32": the factors are rounded to 10 bits behind the point (TF32) and the products summed in
    float32, on tensor cores; the relative error of a product is at most about 2^-10.

    The default is "strict", where PyTorch's convolutions use TF32: so a network gives on a GPU what it gives on a CPU,
    up to the order of sums, and gradients agree with finite differences; giving accuracy for speed is for the user to
    choose. It holds for what is computed in this thread while it is set: a backward pass outside of a `with` is strict.
    Only the algorithm "implicit_gemm" heeds it. No effect on the CPU, on other dtypes, and on GPUs before sm_80.
    Raises ValueError for another word.
    """

    def __init__(self, precision):
        if precision not in PRECISIONS:
            raise ValueError(f"float32 precision must be one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
        super().__init__(float32_precision, precision)


def get_float32_precision():
    """"strict" or "tf32": what `set_float32_precision` made of it (in this thread)."""
    return float32_precision.get()


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
