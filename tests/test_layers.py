"""Containers and layers: shapes, display, initial values, training against evaluation, and errors naming the value."""
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import init

pytestmark = pytest.mark.usefixtures("made_there")

# (layer, shape of x, shape of y, what PyTorch prints)
LAYERS = [
    (lambda: nn.Conv2d(3, 8, 3), (2, 3, 7, 9), (2, 8, 5, 7), "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))"),
    (lambda: nn.Conv2d(4, 8, (3, 5), (2, 1), 1, groups=2, bias=False), (2, 4, 7, 9), (2, 8, 4, 7),
     "Conv2d(4, 8, kernel_size=(3, 5), stride=(2, 1), padding=(1, 1), groups=2, bias=False)"),
    (lambda: nn.Conv2d(1, 2, 3, padding="same", dilation=2), (1, 1, 6, 6), (1, 2, 6, 6),
     "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=same, dilation=(2, 2))"),
    (lambda: nn.Conv2d(1, 2, 3, padding=(0, 2)), (1, 1, 6, 6), (1, 2, 4, 8),
     "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(0, 2))"),
    (lambda: nn.Linear(4, 3), (2, 5, 4), (2, 5, 3), "Linear(in_features=4, out_features=3, bias=True)"),
    (lambda: nn.Linear(4, 3, bias=False), (4,), (3,), "Linear(in_features=4, out_features=3, bias=False)"),
    (lambda: nn.BatchNorm2d(3), (2, 3, 4, 5), (2, 3, 4, 5),
     "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"),
    (lambda: nn.MaxPool2d(2), (2, 3, 7, 9), (2, 3, 3, 4),
     "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
    (lambda: nn.MaxPool2d((3, 2), 2, 1, ceil_mode=True), (2, 3, 7, 9), (2, 3, 4, 5),
     "MaxPool2d(kernel_size=(3, 2), stride=2, padding=1, dilation=1, ceil_mode=True)"),
    (lambda: nn.AvgPool2d(3, 2, 1), (2, 3, 7, 9), (2, 3, 4, 5), "AvgPool2d(kernel_size=3, stride=2, padding=1)"),
    (lambda: nn.AdaptiveAvgPool2d((2, None)), (2, 3, 7, 9), (2, 3, 2, 9), "AdaptiveAvgPool2d(output_size=(2, None))"),
    (nn.Flatten, (2, 3, 4), (2, 12), "Flatten(start_dim=1, end_dim=-1)"),
    (lambda: nn.Flatten(0, 1), (2, 3, 4), (6, 4), "Flatten(start_dim=0, end_dim=1)"),
    (nn.ReLU, (2, 3), (2, 3), "ReLU()"),
    (nn.Tanh, (2, 3), (2, 3), "Tanh()"),
    (nn.Sigmoid, (2, 3), (2, 3), "Sigmoid()"),
    # not in PyTorch, or there with an option that does not exist here (inplace)
    (nn.GlobalAvgPool2d, (2, 3, 7, 9), (2, 3, 1, 1), "GlobalAvgPool2d()"),
    (nn.Dropout, (2, 3), (2, 3), "Dropout(p=0.5)"),
    (lambda: nn.Dropout2d(0.1), (2, 3, 4, 5), (2, 3, 4, 5), "Dropout2d(p=0.1)"),
    (lambda: nn.Conv2d(1, 2, 2, padding=((0, 1), (2, 3)), flip=True, algorithm="im2col"), (1, 1, 6, 6), (1, 2, 6, 10),
     "Conv2d(1, 2, kernel_size=(2, 2), stride=(1, 1), padding=((0, 1), (2, 3)), flip=True, algorithm='im2col')"),
]
IDS = [printed for *_, printed in LAYERS]


@pytest.mark.parametrize(("make", "x_shape", "y_shape", "printed"), LAYERS, ids=IDS)
def test_output_shape_dtype_and_gradients(make, x_shape, y_shape, printed):
    for layer, dtype in ((make(), mg.float32), (make().double(), mg.float64)):
        x = mg.randn(*x_shape, dtype=dtype, requires_grad=True)
        y = layer(x)
        assert y.shape == y_shape
        assert y.dtype == dtype
        y.sum().backward()
        assert all(t.grad.shape == t.shape for t in (x, *layer.parameters()))


@pytest.mark.parametrize(("make", "x_shape", "y_shape", "printed"), LAYERS, ids=IDS)
def test_an_empty_batch_is_a_batch(make, x_shape, y_shape, printed):
    if len(x_shape) == 4:
        x = mg.zeros(0, *x_shape[1:], requires_grad=True)
        y = make().eval()(x)
        assert y.shape == (0, *y_shape[1:])
        y.sum().backward()
        assert x.grad.shape == x.shape


@pytest.mark.parametrize(("make", "x_shape", "y_shape", "printed"), LAYERS, ids=IDS)
def test_display(make, x_shape, y_shape, printed):
    assert repr(make()) == printed


@pytest.mark.host_only
def test_display_of_nested_modules_and_of_extra_text():
    class Noted(nn.Sequential):
        def extra_repr(self):
            return "a note"

    net = nn.Sequential({"body": nn.Sequential(nn.ReLU(), Noted(nn.Tanh())), "head": nn.Linear(1, 2)})
    net.body.add_module("gap", None)
    assert repr(net) == """Sequential(
  (body): Sequential(
    (0): ReLU()
    (1): Noted(
      a note
      (0): Tanh()
    )
    (gap): None
  )
  (head): Linear(in_features=1, out_features=2, bias=True)
)"""
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.CrossEntropyLoss()) == "CrossEntropyLoss()"
    assert repr(nn.Parameter(mg.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"


# --- Sequential


def test_sequential_is_a_list_of_modules():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a, b, c)
    assert len(net) == 3
    assert list(net) == [a, b, c]
    assert net[0] is a
    assert net[-1] is c
    assert list(net[1:]) == [b, c]
    assert [name for name, _ in net[1:].named_children()] == ["1", "2"]
    with pytest.raises(IndexError):
        net[3]


def test_sequential_from_a_dict_keeps_the_names_and_runs_in_order():
    net = nn.Sequential({"twice": nn.Linear(1, 1, bias=False), "squash": nn.ReLU()})
    net.twice.weight.detach().fill_(-2.0)
    assert [name for name, _ in net.named_children()] == ["twice", "squash"]
    assert net(mg.tensor([[3.0]])).item() == 0
    assert net(mg.tensor([[-3.0]])).item() == 6


def test_append_never_takes_a_name_that_is_in_use():
    a, b, c, d = nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Flatten()
    assert list(nn.Sequential(a).append(b)) == [a, b]
    assert list(nn.Sequential(a, b, c)[1:].append(d)) == [b, c, d]
    assert len(nn.Sequential()) == 0


@pytest.mark.parametrize("make", [lambda m: nn.Sequential(m), lambda m: nn.Sequential().append(m)])
def test_sequential_takes_modules_only(make):
    with pytest.raises(TypeError, match="expected a Module for '0', got 'relu'"):
        make("relu")


# --- initial values


@pytest.mark.parametrize(("make", "fan_in"), [
    (lambda: nn.Linear(300, 200), 300),
    (lambda: nn.Conv2d(20, 60, (5, 3)), 20 * 15),
    (lambda: nn.Conv2d(40, 120, (5, 3), groups=2), 20 * 15),
])
def test_weight_and_bias_are_uniform_in_plus_minus_one_over_the_root_of_the_fan_in(make, fan_in):
    mg.manual_seed(0)
    layers = [make() for _ in range(10)]
    bound = 1 / math.sqrt(fan_in)
    for name in ("weight", "bias"):
        values = np.concatenate([getattr(layer, name).detach().numpy().ravel() for layer in layers])
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        assert np.abs(values).max() > 0.99 * bound
        assert abs(values.mean()) < 4 * bound / math.sqrt(3 * values.size)
        assert values.var() == pytest.approx(bound**2 / 3, rel=4 / math.sqrt(values.size))


def test_the_same_seed_gives_the_same_initial_values():
    def draw(seed):
        mg.manual_seed(seed)
        return nn.Conv2d(2, 3, 3).weight.tolist()

    assert draw(1) == draw(1) != draw(2)


def test_initialisers_work_in_place_on_parameters():
    p = nn.Parameter(mg.zeros(200, 50))
    assert init.constant_(p, 3.0) is p
    assert (p.detach().numpy() == 3).all()
    assert init.uniform_(p, 2.0, 4.0) is p
    assert 2 <= p.detach().numpy().min() < 2.01
    assert 3.99 < p.detach().numpy().max() <= 4
    init.kaiming_uniform_(p)
    assert p.detach().numpy().var() == pytest.approx(2 / 50, rel=0.05)
    assert p.requires_grad
    with pytest.raises(ValueError, match=r"at least two dimensions, got shape \(3,\)"):
        init.kaiming_uniform_(mg.zeros(3))


# --- convolution, linear, pooling


def test_flip_is_convolution_with_the_kernel_turned_round():
    mg.manual_seed(0)
    flipped, plain = nn.Conv2d(2, 3, (3, 2), flip=True), nn.Conv2d(2, 3, (3, 2))
    plain.load_state_dict({"weight": flipped.weight.detach().numpy()[:, :, ::-1, ::-1], "bias": flipped.bias.detach()})
    x = mg.randn(2, 2, 6, 7)
    np.testing.assert_allclose(flipped(x).detach().numpy(), plain(x).detach().numpy(), atol=1e-5)
    assert not np.allclose(flipped(x).detach().numpy(), nn.Conv2d(2, 3, (3, 2))(x).detach().numpy())


@pytest.mark.parametrize("algorithm", ["winograd", "direct", "im2col"])
def test_the_algorithm_of_a_layer_changes_nothing_but_the_way(algorithm):
    mg.manual_seed(0)
    layer, x = nn.Conv2d(2, 3, 3, algorithm=algorithm), mg.randn(1, 2, 5, 5)
    y = layer(x)
    wanted = mg.conv2d(x, layer.weight, layer.bias)
    np.testing.assert_allclose(y.detach().numpy(), wanted.detach().numpy(), atol=1e-5)


def test_max_pooling_returns_indices_when_asked():
    y, index = nn.MaxPool2d(2, return_indices=True)(mg.tensor([[[[1.0, 3.0], [2.0, 0.0]]]]))
    assert (y.item(), index.item()) == (3, 1)


def test_average_pooling_counts_the_padding_unless_told_not_to():
    x = mg.ones(1, 1, 2, 2)
    assert nn.AvgPool2d(2, 2, 1)(x)[0, 0, 0, 0].item() == 0.25
    assert nn.AvgPool2d(2, 2, 1, count_include_pad=False)(x)[0, 0, 0, 0].item() == 1


# --- dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("make", [nn.Dropout, nn.Dropout2d])
def test_dropout_keeps_a_share_of_1_minus_p_scaled_so_that_the_mean_stays(make, p):
    mg.manual_seed(0)
    side = 1 if make is nn.Dropout2d else 2
    y = make(p)(mg.ones(100, 200, side, side)).numpy()
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 4 * math.sqrt(p * (1 - p) / kept.size)
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-6)


def test_dropout2d_drops_whole_maps_and_dropout_single_elements():
    mg.manual_seed(0)
    maps = nn.Dropout2d(0.5)(mg.ones(20, 30, 3, 4)).numpy().reshape(600, 12)
    assert {tuple(np.unique(m)) for m in maps} == {(0.0,), (2.0,)}
    maps = nn.Dropout(0.5)(mg.ones(20, 30, 3, 4)).numpy().reshape(600, 12)
    assert sum(len(np.unique(m)) == 2 for m in maps) > 590


@pytest.mark.parametrize("make", [nn.Dropout, nn.Dropout2d])
def test_dropout_in_evaluation_at_0_and_at_1(make):
    x = mg.randn(3, 4, 2, 2)
    np.testing.assert_array_equal(make(0.5).eval()(x).numpy(), x.numpy())
    np.testing.assert_array_equal(make(0.0)(x).numpy(), x.numpy())
    assert not make(1.0)(x).numpy().any()


def test_dropout_follows_the_seed_and_its_gradient_the_mask():
    def run(seed):
        mg.manual_seed(seed)
        x = mg.ones(50, requires_grad=True)
        y = nn.Dropout(0.3)(x)
        y.sum().backward()
        assert x.grad.tolist() == y.tolist()
        return y.tolist()

    assert run(5) == run(5) != run(6)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("training", [True, False])
def test_dropout2d_takes_4d_only(shape, training):
    with pytest.raises(ValueError, match=rf"expected a 4-D tensor.*got {len(shape)}-D"):
        nn.Dropout2d(0.5).train(training)(mg.ones(*shape))


# --- batch normalisation


def test_batch_norm_training_normalises_each_channel_and_moves_the_running_statistics():
    layer = nn.BatchNorm2d(2, momentum=0.25)
    x = np.random.default_rng(0).normal(3.0, 2.0, (4, 2, 3, 5)).astype(np.float32)
    y = layer(mg.tensor(x)).detach().numpy()
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-4)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * x.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * x.var((0, 2, 3), ddof=1), rtol=1e-5)
    assert layer.num_batches_tracked.item() == 1


def test_batch_norm_evaluation_uses_the_running_statistics_and_leaves_them_alone():
    layer = nn.BatchNorm2d(2).eval()
    layer.load_state_dict({
        "weight": [2.0, 3.0], "bias": [0.5, -0.5], "running_mean": [1.0, -1.0], "running_var": [4.0, 9.0],
        "num_batches_tracked": 7,
    })
    x = np.random.default_rng(0).normal(size=(1, 2, 1, 1))
    expected = (x.ravel() - [1, -1]) / np.sqrt(np.array([4, 9]) + 1e-5) * [2, 3] + [0.5, -0.5]
    np.testing.assert_allclose(layer(mg.tensor(x)).detach().numpy().ravel(), expected, rtol=1e-6)
    assert layer.running_mean.tolist() == [1, -1]
    assert layer.num_batches_tracked.item() == 7


def test_batch_norm_without_momentum_keeps_the_plain_mean_of_all_batches():
    layer = nn.BatchNorm2d(3, momentum=None)
    batches = np.random.default_rng(0).normal(size=(5, 4, 3, 2, 2))
    for x in batches:
        layer(mg.tensor(x))
    np.testing.assert_allclose(layer.running_mean.numpy(), batches.mean((0, 1, 3, 4)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.running_var.numpy(), batches.var((1, 3, 4), ddof=1).mean(0), rtol=1e-4)


def test_batch_norm_without_tracking_or_affine_has_no_state_and_always_uses_the_batch():
    layer = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    assert not layer.state_dict()
    x = mg.randn(4, 3, 2, 2)
    np.testing.assert_array_equal(layer(x).numpy(), layer.eval()(x).numpy())


# --- errors


@pytest.mark.parametrize(("make", "message"), [
    (lambda: nn.Conv2d(0, 1, 3), "Conv2d: in_channels must be an integer >= 1, got 0"),
    (lambda: nn.Conv2d(1, 2.0, 3), "Conv2d: out_channels must be an integer >= 1, got 2.0"),
    (lambda: nn.Conv2d(4, 6, 3, groups=4), "Conv2d: 4 -> 6 channels cannot be split into 4 groups"),
    (lambda: nn.Conv2d(1, 1, 0), "Conv2d: kernel_size must be an integer >= 1, got 0"),
    (lambda: nn.Conv2d(1, 1, (3, 3, 3)), r"Conv2d: kernel_size must be an int or a pair, got \(3, 3, 3\)"),
    (lambda: nn.Conv2d(1, 1, 3, stride=0), "Conv2d: stride must be an integer >= 1, got 0"),
    (lambda: nn.Conv2d(1, 1, 3, padding=-1), "Conv2d: padding must be an integer >= 0, got -1"),
    (lambda: nn.Conv2d(1, 1, 3, padding="full"), "Conv2d: padding must be 'same', 'valid' or numbers, got 'full'"),
    (lambda: nn.Conv2d(1, 1, 3, 2, padding="same"), "Conv2d: padding='same' needs stride 1"),
    (lambda: nn.Conv2d(1, 1, 3, padding_mode="reflect"), "Conv2d: only padding_mode='zeros' exists, got 'reflect'"),
    (lambda: nn.Linear(-1, 2), "Linear: in_features must be an integer >= 1, got -1"),
    (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features must be an integer >= 1, got 0"),
    (lambda: nn.Dropout(1.5), "Dropout: the probability must be between 0 and 1, got 1.5"),
    (lambda: nn.Dropout2d(-0.1), "Dropout2d: the probability must be between 0 and 1, got -0.1"),
    (lambda: nn.Dropout(math.nan), "Dropout: the probability must be between 0 and 1, got nan"),
])
def test_an_impossible_layer_is_refused_when_it_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("layer", "x_shape", "message"), [
    (nn.Conv2d(3, 8, 3), (8, 4, 32, 32), r"Conv2d: weight expects 3 input channels, got x with 4 .*8x4x32x32"),
    (nn.Conv2d(3, 8, 3), (3, 32, 32), "Conv2d: .*3x32x32"),
    (nn.Conv2d(3, 8, 5), (1, 3, 4, 9), "Conv2d: kernel 5x5 .* does not fit into x"),
    (nn.Linear(3, 2), (2, 4), r"Linear: weight expects 3 features, got x of shape \(2, 4\)"),
    (nn.MaxPool2d(3), (1, 1, 2, 5), "MaxPool2d: .*1x1x2x5"),
    (nn.AvgPool2d(2, padding=2), (1, 1, 6, 6), "AvgPool2d: .*padding"),
    (nn.AdaptiveAvgPool2d(0), (1, 1, 6, 6), "AdaptiveAvgPool2d: output_size must be an integer >= 1, got 0"),
    (nn.GlobalAvgPool2d(), (3, 4), "GlobalAvgPool2d: .*3x4"),
    (nn.BatchNorm2d(3), (2, 3), r"BatchNorm2d: expected a 4-D tensor.*got 2-D of shape \(2, 3\)"),
    (nn.BatchNorm2d(3), (2, 4, 2, 2), "BatchNorm: .* got x with 4 channels"),
    (nn.BatchNorm2d(3), (1, 3, 1, 1), "more than one value per channel, got 1"),
])
def test_an_input_that_does_not_fit_is_named(layer, x_shape, message):
    with pytest.raises(ValueError, match=message):
        layer(mg.zeros(*x_shape))


def test_cross_entropy_loss_keeps_its_weights_as_a_buffer():
    loss = nn.CrossEntropyLoss(weight=[1.0, 3.0], reduction="sum")
    assert list(loss.state_dict()) == ["weight"]
    assert loss(mg.zeros(2, 2), mg.tensor([0, 1])).item() == pytest.approx(4 * math.log(2))
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, none, got 'max'"):
        nn.CrossEntropyLoss(reduction="max")(mg.zeros(2, 2), mg.tensor([0, 1]))
