"""Steps that cannot be recorded run directly, and say why; a failed recording leaves no trace."""
import sys

import numpy as np
import pytest
from recorded import batches, network, on_devices, plain_step, reads_a_number, runs_directly, sgd, simulated

import minigrad as mg
from minigrad import optim
from minigrad.device import generator


def test_on_the_cpu_there_is_nothing_to_record():
    net = network("cpu")
    step = plain_step(net, sgd(net.parameters()))
    runs_directly(step, batches("cpu", 3), "its tensors are on the CPU, where there is nothing to record")


def test_without_cupy_a_step_runs_on_the_cpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert runs_directly(lambda x: x * 2.0, [[mg.ones(2)]], "the CPU")[0].tolist() == [2, 2]


@on_devices
@pytest.mark.parametrize(("work", "reason"), [
    (reads_a_number, "(recorded.py:"), (lambda y: y.cpu() * 2.0, "goes from cuda"),
    (lambda y: y if bool((y > 0).all()) else -y, "RuntimeError"),
    (lambda y: y + mg.tensor(np.ones(3), dtype="float32", device=y.device), "goes from cpu to cuda"),
    (lambda y: y + float(generator().random()), "draws random numbers of the host"),
    (lambda y: y * mg.tensor(y.tolist(), device=y.device), "RuntimeError"),
], ids=["item", "to the host", "condition", "from the host", "random", "tolist"])
def test_what_cannot_be_recorded_runs_directly_and_trains_all_the_same(work, reason, device):
    w = mg.ones(3, device=device, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)

    def step(x):
        optimizer.zero_grad()
        y = (w * x).sum()
        y.backward()
        optimizer.step()
        return work(w.detach())

    inputs = [[mg.ones(3, device=device)] for _ in range(4)]
    runs_directly(step, inputs, reason)
    assert w.detach().cpu().tolist() == [-1, -1, -1]


@on_devices
def test_a_variable_that_is_another_at_each_call_is_named(device):
    x = None

    def step():
        return x * 2.0

    graph, results = mg.cuda.graph(step), []
    with pytest.warns(RuntimeWarning, match="the variable 'x' that it reads, or something in it, is another at each"):
        for i in range(12):
            x = mg.full((2,), float(i), device=device)
            results.append(graph().cpu().tolist()[0])
    assert results == [2.0 * i for i in range(12)]


@simulated
def test_other_shapes_at_each_call_are_a_reason():
    calls = [[mg.ones(n, device="cuda-sim")] for n in range(1, 6)]
    runs_directly(lambda x: x * 2.0, calls, "its arguments have other shapes at each call")


@simulated
def test_an_argument_that_requires_gradients_is_a_reason():
    calls = [[mg.ones(2, device="cuda-sim", requires_grad=True)]] * 4
    runs_directly(lambda x: x * 2.0, calls, "an argument requires gradients")


@on_devices
def test_an_error_of_the_step_is_raised_as_it_is(device):
    graph = mg.cuda.graph(lambda x, y: x @ y)
    x, y = mg.ones(2, 3, device=device), mg.ones(2, 3, device=device)
    with pytest.raises(ValueError, match="do not fit"):
        graph(x, y)
    with pytest.raises(TypeError, match="expected a function, got 3"):
        mg.cuda.graph(3)


@on_devices
def test_a_failed_recording_leaves_gradients_and_random_numbers_as_they_were(device):
    w = mg.ones(3, device=device, requires_grad=True)

    def step(x):
        (w * x).sum().backward()
        generator().random()
        return w.grad.sum().item()

    graph = mg.cuda.graph(step)
    mg.manual_seed(5)
    with pytest.warns(RuntimeWarning):
        values = [graph(mg.ones(3, device=device)) for _ in range(4)]
    assert values == [3, 6, 9, 12]
    drawn = generator().random()
    mg.manual_seed(5)
    assert drawn == generator().random(5)[4]


@on_devices
def test_a_failed_recording_leaves_no_gradient_where_none_was(device):
    w = mg.ones(3, device=device, requires_grad=True)

    def step(x):
        (w * x).sum().backward()
        return w.grad.sum().item()

    graph, values = mg.cuda.graph(step), []
    with pytest.warns(RuntimeWarning):
        for _ in range(4):
            values.append(graph(mg.ones(3, device=device)))
            w.grad = None
    assert values == [3, 3, 3, 3]


@on_devices
def test_a_class_that_there_is_not_makes_the_loss_of_a_replay_nan(device):
    w = mg.ones(2, 3, device=device, requires_grad=True)

    def step(labels):
        w.grad = None
        loss = mg.cross_entropy(w * 1.0, labels)
        loss.backward()
        return loss

    graph = mg.cuda.graph(step)
    losses = [graph(mg.tensor(labels, device=device)).item() for labels in ([0, 1], [1, 2], [2, -100], [0, 3], [-1, 1])]
    assert graph.recorded
    np.testing.assert_allclose(losses, [np.log(3)] * 3 + [np.nan] * 2, rtol=1e-6)
    assert w.grad.cpu().numpy().shape == (2, 3)
