"""Where minigrad keeps what it has measured and compiled for this user: one folder."""
import os
from pathlib import Path


def cache_folder():
    """MINIGRAD_CACHE, or else minigrad's folder in XDG_CACHE_HOME or in ~/.cache. It need not exist."""
    if folder := os.environ.get("MINIGRAD_CACHE"):
        return Path(folder)
    folder = os.environ.get("XDG_CACHE_HOME", "")  # a relative one is to be ignored, says its specification
    return Path(folder if os.path.isabs(folder) else Path.home() / ".cache", "minigrad")
