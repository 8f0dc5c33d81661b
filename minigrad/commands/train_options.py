"""The options of `minigrad train`, and what is built from them: network, optimiser, schedule, batches."""
from argparse import BooleanOptionalAction
from functools import partial
from pathlib import Path

from .. import data, models, ops, optim, train
from ..data import transforms
from .common import Parser, at_least, between, user_mistakes

OPTIMIZERS = {"adam": 0.002, "adamw": 0.002, "sgd": 0.01}  # name -> its default learning rate
SCHEDULES = ("cosine", "step", "multi-step", "one-cycle", "plateau", "constant")
FREE = ("data_root", "download", "device", "checkpoint_every", "resume")  # what may be given beside --resume


def add_options(parser):
    """Tell a parser the options of `minigrad train`."""
    parser.presets = recipe_options
    parser.add_argument("--recipe", metavar="NAME", help="train as `minigrad recipes` says; other options override it")
    _add_data_options(parser.add_argument)
    _add_optimizer_options(parser.add_argument)
    add = parser.add_argument
    add("--weights", metavar="FILE", help="begin with the weights in a .safetensors or .pth file, all but the head")
    add("--freeze", nargs="+", default=[], metavar="PATTERN", help="leave parameters as they are whose names match, as "
        "'features.*' or '*', which is all; never the head where --weights is given")
    add("--lr-head", type=at_least(0, float), metavar="LR", help="a learning rate for the head alone")
    add("--seed", type=at_least(0), default=0, help="same seed, same bits")
    add("--out", metavar="DIR", help="the run folder; runs/MODEL-DATASET-NUMBER if left out")
    add("--resume", metavar="RUN", help="go on with the run in this folder, with its options")
    add("--checkpoint-every", type=between(0, 1e9), default=60.0, metavar="SECONDS", help="how often the state "
        "is saved within an epoch; it is after each")
    add("--algorithm", default="auto", help="convolution algorithm: auto, direct, im2col, "
        "or reference (plain loops to compare with, far too slow for whole networks)")
    add("--device", default="cpu", help="cpu, cuda (an NVIDIA GPU), or cuda-sim, which runs the CUDA "
        "kernels on the CPU: for tiny networks only")


def _add_data_options(add):
    add("--model", default="lenet5_modern", help="see `minigrad models`")
    add("--dataset", default="digits", help="digits (embedded); mnist, fashion_mnist, kmnist, cifar10, "
        "cifar100 (files); or folder (pictures in DIR/train/CLASS and DIR/test/CLASS)")
    add("--data-root", metavar="DIR", help="the folder of all data sets, or of this one's files; "
        "MINIGRAD_DATA or ~/.cache/minigrad if left out")
    add("--download", action="store_true", help="fetch the data set's files if they are not there")
    add("--size", type=at_least(1), metavar="PIXELS", help="scale images to this size; the network's own if left out")
    add("--shift", type=at_least(0), default=2, help="move training images by up to so many pixels")
    add("--shift-fill", choices=("dark", "reflect"), default="dark", help="what appears at the edge then")
    add("--flip", action=BooleanOptionalAction, default=False, help="mirror every other training image")
    add("--cutout", type=at_least(0), default=0, metavar="PIXELS", help="cover a square of this size in each of them")
    add("--limit", type=at_least(1), metavar="IMAGES", help="use only so many for training, and for testing: to try")
    add("--epochs", type=at_least(1), default=20)
    add("--batch-size", type=at_least(1), default=32)
    add("--accumulate", type=at_least(1), default=1, metavar="BATCHES", help="batches for one step")


def _add_optimizer_options(add):
    add("--optimizer", choices=OPTIMIZERS, default="adam")
    add("--lr", type=at_least(0, float), help="first learning rate (the highest with one-cycle); "
        + ", ".join(f"{lr} for {name}" for name, lr in OPTIMIZERS.items()))
    add("--momentum", type=between(0, 1), default=0.9, help="of sgd")
    add("--nesterov", action=BooleanOptionalAction, default=False, help="look ahead along the momentum (sgd)")
    add("--lr-bias", type=at_least(0, float), metavar="LR", help="a learning rate for the biases, the head's left out")
    add("--weight-decay", type=between(0, 1e9), default=0.0, help="of kernels and matrices, not of biases")
    add("--schedule", choices=SCHEDULES, default="cosine", help="how the learning rate changes, epoch by epoch; "
        "one-cycle step by step")
    add("--pct-start", type=between(0, 1), default=0.3, metavar="SHARE", help="of the steps, in which it rises "
        "(one-cycle)")
    add("--step-size", type=at_least(1), default=10, metavar="EPOCHS", help="after how many it falls (step)")
    add("--milestones", type=at_least(1), nargs="+", default=[], metavar="EPOCH", help="when it falls (multi-step)")
    add("--gamma", type=between(0, 1), default=0.1, help="by which factor (step, multi-step, plateau)")
    add("--plateau-patience", type=at_least(0), default=3, metavar="EPOCHS", help="when it falls (plateau)")
    add("--warm-up", type=at_least(0), default=0, metavar="EPOCHS", help="raise it from a tenth to its first value")
    add("--clip-norm", type=at_least(0, float), metavar="NORM", help="the largest norm of the gradients")
    add("--label-smoothing", type=between(0, 1), default=0.0, metavar="SHARE")
    add("--ema", type=between(0, 1), metavar="DECAY", help="evaluate and keep the moving average of the weights")
    add("--patience", type=at_least(1), metavar="EPOCHS", help="stop once the test loss has not fallen for so many")


def recipe_options(options):
    """The defaults that the recipe among the options stands for. Raises CommandError for an unknown one."""
    with user_mistakes("train"):
        return train.recipe(options.recipe).options if options.recipe is not None else {}


def saved_form(options):
    """The options as they stand in a run's settings: paths made absolute, without those that are of one call only."""
    chosen = {name: value for name, value in vars(options).items() if name not in ("run", "command", "resume", "out")}
    for name in ("data_root", "weights"):
        if chosen[name] is not None:
            chosen[name] = str(Path(chosen[name]).absolute())
    return chosen


def resumed(options, saved):
    """The options of a saved run, with what may be changed. Raises ValueError for an option that may not."""
    parser = Parser(prog="minigrad train")
    add_options(parser)
    defaults = vars(parser.parse_args([]))
    for name, value in vars(options).items():
        if name in defaults and value != defaults[name]:
            if name not in FREE:
                raise ValueError(f"--resume goes on with the run's own options; --{name.replace('_', '-')} cannot be "
                                 "given with it")
            saved = {**saved, name: value}
    return type(options)(**{**defaults, **saved, "resume": options.resume})


def image_size(options):
    """How many pixels the sides of images are to have. ValueError for an unknown network or too long a --shift."""
    size = options.size or models.entry(options.model).input_shape[1]
    if options.shift >= size:
        raise ValueError(f"--shift {options.shift} moves images of {size} pixels out of sight")
    return size


def augmentation(options):
    """The transform of training images that the options ask for, or None."""
    chosen = [transforms.RandomShift(options.shift, options.shift_fill)] if options.shift else []
    chosen += [transforms.RandomHorizontalFlip()] if options.flip else []
    chosen += [transforms.Cutout(options.cutout)] if options.cutout else []
    return transforms.Compose(chosen) if chosen else None


def build_model(options, classes, channels, weights):
    """(network, names of its head if it has one of its own, names of frozen parameters)."""
    model = models.create(options.model, num_classes=classes, in_channels=channels, weights=weights, new_head=True)
    own_head = options.weights is not None or options.lr_head is not None
    head = models.head(options.model, in_channels=channels) if own_head else ()
    return model, head, train.freeze(model, options.freeze, head if options.weights is not None else ())


def build_training(options, model, head, steps):
    """The Training that the options describe. steps: of the optimiser in an epoch."""
    rate = options.lr or OPTIMIZERS[options.optimizer]
    groups = train.parameter_groups(model, options.weight_decay, head, options.lr_head, options.lr_bias)
    kind = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}[options.optimizer]
    moving = {"momentum": options.momentum, "nesterov": options.nesterov} if options.optimizer == "sgd" else {}
    optimizer = kind(groups, lr=rate, **moving)
    return train.Training(
        model, optimizer, build_schedule(options, optimizer, steps),
        None if options.ema is None else train.AveragedModel(model, options.ema),
        partial(ops.cross_entropy, label_smoothing=options.label_smoothing),
        options.accumulate, options.clip_norm, options.patience,
    )


def build_schedule(options, optimizer, steps):
    """The schedule that the options describe, None for a constant rate. ValueError where they do not go together."""
    warm, name = options.warm_up, options.schedule
    if warm and name in ("one-cycle", "plateau"):
        raise ValueError(f"--warm-up does not go with --schedule {name}")
    if warm >= options.epochs:
        raise ValueError(f"--warm-up {warm} leaves nothing of {options.epochs} epochs")
    if name == "multi-step" and not options.milestones:
        raise ValueError("--schedule multi-step needs --milestones")
    warming = [optim.LinearLR(optimizer, 0.1, total_iters=warm)] if warm else []
    main = {
        "cosine": lambda: optim.CosineAnnealingLR(optimizer, options.epochs - warm),
        "step": lambda: optim.StepLR(optimizer, options.step_size, options.gamma),
        "multi-step": lambda: optim.MultiStepLR(optimizer, [m - warm for m in options.milestones], options.gamma),
        "one-cycle": lambda: optim.OneCycleLR(
            optimizer, [group["lr"] for group in optimizer.param_groups], epochs=options.epochs, steps_per_epoch=steps,
            pct_start=options.pct_start, cycle_momentum=False),
        "plateau": lambda: optim.ReduceLROnPlateau(optimizer, factor=options.gamma, patience=options.plateau_patience),
        "constant": lambda: optim.StepLR(optimizer, options.epochs + 1) if warm else None,
    }[name]()
    return optim.SequentialLR(optimizer, [*warming, main], [warm]) if warm else main


def build_batches(options, train_set, test_set):
    """The two loaders: training images shuffled and changed, test images as they are."""
    train_batches = data.DataLoader(train_set, options.batch_size, shuffle=True, seed=options.seed,
                                    transform=augmentation(options), prefetch=2)
    return train_batches, data.DataLoader(test_set, 256, prefetch=2)
