"""`nn.fuse`: the same outputs from fewer modules, and everything that must be left as it is."""
import copy

import numpy as np
import pytest
from whole_networks import stir

import minigrad as mg
from minigrad import gradsuite, models, nn

TOLERANCE = {"float32": 5e-6, "float64": 1e-13}  # of the largest output; the latter sees an eps that is left out


def shake(net, seed=0):
    """Weights, biases and statistics at which no mistake hides behind a 0 or a 1; returns the network."""
    rng = np.random.default_rng(seed)
    for module in stir(net, seed).modules():
        if isinstance(module, nn.BatchNorm1d):
            for t in (module.weight, module.running_var, module.bias, module.running_mean):
                t.detach().copy_(rng.uniform(0.5, 1.5, t.shape))
        elif not isinstance(module, nn.BatchNorm2d):
            for key, p in module._parameters.items():
                if p is not None:
                    p.detach().copy_(rng.normal(0.0, 0.3, p.shape) if key == "bias" else p.detach().numpy() * 1.25)
    return net


def left(net):
    """(batch norms, ReLUs) among the modules."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d), nn.ReLU
    return tuple(sum(isinstance(m, kind) for m in net.modules()) for kind in kinds)


def values(outputs):
    return [t.detach().numpy() for t in (outputs if isinstance(outputs, tuple) else (outputs,))]


def check(net, shape, expected, dtype="float64", n=2):
    """Fuse; the outputs must be equal and `expected` (batch norms, ReLUs) left. Returns the fused network."""
    net = shake(net.to(dtype)).eval()
    fused = nn.fuse(net, shape)
    x = mg.tensor(np.random.default_rng(1).standard_normal((n, *shape)).astype(dtype))
    with mg.no_grad():
        for a, b in zip(values(net(x)), values(fused(x)), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(b, a, rtol=0, atol=TOLERANCE[dtype] * np.abs(a).max())
    assert left(fused) == expected
    return fused


# --- whole networks: (name, options, image, what is left)

SMALL = (3, 32, 32)
NETWORKS = [
    ("vgg11_bn", {"width": 0.1}, SMALL, (0, 2)),  # the classifier's two
    ("vgg11", {"width": 0.1}, SMALL, (0, 2)),
    ("resnet18", {"width": 4}, SMALL, (0, 8)),  # one after each sum
    ("resnet50", {"width": 4}, SMALL, (0, 16)),
    ("plain18", {"width": 4}, SMALL, (0, 0)),
    ("resnet20_cifar", {}, (3, 16, 16), (0, 9)),
    ("residual_identity", {}, (1, 28, 28), (0, 2)),
    ("residual_resized", {}, (1, 28, 28), (0, 2)),
    ("googlenet", {"width": 1 / 16, "aux_heads": False}, (3, 64, 64), (0, 0)),
    ("googlenet_2014", {"width": 1 / 16, "aux_heads": False}, (3, 64, 64), (0, 0)),
    ("inception_v3", {"width": 1 / 16, "aux_heads": False}, (3, 75, 75), (0, 0)),
    ("inception_v4", {"width": 1 / 32, "repeats": (1, 1, 1)}, (3, 75, 75), (0, 0)),
    ("densenet121", {"layers": (2, 2), "growth_rate": 4, "width": 8}, SMALL, (6, 6)),  # norm1 and those outside blocks
    ("enet", {"width": 8, "layers": (1, 1)}, SMALL, (1, 0)),  # that of the concatenation
    ("allcnn_c", {"widths": (6, 12)}, SMALL, (0, 0)),
    ("nin_cifar", {}, (3, 16, 16), (0, 0)),
    ("nin_cifar", {"batch_norm": True}, (3, 16, 16), (0, 0)),
    ("convnet", {}, (1, 28, 28), (0, 0)),  # one ReLU for both convolutions
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options", "shape", "expected"), NETWORKS)
def test_a_fused_network_gives_the_same_scores(name, options, shape, expected, dtype):
    fused = check(models.create(name, **options), shape, expected, dtype)
    assert not fused.training
    assert not any(p.requires_grad for p in fused.parameters())
    assert all(isinstance(p, nn.Parameter) for p in fused.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in fused.modules())


def test_heads_that_only_run_in_training_stay():
    assert left(nn.fuse(models.googlenet(width=1 / 16), (3, 64, 64))) == (2, 4)


def test_the_original_is_as_before():
    net = shake(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))).train()
    net[3].eval()
    net(mg.ones(2, 3, 5, 5)).sum().backward()
    state = {name: t.numpy().copy() for name, t in net.state_dict().items()}
    grads = [p.grad.numpy().copy() for p in net.parameters()]
    text, modes = repr(net), [m.training for m in net.modules()]
    fused = nn.fuse(net, (3, 5, 5))
    assert (repr(net), modes) == (text, [m.training for m in net.modules()])
    assert all(p.requires_grad for p in net.parameters())
    assert [*net.state_dict()] == [*state]
    for name, t in net.state_dict().items():
        np.testing.assert_array_equal(t.numpy(), state[name])
    for p, g in zip(net.parameters(), grads, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), g)
    assert all(p.grad is None for p in fused.parameters())
    originals = [p.detach().numpy() for p in net.parameters()]
    assert not any(np.shares_memory(p.numpy(), original) for p in fused.parameters() for original in originals)
    assert left(fused) == (0, 0)
    assert [*fused.state_dict()] == ["0.weight", "0.bias", "3.weight", "3.bias"]


def test_the_layers_say_what_became_of_them():
    fused = nn.fuse(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), (3, 5, 5))
    text = "Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), fused_relu=True)"
    assert [repr(m) for m in fused] == [text, "Identity()", "Identity()"]


# --- kinds of layers

class Ends(nn.Module):
    """Calls function(self, x); modules by name."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


def norm(**options):
    return nn.BatchNorm2d(4, **options)


@pytest.mark.parametrize("options", [
    {}, {"bias": False}, {"groups": 2}, {"groups": 4, "bias": False},
    {"flip": True}, {"flip": True, "algorithm": "im2col"},
    {"algorithm": "direct"}, {"algorithm": "reference"}, {"padding": "same"}, {"padding": ((0, 1), (2, 0))},
    {"stride": 2, "dilation": 2, "padding": 1},
])
@pytest.mark.parametrize("affine", [True, False])
def test_every_kind_of_convolution(options, affine):
    layers = [nn.Conv2d(4, 4, 3, **options), nn.BatchNorm2d(4, eps=0.1)]
    if not affine:
        layers[1].register_parameter("weight", None), layers[1].register_parameter("bias", None)
    rng = np.random.default_rng(3)
    layers[1].running_mean.copy_(rng.normal(size=4)), layers[1].running_var.copy_(rng.uniform(0.01, 2, size=4))
    net = nn.Sequential(*layers, nn.ReLU()).double().eval()
    fused, x = nn.fuse(net, (4, 7, 8)), mg.tensor(rng.standard_normal((2, 4, 7, 8)))
    y = net(x).detach().numpy()
    np.testing.assert_allclose(fused(x).numpy(), y, rtol=0, atol=1e-13 * y.max())
    assert left(fused) == (0, 0)
    assert (fused[0].flip, fused[0].algorithm) == (net[0].flip, net[0].algorithm)


def test_conv1d_and_linear_take_in_batch_norm_but_no_relu():
    check(nn.Sequential(nn.Conv1d(3, 4, 2), nn.BatchNorm1d(4), nn.ReLU()), (3, 9), (0, 1))
    check(nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU()), (3,), (0, 1))


def test_batch_norm_of_the_rows_that_a_linear_layer_puts_out_stays():
    check(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (4, 3), (1, 0))


def test_two_batch_norms_in_a_row_and_sequentials_in_sequentials():
    inner = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 2)), nn.Sequential(norm(), nn.Identity(), norm()))
    check(nn.Sequential(inner, nn.Sequential(nn.Dropout(), nn.ReLU(), nn.ReLU())), (3, 5, 5), (0, 1))


def test_a_relu_in_front_of_batch_norm_is_fused_and_batch_norm_stays():
    check(nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), norm(), nn.ReLU()), (3, 5, 5), (1, 1))


def test_batch_norm_in_front_of_a_convolution_stays():
    check(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 2)), (3, 5, 5), (1, 1))


def test_modules_that_a_python_list_holds_too_and_modules_with_two_names():
    net = Ends(lambda self, x: self.steps[2](self.steps[1](self.steps[0](x))), conv=nn.Conv2d(3, 4, 2), bn=norm())
    net.relu = net.activation = nn.ReLU()
    net.steps = [net.conv, net.bn, net.relu]
    fused = check(net, (3, 5, 5), (0, 0))
    assert fused.steps[1] is fused.bn
    assert fused.relu is fused.activation


def test_a_fused_residual_network_adds_in_its_convolutions():
    net = models.create("resnet20_cifar", shortcut="projection")
    fused = nn.fuse(net, (3, 8, 8)).requires_grad_(True)
    assert not {"Add", "ReLU"} & gradsuite.functions_in(fused(mg.randn(1, 3, 8, 8)))


def test_nan_goes_through_a_fused_relu():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    x = mg.tensor(np.array([np.nan, 1, -1, -np.inf], np.float32).reshape(1, 1, 2, 2))
    net[0].weight.detach().fill_(1.0), net[0].bias.detach().fill_(0.0)
    np.testing.assert_array_equal(nn.fuse(net, (1, 2, 2))(x).numpy(), net(x).detach().numpy())


# --- what else reads the output of the convolution, or of the batch norm

READERS = {
    "added": lambda y, z: z + y,
    "compared": lambda y, z: z * (y > 0),
    "detached": lambda y, z: z + y.detach(),
    "returned": lambda y, z: (z, y),
    "reshaped": lambda y, z: z.reshape(-1) + y.reshape(-1),
}


@pytest.mark.parametrize("use", READERS.values(), ids=READERS)
def test_an_output_that_something_else_reads_is_not_changed(use):
    def after_conv(self, x):
        y = self.conv(x)
        return use(y, self.relu(self.bn(y)))

    def after_norm(self, x):
        y = self.bn(self.conv(x))
        return use(y, self.relu(y))

    def after_conv_without_norm(self, x):
        y = self.conv(x)
        return use(y, self.relu(y))

    parts = {"conv": nn.Conv2d(3, 4, 2), "relu": nn.ReLU()}
    check(Ends(after_conv, **copy.deepcopy(parts), bn=norm()), (3, 5, 5), (1, 1))
    check(Ends(after_norm, **copy.deepcopy(parts), bn=norm()), (3, 5, 5), (0, 1))
    check(Ends(after_conv_without_norm, **parts), (3, 5, 5), (0, 1))


def test_an_output_that_is_put_away_is_not_changed():
    def forward(self, x):
        self.seen[:] = [self.conv(x)]
        return self.bn(self.seen[0])

    net = Ends(forward, conv=nn.Conv2d(3, 4, 2), bn=norm())
    net.seen = []
    fused = check(net, (3, 5, 5), (1, 0))
    np.testing.assert_array_equal(fused.seen[0].numpy(), net.seen[0].numpy())


CHANGES = {
    "scaled": lambda y: y * 2, "in place": lambda y: y.add_(1.0), "a view": lambda y: y.transpose(2, 3),
    "detached": lambda y: y.detach() + 1, "relu": lambda y: mg.relu(y),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_happens_between_convolution_and_batch_norm_is_seen(change):
    net = Ends(lambda self, x: self.bn(change(self.conv(x))), conv=nn.Conv2d(3, 4, 2), bn=norm())
    check(net, (3, 5, 5), (1, 0))
    check(Ends(lambda self, x: self.relu(change(self.conv(x)) - 1), conv=net.conv, relu=nn.ReLU()), (3, 5, 5), (0, 1))


def test_shapes_may_be_read():
    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) * (y.shape[1] + y.ndim)

    check(Ends(forward, conv=nn.Conv2d(3, 4, 2), bn=norm()), (3, 5, 5), (0, 0))


# --- modules that are used more than once

def test_a_convolution_a_batch_norm_or_a_relu_that_runs_twice_stays():
    parts = {"conv": nn.Conv2d(4, 4, 1), "bn": norm(), "relu": nn.ReLU(), "other": nn.Conv2d(4, 4, 1)}
    for function, expected in (
        (lambda self, x: self.bn(self.conv(self.conv(x))), (1, 1)),
        (lambda self, x: self.bn(self.bn(self.conv(x))), (1, 1)),
        (lambda self, x: self.bn(self.other(self.bn(self.conv(x)))), (1, 1)),
        (lambda self, x: self.relu(self.relu(self.conv(x))), (1, 1)),
        (lambda self, x: self.relu(x + self.other(self.relu(self.conv(x)))), (1, 1)),
        (lambda self, x: self.relu(self.other(self.relu(self.bn(self.conv(x))))), (0, 0)),  # all after convolutions
    ):
        check(Ends(function, **copy.deepcopy(parts)), (4, 5, 5), expected)


def test_a_weight_that_another_layer_has_too_stays_there():
    net = nn.Sequential(nn.Conv2d(4, 4, 1), norm(), nn.Conv2d(4, 4, 1), norm(), nn.Conv2d(4, 4, 1))
    net[2].weight = net[4].weight = net[0].weight
    fused = check(net, (4, 5, 5), (0, 0))
    np.testing.assert_array_equal(fused[4].weight.numpy(), net[4].weight.detach().numpy())


def test_a_weight_or_statistics_that_other_code_reads_stay():
    def weight(self, x):
        return self.bn(self.conv(x)) + nn.functional.conv2d(x, self.conv.weight)

    def statistics(self, x):
        return self.bn(self.conv(x)) + self.bn.running_mean.reshape(1, -1, 1, 1)

    for function in (weight, statistics):
        check(Ends(function, conv=nn.Conv2d(4, 4, 1), bn=norm()), (4, 5, 5), (1, 0))


# --- layers of other kinds

@pytest.mark.parametrize(("layer", "following"), [
    (nn.ConvTranspose2d(3, 4, 2), norm()),
    (nn.MaxPool2d(2), nn.BatchNorm2d(3)),
    (type("Own", (nn.Conv2d,), {"forward": lambda self, x: nn.Conv2d.forward(self, x) * 2})(3, 4, 2), norm()),
    (nn.Conv2d(3, 4, 2), type("Own", (nn.BatchNorm2d,), {})(4)),
], ids=["transposed", "pooling", "subclass of Conv2d", "subclass of BatchNorm2d"])
def test_other_layers_stay(layer, following):
    check(nn.Sequential(layer, following, nn.ReLU()), (3, 6, 6), (1, 1))


def test_a_subclass_of_relu_stays():
    own = type("Own", (nn.ReLU,), {"forward": lambda self, x: -nn.ReLU.forward(self, x)})
    check(nn.Sequential(nn.Conv2d(3, 4, 2), own()), (3, 5, 5), (0, 1))


def test_batch_norm_without_running_statistics_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 2), norm(track_running_stats=False)).double()
    fused = nn.fuse(net, (3, 5, 5))
    x = mg.tensor(np.random.default_rng(0).standard_normal((2, 3, 5, 5)))
    np.testing.assert_array_equal(fused(x).numpy(), net(x).detach().numpy())
    assert left(fused) == (1, 0)


def test_batch_norm_of_another_dtype_stays():
    net = shake(nn.Sequential(nn.Conv2d(3, 4, 2), norm().double())).eval()
    fused = nn.fuse(net, (3, 5, 5))
    assert (left(fused), fused(mg.ones(1, 3, 5, 5)).dtype) == ((1, 0), np.float64)


# --- hooks

@pytest.mark.parametrize(("index", "expected"), [(0, (1, 1)), (1, (1, 1)), (2, (0, 1))])
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_module_with_a_hook_stays(index, expected, kind):
    net = shake(nn.Sequential(nn.Conv2d(3, 4, 2), norm(), nn.ReLU()))
    seen = []
    getattr(net[index], kind)(lambda module, *tensors: seen.append(type(module).__name__))
    fused = nn.fuse(net, (3, 5, 5))
    assert left(fused) == expected
    seen.clear()
    fused(mg.ones(1, 3, 5, 5))
    assert seen == [type(net[index]).__name__]


def test_an_output_that_the_hook_of_a_container_reads_is_not_changed():
    net, seen = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 2)), norm()), []
    net[0].register_forward_hook(lambda module, inputs, output: seen.append(output.detach().sum()))
    check(net, (3, 5, 5), (1, 0))
    assert seen[-1].item() == seen[-2].item()


# --- the run that is watched

def test_a_network_that_cannot_work_on_no_images_gets_one():
    def forward(self, x):
        return self.bn(self.conv(x)) * (len(x) // len(x))

    check(Ends(forward, conv=nn.Conv2d(3, 4, 2), bn=norm()), (3, 5, 5), (0, 0))


def test_a_network_with_two_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.bn = nn.Conv2d(3, 4, 1), nn.Linear(2, 4), norm()

        def forward(self, x, z):
            return self.bn(self.a(x)) + self.b(z).reshape(-1, 4, 1, 1)

    net, rng = shake(Two()).eval(), np.random.default_rng(0)
    x, z = (mg.tensor(rng.standard_normal(s).astype(np.float32)) for s in ((2, 3, 5, 5), (2, 2)))
    fused = nn.fuse(net, (3, 5, 5), (2,))
    np.testing.assert_allclose(fused(x, z).numpy(), net(x, z).detach().numpy(), rtol=0, atol=1e-5)
    assert left(fused) == (0, 0)


def test_errors_say_what_is_wrong_and_nothing_is_left_watched():
    net = nn.Sequential(nn.Conv2d(3, 4, 2), norm())
    with pytest.raises(ValueError, match="fuse: the shape of an input is needed"):
        nn.fuse(net)
    with pytest.raises(ValueError, match="expects 3 input channels"):
        nn.fuse(net, (5, 5, 5))
    assert not net[0]._forward_hooks
    assert type(net[0].weight) is nn.Parameter


def test_an_exception_that_the_network_catches_does_no_harm():
    def forward(self, x):
        try:
            self.bad(x)
        except ValueError:
            return self.bn(self.conv(x))

    check(Ends(forward, conv=nn.Conv2d(3, 4, 2), bn=norm(), bad=nn.Conv2d(9, 4, 2)), (3, 5, 5), (0, 0))
