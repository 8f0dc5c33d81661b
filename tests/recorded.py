"""Training steps that are recorded as graphs, and trained side by side with direct ones."""
import warnings

import numpy as np
import pytest
from conftest import MARKS

import minigrad as mg
from minigrad import cuda_graph, nn, optim

DEVICES = [pytest.param(d, marks=MARKS[d]) for d in ("cuda-sim", "cuda")]
on_devices = pytest.mark.parametrize("device", DEVICES)
simulated = pytest.mark.simulated


def batches(device, count=6, size=3):
    rng = np.random.default_rng(1)
    shapes = (size, 2, 4, 4), (size, 3)
    return [[mg.tensor(rng.standard_normal(s).astype(np.float32), device=device) for s in shapes] for _ in range(count)]


def network(device):
    mg.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(12, 3))
    return net.to(device)


def learn(net, x, target, share=1.0):
    """A forward and a backward pass; returns the loss."""
    loss = mg.mse_loss(net(x), target) * share
    loss.backward()
    return loss


def plain_step(net, optimizer):
    def step(x, target):
        optimizer.zero_grad()
        loss = learn(net, x, target)
        optimizer.step()
        return loss

    return step


def everything(net, optimizer):
    """All the numbers of a training, as bytes."""
    arrays = [t._data for t in net.state_dict().values()]
    arrays += [p.grad._data for p in net.parameters() if p.grad is not None]
    arrays += [v for s in optimizer.state.values() for v in s.values() if hasattr(v, "shape")]
    counts = [v for s in optimizer.state.values() for v in s.values() if not hasattr(v, "shape")]
    return [a.get().tobytes() for a in arrays], counts


def trained(device, make, step_of=plain_step, between=None, direct=False):
    """(losses, everything, the graph) of a few steps; direct: run as it is, and watched as before a recording."""
    net = network(device)
    optimizer = make(net.parameters())
    graph = mg.cuda.graph(step_of(net, optimizer))
    with pytest.MonkeyPatch.context() as patch:
        if direct:
            patch.setattr(cuda_graph, "DIRECT", 1000)
        losses = []
        for i, batch in enumerate(batches(device)):
            losses.append(graph(*batch))
            if between:
                between(i, net, optimizer)
    assert graph.recorded != direct and not graph.reason
    return [loss.item() for loss in losses], everything(net, optimizer), graph


def same(device, make, *args, **kwargs):
    """Check that a recorded training gives the bits of a direct one."""
    assert trained(device, make, *args, **kwargs)[:2] == trained(device, make, *args, **kwargs, direct=True)[:2]


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)


def adam(parameters):
    return optim.Adam(parameters, lr=0.01)


def adamw(parameters):
    return optim.AdamW(parameters, lr=0.01)


def runs_directly(step, calls, reason):
    """Call the graph of a step; it must warn once, and say this reason."""
    graph = mg.cuda.graph(step)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [graph(*args) for args in calls]
    assert [w.category for w in caught] == [RuntimeWarning]
    assert reason in graph.reason and graph.reason in str(caught[0].message) and not graph.recorded
    assert caught[0].filename == __file__
    return results


def reads_a_number(y):
    if y.sum().item() > 0:
        return y
    return -y


# --- steps


def clipped(net, optimizer):
    def step(x, target):
        optimizer.zero_grad()
        loss = learn(net, x, target)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        return loss

    return step


def cleared_at_the_end(net, optimizer):
    def step(x, target):
        loss = learn(net, x, target)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def never_cleared(net, optimizer):
    def step(x, target):
        loss = learn(net, x, target)
        optimizer.step()
        return loss

    return step


def of_two_halves(net, optimizer):
    def step(x, target):
        optimizer.zero_grad()
        for _ in range(2):
            loss = learn(net, x, target, 0.5)
        optimizer.step()
        return loss

    return step


def of_two_steps(net, optimizer):
    def step(x, target):
        for _ in range(2):
            optimizer.zero_grad()
            loss = learn(net, x, target)
            optimizer.step()
        return loss

    return step


def without_an_optimizer(net, optimizer):
    def step(x, target):
        optimizer.zero_grad()
        loss = learn(net, x, target)
        with mg.no_grad():
            for p in net.parameters():
                p.sub_(0.1 * p.grad)
        return loss

    return step


def scheduled(net, optimizer):
    rates = optim.StepLR(optimizer, 2, 0.5)

    def step(x, target):
        optimizer.zero_grad()
        loss = learn(net, x, target)
        optimizer.step()
        rates.step()
        return loss

    return step


STEPS = [
    clipped, cleared_at_the_end, never_cleared, of_two_halves, of_two_steps, without_an_optimizer, scheduled,
]
