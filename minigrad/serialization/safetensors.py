"""safetensors: 8 bytes that say how long a JSON header is, the header {name: dtype, shape, offsets}, the numbers.

The safetensors library writes the files and checks their headers. The numbers are read here, each tensor into an
array of its own, because the library's NumPy side has no bfloat16. Format: github.com/huggingface/safetensors.
"""
import json
import math

import numpy as np

from ..tensor import Tensor
from .elements import element_type, fill

NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
}


def is_safetensors(head):
    """Whether a file that begins with these bytes is meant to be a safetensors file."""
    return head[8:9] == b"{"


def to_bytes(arrays, metadata=None):
    """The file for {name: contiguous array} and {string: string}. ValueError for a name the format keeps for itself."""
    from safetensors.numpy import save

    if "__metadata__" in arrays:
        raise ValueError("save: a safetensors file cannot have a tensor named '__metadata__'")
    return save(arrays, metadata)


def check(file):
    """ValueError unless the library finds an open file whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file.name, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from None


def load_metadata(file):
    """The {string: string} of an open file."""
    check(file)
    return json.loads(file.read(int.from_bytes(file.read(8), "little"))).get("__metadata__", {})


def load(file, size):
    """{name: Tensor} of an open file of `size` bytes. Raises ValueError if it is damaged or has strange numbers."""
    check(file)
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {name: _tensor(file, name, entry, 8 + length, size) for name, entry in header.items()}


def _tensor(file, name, entry, start, size):
    kind = element_type(NAMES.get(entry["dtype"], entry["dtype"]))
    first, last = entry["data_offsets"]
    count = math.prod(entry["shape"])
    if not 0 <= first <= last <= size - start or last - first != count * kind.stored.itemsize:
        raise ValueError(f"not a safetensors file: {name!r} lies outside of it")
    array = np.empty(count, kind.dtype)
    file.seek(start + first)
    fill(array, kind, file)
    return Tensor(array.reshape(entry["shape"]))
