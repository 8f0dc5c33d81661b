"""Loading and augmentation: what a batch costs beside the training step that takes it, and what a data set takes.

    python benchmarks/data.py
    python benchmarks/data.py --data-root FOLDER

Batches of 64 CIFAR-10 images, cropped with padding 4, flipped and normalised, and each transform alone; then training
steps of All-CNN-C on a batch that is there already, and on batches from the loader, with and without its thread. Images
are random unless CIFAR-10 lies in --data-root; their values do not matter to the time. "share" is of the step.
"""
import itertools
import statistics
import time

import common
import numpy as np

import minigrad as mg
from minigrad import data, models, ops, optim
from minigrad.data import catalogue, transforms
from minigrad.data.images import Conversion, Images

WHOLE = "a batch: read, crop, flip, normalise"
AIM = 0.05  # of a training step
ENTRY = catalogue.CIFAR10
AUGMENT = {
    "crop with padding 4": transforms.RandomCrop(32, padding=4), "flip": transforms.RandomHorizontalFlip(),
    "cutout": transforms.Cutout(8), "colour jitter": transforms.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "lighting": transforms.Lighting(), "resize to 64": transforms.Resize(64),
}
CROP_AND_FLIP = transforms.Compose([AUGMENT["crop with padding 4"], AUGMENT["flip"]])


def dataset(root, images):
    """CIFAR-10 from its files, or random images in its place."""
    if root:
        return data.CIFAR10(root)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, *ENTRY.shape), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 10, images), ENTRY.classes, Conversion(ENTRY.mean, ENTRY.std))


def timed(function, seconds):
    """Seconds of one call: the median of those that fit into so many seconds, after one that is not counted."""
    function()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def step_function(name):
    """A function (images, labels) that makes one training step of a network."""
    mg.manual_seed(0)
    net = models.create(name, in_channels=3).train()
    optimizer = optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def step(images, labels):
        optimizer.zero_grad()
        ops.cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


def per_step(loader, step, batches):
    """Seconds of one step with a batch of this loader: the first two, in which the thread starts, are not counted."""
    source = iter(loader)
    for _ in range(2):
        step(*next(source))
    start = time.perf_counter()
    for _ in range(batches):
        step(*next(source))
    return (time.perf_counter() - start) / batches


def measure(options):
    """{what: [seconds in each round]}; the kinds of training steps take turns."""
    images = dataset(options.data_root, max(2000, options.batch * (options.steps + 3)))
    step = step_function(options.net)

    def loader(prefetch):
        return data.DataLoader(images, options.batch, shuffle=True, seed=0, transform=CROP_AND_FLIP, prefetch=prefetch)

    numbers = np.random.default_rng(0).permutation(len(images))[: options.batch]
    pixels, rng = images.__getitems__(numbers)[0], np.random.default_rng(0)
    ready = [next(iter(loader(0)))] * (options.steps + 2)
    endless = itertools.chain.from_iterable(itertools.repeat(loader(0)))
    alone = {
        "read": lambda: images.__getitems__(numbers), **{k: (lambda t=t: t(pixels, rng)) for k, t in AUGMENT.items()},
        "to floats and normalise": lambda: images.convert(pixels), WHOLE: lambda: next(endless),
    }
    times = {}
    for _ in range(options.rounds):
        for name, function in alone.items():
            times.setdefault(name, []).append(timed(function, options.seconds))
        for name, source in (("step, batch at hand", ready), ("step, loader", loader(0)),
                             ("step, loader with its thread", loader(2))):
            times.setdefault(name, []).append(per_step(source, step, options.steps))
    return images, times


def main(argv=None):
    """Measure, print the table, write data.json."""
    p = common.parser(__doc__.split("\n")[0], peers=(), rounds=5, seconds=0.1)
    p.add_argument("--data-root", help="where CIFAR-10 lies; random images if left out")
    p.add_argument("--net", default="allcnn_c", help="the network that is trained (default allcnn_c)")
    p.add_argument("--batch", type=int, default=64, help="images (default 64)")
    p.add_argument("--steps", type=int, default=8, help="training steps a round (default 8)")
    options = common.arguments(p, argv)
    mg.set_num_threads(options.threads)
    load = [common.warn_if_busy("at the start")]
    images, times = measure(options)
    spreads = {name: common.spread(values) for name, values in times.items()}
    step = spreads["step, batch at hand"]["median"]
    results = [{"name": name, "seconds": s, "share": s["median"] / step} for name, s in spreads.items()]
    common.table(["what", "ms", "share"], [
        [r["name"], common.milliseconds(r["seconds"]), f"{r['share']:.2%}"] for r in results])
    share = spreads[WHOLE]["median"] / step
    kept = sum(array.nbytes for array in images.arrays) / 2**20
    print(f"\nloading and augmentation: {share:.2%} of a step of {options.net}, aim below {AIM:.0%}; "
          f"{len(images):,} images in {kept:.0f} MiB")
    load.append(common.warn_if_busy("at the end"))
    common.write(options, "data", results, {"minigrad": {"version": mg.__version__}}, load=load, share=share,
                 megabytes=kept)


if __name__ == "__main__":
    common.script(main)
