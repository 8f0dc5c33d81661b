"""Whole training steps: forward, cross-entropy, backward and an SGD step with momentum, and the memory they need.

    python benchmarks/train_step.py --peers torch
    python benchmarks/train_step.py --peers torch --nets vgg16,resnet50
    python benchmarks/train_step.py --peers torch --device cuda

PyTorch runs the same network from the same weights (see networks.py) in both memory layouts; the faster one is the
opponent. Ratios are minigrad's / PyTorch's: below 1 is better. "growth" is what the steps added to the memory of a
process that had imported the framework (minigrad imports Numba, some 100 MiB, only in the first step); the memory ratio
is of whole processes. On a GPU some networks take larger batches, both frameworks run as CUDA graphs, too, and memory
is not measured.
"""
import common
import networks
import pictures

SMALL, LARGE = (3, 32, 32), (3, 224, 224)
NETS = {  # name: model, options of models.create, batch, image
    "allcnn_c": ("allcnn_c", {}, 64, SMALL),
    "allcnn_c_all": ("allcnn_c_all", {}, 64, SMALL),
    "resnet18_cifar": ("resnet18_cifar", {}, 32, SMALL),
    "vgg16": ("vgg16", {}, 4, LARGE),
    "resnet50": ("resnet50", {}, 4, LARGE),
    "googlenet_2014": ("googlenet_2014", {"aux_heads": False}, 8, LARGE),
    "densenet121": ("densenet121", {}, 4, LARGE),
    "convnet": ("convnet", {}, 128, (1, 28, 28)),
    "tiny": ("convnet", {}, 4, (1, 28, 28)),  # to try the script
}
GPU_BATCHES = {"resnet18_cifar": 256, "allcnn_c": 256, "vgg16": 32, "resnet50": 32}  # otherwise those of NETS
RATE = 1e-4  # small, so that the loss stays finite on random images
STEPS = 3  # before memory is read


def net(name, fused=False, batch=None):
    """A row of NETS as the dict that the sides take."""
    model, options, size, image = NETS[name]
    return {"model": model, "options": options, "batch": batch or size, "image": image, "lr": RATE, "fused": fused}


def main(argv=None):
    """Measure, print the table, write train_step.json and its picture."""
    p = common.parser(__doc__.split("\n")[0], peers=("torch",), seconds=0.5, gpu=True)
    p.add_argument("--nets", type=common.split, metavar="NAMES", help=f"of {', '.join(NETS)} (all but tiny)")
    p.add_argument("--batch", type=int, help="images; default: that of each network")
    p.add_argument("--fused", action="store_true", help="PyTorch's optimiser with fused=True, which is not its default")
    options = common.arguments(p, argv)
    nets = common.choose(p, options.nets or [name for name in NETS if name != "tiny"], NETS, "nets")
    on_gpu = options.device.name == "cuda"
    theirs = (*common.LAYOUTS, *(f"{layout} graph" for layout in common.LAYOUTS)) if on_gpu else common.LAYOUTS
    variants = {"minigrad": ("minigrad",), **dict.fromkeys(options.peers, theirs)}
    load, results, lines = [common.warn_if_busy("at the start")], [], []
    for name in nets:
        given = net(name, options.fused, options.batch or (GPU_BATCHES.get(name) if on_gpu else None))
        found, descriptions = networks.measure(options, "train", given, variants, STEPS)
        results.append(networks.result(f"{name}, batch {given['batch']}", found))
        lines += networks.rows(results[-1]["name"], found)
        common.table(networks.HEADER, networks.rows(results[-1]["name"], found))
        print()
    if len(nets) > 1:
        common.table(networks.HEADER, lines)
    load.append(common.warn_if_busy("at the end"))
    stem = common.write(options, "train_step", results, descriptions, load=load)
    pictures.ratios(results, stem, "training step: minigrad's time / PyTorch's in its better layout")


if __name__ == "__main__":
    common.script(main)
