"""Saving and loading tensors as safetensors files: no code in them, readable by every framework."""
import os
from pathlib import Path

from .tensor import Tensor, as_tensor


def save(state, path):
    """Write {name: Tensor} (such as `module.state_dict()`) to a .safetensors file; an existing one is replaced.

    The file appears whole or not at all: it is written beside its place and then moved there.
    """
    from safetensors.numpy import save as to_bytes

    arrays = {name: _contiguous(as_tensor(t)) for name, t in state.items()}
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(to_bytes(arrays))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load(path):
    """Read a .safetensors file into {name: Tensor}. Raises ValueError if it is no such file or is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return {name: Tensor(array) for name, array in from_bytes(Path(path).read_bytes()).items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None


def _contiguous(t):
    return t.detach().numpy().copy(order="C")
