"""The implicit matrix product in CUDA: planted faults are found, TF32 is as exact as it can be, "auto" takes it."""
import numpy as np
import pytest
from devices import on
from test_conv_kernels import passes, problem

import minigrad as mg
from minigrad.kernels import conv
from minigrad.kernels.conv import implicit_gemm_cuda, reference
from minigrad.kernels.cuda import source
from minigrad.kernels.cuda.simulator import KernelError

FILE = source.KERNELS / implicit_gemm_cuda.FILE
WAIT = "        copies_wait<STAGES - 2>();"
LOAD = "        if (t + STAGES - 1 < tiles) left.load(next), right.load(next);\n"
NEXT = "        Stage &next = stages[(t + STAGES - 1) % STAGES];\n"
COMMIT = "        copies_commit();  // an empty group"
FAULTS = {
    "a wait that leaves too much": (WAIT, "copies_wait<STAGES - 1>();"),
    "copies into the stage that is read": (WAIT, NEXT.replace("next", "early") + LOAD.replace("next", "early") + WAIT),
    "no empty groups at the end": (COMMIT, "if (t + STAGES - 1 < tiles) copies_commit();"),
    "a stage too few": ("stages[(t + STAGES - 1) % STAGES]", "stages[(t + STAGES - 2) % STAGES]"),
    "one row of the right matrix too many": ("number < end && left > 0", "number <= end && left > 0"),
    "an unwritten tail": ("if (e < left) to[e]", "if (e < left - 1) to[e]"),
    "a row too many": ("if (out.a >= y.size[0]) continue;", ""),
}


def arrays(case, dtype="float32"):
    x, w, gy, p, wanted = problem(case, dtype)
    return [on("cuda-sim", a) for a in (x, w, gy)], p, wanted


@pytest.mark.simulated
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    old, new = FAULTS[fault]
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    text = text.replace(old, new, 1)
    if "early" in new:
        text = text.replace(LOAD, "")
    (tmp_path / "planted.cu").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(implicit_gemm_cuda, "FILE", tmp_path / "planted.cu")
    inputs, p, wanted = arrays("3x3, more than a vector" if "tail" in fault else "3x3, full vectors")
    try:
        results = passes(implicit_gemm_cuda, *inputs, p)
    except KernelError:
        return
    with pytest.raises(AssertionError):
        for actual, right in zip(results, wanted, strict=True):
            np.testing.assert_allclose(actual.get(), right, rtol=0, atol=1e-4)


def to_tf32(x):
    """float32 rounded to 10 bits behind the point, ties away from zero."""
    return ((x.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)


TENSOR_CASES = ("padding per side, stride 2", "groups 2, stride, dilation", "many channels", "3x3, full vectors")


@pytest.mark.simulated
@pytest.mark.parametrize("case", TENSOR_CASES)
def test_tf32_rounds_the_factors_and_nothing_else(case):
    x, w, gy, p, _ = problem(case, "float32")
    inputs = [on("cuda-sim", a) for a in (x, w, gy)]
    strict = passes(implicit_gemm_cuda, *inputs, p)
    with mg.set_float32_precision("tf32"):
        results = passes(implicit_gemm_cuda, *inputs, p)
    rounded = passes(reference, *(to_tf32(a) for a in (x, w, gy)), p)
    bounds = passes(reference, *(np.abs(a).astype(np.float64) for a in (x, w, gy)), p)
    for actual, exact, plain, size in zip(results, rounded, strict, bounds, strict=True):
        np.testing.assert_allclose(actual.get(), exact, rtol=0, atol=1e-5 * max(1, np.abs(exact).max()))
        error = np.abs(actual.get() - plain.get())
        assert (error <= 2**-10 * size + 1e-5).all() and error.max() > 1e-5


@pytest.mark.simulated
@pytest.mark.parametrize("case", TENSOR_CASES)
def test_without_tensor_cores_numbers_of_16_bits_give_the_same_up_to_rounding(case, monkeypatch):
    """As on sm_75, which has none for them: the file is then compiled to multiply in float32."""
    (x, w, gy), p, wanted = arrays(case)
    inputs = [a.astype(np.float16) for a in (x, w, gy)]
    monkeypatch.setattr(implicit_gemm_cuda, "on_tensor_cores", lambda dtype: False)
    for actual, right in zip(passes(implicit_gemm_cuda, *inputs, p), wanted, strict=True):
        np.testing.assert_allclose(actual.get(), right, rtol=0, atol=2e-3 * np.abs(right).max())


def test_the_precision_is_strict_unless_it_is_set_and_words_are_checked():
    assert mg.get_float32_precision() == "strict"
    float32, half, float64 = map(np.dtype, ("float32", "float16", "float64"))
    wants = implicit_gemm_cuda.on_tensor_cores
    assert not wants(float32) and wants(half) and not wants(float64)
    with mg.set_float32_precision("tf32"):
        assert wants(float32) and not wants(float64)
        with mg.set_float32_precision("strict"):
            assert not wants(float32)
    assert mg.get_float32_precision() == "strict"
    mg.set_float32_precision("tf32")
    assert mg.get_float32_precision() == "tf32"
    mg.set_float32_precision("strict")
    with pytest.raises(ValueError, match="float32 precision must be one of 'strict', 'tf32', got 'high'"):
        mg.set_float32_precision("high")


PASSES = tuple(conv.RULES)


def chosen(x_shape, w_shape, dtype="float32", device="cuda-sim", **how):
    """What "auto" takes on a GPU for the three passes."""
    p = conv.conv_params(x_shape, w_shape, **how)
    rows = [conv.lookup("auto", device, x_shape, w_shape, p, which, dtype) for which in PASSES]
    return [row.__name__.rpartition(".")[2].removesuffix("_cuda") for row in rows]


@pytest.mark.parametrize("device", ["cuda", "cuda-sim"])
def test_auto_takes_the_matrix_product_where_groups_are_wide(device):
    assert chosen((1, 3, 9, 9), (64, 3, 3, 3), device=device) == ["implicit_gemm", "direct", "implicit_gemm"]
    assert chosen((1, 64, 9, 9), (64, 1, 3, 3), device=device, groups=64) == ["direct"] * 3
    assert chosen((1, 64, 9, 9), (64, 32, 3, 3), device=device, groups=2) == ["implicit_gemm"] * 3


def test_auto_takes_winograd_where_it_saves_half_of_the_multiplications():
    wide = (64, 32, 3, 3)
    assert chosen((1, 32, 8, 8), wide, padding=1) == ["winograd"] * 3
    assert chosen((1, 32, 5, 5), wide, padding=1) == ["implicit_gemm"] * 3  # of the four tiles three are nearly empty
    assert chosen((1, 32, 7, 7), wide, padding=1) == ["winograd"] * 3
    assert chosen((1, 32, 8, 8), wide, padding=1, stride=2) == ["implicit_gemm"] * 3
    assert chosen((1, 32, 8, 8), (31, 32, 3, 3), padding=1) == ["implicit_gemm"] * 3


def test_auto_leaves_to_tensor_cores_what_it_may():
    shapes = (1, 32, 8, 8), (64, 32, 3, 3)
    assert chosen(*shapes, "float64") == ["winograd"] * 3
    assert chosen(*shapes, "float16") == ["implicit_gemm"] * 3
    with mg.set_float32_precision("tf32"):
        assert chosen(*shapes) == ["implicit_gemm"] * 3
        assert chosen(*shapes, "float64") == ["winograd"] * 3
        x, w = mg.randn(1, 32, 8, 8, device="cuda-sim"), mg.randn(64, 32, 3, 3, device="cuda-sim")
        assert conv2d_row(x, w) == "implicit_gemm"
    assert conv2d_row(x, w) == "winograd"


def conv2d_row(x, w):
    """The row that `conv2d` takes, where "auto" chooses."""
    how = {"p": conv.conv_params(x.shape, w.shape), "x_shape": x.shape, "w_shape": w.shape}
    function = mg.ops.conv.Conv2d(algorithm="auto", **how)
    return function.kernels(x._data).__name__.rpartition(".")[2].removesuffix("_cuda")


@pytest.mark.simulated
def test_channels_that_are_neighbours_are_not_copied():
    wide = on("cuda-sim", np.zeros((2, 5, 6, 32), np.float32)).transpose(0, 3, 1, 2)
    assert implicit_gemm_cuda.channels_together(wide[:, 8:24, 1:, ::2]).base is not None
    planes = on("cuda-sim", np.zeros((2, 32, 5, 6), np.float32))
    assert implicit_gemm_cuda.channels_together(planes).transpose(0, 2, 3, 1).flags.c_contiguous
