"""Saving and loading weights. Files are data here: nothing in them is ever imported, called or executed.

Written are safetensors files, which every framework reads; read are those and what PyTorch's `torch.save` writes, its
zip files and the older format without zip. Which of them a file is, its first bytes say; its name does not matter.
"""
import os

import numpy as np

from ..nn.module import Module
from ..tensor import as_tensor
from . import atomic, safetensors, torch_file


def save(state, path, metadata=None):
    """Write a Module's state, or {name: Tensor or array}, to a .safetensors file, replacing an existing one.

    metadata: {string: string} to stand in the file's header; `load_metadata` reads it. The file appears whole or not at
    all. Raises OSError where writing fails, TypeError for what is neither or holds something else, and ValueError for a
    name that the format keeps for itself.
    """
    if isinstance(state, Module):
        state = state.state_dict()
    if not isinstance(state, dict):
        raise TypeError(f"save: expected a Module or a dict such as module.state_dict(), got {type(state).__name__}")
    atomic.write(path, safetensors.to_bytes({name: _array(name, value) for name, value in state.items()}, metadata))


def load_metadata(path):
    """The {string: string} in the header of a .safetensors file; raises ValueError for any other or a damaged file."""
    with open(path, "rb") as file:
        try:
            return safetensors.load_metadata(file)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def load(path):
    """Read a file of weights.

    A safetensors file becomes {name: Tensor}, a file of `torch.save` what was saved: tensors, alone or in nested dicts
    (OrderedDicts too), lists, tuples and sets, with strings, numbers, None, sizes (as tuples), dtypes and devices
    (as strings) beside them. float16 and bfloat16 become float32. Parameters become Tensors that require gradients.
    Tensors that shared memory when PyTorch saved them share it still.

    Raises ValueError, naming the path, for any other file, one that is damaged or encrypted, a pickle that wants to
    call or hold anything else (whole models, for instance), and numbers of a type that Tensors do not have; OSError
    if the file cannot be read; TypeError for what is no path (a number would be an open file's, True standard output).
    """
    with open(os.fsdecode(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(512)
        file.seek(0)
        try:
            if torch_file.is_zip(head):
                return torch_file.load_zip(file, size)
            if torch_file.is_legacy(head):
                return torch_file.load_legacy(file, size)
            if safetensors.is_safetensors(head):
                return safetensors.load(file, size)
            raise ValueError(f"neither a safetensors file nor one that PyTorch wrote, but {_kind(head)}")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _array(name, value):
    """A contiguous array for the entry of that name."""
    if not isinstance(name, str):
        raise TypeError(f"save: names are strings, got {name!r}")
    try:
        return np.asarray(as_tensor(value).detach().numpy(), order="C")
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: {name!r} is no tensor but a {type(value).__name__}: {error}") from None


def _kind(head):
    """What a file that begins like this may be, for a message."""
    if not head:
        return "an empty file"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "another program's pickle, which is not opened"
    if head[257:262] == b"ustar":
        return "a tar file (as PyTorch wrote before 0.1.10: load and save it again with a later one)"
    return f"one that begins with {head[:12]!r}"
