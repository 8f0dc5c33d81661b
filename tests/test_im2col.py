"""im2col in pieces: how much memory it takes, and that pieces of any size give the whole matrix's results."""
import threading
import tracemalloc

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels import conv
from minigrad.kernels.conv import im2col_cpu, im2col_whole_cpu, reference
from minigrad.kernels.threads import get_num_threads

L2 = 1 << 20
LAYERS = {  # x, w, stride, padding, dilation, groups
    "many channels": ((2, 256, 14, 14), (320, 256, 3, 3), 1, 1, 1, 1),
    "wide image": ((1, 8, 20, 900), (16, 8, 5, 5), 1, 2, 1, 1),
    "first layer": ((2, 3, 99, 99), (32, 3, 11, 11), 4, 2, 1, 1),
    "large kernel": ((1, 64, 24, 24), (24, 64, 24, 24), 1, 0, 1, 1),
    "groups": ((2, 96, 27, 27), (64, 48, 5, 5), 1, 2, 1, 2),
    "dilated, stride 2": ((2, 40, 33, 29), (36, 40, 3, 3), 2, 2, 2, 1),
}


def problem(layer, dtype=np.float32):
    x_shape, w_shape, *how = LAYERS[layer]
    p = conv.conv_params(x_shape, w_shape, *how)
    rng = np.random.default_rng(0)
    shapes = x_shape, w_shape, conv.conv_output_shape(x_shape, w_shape, p)
    x, w, gy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    x, gy = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, gy))
    return x, w, gy, p


def passes(row, x, w, gy, p):
    return {
        "forward": lambda: row.forward(x, w, p), "grad_input": lambda: row.grad_input(gy, w, p, x.shape),
        "grad_weight": lambda: row.grad_weight(x, gy, p, w.shape),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", LAYERS)
def test_no_pass_has_more_of_the_matrix_than_half_a_cache_and_all_scratch_fits_into_one(monkeypatch, layer, dtype):
    found, own = {}, im2col_cpu.own

    def recorded(slot, size, dtype):
        found[slot] = size * np.dtype(dtype).itemsize
        return own(slot, size, dtype)

    monkeypatch.setattr(im2col_cpu, "own", recorded)
    whole, pieces = (passes(row, *problem(layer, dtype)) for row in (im2col_whole_cpu, im2col_cpu))
    for name, wanted in whole.items():
        found.clear()
        got, wanted = pieces[name](), wanted()
        assert 0 < found["columns"] <= L2 / 2, name
        assert sum(found.values()) <= L2, name
        tolerance = (2e-5 if dtype == np.float32 else 1e-12) * np.abs(wanted).max()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("layer", ["many channels", "wide image"])
def test_peak_memory_is_the_result_the_packed_weights_and_a_cache_for_each_thread(layer):
    x, w, gy, p = problem(layer)
    peaks = {}

    def measure():  # in a thread of its own, which has no scratch yet
        for name, call in passes(im2col_cpu, x, w, gy, p).items():
            call()  # compiles
            tracemalloc.start()
            result = call()
            peaks[name] = tracemalloc.get_traced_memory()[1] - result.nbytes
            tracemalloc.stop()

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    assert set(peaks) == {"forward", "grad_input", "grad_weight"}
    matrix = gy.size * w[0].nbytes // w.shape[0]
    for name, peak in peaks.items():
        assert peak <= 2 * w.nbytes + get_num_threads() * L2, name
        assert peak < matrix / 2, name


@pytest.mark.parametrize("pieces", [(1, 1, 1, 1), (3000, 5, 3, 4), (100_000, 33, 40, 40)])
def test_pieces_of_any_size_give_the_same(monkeypatch, pieces):
    for name, value in zip(("CHUNK", "COLUMNS", "PART"), pieces, strict=False):
        monkeypatch.setattr(im2col_cpu, name, value)
    for how in ((1, 1, 1, 1), (2, ((2, 0), (1, 3)), 1, 3), ((2, 1), 2, (1, 2), 1)):
        x_shape, w_shape = (2, 6, 9, 8), (9, 6 // how[3], 3, 2)
        p = conv.conv_params(x_shape, w_shape, *how)
        rng = np.random.default_rng(1)
        x, w = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
        gy = rng.standard_normal(conv.conv_output_shape(x_shape, w_shape, p))
        wanted = passes(reference, x, w, gy, p)
        for name, got in passes(im2col_cpu, x, w, gy, p).items():
            np.testing.assert_allclose(got(), wanted[name](), rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("layer", ["many channels", "groups", "dilated, stride 2"])
def test_the_bits_do_not_depend_on_the_number_of_threads(layer):
    before, bits = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            mg.set_num_threads(threads)
            bits.append([call().tobytes() for call in passes(im2col_cpu, *problem(layer)).values()])
    finally:
        mg.set_num_threads(before)
    assert all(other == bits[0] for other in bits[1:])


@pytest.mark.parametrize("columns", [5, 512])
@pytest.mark.parametrize("groups", [1, 3])
def test_bias_and_relu_join_the_last_piece_of_each_sum(monkeypatch, groups, columns):
    monkeypatch.setattr(im2col_cpu, "COLUMNS", columns)
    rng = np.random.default_rng(2)
    x, w, b = (rng.standard_normal(s) for s in ((2, 6, 7, 8), (9, 6 // groups, 3, 2), 9))
    p = conv.conv_params(x.shape, w.shape, 1, 1, 1, groups)
    wanted = reference.forward(x, w, p) + b.reshape(1, -1, 1, 1)
    for low in (-np.inf, 0.0):
        got = im2col_cpu.forward(x, w, p, b, low)
        np.testing.assert_allclose(got, np.maximum(wanted, low), rtol=0, atol=1e-12)
