"""Building an architecture around the weights in a file."""
import warnings

from minigrad import serialization
from minigrad.nn.init import skip
from minigrad.tensor import Tensor


def load_weights(name, model, options, path):
    """Build a Model with these options and load a .safetensors, .pth or .pt file into it; returns the network.

    Names and shapes must fit exactly, with two exceptions, of which a warning tells: another number of classes keeps
    the newly initialised head, and what the file has for a part that the options leave out (auxiliary heads) is not
    read. Raises RuntimeError listing what does not fit, and ValueError for a file that holds no weights.
    """
    state = serialization.load(path)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        held = f"a dict of {', '.join(map(str, state))}" if isinstance(state, dict) else f"a {type(state).__name__}"
        raise ValueError(f"{path} holds no state dict but {held}: load it with minigrad.load and use load_state_dict")
    state = model.adapt(state) if model.adapt else dict(state)
    own = _shapes(model, options)
    left_out = {n for n in state if n not in own} & set(_shapes(model, model.options))
    if left_out:
        _tell(f"{name}: not read from {path}, because the options leave it out: {_parts(left_out)}")
    misshapen = {n for n, t in state.items() if n in own and t.shape != own[n]}
    head = misshapen & _head(model, options) if misshapen else set()
    if not head:
        with skip():
            net = model.build(**options)
    else:
        _tell(f"{name}: a new {_parts(head)}, because {path} has other classes")
        net = model.build(**options)
    state = {n: t for n, t in state.items() if n not in left_out}
    fresh = net.state_dict()
    net.load_state_dict({**state, **{n: fresh[n] for n in head}})
    return net


def _shapes(model, options):
    """{name: shape} of the state dict of a model with these options."""
    with skip():
        return {n: t.shape for n, t in model.build(**options).state_dict().items()}


def _head(model, options):
    """The names of the entries whose shape depends on the number of classes."""
    one, other = (_shapes(model, {**options, "num_classes": n}) for n in (7, 8))
    return {n for n in one if one[n] != other[n]}


def _parts(names):
    """The modules that entries of a state dict belong to, for a message."""
    parts = sorted({n.rpartition(".")[0] or n for n in names})
    return ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")


def _tell(message):
    warnings.warn(message, stacklevel=4)
