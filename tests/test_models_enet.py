"""ENet's encoder: its stages, bottlenecks and dropout, its parameters, gradients, and PyTorch's version."""
import numpy as np
import pytest
from whole_networks import check_gradients, compare_with_torch, map_shapes

import minigrad as mg
from minigrad import models, nn
from minigrad.models.enet import SECTION, Bottleneck, InitialBlock

STAGES = {"bottleneck1": 5, "bottleneck2": 9, "bottleneck3": 8}
SHORT = (("asymmetric", 5), ("dilated", 2))
SMALL = {"width": 4, "layers": (1, 1), "section": SHORT, "num_classes": 5, "dropout": (0.0, 0.0)}


def small(**options):
    mg.manual_seed(1)
    return models.create("enet", **{**SMALL, **options})


@pytest.fixture(scope="module")
def enet():
    return models.create("enet", init=False)


def test_the_stages_have_the_sizes_of_table_1(enet):
    names = [n for n, _ in enet.named_children() if n.startswith("bottleneck")]
    assert {stage: sum(n.startswith(stage) for n in names) for stage in STAGES} == STAGES
    for size in (512, 224):  # the paper's, and that of ImageNet
        shapes = map_shapes(enet, ["initial", *names], (3, size, size))
        assert shapes.pop("initial") == (16, size // 2, size // 2)
        for name, shape in shapes.items():
            maps, part = (64, 4) if name.startswith("bottleneck1") else (128, 8)
            assert shape == (maps, size // part, size // part), name
    assert map_shapes(enet, ["initial.conv", "initial.pool"], (3, 224, 224)) == {
        "initial.conv": (13, 112, 112), "initial.pool": (3, 112, 112),
    }


def test_stages_2_and_3_alternate_regular_dilated_and_asymmetric_convolutions(enet):
    def kind(conv):
        if isinstance(conv, nn.Conv2d):
            return ("regular", 3) if conv.dilation == (1, 1) else ("dilated", conv.dilation[0])
        assert [c.kernel_size for c in conv] == [(5, 1), (1, 5)]
        return "asymmetric", 5

    for stage in (2, 3):
        assert tuple(kind(getattr(enet, f"bottleneck{stage}_{i}").branch.conv) for i in range(1, 9)) == SECTION
    assert [size for name, size in SECTION if name == "dilated"] == [2, 4, 8, 16]
    assert all(kind(getattr(enet, f"bottleneck1_{i}").branch.conv) == ("regular", 3) for i in range(5))
    downsampling = [n for n, m in enet.named_children() if isinstance(m, Bottleneck) and m.pool is not None]
    assert downsampling == ["bottleneck1_0", "bottleneck2_0"]
    assert all(getattr(enet, n).branch.reduce.kernel_size == (2, 2) for n in downsampling)


def test_spatial_dropout_is_weak_in_stage_1_and_stronger_after_it(enet):
    p = {n: m.p for n, m in enet.named_modules() if isinstance(m, nn.Dropout2d)}
    assert p == {
        f"bottleneck{i}_{j}.branch.dropout": 0.01 if i == 1 else 0.1
        for i, js in ((1, range(5)), (2, range(9)), (3, range(1, 9))) for j in js
    }


def test_projections_have_no_bias(enet):
    ends = [m for n, m in enet.named_modules() if n.endswith((".reduce", ".expand"))]
    assert len(ends) == 2 * 22
    assert all(m.bias is None for m in ends)


def test_the_encoder_has_338156_parameters_and_with_its_decoder_0_36_million(enet):
    total, head = (sum(p.numel() for p in m.parameters()) for m in (enet, enet.linear))
    assert (total, head, total - head) == (467_156, 129_000, 338_156)

    def bottleneck(c, oc, upsampling):
        """Weights of a decoder bottleneck: 1x1, 3x3 with biases and 1x1, batch norm after each; a 1x1 shortcut."""
        m = oc // 4
        return c * m + 9 * m * m + m + m * oc + 2 * (2 * m + oc) + upsampling * (c * oc + 2 * oc)

    decoder = bottleneck(128, 64, 1) + 2 * bottleneck(64, 64, 0) + bottleneck(64, 16, 1) + bottleneck(16, 16, 0)
    classes = 20
    assert total - head + decoder + 16 * classes * 4 + classes == 364_376


def test_a_bottleneck_without_a_branch_is_prelu_of_its_input_with_zero_maps():
    x = mg.randn(2, 4, 6, 6)
    with mg.no_grad():
        for downsample, channels in ((False, 4), (False, 8), (True, 8)):
            block = Bottleneck(4, channels, 0.1, downsample=downsample)
            nn.init.constant_(block.branch.expand.weight, 0.0)
            y = block(x).numpy()
            kept = (nn.MaxPool2d(2)(x) if downsample else x).numpy()
            assert np.array_equal(y[:, :4], np.where(kept > 0, kept, np.float32(0.25) * kept))
            assert not y[:, 4:].any()


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_small_network(training):
    check_gradients(small().train(training), (3, 3, 16, 16))
    check_gradients(small(in_channels=1, section=(("regular", 3),)).train(training), (3, 1, 16, 16))


# --- the same in PyTorch


def torch_bottleneck(w, prefix, x, kind="regular", size=3, downsample=False):
    """A bottleneck."""
    F, n, eps = w.F, f"{prefix}branch.", 1e-3
    y = w.prelu(f"{n}act1", w.norm(f"{n}norm1", w.conv(f"{n}reduce", x, 2 if downsample else 1), eps))
    if kind == "asymmetric":
        y = w.conv(f"{n}conv.1", w.conv(f"{n}conv.0", y, 1, (size // 2, 0)), 1, (0, size // 2))
    else:
        reach = size if kind == "dilated" else 1
        y = w.conv(f"{n}conv", y, 1, reach, reach)
    y = w.prelu(f"{n}act2", w.norm(f"{n}norm2", y, eps))
    y = w.norm(f"{n}norm3", w.conv(f"{n}expand", y), eps)
    x = F.max_pool2d(x, 2) if downsample else x
    zeros = w.torch.zeros(x.shape[0], y.shape[1] - x.shape[1], *x.shape[2:], dtype=x.dtype)
    return w.prelu(f"{prefix}act", y + w.torch.cat([x, zeros], 1))


def torch_enet(w, x):
    """The small network."""
    x = w.torch.cat([w.conv("initial.conv", x, 2, 1), w.F.max_pool2d(x, 2)], 1)
    x = w.prelu("initial.act", w.norm("initial.norm", x, 1e-3))
    x = torch_bottleneck(w, "bottleneck1_0.", x, downsample=True)
    x = torch_bottleneck(w, "bottleneck1_1.", x)
    x = torch_bottleneck(w, "bottleneck2_0.", x, downsample=True)
    for i, (kind, size) in enumerate(SHORT, 1):
        x = torch_bottleneck(w, f"bottleneck2_{i}.", x, kind, size)
    return w.linear("linear", x.mean((2, 3)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_network_agrees_with_pytorch(dtype, training):
    compare_with_torch(small(), torch_enet, (3, 3, 32, 24), dtype, training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "size", "downsample"), [
    ("regular", 3, False), ("regular", 3, True), ("dilated", 2, False), ("dilated", 8, False), ("asymmetric", 5, False),
])
def test_bottlenecks_agree_with_pytorch(kind, size, downsample, dtype, training):
    mg.manual_seed(2)
    channels = 8 if downsample else 16
    compare_with_torch(
        Bottleneck(channels, 16, 0.0, kind, size, downsample),
        lambda w, x: torch_bottleneck(w, "", x, kind, size, downsample), (3, channels, 10, 8), dtype, training,
    )


# --- options


def test_fewer_input_channels_leave_more_maps_for_the_first_convolution():
    assert InitialBlock(1, 16).conv.out_channels == 15
    assert InitialBlock(1, 16)(mg.zeros(2, 1, 8, 8)).shape == (2, 16, 4, 4)
    assert small(in_channels=1, num_classes=3)(mg.zeros(2, 1, 16, 16)).shape == (2, 3)


@pytest.mark.parametrize(("options", "message"), [
    ({"in_channels": 16}, "enet: in_channels must be below width = 16, got 16"),
    ({"section": (("round", 3),)}, "enet: a bottleneck must be regular, dilated or asymmetric, got 'round'"),
])
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("enet", **options)
