"""The data sets that are read from files, as one table: where they are looked for and what is in them.

Sizes and md5 checksums are those that the publishers and torchvision state; where nobody states one it is None. Means
and standard deviations are of the training images, channel by channel, scaled to 0 ... 1.
"""
from typing import NamedTuple


class File(NamedTuple):
    """A file that is read: its name without .gz, its bytes when unpacked, and the md5 of those (None: not known)."""

    name: str
    size: int
    md5: str | None = None


class Fetch(NamedTuple):
    """A file that is downloaded: its name, bytes and md5."""

    name: str
    size: int
    md5: str


class Folder(NamedTuple):
    """A place for a data set's files below the data root, and the files for training and for testing in it.

    reader: "idx" (images, then labels), "cifar" (records of label bytes and 3 x 32 x 32 pixels) or "pickle" (the Python
    version of CIFAR).
    """

    path: str
    reader: str
    train: tuple
    test: tuple


class Entry(NamedTuple):
    """A data set. folders: in the order they are looked for; downloads go into the first.

    shape: C, H, W of an image. mirrors: addresses that end with "/", to be tried in this order. labels: bytes before a
    record's pixels, of which the last is the class.
    """

    title: str
    shape: tuple
    classes: tuple
    mean: tuple
    std: tuple
    folders: tuple
    mirrors: tuple
    fetches: tuple
    labels: int = 1


TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_SIZES = {TRAIN_IMAGES: 47_040_016, TRAIN_LABELS: 60_008, TEST_IMAGES: 7_840_016, TEST_LABELS: 10_008}


def _idx_folders(paths, sums):
    """The four files of MNIST and of those like it, with the checksums of the unpacked files."""
    files = [File(name, size, md5) for (name, size), md5 in zip(IDX_SIZES.items(), sums, strict=True)]
    return tuple(Folder(path, "idx", tuple(files[:2]), tuple(files[2:])) for path in paths)


def _idx_fetches(*sizes_and_sums):
    return tuple(Fetch(f"{name}.gz", *known) for name, known in zip(IDX_SIZES, sizes_and_sums, strict=True))


MNIST = Entry(
    title="MNIST",
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    mean=(0.1307,),
    std=(0.3081,),
    folders=_idx_folders(("mnist", "MNIST/raw"), (
        "6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637",
    )),
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/",
             "http://yann.lecun.com/exdb/mnist/"),
    fetches=_idx_fetches(
        (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"), (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        (1_648_877, "9fb629c4189551a2d022fa330f9573f3"), (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
)
FASHION_MNIST = Entry(
    title="FashionMNIST",
    shape=(1, 28, 28),
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    mean=(0.2860,),
    std=(0.3530,),
    folders=_idx_folders(("fashion-mnist", "FashionMNIST/raw"), (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965",
    )),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    fetches=_idx_fetches(
        (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"), (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        (4_422_102, "bef4ecab320f06d8554ea6380940ec79"), (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
)
KMNIST = Entry(
    title="KMNIST",
    shape=(1, 28, 28),
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    mean=(0.1918,),
    std=(0.3483,),
    folders=_idx_folders(("kmnist", "KMNIST/raw"), (None,) * 4),
    mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
    fetches=_idx_fetches(
        (18_165_135, "bdb82020997e1d708af4cf47b453dcf7"), (29_497, "e144d726b3acfaa3e44228e80efcd344"),
        (3_041_136, "5c965bf0a639b31b8f53240b1b52f4d7"), (5_120, "7320c461ea6c1c855c0b718fb2a4b134"),
    ),
)

TORONTO = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
BATCH = 30_730_000  # bytes: 10,000 records of CIFAR-10
# A pickle's size depends on the Python that wrote it; this is far above any that holds as many images and file names.
PICKLE = {10_000: 64_000_000, 50_000: 320_000_000}

CIFAR10 = Entry(
    title="CIFAR10",
    shape=(3, 32, 32),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    folders=(
        Folder("cifar-10-batches-bin", "cifar", (
            File("data_batch_1.bin", BATCH, "5dd7e06a14cb22eb9f671a540d1b7c25"),
            File("data_batch_2.bin", BATCH, "5ea93a67294ea407fff1d09f752e9692"),
            File("data_batch_3.bin", BATCH, "942cd6a4bcdd0dd3c604fbe906cb4421"),
            File("data_batch_4.bin", BATCH, "ae636b3ba5c66a11e91e8cb52e771fcb"),
            File("data_batch_5.bin", BATCH, "53f37980c15c3d472c316c40844f3f0d"),
        ), (File("test_batch.bin", BATCH, "803d5f7f4d78ea53de84dbe85f74fb6d"),)),
        Folder("cifar-10-batches-py", "pickle", (
            File("data_batch_1", PICKLE[10_000], "c99cafc152244af753f735de768cd75f"),
            File("data_batch_2", PICKLE[10_000], "d4bba439e000b95fd0a9bffe97cbabec"),
            File("data_batch_3", PICKLE[10_000], "54ebc095f3ab1f0389bbae665268c751"),
            File("data_batch_4", PICKLE[10_000], "634d18415352ddfa80567beed471001a"),
            File("data_batch_5", PICKLE[10_000], "482c414d41f54cd18b22e5b47cb7c3cb"),
        ), (File("test_batch", PICKLE[10_000], "40351d587109b95175f43aff81a1287e"),)),
    ),
    mirrors=TORONTO,
    fetches=(Fetch("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),),
)
FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100 = Entry(
    title="CIFAR100",
    shape=(3, 32, 32),
    classes=tuple(FINE.split()),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    folders=(
        Folder("cifar-100-binary", "cifar", (File("train.bin", 153_700_000),), (File("test.bin", 30_740_000),)),
        Folder("cifar-100-python", "pickle",
               (File("train", PICKLE[50_000], "16019d7e3df5f24257cddd939b257f8d"),),
               (File("test", PICKLE[10_000], "f0ef6b0ae62326f3e7ffdfab6717acfc"),)),
    ),
    mirrors=TORONTO,
    fetches=(Fetch("cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),),
    labels=2,
)

ENTRIES = {
    "mnist": MNIST, "fashion_mnist": FASHION_MNIST, "kmnist": KMNIST, "cifar10": CIFAR10, "cifar100": CIFAR100,
}
