"""What is kept of weights between calls: same bits as without, gone after any change, nothing while training."""
import gc
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.kernels import conv, gemm
from minigrad.kernels.conv.params import conv_output_shape, conv_params

ROWS = [name for name in conv.algorithms("cpu") if name not in conv.LESSONS]
# x, w, options of conv_params
CASES = {
    "3x3": ((2, 5, 9, 8), (5, 5, 3, 3), {"padding": 1}),
    "many channels": ((1, 384, 6, 6), (352, 384, 3, 3), {"padding": 1}),
    "strided": ((1, 6, 9, 9), (40, 6, 3, 3), {"stride": 2}),
    "grouped": ((1, 40, 5, 6), (60, 20, 2, 3), {"groups": 2, "dilation": 2, "padding": 1}),
    "depthwise": ((1, 32, 6, 6), (32, 1, 3, 3), {"groups": 32, "padding": 1}),
}


def same_bits(a, b):
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ROWS)
def test_every_row_gives_the_same_bits_with_what_was_kept(name, case, dtype):
    x_shape, w_shape, options = CASES[case]
    p, rng = conv_params(x_shape, w_shape, **options), np.random.default_rng(0)
    if not conv.supports(name, "cpu", w_shape, p):
        return
    row, y_shape = conv.lookup(name, "cpu", x_shape, w_shape, p), conv_output_shape(x_shape, w_shape, p)
    x, w, other, gy = (rng.standard_normal(s).astype(dtype) for s in (x_shape, w_shape, w_shape, y_shape))
    wanted = row.forward(x, w, p), row.grad_input(gy, w, p, x_shape)
    kept = {}
    for _ in range(3):  # both passes find their own in one dict, and scratch is used by other weights in between
        same_bits(row.forward(x, w, p, kept=kept), wanted[0])
        same_bits(row.grad_input(gy, w, p, x_shape, kept=kept), wanted[1])
        row.forward(x, other, p), row.grad_input(gy, other, p, x_shape)


def test_a_row_that_packs_reads_what_was_kept_and_not_the_weight():
    """So that the test above compares two different ways."""
    x, w = np.ones((1, 3, 6, 6), np.float32), np.ones((4, 3, 3, 3), np.float32)
    p = conv_params(x.shape, w.shape)
    for name in ("direct", "flipped", "im2col", "winograd", "winograd_2x2"):
        row, kept = conv.lookup(name, "cpu", x.shape, w.shape, p), {}
        y = row.forward(x, w, p, kept=kept)
        same_bits(row.forward(x, 0 * w, p, kept=kept), y)
        assert len(kept) == 1


def test_the_matrix_product_keeps_what_it_packs():
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((300, 90)).astype("f4"), rng.standard_normal((120, 90)).astype("f4")
    kept = {}
    for _ in range(2):
        same_bits(gemm.matmul(a, w.T, kept), gemm.matmul(a, w.T))
    assert len(kept) == 1


# --- tensors


@pytest.fixture
def one_thread():
    """Nobody holds an array a moment longer, as a thread does that has just finished its part."""
    before = mg.get_num_threads()
    mg.set_num_threads(1)
    yield
    mg.set_num_threads(before)


def layer(kernel=3, **options):
    mg.manual_seed(0)
    return nn.Conv2d(4, 6, kernel, bias=False, **options).eval()


def images(seed=0, channels=4):
    return mg.tensor(np.random.default_rng(seed).standard_normal((2, channels, 7, 7)).astype("f4"))


def arrays_kept(module):
    """Everything that is kept of a module's weights."""
    return [made for p in module.parameters() if p._kept for made in p._kept[1].values()]


def run(module, x):
    with mg.no_grad():
        return module(x).numpy().copy()


def anew(module, x):
    """The output of a copy, of whose weights nothing is kept."""
    fresh = layer(module.kernel_size, algorithm=module.algorithm).to(module.weight.dtype)
    fresh.weight.detach().copy_(module.weight.detach().numpy().copy())
    return run(fresh, x)


def by_step(net):
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    net(images()).sum().backward()
    optimizer.step()


def in_place(net):
    with mg.no_grad():
        net.weight.mul_(2.0)


CHANGES = {
    "optimizer step": by_step,
    "in place": in_place,
    "load_state_dict": lambda net: net.load_state_dict({"weight": np.ones(net.weight.shape, np.float32)}),
    "data replaced": lambda net: setattr(net.weight, "data", np.ones(net.weight.shape, np.float32)),
    "through detach": lambda net: net.weight.detach().add_(1.0),
    "through data": lambda net: net.weight.data.__setitem__((0, 0), 1.0),
    "through a view": lambda net: net.weight.detach()[2:4].zero_(),
    "init": lambda net: nn.init.constant_(net.weight, 0.5),
    "numpy, declared": lambda net: (net.weight.detach().numpy().fill(0.5), net.weight.mark_modified()),
}


@pytest.mark.parametrize("algorithm", ["direct", "winograd", "im2col"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_kept_outlives_a_change(change, algorithm):
    net, x = layer(algorithm=algorithm), images()
    before = run(net, x)
    assert arrays_kept(net)
    change(net)
    after = run(net, x)
    assert not np.array_equal(after, before)
    same_bits(after, anew(net, x))
    same_bits(run(net, x), after)


def test_another_dtype():
    net, x = layer(), images()
    run(net, x)
    net.double()
    same_bits(run(net, x.double()), anew(net, x.double()))


def test_a_write_through_numpy_is_not_seen_until_it_is_declared():
    net, x = layer(algorithm="direct"), images()
    before = run(net, x)
    net.weight.detach().numpy()[...] = 1.0
    same_bits(run(net, x), before)
    net.weight.mark_modified()
    same_bits(run(net, x), anew(net, x))


def test_a_training_step_keeps_nothing_and_drops_what_evaluation_kept(one_thread):
    net = nn.Sequential(layer(), nn.ReLU(), nn.Flatten(), nn.Linear(150, 2000))
    run(net, images())
    kept = [weakref.ref(made) for made in arrays_kept(net)]
    assert kept
    net(images()).sum().backward()
    assert not arrays_kept(net)
    gc.collect()
    assert not any(made() is not None for made in kept)


def test_memory_goes_with_the_weight_and_with_its_old_values(one_thread):
    net = layer()
    run(net, images())
    (first,) = map(weakref.ref, arrays_kept(net))
    in_place(net)
    run(net, images())
    (second,) = map(weakref.ref, arrays_kept(net))
    assert first() is None
    del net
    gc.collect()
    assert second() is None


def test_using_weights_often_keeps_no_more():
    net = layer()
    for seed in range(3):
        run(net, images(seed))
    assert len(arrays_kept(net)) == 1


def test_weights_are_copied_and_pickled_without_it():
    import copy
    import pickle

    net = layer()
    run(net, images())
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert not arrays_kept(other)
        other.weight.detach().fill_(1.0)
        same_bits(run(other, images()), anew(other, images()))


def test_frozen_weights_in_a_graph():
    """Forward, the input gradient and its gradient share what is kept; a change in between is an error as ever."""
    net, x = layer(padding=1, algorithm="direct").requires_grad_(False), images().requires_grad_()
    for _ in range(2):
        (gx,) = mg.grad((net(x) ** 2).sum(), x, create_graph=True)
        (ggx,) = mg.grad((gx ** 2).sum(), x)
        assert len(arrays_kept(net)) == 2
        weight = nn.Parameter(net.weight.detach().clone())  # recorded, so nothing is kept of it
        (wanted,) = mg.grad((nn.functional.conv2d(x, weight, padding=1) ** 2).sum(), x, create_graph=True)
        same_bits(gx.detach().numpy(), wanted.detach().numpy())
        same_bits(ggx.numpy(), mg.grad((wanted ** 2).sum(), x)[0].numpy())
        net.weight.mul_(0.5)


def test_a_transposed_convolution():
    net, x = nn.ConvTranspose2d(4, 6, 3, bias=False), images()
    with mg.no_grad():
        for _ in range(2):
            y = net(x).numpy().copy()
            same_bits(net(x).numpy(), y)
            wanted = nn.functional.conv_transpose2d(x, net.weight.clone()).numpy()
            same_bits(y, wanted)
            net.weight.mul_(3.0)


def test_threads_that_share_a_network():
    net, inputs = nn.Sequential(layer(), nn.ReLU(), nn.Conv2d(6, 6, 3)), [images(seed) for seed in range(4)]
    wanted = [run(net, x) for x in inputs]
    for _ in range(5):
        with mg.no_grad():
            for p in net.parameters():
                p.mul_(1.0)  # forgets what was kept, so that all threads make it at once
        found, gate = [None] * 4, threading.Barrier(4)

        def work(i, found=found, gate=gate):
            gate.wait()
            found[i] = [run(net, inputs[i]) for _ in range(3)]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for outputs, one in zip(found, wanted, strict=True):
            for y in outputs:
                same_bits(y, one)
