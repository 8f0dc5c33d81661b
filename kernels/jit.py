"""The one way this project compiles a loop with Numba.

Code is cached on disk, so only the first run after an install or an edit compiles; where no folder is
writable the loop is compiled anew in each process. Numba notices edits only in the file that holds the
loop itself, so a kernel file must not call compiled loops of another file.
"""
import numba

# May fuse a*b+c and reorder sums (which vectorises them); still honours NaN and infinity.
FASTMATH = {"contract", "reassoc", "nsz"}


def jit(function):
    """Compile `function` in nopython mode on its first call; it releases the GIL while it runs."""
    options = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": neither the package nor the user's cache folder is writable
        return numba.njit(**options)(function)
