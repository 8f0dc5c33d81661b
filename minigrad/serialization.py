"""Saving and loading tensors as safetensors files: no code in them, readable by every framework."""
import os
from pathlib import Path

from .tensor import Tensor, as_tensor


def save(state, path):
    """Write {name: Tensor or array} (such as `module.state_dict()`) to a .safetensors file, replacing an existing one.

    The file appears whole or not at all: it is written beside its place and then moved there. Raises OSError where
    that fails, and TypeError for what is no dict or holds something else.
    """
    from safetensors.numpy import save as to_bytes

    if not isinstance(state, dict):
        raise TypeError(f"save: expected a dict such as module.state_dict(), got {type(state).__name__}")
    arrays = {name: as_tensor(t).detach().numpy().copy(order="C") for name, t in state.items()}
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(to_bytes(arrays))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load(path):
    """Read a .safetensors file into {name: Tensor}.

    Raises ValueError if it is no such file, is damaged or holds a dtype that Tensors do not have, and OSError if it
    cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    raw = Path(path).read_bytes()
    try:
        arrays = from_bytes(raw)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None
    except KeyError as error:  # a type of numbers that NumPy does not have
        raise ValueError(f"{path}: cannot read numbers of type {error.args[0]}") from None
    try:
        return {name: Tensor(array) for name, array in arrays.items()}
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None
