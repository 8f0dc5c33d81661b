"""Getting a data set's official files into its folder: downloads, and the archives among them unpacked."""
import gzip
import os
import shutil
import tarfile
import tempfile
import zlib

from . import download

SMALL = 1 << 20  # bytes of an archive beside the files that are wanted: class names, a page about the data


def install(entry, root, timeout=download.TIMEOUT, anew=False):
    """Fetch what is not there of a data set's official files into the first of its folders below root.

    anew: also what is there but is not official. Raises DownloadError, which says where to put the files by hand,
    ValueError for an archive that is not what it should be, and OSError where a folder cannot be written.
    """
    folder = root / entry.folders[0].path
    for fetch in entry.fetches:
        archive = fetch.name.endswith(".tar.gz")
        place = (root if archive else folder) / fetch.name
        if anew:
            there = place.is_file() and download.md5_of(place) == fetch.md5
        else:
            there = place.is_file() or (folder / fetch.name.removesuffix(".gz")).is_file()
        if not there:
            try:
                download.fetch([mirror + fetch.name for mirror in entry.mirrors], place, fetch.size, fetch.md5, timeout)
            except download.DownloadError as error:
                raise download.DownloadError(f"{error}; or put the file into {place.parent} by hand") from None
        if archive:
            extract(place, folder, {file.name: file.size for file in (*entry.folders[0].train, *entry.folders[0].test)})


def archives(entry, root):
    """Whether all of a data set's archives lie in root, downloaded by hand."""
    names = [fetch.name for fetch in entry.fetches if fetch.name.endswith(".tar.gz")]
    return bool(names) and all((root / name).is_file() for name in names)


def extract(archive, folder, sizes):
    """Unpack from FOLDER's archive the files {name: bytes}, and nothing else; the folder appears whole or not at all.

    Only regular files with just the path FOLDER/NAME are taken, whatever else is in there (links, "../", devices).
    Raises ValueError for an archive that is damaged, lacks a file, has one of another size, or expands to far more.
    """
    wanted = {f"{folder.name}/{name}": size for name, size in sizes.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent)
    try:
        with gzip.open(archive) as unpacked, tarfile.open(
            fileobj=_Bounded(unpacked, sum(sizes.values()) + SMALL), mode="r|"
        ) as tar:
            for member in tar:
                size = wanted.pop(member.name.removeprefix("./"), None)
                if size is None:
                    continue
                if not member.isreg() or member.size != size:
                    raise ValueError(f"{member.name} is not a file of {size} bytes")
                with open(os.path.join(temporary, os.path.basename(member.name)), "wb") as file:
                    shutil.copyfileobj(tar.extractfile(member), file)
        if wanted:
            raise ValueError(f"there is no {next(iter(wanted))}")
        for name in sizes:  # beside files that the folder may have already
            if folder.is_dir():
                os.replace(os.path.join(temporary, name), folder / name)
        if not folder.is_dir():
            os.chmod(temporary, 0o755)
            os.rename(temporary, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise ValueError(f"{archive}: not the archive it should be: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Bounded:
    """A file that refuses to give more than so many bytes: an archive may expand to a thousand times its size."""

    def __init__(self, file, limit):
        self.file, self.left = file, limit

    def read(self, size):
        data = self.file.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise ValueError("it expands to more than its files should take")
        return data
