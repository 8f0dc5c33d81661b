"""The embedded digits, the MNIST files, transforms, and the loader that cuts data sets into batches."""
import gzip
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import data
from minigrad.data import DataLoader, Dataset, TensorDataset, mnist, transforms
from minigrad.data.digits import MEAN, STD
from minigrad.data.idx import read_idx

pytestmark = pytest.mark.filterwarnings("ignore:.*not the official files")

# --- digits


def test_digits_are_1797_in_a_fixed_split_of_80_to_20():
    train, test = data.digits(), data.digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    assert train[:][1][:10].tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, 0]
    assert test[:][1][:10].tolist() == [2, 2, 3, 0, 8, 8, 7, 8, 3, 4]
    for part in (train, test):
        images, labels = part[:]
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        assert images.shape == (len(part), 1, 8, 8)
        assert np.bincount(labels).min() > 0.08 * len(part)


def pixels(part):
    """The counts 0 ... 16 that the digits were made from."""
    return (part[:][0].astype(np.float64) * STD + MEAN) * 16


def test_pixels_are_counts_from_0_to_16_normalised_by_the_training_images():
    for part in (data.digits(), data.digits(train=False)):
        values = pixels(part)
        np.testing.assert_allclose(values, np.round(values), atol=1e-4)
        assert np.unique(np.round(values)).tolist() == list(range(17))
    images = data.digits()[:][0]
    assert abs(images.mean(dtype=np.float64)) < 1e-3
    assert abs(images.std(dtype=np.float64) - 1) < 1e-3


def test_both_parts_together_are_scikit_learns_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    original = datasets.load_digits()
    pairs = [(tuple(i.ravel()), int(y)) for i, y in zip(original.images.astype(int), original.target, strict=True)]
    ours = []
    for part in (data.digits(), data.digits(train=False)):
        values = np.round(pixels(part)).astype(int).reshape(len(part), 64)
        found = [(tuple(i), int(y)) for i, y in zip(values, part[:][1], strict=True)]
        assert list(filter(set(found).__contains__, pairs)) == found  # in the original order, none twice
        ours += found
    assert sorted(ours) == sorted(pairs)
    assert len(set(ours)) == 1797


def test_data_sets_by_name():
    assert data.load("digits", None, True, 32)[0][0].shape == (1, 32, 32)
    with pytest.raises(ValueError, match="unknown dataset 'mnits'; there is digits, mnist"):
        data.load("mnits", None, True, 32)
    with pytest.raises(ValueError, match="size must be an integer >= 1, got 0"):
        data.digits(size=0)


# --- transforms


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (5, 9), (1, 3)])
@pytest.mark.parametrize("size", [1, 3, 8, 32])
def test_resize_is_bilinear_interpolation_as_in_pytorch(shape, size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 3, *shape))
    expected = torch.nn.functional.interpolate(torch.tensor(x), (size, size), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(transforms.resize(x, size), expected.numpy(), atol=1e-12)


def test_resize_of_a_pair_of_pixels_by_hand():
    x = np.array([[[[0.0, 4.0], [0.0, 4.0]]]], dtype=np.float32)
    y = transforms.resize(x, 4)
    assert y.dtype == np.float32
    assert y[0, 0].tolist() == [[0, 1, 3, 4]] * 4
    assert transforms.resize(x, 2) is x


def shifted(image, down, right):
    """The image moved, with -1 where nothing is known."""
    c, h, w = image.shape
    y = np.full((c, h, w), -1.0)
    for i in range(max(0, down), min(h, h + down)):
        for j in range(max(0, right), min(w, w + right)):
            y[:, i, j] = image[:, i - down, j - right]
    return y


def test_a_random_shift_moves_every_image_by_its_own_step_and_reaches_all_of_them():
    x = np.random.default_rng(0).uniform(0, 1, (300, 2, 5, 6))
    x[0, 0, 0, 0] = -1.0  # the darkest value
    y = transforms.RandomShift(2)(x, np.random.default_rng(1))
    steps = [(a, b) for a in range(-2, 3) for b in range(-2, 3)]
    moved = [[s for s in steps if np.array_equal(shifted(i, *s), j)] for i, j in zip(x, y, strict=True)]
    assert {len(found) for found in moved} == {1}
    assert {s for (s,) in moved} == set(steps)


def test_a_random_shift_follows_its_generator():
    x = np.arange(4 * 36.0).reshape(4, 1, 6, 6)
    one, same, other = (transforms.RandomShift(2)(x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(transforms.RandomShift(0)(x, np.random.default_rng(0)), x)
    with pytest.raises(ValueError, match="pixels must be an integer >= 0, got -1"):
        transforms.RandomShift(-1)


# --- loading


def numbers(n):
    return TensorDataset(np.arange(n, dtype=np.float32), np.arange(n) * 10)


def order(loader):
    """The examples of one pass."""
    return [int(v) for x, _ in loader for v in x.tolist()]


def test_batches_come_in_order_and_the_last_may_be_small():
    loader = DataLoader(numbers(7), batch_size=3)
    batches = list(loader)
    assert [x.tolist() for x, _ in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [y.tolist() for _, y in batches] == [[0, 10, 20], [30, 40, 50], [60]]
    assert all(isinstance(t, mg.Tensor) for batch in batches for t in batch)
    assert len(loader) == 3
    short = DataLoader(numbers(7), batch_size=3, drop_last=True)
    assert order(short) == list(range(6))
    assert len(short) == 2


@pytest.mark.parametrize(("n", "size", "drop_last", "expected"), [(6, 3, False, 2), (0, 3, False, 0), (2, 3, True, 0)])
def test_the_number_of_batches(n, size, drop_last, expected):
    loader = DataLoader(numbers(n), batch_size=size, drop_last=drop_last)
    assert len(loader) == len(list(loader)) == expected


def test_shuffling_shows_every_example_once_a_pass_in_another_order_each_pass():
    loader = DataLoader(numbers(50), batch_size=8, shuffle=True, seed=3)
    first, second = order(loader), order(loader)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first != list(range(50))
    assert [len(x) for x, _ in loader] == [8] * 6 + [2]


def test_the_order_depends_on_seed_and_pass_only():
    one = DataLoader(numbers(50), batch_size=8, shuffle=True, seed=3)
    same = DataLoader(numbers(50), batch_size=5, shuffle=True, seed=3)
    other = DataLoader(numbers(50), batch_size=8, shuffle=True, seed=4)
    assert order(one) == order(same) != order(other)
    next(iter(one))  # a pass that is broken off counts as one
    order(same)
    assert order(one) == order(same)


def test_without_a_seed_the_loader_draws_one_from_the_global_generator():
    def passes(seed):
        mg.manual_seed(seed)
        loader = DataLoader(numbers(50), shuffle=True)
        return [order(loader), order(loader)]

    assert passes(1) == passes(1) != passes(2)
    mg.manual_seed(1)
    loader = DataLoader(numbers(50))
    after = mg.rand(1).item()
    mg.manual_seed(1)
    assert mg.rand(1).item() == after, "a loader that needs no random numbers draws none"
    assert order(loader) == list(range(50))


class Squares(Dataset):
    """Examples one by one: an image, a number and a whole number."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        assert isinstance(index, int)
        return mg.full((1, 2), float(index)), index / 2, index**2


def test_a_data_set_of_single_examples_is_stacked():
    x, half, square = next(iter(DataLoader(Squares(), batch_size=3)))
    assert x.tolist() == [[[0, 0]], [[1, 1]], [[2, 2]]]
    assert (half.tolist(), half.dtype) == ([0, 0.5, 1], mg.float32)
    assert (square.tolist(), square.dtype) == ([0, 1, 4], mg.int64)


def test_whole_batches_may_be_columns_or_as_in_pytorch_a_list_of_examples():
    class Listed(Squares):
        def __getitems__(self, indices):
            return [self[int(i)] for i in indices]

    class Columns(Squares):
        def __getitems__(self, indices):
            return mg.tensor(indices), indices * 2

    assert next(iter(DataLoader(Listed(), batch_size=3)))[2].tolist() == [0, 1, 4]
    assert [c.tolist() for c in next(iter(DataLoader(Columns(), batch_size=3)))] == [[0, 1, 2], [0, 2, 4]]


@pytest.mark.parametrize("dataset", [numbers(6), Squares()])
def test_a_transform_changes_the_first_array_with_numbers_of_seed_pass_and_batch(dataset):
    seen = []

    def noise(images, rng):
        assert isinstance(images, np.ndarray)
        seen.append(rng.integers(2**40))
        return images + 100

    loader = DataLoader(dataset, batch_size=2, seed=1, transform=noise)
    batches = [*loader, *loader]
    assert all(x.numpy().min() >= 100 > y.numpy().max() for x, y, *_ in batches)
    assert len(set(seen)) == len(seen) == 6
    list(DataLoader(dataset, batch_size=2, seed=1, transform=noise))
    assert seen[:3] == seen[6:]


@pytest.mark.parametrize("size", [0, -1, 2.0, "8", None, True])
def test_a_batch_size_that_makes_no_sense_is_named(size):
    with pytest.raises(ValueError, match=f"batch_size must be an integer >= 1, got {size!r}"):
        DataLoader(numbers(3), batch_size=size)


def test_examples_must_be_tuples_of_one_length():
    class Bare(Squares):
        def __getitem__(self, index):
            return index

    class Ragged(Squares):
        def __getitem__(self, index):
            return (1,) * (index + 1)

    with pytest.raises(TypeError, match="examples must be tuples of one length, got 0"):
        next(iter(DataLoader(Bare())))
    with pytest.raises(TypeError, match=r"examples must be tuples of one length, got \(1, 1\)"):
        next(iter(DataLoader(Ragged(), batch_size=2)))


@pytest.mark.parametrize("arrays", [(), ([1, 2], [1, 2, 3]), (1, 2)])
def test_a_tensor_data_set_needs_arrays_of_one_length(arrays):
    with pytest.raises(ValueError, match="expected arrays of one length, got shapes"):
        TensorDataset(*arrays)


def test_the_interface_says_what_to_write():
    with pytest.raises(NotImplementedError, match="Dataset has no __len__"):
        len(Dataset())
    with pytest.raises(NotImplementedError, match="Dataset has no __getitem__"):
        Dataset()[0]


# --- MNIST's files


def idx(array, magic=None, sizes=None):
    """An array as the bytes of an IDX file, with the header right or wrong."""
    magic = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    return magic + struct.pack(f">{array.ndim}I", *(sizes or array.shape)) + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = np.array([0, 9, 3, 3, 7, 1], dtype=np.uint8)


def write_mnist(folder, images=IMAGES, labels=LABELS, part="train", packed=False):
    for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        raw = idx(array)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("part", "train"), [("train", True), ("t10k", False)])
def test_mnist_reads_its_files_packed_or_not(tmp_path, packed, part, train):
    write_mnist(tmp_path, part=part, packed=packed)
    images, labels = mnist(tmp_path, train)[:]
    assert images.shape == (6, 1, 28, 28)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images[:, 0], (IMAGES / 255 - 0.1307) / 0.3081, atol=1e-5)
    assert labels.tolist() == LABELS.tolist()
    assert labels.dtype == np.int64
    assert data.load("mnist", tmp_path, train, 32)[0][0].shape == (1, 32, 32)
    with pytest.raises(FileNotFoundError, match="t10k-images" if train else "train-images"):
        mnist(tmp_path, not train)


@pytest.mark.parametrize(("images", "labels", "message"), [
    (IMAGES, LABELS[:5], r"images of shape \(6, 28, 28\) do not fit labels of shape \(5,\)"),
    (IMAGES, LABELS.reshape(2, 3), r"do not fit labels of shape \(2, 3\)"),
    (IMAGES[0], LABELS, r"images of shape \(28, 28\)"),
    (IMAGES, LABELS + 1, "a label is 10, expected 0 ... 9"),
])
def test_images_and_labels_that_do_not_belong_together_are_refused(tmp_path, images, labels, message):
    write_mnist(tmp_path, images, labels)
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path)


GOOD = idx(IMAGES)
PACKED = gzip.compress(GOOD)


@pytest.mark.parametrize(("raw", "message"), [
    (b"", "not an IDX file"),
    (b"\0\0\x08", "not an IDX file"),
    (idx(IMAGES, magic=b"\0\0\x09\x03"), "not an IDX file of unsigned bytes"),
    (idx(IMAGES, magic=b"\0\1\x08\x03"), "not an IDX file of unsigned bytes"),
    (GOOD[:10], "cut short in its header, which announces 3 dimensions"),
    (GOOD[:-1], r"announces shape \(6, 28, 28\), but 4703 values follow"),
    (GOOD + b"\0", r"announces shape \(6, 28, 28\), but 4705 values follow"),
    (idx(IMAGES, sizes=(7, 28, 28)), r"announces shape \(7, 28, 28\), but 4704 values follow"),
    (idx(IMAGES, magic=b"\0\0\x08\x02"), r"announces shape \(6, 28\), but 4708 values follow"),
    (idx(np.zeros((1,) * 8), sizes=(2**31,) * 8)[:36], "but 0 values follow"),  # the product is 0 modulo 2**64
    (b"\0\0\x08" + bytes([200]) + b"\0\0\0\1" * 200 + b"\7", "dimension"),  # more than NumPy has
    (PACKED[:-20], "damaged gzip file"),
    (PACKED[:200] + bytes([PACKED[200] ^ 255]) + PACKED[201:], "damaged gzip file"),
    (gzip.compress(GOOD[:-1]), "4703 values follow"),
], ids=["empty", "start", "type", "zeros", "header", "short", "long", "larger", "rank", "overflow", "dimensions",
        "gzip short", "gzip damaged", "gzip of short"])
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, raw, message):
    path = tmp_path / "some-images"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert "some-images" in str(caught.value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\0", b"\0\0\x08", b"\0\0\x08\1"]))
@example(b"\0\0\0\2ab", b"\0\0\x08\1")
@example(b"\0", b"\0\0\x08")
def test_arbitrary_bytes_give_an_array_or_a_value_error(tmp_path, raw, start):
    path = tmp_path / "file"
    path.write_bytes(start + raw)
    try:
        assert read_idx(path).dtype == np.uint8
    except ValueError as error:
        assert str(path) in str(error)
