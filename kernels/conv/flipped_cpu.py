"""True convolution on the CPU: the taps are walked backwards, which is the kernel rotated by 180 degrees.

    y[oh] = sum over kh of  x[oh stride + (KH - 1 - kh) dilation - top] w[kh]      (and the same along W)

(Goodfellow, Bengio & Courville, "Deep Learning", equation 9.4.) Cross-correlation in `direct_cpu.py` differs only
in the direction of that walk, so arrays are prepared there and the loops stand here. Unlike cross-correlation, this
operation is commutative and associative (with full padding).
"""
from ..jit import jit
from . import direct_cpu


@jit
def _forward(x, w, y, stride, dilation):
    N, OH, OW, G, OC = y.shape
    KH, KW, _, C, _ = w.shape
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                for kh in range(KH):
                    for kw in range(KW):
                        h = oh * stride[0] + (KH - 1 - kh) * dilation[0]
                        wi = ow * stride[1] + (KW - 1 - kw) * dilation[1]
                        for g in range(G):
                            for c in range(C):
                                for oc in range(OC):
                                    y[n, oh, ow, g, oc] += x[n, h, wi, g, c] * w[kh, kw, g, c, oc]


@jit
def _grad_input(gy, w, gx, stride, dilation, top, left):
    N, H, W, G, C = gx.shape
    _, OH, OW, _, OC = gy.shape
    KH, KW = w.shape[:2]
    for n in range(N):
        for h in range(H):
            for wi in range(W):
                for kh in range(KH):
                    oh, row_off = divmod(h + top - (KH - 1 - kh) * dilation[0], stride[0])
                    if row_off != 0 or oh < 0 or oh >= OH:
                        continue
                    for kw in range(KW):
                        ow, col_off = divmod(wi + left - (KW - 1 - kw) * dilation[1], stride[1])
                        if col_off != 0 or ow < 0 or ow >= OW:
                            continue
                        for g in range(G):
                            for oc in range(OC):
                                for c in range(C):
                                    gx[n, h, wi, g, c] += gy[n, oh, ow, g, oc] * w[kh, kw, g, oc, c]


@jit
def _grad_weight(x, gy, gw, stride, dilation):
    N, OH, OW, _, OC = gy.shape
    KH, KW, G, C, _ = gw.shape
    for kh in range(KH):
        for kw in range(KW):
            for n in range(N):
                for oh in range(OH):
                    for ow in range(OW):
                        h = oh * stride[0] + (KH - 1 - kh) * dilation[0]
                        wi = ow * stride[1] + (KW - 1 - kw) * dilation[1]
                        for g in range(G):
                            for c in range(C):
                                for oc in range(OC):
                                    gw[kh, kw, g, c, oc] += x[n, h, wi, g, c] * gy[n, oh, ow, g, oc]


def forward(x, w, p):
    """y = x * w. x: N x C x H x W, w: OC x C/G x KH x KW -> N x OC x OH x OW."""
    return direct_cpu.forward(x, w, p, loop=_forward)


def grad_input(gy, w, p, x_shape):
    """gx of x * w. gy: N x OC x OH x OW, w: OC x C/G x KH x KW -> x_shape."""
    return direct_cpu.grad_input(gy, w, p, x_shape, loop=_grad_input)


def grad_weight(x, gy, p, w_shape):
    """gw of x * w. x: N x C x H x W, gy: N x OC x OH x OW -> w_shape."""
    return direct_cpu.grad_weight(x, gy, p, w_shape, loop=_grad_weight)
