"""Convolution through Tensors: gradients of every algorithm, true convolution's algebra, forcing an algorithm."""
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import conv

GENERAL = ("auto", "reference", "direct", "im2col")  # for every convolution

# x shape, weight shape, keyword arguments
CASES = {
    "plain": ((2, 2, 4, 3), (3, 2, 2, 3), {}),
    "strided, padded": ((1, 2, 5, 4), (2, 2, 3, 2), {"stride": 2, "padding": ((1, 0), (2, 1))}),
    "dilated": ((1, 1, 5, 6), (2, 1, 2, 3), {"dilation": (3, 2)}),
    "grouped, same": ((1, 4, 3, 3), (2, 2, 2, 2), {"groups": 2, "padding": "same"}),
    "depthwise": ((1, 2, 4, 4), (4, 1, 3, 2), {"groups": 2, "stride": (1, 2), "padding": 1}),
    "pixels left over": ((1, 1, 5, 5), (1, 1, 2, 2), {"stride": 3}),
    "3x3": ((1, 2, 5, 6), (2, 2, 3, 3), {"padding": 1}),
}


def algorithms(case):
    """Those that support a case."""
    x_shape, w_shape, how = CASES[case]
    p = conv.conv_params(x_shape, w_shape, **how)
    return ("auto", *(name for name in conv.CROSS_CORRELATION if conv.supports(name, "cpu", w_shape, p)))


PAIRS = [(algorithm, case) for case in CASES for algorithm in algorithms(case)]


def random(*shape, seed=0, requires_grad=True):
    return mg.Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=requires_grad)


def inputs(x_shape, w_shape):
    return random(*x_shape), random(*w_shape, seed=1), random(w_shape[0], seed=2)


def dot(a, b):
    return (a * b).sum().item()


# --- gradients


@pytest.mark.parametrize(("algorithm", "case"), PAIRS)
def test_conv2d_gradients_equal_finite_differences(algorithm, case):
    x_shape, w_shape, how = CASES[case]
    assert mg.gradcheck(lambda x, w, b: mg.conv2d(x, w, b, algorithm=algorithm, **how), inputs(x_shape, w_shape))


@pytest.mark.parametrize(("algorithm", "case"), PAIRS)
def test_conv2d_second_derivatives_equal_finite_differences(algorithm, case):
    x_shape, w_shape, how = CASES[case]
    xwb = inputs(x_shape, w_shape)
    assert mg.gradgradcheck(lambda x, w, b: mg.conv2d(x, w, b, algorithm=algorithm, **how), xwb, fast_mode=True)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("algorithm", ["auto", "flipped", "direct", "im2col"])
def test_convolve2d_gradients_equal_finite_differences(algorithm, case):
    x_shape, w_shape, how = CASES[case]
    xwb = inputs(x_shape, w_shape)
    assert mg.gradcheck(lambda x, w, b: mg.convolve2d(x, w, b, algorithm=algorithm, **how), xwb)
    assert mg.gradgradcheck(lambda x, w, b: mg.convolve2d(x, w, b, algorithm=algorithm, **how), xwb, fast_mode=True)


TRANSPOSED = {
    "plain": ((2, 2, 3, 2), (2, 3, 2, 3), {}),
    "strided, padded": ((1, 2, 3, 3), (2, 1, 3, 2), {"stride": 2, "padding": 1, "output_padding": (1, 0)}),
    "grouped, dilated": ((1, 4, 2, 3), (4, 2, 2, 2), {"groups": 2, "dilation": (1, 2)}),
    "output padding above the stride": ((1, 2, 2, 3), (2, 1, 2, 2), {"dilation": (3, 2), "output_padding": (2, 1)}),
}


@pytest.mark.parametrize("case", TRANSPOSED)
@pytest.mark.parametrize("algorithm", GENERAL)
def test_conv_transpose2d_gradients_equal_finite_differences(algorithm, case):
    x_shape, w_shape, how = TRANSPOSED[case]
    bias = random(w_shape[1] * how.get("groups", 1), seed=2)
    xwb = random(*x_shape), random(*w_shape, seed=1), bias
    assert mg.gradcheck(lambda x, w, b: mg.conv_transpose2d(x, w, b, algorithm=algorithm, **how), xwb)
    assert mg.gradgradcheck(
        lambda x, w, b: mg.conv_transpose2d(x, w, b, algorithm=algorithm, **how), xwb, fast_mode=True
    )


def test_gradients_where_x_is_also_the_weight():
    assert mg.gradcheck(lambda x: mg.conv2d(x, x, padding=1), random(2, 2, 3, 2))
    assert mg.gradgradcheck(lambda x: mg.conv2d(x, x, padding=1), random(2, 2, 3, 2))


@pytest.mark.parametrize("wanted", ["x", "w"])
def test_only_the_gradient_that_is_wanted_is_computed(wanted):
    x, w = random(1, 2, 4, 4, requires_grad=wanted == "x"), random(3, 2, 3, 3, requires_grad=wanted == "w")
    y = mg.conv2d(x, w)
    kept = [s is not None for s in y._fn._saved]
    assert kept == [wanted == "w", wanted == "x"]  # the gradient of w needs x, and the other way round
    y.sum().backward()
    assert (x.grad is not None, w.grad is not None) == (wanted == "x", wanted == "w")


# --- agreement and adjoints


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("function", [mg.conv2d, mg.convolve2d], ids=["conv2d", "convolve2d"])
def test_all_algorithms_agree(function, case):
    x_shape, w_shape, how = CASES[case]
    results = []
    for algorithm in algorithms(case):
        x, w, b = inputs(x_shape, w_shape)
        y = function(x, w, b, algorithm=algorithm, **how)
        (y * y).sum().backward()
        results.append([y.detach().numpy(), x.grad.numpy(), w.grad.numpy(), b.grad.numpy()])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(a).max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("function", [mg.conv2d, mg.convolve2d], ids=["conv2d", "convolve2d"])
def test_both_gradients_are_adjoints(function, case):
    x_shape, w_shape, how = CASES[case]
    x, w, _ = inputs(x_shape, w_shape)
    y = function(x, w, **how)
    gy = random(*y.shape, seed=3, requires_grad=False)
    gx, gw = mg.grad(y, (x, w), gy)
    assert dot(gx, x) == pytest.approx(dot(gy, y), rel=1e-12)
    assert dot(gw, w) == pytest.approx(dot(gy, y), rel=1e-12)


@pytest.mark.parametrize("how", [{}, {"stride": 2, "padding": 1}, {"stride": (3, 1), "dilation": (1, 2)}])
def test_conv_transpose2d_is_the_adjoint_of_conv2d(how):
    x, w = random(2, 3, 7, 7), random(4, 3, 3, 3, seed=1)
    y = mg.conv2d(x, w, **how)
    gy = random(*y.shape, seed=2)
    back = mg.conv_transpose2d(gy, w, **how)
    rest = [n - m for n, m in zip(x.shape[2:], back.shape[2:], strict=True)]
    back = mg.conv_transpose2d(gy, w, output_padding=tuple(rest), **how)
    assert back.shape == x.shape
    assert dot(back, x) == pytest.approx(dot(gy, y), rel=1e-12)


def test_convolve2d_is_conv2d_with_the_kernel_rotated():
    x, w, b = inputs((2, 3, 6, 5), (4, 3, 3, 2))
    rotated = mg.Tensor(w.detach().numpy()[:, :, ::-1, ::-1])
    np.testing.assert_allclose(
        mg.convolve2d(x, w, b, stride=2, padding=1).detach().numpy(),
        mg.conv2d(x, rotated, b, stride=2, padding=1).detach().numpy(), rtol=0, atol=1e-13,
    )


# --- the lecture's claim


def full(operation, image, kernel):
    """Slide one map over another wherever they overlap."""
    h, w = kernel.shape[2:]
    return operation(image, kernel, padding=(h - 1, w - 1))


def three_maps():
    """Asymmetric, of different sizes."""
    return random(1, 1, 5, 4), random(1, 1, 3, 2, seed=1), random(1, 1, 2, 3, seed=2)


def distance(a, b):
    return np.abs(a.detach().numpy() - b.detach().numpy()).max()


@pytest.mark.parametrize("algorithm", ["flipped", *GENERAL])
def test_true_convolution_is_associative(algorithm):
    def star(a, b):
        return full(lambda *args, **how: mg.convolve2d(*args, algorithm=algorithm, **how), a, b)

    a, b, c = three_maps()
    assert distance(star(star(a, b), c), star(a, star(b, c))) < 1e-13


def test_true_convolution_is_commutative():
    a, b, c = three_maps()
    for left, right in [(a, b), (b, c), (a, c)]:
        assert distance(full(mg.convolve2d, left, right), full(mg.convolve2d, right, left)) < 1e-13


def test_cross_correlation_is_neither_associative_nor_commutative():
    a, b, c = three_maps()

    def star(a, b):
        return full(mg.conv2d, a, b)

    assert distance(star(star(a, b), c), star(a, star(b, c))) > 0.1
    assert distance(star(a, b), star(b, a)) > 0.1


def test_exchanging_the_operands_of_cross_correlation_rotates_the_result():
    a, b, _ = three_maps()
    assert distance(full(mg.conv2d, a, b), full(mg.conv2d, b, a).flip((2, 3))) < 1e-13


# --- forcing an algorithm


def used(function=mg.conv2d, **how):
    """The algorithm a convolution called now would use."""
    return function(random(1, 1, 4, 4), random(1, 1, 3, 3), **how)._fn.algorithm


def test_conv_algorithm_forces_and_nests_and_ends():
    assert used() == "auto"
    with mg.conv_algorithm("direct"):
        assert used() == used(algorithm="im2col") == "direct"
        assert used(mg.conv_transpose2d) == used(mg.convolve2d) == "direct"
        with mg.conv_algorithm("im2col"):
            assert used() == "im2col"
        assert used() == "direct"
    assert used(algorithm="im2col") == "im2col"
    assert used(mg.convolve2d) == "flipped"


def test_conv_algorithm_is_restored_after_an_exception():
    with pytest.raises(KeyError), mg.conv_algorithm("direct"):
        raise KeyError
    assert used() == "auto"


def test_conv_algorithm_decorates():
    @mg.conv_algorithm("direct")
    def decorated():
        return used()

    assert [decorated(), decorated(), used()] == ["direct", "direct", "auto"]


def test_forced_auto_overrules_the_call():
    with mg.conv_algorithm("auto"):
        assert used(algorithm="direct") == "auto"
        assert used(mg.convolve2d, algorithm="direct") == "flipped"


def test_gradients_keep_the_forced_algorithm_after_the_block():
    x, w = random(1, 1, 4, 4), random(1, 1, 3, 3)
    with mg.conv_algorithm("direct"):
        y = mg.conv2d(x, w)
    gx, gw = mg.grad(y.sum(), (x, w), create_graph=True)
    assert gx._fn.algorithm == gw._fn.algorithm == "direct"


@pytest.mark.parametrize("use", [mg.conv_algorithm, lambda name: used(algorithm=name)], ids=["forced", "argument"])
def test_flipped_and_unknown_algorithms_are_refused(use):
    with pytest.raises(ValueError, match=r"'flipped' computes true convolution; call F\.convolve2d"):
        use("flipped")
    with pytest.raises(ValueError, match=r"no algorithm 'fft'; there is 'auto', 'reference', 'direct', 'im2col'"):
        use("fft")


def test_a_wrong_argument_is_refused_even_where_another_algorithm_is_forced():
    with mg.conv_algorithm("direct"), pytest.raises(ValueError, match="no algorithm 'fft'"):
        used(algorithm="fft")


def test_conv_algorithm_holds_for_its_own_thread():
    seen = []
    with mg.conv_algorithm("direct"):
        thread = threading.Thread(target=lambda: seen.append(used()))
        thread.start()
        thread.join()
        assert used() == "direct"
    assert seen == ["auto"]


def test_the_forced_algorithm_is_the_one_that_runs(monkeypatch):
    ran = []
    row = conv.lookup("reference", "cpu", None, None, None)
    for name in ("forward", "grad_input", "grad_weight"):
        function = getattr(row, name)
        monkeypatch.setattr(row, name, lambda *a, f=function, n=name, **k: (ran.append(n), f(*a, **k))[1])
    x, w = random(1, 1, 4, 4), random(1, 1, 3, 3)
    with mg.conv_algorithm("reference"):
        mg.conv2d(x, w).sum().backward()
    assert sorted(ran) == ["forward", "grad_input", "grad_weight"]


# --- types, batches, errors


def test_dtypes_are_promoted_and_integers_become_floats():
    x, w = mg.tensor(np.arange(16).reshape(1, 1, 4, 4)), mg.tensor(np.arange(4).reshape(1, 1, 2, 2))
    y = mg.conv2d(x, w)
    assert y.dtype == mg.float32
    np.testing.assert_array_equal(y.numpy()[0, 0, 0], [24, 30, 36])  # 0*0 + 1*1 + 4*2 + 5*3 = 24
    assert mg.conv2d(x, w.astype("float64")).dtype == mg.float64
    assert mg.conv2d(x.astype("float32"), w.astype("float64")).dtype == mg.float64
    assert mg.convolve2d(x, w).dtype == mg.conv_transpose2d(x, w).dtype == mg.float32
    assert mg.conv2d(x, w, mg.tensor([1])).numpy()[0, 0, 0, 0] == 25
    big = mg.tensor(np.full((1, 1, 1, 1), 2**24 + 1))
    one = mg.ones(1, 1, 1, 1, dtype="float64")
    for function in (mg.conv2d, mg.convolve2d, mg.conv_transpose2d):
        assert function(one, big).item() == 2**24 + 1  # straight to float64, not through float32


def test_a_batch_of_none_has_gradients_of_zero():
    x, w, b = inputs((0, 2, 5, 5), (3, 2, 3, 3))
    y = mg.conv2d(x, w, b)
    assert y.shape == (0, 3, 3, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.numpy().any()
    assert not b.grad.numpy().any()


@pytest.mark.parametrize(
    ("function", "name"),
    [(mg.conv2d, "Conv2d"), (mg.convolve2d, "Convolve2d"), (mg.conv_transpose2d, "ConvTranspose2d")],
)
def test_errors_name_the_operation_and_the_value(function, name):
    x, w = random(2, 3, 5, 5), random(4, 4, 3, 3)
    with pytest.raises(ValueError, match=rf"^{name}: weight expects 4 input channels.* got x with 3"):
        function(x, w)
    with pytest.raises(ValueError, match=rf"^{name}: stride must be an integer >= 1, got 0"):
        function(random(2, 4, 5, 5), w, stride=0)
    with pytest.raises(ValueError, match=rf"^{name}: bias must have 4 elements, .* got shape \(5,\)"):
        function(random(2, 4, 5, 5), w, random(5))
    with pytest.raises(ValueError, match=rf"^{name}: bias must have 4 elements, .* got shape \(1, 4\)"):
        function(random(2, 4, 5, 5), w, random(1, 4))


def test_errors_of_convolve2d_are_its_own_whatever_the_algorithm():
    with pytest.raises(ValueError, match=r"^Convolve2d: weight must be 4-D .* got 3-D \(1x3x3\)"):
        mg.convolve2d(random(1, 1, 4, 4), random(1, 3, 3), algorithm="direct")


@pytest.mark.parametrize("convolve", [mg.conv2d, mg.convolve2d])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_plus_is_added_before_the_relu(convolve, relu, with_bias):
    x, w, b = inputs((2, 2, 5, 6), (3, 2, 3, 3))
    b = b if with_bias else None
    for shape in ((2, 3, 3, 4), (3, 1, 1)):
        plus, g = random(*shape, seed=3), random(2, 3, 3, 4, seed=4, requires_grad=False)
        separate = convolve(x, w, b) + plus
        separate = mg.relu(separate) if relu else separate
        results = [convolve(x, w, b, relu=relu, plus=plus), separate]
        np.testing.assert_array_equal(*(y.detach().numpy() for y in results))
        sources = [t for t in (x, w, b, plus) if t is not None]
        for ours, theirs in zip(*(mg.grad(y, sources, g) for y in results), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12, atol=1e-12)
    wide = convolve(x.astype("float32"), w.astype("float32"), plus=np.ones((2, 3, 3, 4)))
    assert wide.dtype == np.float64
    with pytest.raises(ValueError, match="expand"):
        convolve(x, w, b, plus=random(5, 2, 3, 3, 4))
