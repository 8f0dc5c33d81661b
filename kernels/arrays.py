"""How kernels see their arrays: channels-last, groups as an axis of their own, zeros around the edge.

Outside the kernels every image batch is logically N x C x H x W, whatever its strides. Inside, loops run over
N x H x W x C, so that one pixel's channels are neighbours in memory, or over N x H x W x G x Cg, where a group is just
an index.
"""
import numpy as np

from .rows import contiguous

DEVICES = {"cupy": "cuda", "minigrad.kernels.cuda.simulated": "cuda-sim"}  # where the type of an array is defined


def device_of(array):
    """"cuda" for a CuPy array, "cuda-sim" for one on the simulated device (kernels/cuda/), "cpu" for a NumPy array.

    Decided by the array itself, never by a global.
    """
    kind = type(array)
    if kind is np.ndarray:
        return "cpu"
    return DEVICES.get(kind.__module__.partition(".")[0], DEVICES.get(kind.__module__, "cpu"))


def hardware(device):
    """The device in a table of kernels: the simulated one runs the rows of a real one."""
    return "cuda" if device == "cuda-sim" else device


def nhwc(x):
    """N x C x H x W with any strides -> contiguous N x H x W x C (no copy if x is channels-last)."""
    return contiguous(x.transpose(0, 2, 3, 1))


def nchw(y):
    """N x H x W x C -> the N x C x H x W view of the same memory."""
    return y.transpose(0, 3, 1, 2)


def to_channels_last(x, groups=1):
    """N x C x H x W with any strides -> contiguous N x H x W x G x C/G (no copy if x is channels-last)."""
    n, c, h, w = x.shape
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(n, h, w, groups, c // groups)


def from_channels_last(y):
    """N x H x W x G x Cg -> the N x (G Cg) x H x W view of the same memory, so with channels-last strides."""
    n, h, w = y.shape[:3]
    return y.reshape(n, h, w, y.shape[3] * y.shape[4]).transpose(0, 3, 1, 2)


def finished(y, bias, low):
    """max(low, y + bias), in place: the end of a convolution whose loops do not do it. y: N x OC x OH x OW."""
    if bias is not None:
        y += bias.reshape(1, -1, 1, 1)
    return y if low == -np.inf else np.maximum(y, y.dtype.type(low), out=y)


def channels_last(shape, dtype):
    """Zeros, N x C x H x W, with channels-last strides."""
    n, c, h, w = shape
    return np.zeros((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def padded(x, p):
    """x (N x C x H x W) as N x HP x WP x G x C/G with the zeros of `p.padding` around it.

    HP = H + top + bottom and WP = W + left + right. No copy if x is channels-last and nothing is added.
    """
    (top, bottom), (left, right) = p.padding
    if not (top or bottom or left or right):
        return to_channels_last(x, p.groups)
    n, c, h, w = x.shape
    xp = np.zeros((n, top + h + bottom, left + w + right, c), x.dtype)
    xp[:, top : top + h, left : left + w] = x.transpose(0, 2, 3, 1)
    return xp.reshape(*xp.shape[:3], p.groups, c // p.groups)


def pack_weight(w, groups, axes):
    """w (OC x Cg x KH x KW) as a contiguous copy of its five axes (G, OCg, Cg, KH, KW), in the order `axes`."""
    oc, cg, kh, kw = w.shape
    return np.ascontiguousarray(w.reshape(groups, oc // groups, cg, kh, kw).transpose(axes))


def unpack_weight(wp, axes):
    """The inverse of `pack_weight`: the OC x Cg x KH x KW array, contiguous."""
    inverse = np.argsort(axes)
    g, ocg, cg, kh, kw = (wp.shape[i] for i in inverse)
    return np.ascontiguousarray(wp.transpose(inverse)).reshape(g * ocg, cg, kh, kw)
