"""create(name, weights=file): strict, but for another number of classes and for parts that the options leave out."""
import re
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import models, nn
from minigrad.models import catalogue, weights


def filled(net, seed=0):
    """The state of a network with other numbers in it, none of them an initial value."""
    rng = np.random.default_rng(seed)
    return {
        n: rng.uniform(2, 3, t.shape).astype(t.dtype) if t.is_floating_point() else np.full(t.shape, 7, t.dtype)
        for n, t in net.state_dict().items()
    }


def check(net, state, but=()):
    """The network holds exactly this state, except in entries that begin with one of `but`."""
    own = net.state_dict()
    assert own.keys() - state.keys() == set()
    for n, t in own.items():
        same = t.shape == state[n].shape and np.array_equal(t.numpy(), state[n])
        assert same is not n.startswith(tuple(but)), n


@pytest.fixture
def silent():
    """A notice is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


FORMS = ("safetensors", "torch zip", "torch legacy")


def write(state, path, form):
    """A file of weights in one of FORMS, written by who writes them."""
    if form == "safetensors":
        mg.save(state, path)
    else:
        torch = pytest.importorskip("torch")
        state = {n: torch.from_numpy(np.array(a)) for n, a in state.items()}
        torch.save(state, path, _use_new_zipfile_serialization=form == "torch zip")
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["convnet", "lenet5_modern", "resnet18"])
def test_weights_of_every_form_are_loaded(tmp_path, silent, name, form):
    state = filled(models.create(name, init=False))
    path = write(state, tmp_path / "weights.pth", form)
    net = models.create(name, weights=path)
    check(net, state)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_network_of_pytorch_and_ours_with_its_file_agree(tmp_path, silent, form):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class ConvNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_1 = torch.nn.Conv2d(1, 4, 3, padding=1)
            self.conv_2 = torch.nn.Conv2d(4, 8, 3, padding=1)
            self.linear_1 = torch.nn.Linear(7 * 7 * 8, 10)

        def forward(self, x):
            x = torch.max_pool2d(torch.relu(self.conv_1(x)), 2)
            x = torch.max_pool2d(torch.relu(self.conv_2(x)), 2)
            return self.linear_1(x.flatten(1))

    theirs = ConvNet()
    torch.save(theirs.state_dict(), tmp_path / "x.pth", _use_new_zipfile_serialization=form == "torch zip")
    x = torch.randn(3, 1, 28, 28)
    ours = models.convnet(weights=tmp_path / "x.pth")
    np.testing.assert_allclose(ours(mg.Tensor(x.numpy())).detach().numpy(), theirs(x).detach().numpy(), rtol=1e-4,
                               atol=1e-6)


@pytest.mark.parametrize("name", ["convnet", "resnet18", "lenet5_modern"])
def test_another_number_of_classes_gets_a_new_head_and_a_notice(tmp_path, name):
    net = models.create(name, init=False)
    head = [n for n, m in net.named_modules() if isinstance(m, nn.Linear)][-1]
    state = filled(net)
    path = write(state, tmp_path / "weights", "safetensors")
    with pytest.warns(UserWarning, match=f"^{name}: newly initialised, .*weights has another.*: {head}$") as seen:
        net = models.create(name, num_classes=3, weights=path)
    assert [w.filename for w in seen] == [__file__]
    check(net, state, but=[head])
    weight = net.state_dict()[f"{head}.weight"].numpy()
    assert weight.shape[0] == 3
    assert 0 < np.abs(weight).max() < 1


def test_the_new_head_follows_the_seed(tmp_path):
    path = write(filled(models.convnet(init=False)), tmp_path / "weights", "safetensors")
    heads = []
    for seed in (0, 0, 1):
        mg.manual_seed(seed)
        with pytest.warns(UserWarning, match="newly initialised"):
            heads.append(models.convnet(num_classes=3, weights=path).linear_1.weight.tolist())
    assert heads[0] == heads[1] != heads[2]


def test_a_misfit_that_is_not_the_number_of_classes_is_an_error(tmp_path):
    state = filled(models.convnet(init=False))
    state["linear_1.weight"] = np.ones((10, 391), dtype=np.float32)
    path = write(state, tmp_path / "weights", "safetensors")
    for classes in (10, 3):
        with warnings.catch_warnings(), pytest.raises(RuntimeError, match=r"wrong shape: .*given \(10, 391\)"):
            warnings.simplefilter("ignore")
            models.convnet(num_classes=classes, weights=path)
    state = filled(models.convnet(in_channels=3, init=False))
    path = write(state, tmp_path / "weights", "safetensors")
    with pytest.raises(RuntimeError, match=r"conv_1.weight \(here \(4, 1, 3, 3\), given \(4, 3, 3, 3\)\)"):
        models.convnet(weights=path)


def test_missing_and_unexpected_entries_are_listed(tmp_path):
    state = filled(models.convnet(init=False))
    state["ghost"] = state.pop("conv_1.bias")
    path = write(state, tmp_path / "weights", "safetensors")
    with pytest.raises(RuntimeError, match=r"missing: conv_1\.bias; unexpected: ghost"):
        models.convnet(weights=path)


@pytest.mark.parametrize(("value", "message"), [
    ({"model": {"w": 1}, "epoch": 3}, "no state dict: its entry 'model' is a dict; take the state dict out"),
    ([1, 2], "no state dict but a list"),
    ({3: None}, "no state dict: its entry 3 is a NoneType"),
])
def test_a_file_without_state_dict_is_named(tmp_path, value, message):
    torch = pytest.importorskip("torch")
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "x.pth")) + ".*" + message):
        models.convnet(weights=tmp_path / "x.pth")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        models.convnet(weights=tmp_path / "nothing")


# --- optional entries, renamed entries, parts left out: with a small model of our own


class Small(nn.Module):
    """A network with batch normalisation, an auxiliary head, and a head that sees its size twice."""

    def __init__(self, num_classes=10, in_channels=3, aux_heads=True):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.head = nn.Linear(in_channels, num_classes)
        self.aux = nn.Linear(in_channels, num_classes) if aux_heads else None


MODEL = catalogue.Model(Small, (3, 4, 4), "small", {"in_channels": 2})


def build(path, model=MODEL, **options):
    return weights.load_weights("small", model, {**model.options, **options}, path)


def test_files_older_than_the_batch_counter_are_loaded(tmp_path, silent):
    state = filled(Small(in_channels=2))
    del state["norm.num_batches_tracked"]
    net = build(write(state, tmp_path / "x", "safetensors"))
    assert net.norm.num_batches_tracked.item() == 0
    check(net, {**state, "norm.num_batches_tracked": np.array(0)})
    assert net.load_state_dict(state) == ([], [])
    del state["norm.running_mean"]
    with pytest.raises(RuntimeError, match=r"missing: norm\.running_mean$"):
        net.load_state_dict(state)


def test_optional_entries_belong_to_the_module_that_names_them():
    class Optional(nn.Module):
        optional_state = frozenset({"weight"})

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(mg.ones(2))
            self.child = nn.Linear(1, 1)

    net = nn.Sequential(Optional(), nn.Linear(1, 1))
    result = net.load_state_dict({}, strict=False)
    assert result.missing_keys == ["0.child.weight", "0.child.bias", "1.weight", "1.bias"]
    assert Optional().load_state_dict({"child.weight": mg.ones(1, 1), "child.bias": mg.ones(1)}) == ([], [])
    assert nn.Module.optional_state == frozenset()
    with pytest.raises(ValueError, match="'optional_state' is an attribute of the class"):
        net.optional_state = nn.ReLU()


def test_parts_that_the_options_leave_out_are_not_read(tmp_path):
    state = filled(Small(in_channels=2))
    path = write(state, tmp_path / "x", "safetensors")
    with pytest.warns(UserWarning, match="small: not read from .*x, because the options leave it out: aux$"):
        net = build(path, aux_heads=False)
    check(net, state)
    assert net.aux is None
    with pytest.warns(UserWarning) as seen:
        net = build(path, aux_heads=False, num_classes=4)
    assert len(seen) == 2
    check(net, state, but=["head"])
    state["other.weight"] = state["aux.weight"]
    with pytest.raises(RuntimeError, match=r"unexpected: other\.weight$"), pytest.warns(UserWarning):
        build(write(state, tmp_path / "y", "safetensors"), aux_heads=False)
    del state["other.weight"], state["aux.weight"]
    with pytest.raises(RuntimeError, match=r"missing: aux\.weight$"):
        build(write(state, tmp_path / "z", "safetensors"))


def test_both_heads_are_new_for_other_classes(tmp_path):
    state = filled(Small(in_channels=2))
    with pytest.warns(UserWarning, match="another number of classes: aux, head$"):
        net = build(write(state, tmp_path / "x", "safetensors"), num_classes=4)
    check(net, state, but=["head", "aux"])


def test_published_names_are_adapted_first(tmp_path, silent):
    state = filled(Small(in_channels=2))
    old = {n.replace("norm.", "bn."): t for n, t in state.items()}
    model = MODEL._replace(adapt=lambda s: {n.replace("bn.", "norm."): t for n, t in s.items()})
    check(build(write(old, tmp_path / "x", "safetensors"), model), state)
    check(build(write(state, tmp_path / "y", "safetensors"), model), state)


def test_a_model_with_fixed_classes_says_what_does_not_fit(tmp_path):
    class Fixed(Small):
        def __init__(self, num_classes=10, in_channels=2):
            if num_classes != 10:
                raise ValueError("num_classes must be 10")
            super().__init__(num_classes, in_channels)

    path = write(filled(Small(4, 2)), tmp_path / "x", "safetensors")
    with pytest.raises(RuntimeError, match=r"wrong shape: head\.weight"):
        build(path, catalogue.Model(Fixed, (2, 4, 4), "fixed"))


# --- published files of the catalogue's models


@pytest.mark.skipif("densenet121" not in models.list(), reason="no densenet121")
def test_densenets_published_names_are_loaded(tmp_path, silent):
    state = filled(models.densenet121(init=False))
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", n): t for n, t in state.items()
           if not n.endswith("num_batches_tracked")}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    net = models.densenet121(weights=write(old, tmp_path / "x", "safetensors"))
    check(net, {n: t * 0 if n.endswith("num_batches_tracked") else t for n, t in state.items()})


@pytest.mark.skipif("googlenet" not in models.list(), reason="no googlenet")
def test_googlenet_without_its_auxiliary_heads(tmp_path):
    state = filled(models.googlenet(init=False))
    path = write(state, tmp_path / "x", "safetensors")
    with pytest.warns(UserWarning, match="googlenet: not read from .*: aux1"):
        net = models.googlenet(weights=path, aux_heads=False)
    check(net, state)
    assert not any(n.startswith("aux") for n in net.state_dict())


def test_a_file_that_does_not_fit_is_named_with_the_network(tmp_path):
    path = tmp_path / "convnet.safetensors"
    mg.save(models.create("convnet"), path)
    with pytest.raises(RuntimeError, match=r"convnet\.safetensors does not fit lenet5_modern: .*missing: c1\.weight"):
        models.create("lenet5_modern", weights=path)
