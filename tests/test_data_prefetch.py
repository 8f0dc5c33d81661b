"""The loader's thread: the same batches as without it, errors in their place, no thread left when a pass ends."""
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import DataLoader, Dataset, Images, TensorDataset, prefetch, transforms

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
AUGMENT = transforms.Compose([transforms.RandomCrop(8, padding=2), transforms.RandomHorizontalFlip()])


def images(convert=lambda x: x.astype(np.float32) / 255):
    return Images(PIXELS, np.arange(50) % 5, "abcde", convert)


def threads():
    """The loader's threads that are alive."""
    return [t for t in threading.enumerate() if t.name.startswith("minigrad-data")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not threads()


def passes(**options):
    """Two passes as lists of arrays."""
    loader = DataLoader(images(), 8, seed=3, **options)
    return [[(x.numpy(), y.numpy()) for x, y in loader] for _ in range(2)]


@pytest.mark.parametrize("ahead", [1, 2, 5, 100])
@pytest.mark.parametrize("options", [
    {}, {"shuffle": True, "transform": AUGMENT},
    {"shuffle": True, "drop_last": True, "mix": transforms.MixUp(0.4, num_classes=5)},
])
def test_a_thread_gives_the_same_batches(ahead, options):
    for one, other in zip(passes(**options), passes(prefetch=ahead, **options), strict=True):
        assert len(one) == len(other) == (6 if options.get("drop_last") else 7)
        for (x, y), (a, b) in zip(one, other, strict=True):
            np.testing.assert_array_equal(x, a)
            np.testing.assert_array_equal(y, b)


def test_the_random_numbers_of_a_batch_do_not_depend_on_the_others():
    loader = DataLoader(images(), 8, shuffle=True, seed=3, transform=AUGMENT)
    whole = [list(loader), list(loader)]
    later = DataLoader(images(), 8, shuffle=True, seed=3, transform=AUGMENT, prefetch=2)
    later.epoch = 1
    rest = list(later.batches(first=4))
    assert len(rest) == 3 and later.epoch == 2
    for (x, y), (a, b) in zip(whole[1][4:], rest, strict=True):
        np.testing.assert_array_equal(x.numpy(), a.numpy())
        np.testing.assert_array_equal(y.numpy(), b.numpy())
    assert not np.array_equal(whole[0][4][0].numpy(), rest[0][0].numpy())


class Slow(Dataset):
    """Examples that count how often they were asked for, and fail at one index."""

    def __init__(self, bad=None):
        self.asked, self.bad, self.idents = [], bad, set()

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.asked.append(index)
        self.idents.add(threading.get_ident())
        if index == self.bad:
            raise RuntimeError(f"example {index} is broken")
        return index, index


def test_batches_are_prepared_ahead_in_another_thread_and_not_more_than_asked():
    dataset = Slow()
    loader = DataLoader(dataset, 1, prefetch=3)
    batches = iter(loader)
    assert not dataset.asked  # nothing happens before the first batch is wanted
    for i in range(4):
        assert next(batches)[0].item() == i
        deadline = time.monotonic() + 5
        while len(dataset.asked) < i + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert dataset.asked == list(range(i + 4))  # this one and three ahead
    assert threading.get_ident() not in dataset.idents
    batches.close()


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_an_error_is_raised_where_its_batch_is_due(ahead):
    seen = []
    with pytest.raises(RuntimeError, match="example 7 is broken") as caught:
        for (x, _) in DataLoader(Slow(bad=7), 2, prefetch=ahead):
            seen += x.tolist()
    assert seen == list(range(6))
    assert "__getitem__" in [entry.name for entry in caught.traceback]
    del caught


def test_a_pass_that_is_broken_off_leaves_no_thread():
    loader = DataLoader(Slow(), 1, prefetch=2)
    for _ in loader:
        assert threads()
        break
    assert not threads()
    batches = iter(loader)
    next(batches)
    del batches
    assert not threads()
    assert len(list(loader)) == 20


def test_two_passes_at_a_time_and_kernels_in_the_thread():
    def blur(x, rng):
        with mg.no_grad():
            return mg.nn.functional.conv2d(mg.tensor(x.astype(np.float32)), mg.ones(4, 3, 3, 3), padding=1).numpy()

    expected = [x.numpy() for x, _ in DataLoader(images(None), 8, transform=blur)]
    loader = DataLoader(images(None), 8, transform=blur, prefetch=2)
    for (a, _), (b, _), x in zip(loader, loader, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), x)
        np.testing.assert_array_equal(b.numpy(), x)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on_without_the_thread():
    batches = iter(DataLoader(Slow(), 1, prefetch=2))
    next(batches)
    child = os.fork()
    if not child:
        right = [x.item() for x, _ in batches] == list(range(1, 20))
        os._exit(0 if right else 1)
    deadline = time.monotonic() + 20
    while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    if not done[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done[0] and os.waitstatus_to_exitcode(done[1]) == 0
    assert [x.item() for x, _ in batches] == list(range(1, 20))


SCRIPT = """
import sys, time, numpy as np
from minigrad.data import DataLoader, TensorDataset
def slow(x, rng):
    time.sleep(0.05)
    return x
batches = iter(DataLoader(TensorDataset(np.arange(1000)), 1, transform=slow, prefetch=2))
next(batches)
print("going", flush=True)
{}
"""


@pytest.mark.parametrize(("rest", "code"), [("for _ in batches: pass", -signal.SIGINT), ("", 0), ("sys.exit(3)", 3)])
def test_ctrl_c_and_the_end_of_the_program_do_not_hang(rest, code):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(rest)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "going\n"
    if code < 0:
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err.count("Traceback") == (code < 0), err


@pytest.mark.parametrize("value", [-1, 1.5, None, True])
def test_prefetch_that_makes_no_sense_is_named(value):
    with pytest.raises(ValueError, match=f"prefetch must be an integer >= 0, got {value!r}"):
        DataLoader(TensorDataset([1]), prefetch=value)


def test_pinned_memory_needs_cupy_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    with pytest.raises(ImportError, match=r'pin_memory needs CuPy and a GPU: pip install "minigrad\[cuda12\]"'):
        DataLoader(TensorDataset([1]), pin_memory=True)


def test_pinned_memory_holds_the_batches(monkeypatch):
    sizes = []

    def allocate(size):
        sizes.append(size)
        return bytearray(size + 13)  # CuPy hands out more than it was asked for

    fake = types.SimpleNamespace(alloc_pinned_memory=allocate)
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=fake))
    monkeypatch.setitem(sys.modules, "cupy.cuda", fake)
    plain = [x.numpy() for x, _ in DataLoader(images(), 8)]
    pinned = [x.numpy() for x, _ in DataLoader(images(), 8, pin_memory=True, prefetch=1)]
    for x, y in zip(plain, pinned, strict=True):
        np.testing.assert_array_equal(x, y)
    assert sizes[0] == 8 * 3 * 8 * 8 * 4
    assert prefetch.pinned_memory()(np.empty((0, 3))).shape == (0, 3)


def test_images_are_stored_as_bytes_and_converted_by_the_batch():
    dataset = images()
    assert dataset.arrays[0].dtype == np.uint8
    image, label = dataset[3]
    assert (image.shape, image.dtype, label) == ((3, 8, 8), np.float32, 3)
    assert dataset[:4][0].shape == (4, 3, 8, 8) and dataset[:4][0].dtype == np.float32
    seen = []
    loader = DataLoader(dataset, 50, transform=lambda x, rng: seen.append(x.dtype) or x)
    (x, y), = loader
    assert seen == [np.uint8] and x.dtype == np.float32 and y.dtype == np.int64
    np.testing.assert_allclose(x.numpy(), PIXELS / 255, atol=1e-7)
