"""GoogLeNet and its successors: sizes, auxiliary heads, the lecture's blocks, gradients, the same blocks in PyTorch."""
from functools import partial

import numpy as np
import pytest
from whole_networks import check_gradients, compare_with_torch, map_shapes, stir

import minigrad as mg
from minigrad import models, nn
from minigrad.models.googlenet import BLOCKS, GoogLeNetOutputs, Inception
from minigrad.models.googlenet import InceptionAux as GoogLeNetAux
from minigrad.models.inception_parts import BasicConv2d, Mixed, half_normalised
from minigrad.models.inception_v3 import BLOCKS as V3_BLOCKS
from minigrad.models.inception_v3 import InceptionAux, InceptionOutputs
from minigrad.models.inception_v4 import REDUCTION_A, REDUCTION_B, STEM, A, B, C
from minigrad.models.initial import he_

FEW = {name: BLOCKS[name] for name in ("3a", "4a", "4d", "5a")}
NARROW = {"num_classes": 3, "width": 1 / 32}


def layers(net, kind):
    return [m for m in net.modules() if isinstance(m, kind)]


def parameters(net):
    return sum(p.numel() for p in net.parameters())


# --- what the papers say


@pytest.mark.parametrize("name", ["googlenet_2014", "googlenet"])
def test_the_maps_of_googlenet_have_the_sizes_of_table_1(name):
    net = models.create(name, init=False)
    names = [n for n in net.order if not n.startswith("norm")]
    assert map_shapes(net, names, (3, 224, 224)) == {
        "conv1": (64, 112, 112), "maxpool1": (64, 56, 56), "conv2": (64, 56, 56), "conv3": (192, 56, 56),
        "maxpool2": (192, 28, 28), "inception3a": (256, 28, 28), "inception3b": (480, 28, 28),
        "maxpool3": (480, 14, 14), "inception4a": (512, 14, 14), "inception4b": (512, 14, 14),
        "inception4c": (512, 14, 14), "inception4d": (528, 14, 14), "inception4e": (832, 14, 14),
        "maxpool4": (832, 7, 7), "inception5a": (832, 7, 7), "inception5b": (1024, 7, 7),
    }


def test_the_paper_s_googlenet_has_5x5_branches_response_norms_and_biases_and_torchvision_s_has_not():
    paper, published = (models.create(name, init=False) for name in ("googlenet_2014", "googlenet"))
    kernels = [{m.branch3[1].conv.kernel_size for m in layers(net, Inception)} for net in (paper, published)]
    assert kernels == [{(5, 5)}, {(3, 3)}]
    assert paper.order[:7] == ["conv1", "maxpool1", "norm1", "conv2", "conv3", "norm2", "maxpool2"]
    assert published.order[:5] == ["conv1", "maxpool1", "conv2", "conv3", "maxpool2"]
    assert [len(layers(net, nn.LocalResponseNorm)) for net in (paper, published)] == [2, 0]
    assert all(conv.bias is not None for conv in layers(paper, nn.Conv2d))
    assert all(conv.bias is None for conv in layers(published, nn.Conv2d))
    assert len(layers(published, nn.BatchNorm2d)) == len(layers(published, nn.Conv2d)) == 59
    assert not layers(paper, nn.BatchNorm2d)
    assert [net.maxpool4.kernel_size for net in (paper, published)] == [3, 2]


def test_the_largest_path_has_22_layers_with_weights():
    net = models.create("googlenet_2014", init=False, aux_heads=False)
    depth = sum(2 if isinstance(getattr(net, name), Inception) else hasattr(getattr(net, name), "conv")
                for name in net.order)
    assert depth + 1 == 22


@pytest.mark.parametrize(("name", "last", "heads"), [
    ("googlenet_2014", 0.4, [0.7, 0.7]), ("googlenet", 0.2, [0.7, 0.7]), ("inception_v3", 0.5, []),
    ("inception_v4", 0.2, []),
])
def test_dropout_stands_before_the_last_layers(name, last, heads):
    net = models.create(name, init=False)
    assert net.dropout.p == last
    assert sorted(m.p for m in layers(net, nn.Dropout)) == sorted([last, *heads])


def test_the_maps_of_inception_v3_are_35_17_and_8_pixels_wide():
    net = models.create("inception_v3", init=False)
    assert map_shapes(net, net.order, (3, 299, 299)) == {
        "Conv2d_1a_3x3": (32, 149, 149), "Conv2d_2a_3x3": (32, 147, 147), "Conv2d_2b_3x3": (64, 147, 147),
        "maxpool1": (64, 73, 73), "Conv2d_3b_1x1": (80, 73, 73), "Conv2d_4a_3x3": (192, 71, 71),
        "maxpool2": (192, 35, 35), "Mixed_5b": (256, 35, 35), "Mixed_5c": (288, 35, 35), "Mixed_5d": (288, 35, 35),
        **dict.fromkeys(("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), (768, 17, 17)),
        "Mixed_7a": (1280, 8, 8), "Mixed_7b": (2048, 8, 8), "Mixed_7c": (2048, 8, 8),
    }


def test_the_maps_of_inception_v4_have_the_sizes_of_figure_9():
    net = models.create("inception_v4", init=False)
    assert map_shapes(net, net.order, (3, 299, 299)) == {
        "stem_1": (64, 147, 147), "stem_2": (160, 73, 73), "stem_3": (192, 71, 71), "stem_4": (384, 35, 35),
        **dict.fromkeys(("a1", "a2", "a3", "a4"), (384, 35, 35)), "reduction_a": (1024, 17, 17),
        **{f"b{i}": (1024, 17, 17) for i in range(1, 8)}, "reduction_b": (1536, 8, 8),
        **dict.fromkeys(("c1", "c2", "c3"), (1536, 8, 8)),
    }
    assert all(not pool.count_include_pad for pool in layers(net, nn.AvgPool2d))


# --- auxiliary heads


@pytest.mark.parametrize(("name", "without", "heads"), [
    ("googlenet_2014", 6_998_552, ["aux1", "aux2"]), ("googlenet", 6_624_904, ["aux1", "aux2"]),
    ("inception_v3", 23_834_568, ["AuxLogits"]),
])
def test_aux_heads_false_leaves_the_heads_out(name, without, heads):
    net, bare = models.create(name, init=False), models.create(name, init=False, aux_heads=False)
    assert parameters(bare) == without
    assert set(net.state_dict()) - set(bare.state_dict()) == {n for n in net.state_dict() if n.split(".")[0] in heads}


def test_googlenet_returns_the_scores_of_its_heads_in_training_only():
    mg.manual_seed(0)
    net = models.googlenet(blocks=FEW, **NARROW)
    x = mg.randn(2, 3, 64, 64)
    for i, part in enumerate((net, net.aux2, net.aux1)):  # each gives its own number
        last = part.fc if part is net else part.fc2
        last.weight.detach().fill_(0)
        last.bias.detach().fill_(i)
    out = net(x)
    assert isinstance(out, GoogLeNetOutputs)
    assert out._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [o.tolist() for o in out] == [[[float(i)] * 3] * 2 for i in range(3)]
    assert net.eval()(x).tolist() == out.logits.tolist()
    assert models.googlenet(blocks=FEW, aux_heads=False, **NARROW)(x).shape == (2, 3)
    assert net.heads == {"inception4a": "aux1", "inception4d": "aux2"}


@pytest.mark.parametrize("name", ["googlenet_2014", "inception_v3"])
def test_heads_see_4x4_and_5x5_maps_at_the_paper_s_image_size(name):
    mg.manual_seed(0)
    blocks = FEW if name == "googlenet_2014" else {n: V3_BLOCKS[n] for n in ("Mixed_6a", "Mixed_6e", "Mixed_7a")}
    net = models.create(name, blocks=blocks, **NARROW)
    pooled = []
    for part in (net.aux1, net.aux2) if name == "googlenet_2014" else (net.AuxLogits,):
        part.pool.register_forward_hook(lambda _, __, y: pooled.append(y.shape[2:]))
    out = net(mg.randn(2, *models.entry(name).input_shape))
    assert isinstance(out, GoogLeNetOutputs if name == "googlenet_2014" else InceptionOutputs)
    assert [o.shape for o in out] == [(2, 3)] * (3 if name == "googlenet_2014" else 2)
    assert pooled == ([(4, 4)] * 2 if name == "googlenet_2014" else [(5, 5)])


def test_the_head_of_inception_v3_needs_images_of_299_pixels_in_training_and_the_rest_of_it_75():
    net = models.create("inception_v3", width=0.05, num_classes=4)
    assert net(mg.zeros(2, 3, 299, 299)).aux_logits.shape == (2, 4)
    with pytest.raises(ValueError, match="kernel 5x5"):
        net(mg.zeros(2, 3, 298, 299))
    assert net.eval()(mg.zeros(0, 3, 75, 75)).shape == (0, 4)
    with pytest.raises(ValueError, match="kernel 3x3"):
        net(mg.zeros(0, 3, 74, 75))


def test_the_head_of_inception_v3_reads_the_last_17x17_block():
    net = models.create("inception_v3", init=False)
    assert net.heads == {"Mixed_6e": "AuxLogits"}


@pytest.mark.parametrize(("name", "options", "message"), [
    ("googlenet", {"blocks": {"3a": BLOCKS["3a"]}}, "the heads read blocks 4a and 4d, but there is 3a"),
    ("inception_v3", {"blocks": {"Mixed_5b": V3_BLOCKS["Mixed_5b"]}}, "named Mixed_6, but there is Mixed_5b"),
    ("inception_v3", {"in_channels": 1, "transform_input": True}, "in_channels is 1"),
])
def test_options_that_make_no_sense_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.create(name, init=False, **options)


# --- the input's normalisation


def test_transform_input_turns_imagenet_s_normalisation_into_that_by_one_half():
    images = np.random.default_rng(0).random((2, 3, 4, 5))
    mean, std = (np.array(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    out = half_normalised(mg.Tensor((images - mean) / std))
    assert out.dtype == np.float64
    np.testing.assert_allclose(out.numpy(), (images - 0.5) / 0.5, atol=1e-12)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_transform_input_is_an_option_of_the_networks(name):
    mg.manual_seed(0)
    net = models.create(name, aux_heads=False, blocks={}, **NARROW).eval()
    x = mg.randn(1, 3, 75, 75)
    plain = net(half_normalised(x)).tolist()
    net.transform_input = True
    assert net(x).tolist() == plain
    assert models.create(name, init=False, transform_input=True).transform_input


# --- gradients


def small(name, **options):
    """A narrow network whose weights are large against the steps of finite differences."""
    mg.manual_seed(1)
    net = models.create(name, num_classes=3, dropout=0.0, **options)
    return net if name == "googlenet_2014" else he_(net)


def check_together(net, shape, seed=0):
    """`check_gradients` with all parameters as one input: one projection for hundreds, and so a tighter tolerance."""
    stir(net, seed).double()
    places = [(module, key) for module in net.modules() for key, p in module._parameters.items() if p is not None]
    sizes = [module._parameters[key].shape for module, key in places]
    ends = np.cumsum([0, *map(np.prod, sizes)])
    together = np.concatenate([module._parameters[key].detach().numpy().ravel() for module, key in places])
    x = mg.Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)

    def run(x, values):
        for (module, key), size, start, end in zip(places, sizes, ends[:-1], ends[1:], strict=True):
            module._parameters[key] = values[int(start) : int(end)].reshape(size)
        return net(x)

    inputs = (x, mg.Tensor(together, requires_grad=True))
    assert mg.gradcheck(run, inputs, eps=1e-7, atol=1e-6, rtol=1e-5, fast_mode=True)


def test_gradients_of_a_narrow_googlenet_end_to_end_through_both_heads():
    check_together(small("googlenet", width=1 / 32, blocks=FEW, aux_dropout=0.0), (3, 3, 64, 64))


def test_gradients_of_a_narrow_googlenet_2014_end_to_end():
    check_together(small("googlenet_2014", width=1 / 32, blocks=FEW, aux_heads=False), (2, 3, 48, 48))


def test_gradients_of_a_narrow_inception_v3_end_to_end():
    blocks = {name: V3_BLOCKS[name] for name in ("Mixed_5b", "Mixed_6a", "Mixed_6b", "Mixed_7a", "Mixed_7b")}
    check_together(small("inception_v3", width=1 / 64, blocks=blocks, aux_heads=False).eval(), (1, 3, 75, 75))


def test_gradients_of_a_narrow_inception_v4_end_to_end():
    check_together(small("inception_v4", width=1 / 64, repeats=(1, 1, 1)).eval(), (1, 3, 75, 75))


def test_gradients_of_the_head_of_inception_v3():
    mg.manual_seed(1)
    check_gradients(InceptionAux(5, 3, 1 / 64), (4, 5, 17, 17))


# --- the same in PyTorch


def unit(w, name, x, stride=1, padding=0):
    """BasicConv2d."""
    x = w.conv(f"{name}.conv", x, stride, padding)
    if f"{name}.bn.weight" in w.state:
        x = w.norm(f"{name}.bn", x, 0.001)
    return w.F.relu(x)


def torch_inception(w, x, kernel):
    """The block of GoogLeNet; a naive one where it has no reductions."""
    def branch(name, kernel):
        reduced = f"{name}.1.conv.weight" in w.state
        inner = unit(w, f"{name}.0", x) if reduced else x
        return unit(w, f"{name}.1" if reduced else f"{name}.0", inner, padding=kernel // 2)

    pooled = w.F.max_pool2d(x, 3, 1, 1)
    if "branch4.1.conv.weight" in w.state:
        pooled = unit(w, "branch4.1", pooled)
    return w.torch.cat([unit(w, "branch1", x), branch("branch2", 3), branch("branch3", kernel), pooled], 1)


def torch_googlenet_head(w, x, exact):
    x = w.F.avg_pool2d(x, 5, 3) if exact else w.F.adaptive_avg_pool2d(x, 4)
    return w.linear("fc2", w.F.relu(w.linear("fc1", unit(w, "conv", x).flatten(1))))


def torch_v3_head(w, x):
    x = unit(w, "conv1", unit(w, "conv0", w.F.avg_pool2d(x, 5, 3)))
    return w.linear("fc", w.F.adaptive_avg_pool2d(x, 1).flatten(1))


def chain(w, x, *steps):
    """Units in a row: (name, kernel) keeps the size, (name, kernel, 2) has a stride, (name, kernel, 0) no padding."""
    for name, kernel, *rest in steps:
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        if rest:
            x = unit(w, name, x, stride=rest[0] or 1)
        else:
            x = unit(w, name, x, padding=(kh // 2, kw // 2))
    return x


def average(w, x, v4):
    return w.F.avg_pool2d(x, 3, 1, 1, count_include_pad=not v4)


def torch_a(w, x, v4=False):
    middle = [("branch3x3_1", 1), ("branch3x3_2", 3)] if v4 else [("branch5x5_1", 1), ("branch5x5_2", 5)]
    return w.torch.cat([
        unit(w, "branch1x1", x), chain(w, x, *middle),
        chain(w, x, ("branch3x3dbl_1", 1), ("branch3x3dbl_2", 3), ("branch3x3dbl_3", 3)),
        unit(w, "branch_pool", average(w, x, v4)),
    ], 1)


def torch_b(w, x):
    return w.torch.cat([
        unit(w, "branch3x3", x, 2), chain(w, x, ("branch3x3dbl_1", 1), ("branch3x3dbl_2", 3), ("branch3x3dbl_3", 3, 2)),
        w.F.max_pool2d(x, 3, 2),
    ], 1)


def torch_c(w, x, v4=False):
    row, column = (1, 7), (7, 1)
    return w.torch.cat([
        unit(w, "branch1x1", x), chain(w, x, ("branch7x7_1", 1), ("branch7x7_2", row), ("branch7x7_3", column)),
        chain(w, x, ("branch7x7dbl_1", 1), ("branch7x7dbl_2", column), ("branch7x7dbl_3", row),
              ("branch7x7dbl_4", column), ("branch7x7dbl_5", row)),
        unit(w, "branch_pool", average(w, x, v4)),
    ], 1)


def torch_d(w, x):
    return w.torch.cat([
        chain(w, x, ("branch3x3_1", 1), ("branch3x3_2", 3, 2)),
        chain(w, x, ("branch7x7x3_1", 1), ("branch7x7x3_2", (1, 7)), ("branch7x7x3_3", (7, 1)),
              ("branch7x7x3_4", 3, 2)),
        w.F.max_pool2d(x, 3, 2),
    ], 1)


def torch_e(w, x, v4=False):
    long = [("branch3x3dbl_1", 1), ("branch3x3dbl_2", 3)]
    if v4:
        long = [("branch3x3dbl_1", 1), ("branch3x3dbl_2", (3, 1)), ("branch3x3dbl_3", (1, 3))]
    last = "branch3x3dbl_4" if v4 else "branch3x3dbl_3"
    short, long = unit(w, "branch3x3_1", x), chain(w, x, *long)
    return w.torch.cat([
        unit(w, "branch1x1", x), chain(w, short, ("branch3x3_2a", (1, 3))), chain(w, short, ("branch3x3_2b", (3, 1))),
        chain(w, long, (f"{last}a", (1, 3))), chain(w, long, (f"{last}b", (3, 1))),
        unit(w, "branch_pool", average(w, x, v4)),
    ], 1)


def torch_stem_3(w, x):
    return w.torch.cat([
        chain(w, x, ("short_1", 1), ("short_2", 3, 0)),
        chain(w, x, ("long_1", 1), ("long_2", (1, 7)), ("long_3", (7, 1)), ("long_4", 3, 0)),
    ], 1)


plain = partial(BasicConv2d, batch_norm=False)
v3 = {name: partial(Mixed, 6, V3_BLOCKS[name], 1 / 32) for name in V3_BLOCKS}
BLOCK_CASES = {
    "googlenet": (lambda: Inception(6, (4, 3, 5, 2, 3, 4), BasicConv2d, 3), partial(torch_inception, kernel=3)),
    "googlenet_2014": (lambda: Inception(6, (4, 3, 5, 2, 3, 4), plain, 5), partial(torch_inception, kernel=5)),
    "naive": (lambda: Inception(6, (4, None, 5, None, 3, None), plain, 5), partial(torch_inception, kernel=5)),
    "v3 Mixed_5b": (v3["Mixed_5b"], torch_a), "v3 Mixed_6a": (v3["Mixed_6a"], torch_b),
    "v3 Mixed_6b": (v3["Mixed_6b"], torch_c), "v3 Mixed_7a": (v3["Mixed_7a"], torch_d),
    "v3 Mixed_7b": (v3["Mixed_7b"], torch_e),
    "v4 A": (partial(Mixed, 6, A, 1 / 32, False), partial(torch_a, v4=True)),
    "v4 reduction_a": (partial(Mixed, 6, REDUCTION_A, 1 / 32, False), torch_b),
    "v4 B": (partial(Mixed, 6, B, 1 / 32, False), partial(torch_c, v4=True)),
    "v4 reduction_b": (partial(Mixed, 6, REDUCTION_B, 1 / 32, False), torch_d),
    "v4 C": (partial(Mixed, 6, C, 1 / 32, False), partial(torch_e, v4=True)),
    "v4 stem_3": (partial(Mixed, 6, dict(STEM)["stem_3"], 1 / 16, False), torch_stem_3),
}
HEAD_CASES = {
    "googlenet": (
        lambda: GoogLeNetAux(6, 3, BasicConv2d, nn.AdaptiveAvgPool2d(4), 0.0, 1 / 32),
        partial(torch_googlenet_head, exact=False), (4, 6, 14, 14),
    ),
    "googlenet_2014": (
        lambda: GoogLeNetAux(6, 3, plain, nn.AvgPool2d(5, 3), 0.0, 1 / 32),
        partial(torch_googlenet_head, exact=True), (4, 6, 14, 14),
    ),
    "inception_v3": (lambda: InceptionAux(6, 3, 1 / 32), torch_v3_head, (8, 6, 17, 17)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", BLOCK_CASES)
def test_a_block_is_the_one_written_in_pytorch(case, training, dtype):
    mg.manual_seed(0)
    build, theirs = BLOCK_CASES[case]
    compare_with_torch(build(), theirs, (2, 6, 9, 9), dtype, training)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", HEAD_CASES)
def test_a_head_is_the_one_written_in_pytorch(case, dtype):
    mg.manual_seed(0)
    build, theirs, shape = HEAD_CASES[case]
    compare_with_torch(build(), theirs, shape, dtype, training=True)
