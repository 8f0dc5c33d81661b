"""What is made of a weight before it is used: for one call, or for as long as the caller keeps it.

Kernels that rearrange or transform weights take an argument `kept`: None, or a dict that belongs to one weight with its
present values. What they make is then put there, and found again by the next call.
"""
from .buffers import empty
from .threads import scratch


def prepared(kept, recipe, w, shape, fill):
    """The array that fill(array) makes of w: of this shape, w's dtype, and not to be written to.

    kept: a dict, in which it stays, or None: it is in this thread's scratch and lives until the next call. recipe: a
    tuple, its name and all that decides its values but w itself. Every w that comes with one `kept` is a view of the
    same weight, beginning at its first element, so that shape and strides say which.
    """
    if kept is None:
        made = scratch(recipe[0], shape, w.dtype)
        fill(made)
        return made
    key = recipe, shape, w.shape, w.strides, w.dtype
    if key not in kept:
        made = empty(shape, w.dtype)
        fill(made)
        kept.setdefault(key, made)
    return kept[key]
