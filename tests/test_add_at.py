"""The gradient of indexing by arrays: the sums of NumPy's `add.at`, to the bit, whatever the order of threads."""
import numpy as np
import pytest
from devices import host, on

import minigrad as mg
from minigrad.kernels.add_at import add_at

RNG = np.random.default_rng(0)
SHAPE = (6, 5, 4)
INDICES = {
    "rows": (RNG.integers(-6, 6, 40),),
    "elements": (RNG.integers(0, 6, (3, 30)), RNG.integers(-5, 5, 30), RNG.integers(0, 4, (3, 1))),
    "after a slice": (slice(None, None, 2), RNG.integers(0, 5, (2, 9))),
    "apart": (RNG.integers(0, 6, 70), slice(1, 3), RNG.integers(0, 4, 70)),
    "one place": (np.zeros(300, int), 1, 2),
    "mask": (RNG.random(SHAPE[:2]) < 0.5,),
    "nothing": (np.zeros((0, 3), int),),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_terms_are_added_in_order(index, dtype, device):
    shape = np.zeros(SHAPE)[index].shape
    g = RNG.standard_normal(shape[::-1]).astype(dtype).T
    wanted = np.zeros(SHAPE, dtype)
    np.add.at(wanted, index, g)
    ours = add_at(SHAPE, tuple(on(device, i) if isinstance(i, np.ndarray) else i for i in index), on(device, g))
    assert ours.dtype == dtype
    assert host(ours).tobytes() == wanted.tobytes()


def test_gradients_of_indexing_and_gather(device):
    x, places = RNG.standard_normal((5, 7)).astype(np.float32), RNG.integers(0, 5, (4, 7))
    results = []
    for where in ("cpu", device):
        leaf, index = mg.tensor(x, device=where, requires_grad=True), mg.tensor(places).to(where)
        y = (mg.gather(leaf, 0, index) ** 2).sum() + (leaf[index[:, 0]] ** 3).sum()
        (gx,) = mg.grad(y, leaf, create_graph=True)
        (again,) = mg.grad((gx * gx).sum(), leaf)
        results.append([t.detach().cpu().numpy() for t in (gx, again)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
