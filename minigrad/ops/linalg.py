"""Matrix products."""
from ..autograd import Function
from ..device import device_of
from ..kept import kept
from ..modes import is_watched
from ..tensor import as_tensor
from .dims import broadcast_shapes
from .promotion import same_dtype

SMALL = 1 << 18  # multiplications up to which NumPy's BLAS keeps to the calling thread; for more see kernels/gemm.py


class MatMul(Function):
    """y = a b for matrices, or for stacks of matrices of the same leading dimensions."""

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return product(a, b)

    def backward(self, gy):
        a, b = self.saved
        ga = MatMul()(gy, b.transpose(-1, -2)) if self.needs[0] else None
        gb = MatMul()(a.transpose(-1, -2), gy) if self.needs[1] else None
        return ga, gb


class Linear(Function):
    """y = x w^T + b. x: N x IN, w: OUT x IN, b: OUT. kept: of w (kept.py)."""

    kept = None

    def forward(self, x, w, b):
        self.save(x if self.needs[1] else None, w if self.needs[0] else None)
        y = product(x, w.T, self.kept)
        y += b
        return y

    def backward(self, gy):
        x, w = self.saved
        gx = MatMul()(gy, w) if self.needs[0] else None
        gw = MatMul()(gy.transpose(0, 1), x) if self.needs[1] else None
        return gx, gw, gy.sum(0) if self.needs[2] else None


def product(a, b, kept=None):
    """The array a b: a large one on the threads of the kernels, a small one by NumPy. kept: what was made of b."""
    if a.ndim == b.ndim == 2 and a.dtype.kind == "f" and a.size * b.shape[1] > SMALL and device_of(a) == "cpu":
        from minigrad.kernels.gemm import matmul as large_matmul  # loads Numba

        return large_matmul(a, b, kept)
    if a.ndim == b.ndim == 2 and device_of(a) != "cpu" and is_watched():
        return convolved(a, b)
    return a @ b


def convolved(a, b):
    """The array a b, as a 1x1 convolution: CuPy does not let cuBLAS be recorded in a CUDA graph."""
    from minigrad.kernels.conv import conv_params, lookup

    x, w = a[:, :, None, None], b.T[:, :, None, None]
    p = conv_params(x.shape, w.shape)
    return lookup("auto", device_of(a), x.shape, w.shape, p).forward(x, w, p)[:, :, 0, 0]


def matmul(a, b):
    """The matrix product with NumPy's rules: vectors are promoted to matrices, leading dimensions broadcast.

    a: ... x M x K, b: ... x K x N -> ... x M x N. Raises ValueError if the inner sizes differ.
    """
    a, b = same_dtype(a, b)
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit")
    if a.ndim == 1:
        return matmul(a.unsqueeze(0), b).squeeze(-1 if b.ndim == 1 else -2)
    if b.ndim == 1:
        return matmul(a, b.unsqueeze(1)).squeeze(-1)
    if b.ndim == 2 and a.ndim > 2:  # one large product instead of many small ones
        return MatMul()(a.flatten(0, -2), b).reshape(*a.shape[:-1], b.shape[1])
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2], op="matmul: leading dimensions, ")
    return MatMul()(a.expand(*lead, *a.shape[-2:]), b.expand(*lead, *b.shape[-2:]))


def linear(x, weight, bias=None):
    """y = x weight^T + bias. x: ... x IN, weight: OUT x IN, bias: OUT -> ... x OUT."""
    x, weight = as_tensor(x), as_tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"Linear: weight must be OUT x IN, got shape {weight.shape}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"Linear: weight expects {weight.shape[1]} features, got x of shape {x.shape}")
    if x.ndim == 2 and bias is not None:
        x, weight, bias = same_dtype(x, weight, bias)
        if bias.shape == weight.shape[:1]:
            return Linear(kept=kept(weight))(x, weight, bias)
    y = matmul(x, weight.transpose(0, 1))
    return y if bias is None else y + bias
