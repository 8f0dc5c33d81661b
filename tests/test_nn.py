"""Module: a network's parts, their order and names, its modes, hooks, state and copies. Layers: test_layers.py."""
import copy
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

pytestmark = pytest.mark.usefixtures("made_there")


class Block(nn.Module):
    """Parameters, a buffer and submodules, defined in an order that is not alphabetical."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(mg.ones(1))
        self.second = nn.Linear(3, 2)
        self.register_buffer("offset", mg.zeros(1))
        self.first = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm2d(3, affine=False))
        self.another = nn.Parameter(mg.ones(2))

    def forward(self, x):
        return x * self.scale + self.offset


def names(pairs):
    return [name for name, _ in pairs]


# --- what is inside


def test_parameters_come_in_the_order_of_definition_those_of_a_module_before_those_of_its_submodules():
    block = Block()
    assert names(block.named_parameters()) == [
        "scale", "another", "second.weight", "second.bias", "first.0.weight", "first.0.bias",
    ]
    assert [id(p) for p in block.parameters()] == [id(p) for _, p in block.named_parameters()]
    assert names(block.named_parameters("net"))[0] == "net.scale"


def test_buffers_modules_and_children_have_nested_names():
    block = Block()
    prefix = "first.1."
    assert names(block.named_buffers()) == [
        "offset", prefix + "running_mean", prefix + "running_var", prefix + "num_batches_tracked",
    ]
    assert names(block.named_modules()) == ["", "second", "first", "first.0", "first.1"]
    assert names(block.named_children()) == ["second", "first"]
    assert next(iter(block.modules())) is block
    assert list(block.children()) == [block.second, block.first]
    assert [id(b) for b in block.buffers()] == [id(b) for _, b in block.named_buffers()]


def test_shared_modules_and_parameters_are_found_once_under_their_first_name():
    block = Block()
    block.again = block.second
    block.tied = block.scale
    assert names(block.named_parameters()).count("tied") == 0
    assert names(block.named_children()) == ["second", "first"]
    assert len(list(block.parameters())) == 6
    assert "tied" in block.state_dict()
    applied = []
    block.apply(applied.append)
    assert applied.count(block.second) == 1


def test_reassigning_keeps_the_place_in_the_order():
    block = Block()
    block.scale = nn.Parameter(mg.zeros(1))
    block.second = nn.Linear(3, 1)
    assert names(block.named_parameters())[:4] == ["scale", "another", "second.weight", "second.bias"]
    assert block.scale.item() == 0
    assert block.second.out_features == 1


def test_a_name_belongs_to_one_kind_of_attribute_at_a_time():
    block = Block()
    block.plain = 3
    block.plain = nn.Parameter(mg.ones(1))
    assert "plain" not in block.__dict__
    block.plain = nn.ReLU()
    assert "plain" not in names(block.named_parameters())
    assert "plain" in names(block.named_children())
    block.register_buffer("plain", mg.zeros(1))
    assert names(block.named_children()) == ["second", "first"]
    assert "plain" in names(block.named_buffers())


def test_none_takes_a_parameter_away_but_keeps_its_name():
    layer = nn.Linear(2, 2)
    layer.bias = None
    assert names(layer.named_parameters()) == ["weight"]
    assert list(layer.state_dict()) == ["weight"]
    assert layer.bias is None
    layer.bias = nn.Parameter(mg.zeros(2))
    assert names(layer.named_parameters()) == ["weight", "bias"]


@pytest.mark.parametrize("name", ["scale", "second", "offset", "plain", "training"])
def test_deleting_an_attribute(name):
    block = Block()
    block.plain, block.training = 3, False
    delattr(block, name)
    assert name not in [*names(block.named_parameters()), *names(block.named_modules()), *block.state_dict()]
    assert name == "training" or not hasattr(block, name)


def test_deleting_or_reading_what_is_not_there_names_it():
    with pytest.raises(AttributeError, match="missing"):
        del Block().missing
    with pytest.raises(AttributeError, match="Block has no attribute 'missing'"):
        _ = Block().missing


@pytest.mark.parametrize("value", [3, mg.ones(1), "text"])
@pytest.mark.parametrize("name", ["scale", "second"])
def test_a_parameter_or_module_cannot_become_something_else(name, value):
    with pytest.raises(TypeError, match=rf"Block\.{name} cannot become a {type(value).__name__}"):
        setattr(Block(), name, value)


def test_a_buffer_can_become_another_tensor_only():
    block = Block()
    block.offset = mg.ones(1)
    assert block.state_dict()["offset"].item() == 1
    with pytest.raises(TypeError, match=r"Block\.offset cannot become a float"):
        block.offset = 1.0


@pytest.mark.host_only
def test_forgetting_super_init_is_said():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    class Lazy(nn.Module):
        def __init__(self):
            pass

    with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'layer'"):
        Forgetful()
    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) was not called"):
        Lazy()(1)


@pytest.mark.parametrize("name", ["", "a.b", 3])
def test_names_are_strings_without_dots(name):
    for register, value in (("add_module", nn.ReLU()), ("register_buffer", None), ("register_parameter", None)):
        with pytest.raises(ValueError, match=r"must be a string without dots.*" + repr(name)):
            getattr(nn.Module(), register)(name, value)


def test_a_method_cannot_be_hidden_by_a_submodule_or_parameter():
    with pytest.raises(ValueError, match="Sequential: 'double' is an attribute of the class"):
        nn.Sequential({"double": nn.ReLU()})
    with pytest.raises(ValueError, match="Block: 'float' is an attribute of the class"):
        Block().float = nn.Parameter(mg.ones(1))


@pytest.mark.parametrize("register", ["add_module", "register_buffer", "register_parameter"])
def test_registering_something_else_names_it(register):
    with pytest.raises(TypeError, match=r"for 'x', got 3"):
        getattr(nn.Module(), register)("x", 3)


def test_attributes_are_listed_for_completion():
    assert {"scale", "second", "offset", "forward"} <= set(dir(Block()))


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


# --- modes


def test_train_and_eval_reach_everything_below_and_return_the_module():
    block = Block()
    assert block.eval() is block
    assert not any(m.training for m in block.modules())
    assert block.train() is block
    assert all(m.training for m in block.modules())


def test_a_submodule_may_refuse_to_train():
    class Frozen(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    net = nn.Sequential(Frozen(2), nn.ReLU()).train()
    assert [m.training for m in net.modules()] == [True, False, True]


def test_apply_visits_children_first_and_returns_the_module():
    block, order = Block(), []
    assert block.apply(lambda m: order.append(type(m).__name__)) is block
    assert order == ["Linear", "Linear", "BatchNorm2d", "Sequential", "Block"]


def test_requires_grad_freezes_and_zero_grad_forgets():
    layer = nn.Linear(2, 1)
    assert layer.requires_grad_(False) is layer
    assert not layer(mg.ones(1, 2)).requires_grad
    layer.requires_grad_()
    layer(mg.ones(1, 2)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    layer.zero_grad()
    assert all(p.grad is None for p in layer.parameters())


@pytest.mark.parametrize("cast", [lambda m: m.double(), lambda m: m.to("float64"), lambda m: m.to(mg.float64)])
def test_casting_changes_floating_point_tensors_and_gradients_in_place_and_keeps_integers(cast):
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    parameters = list(net.parameters())
    net(mg.randn(2, 1, 3, 3)).sum().backward()
    assert cast(net) is net
    assert all(p is q for p, q in zip(parameters, net.parameters(), strict=True))
    assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {mg.float64}
    assert [b.dtype for b in net.buffers()] == [mg.float64, mg.float64, mg.int64]
    assert net(mg.randn(2, 1, 3, 3, dtype="float64")).dtype == mg.float64
    assert {p.dtype for p in net.float().parameters()} == {mg.float32}


def test_moving_to_the_cpu_changes_nothing_and_other_targets_are_errors():
    layer = nn.Linear(2, 1)
    before = layer.weight._data
    assert layer.to("cpu") is layer
    assert layer.weight._data is before
    with pytest.raises(TypeError, match=r"Linear.to: only floating-point dtypes, got 'int64'"):
        layer.to("int64")
    with pytest.raises(TypeError, match="nonsense"):
        layer.to("nonsense")


# --- hooks


def test_forward_hooks_see_inputs_and_output_and_may_replace_the_output():
    layer, seen = nn.ReLU(), []
    seeing = layer.register_forward_hook(lambda m, inputs, y: seen.append((m, inputs[0].item(), y.item())))
    doubling = layer.register_forward_hook(lambda m, inputs, y: y * 2)
    tripling = layer.register_forward_hook(lambda m, inputs, y: y * 3)
    assert layer(mg.tensor(5.0)).item() == 30
    assert seen == [(layer, 5.0, 5.0)]
    doubling.remove()
    doubling.remove()  # twice does no harm
    seeing.remove()
    assert layer(mg.tensor(5.0)).item() == 15
    tripling.remove()
    assert layer(mg.tensor(5.0)).item() == 5
    assert len(seen) == 1


def test_pre_hooks_may_replace_one_input_or_all():
    class Add(nn.Module):
        def forward(self, a, b=0):
            return a + b

    layer = Add()
    one = layer.register_forward_pre_hook(lambda m, inputs: inputs[0] * 10)
    assert layer(1) == 10
    one.remove()
    layer.register_forward_pre_hook(lambda m, inputs: (inputs[0], 7))
    layer.register_forward_pre_hook(lambda m, inputs: None)
    assert layer(1) == 8


def test_a_hook_may_remove_itself():
    layer, calls = nn.ReLU(), []
    handle = layer.register_forward_hook(lambda *_: (calls.append(1), handle.remove())[1])
    layer(mg.ones(1))
    layer(mg.ones(1))
    assert len(calls) == 1


# --- state


def test_state_dict_names_everything_and_shares_memory():
    block = Block()
    state = block.state_dict()
    assert list(state) == [
        "scale", "another", "offset", "second.weight", "second.bias", "first.0.weight", "first.0.bias",
        "first.1.running_mean", "first.1.running_var", "first.1.num_batches_tracked",
    ]
    state["scale"].fill_(5.0)
    assert block.scale.item() == 5
    assert not any(t.requires_grad for t in state.values())


def test_load_state_dict_copies_tensors_and_arrays():
    source, target = Block(), Block()
    state = {name: t.numpy() if "bias" in name else t for name, t in source.state_dict().items()}
    assert target.load_state_dict(state) == ([], [])
    for name, t in target.state_dict().items():
        np.testing.assert_array_equal(t.numpy(), source.state_dict()[name].numpy())
    source.second.weight.detach().fill_(9.0)
    assert (target.second.weight.detach().numpy() != 9).all()
    target.double().load_state_dict(source.state_dict())
    assert target.second.weight.dtype == mg.float64
    assert (target.second.weight.detach().numpy() == 9).all()


def test_a_shared_module_is_in_the_state_under_all_of_its_names():
    layer, norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
    net = nn.Sequential(layer, norm, layer, norm)
    state = net.state_dict()
    assert [name for name in state if "weight" in name] == ["0.weight", "1.weight", "2.weight", "3.weight"]
    assert names(net.named_modules()) == ["", "0", "1"]
    written = {name: t.numpy() + 1 for name, t in state.items() if "num_batches" not in name}
    expected = written["0.weight"].copy()
    assert net.load_state_dict(written) == ([], [])
    np.testing.assert_array_equal(layer.weight.detach().numpy(), expected)


def test_load_state_dict_lists_everything_that_does_not_fit_and_copies_nothing():
    block = Block()
    before = {name: t.numpy().copy() for name, t in block.state_dict().items()}
    state = {name: t.numpy() + 1 for name, t in block.state_dict().items()}
    del state["scale"], state["first.0.bias"]
    state.update({"ghost": np.ones(1), "second.ghost": np.ones(1)})
    state["second.weight"], state["another"] = np.ones((2, 4)), np.ones(())
    with pytest.raises(RuntimeError) as caught:
        block.load_state_dict(state)
    assert str(caught.value) == (
        "Block.load_state_dict: missing: scale, first.0.bias; unexpected: ghost, second.ghost; "
        "wrong shape: another (here (2,), given ()), second.weight (here (2, 3), given (2, 4))"
    )
    with pytest.raises(RuntimeError) as caught:
        block.load_state_dict(state, strict=False)
    assert "wrong shape" in str(caught.value)
    assert "ghost" not in str(caught.value)
    for name, t in block.state_dict().items():
        np.testing.assert_array_equal(t.numpy(), before[name])


@pytest.mark.parametrize("state", [None, [], nn.Linear(2, 3)])
def test_load_state_dict_takes_mappings_only(state):
    with pytest.raises(TypeError, match=f"Linear.load_state_dict: expected a dict, got a {type(state).__name__}"):
        nn.Linear(2, 3).load_state_dict(state, strict=False)


def test_load_state_dict_not_strict_returns_what_did_not_match():
    block = Block()
    result = block.load_state_dict({"scale": mg.full((1,), 4.0), "ghost": mg.ones(1)}, strict=False)
    assert block.scale.item() == 4
    assert result.unexpected_keys == ["ghost"]
    assert "scale" not in result.missing_keys
    assert len(result.missing_keys) == 8  # the count of batches is optional


def test_loading_between_forward_and_backward_is_noticed():
    layer = nn.Linear(2, 2)
    y = layer(mg.ones(1, 2, requires_grad=True)).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="modified in place"):
        y.backward()


# --- copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copied_network_trains_on_like_the_original_and_apart_from_it(copied):
    mg.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    net.tied = net[0]
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    x, target = mg.randn(4, 1, 4, 4), mg.tensor([0, 1, 1, 0])

    def step(network, by):
        by.zero_grad()
        loss = nn.CrossEntropyLoss()(network(x), target)
        loss.backward()
        by.step()
        return loss.item()

    del net.tied
    step(net, optimizer)
    twin, twin_optimizer = copied((net, optimizer))
    assert [type(p) for p in twin.parameters()] == [nn.Parameter] * 6
    assert [step(net, optimizer) for _ in range(3)] == [step(twin, twin_optimizer) for _ in range(3)]
    step(net, optimizer)
    assert not np.array_equal(net[4].weight.detach().numpy(), twin[4].weight.detach().numpy())


def test_a_deep_copy_keeps_shared_parameters_shared_and_gradients():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net(mg.ones(1, 2)).sum().backward()
    twin = copy.deepcopy(net)
    assert twin[1].weight is twin[0].weight is not net[0].weight
    np.testing.assert_array_equal(twin[0].weight.grad.numpy(), net[0].weight.grad.numpy())
