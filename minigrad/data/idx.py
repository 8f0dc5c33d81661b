"""IDX, the format of MNIST (http://yann.lecun.com/exdb/mnist), gzipped or not.

Two zero bytes, the type (8: unsigned byte), the number of dimensions, each size as a big-endian 32-bit integer, then
the values.
"""
import gzip
import hashlib
import math
import os
import zlib

import numpy as np

LIMIT = 1 << 30  # bytes that a file may unpack to, if its reader expects nothing in particular


def read_idx(path, limit=LIMIT):
    """A uint8 array from an IDX file, gzipped or not, of at most `limit` bytes, header included.

    Raises ValueError if it is no such file, is cut short or too long, or announces more. No more than `limit` bytes
    are ever unpacked, whatever a gzip file expands to.
    """
    return _read(path, limit)[0]


def read_idx_and_md5(path, limit=LIMIT):
    """The array of `read_idx`, and the md5 of the unpacked file."""
    array, header = _read(path, limit)
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(array.reshape(-1))
    return array, digest.hexdigest()


def _read(path, limit):
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            return _parse(file, path, limit, os.fstat(file.fileno()).st_size)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(unpacked, path, limit, None)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file ({error})") from None


def _parse(file, path, limit, size):
    """The array and the bytes of the header. size: of the whole file, if it is known."""
    header = file.read(4)
    if len(header) < 4 or header[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    sizes = file.read(4 * header[3])
    if len(sizes) < 4 * header[3]:
        raise ValueError(f"{path}: cut short in its header, which announces {header[3]} dimensions")
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    header, count = header + sizes, math.prod(shape)
    if size is not None and size - len(header) != count:
        raise ValueError(f"{path}: announces shape {shape}, but {size - len(header)} values follow")
    if len(header) + count > limit:
        raise ValueError(f"{path}: announces shape {shape}, more than the {limit} bytes that are expected at most")
    raw = file.read(count)
    if len(raw) < count:
        raise ValueError(f"{path}: announces shape {shape}, but {len(raw)} values follow")
    if file.read(1):  # at the end gzip compares its own checksum, too
        raise ValueError(f"{path}: announces shape {shape}, but more than {count} values follow")
    try:
        return np.frombuffer(raw, np.uint8).reshape(shape), header
    except ValueError as error:  # more dimensions than an array can have
        raise ValueError(f"{path}: {error}") from None
