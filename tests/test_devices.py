"""Tensors on every device: moving, mixing, creating, training and saving. "cuda" needs a GPU, "cuda-sim" g++."""
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import device as devices
from minigrad import inspect, nn, optim
from minigrad.kernels.arrays import device_of


def arrays_close(tensor, wanted, atol=1e-6):
    np.testing.assert_allclose(tensor.detach().cpu().numpy(), wanted, rtol=1e-5, atol=atol)


# --- moving


def test_a_tensor_goes_there_and_back(device):
    x = mg.randn(2, 3)
    y = x.to(device)
    assert y.device == device and x.device == "cpu"
    assert y.to(device) is y
    assert y.cpu().device == "cpu"
    np.testing.assert_array_equal(y.cpu().numpy(), x.numpy())
    assert mg.tensor(y).device == device
    assert (f"device='{device}'" in repr(y)) == (device != "cpu")


def test_moving_keeps_the_layout_and_copies(device):
    x = mg.Tensor(np.ascontiguousarray(np.ones((2, 4, 5, 3), np.float32)).transpose(0, 3, 1, 2))
    y = x.to(device)
    assert y._data.transpose(0, 2, 3, 1).flags.c_contiguous
    assert y.cpu()._data.transpose(0, 2, 3, 1).flags.c_contiguous
    if device != "cpu":
        y.fill_(2.0)
        assert x.numpy().max() == 1


def test_gradients_flow_back_to_where_they_come_from(device):
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    (x.to(device) ** 2).to("cpu").sum().backward()
    assert x.grad.device == "cpu"
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4])


def test_dtype_and_device_at_once(device):
    y = mg.tensor([1.5]).to(dtype="float64", device=device)
    assert y.dtype == np.float64 and y.device == device


@pytest.mark.parametrize("make", [
    lambda **k: mg.zeros(2, 3, **k), lambda **k: mg.ones(2, 3, **k), lambda **k: mg.full((2, 3), 4.0, **k),
    lambda **k: mg.eye(3, **k), lambda **k: mg.arange(5, **k), lambda **k: mg.linspace(0, 1, 5, **k),
    lambda **k: mg.rand(4, **k), lambda **k: mg.randn(4, **k), lambda **k: mg.randint(0, 9, (4,), **k),
    lambda **k: mg.randperm(4, **k), lambda **k: mg.tensor([[1.0]], **k),
])
def test_new_tensors_are_made_where_they_are_wanted_with_the_same_values(make, device):
    mg.manual_seed(3)
    wanted = make()
    mg.manual_seed(3)
    made = make(device=device)
    assert made.device == device
    np.testing.assert_array_equal(made.cpu().numpy(), wanted.numpy())
    for like in (mg.zeros_like, mg.ones_like):
        assert like(made).device == device


# --- operations


OPERATIONS = {
    "arithmetic": lambda x: (2.0 * x - x / 3 + 1) ** 2,
    "elementary": lambda x: mg.exp(x) + mg.tanh(x) + mg.sigmoid(x) + mg.softplus(x) + mg.log(x * x + 1.0),
    "reductions": lambda x: x.sum(1) + x.mean() + x.var(1) + x.max(1).values + x.logsumexp(1),
    "masks": lambda x: mg.where(x > 0, x, 0.0) + x.clip(-0.5, 0.5) + mg.relu(x) + mg.leaky_relu(x),
    "indices": lambda x: x[:, [0, 2, 0]] + x[mg.tensor([1, 0, 1])][:, :3] + x.gather(1, x.argmax(1, keepdim=True)),
    "shapes": lambda x: mg.cat([x, x.reshape(4, 3).t().flip(0)], 0)[1:5:2].unsqueeze(1).expand(2, 3, 4),
    "products": lambda x: x @ x.t() + mg.softmax(x, 1) @ mg.log_softmax(x, 1).t(),
    "large": lambda x: mg.relu(x.unsqueeze(2).expand(3, 4, 2000).clone() * 2.0).sum(2),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_and_their_gradients_are_those_of_the_cpu(name, device):
    f, values = OPERATIONS[name], np.random.default_rng(0).standard_normal((3, 4))
    results = []
    for where in ("cpu", device):
        x = mg.tensor(values, device=where, requires_grad=True)
        y = f(x)
        (g,) = mg.grad((y * y).sum(), x, create_graph=True)
        (gg,) = mg.grad((g * g).sum(), x)
        assert {t.device for t in (y, g, gg)} == {where}
        results.append((y, g, gg))
    for wanted, actual in zip(*results, strict=True):
        arrays_close(actual, wanted.detach().numpy(), 1e-10)


@pytest.mark.simulated
def test_two_devices_do_not_meet_but_numbers_meet_both():
    device = "cuda-sim"
    x, y = mg.ones(2, device=device), mg.ones(2)
    with pytest.raises(RuntimeError, match="Add: its inputs are on cpu and cuda-sim; move them to one by"):
        x + y
    with pytest.raises(RuntimeError, match="less: its inputs are on cpu and cuda-sim"):
        _ = x < y
    assert (x * mg.tensor(3.0) + np.float32(1)).device == device
    with pytest.raises(TypeError, match="add: arrays on cuda-sim and on the cpu do not meet"):
        x._data + y._data


def test_in_place_and_assignment(device):
    x = mg.zeros(2, 3, device=device)
    x[0] = 1.0
    x[:, mg.tensor([2])] = mg.full((2, 1), 5.0)  # moved, as in PyTorch
    x += 1.0
    x.mul_(mg.tensor(2.0))
    assert x.device == device
    np.testing.assert_array_equal(x.cpu().numpy(), [[4, 4, 12], [2, 2, 12]])


@pytest.mark.parametrize("options", [
    {}, {"ignore_index": 2}, {"label_smoothing": 0.1}, {"reduction": "none"}, {"reduction": "sum"},
])
def test_cross_entropy(options, device):
    scores, labels = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32), np.array([0, 2, 1, 3, 2])
    wanted, actual = (
        mg.cross_entropy(mg.tensor(scores, device=d), mg.tensor(labels, device=d), **options) for d in ("cpu", device)
    )
    assert actual.device == device
    arrays_close(actual, wanted.numpy())


def test_dropout_drops_the_same_elements_everywhere(device):
    results = []
    for d in ("cpu", device):
        mg.manual_seed(0)
        results.append(mg.dropout(mg.ones(20, device=d), 0.5).cpu().numpy())
    np.testing.assert_array_equal(*results)


# --- networks


def network(device):
    mg.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(),
        nn.Conv2d(6, 6, 3, flip=True, groups=2), nn.Flatten(), nn.Linear(6, 3),
    )
    return net.to(device)


def trained(device, make, steps=3):
    """The losses of a few steps, and the parameters after them."""
    net = network(device)
    optimizer = make(net.parameters())
    rng = np.random.default_rng(0)
    x = mg.tensor(rng.standard_normal((4, 1, 7, 7)).astype(np.float32), device=device)
    labels = mg.tensor(rng.integers(0, 3, 4), device=device)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = mg.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, net, optimizer


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1), "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_that_of_the_cpu(name, device):
    (wanted, reference, _), (losses, net, optimizer) = (trained(d, OPTIMIZERS[name]) for d in ("cpu", device))
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    for p, q in zip(net.parameters(), reference.parameters(), strict=True):
        assert p.device == device
        arrays_close(p, q.detach().numpy(), 1e-4)
    state = [v for s in optimizer.state.values() for v in s.values() if hasattr(v, "shape")]
    assert {device_of(v) for v in state} <= {device}
    if name == "adam":
        other = OPTIMIZERS[name](network("cpu").parameters())
        other.load_state_dict(optimizer.state_dict())
        assert all(device_of(s["mean"]) == "cpu" for s in other.state.values())


def test_pooling_and_normalisation_are_part_of_training(device):
    results = []
    x = np.random.default_rng(0).standard_normal((3, 2, 9, 8)).astype(np.float32)
    for d in ("cpu", device):
        mg.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.LocalResponseNorm(3),
            nn.Conv2d(6, 4, 2), nn.GroupNorm(2, 4), nn.AvgPool2d(2, 1), nn.LPPool2d(2, (1, 2), 1),
            nn.AdaptiveMaxPool2d(1),
        ).to(d)
        for _ in range(2):
            net(mg.tensor(x, device=d)).sum().backward()
        results.append([net.eval()(mg.tensor(x, device=d)), *(p.grad for p in net.parameters()), *net.buffers()])
    for wanted, actual in zip(*results, strict=True):
        assert actual.device == device
        arrays_close(actual, wanted.detach().numpy(), 1e-4)


@pytest.mark.parametrize("relu", [False, True])
def test_a_convolution_that_adds_and_rectifies_without_bias(relu, device):
    x, w, z = mg.randn(2, 2, 4, 4), mg.randn(3, 2, 3, 3), mg.randn(2, 3, 2, 2)
    wanted = mg.conv2d(x, w, plus=z, relu=relu)
    arrays_close(mg.conv2d(x.to(device), w.to(device), plus=z.to(device), relu=relu), wanted.numpy(), 1e-5)


def test_a_network_is_fused_and_summarised_where_it_is(device):
    mg.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    net(mg.randn(3, 2, 5, 5))
    x = mg.randn(2, 2, 5, 5)
    wanted = net.eval()(x)
    net.to(device)
    fused = nn.fuse(net, (2, 5, 5))
    assert fused[0].fused_relu and {p.device for p in fused.parameters()} == {device}
    arrays_close(fused(x.to(device)), wanted.detach().numpy(), 1e-5)
    assert [row.output_shape for row in inspect.summary(net, (2, 5, 5))][-1] == (2,)


def test_the_same_seed_gives_the_same_bits(device):
    first, second = (trained(device, OPTIMIZERS["adam"])[1] for _ in range(2))
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert p.detach().cpu().numpy().tobytes() == q.detach().cpu().numpy().tobytes()


def test_weights_travel_through_a_file(device, tmp_path):
    net = network(device)
    mg.save(net.state_dict(), tmp_path / "weights.safetensors")
    other = network(device)
    for p in other.parameters():
        p.detach().zero_()
    other.load_state_dict(mg.load(tmp_path / "weights.safetensors"))
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert q.device == device
        np.testing.assert_array_equal(p.detach().cpu().numpy(), q.detach().cpu().numpy())


# --- what is not there


def test_an_unknown_device_is_an_error():
    for name in ("tpu", "cuda:7", "cuda-simulated"):
        with pytest.raises(ValueError, match=f"unknown device '{name}'; there is 'cpu', 'cuda', 'cuda-sim'"):
            devices.check_device(name)


def test_without_cupy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"device 'cuda': needs CuPy: pip install \"minigrad\[cuda13\]\""):
        mg.ones(2).to("cuda")
    with pytest.raises(RuntimeError, match="needs CuPy"):
        network("cuda")


def test_without_a_driver_the_error_says_so(monkeypatch):
    class NoDriver:
        class cuda:
            is_available = staticmethod(lambda: False)

    monkeypatch.setitem(sys.modules, "cupy", NoDriver)
    with pytest.raises(RuntimeError, match="CuPy finds no NVIDIA driver"):
        mg.zeros(2, device="cuda:0")


def test_without_a_compiler_there_is_no_simulation(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(RuntimeError, match="device 'cuda-sim': CUDA kernels are simulated with the compiler g"):
        mg.ones(2).to("cuda-sim")
