"""Recorded training steps: the same bits as running directly, anew where something was replaced.

On the simulated device recording is simulated (kernels/cuda/recording.py); on a GPU everything is tested for real.
"""
import numpy as np
import pytest
from recorded import (
    STEPS,
    adam,
    adamw,
    batches,
    network,
    never_cleared,
    on_devices,
    plain_step,
    same,
    sgd,
    trained,
)

import minigrad as mg
from minigrad import cuda_graph, nn
from minigrad.device import from_host, generator

# --- the same bits


@on_devices
@pytest.mark.parametrize("make", [sgd, adam, adamw])
def test_a_replayed_training_gives_the_bits_of_a_direct_one(make, device):
    same(device, make)


@on_devices
@pytest.mark.parametrize("step_of", STEPS)
def test_gradients_and_rates_may_be_handled_in_any_way(step_of, device):
    same(device, adam, step_of)


@on_devices
def test_gradients_may_be_cleared_outside_and_rates_set_there(device):
    def between(i, net, optimizer):
        optimizer.zero_grad()
        optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)

    same(device, sgd, never_cleared, between)


# --- replaced memory


def replace_a_weight(i, net, optimizer):
    if i == 3:
        net[0].weight.data = net[0].weight._data * 0.5


def replace_a_buffer(i, net, optimizer):
    if i == 3:
        net[1].running_mean.data = net[1].running_mean._data + 1.0


def replace_a_layer(i, net, optimizer):
    if i == 3:
        net[5] = nn.Linear(12, 3).to(net[0].weight.device)


def evaluate(i, net, optimizer):
    net.train(i != 3)


def freeze(i, net, optimizer):
    if i == 3:
        net[0].weight.requires_grad_(False)


def drop_gradients_once(i, net, optimizer):
    if i == 3:
        optimizer.zero_grad()


@on_devices
@pytest.mark.parametrize("between", [replace_a_weight, replace_a_buffer, replace_a_layer, evaluate, freeze])
def test_what_was_replaced_or_switched_is_noticed_and_the_step_recorded_anew(between, device):
    same(device, sgd, plain_step, between)


@on_devices
def test_gradients_that_are_added_to_may_go_in_between(device):
    same(device, sgd, never_cleared, drop_gradients_once)


@on_devices
def test_a_step_is_recorded_once_where_nothing_is_replaced_and_again_where_something_is(device, monkeypatch):
    recordings = []
    begin = cuda_graph.Recording.__init__
    monkeypatch.setattr(cuda_graph.Recording, "__init__", lambda *args: recordings.append(begin(*args)))
    trained(device, sgd)
    assert len(recordings) == 1
    trained(device, sgd, plain_step, replace_a_weight)
    assert len(recordings) == 3


@on_devices
def test_what_was_prepared_from_a_frozen_weight_is_prepared_again_when_that_changes(device):
    w = mg.ones(2, 2, 3, 3, device=device)
    scale = mg.ones(1, device=device, requires_grad=True)
    graph = mg.cuda.graph(lambda x: mg.conv2d(x * scale, w, algorithm="winograd").sum())
    x = mg.ones(1, 2, 5, 5, device=device)
    first = [graph(x).item() for _ in range(4)]
    assert graph.recorded
    w.mul_(2.0)
    assert [graph(x).item() for _ in range(3)] == [2 * value for value in first[:3]]
    assert graph.recorded


# --- arguments and results


@on_devices
def test_arguments_may_lie_anywhere_and_results_are_copies(device):
    scale = mg.tensor([2.0], device=device)
    graph = mg.cuda.graph(lambda x, power, flag: {"y": [(x * scale) ** power], "x": x, "n": len(x), "flag": flag})
    results = [graph(mg.full((2, 3), float(i), device=device), 2, None) for i in range(6)]
    assert graph.recorded
    assert [r["y"][0].cpu().numpy()[0, 0] for r in results] == [4.0 * i * i for i in range(6)]
    assert [r["x"].cpu().numpy()[1, 2] for r in results] == list(range(6))
    assert results[5]["n"] == 2 and results[5]["flag"] is None
    assert graph(mg.full((2, 3), 3.0, device=device), 3, None)["y"][0].cpu().numpy()[0, 0] == 216  # directly
    assert graph.recorded and not graph.reason


@on_devices
def test_the_last_smaller_batch_runs_directly_and_the_graph_stays(device):
    results = []
    for direct in (False, True):
        net = network(device)
        optimizer = sgd(net.parameters())
        step = plain_step(net, optimizer)
        graph = None if direct else mg.cuda.graph(step)
        for _ in range(2):
            for batch in (*batches(device, 3), *batches(device, 1, size=2)):
                (graph or step)(*batch)
        if graph:
            recorded = graph._recording
            graph(*batches(device, 1)[0])
            assert graph._recording is recorded is not None
        else:
            step(*batches(device, 1)[0])
        results.append([p.detach().cpu().numpy() for p in net.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@on_devices
def test_methods_and_partial_functions_are_steps_too(device):
    class Trainer:
        def __init__(self):
            self.net = network(device)
            self.optimizer = sgd(self.net.parameters())

        def step(self, x, target):
            return plain_step(self.net, self.optimizer)(x, target)

    trainer = Trainer()
    graph = mg.cuda.graph(trainer.step)
    for batch in batches(device, 4):
        graph(*batch)
    assert graph.recorded and graph.__name__ == "step"
    trainer.net.eval()
    graph(*batches(device, 1)[0])
    assert not graph.recorded  # it is to be recorded anew


@on_devices
def test_autograd_knows_what_a_replay_has_changed(device):
    count = mg.zeros(2, device=device)
    graph = mg.cuda.graph(lambda x: count.add_(x))
    versions = []
    for _ in range(6):
        graph(mg.ones(2, device=device))
        versions.append(count._version.count)
    assert graph.recorded and len({*versions}) == 6 and count.cpu().tolist() == [6, 6]


# --- what the host makes anew


@on_devices
def test_values_of_the_host_are_new_in_every_replay(device):
    def noisy(net, optimizer):
        def step(x, target):
            noise = mg.Tensor(from_host(lambda: generator().random((3, 2, 4, 4)), x.shape, "float32", x._data))
            return plain_step(net, optimizer)(x + noise, target)

        return step

    same(device, sgd, noisy)


@on_devices
@pytest.mark.parametrize("drop", [mg.dropout, mg.dropout2d])
def test_dropout_drops_others_in_every_replay(device, drop):
    def dropping(net, optimizer):
        def step(x, target):
            return plain_step(net, optimizer)(drop(x, 0.4), target)

        return step

    same(device, sgd, dropping)
    x = mg.ones(1, 2, 8, 8, device=device)
    graph = mg.cuda.graph(lambda x: mg.dropout(x))
    assert len({graph(x)._data.get().tobytes() for _ in range(6)}) == 6 and graph.recorded
