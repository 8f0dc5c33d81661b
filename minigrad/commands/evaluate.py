"""`minigrad eval`, which tests runs, alone and together, and `minigrad predict`, which looks at pictures with one."""
import sys

import numpy as np

from .. import creation, data, device, modes, ops, train
from ..data import folder as pictures
from . import run_folder
from .common import at_least, user_mistakes


def add_evaluation_commands(add):
    """Add both commands. add: makes a parser for a command."""
    evaluate = add("eval", help="test trained networks", description="Test a run, or several and their mean vote.")
    evaluate.add_argument("runs", nargs="+", metavar="RUN", help="a run folder of `minigrad train`")
    evaluate.add_argument("--data-root", metavar="DIR", help="where the data set lies, if not where it was")
    evaluate.add_argument("--batch-size", type=at_least(1), default=256)
    evaluate.add_argument("--device", default="cpu", help="cpu, cuda or cuda-sim")
    evaluate.add_argument("--confusion", metavar="FILE", help="draw the confusion matrix into this picture")
    evaluate.set_defaults(run=run_eval)
    predict = add("predict", help="name what is on pictures", description="The likeliest classes of pictures.")
    predict.add_argument("trained", metavar="RUN", help="a run folder of `minigrad train`")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="a picture, of any size")
    predict.add_argument("--top", type=at_least(1), default=5, metavar="N", help="how many classes to print")
    predict.add_argument("--invert", action="store_true", help="for dark ink on white paper, with a network that was "
                         "trained on white ink on black")
    predict.add_argument("--device", default="cpu", help="cpu, cuda or cuda-sim")
    predict.set_defaults(run=run_predict)


def run_eval(options):
    """minigrad eval"""
    from tqdm import tqdm

    with user_mistakes("eval"):
        target = device.check_device(options.device)
        found = [run_folder.settings(folder) for folder in options.runs]
        networks = [run_folder.network(*pair).to(target) for pair in zip(options.runs, found, strict=True)]
        _check_alike(options.runs, found)
        images = run_folder.test_images(found[0], options.data_root)
    batches = data.DataLoader(images, options.batch_size, prefetch=2)
    quiet = None if sys.stderr else True
    voters = [*zip(options.runs, networks, strict=True)]
    if len(networks) > 1:
        voters.append((f"the mean of {len(networks)}", train.Ensemble(networks)))
    for name, network in voters:
        with tqdm(batches, desc=str(name), unit="batch", leave=False, disable=quiet) as bar:
            result = train.evaluate(network, bar)
        print(f"{name}: loss {result.loss:.4f}, top-1 {result.accuracy:.2%}, top-5 {result.top5:.2%} "
              f"of {len(images):,} images", flush=True)
    if options.confusion:
        with user_mistakes("eval"):
            train.plot_confusion(result.confusion, images.classes, options.confusion, f"{name}: {result.accuracy:.2%}")
    print(f"test accuracy: {result.accuracy:.2%}")


def _check_alike(runs, found):
    """ValueError unless all runs take the same images and tell the same classes apart."""
    for run, settings in zip(runs, found, strict=True):
        for what, ours, first in (("data set", settings["options"]["dataset"], found[0]["options"]["dataset"]),
                                  ("classes", settings["classes"], found[0]["classes"]),
                                  ("image size", settings["image"], found[0]["image"])):
            if ours != first:
                raise ValueError(f"{run} has another {what} than {runs[0]}: they cannot vote together")


def run_predict(options):
    """minigrad predict"""
    with user_mistakes("predict"):
        found = run_folder.settings(options.trained)
        network = run_folder.network(options.trained, found).to(device.check_device(options.device))
        images = [picture(path, found, options.invert) for path in options.images]
    for path, image in zip(options.images, images, strict=True):
        with modes.no_grad():
            scores = network(creation.tensor(image[None], device=options.device))
            shares = ops.softmax(scores, 1).cpu().numpy()[0]
        best = np.argsort(-shares, kind="stable")[: options.top]
        print(f"{path}: " + ", ".join(f"{found['classes'][i]} {shares[i]:.2%}" for i in best))


def picture(path, found, invert=False):
    """A picture from a file as the network of a run takes it: C x H x W float32. found: the run's settings."""
    channels, size = found["image"][:2]
    if channels not in (1, 3):
        raise ValueError(f"the run's images have {channels} channels, pictures have 1 or 3")
    pixels = pictures.pixels(path, size, pictures.pillow(), "L" if channels == 1 else "RGB")
    pixels = 255 - pixels if invert else pixels
    return data.transforms.Compose([data.transforms.ConvertImageDtype(), data.transforms.Normalize(
        found["mean"], found["std"])])(pixels[None])[0]
