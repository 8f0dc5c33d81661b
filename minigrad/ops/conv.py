"""Convolution: the calculus. The loops are in `kernels/conv/`, and its table chooses between them.

Convolution is linear in x and in w, so all of its derivatives, of any order, are the three partial derivatives of
one trilinear form <gy, conv(x, w)>: three Functions, each one's backward made of the other two.
"""
import math
from contextvars import ContextVar

from minigrad.kernels import conv
from minigrad.kernels.conv.params import dims, integer
from minigrad.kernels.elementwise import join

from ..autograd import Function
from ..device import device_of
from ..kept import kept
from ..modes import Setting
from ..tensor import Tensor, as_tensor
from .activation import Gate
from .promotion import as_float, same_dtype
from .shape import pad

_forced = ContextVar("conv_algorithm", default=None)


class _Conv(Function):
    """What the three share: ConvParams p, algorithm, x_shape and w_shape. Each has its `which`, a pass of the table.

    kept: of w (kept.py).
    """

    kept = None

    def kernels(self, array):
        """The row of the table that computes this: a module with forward, grad_input and grad_weight."""
        shapes = self.x_shape, self.w_shape
        return conv.lookup(self.algorithm, device_of(array), *shapes, self.p, self.which, array.dtype)

    def partner(self, other, kept=None):
        """Another of the three Functions, for the same convolution; kept: if it is with the same w."""
        return other(p=self.p, algorithm=self.algorithm, x_shape=self.x_shape, w_shape=self.w_shape, kept=kept)


class Conv2d(_Conv):
    """y = conv(x, w) + b + plus, and with relu=True the positive part of it; plus, or b and plus, may be left out."""

    which, relu = "forward", False

    def forward(self, x, w, b=None, plus=None):
        low = 0.0 if self.relu and plus is None else -math.inf
        y = self.kernels(x).forward(x, w, self.p, b, low, kept=self.kept)
        if plus is not None:
            y = join(y, plus, self.relu)
        self.save(x if self.needs[1] else None, w if self.needs[0] else None, *([y] if self.relu else []))
        return y

    def backward(self, gy):
        x, w, *y = self.saved
        gate = Gate(free=self.owns_gradient)
        if self.relu:
            gy = gate(gy, *y)
        gx = self.partner(Conv2dInputGrad, self.kept)(gy, w) if self.needs[0] else None
        gw = self.partner(Conv2dWeightGrad)(x, gy) if self.needs[1] else None
        gb = _bias_gradient(gy, gate.sums) if True in self.needs[2:3] else None
        return (gx, gw, gb, gy)[: len(self.needs)]


def _bias_gradient(gy, sums):
    """The sum of gy over all dimensions but the channels; sums: the same, if it is known, without a graph."""
    return gy.sum((0, 2, 3)) if sums is None or gy.requires_grad else Tensor._wrap(sums.astype(gy.dtype))


class Conv2dInputGrad(_Conv):
    """gx = the gradient of <gy, conv(x, w)> with respect to x: the transposed convolution of gy."""

    which = "grad_input"

    def forward(self, gy, w):
        self.save(gy if self.needs[1] else None, w if self.needs[0] else None)
        return self.kernels(gy).grad_input(gy, w, self.p, self.x_shape, kept=self.kept)

    def backward(self, ggx):
        gy, w = self.saved
        ggy = self.partner(Conv2d, self.kept)(ggx, w) if self.needs[0] else None
        gw = self.partner(Conv2dWeightGrad)(ggx, gy) if self.needs[1] else None
        return ggy, gw


class Conv2dWeightGrad(_Conv):
    """gw = the gradient of <gy, conv(x, w)> with respect to w."""

    which = "grad_weight"

    def forward(self, x, gy):
        self.save(x if self.needs[1] else None, gy if self.needs[0] else None)
        return self.kernels(x).grad_weight(x, gy, self.p, self.w_shape)

    def backward(self, ggw):
        x, gy = self.saved
        gx = self.partner(Conv2dInputGrad)(gy, ggw) if self.needs[0] else None
        ggy = self.partner(Conv2d)(x, ggw) if self.needs[1] else None
        return gx, ggy


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", relu=False, plus=None):
    """Cross-correlation of x with weight, what deep learning calls convolution.

    x: N x C x H x W. weight: OC x C/groups x KH x KW. bias: OC. Returns N x OC x OH x OW with
    OH = floor((H + top + bottom - dilation (KH - 1) - 1) / stride) + 1.
    stride, dilation: int or (vertical, horizontal). padding: int, pair, ((top, bottom), (left, right)), "same" (stride
    1) or "valid". algorithm: "auto" or a row of `kernels.conv.CROSS_CORRELATION`. relu: return max(y, 0) instead of y,
    without another pass over memory. plus: a Tensor that broadcasts to y's shape, added before that in one pass with
    it. Raises ValueError where shapes or values do not fit.
    Source: Goodfellow, Bengio & Courville, "Deep Learning", equation 9.6.
    """
    algorithm = _cross_correlation(algorithm)
    return _convolution(x, weight, bias, stride, padding, dilation, groups, algorithm, "Conv2d", relu, plus)


def convolve2d(
    x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", relu=False, plus=None
):
    """True convolution: like `conv2d`, with the kernel rotated by 180 degrees.

    algorithm: "auto" is the kernel made for it, which walks the taps backwards ("flipped"); any other name
    cross-correlates with the rotated weight. Source: Goodfellow, Bengio & Courville, "Deep Learning", equation 9.4.
    """
    algorithm = _cross_correlation("auto" if algorithm == "flipped" else algorithm)
    x, weight = map(as_float, same_dtype(x, weight))
    if algorithm == "auto":
        algorithm = "flipped"
    elif weight.ndim == 4:
        weight = weight.flip((2, 3))
    return _convolution(x, weight, bias, stride, padding, dilation, groups, algorithm, "Convolve2d", relu, plus)


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="auto"):
    """Cross-correlation along one dimension: `conv2d` of an image that is one row high, which copies nothing.

    x: N x C x L. weight: OC x C/groups x K. bias: OC. Returns N x OC x OL with
    OL = floor((L + 2 padding - dilation (K - 1) - 1) / stride) + 1.
    stride, dilation: int or (int,). padding: the same, "same" (stride 1) or "valid". algorithm: as in `conv2d`.
    Raises ValueError where shapes or values do not fit; in its text shapes are those of the image.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    for t, name, layout in ((x, "x", "N x C x L"), (weight, "weight", "OC x C/groups x K")):
        if t.ndim != 3:
            raise ValueError(f"Conv1d: {name} must be 3-D ({layout}), got {t.ndim}-D ({dims(t.shape)})")
    stride, dilation = single(stride, "stride", "Conv1d"), single(dilation, "dilation", "Conv1d")
    if not isinstance(padding, str):
        padding = (0, single(padding, "padding", "Conv1d", minimum=0))
    y = _convolution(
        x.unsqueeze(2), weight.unsqueeze(2), bias, (1, stride), padding, (1, dilation), groups,
        _cross_correlation(algorithm), "Conv1d",
    )
    return y.squeeze(2)


def single(value, name, op, minimum=1):
    """An int, or a tuple of one, as an int >= `minimum`."""
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise ValueError(f"{op}: {name} must be an int or a tuple of one, got {value!r}")
        value = value[0]
    return integer(value, name, op, minimum)


def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, algorithm="auto"
):
    """Transposed convolution: the input gradient of `conv2d`, used as a layer.

    x: N x C x H x W. weight: C x OC/groups x KH x KW. bias: OC. Returns N x OC x OH x OW with
    OH = (H - 1) stride - top - bottom + dilation (KH - 1) + output_padding + 1.
    stride, dilation, padding: as in `conv2d`, padding in numbers only. output_padding: int or pair, below stride or
    dilation: that many more rows and columns at the end. Raises ValueError where shapes or values do not fit.
    Source: Dumoulin & Visin 2016, section 4.
    """
    x, weight = map(as_float, same_dtype(x, weight))
    p, x_shape = conv.conv_transpose_params(x.shape, weight.shape, stride, padding, output_padding, dilation, groups)
    algorithm = _cross_correlation(algorithm)
    rows, columns = conv.conv_output_shape(x_shape, weight.shape, p)[2:]
    if (rows, columns) != x.shape[2:]:  # output_padding >= stride: windows beyond the last pixel, which see zeros
        x = pad(x, (0, columns - x.shape[3], 0, rows - x.shape[2]))
    f = Conv2dInputGrad(p=p, algorithm=algorithm, x_shape=x_shape, w_shape=weight.shape, kept=kept(weight))
    y = f(x, weight)
    if bias is None:
        return y
    return y + _checked_bias(bias, y.shape[1], y.dtype, "ConvTranspose2d").reshape(1, -1, 1, 1)


def conv_algorithm(algorithm):
    """Context manager or decorator: every convolution called inside uses this algorithm, whatever it was asked for.

    algorithm: "auto" or a row of `kernels.conv.CROSS_CORRELATION`. Its gradients use the same, also outside.
    """
    return Setting(_forced, check_algorithm(algorithm))


def _convolution(x, weight, bias, stride, padding, dilation, groups, algorithm, op, relu=False, plus=None):
    x, weight, *plus = map(as_float, same_dtype(x, weight, *([] if plus is None else [plus])))
    p = conv.conv_params(x.shape, weight.shape, stride, padding, dilation, groups, op)
    f = Conv2d(p=p, algorithm=algorithm, x_shape=x.shape, w_shape=weight.shape, relu=relu, kept=kept(weight))
    inputs = [x, weight]
    if bias is not None:
        inputs.append(_checked_bias(bias, weight.shape[0], x.dtype, op))
    elif plus:
        inputs.append(as_tensor(0.0, x.dtype).to(x.device).expand(weight.shape[:1]))
    return f(*inputs, *(t.expand(conv.conv_output_shape(x.shape, weight.shape, p)) for t in plus))


def _checked_bias(bias, channels, dtype, op):
    bias = as_tensor(bias)
    if bias.shape != (channels,):
        raise ValueError(f"{op}: bias must have {channels} elements, one per output channel, got shape {bias.shape}")
    return bias if bias.dtype == dtype else bias.astype(dtype)


def _cross_correlation(algorithm):
    """What to compute with: the forced algorithm if there is one, else this one. Both are checked."""
    algorithm = check_algorithm(algorithm)
    return _forced.get() or algorithm


def check_algorithm(algorithm):
    """An algorithm for cross-correlation, or ValueError."""
    if algorithm == "flipped":
        raise ValueError("Conv2d: 'flipped' computes true convolution; call F.convolve2d or nn.Conv2d(flip=True)")
    if algorithm != "auto" and algorithm not in conv.CROSS_CORRELATION:
        names = ", ".join(map(repr, conv.CROSS_CORRELATION))
        raise ValueError(f"Conv2d: no algorithm {algorithm!r}; there is 'auto', {names}")
    return algorithm
