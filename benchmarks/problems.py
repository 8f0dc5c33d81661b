"""The convolutions to be timed: their data, their exact result, and how much work they are.

A convolution is a dict: x (N, C, H, W), w (OC, C/groups, KH, KW), stride, padding, groups. Every side makes the same
numbers from the same seed. The exact result is computed in float64, one matrix product a tap.
"""
import numpy as np

PASSES = ("forward", "grad_input", "grad_weight")


def output_shape(spec):
    """N, OC, OH, OW."""
    n, _, *size = spec["x"]
    rest = [(s + 2 * spec["padding"] - k) // spec["stride"] + 1 for s, k in zip(size, spec["w"][2:], strict=True)]
    return n, spec["w"][0], *rest


def macs(spec):
    """Multiplications of a direct convolution, the same for each pass."""
    return int(np.prod(output_shape(spec)) * np.prod(spec["w"][1:]))


def traffic(spec):
    """Bytes of x, w and y in float32, each once: the least that any algorithm moves."""
    return 4 * int(np.prod(spec["x"]) + np.prod(spec["w"]) + np.prod(output_shape(spec)))


def data(spec):
    """x, w and gy, float32, C-contiguous."""
    rng = np.random.default_rng(0)
    shapes = spec["x"], spec["w"], output_shape(spec)
    return tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)


def channels_last(array):
    """The same array N x C x H x W, with the strides of N x H x W x C, from a cache line on like a framework's own."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    moved = array.transpose(0, 2, 3, 1)
    made = memory[start : start + array.nbytes].view(array.dtype).reshape(moved.shape)
    made[...] = moved
    return made.transpose(0, 3, 1, 2)


def exact(spec, flip=False, module=np):
    """{pass: result in float64}. flip: true convolution, the kernel rotated by 180 degrees. module: numpy, or cupy."""
    x, w, gy = (module.asarray(array).astype(np.float64) for array in data(spec))
    pad, stride, groups = spec["padding"], spec["stride"], spec["groups"]
    x = module.pad(x.transpose(0, 2, 3, 1), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    gy = gy.transpose(0, 2, 3, 1)
    w = w[:, :, ::-1, ::-1] if flip else w
    y, gx, gw = (module.zeros(shape) for shape in (gy.shape, x.shape, w.shape))
    (oc, c, kh, kw), (oh, ow) = w.shape, gy.shape[1:3]
    for g in range(groups):
        ins, outs = slice(g * c, (g + 1) * c), slice(g * oc // groups, (g + 1) * oc // groups)
        for i in range(kh):
            for j in range(kw):
                rows = slice(i, i + stride * (oh - 1) + 1, stride)
                columns = slice(j, j + stride * (ow - 1) + 1, stride)
                tap, seen = w[outs, :, i, j], x[:, rows, columns, ins]
                y[..., outs] += seen @ tap.T
                gx[:, rows, columns, ins] += gy[..., outs] @ tap
                gw[outs, :, i, j] = module.tensordot(gy[..., outs], seen, ((0, 1, 2), (0, 1, 2)))
    gx = gx[:, pad : gx.shape[1] - pad, pad : gx.shape[2] - pad]
    gw = gw[:, :, ::-1, ::-1] if flip else gw
    results = {"forward": y.transpose(0, 3, 1, 2), "grad_input": gx.transpose(0, 3, 1, 2), "grad_weight": gw}
    return results if module is np else {which: array.get() for which, array in results.items()}


def relative_error(value, expected):
    """The largest difference, relative to the largest element."""
    if value.shape != expected.shape:
        raise ValueError(f"expected shape {expected.shape}, got {value.shape}")
    return float(np.abs(value - expected).max() / np.abs(expected).max())
