"""Local response normalisation in CUDA: one thread for each number. The kernels are in lrn.cu."""
from ..cuda import accumulator, contiguous, empty, launch, over

FILE = "norm/lrn.cu"


def lrn_forward(x, q):
    """y = x s^-beta. x: N x C x ..., any strides -> the same shape, channels-last strides."""
    rows = pixels(x)
    y = empty(rows.shape, x.dtype, x)
    _run("forward", y, (rows, y), q.reach, q.alpha, q.beta, q.k)
    return _logical(y)


def lrn_grad_input(gy, x, q):
    """gx = gy s^-beta - 2 alpha beta x W'(gy x s^(-beta - 1))."""
    arrays = pixels(gy), pixels(x)
    u = empty(arrays[0].shape, accumulator(x.dtype), x)
    gx = empty(u.shape, x.dtype, x)
    _run("inner", gx, (*arrays, u), q.reach, q.alpha, q.beta, q.k)
    _run("grad_input", gx, (*arrays, u, gx), q.reach, q.alpha, q.beta, q.k)
    return _logical(gx)


def window_sum(x, reach):
    """The sum of the channels c - reach[0] ... c + reach[1] for each channel c. x: N x C x ..."""
    rows = pixels(x)
    y = empty(rows.shape, x.dtype, x)
    _run("window_sum", y, (rows, y), reach)
    return _logical(y)


def pixels(x):
    """N x C x ... with any strides -> contiguous N x ... x C (no copy if x is channels-last)."""
    return contiguous(x.transpose(0, *range(2, x.ndim), 1))


def _logical(y):
    return y.transpose(0, -1, *range(1, y.ndim - 1))


def _run(kernel, result, arrays, reach, *numbers):
    grid, block = over(result.size)
    launch(FILE, kernel, grid, block, (*arrays, result.size, result.shape[-1], *reach, *map(float, numbers)),
           dtype=result.dtype)
