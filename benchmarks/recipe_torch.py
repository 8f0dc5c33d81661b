"""A recipe of minigrad in PyTorch: the same network from minigrad's first weights, the same batches, options and loss.

    python benchmarks/recipe_torch.py convnet-mnist --seed 0 --data-root data

reproduce.py runs it in a process of its own. The optimiser, the schedule and the averaged weights are PyTorch's; images
are read, changed and made batches of by minigrad's loader, so that both pay the same for them. The memory layout is the
faster one of a few steps. The last line is a JSON object: accuracy, seconds (of the epochs, with their evaluations),
layout, versions.
"""
import argparse
import copy
import json
import time
from itertools import islice

import numpy as np
import side_minigrad
import side_torch
import torch
import torch_models
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import minigrad as mg
from minigrad import cli, train
from minigrad.commands import train as command
from minigrad.commands import train_options

TRIALS = 5  # steps in each memory layout, before the training


def main(argv=None):
    """Train and print what came of it."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--threads", type=int, default=2)
    chosen, rest = p.parse_known_args(argv)
    options = cli.parser().parse_args(["train", "--recipe", *rest])
    told = side_torch.start(chosen.threads)
    mg.set_num_threads(1)
    net, batches, tests, frozen = twin(options)
    layout = faster(net, batches, options)
    print(f"{options.recipe} in PyTorch {told['version']}, {layout}", flush=True)
    accuracy, seconds = fit(net, batches, tests, options, frozen, layout)
    print(json.dumps({"accuracy": accuracy, "seconds": seconds, "layout": layout, **told}))


def twin(options):
    """(the network in PyTorch, training batches, test batches, names of frozen parameters)."""
    mg.manual_seed(options.seed)
    torch.manual_seed(options.seed)
    parts = command.load_data(options, train_options.image_size(options))
    model, _, frozen = train_options.build_model(options, len(parts[0].classes), np.shape(parts[0][0][0])[0], None)
    command.prepare(model, parts[0])
    batches, tests = train_options.build_batches(options, *parts)
    net = torch_models.build(side_minigrad.tree(model))
    net.load_state_dict({name: torch.from_numpy(t.numpy()) for name, t in model.state_dict().items()})
    for name, p in net.named_parameters():
        p.requires_grad_(name not in frozen)
    return net, batches, tests, frozen


def faster(net, batches, options):
    """The memory layout in which a few steps of a copy of the network take less time."""
    times, few = {}, list(islice(batches.batches(), TRIALS))
    for layout in side_torch.FORMATS:
        copied = copy.deepcopy(net).to(memory_format=side_torch.FORMATS[layout])
        optimizer, taken = optimizer_of(copied, options), []
        for images, labels in few:
            before = time.perf_counter()
            step(copied, optimizer, images, labels, options, layout)
            taken.append(time.perf_counter() - before)
        times[layout] = min(taken)
    return min(times, key=times.get)


def fit(net, batches, tests, options, frozen, layout):
    """Train for all epochs, evaluating after each; returns (accuracy at the end, seconds)."""
    net = net.to(memory_format=side_torch.FORMATS[layout])
    optimizer = optimizer_of(net, options)
    schedule = schedule_of(optimizer, options, len(batches))
    decay = None if options.ema is None else get_ema_multi_avg_fn(options.ema)
    average = None if decay is None else AveragedModel(net, multi_avg_fn=decay)
    begun = time.perf_counter()
    for epoch in range(options.epochs):
        net.train()
        batches.epoch = epoch
        for images, labels in batches.batches():
            loss = step(net, optimizer, images, labels, options, layout)
            if options.schedule == "one-cycle":
                schedule.step()
            if average is not None:
                average.update_parameters(net)
                for kept, b in zip(average.module.buffers(), net.buffers(), strict=True):
                    kept.copy_(b)
        if options.schedule == "multi-step":
            schedule.step()
        accuracy = evaluate(net if average is None else average.module, tests, layout)
        print(f"epoch {epoch + 1:3d}/{options.epochs}  last loss {loss:.4f}  test accuracy {accuracy:7.2%}  "
              f"{time.perf_counter() - begun:.1f} s", flush=True)
    return accuracy, time.perf_counter() - begun


def step(net, optimizer, images, labels, options, layout):
    """One step of training; returns the loss."""
    optimizer.zero_grad()
    scores = net(_tensor(images, layout))
    loss = F.cross_entropy(scores, torch.from_numpy(labels.numpy()), label_smoothing=options.label_smoothing)
    loss.backward()
    optimizer.step()
    return loss.item()


def _tensor(images, layout):
    return torch.from_numpy(images.numpy()).contiguous(memory_format=side_torch.FORMATS[layout])


def evaluate(net, tests, layout):
    """The share of test images whose highest score is that of their class."""
    net.eval()
    hits = 0
    with torch.inference_mode():
        for images, labels in tests:
            hits += int((net(_tensor(images, layout)).argmax(1).numpy() == labels.numpy()).sum())
    return hits / len(tests.dataset)


def optimizer_of(net, options):
    """PyTorch's optimiser over the groups that minigrad makes."""
    groups = train.parameter_groups(net, options.weight_decay, bias_lr=options.lr_bias)
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer](groups, lr=options.lr)


def schedule_of(optimizer, options, steps):
    """PyTorch's schedule, None for a constant rate. ValueError for one that no recipe has."""
    if options.schedule == "constant":
        return None
    if options.schedule == "multi-step":
        return lr_scheduler.MultiStepLR(optimizer, options.milestones, options.gamma)
    if options.schedule == "one-cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, rates, epochs=options.epochs, steps_per_epoch=steps,
                                       pct_start=options.pct_start, cycle_momentum=False)
    raise ValueError(f"no recipe has the schedule {options.schedule}")


if __name__ == "__main__":
    main()
