"""Building an architecture around the weights in a file."""
import warnings

from minigrad import serialization
from minigrad.nn.init import skip
from minigrad.tensor import Tensor


def load_weights(name, model, options, path, new_head=False):
    """Build a Model with these options and load a .safetensors, .pth or .pt file into it; returns the network.

    Names and shapes must fit exactly, with two exceptions, of which a warning tells: where the file was made for
    another number of classes, what depends on it is newly initialised; and what the file has for a part that the
    options leave out (auxiliary heads) is not read. new_head: what depends on the number of classes is newly
    initialised in any case, without a warning. Raises RuntimeError listing what does not fit, and ValueError for a file
    that holds no weights.
    """
    state = _read(path, model)
    own = _shapes(model, options)
    unknown = state.keys() - own.keys()
    left_out = unknown & _shapes(model, model.options).keys() if unknown else set()
    if left_out:
        _tell(f"{name}: not read from {path}, because the options leave it out: {_parts(left_out)}")
    if new_head:
        head = head_names(model, options)
    else:
        head = _head(model, options, {n: state[n].shape for n in state.keys() & own.keys() if state[n].shape != own[n]})
    if head:
        if not new_head:
            _tell(f"{name}: newly initialised, because {path} has another number of classes: {_parts(head)}")
        net = model.build(**options)
        kept = net.state_dict()
    else:
        with skip():
            net = model.build(**options)
    try:
        given = {n: t for n, t in state.items() if n not in left_out and n not in head}
        net.load_state_dict(given | {n: kept[n] for n in head})
    except RuntimeError as error:
        raise RuntimeError(f"{path} does not fit {name}: {error}") from None
    return net


def head_names(model, options):
    """The names of a Model's parameters whose shapes depend on the number of classes.

    Raises ValueError for a network whose number of classes cannot be chosen freely.
    """
    one, other = (_shapes(model, {**options, "num_classes": n}) for n in (7, 8))
    return {name for name, shape in one.items() if shape != other[name]}


def _read(path, model):
    """{name: Tensor} of a file, under our names."""
    state = serialization.load(path)
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no state dict but a {type(state).__name__}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path} holds no state dict: its entry {key!r:.60} is a {type(value).__name__}; "
                f"take the state dict out of what minigrad.load returns and give it to load_state_dict"
            )
    return model.adapt(state) if model.adapt else state


def _shapes(model, options):
    """{name: shape} of the state dict of a model with these options."""
    with skip():
        return {n: t.shape for n, t in model.build(**options).state_dict().items()}


def _head(model, options, given):
    """The names among {name: shape}, which do not fit, that fit with another number of classes."""
    if not given:
        return set()
    try:
        one, other = (_shapes(model, {**options, "num_classes": n}) for n in (7, 8))
    except ValueError:  # a model whose classes cannot be chosen freely
        return set()

    def fits(name, shape):
        return len(shape) == len(one[name]) and all(
            n == a or a != b for a, b, n in zip(one[name], other[name], shape, strict=True)
        )

    return {name for name, shape in given.items() if fits(name, shape)}


def _parts(names):
    """The modules that entries of a state dict belong to, for a message."""
    parts = sorted({n.rpartition(".")[0] or n for n in names})
    return ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")


def _tell(message):
    warnings.warn(message, stacklevel=4)
