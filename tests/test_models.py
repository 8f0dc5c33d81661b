"""Every architecture: its published number of parameters, gradients, learning, torchvision's names."""
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from whole_networks import check_gradients

import minigrad as mg
from minigrad import models, nn
from minigrad.train import training_loss

# Trainable parameters, biases included, with all auxiliary heads
PARAMETERS = {
    "convnet": 4_266, "convnet_allconv": 6_006, "lenet5": 60_000, "lenet5_modern": 61_706,
    "residual_identity": 7_960, "residual_resized": 17_986,
    "alexnet_2012": 60_965_224, "alexnet_cs231n": 62_378_344, "alexnet": 61_100_840, "alexnet_bn": 61_119_528,
    "zfnet": 62_357_608, "zfnet_wide": 107_627_624,
    "vgg_a": 132_863_336, "vgg_a_lrn": 132_863_336, "vgg_b": 133_047_848, "vgg_c": 133_638_952,
    "vgg_d": 138_357_544, "vgg_e": 143_667_240,
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
    "vgg16_cifar": 33_638_218,
    "nin_cifar": 966_986, "nin_imagenet": 7_595_176, "nin_imagenet_bn": 7_605_688,
    **{f"allcnn_{letter}{variant}": count for letter, small, large in (
        ("a", 839_242, 1_254_250), ("b", 885_610, 1_300_618), ("c", 954_730, 1_369_738),
    ) for variant, count in (("", small), ("_strided", small), ("_convpool", large), ("_all", large))},
    "allcnn_imagenet": 9_372_840,
    "googlenet_2014": 13_378_280, "googlenet": 13_004_888, "inception_v3": 27_161_264, "inception_v4": 42_679_816,
    "inception_block_naive": 1_089_952, "inception_block_reduced": 346_720,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "plain18": 11_515_688, "plain34": 21_623_848, "resnet18_cifar": 11_173_962,
    **{f"{kind}{depth}_cifar": count for kind in ("resnet", "plain") for depth, count in (
        (20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962),
    )},
    "densenet121": 7_978_856, "densenet161": 28_681_000, "densenet169": 14_149_480, "densenet201": 20_013_928,
    "enet": 467_156, "fast_cifar": 1_972_792, "fast_cifar_wide": 4_606_520,
}
WITHOUT_HEADS = {"googlenet_2014": 6_998_552, "inception_v3": 23_834_568}

# The smallest images that a network with adaptive or global pooling admits, where its own are larger
SMALLEST = {
    "alexnet": 63, **{f"vgg{depth}{bn}": 32 for depth in (11, 13, 16, 19) for bn in ("", "_bn")},
    **{name: 64 for name in models.list() if name.startswith(("resnet", "plain", "densenet")) and "_" not in name},
    "enet": 64, "googlenet": 64, "inception_v4": 75, "nin_imagenet": 112, "nin_imagenet_bn": 112,
    "allcnn_imagenet": 112,
}
BLOCKS = ("inception_block_naive", "inception_block_reduced")  # parts of a network: feature maps out

FACTS = json.loads(gzip.decompress((Path(__file__).parent / "data" / "torchvision_state_dicts.json.gz").read_bytes()))
TORCHVISION = [name for name in FACTS if name in models.CATALOGUE]


def count(model):
    return sum(p.numel() for p in model.parameters())


def input_shape(name):
    """C x H x W, as small as the network admits."""
    channels, *size = models.entry(name).input_shape
    return channels, *((SMALLEST[name],) * 2 if name in SMALLEST else size)


def has_batch_norm(model):
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_the_catalogue_has_every_network_of_the_lectures_and_no_other():
    assert sorted(models.list()) == sorted(PARAMETERS)


@pytest.mark.parametrize("name", models.list())
def test_the_number_of_parameters_is_the_published_one(name):
    assert count(models.create(name, init=False)) == PARAMETERS[name]


@pytest.mark.parametrize("name", WITHOUT_HEADS)
def test_the_number_of_parameters_without_auxiliary_heads(name):
    assert count(models.create(name, init=False, aux_heads=False)) == WITHOUT_HEADS[name]


@pytest.mark.parametrize("name", [name for name in models.list() if name not in BLOCKS])
def test_num_classes_and_in_channels(name):
    channels, *size = input_shape(name)
    model = models.create(name, 7, channels + 1, init=False).eval()
    assert model(mg.zeros(0, channels + 1, *size)).shape == (0, 7)
    classes = 1000 if max(models.entry(name).input_shape) > 200 else 10
    assert models.create(name, init=False).eval()(mg.zeros(0, channels, *size)).shape == (0, classes)


@pytest.mark.parametrize("name", models.list())
def test_it_computes_gradients_and_its_loss_falls_on_a_repeated_batch(name):
    mg.manual_seed(0)
    model = models.create(name)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # its noise is tested with its layer; here it would hide whether the loss falls
    labels = mg.tensor([1, 2] if has_batch_norm(model) else [1])
    x = mg.randn(len(labels), *input_shape(name))

    def batch_loss():
        outputs = model(x)
        return (outputs * outputs).mean() if name in BLOCKS else training_loss(outputs, labels)

    before = batch_loss()
    before.backward()
    squares = 0.0
    for parameter_name, p in model.named_parameters():
        assert p.grad is not None and np.isfinite(p.grad.numpy()).all(), parameter_name
        squares += float(np.square(p.grad.numpy(), dtype=np.float64).sum())
    assert squares > 0
    assert falls(model, batch_loss, before.item(), squares)


def falls(model, batch_loss, before, squares):
    """Whether a step down the gradient lowers the loss by a fourth of what the gradient promises, or more.

    The first step would lower a linear loss to 0.9 of it; each further one is half as long (Armijo's rule).
    """
    moved = 0.0
    for step in 0.1 * before / squares * 0.5 ** np.arange(12):
        for p in model.parameters():
            p.detach().sub_(p.grad * float(step - moved))
        moved = step
        with mg.no_grad():
            if batch_loss().item() < before - 0.25 * step * squares:
                return True
    return False


@pytest.mark.parametrize("name", ["convnet", "convnet_allconv", "lenet5_modern"])
def test_the_small_networks_have_the_gradients_of_finite_differences(name):
    mg.manual_seed(0)
    check_gradients(models.create(name), (1, *models.entry(name).input_shape))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_state_dict_loads_strictly(name):
    shapes = {key: tuple(shape) for key, shape in FACTS[name]["state_dict"].items()}
    model = models.create(name, init=False)
    assert {key: t.shape for key, t in model.state_dict().items()} == shapes
    assert list(model.state_dict()) == list(shapes)
    assert count(model) == FACTS[name]["parameters"] == PARAMETERS[name]
    state = {key: np.broadcast_to(np.float32(i), shape) for i, (key, shape) in enumerate(shapes.items())}
    assert model.load_state_dict(state) == ([], [])
    assert all((t == i).all().item() for i, t in enumerate(model.state_dict().values()))


def test_torchvisions_networks_are_all_here():
    assert set(FACTS) - set(TORCHVISION) == {"squeezenet1_0", "squeezenet1_1"}


# --- the catalogue


def test_the_catalogue_lists_what_create_builds():
    assert models.entry("convnet").input_shape == (1, 28, 28)
    assert repr(models.create("convnet", 3)) == repr(models.convnet(3)) == repr(models.convnet(num_classes=3))
    assert models.resnet18.__name__ == "resnet18"
    for look_up in (models.create, models.entry):
        with pytest.raises(ValueError, match=r"unknown model 'resnet19'; there is resnet18, .*[.][.][.]"):
            look_up("resnet19")
        with pytest.raises(ValueError, match=r"unknown model 'x'; there is convnet, .*, fast_cifar_wide$"):
            look_up("x")
    with pytest.raises(TypeError, match="colour"):
        models.create("convnet", colour="red")


def test_a_network_without_initial_values_is_zero_but_for_factors():
    model = models.create("resnet18_cifar", init=False)
    assert {name.rpartition(".")[2] for name, p in model.named_parameters() if p.detach().numpy().any()} == {"weight"}
    assert not model.conv1.weight.detach().numpy().any()
    assert (model.bn1.weight == 1).all().item()


@pytest.mark.parametrize("name", ["convnet", "lenet5_modern"])
def test_another_image_size_is_an_error(name):
    channels, height, width = models.entry(name).input_shape
    with pytest.raises(ValueError, match=r"Linear|Conv2d"):
        models.create(name)(mg.zeros(1, channels, height + 9, width + 9))


@pytest.mark.parametrize("name", ["convnet", "lenet5", "residual_identity", "nin_cifar", "resnet20_cifar"])
def test_saved_weights_give_the_same_scores(name, tmp_path):
    mg.manual_seed(0)
    model, other = models.create(name).eval(), models.create(name).eval()
    x = mg.randn(2, *models.entry(name).input_shape)
    mg.save(model.state_dict(), tmp_path / "weights.safetensors")
    assert other(x).tolist() != model(x).tolist()
    assert other.load_state_dict(mg.load(tmp_path / "weights.safetensors")) == ([], [])
    assert other(x).tolist() == model(x).tolist()
    loaded = models.create(name, weights=tmp_path / "weights.safetensors").eval()
    assert loaded(x).tolist() == model(x).tolist()
