"""What kernels make of a weight (packed panels, Winograd's transforms), kept for as long as the weight is unchanged.

It hangs on the weight's Tensor, under the version counter of its memory, and goes when the Tensor goes. Every change in
place moves the counter: an optimiser's step, `load_state_dict`, assigning `w.data`, changing a view or `w.detach()`.
What the counter cannot see is a write into the memory behind the engine's back, through the array of `w.numpy()` or one
that the Tensor was made of: say `w.mark_modified()` after it, or what was kept before is used on.
"""
from .modes import grad_enabled


def kept(weight):
    """The dict in which kernels keep what they make of this weight; None if its gradient is being recorded.

    Such a weight is about to be changed: a training step keeps nothing, and drops what evaluation kept. Two threads may
    share the dict: what they make is the same, and is put there when it is complete.
    """
    if weight.requires_grad and grad_enabled.get():
        weight._kept = None
        return None
    count, known = weight._version.count, weight._kept
    if known is None or known[0] != count:
        weight._kept = known = count, {}
    return known[1]
