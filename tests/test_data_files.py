"""The files of data sets: where they are found, what is read, what is said of damaged, mislabelled and hostile ones."""
import gzip
import hashlib
import io
import pickle
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minigrad import data
from minigrad.data import catalogue, cifar, idx, sources
from minigrad.data.catalogue import File, Folder

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
LABELS = np.array([0, 9, 3, 3, 7, 1], np.uint8)
FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def records(pixels=PIXELS, labels=LABELS, coarse=None):
    columns = [labels[:, None], pixels.reshape(len(pixels), -1)]
    return np.hstack(columns if coarse is None else [coarse[:, None], *columns]).tobytes()


def idx_file(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def small(entry, size, sums=None):
    """An entry whose files are as large as those of these tests, and, if they are given, have these md5s."""
    def cut(files):
        return tuple(File(f.name, f.size if "idx" in f.name else size, (sums or {}).get(f.name)) for f in files)

    return entry._replace(folders=tuple(Folder(f.path, f.reader, cut(f.train), cut(f.test)) for f in entry.folders))


@pytest.fixture
def little(monkeypatch):
    """CIFAR of 6 images a file, and no known md5s."""
    monkeypatch.setattr(catalogue, "CIFAR10", small(catalogue.CIFAR10, len(records())))
    monkeypatch.setattr(catalogue, "CIFAR100", small(catalogue.CIFAR100, 6 * 3074))


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


CIFAR10_FILES = {f"data_batch_{i}.bin": records(PIXELS[::-1] if i == 2 else PIXELS) for i in range(1, 6)}

# --- where files are looked for


@pytest.mark.parametrize("below", ["mnist", "MNIST/raw", "."])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.filterwarnings("ignore:.*not the official files")
def test_idx_files_are_found_in_our_folders_torchvisions_and_the_root(tmp_path, monkeypatch, below, packed):
    images = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    files = {"t10k-images-idx3-ubyte": idx_file(images), "t10k-labels-idx1-ubyte": idx_file(LABELS)}
    write(tmp_path / below, {f"{n}.gz": gzip.compress(raw) for n, raw in files.items()} if packed else files)
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path))
    for part in (data.MNIST(train=False), data.load("mnist", None, False), data.mnist(tmp_path, False)):
        np.testing.assert_array_equal(part.arrays[0][:, 0], images)
        assert part.arrays[0].dtype == np.uint8 and part[:][1].tolist() == LABELS.tolist()
        assert part.classes == tuple("0123456789")
    np.testing.assert_allclose(data.MNIST(train=False)[:][0][:, 0], (images / 255 - 0.1307) / 0.3081, atol=1e-5)
    assert data.load("mnist", None, False, 32)[:2][0].shape == (2, 1, 32, 32)


def test_without_anything_the_root_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    assert data.data_root() == tmp_path / ".cache" / "minigrad"
    assert data.data_root("here").name == "here"
    with pytest.raises(FileNotFoundError, match=r"KMNIST: no train-images-idx3-ubyte.gz or train-images-idx3-ubyte in"):
        data.KMNIST()


@pytest.mark.parametrize("function", [data.FashionMNIST, data.KMNIST])
@pytest.mark.filterwarnings("ignore:.*not the official files")
def test_the_relatives_of_mnist(tmp_path, function):
    name = function.__name__
    images = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    write(tmp_path / name / "raw", {"train-images-idx3-ubyte": idx_file(images),
                                    "train-labels-idx1-ubyte": idx_file(LABELS)})
    dataset = function(tmp_path)
    np.testing.assert_array_equal(dataset.arrays[0][:, 0], images)
    assert len(dataset.classes) == 10
    with pytest.raises(FileNotFoundError, match=f"{name}: no t10k-images"):
        function(tmp_path, train=False)


@pytest.mark.parametrize("below", ["cifar-10-batches-bin", "."])
def test_cifar10_binary(tmp_path, little, below):
    write(tmp_path / below, {**CIFAR10_FILES, "test_batch.bin": records(PIXELS[:, ::-1])})
    images, labels = data.CIFAR10(tmp_path).arrays
    assert images.shape == (30, 3, 32, 32) and images.dtype == np.uint8
    for i in range(5):
        np.testing.assert_array_equal(images[6 * i : 6 * i + 6], PIXELS[::-1] if i == 1 else PIXELS)
    assert labels.tolist() == LABELS.tolist() * 5
    test = data.CIFAR10(tmp_path, train=False)
    np.testing.assert_array_equal(test.arrays[0], PIXELS[:, ::-1])
    mean, std = (np.array(v)[:, None, None] for v in (catalogue.CIFAR10.mean, catalogue.CIFAR10.std))
    np.testing.assert_allclose(test[2][0], (PIXELS[2, ::-1] / 255 - mean) / std, atol=1e-5)
    assert test.classes[test[1][1]] == "truck"


def test_cifar100_has_fine_labels(tmp_path, little):
    fine = np.array([0, 99, 3, 50, 7, 1], np.uint8)
    write(tmp_path / "cifar-100-binary", {"train.bin": records(PIXELS, fine, LABELS)})
    dataset = data.CIFAR100(tmp_path)
    assert dataset.arrays[1].tolist() == fine.tolist() and dataset.classes[99] == "worm"
    np.testing.assert_array_equal(dataset.arrays[0], PIXELS)


# --- what is not what it should be


@pytest.mark.parametrize(("raw", "message"), [
    (records()[:-1], "has 18437 bytes, expected 18438 .6 records of 3073"), (records()[:3073], "has 3073 bytes"),
    (records() + b"\0", "has 18439 bytes"), (b"", "has 0 bytes"),
    (records(labels=LABELS + 1), "a label is 10, expected 0 ... 9"),
])
def test_wrong_records(tmp_path, little, raw, message):
    write(tmp_path, {**CIFAR10_FILES, "data_batch_3.bin": raw})
    with pytest.raises(ValueError, match=message):
        data.CIFAR10(tmp_path)


def test_another_size_of_images_is_refused(tmp_path):
    write(tmp_path, {"train-images-idx3-ubyte": idx_file(np.zeros((6, 32, 32), np.uint8)),
                     "train-labels-idx1-ubyte": idx_file(LABELS)})
    with pytest.raises(ValueError, match="images of 32x32 pixels, expected 28x28"):
        data.MNIST(tmp_path)


def test_a_file_that_is_not_the_official_one_is_used_with_a_warning_and_the_official_one_without(tmp_path, monkeypatch):
    sums = {name: hashlib.md5(raw).hexdigest() for name, raw in CIFAR10_FILES.items()}
    monkeypatch.setattr(catalogue, "CIFAR10", small(catalogue.CIFAR10, len(records()), sums))
    write(tmp_path, CIFAR10_FILES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.CIFAR10(tmp_path)
    write(tmp_path, {"data_batch_2.bin": records()})
    with pytest.warns(UserWarning, match=r"CIFAR10: not the official files, by their md5.*data_batch_2.bin$") as caught:
        assert len(data.CIFAR10(tmp_path)) == 30
    assert caught[0].filename == __file__
    write(tmp_path, {"data_batch_4.bin": records(PIXELS[:, ::-1])})
    with pytest.warns(UserWarning, match=r"data_batch_2.bin and 1 more of its files"):
        data.CIFAR10(tmp_path)


def test_another_data_sets_file_is_refused(tmp_path, monkeypatch):
    images, labels = idx_file(np.zeros((6, 28, 28), np.uint8)), idx_file(LABELS)
    known = {name: hashlib.md5(raw).hexdigest() for name, raw in
             (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels))}
    monkeypatch.setitem(catalogue.ENTRIES, "fashion_mnist", small(catalogue.FASHION_MNIST, None, known))
    write(tmp_path, {"train-images-idx3-ubyte.gz": gzip.compress(images), "train-labels-idx1-ubyte": labels})
    with pytest.raises(ValueError, match=r"gz: this is train-images-idx3-ubyte of FashionMNIST, not .* of MNIST"):
        data.MNIST(tmp_path)


def test_where_only_the_packed_file_is_known_that_is_compared(tmp_path, monkeypatch):
    packed = {f"{name}.gz": gzip.compress(raw) for name, raw in (
        ("train-images-idx3-ubyte", idx_file(np.zeros((6, 28, 28), np.uint8))),
        ("train-labels-idx1-ubyte", idx_file(LABELS)))}
    fetches = tuple(f._replace(md5=hashlib.md5(packed.get(f.name, b"")).hexdigest()) for f in catalogue.KMNIST.fetches)
    write(tmp_path, packed)
    with pytest.warns(UserWarning, match="KMNIST: not the official"):
        data.KMNIST(tmp_path)
    monkeypatch.setattr(catalogue, "KMNIST", catalogue.KMNIST._replace(fetches=fetches))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.KMNIST(tmp_path)


def test_gzip_bombs_are_not_unpacked(tmp_path):
    bomb = gzip.compress(idx_file(np.zeros((1000, 28, 28), np.uint8)) + bytes(200_000_000), 1)
    huge = gzip.compress(bytes([0, 0, 8, 3]) + np.array([200_000, 28, 28], ">u4").tobytes() + bytes(200_000_000), 1)
    for raw, message in ((bomb, "more than 784000 values follow"), (huge, "more than the 47040016 bytes")):
        write(tmp_path, {"bomb.gz": raw})
        tracemalloc.start()
        with pytest.raises(ValueError, match=message):
            idx.read_idx(tmp_path / "bomb.gz", catalogue.IDX_SIZES[catalogue.TRAIN_IMAGES])
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()


@settings(max_examples=300, **FUZZ)
@given(st.data())
def test_fuzzed_idx_files_give_the_announced_shape_or_a_value_error(tmp_path, given_data):
    raw = bytearray(idx_file(np.arange(60, dtype=np.uint8).reshape(5, 3, 4)))
    packed = given_data.draw(st.booleans())
    raw = bytearray(gzip.compress(raw)) if packed else raw
    for _ in range(given_data.draw(st.integers(0, 4))):
        raw[given_data.draw(st.integers(0, min(len(raw) - 1, 24)))] = given_data.draw(st.integers(0, 255))
    raw = raw[: given_data.draw(st.integers(0, len(raw)))] if given_data.draw(st.booleans()) else raw
    write(tmp_path, {"file": raw})
    try:
        array, digest = idx.read_idx_and_md5(tmp_path / "file", 1000)
    except ValueError as error:
        assert str(tmp_path / "file") in str(error)
    else:
        assert array.dtype == np.uint8 and array.size <= 1000
        if not packed:
            assert array.shape == tuple(np.frombuffer(bytes(raw[4 : 4 + 4 * raw[3]]), ">u4").tolist())
        assert digest == hashlib.md5(gzip.decompress(raw) if packed else raw).hexdigest()


# --- the Python version of CIFAR


def python2(pixels=PIXELS, labels=LABELS, key="labels", dtype="u1", shape=None, raw=None):
    """A batch as Python 2 and its NumPy pickled it (protocol 2)."""
    def string(text):
        text = text.encode() if isinstance(text, str) else text
        return (b"U" + bytes([len(text)]) if len(text) < 256 else b"T" + len(text).to_bytes(4, "little")) + text

    def number(value):
        return b"J" + int(value).to_bytes(4, "little", signed=True)

    shape = shape or (len(pixels), 3072)
    raw = pixels.tobytes() if raw is None else raw
    kind = b"cnumpy\ndtype\n(" + string(dtype) + number(0) + number(1) + b"tR(K\x03" + string("|") + b"NNN"
    kind += number(-1) * 2 + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + string("b") + b"tR(K\x01("
    array += b"".join(map(number, shape)) + b"t" + kind + b"\x89" + string(raw) + b"tb"
    values = b"](" + b"".join(b"K" + bytes([v]) for v in labels) + b"e"
    return b"\x80\x02}(" + string("data") + array + string(key) + values + string("batch_label") + string("one") + b"u."


def python3(protocol, pixels=PIXELS, labels=LABELS):
    rows = pixels.reshape(len(pixels), -1)
    return pickle.dumps({b"data": rows, b"fine_labels": [int(v) for v in labels]}, protocol)


PICKLES = {
    "Python 2": python2(), "of Python 2, fine": python2(key="fine_labels"), "2": python3(2),
    "3": python3(3), "4": python3(4), "ASCII": python2(np.full_like(PIXELS, 65)),
}


@pytest.mark.parametrize("case", PICKLES)
def test_pickled_batches_are_read(tmp_path, case):
    write(tmp_path, {"batch": PICKLES[case]})
    images, labels, digest = cifar.read_pickle(tmp_path / "batch", 10**6)
    np.testing.assert_array_equal(images, np.full_like(PIXELS, 65) if case == "ASCII" else PIXELS)
    assert labels.tolist() == LABELS.tolist()
    assert digest == hashlib.md5(PICKLES[case]).hexdigest()


def test_python_2_wrote_what_pickle_reads():
    batch = pickle.loads(python2(), encoding="latin1")
    np.testing.assert_array_equal(batch["data"].reshape(PIXELS.shape), PIXELS)


def test_cifar_of_the_python_version_is_found(tmp_path, little):
    monkey = {f"data_batch_{i}": python2() for i in range(1, 6)}
    write(tmp_path / "cifar-10-batches-py", {**monkey, "test_batch": python2(PIXELS[::-1])})
    with pytest.raises(ValueError, match="more than the 18438 bytes that are expected"):
        data.CIFAR10(tmp_path)
    catalogue.CIFAR10 = small(catalogue.CIFAR10, 30_000)
    assert data.CIFAR10(tmp_path)[:][0].shape == (30, 3, 32, 32)
    np.testing.assert_array_equal(data.CIFAR10(tmp_path, False).arrays[0], PIXELS[::-1])


class Evil:
    """Its pickle calls what it should not."""

    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize(("raw", "message"), [
    (pickle.dumps(Evil()), "wants builtins.exec, which is not plain data and is refused"),
    (pickle.dumps({"data": Evil(), "labels": []}, 2), "is refused"),
    (pickle.dumps({"data": np.zeros((1, 3072)), "labels": [1]}, 2), "an array of f8, expected bytes"),
    (pickle.dumps({"data": np.array([Evil()]), "labels": [1]}, 2), "is refused|an array of O8, expected bytes"),
    (pickle.dumps({"data": PIXELS.reshape(6, -1)}, 2), "no dict with an array of data and a list of labels"),
    (pickle.dumps({"data": PIXELS.reshape(6, -1), "labels": ["a"] * 6}, 2), "labels that are no small numbers"),
    (pickle.dumps({"data": PIXELS.reshape(6, -1), "labels": [1000] * 6}, 2), "labels that are no small numbers"),
    (pickle.dumps({"data": PIXELS.reshape(6, -1), "labels": [1] * 5}, 2), "and 5 labels do not fit together"),
    (pickle.dumps({"data": PIXELS.reshape(12, -1), "labels": [1] * 12}, 2), r"shape \(12, 1536\)"),
    (python2(shape=(7, 3072)), "damaged pickle"), (python2(shape=(-6, -3072)), "damaged pickle"),
    (python2(raw=b"abc"), "damaged pickle"), (python2()[:-5000], "."), (python2()[:100], "."), (b"", "."),
    (pickle.dumps([1, 2]), "no dict"), (pickle.dumps(sys.version_info[:2], 2), "no dict"),
], ids=range(17))
def test_hostile_and_damaged_pickles_are_refused_by_name(tmp_path, raw, message):
    write(tmp_path, {"batch": raw})
    with pytest.raises(ValueError, match=message) as caught:
        cifar.read_pickle(tmp_path / "batch", 10**6)
    assert str(tmp_path / "batch") in str(caught.value)


SHORT = python2(PIXELS[:1, :, :, :], LABELS[:1])


@settings(max_examples=400, **FUZZ)
@given(st.data())
def test_fuzzed_pickles_give_images_or_a_value_error(tmp_path, given_data):
    raw = bytearray(SHORT)
    pixels = range(SHORT.index(PIXELS[:1].tobytes()) + 8, SHORT.index(PIXELS[:1].tobytes()) + 3064)
    places = [i for i in range(len(raw)) if i not in pixels]
    for _ in range(given_data.draw(st.integers(1, 4))):
        raw[given_data.draw(st.sampled_from(places))] = given_data.draw(st.integers(0, 255))
    raw = raw[: given_data.draw(st.integers(0, len(raw)))] if given_data.draw(st.booleans()) else raw
    write(tmp_path, {"batch": raw})
    try:
        images, labels, _ = cifar.read_pickle(tmp_path / "batch", 10**6)
    except ValueError as error:
        assert str(tmp_path / "batch") in str(error)
    else:
        assert images.dtype == np.uint8 and images.shape == (len(labels), 3, 32, 32)


# --- pictures in folders


def picture(path, size, colour, **options):
    """A picture of one colour with a black left half."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    pixels[:, : size[0] // 2] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).convert(options.pop("mode", "RGB")).save(path, **options)


def test_an_image_folder(tmp_path):
    picture(tmp_path / "train" / "dog" / "b.png", (40, 30), (255, 0, 0))
    picture(tmp_path / "train" / "cat" / "deep" / "a.jpg", (20, 60), (0, 0, 255), quality=95)
    picture(tmp_path / "train" / "cat" / "grey.PNG", (16, 16), (80, 80, 80), mode="L")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    dataset = data.ImageFolder(tmp_path / "train", 16)
    assert dataset.classes == ("cat", "dog")
    assert [(path.name, label) for path, label in dataset.samples] == [("a.jpg", 0), ("grey.PNG", 0), ("b.png", 1)]
    image, label = dataset[2]
    assert (image.shape, image.dtype, label) == ((3, 16, 16), np.float32, 1)
    mean, std = (np.array(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    red = np.round((image * std + mean) * 255)
    assert red[0, :, :6].max() < 5 and red[0, :, 10:].min() > 250 and red[1:].max() == 0
    (x, y), = data.DataLoader(dataset, 3, transform=lambda x, rng: x[:, :, :8])
    assert x.shape == (3, 3, 8, 16) and y.tolist() == [0, 0, 1]
    assert data.load("folder", tmp_path, True, 12)[0][0].shape == (3, 12, 12)
    with pytest.raises(FileNotFoundError, match="no folder val or test in"):
        data.load("folder", tmp_path, False)


def test_what_is_wrong_with_an_image_folder(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(FileNotFoundError, match="no folders, one for each class"):
        data.ImageFolder(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no pictures .* in .*a"):
        data.ImageFolder(tmp_path)
    picture(tmp_path / "a" / "x.png", (300, 300), (1, 2, 3))
    whole = (tmp_path / "a" / "x.png").read_bytes()
    for raw in (b"", b"no picture", whole[:100], whole[:-400], whole[:60] + b"\xff" * 30 + whole[90:]):
        (tmp_path / "a" / "x.png").write_bytes(raw)
        with pytest.raises(ValueError, match=r"x.png: not a picture that Pillow can read"):
            data.ImageFolder(tmp_path)[0]
    (tmp_path / "a" / "x.png").write_bytes(whole)
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="decompression bomb"):
        data.ImageFolder(tmp_path)[0]
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'read with Pillow: pip install "minigrad\[images\]"'):
        data.ImageFolder(tmp_path)


@settings(max_examples=60, **FUZZ)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8), st.sampled_from(["PNG", "JPEG"]))
@pytest.mark.filterwarnings("ignore")
def test_fuzzed_pictures_give_an_image_or_a_value_error(tmp_path, changes, kind):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(PIXELS[0].transpose(1, 2, 0)).save(file, kind)
    raw = bytearray(file.getvalue())
    for place, value in changes:
        raw[place % len(raw)] = value
    write(tmp_path / "a", {"x.png": raw})
    try:
        assert data.ImageFolder(tmp_path, 16)[0][0].shape == (3, 16, 16)
    except ValueError as error:
        assert "x.png" in str(error)


def test_places_in_order(tmp_path):
    assert [str(path.relative_to(tmp_path)) for path, _ in sources.places(catalogue.CIFAR10, tmp_path)] == [
        "cifar-10-batches-bin", "cifar-10-batches-py", ".", "."]
