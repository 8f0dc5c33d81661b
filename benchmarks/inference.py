"""Inference: forward passes in evaluation mode, of one image and of eight.

    python benchmarks/inference.py --peers torch
    python benchmarks/inference.py --peers torch --device cuda --batches 1,32

minigrad runs the network as it is and after `nn.fuse`; PyTorch in both memory layouts, as it is and with its batch norm
folded into the convolutions. The fastest of each is what the ratios compare: minigrad's / PyTorch's, below 1 is better.
"""
import common
import networks
import pictures

LARGE = (3, 224, 224)
NETS = {name: (name, {}, LARGE) for name in ("vgg16", "resnet18", "resnet50")}  # model, options, image
NETS["tiny"] = ("resnet20_cifar", {"shortcut": "projection"}, (3, 16, 16))  # to try the script
RUNS = 3  # before memory is read


def main(argv=None):
    """Measure, print the table, write inference.json and its picture."""
    p = common.parser(__doc__.split("\n")[0], peers=("torch",), seconds=0.3, gpu=True)
    p.add_argument("--nets", type=common.split, metavar="NAMES", help=f"of {', '.join(NETS)} (all but tiny)")
    p.add_argument("--batches", type=common.split, default=["1", "8"], metavar="SIZES", help="images at once (1,8)")
    options = common.arguments(p, argv)
    nets = common.choose(p, options.nets or [name for name in NETS if name != "tiny"], NETS, "nets")
    if not all(size.isdigit() and int(size) for size in options.batches):
        p.error(f"--batches: expected numbers, got {','.join(options.batches)}")
    load, results, lines = [common.warn_if_busy("at the start")], [], []
    for name, (model, extra, image) in nets.items():
        for size in map(int, options.batches):
            given = {"model": model, "options": extra, "batch": size, "image": image}
            layouts = common.LAYOUTS if model.startswith("vgg") else both(common.LAYOUTS)
            variants = {"minigrad": (), **dict.fromkeys(options.peers, layouts)}
            found, descriptions = networks.measure(options, "inference", given, variants, RUNS)
            results.append(networks.result(f"{name}, batch {size}", found))
            lines += networks.rows(results[-1]["name"], found)
            common.table(networks.HEADER, networks.rows(results[-1]["name"], found))
            print()
    if len(results) > 1:
        common.table(networks.HEADER, lines)
    load.append(common.warn_if_busy("at the end"))
    stem = common.write(options, "inference", results, descriptions, load=load)
    pictures.ratios(results, stem, "inference: minigrad's time / PyTorch's fastest variant")


def both(layouts):
    """The layouts, as they are and folded."""
    return (*layouts, *(f"{layout} folded" for layout in layouts))


if __name__ == "__main__":
    common.script(main)
