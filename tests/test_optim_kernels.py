"""The compiled steps of the optimisers, and those in CUDA, against their NumPy lines: options, layouts, dtypes, any
number of threads."""
import math

import numpy as np
import pytest
from conftest import MARKS
from devices import host, on
from layouts import LAYOUTS, channels_last, contiguous, width_first

import minigrad as mg
from minigrad.kernels import optim, optim_cuda

SGD = {
    "plain": (0.1, 0.0, 0.0, 0.0, False),
    "decay": (0.1, 0.0, 0.0, 0.3, False),
    "momentum": (0.1, 0.9, 0.0, 0.0, False),
    "dampening": (0.1, 0.9, 0.4, 0.2, False),
    "nesterov": (0.1, 0.8, 0.0, 0.2, True),
}
ADAM = {
    "plain": (0.1, (0.9, 0.999), 1e-8, 0.0),
    "decay": (0.01, (0.5, 0.9), 1e-3, 0.2),
    "AdamW": (0.1, (0.9, 0.99), 1e-8, 0.0, 0.7),
}


def arrays(count, dtype, shape=(3, 5, 6, 7)):
    rng = np.random.default_rng(0)
    return [abs(rng.standard_normal(shape)).astype(dtype) for _ in range(count)]


def assert_same_steps(fast, slow, given, layout):
    """Both change copies of the arrays, in that layout, alike up to rounding, and not by nothing."""
    ours, theirs = ([layout(a.copy()) for a in given] for _ in range(2))
    for step in (1, 2, 3):
        fast(step, *ours)
        slow(step, *theirs)
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, two, rtol=32 * np.finfo(one.dtype).eps, atol=4 * np.finfo(one.dtype).eps)
        assert one.strides == two.strides
    assert (ours[0] != given[0]).any() and (ours[1] == given[1]).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", SGD.values(), ids=SGD)
def test_sgd(options, dtype, layout):
    given = arrays(3 if options[1] else 2, dtype)

    def fast(step, *arrays):
        optim.sgd([arrays], *options)

    def slow(step, p, g, v=None):
        optim.sgd_in_steps(p, g, v, *options)

    assert_same_steps(fast, slow, given, layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", ADAM.values(), ids=ADAM)
def test_adam(options, dtype, layout):
    def fast(step, *arrays):
        optim.adam([arrays], step, *options)

    def slow(step, *arrays):
        optim.adam_in_steps(*arrays, step, *options)

    assert_same_steps(fast, slow, arrays(4, dtype), layout)


SHAPES = [(3,), (5, 7), (0, 2), (1,), (64, 3, 3, 3), (1000, 300)]  # one more than all others together


@pytest.mark.parametrize("dtypes", [["float32"], ["float32", "float64"]], ids=len)
def test_many_parameters_in_one_call(dtypes):
    """Some in channels-last order, some with gaps; the last is cut between threads, which must leave no number out."""
    assert sum(math.prod(shape) for shape in SHAPES) > optim.LARGE
    given = [arrays(4, dtypes[i % len(dtypes)], shape) for i, shape in enumerate(SHAPES)]
    given[4] = [channels_last(a) for a in given[4]]
    ours, wanted, alone = ([[a.copy(order="K") for a in some] for some in given] for _ in range(3))
    for some in (ours, wanted, alone):
        some[1] = [np.repeat(a, 2, -1)[:, ::2] for a in given[1]]
    optim.sgd([some[:3] for some in ours], *SGD["nesterov"])
    optim.adam(ours, 2, *ADAM["decay"])
    for some, one in zip(wanted, alone, strict=True):
        optim.sgd_in_steps(*some[:3], *SGD["nesterov"])
        optim.adam_in_steps(*some, 2, *ADAM["decay"])
        optim.sgd([one[:3]], *SGD["nesterov"])
        optim.adam([one], 2, *ADAM["decay"])
    for many, slow, single in zip(ours, wanted, alone, strict=True):
        for a, b, c in zip(many, slow, single, strict=True):
            np.testing.assert_allclose(a, b, rtol=64 * np.finfo(a.dtype).eps, atol=8 * np.finfo(a.dtype).eps)
            assert a.tobytes() == c.tobytes()


def test_nothing_to_do_and_what_cannot_be_written():
    optim.sgd([], *SGD["plain"])
    optim.adam([], 1, *ADAM["plain"])
    p, g = arrays(2, "float32")
    p.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optim.sgd([(p, g)], *SGD["plain"])


ON_GPU = [pytest.param(device, marks=MARKS[device]) for device in ("cuda-sim", "cuda")]
STEPS = {
    **{name: (optim.sgd, optim.sgd_in_steps, 3 if options[1] else 2, options) for name, options in SGD.items()},
    **{f"adam {name}": (optim.adam, optim.adam_in_steps, 4, (3, *options)) for name, options in ADAM.items()},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("device", ON_GPU)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_on_a_gpu_one_launch_changes_many_parameters(step, device, dtype, monkeypatch):
    """More than fit into one, of several sizes and layouts, and one with gaps, which is changed by itself."""
    together, alone, count, options = step
    launched, launch = [], optim_cuda.launch
    monkeypatch.setattr(optim_cuda, "launch", lambda *a, **k: (launched.append(a[1]), launch(*a, **k)))
    layouts = [contiguous, channels_last, width_first]
    given = [arrays(count, dtype, shape) for shape in [(3, 5, 2, 2), (7,), (0, 2), (1500,), (2, 3, 4, 1)] * 9]
    given = [[layouts[i % 3](a) if a.ndim == 4 else a for a in some] for i, some in enumerate(given)]
    given[5][1] = contiguous(given[5][1])  # a gradient of another layout than its parameter
    ours = [[on(device, a.copy(order="K")) for a in some] for some in given]
    ours[3][0] = on(device, np.repeat(given[3][0], 2))[::2]
    together(ours, *options)
    for some, changed in zip(given, ours, strict=True):
        alone(*(*some, None)[: max(count, 3)], *options)
        for a, b in zip(some, changed, strict=True):
            np.testing.assert_allclose(host(b), a, rtol=32 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
    assert len(launched) == 2
    assert len(set(launched)) == 1


@pytest.mark.parametrize("device", ON_GPU)
@pytest.mark.parametrize("optimizer", [mg.optim.SGD, mg.optim.Adam, mg.optim.AdamW])
def test_an_optimiser_trains_alike_on_both_devices(optimizer, device):
    """Two groups, one of them begun later than the other, and one parameter without a gradient."""
    options = {"momentum": 0.9, "dampening": 0.3} if optimizer is mg.optim.SGD else {}
    results = []
    for where in ("cpu", device):
        ps = [mg.tensor(a, requires_grad=True, device=where) for a in arrays(4, "float32", (3, 4))]
        groups = [{"params": ps[:2], "weight_decay": 0.3}, {"params": ps[2:], "lr": 0.01}]
        trained = optimizer(groups, lr=0.1, **options)
        for step in range(3):
            trained.zero_grad()
            ((ps[0] * ps[0]).sum() + (ps[1] * ps[2] if step else ps[2]).sum()).backward()
            trained.step()
        results.append([p.detach().cpu().numpy() for p in ps])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_arrays_of_different_layouts_take_the_slow_way():
    p, g, v = arrays(3, "float32", (2, 3, 4, 5))
    ours, wanted = [p.copy(), v.copy()], [p.copy(), v.copy()]
    other = np.asfortranarray(g)
    optim.sgd([(ours[0], other, ours[1])], *SGD["nesterov"])
    optim.sgd_in_steps(wanted[0], other, wanted[1], *SGD["nesterov"])
    assert all((a == b).all() for a, b in zip(ours, wanted, strict=True))


def test_any_number_of_threads_gives_the_same_bits():
    given = arrays(4, "float32", (optim.LARGE + 3,))
    threads, results = mg.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            mg.set_num_threads(count)
            p, g, m, v = (a.copy() for a in given)
            optim.sgd([(p, g, m)], *SGD["nesterov"])
            optim.adam([(p, g, m, v)], 2, *ADAM["decay"])
            results.append(p.tobytes() + m.tobytes() + v.tobytes())
    finally:
        mg.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_infinite_parameters_do_not_spread_without_decay():
    p, g = np.float32([np.inf, 1]), np.float32([1, 1])
    optim.sgd([(p, g)], *SGD["plain"])
    assert p.tolist() == [np.inf, np.float32(0.9)]
