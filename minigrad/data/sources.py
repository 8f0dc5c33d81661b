"""From the files of a data set to its images: where they lie, whether they are what they should be, what is in them.

What is wrong with a file (cut short, another format, labels beyond the classes, another data set's) is a ValueError
that names it. A file with the right layout that is not the official one, by its md5, is used with a warning: it may
have been packed anew, cut down or compressed, and whoever reads the results should know.
"""
import hashlib
import os
import warnings
from pathlib import Path

import numpy as np

from . import catalogue, cifar, idx, install
from .download import DownloadError


def data_root(root=None):
    """The folder of all data sets: root, or the environment's MINIGRAD_DATA, or ~/.cache/minigrad."""
    return Path(root or os.environ.get("MINIGRAD_DATA") or Path.home() / ".cache" / "minigrad")


def read(entry, root=None, train=True, download=False):
    """(images, labels) of one part of a data set: uint8 N x C x H x W and N, labels within its classes.

    download: fetch what is not there or damaged. Raises FileNotFoundError naming a missing file, ValueError for one
    that is not what it should be, and what `install.install` raises.
    """
    root = data_root(root)
    try:
        return _read(entry, root, train, download)
    except ValueError as damage:
        if not download:
            raise
        try:
            install.install(entry, root, anew=True)
        except DownloadError as error:
            raise DownloadError(f"{damage}; {error}") from None
    return _read(entry, root, train, False)


def _read(entry, root, train, download):
    found = find(entry, root, train)
    if found is None and (download or install.archives(entry, root)):
        install.install(entry, root)
        found = find(entry, root, train)
    if found is None:
        raise FileNotFoundError(missing(entry, root, train))
    reader, files = found
    images, labels, digests = READERS[reader](entry, files)
    top, last = labels.max(initial=0), len(entry.classes) - 1
    if top > last:
        raise ValueError(f"{entry.title} in {files[0][1].parent}: a label is {top}, expected 0 ... {last}")
    check_sums(entry, files, digests)
    return images, labels


# --- where they lie


def places(entry, root):
    """Each (path, Folder) where the files may be: the data set's own folders, then the root itself."""
    return [(root / folder.path, folder) for folder in entry.folders] + [(root, folder) for folder in entry.folders]


def find(entry, root, train):
    """(reader, [(File, path)]) of the first place that has all files of a part, or None."""
    for path, folder in places(entry, root):
        files = [(file, locate(path, file, folder.reader)) for file in (folder.train if train else folder.test)]
        if all(path for _, path in files):
            return folder.reader, files
    return None


def locate(path, file, reader):
    """The path of a file in a folder (packed or not, if it is IDX), or None."""
    names = (f"{file.name}.gz", file.name) if reader == "idx" else (file.name,)
    return next((path / name for name in names if (path / name).is_file()), None)


def missing(entry, root, train):
    """One line: which file is not there, where it may be, and how it gets there."""
    for path, folder in places(entry, root):
        files = folder.train if train else folder.test
        absent = [file for file in files if not locate(path, file, folder.reader)]
        if len(absent) < len(files):
            break
    else:
        path, folder = places(entry, root)[0]
        absent = folder.train if train else folder.test
    name = absent[0].name
    names = f"{name}.gz or {name}" if folder.reader == "idx" else name
    below = ", ".join(f.path for f in entry.folders)
    return (f"{entry.title}: no {names} in {path} (looked in {root} and its folders {below}); put it there, "
            "give --data-root (root=) or MINIGRAD_DATA, or fetch it with --download (download=True)")


# --- what they are


def known_sums():
    """{md5: (title, name)} of every file of every data set, as it is read."""
    return {
        file.md5: (entry.title, file.name) for entry in catalogue.ENTRIES.values() for folder in entry.folders
        for file in (*folder.train, *folder.test) if file.md5
    }


def check_sums(entry, files, digests):
    """ValueError where a file is that of another data set or part, a warning where it is not the official one."""
    known, strange = known_sums(), []
    for (file, path), digest in zip(files, digests, strict=True):
        title, name = known.get(digest, (entry.title, file.name))
        if (title, name) != (entry.title, file.name):
            raise ValueError(f"{path}: this is {name} of {title}, not {file.name} of {entry.title}")
        wanted = file.md5
        if wanted is None and path.suffix == ".gz":  # only the packed file's is published
            wanted = {fetch.name: fetch.md5 for fetch in entry.fetches}.get(path.name)
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if wanted is not None and digest != wanted:
            strange.append(path)
    if strange:
        more = f" and {len(strange) - 1} more of its files" if len(strange) > 1 else ""
        warnings.warn(f"{entry.title}: not the official files, by their md5, but of their layout, and so used: "
                      f"{strange[0]}{more}", stacklevel=6)


# --- what is in them


def read_idx_pair(entry, files):
    """(images, labels, [md5 of each file]) of a file of images and one of labels."""
    (images, first), (labels, second) = (idx.read_idx_and_md5(path, file.size) for file, path in files)
    where = f"{entry.title} in {files[0][1].parent}"
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"{where}: images of shape {images.shape} do not fit labels of shape {labels.shape}")
    if 0 in images.shape:
        raise ValueError(f"{where}: no images or no pixels, shape {images.shape}")
    if images.shape[1:] != entry.shape[1:]:
        raise ValueError(f"{where}: images of {images.shape[1]}x{images.shape[2]} pixels, expected {entry.shape[1]}x"
                         f"{entry.shape[2]}")
    return images[:, None], labels, [first, second]


def read_records(entry, files):
    """The same of files of records."""
    return _together([cifar.read_records(path, file.size, entry.labels) for file, path in files])


def read_pickles(entry, files):
    """The same of pickled batches."""
    return _together([cifar.read_pickle(path, file.size) for file, path in files])


def _together(parts):
    images, labels, digests = zip(*parts, strict=True)
    if len(parts) == 1:
        return images[0], labels[0], digests
    return np.concatenate(images), np.concatenate(labels), digests


READERS = {"idx": read_idx_pair, "cifar": read_records, "pickle": read_pickles}
