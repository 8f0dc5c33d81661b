"""Lists and dicts of modules and parameters: Python's behaviour, PyTorch's names, display and errors."""
from collections import OrderedDict

import numpy as np
import pytest

import minigrad as mg
from minigrad import gradsuite, nn

pytestmark = pytest.mark.usefixtures("made_there")


def names(container):
    return list(container._modules)


def layers(n):
    return [nn.Linear(1, i + 1) for i in range(n)]


def check(container, expected, expected_names=None):
    assert list(container) == expected
    assert len(container) == len(expected)
    assert names(container) == (expected_names or [str(i) for i in range(len(expected))])


LISTS = [lambda items: nn.Sequential(*items), nn.ModuleList]


@pytest.mark.parametrize("make", LISTS, ids=["Sequential", "ModuleList"])
def test_what_a_list_of_modules_can_do(make):
    a, b, c, d, e = layers(5)
    net = make([a, b, c])
    check(net, [a, b, c])
    assert net[0] is a
    assert net[-1] is c
    assert b in net
    assert d not in net
    net[1] = d
    net[-1] = e
    check(net, [a, d, e])
    assert net.append(b) is net
    assert net.extend([c]) is net
    check(net, [a, d, e, b, c])
    assert net.pop(1) is d
    check(net, [a, e, b, c])
    del net[-1]
    check(net, [a, e, b])
    del net[::2]
    check(net, [e])
    net += [a, b]
    check(net, [e, a, b])
    both = net + make([c])
    assert type(both) is type(net)
    check(both, [e, a, b, c])
    check(net, [e, a, b])
    check(net.pop(slice(1, None)), [a, b], ["1", "2"] if isinstance(net, nn.Sequential) else None)
    check(net, [e])


@pytest.mark.parametrize("make", LISTS, ids=["Sequential", "ModuleList"])
def test_insert(make):
    a, b, c, d = layers(4)
    net = make([a, b])
    assert net.insert(0, c) is net
    check(net, [c, a, b])
    net.insert(-1, d)
    check(net, [c, a, d, b])
    net = make([])
    net.insert(0, a)
    net.insert(1, b)
    check(net, [a, b])
    with pytest.raises(IndexError, match="cannot insert at 3"):
        net.insert(3, c)


@pytest.mark.parametrize("make", LISTS, ids=["Sequential", "ModuleList"])
def test_errors_of_a_list_of_modules_name_the_value(make):
    kind = type(make([])).__name__
    net = make(layers(2))
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"{kind}: index {index} is out of range for 2"):
            net[index]
        with pytest.raises(IndexError, match=f"index {index}"):
            net[index] = nn.ReLU()
        with pytest.raises(IndexError, match=f"index {index}"):
            del net[index]
    for change in (lambda: net.append(3), lambda: net.insert(0, 3), lambda: net.__setitem__(0, 3), lambda: make([3])):
        with pytest.raises(TypeError, match=f"{kind}: expected a Module for '.', got 3"):
            change()
    with pytest.raises(TypeError, match="several modules"):
        net.extend(nn.ReLU())
    with pytest.raises(TypeError):
        net["0"]
    assert len(net) == 2


def test_extending_a_list_by_itself_ends():
    a, b = layers(2)
    check(nn.ModuleList([a, b]).extend(nn.ModuleList([a])), [a, b, a])
    net = nn.ModuleList([a, b])
    net += net
    check(net, [a, b, a, b])


def test_a_named_sequential_keeps_its_names_where_it_can():
    a, b, c = layers(3)
    net = nn.Sequential(OrderedDict(first=a, last=b))
    net[1] = c
    assert net.last is c
    net.insert(1, b)
    check(net, [a, b, c], ["first", "2", "last"])
    check(net[1:], [b, c], ["2", "last"])
    del net[0]  # numbers what is left, as PyTorch does
    check(net, [b, c])


def test_a_module_list_makes_its_parameters_known_and_does_not_run():
    net = nn.ModuleList([nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1, bias=False))])
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.1.weight"]
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        net(mg.ones(2))
    part = net[1:]
    assert isinstance(part, nn.ModuleList)
    assert list(part.state_dict()) == ["0.1.weight"]
    assert len(nn.ModuleList()) == len(nn.ModuleList(None)) == 0


def test_a_module_dict_is_a_dict_of_modules():
    a, b, c = layers(3)
    net = nn.ModuleDict({"conv": a, "9": b})
    assert net["conv"] is a
    assert len(net) == 2
    assert "9" in net
    assert a not in net
    assert list(net) == list(net.keys()) == ["conv", "9"]
    assert list(net.values()) == [a, b]
    assert list(net.items()) == [("conv", a), ("9", b)]
    net["conv"] = c  # keeps its place
    net.update([("more", a)])
    net.update(nn.ModuleDict({"9": c}))
    net.update({"z": b})
    assert list(net.items()) == [("conv", c), ("9", c), ("more", a), ("z", b)]
    assert list(net.state_dict())[:2] == ["conv.weight", "conv.bias"]
    assert net.pop("more") is a
    del net["z"]
    assert list(net) == ["conv", "9"]
    net.clear()
    assert len(net) == len(nn.ModuleDict()) == 0
    with pytest.raises(KeyError, match="conv"):
        net["conv"]
    with pytest.raises(KeyError, match="conv"):
        net.pop("conv")
    with pytest.raises(TypeError, match="ModuleDict: expected a Module for 'x', got 1"):
        net["x"] = 1
    with pytest.raises(ValueError, match="'keys' is an attribute"):
        net["keys"] = a
    with pytest.raises(ValueError, match=r"'a\.b'"):
        net["a.b"] = a


def test_a_parameter_list_is_a_list_of_parameters():
    p, q, r = (nn.Parameter(mg.ones(2, n)) for n in (1, 2, 3))
    ps = nn.ParameterList([p, q])
    assert len(ps) == 2
    assert list(ps) == [p, q]
    assert list(ps.parameters()) == [p, q]
    assert ps[-1] is q
    assert q in ps
    assert r not in ps
    assert isinstance(ps[1:], nn.ParameterList)
    assert list(ps[1:]) == [q]
    assert ps.append(r) is ps
    ps += [mg.zeros(4)]
    assert isinstance(ps[3], nn.Parameter)
    assert ps[3].requires_grad
    ps[0] = mg.zeros(5)
    assert ps[0].shape == (5,)
    assert list(ps.state_dict()) == ["0", "1", "2", "3"]
    assert len(nn.ParameterList()) == len(nn.ParameterList(None)) == 0
    with pytest.raises(TypeError, match="ParameterList: expected a Tensor for '4', got 3"):
        ps.append(3)
    with pytest.raises(TypeError, match="several tensors"):
        ps.extend(mg.ones(2))
    with pytest.raises(IndexError):
        ps[4]


def test_a_network_with_lists_trains_and_loads():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
            self.acts = nn.ModuleDict({"last": nn.Tanh()})
            self.gains = nn.ParameterList([mg.ones(1), mg.ones(1)])

        def forward(self, x):
            for layer, gain in zip(self.layers, self.gains, strict=True):
                x = layer(x) * gain
            return self.acts["last"](x)

    net, other = Net(), Net()
    expected = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "gains.0", "gains.1"]
    assert list(net.state_dict()) == expected
    x = mg.randn(4, 3)
    assert not np.allclose(net(x).detach().numpy(), other(x).detach().numpy())
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(net(x).detach().numpy(), other(x).detach().numpy())
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert not net.eval().layers[1].training


def test_identity_takes_any_arguments_and_gives_back_what_it_got():
    x = mg.ones(2, 3)
    layer = nn.Identity(54, unused_argument1=0.1, unused_argument2=False)
    assert layer(x) is x
    assert repr(layer) == "Identity()"
    assert list(layer.parameters()) == []


@pytest.mark.host_only
def test_display():
    torch = pytest.importorskip("torch")
    ours, theirs = (
        [
            repr(t.ModuleList([t.Linear(1, 2), t.Linear(1, 2), t.Sequential(t.ReLU()), t.Linear(1, 2)])),
            repr(t.ModuleList()), repr(t.ModuleDict({"a": t.Sigmoid(), "b": t.ModuleList([t.Tanh()])})),
            repr(t.Identity(3)), repr(t.Sequential(t.Identity())), repr(t.ModuleDict()),
        ]
        for t in (nn, torch.nn)
    )
    assert ours == theirs


def test_display_of_a_parameter_list():
    shown = repr(nn.ParameterList([mg.ones(2, 3), mg.ones(1, dtype="float64")]))
    assert shown == """ParameterList(
  (0): Parameter containing: [float32 of size 2x3]
  (1): Parameter containing: [float64 of size 1]
)"""
    assert repr(nn.ParameterList()) == "ParameterList()"


# --- in_turn


def norm_net():
    """A residual branch: what is fused in it, and what is not."""
    mg.manual_seed(0)
    return [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3), nn.ReLU()]


def one_by_one(x, *modules, plus=None):
    for i, module in enumerate(modules):
        x = module(x + plus if plus is not None and i == len(modules) - 1 else x)
    return x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("added", [True, False])
def test_in_turn_equals_calling_one_after_the_other(added, training):
    results = []
    for run in (nn.in_turn, one_by_one):
        modules = [m.train(training) for m in norm_net()]
        x = mg.tensor(np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32"), requires_grad=True)
        y = run(x, *modules, plus=x * 2.0 if added else None)
        (y * y).sum().backward()
        results.append([y, x.grad, *(p.grad for m in modules for p in m.parameters()), modules[3].running_mean])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert results[0][0].tolist() == results[1][0].tolist()


def test_in_turn_leaves_out_identities_that_nobody_looks_at():
    x, (conv, relu, *_), seen = mg.randn(2, 3, 4, 4), norm_net(), []
    skip, last = nn.Identity(), nn.Identity()
    skip.forward = lambda x: seen.append(x) or x
    y, z = nn.in_turn(x, skip, conv, skip, relu, skip), nn.in_turn(x, nn.Identity(), last, plus=x)
    assert not seen and y.tolist() == relu(conv(x)).tolist() and z.tolist() == (2.0 * x).tolist()
    skip.register_forward_hook(lambda *about: None)
    nn.in_turn(x, skip, conv, skip, relu, skip)
    assert len(seen) == 3
    conv = nn.Conv2d(3, 3, 1)
    conv.fused_relu = True  # what is added comes after it
    assert nn.in_turn(x, conv, relu, plus=x).tolist() == relu(conv(x) + x).tolist()


def test_in_turn_takes_fewer_operations_unless_a_hook_looks():
    def functions(*modules, plus=None):
        found = gradsuite.functions_in(nn.in_turn(mg.randn(2, 3, 4, 4, requires_grad=True), *modules, plus=plus))
        return found & {"ReLU", "Add"}

    conv, relu, _, norm, last = norm_net()
    plus = mg.randn(2, 3, 4, 4)
    assert functions(conv, relu) == functions(norm, last) == functions(norm, last, plus=plus) == set()
    assert functions(nn.Conv2d(3, 3, 1), relu, plus=plus) == functions(conv, nn.Identity(), relu) == set()
    assert functions(norm, nn.ReLU6()) == set() and functions(nn.Tanh(), relu) == {"ReLU"}
    seen = []
    for register in (norm.register_forward_hook, last.register_forward_pre_hook, last.register_forward_hook):
        handle = register(lambda *about: seen.append(about[-1]))
        assert functions(norm, last) == {"ReLU"} and functions(norm, last, plus=plus) == {"ReLU", "Add"}
        handle.remove()
    assert len(seen) == 6 and seen[0].detach().numpy().min() < 0
    norm.register_forward_pre_hook(lambda *about: seen.append(about[-1]))
    assert functions(norm, last) == set() and len(seen) == 7


def test_sequential_and_subclasses_of_what_in_turn_knows():
    class Doubled(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) * 2.0

    x = mg.randn(2, 3, 4, 4)
    fused, doubled = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())(x), nn.Sequential(Doubled(3), nn.ReLU())(x)
    assert fused._fn.name == "Normalize" and doubled._fn.name == "ReLU" and fused.detach().numpy().min() == 0
    np.testing.assert_array_equal(2 * fused.detach().numpy(), doubled.detach().numpy())
