"""LeNet-5 of 1998: its layers by their definitions, the paper's sizes, counts and table I."""
import numpy as np
import pytest
from whole_networks import check_gradients

import minigrad as mg
from minigrad import inspect, models
from minigrad.models.lenet import (
    TABLE_I,
    GaussianConnections,
    PartialConv2d,
    ScaledTanh,
    Subsampling,
    digit_prototypes,
)
from minigrad.nn import functional as F

# Table I as it is printed: a row for each map of S2, a column for each map of C3
PRINTED = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


def random(*shape, seed=0):
    return mg.Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def check_layer(layer, *shape):
    """First and second derivatives of a layer with respect to its input and its parameters, as they are now."""
    layer.double()
    names = [name for name, _ in layer.named_parameters()]
    values = [random(*p.shape, seed=1 + i) for i, p in enumerate(layer.parameters())]

    def run(x, *values):
        layer._parameters.update(zip(names, values, strict=True))
        return layer(x)

    assert mg.gradcheck(run, (random(*shape), *values))
    assert mg.gradgradcheck(run, (random(*shape), *values), fast_mode=True)


# --- the whole


def test_the_layers_have_the_sizes_and_counts_of_the_paper():
    net = models.lenet5()
    rows = [r for r in inspect.summary(net, (1, 32, 32)) if r.kind not in ("ScaledTanh", "Flatten")]
    assert [(r.name, r.output_shape, r.parameters) for r in rows] == [
        ("c1", (6, 28, 28), 156), ("s2", (6, 14, 14), 12), ("c3", (16, 10, 10), 1516), ("s4", (16, 5, 5), 32),
        ("c5", (120, 1, 1), 48120), ("f6", (84,), 10164), ("output", (10,), 0),
    ]
    assert sum(r.parameters for r in rows) == sum(p.numel() for p in net.parameters()) == 60_000


def test_a_squashing_function_follows_each_layer_but_the_last():
    assert [type(m).__name__ for m in models.lenet5()] == [
        "Conv2d", "ScaledTanh", "Subsampling", "ScaledTanh", "PartialConv2d", "ScaledTanh", "Subsampling", "ScaledTanh",
        "Conv2d", "ScaledTanh", "Flatten", "Linear", "ScaledTanh", "GaussianConnections",
    ]


def test_the_initial_weights_are_uniform_in_2_4_over_the_fan_in():
    mg.manual_seed(0)
    net = models.lenet5()
    for weight, fan_in in ((net.c1.weight, 25), (net.c5.weight, 400), (net.f6.weight, 120)):
        largest = abs(weight.detach().numpy()).max()
        assert 0.95 * 2.4 / fan_in < largest <= 2.4 / fan_in
    for o, kernels in enumerate(np.split(net.c3.weight.detach().numpy(), np.cumsum([len(i) for i in TABLE_I])[:-1])):
        fan_in = 25 * len(TABLE_I[o])
        assert 0.9 * 2.4 / fan_in < abs(kernels).max() <= 2.4 / fan_in


def test_without_initial_values_the_weights_are_zero():
    net = models.create("lenet5", init=False)
    assert not any(p.detach().numpy().any() for name, p in net.named_parameters() if name[:2] not in ("s2", "s4"))


def test_a_narrow_one_has_the_gradients_of_finite_differences():
    mg.manual_seed(0)
    net = models.create("lenet5", num_classes=3, connections=((0,), (1, 0)), c5=4)
    for p in net.parameters():  # the paper's small weights would leave gradients below what the check tolerates
        p.detach().mul_(3.0)
    check_gradients(net, (2, 1, 32, 32))


# --- the scaled tanh


def test_the_squashing_function_is_the_papers():
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(ScaledTanh()(mg.Tensor(x)).numpy(), 1.7159 * np.tanh(2 / 3 * x), rtol=1e-15)
    np.testing.assert_allclose(ScaledTanh()(mg.Tensor(np.array([-1.0, 1.0]))).numpy(), [-1, 1], atol=1e-4)


# --- subsampling


def test_subsampling_adds_four_values_times_a_coefficient_plus_a_bias():
    layer = Subsampling(2)
    layer.weight.detach().copy_([0.5, -2.0])
    layer.bias.detach().copy_([10.0, 1.0])
    x = mg.tensor([[[[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0]], [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]]])
    # 0.5 (1 + 2 + 3 + 4) + 10, 0.5 (5 + 6 + 7 + 8) + 10; -2 x 1 + 1, -2 x 2 + 1
    assert layer(x).tolist() == [[[[15.0, 23.0]], [[-1.0, -3.0]]]]


def test_subsampling_starts_as_the_mean_and_rounds_odd_sizes_down():
    x = random(2, 3, 7, 5)
    np.testing.assert_allclose(Subsampling(3)(x).detach().numpy(), F.avg_pool2d(x, 2).detach().numpy(), rtol=1e-6)
    assert Subsampling(3)(mg.zeros(0, 3, 7, 5)).shape == (0, 3, 3, 2)


def test_subsampling_has_the_gradients_of_finite_differences():
    check_layer(Subsampling(2), 2, 2, 4, 5)


# --- C3


def test_table_1_is_the_printed_one_with_60_connections_and_1516_parameters():
    rows = PRINTED.split()
    assert tuple(tuple(i for i in range(6) if rows[i][o] == "X") for o in range(16)) == TABLE_I
    assert sum(map(len, TABLE_I)) == 60
    assert sum(p.numel() for p in PartialConv2d(TABLE_I, 5).parameters()) == 60 * 25 + 16 == 1516


def test_each_map_of_c3_is_a_convolution_of_its_own_subset():
    layer = PartialConv2d(TABLE_I, 5).double()
    x, start = random(2, 6, 8, 7), 0
    layer.bias.detach().copy_(np.arange(16) / 10)
    y = layer(x).detach().numpy()
    assert y.shape == (2, 16, 4, 3)
    for o, inputs in enumerate(TABLE_I):
        weight = layer.weight[start : start + len(inputs)].unsqueeze(0)
        start += len(inputs)
        alone = F.conv2d(x[:, list(inputs)], weight, layer.bias[o : o + 1])
        np.testing.assert_allclose(y[:, o], alone.detach().numpy()[:, 0], atol=1e-12)


def test_a_map_of_c3_does_not_feel_the_others():
    layer, x = models.lenet5().c3, random(1, 6, 5, 5)
    for o, inputs in enumerate(TABLE_I):
        (g,) = mg.grad(layer(x)[0, o].sum(), [x])
        assert set(np.nonzero(g.numpy().any(axis=(0, 2, 3)))[0]) == set(inputs)


def test_partial_convolution_has_the_gradients_of_finite_differences():
    check_layer(PartialConv2d(((0, 2), (1,), (2, 1, 0)), 3), 2, 3, 4, 5)


@pytest.mark.parametrize("connections", [((0,), ()), ((0, 0),), ((-1, 0),)])
def test_connections_that_make_no_sense_are_named(connections):
    with pytest.raises(ValueError, match=r"PartialConv2d: output map \d must see one or more different maps"):
        PartialConv2d(connections, 3)


# --- Gaussian connections


def test_gaussian_connections_are_squared_distances_to_the_prototypes():
    layer = GaussianConnections(np.array([[1.0, -1.0, 1.0], [-1.0, -1.0, -1.0]]))
    x = mg.Tensor(np.array([[1.0, -1.0, 1.0], [0.0, 2.0, 0.5]]))
    assert layer(x).tolist() == [[0.0, 8.0], [1 + 9 + 0.25, 1 + 9 + 2.25]]
    with pytest.raises(ValueError, match=r"GaussianConnections: expected N x 3, got shape \(2, 4\)"):
        layer(mg.zeros(2, 4))


def test_gaussian_connections_have_the_gradients_of_finite_differences():
    check_layer(GaussianConnections(digit_prototypes().astype("float64")), 2, 84)


def test_the_prototypes_are_ten_different_drawings_that_are_saved_and_not_trained():
    net = models.lenet5()
    prototypes = net.output.prototypes.numpy()
    assert prototypes.shape == (10, 7 * 12)
    assert set(np.unique(prototypes)) == {-1.0, 1.0}
    distances = (prototypes[:, None] != prototypes[None]).sum(2) + 84 * np.eye(10)
    assert distances.min() >= 8  # cells in which the two most alike differ
    assert "output.prototypes" in net.state_dict()
    assert not any("prototypes" in name for name, _ in net.named_parameters())


def test_a_prototype_is_a_drawing_read_row_by_row_from_the_top():
    seven = digit_prototypes()[7].reshape(12, 7)
    assert ["".join("#" if v > 0 else "." for v in row) for row in seven] == [
        "#######", "#.....#", "......#", ".....#.", ".....#.", "....#..", "....#..", "...#...", "...#...", "..#....",
        "..#....", ".#.....",
    ]


def test_the_scores_are_minus_the_distances():
    mg.manual_seed(0)
    net = models.lenet5()
    x = mg.randn(3, 1, 32, 32)
    features = net[:-1](x).detach().numpy()
    distances = ((features[:, None] - digit_prototypes()) ** 2).sum(2)
    np.testing.assert_allclose(net(x).detach().numpy(), -distances, rtol=1e-5)


def test_an_f6_that_draws_a_digit_is_read_as_this_digit():
    net = models.lenet5()
    net.f6.weight.detach().zero_()
    for digit, drawing in enumerate(digit_prototypes()):
        net.f6.bias.detach().copy_(drawing)
        scores = net(mg.zeros(1, 1, 32, 32))
        assert scores.argmax(1).tolist() == [digit]
        assert abs(scores[0, digit].item()) < 1e-6


def test_other_numbers_of_classes_have_random_prototypes_the_same_each_time():
    mg.manual_seed(0)
    one = models.lenet5(num_classes=12).output.prototypes.numpy()
    mg.manual_seed(1)
    other = models.create("lenet5", num_classes=12, init=False).output.prototypes.numpy()
    assert one.shape == (12, 84) and set(np.unique(one)) == {-1.0, 1.0}
    assert (one == other).all()
    for bad in (0, 2.5, True):
        with pytest.raises(ValueError, match="lenet5: num_classes must be"):
            models.lenet5(num_classes=bad)
