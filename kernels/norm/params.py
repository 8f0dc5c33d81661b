"""What is normalised together, worked out and checked once: groups of elements, windows of channels."""
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

from ..conv.params import integer


@dataclass(frozen=True)
class NormParams:
    """The groups of an x that are normalised together. Checked; made by one of the three functions below.

    In words: x.reshape(view) has each group in the dimensions `dims`. In memory: x.transpose(order), made contiguous,
    is B x M x K x J, and the group (b, k) is [b, :, k, :]; weight and bias have an element for each (k, j).
    """

    shape: tuple  # x's
    view: tuple
    dims: tuple
    affine: tuple  # what weight and bias are reshaped to: their shape, with 1s, to broadcast with x
    order: tuple
    blocks: tuple  # B, M, K, J

    @cached_property
    def stats(self):
        """The shape of the groups' means and variances: they broadcast with x.reshape(view)."""
        return tuple(1 if i in self.dims else n for i, n in enumerate(self.view))

    @cached_property
    def count(self):
        """How many elements a group has."""
        return prod(self.view[i] for i in self.dims)

    @cached_property
    def inverse(self):
        """What undoes x.transpose(order)."""
        return tuple(sorted(range(len(self.order)), key=self.order.__getitem__))

    @cached_property
    def affine_order(self):
        """How the axes of a weight of the shape `affine` are put into the order in which x stores them."""
        first = len(self.shape) - len(self.affine)
        return [i - first for i in self.order if i >= first]


@lru_cache(1024)  # networks ask again with each batch
def batch_groups(shape):
    """Batch norm of N x C x ...: each channel is a group. Ioffe & Szegedy 2015, algorithm 1 and section 3.2."""
    n, c, *rest = shape
    dims = (0, *range(2, len(shape)))
    return NormParams(
        tuple(shape), tuple(shape), dims, (1, c, *(1 for _ in rest)), channels_last(len(shape)),
        (1, n * prod(rest), c, 1),
    )


def channel_groups(shape, num_groups, op="GroupNorm"):
    """Group norm of N x C x ...: the C/G channels of each of G groups, for each image. Wu & He 2018, section 3.1.

    Raises ValueError, naming `op`, where the channels cannot be split into `num_groups`.
    """
    n, c, *rest = shape
    g = integer(num_groups, "num_groups", op, 1)
    if c % g:
        raise ValueError(f"{op}: {c} channels cannot be split into {g} groups")
    view = (n, g, c // g, *rest)
    return NormParams(
        tuple(shape), view, tuple(range(2, len(view))), (1, c, *(1 for _ in rest)), channels_last(len(shape)),
        (n, prod(rest), g, c // g),
    )


def layer_groups(shape, normalized_shape, op="LayerNorm"):
    """Layer norm: all of the last dimensions, which are `normalized_shape`. Ba, Kiros & Hinton 2016, section 3.

    Raises ValueError, naming `op`, where the last dimensions of x are others.
    """
    shape, normalized = tuple(shape), tuple(normalized_shape)
    lead = len(shape) - len(normalized)
    if not normalized or lead < 0 or shape[lead:] != normalized:
        raise ValueError(f"{op}: normalized_shape is {normalized}, got x of shape {shape}")
    order = channels_last(4) if (len(shape), lead) == (4, 1) else tuple(range(len(shape)))
    dims = tuple(range(lead, len(shape)))
    return NormParams(shape, shape, dims, normalized, order, (prod(shape[:lead]), 1, 1, prod(normalized)))


def channels_last(ndim):
    """The order of N x C x ... that puts C last."""
    return (0, *range(2, ndim), 1)


@dataclass(frozen=True)
class LRNParams:
    """Local response normalisation: s = k + alpha (sum of x^2 over the window), y = x s^-beta. Made by `lrn_params`."""

    reach: tuple[int, int]  # the window of channel c: c - reach[0] ... c + reach[1]
    alpha: float  # of the formula above: already divided by the size
    beta: float
    k: float


def lrn_params(size, alpha, beta, k, op="LocalResponseNorm"):
    """PyTorch's parameters, whose alpha is divided by size; an even size looks one channel further back than ahead.

    Krizhevsky, Sutskever & Hinton 2012, section 3.3, do not divide: their alpha is alpha / size here, and their window
    of n channels, n odd, is size = n. Raises ValueError, naming `op`, for a size that is no positive integer.
    """
    size = integer(size, "size", op, 1)
    return LRNParams((size // 2, (size - 1) // 2), alpha / size, beta, k)
