"""Recorded training steps: the same bits as running directly, anew where something was replaced, or a reason why not.

On the simulated device recording is simulated (kernels/cuda/recording.py); CuPy's part of it is tested with a stand-in
for CuPy that checks what is called when; on a GPU everything is tested for real.
"""
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import MARKS

import minigrad as mg
from minigrad import cuda_graph, nn, optim
from minigrad.device import from_host, generator
from minigrad.kernels.cuda import graphs, recording

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


def plain_step(net, optimizer):
    def step(x, target):
        optimizer.zero_grad()
        loss = mg.mse_loss(net(x), target)
        loss.backward()
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


# --- the same bits


@on_devices
@pytest.mark.parametrize("make", [sgd, adam, adamw])
def test_a_replayed_training_gives_the_bits_of_a_direct_one(make, device):
    same(device, make)


def clipped(net, optimizer):
    def step(x, target):
        optimizer.zero_grad()
        loss = mg.mse_loss(net(x), target)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        return {"loss": loss}["loss"]

    return step


def cleared_at_the_end(net, optimizer):
    def step(x, target):
        loss = mg.mse_loss(net(x), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def never_cleared(net, optimizer):
    def step(x, target):
        loss = mg.mse_loss(net(x), target)
        loss.backward()
        optimizer.step()
        return loss

    return step


def of_two_halves(net, optimizer):
    def step(x, target):
        optimizer.zero_grad()
        for _ in range(2):
            loss = mg.mse_loss(net(x), target) / 2.0
            loss.backward()
        optimizer.step()
        return loss

    return step


def of_two_steps(net, optimizer):
    def step(x, target):
        for _ in range(2):
            optimizer.zero_grad()
            loss = mg.mse_loss(net(x), target)
            loss.backward()
            optimizer.step()
        return loss

    return step


def without_an_optimizer(net, optimizer):
    def step(x, target):
        optimizer.zero_grad()
        loss = mg.mse_loss(net(x), target)
        loss.backward()
        with mg.no_grad():
            for p in net.parameters():
                p.sub_(0.1 * p.grad)
        return loss

    return step


def scheduled(net, optimizer):
    rates = optim.StepLR(optimizer, 2, 0.5)

    def step(x, target):
        optimizer.zero_grad()
        loss = mg.mse_loss(net(x), target)
        loss.backward()
        optimizer.step()
        rates.step()
        return loss

    return step


@on_devices
@pytest.mark.parametrize("step_of", [clipped, cleared_at_the_end, never_cleared, of_two_halves, of_two_steps,
                                     without_an_optimizer, scheduled])
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


# --- reasons


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


def test_on_the_cpu_there_is_nothing_to_record():
    net = network("cpu")
    step = plain_step(net, sgd(net.parameters()))
    runs_directly(step, batches("cpu", 3), "its tensors are on the CPU, where there is nothing to record")


def test_without_cupy_a_step_runs_on_the_cpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert runs_directly(lambda x: x * 2.0, [[mg.ones(2)]], "the CPU")[0].tolist() == [2, 2]


def reads_a_number(y):
    if y.sum().item() > 0:
        return y
    return -y


@on_devices
@pytest.mark.parametrize(("work", "reason"), [
    (reads_a_number, "(test_cuda_graph.py:"), (lambda y: y.cpu() * 2.0, "goes from cuda"),
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


# --- recording on the simulated device


@simulated
def test_recorded_work_has_memory_at_once_and_values_when_launched():
    x = mg.full((3,), 2.0, device="cuda-sim")._data
    xp = mg.device.array_module(x)
    recording.begin()
    try:
        y, z = x * 3.0, xp.zeros(3)
        z[1:] = y[[0, 2]].astype("float64")
        z += 1.0
        total = z.sum()
        for read in (total.item, total.get, total.__float__, y.tolist, lambda: bool(total)):
            with pytest.raises(RuntimeError, match="has none yet"):
                read()
        with pytest.raises(RuntimeError, match="of the host is copied to the device"):
            xp.asarray(np.ones(3))
        with pytest.raises(RuntimeError, match="being recorded already"):
            recording.begin()
    finally:
        graph = graphs.SimulatedGraph(recording.end())
    assert np.isnan(y.get()).all() and np.isnan(total.get())
    graph.launch()
    assert z.tolist() == [1, 7, 7] and total.item() == 15
    x[...] = 1.0
    graph.launch()
    assert z.tolist() == [1, 4, 4] and total.item() == 9


# --- CuPy's part, without a GPU


class StandIn:
    """What graphs.py uses of CuPy. It keeps a diary and checks what CUDA checks; arrays are those of cuda-sim."""

    def __init__(self):
        self.diary, self.allocators, self.streams = [], ["pool of all"], [Stream(self, "caller's")]
        self.cuda = SimpleNamespace(
            Stream=lambda non_blocking: Stream(self, "own" if non_blocking else "blocking"), using_allocator=self.using,
            MemoryPool=lambda: SimpleNamespace(malloc="own pool"), get_current_stream=lambda: self.streams[-1],
            set_pinned_memory_allocator=lambda allocator: setattr(self, "pinned", allocator),
        )
        self.copyto, self.pinned = np.copyto, self.default_pinned

    def default_pinned(self, size):
        return f"{size} bytes"

    def get_default_pinned_memory_pool(self):
        return SimpleNamespace(malloc=self.default_pinned)

    def get_default_memory_pool(self):
        return SimpleNamespace(free_all_blocks=lambda: self.diary.append("free"))

    def using(self, allocator):
        return Inside(self.allocators, allocator)


class Inside:
    def __init__(self, stack, value):
        self.stack, self.value = stack, value

    def __enter__(self):
        self.stack.append(self.value)

    def __exit__(self, *error):
        assert self.stack.pop() is self.value


class Stream(Inside):
    def __init__(self, cupy, name):
        self.cupy, self.name = cupy, name

    stack = property(lambda self: self.cupy.streams)
    value = property(lambda self: self)

    def record(self):
        return f"all on the {self.name} stream"

    def wait_event(self, event):
        self.cupy.diary.append(f"{self.name} waits for {event}")

    def begin_capture(self):
        assert self.name == "own", "CUDA does not capture the default stream"
        assert self.cupy.streams[-1] is self and self.cupy.allocators[-1] == "own pool"
        self.cupy.diary.append("begin")
        recording.begin()

    def end_capture(self):
        assert self.cupy.streams[-1] is self and self.cupy.allocators[-1] == "own pool"
        self.cupy.diary.append("end")
        return Launched(self.cupy, recording.end())


class Launched(graphs.SimulatedGraph):
    def __init__(self, cupy, work):
        super().__init__(work)
        self.cupy = cupy

    def launch(self):
        assert [s.name for s in self.cupy.streams] == ["caller's"] and self.cupy.allocators == ["pool of all"]
        self.cupy.diary.append("launch")
        super().launch()


@pytest.fixture
def cupy(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    monkeypatch.setattr(cuda_graph, "recorder", lambda device: graphs.GpuRecorder())
    return stand_in


@simulated
def test_cupy_records_on_a_stream_and_in_a_pool_of_its_own_and_launches_on_the_callers(cupy):
    losses, numbers, graph = trained("cuda-sim", adam)
    before, after = "own waits for all on the caller's stream", "caller's waits for all on the own stream"
    recorded, replayed = ["free", before, "begin", "end", "begin", "end", after], ["launch", "launch"]
    assert cupy.diary == recorded + 4 * replayed
    assert graph._recording.recorder.pool.malloc == "own pool"  # it lives as long as the graph
    cupy.diary.clear()
    assert (losses, numbers) == trained("cuda-sim", adam, direct=True)[:2] and not cupy.diary


@simulated
def test_cupy_leaves_its_stream_and_pool_after_an_error(cupy):
    calls = [[mg.ones(3, device="cuda-sim")] for _ in range(4)]
    runs_directly(lambda x: reads_a_number(x * 2.0), calls, "y.sum().item()")
    assert cupy.diary.count("begin") == cupy.diary.count("end") == 1 and "launch" not in cupy.diary
    assert cupy.diary[-1] == "caller's waits for all on the own stream"
    assert len(cupy.streams) == len(cupy.allocators) == 1 and not recording.is_recording()
    assert cupy.pinned == cupy.default_pinned


@simulated
def test_cupy_sends_nothing_from_the_host_while_it_records_but_other_threads_may(cupy):
    def send(x):
        with ThreadPoolExecutor(1) as other:
            assert other.submit(cupy.pinned, 3).result() == "3 bytes"
        cupy.pinned(8)  # as CuPy does for the list of an index, or the addresses of more than eight arrays to join
        return x * 2.0

    runs_directly(send, [[mg.ones(3, device="cuda-sim")] for _ in range(4)], "of the host is copied to the device")
