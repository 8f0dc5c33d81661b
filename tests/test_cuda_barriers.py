"""Without any one of its barriers a kernel is wrong, and the simulator finds it: each __syncthreads() of each file, and
each wait for copies, is removed in turn, and what launches the kernels of that file is run.

A new file with barriers needs work here that launches its kernels, large enough for every barrier to matter.
"""
import re
from functools import lru_cache

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels.cuda import module, simulator, source
from minigrad.nn import functional as F

BARRIER = re.compile(r"__sync(threads|warp)\(\);|copies_wait<[^>]*>\(\);")
PLACES = [
    (path, *found.span())
    for path in sorted(source.KERNELS.rglob("*.cu*"))
    for found in BARRIER.finditer(path.read_text(encoding="utf-8"))
]


def convolution(algorithm):
    """y and both gradients: more channels, and more tiles of the image, than are in shared memory at a time.

    "winograd_2x2" would not do: in float32 each of its threads transforms the rows of columns it has made itself.
    """
    x, w = random(1, 9, 9, 9), random(9, 9, 3, 3)
    y = mg.conv2d(x, w, padding=1, algorithm=algorithm)
    return y, *mg.grad(y.sum(), (x, w))


def normalisation():
    """y and all gradients of batch norm."""
    x, w, b = random(4, 3, 3, 3), random(3), random(3)
    y = F.batch_norm(x, None, None, w, b, training=True)
    return y, *mg.grad((y * y).sum(), (x, w, b))


def cross_entropy():
    """The loss of more rows than a block has, and its gradient."""
    scores = random(9, 5)
    loss = mg.cross_entropy(scores, mg.tensor(np.arange(9) % 5, device="cuda-sim"))
    return loss, *mg.grad(loss, (scores,))


WORK = {
    "implicit_gemm": lambda: convolution("implicit_gemm"),
    "winograd": lambda: convolution("winograd"),
    "normalisation": normalisation,
    "cross_entropy": cross_entropy,
}


def random(*shape):
    values = np.random.default_rng(0).standard_normal(shape)
    return mg.tensor(values.astype(np.float32), device="cuda-sim", requires_grad=True)


def run(name):
    """The results of some work, and the texts of the kernel files that it launches kernels of."""
    modules = {}

    def made(device, *how):
        return modules.setdefault(how, simulator.Module(*how))

    with pytest.MonkeyPatch.context() as patch, simulator.options(flags="-O0"):
        patch.setattr(module, "_module", made)
        results = [a.detach().cpu().numpy() for a in WORK[name]()]
    return results, "".join(m.source for m in modules.values())


right = lru_cache(run)


def label(place):
    path, start, _ = place
    return f"{path.name}:{path.read_text(encoding='utf-8').count(chr(10), 0, start) + 1}"


@pytest.mark.simulated
@pytest.mark.parametrize("place", PLACES, ids=label)
def test_no_barrier_can_be_left_out(place, monkeypatch, tmp_path):
    path, start, end = place
    users = [name for name in WORK if str(path) in right(name)[1]]
    assert users, f"no work here launches a kernel of {path.name}"
    text = path.read_text(encoding="utf-8")
    without, read = text[:start] + text[end:], source._read
    monkeypatch.setattr(source, "_read", lambda file: without if file == path else read(file))
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path))
    for name in users:
        with pytest.raises((simulator.KernelError, AssertionError)):
            for actual, wanted in zip(run(name)[0], right(name)[0], strict=True):
                np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-5)
