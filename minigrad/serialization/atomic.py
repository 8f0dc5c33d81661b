"""Files that appear whole or not at all, whatever happens while they are written: a crash, a kill, a power failure."""
import os
from pathlib import Path


def write(path, raw):
    """Put bytes into a file, replacing an existing one.

    They are written beside it, forced to the disk, and then moved into its place, which is one step for whoever looks.
    What a killed process leaves beside it (NAME.part) is overwritten by the next. Raises OSError where that fails.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder):
    """Force the folder's new entry to the disk, where folders can be opened (not on Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems have no such thing
        pass
    finally:
        os.close(descriptor)
