"""The simulator of CUDA kernels: healthy kernels give the right numbers, and every planted fault is found.

tests/data/product.cu is healthy; each kernel of tests/data/faulty.cu has one fault, which its name says.
"""
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minigrad.kernels.cuda import empty, launch, simulator, strided
from minigrad.kernels.cuda.simulated import on_device
from minigrad.kernels.cuda.simulator import KernelError

pytestmark = pytest.mark.simulated
DATA = Path(__file__).parent / "data"
HEALTHY = DATA / "product.cu"
UNWRITTEN = "unwritten, or computed them from memory that nobody wrote; the first is "


@pytest.fixture(autouse=True)
def what_is_compiled_from_temporary_files_is_temporary(request, monkeypatch):
    if "tmp_path" in request.fixturenames:
        monkeypatch.setenv("MINIGRAD_CACHE", str(request.getfixturevalue("tmp_path")))


def array(*shape, dtype="float32", seed=0):
    return on_device(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def product(file, m=9, n=19, k=18, dtype="float32", grid=None):
    """The product of two random matrices by a kernel, and by NumPy."""
    a, b = array(m, k, dtype=dtype), array(k, n, dtype=dtype, seed=1)
    c = empty((m, n), dtype, a)
    launch(file, "product", grid or (-(-n // 8), -(-m // 8)), (8, 8), (a, b, c, m, n, k))
    return c.get(), a.get() @ b.get()


# --- what is right


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-14), ("float16", 2e-2)])
def test_a_healthy_kernel_gives_the_product(dtype, tolerance):
    actual, wanted = product(HEALTHY, dtype=dtype)
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance)


def test_shuffles_add_up_a_warp():
    x = array(5, 32)
    y = empty(5, "float32", x)
    launch(HEALTHY, "warp_sums", 5, 32, (x, y))
    np.testing.assert_allclose(y.get(), x.get().sum(1), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_asynchronous_copies_arrive_and_fill_up_with_zeros(dtype):
    each = 16 // np.dtype(dtype).itemsize
    x = array(40 * each, dtype=dtype)
    y = empty(x.shape, dtype, x)
    launch(HEALTHY, "copied", 6, 128 // each // 16 * 8, (x, y, x.size))
    np.testing.assert_array_equal(y.get(), x.get())


def test_tensor_cores_multiply_tf32():
    a, b = array(16, 8), array(8, 8, seed=1)
    c = empty((16, 8), "float32", a)
    launch(HEALTHY, "product_tf32", 1, 32, (a, b, c))
    np.testing.assert_allclose(c.get(), a.get() @ b.get(), atol=1e-2)
    assert np.abs(c.get() - a.get() @ b.get()).max() > 1e-5  # it is rounded to 10 bits


@pytest.mark.parametrize("bfloat", [0, 1])
def test_tensor_cores_multiply_numbers_of_16_bits(bfloat):
    a, b = array(16, 16).get(), array(8, 16, seed=1).get()
    if bfloat:
        a, b = ((x.view(np.uint32) & 0xFFFF0000).view(np.float32) for x in (a, b))
        bits = [on_device((x.view(np.uint32) >> 16).astype(np.uint16).view(np.uint32)) for x in (a, b)]
    else:
        a, b = (x.astype(np.float16) for x in (a, b))
        bits = [on_device(x.view(np.uint32)) for x in (a, b)]
        a, b = (x.astype(np.float32) for x in (a, b))
    c = empty((16, 8), "float32", bits[0])
    launch(HEALTHY, "product_16", 1, 32, (*bits, c, bfloat), dtype="float32")
    np.testing.assert_allclose(c.get(), a @ b.T, atol=1e-5)


def test_halves_are_rounded_as_numpy_does(tmp_path):
    file = tmp_path / "halves.cu"
    file.write_text('extern "C" __global__ void there_and_back(const T *x, float *y, const float *z, T *h) {\n'
                    "    int i = blockIdx.x * 1024 + threadIdx.x;\n    y[i] = (float)x[i];\n    h[i] = (T)z[i];\n}\n")
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        exact = x.astype(np.float32)
        z = exact * np.float32(1.0003)
        z[::3] = np.nextafter(exact, np.float32(np.inf))[::3]
        z[1::7] = (exact + np.roll(exact, -1))[1::7] / 2  # ties
        h = z.astype(np.float16)
    arrays = [on_device(a) for a in (x, np.zeros_like(exact), z, np.zeros_like(x))]
    launch(file, "there_and_back", 64, 1024, arrays, dtype="float16")
    np.testing.assert_array_equal(arrays[1].get(), exact)
    np.testing.assert_array_equal(arrays[3].get(), h)


def test_fibers_that_the_c_library_switches_work_as_well():
    with simulator.options(flags="-O1 -DPORTABLE_FIBERS"):
        actual, wanted = product(HEALTHY)
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-5)


def test_arrays_of_any_strides_and_arguments_that_share_memory(tmp_path):
    file = tmp_path / "add.cu"
    file.write_text('extern "C" __global__ void add(Input x, Output y, const T *z) {\n'
                    "    y(0, 0, threadIdx.y, threadIdx.x) += x(0, 0, threadIdx.x, threadIdx.y) + z[0];\n}\n")
    memory = array(1, 2, 4, 4)
    before = memory.get()
    view = memory[:, 1:, ::-1]
    launch(file, "add", 1, (4, 4), (strided(memory[:, :1]), strided(view), memory))
    before[:, 1, ::-1] += before[:, 0].transpose(0, 2, 1) + before[0, 0, 0, 0]
    np.testing.assert_array_equal(memory.get(), before)


def test_a_grid_without_blocks_is_no_launch():
    launch(HEALTHY, "product", (0, 1), (8, 8), (array(1), array(1), array(1), 0, 0, 0))


# --- faults planted in a healthy kernel


def planted(tmp_path, old, new, count=1):
    """The healthy file with one thing changed."""
    text = HEALTHY.read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "planted.cu"
    file.write_text(text.replace(old, new, count), encoding="utf-8")
    return file


@pytest.mark.parametrize("barrier", ["__syncthreads();  // until the tiles", "__syncthreads();  // until nobody"])
def test_a_removed_barrier_is_found(tmp_path, barrier):
    file = planted(tmp_path, barrier, "//")
    with pytest.raises(KernelError, match="differs when threads run in reverse order"):
        product(file)


def test_a_missing_barrier_before_reading_shows_in_a_single_order_too(tmp_path):
    file = planted(tmp_path, "__syncthreads();  // until the tiles", "//")
    with simulator.options(orders=("forward",)), pytest.raises(KernelError, match="from memory that nobody wrote"):
        product(file)


def test_an_index_that_is_off_by_one_is_found(tmp_path):
    file = planted(tmp_path, "k + y < K", "k + y <= K")
    with pytest.raises(KernelError, match=r"thread \(\d, 2, 0\) .* behind the memory of argument 1 .*planted.cu:8"):
        product(file, n=20)


def test_an_unwritten_tail_is_found():
    with pytest.raises(KernelError, match=re.escape("left 8 of 72 elements of argument 2 " + UNWRITTEN + "(8, 0)")):
        product(HEALTHY, n=8, grid=(1, 1))


# --- kernels with one fault each

FAULTS = {
    "right_in_forward_order_only": "argument 1 differs when threads run in reverse order",
    "right_in_reverse_order_only": "argument 1 differs when threads run in reverse order",
    "two_blocks_one_place": "argument 1 differs when threads run in reverse order",
    "barrier_in_a_branch": r"thread (0, 0, 0) of block (0, 0, 0): divergent barrier: it waits in line 14 for thread "
                           "(7, 0, 0), which has ended",
    "barriers_in_both_branches": "waits in line 19 for thread (7, 0, 0), which waits in line 21",
    "return_before_a_barrier": "divergent barrier: it waits in line 27 for thread (30, 0, 0), which has ended",
    "warp_barrier_in_a_branch": "divergent barrier: it waits in line 30 for thread (5, 0, 0), which has ended",
    "lane_outside_its_mask": "lane 8 is not in the mask 000000ff of the warp operation in line 34",
    "reads_behind_the_end": "access 0 bytes behind the memory of argument 0 (float32, 32), at ",
    "reads_before_the_start": "before the memory of argument 0 (float32, 32)",
    "writes_behind_the_end": "access 0 bytes behind the memory of argument 1 (float32, 32)",
    "leaves_the_tail": "left 3 of 32 elements of argument 1 " + UNWRITTEN + "(29)",
    "index_beyond_a_shared_array": "an index outside its array",
    "beyond_dynamic_shared_memory": "access outside all memory",
    "misaligned_vector": "a misaligned access",
    "sum_of_ints_overflows": "an integer overflow",
    "stack_overflows": "a stack that overflows",
}


def faulty(name, x=None, y=None, grid=1, shared=0):
    x = array(32) if x is None else x
    y = empty(32, "float32", x) if y is None else y
    launch(DATA / "faulty.cu", name, grid, 32, (x, y), shared=shared)
    return y


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_found(name):
    options = {"grid": 2} if name == "two_blocks_one_place" else {"shared": 128} if "dynamic" in name else {}
    with pytest.raises(KernelError, match=re.escape(FAULTS[name])):
        faulty(name, **options)


def test_every_faulty_kernel_is_tested():
    elsewhere = {"copy_not_waited_for", "index_into_the_next_row", "uses_shared_memory_of_the_last_block",
                 "writes_little_behind_the_end"}
    assert set(simulator.kernels(DATA / "faulty.cu")) == set(FAULTS) | elsewhere


def test_the_line_of_a_bad_access_is_named():
    lines = (DATA / "faulty.cu").read_text(encoding="utf-8").splitlines()
    line = 1 + next(i for i, text in enumerate(lines) if "reads_behind_the_end" in text)
    with pytest.raises(KernelError, match=f"at {DATA}/faulty.cu:{line}$"):
        faulty("reads_behind_the_end")


def test_a_write_that_stays_in_the_page_is_found():
    with pytest.raises(KernelError, match="access 0 bytes behind the memory of argument 1"):
        faulty("writes_little_behind_the_end", y=empty(31, "float32", array(1)))


def test_a_copy_that_is_not_waited_for_gives_nan():
    orders = simulator.options(orders=("forward",))
    with orders, pytest.raises(KernelError, match="left 32 of 32 elements of argument 1 unwritten"):
        faulty("copy_not_waited_for")


def test_a_copy_may_be_done_at_once_or_late():
    with pytest.raises(KernelError, match="argument 1 differs when threads run in reverse order"):
        faulty("copy_not_waited_for")


def test_shared_memory_does_not_outlive_a_block():
    with pytest.raises(KernelError, match=re.escape("left 32 of 64 elements of argument 1 " + UNWRITTEN + "(32)")):
        faulty("uses_shared_memory_of_the_last_block", y=empty(64, "float32", array(1)), grid=2)


def test_an_index_outside_a_strided_array_is_found_within_its_memory():
    x = array(1, 2, 8, 32)
    message = "thread (31, 0, 0) of block (0, 0, 0): index (0, 0, 0, 32) is outside an array of 1x2x8x32, at "
    with pytest.raises(KernelError, match=re.escape(message) + r".*faulty.cu:\d+$"):
        launch(DATA / "faulty.cu", "index_into_the_next_row", 1, 32, (strided(x), strided(empty(x.shape, x.dtype, x))))


def test_after_a_failure_the_next_launch_works():
    for name in ("barrier_in_a_branch", "reads_behind_the_end"):
        with pytest.raises(KernelError):
            faulty(name)
        actual, wanted = product(HEALTHY)
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-5)


# --- arguments that do not fit


def test_arguments_of_wrong_types_or_number_are_found():
    a, run = array(8, 8), partial(launch, HEALTHY, "product", 1, (8, 8), dtype="float32")
    with pytest.raises(KernelError, match=r"kernel product of .*: parameter 2 is float32\*, got float64\*"):
        run((a, a, array(8, 8, dtype="float64"), 8, 8, 8))
    with pytest.raises(KernelError, match="parameter 3 is int32, got float32"):
        run((a, a, a, 8.0, 8, 8))
    with pytest.raises(KernelError, match="has 6 parameters, got 4 arguments"):
        run((a, a, a, 8))
    with pytest.raises(OverflowError, match="32 bits, got 4294967296"):
        run((a, a, a, 8, 8, 1 << 32))
    with pytest.raises(KernelError, match="null pointer"):
        run((None, a, empty((8, 8), "float32", a), 8, 8, 8))


def test_what_is_read_only_stays_as_it_is():
    c = empty((8, 8), "float32", array(1))
    c.flags.writeable = False
    a = array(8, 8)
    with pytest.raises(KernelError, match="writes to argument 2, which is read-only"):
        launch(HEALTHY, "product", 1, (8, 8), (a, a, c, 8, 8, 8))


def test_grids_and_blocks_that_no_gpu_takes_are_errors():
    a = array(1)
    for grid, block in (((1, 65536), 1), (1, (32, 33)), (1, (1, 1, 65)), (1, 0)):
        with pytest.raises(ValueError, match="no GPU takes a grid"):
            launch(HEALTHY, "product", grid, block, (a,))


def test_what_does_not_compile_says_why(tmp_path):
    file = tmp_path / "broken.cu"
    file.write_text('\nextern "C" __global__ void broken(T *x) { x[0] = y; }\n')
    with pytest.raises(KernelError, match=r"(?s)g\+\+ does not compile.*broken.cu:2:.*.y. was not declared"):
        launch(file, "broken", 1, 1, (array(1),))
    with pytest.raises(KernelError, match="has no kernel 'mended'; there is broken"):
        launch(file, "mended", 1, 1, (array(1),))


def test_without_a_compiler_the_error_names_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "install g++" in simulator.missing()
    with simulator.options(flags="-O1 -DNOT_COMPILED_YET"), pytest.raises(KernelError, match="not on the PATH"):
        product(HEALTHY)
