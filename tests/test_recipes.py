"""Recipes: every one builds what it says and does a step; the network for CIFAR-10 that learns in few passes."""
import gzip

import numpy as np
import pytest

import minigrad as mg
from minigrad import cli, data, models, train
from minigrad.commands import run_folder, train_options
from minigrad.models.fast_cifar import whitening_filters

OFTEN = ("convnet-mnist", "allcnn_a-cifar10", "cifar10-80")  # these train through the command


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with noise in the layout of MNIST and CIFAR-10 (whose files have to have their true size)."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (root / "mnist").mkdir()
    for part, n in (("train", 64), ("t10k", 16)):
        for kind, shape in (("images-idx3", (n, 28, 28)), ("labels-idx1", (n,))):
            header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
            values = rng.integers(0, 256 if len(shape) > 1 else 10, shape, np.uint8).tobytes()
            (root / "mnist" / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + values))
    return root


def noise(dataset, n):
    """Images in place of those of a data set, 256 for training or 64 for testing."""
    shape = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}[dataset]
    rng = np.random.default_rng(n)
    mean = (0.5,) * shape[0]
    return data.Images(rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n), [*"0123456789"],
                       data.images.Conversion(mean, mean))


def options_of(name, *more):
    return cli.parser().parse_args(["train", "--recipe", name, *map(str, more)])


@pytest.mark.parametrize("name", train.RECIPES)
def test_a_recipe_consists_of_options_that_there_are_with_values_they_admit(name):
    recipe, options = train.recipe(name), vars(options_of(name))
    assert recipe.options.items() <= options.items()
    assert {"model", "dataset", "optimizer", "lr", "batch_size", "epochs", "schedule"} <= recipe.options.keys()
    parser = train_options.Parser()
    train_options.add_options(parser)
    words = []
    for key, value in recipe.options.items():
        flag = f"--{key.replace('_', '-')}"
        values = [] if isinstance(value, bool) else value if isinstance(value, list) else [value]
        words += [flag.replace("--", "--no-") if value is False else flag, *map(str, values)]
    assert vars(parser.parse_args(words)) == vars(parser.parse_args([])) | recipe.options


@pytest.mark.parametrize("name", train.RECIPES)
def test_a_recipe_builds_its_network_data_optimiser_and_schedule_and_does_a_step(name):
    options = options_of(name)
    recipe = train.recipe(name).options
    images, tests = noise(options.dataset, 64), noise(options.dataset, 16)
    mg.manual_seed(0)
    network, head, frozen = train_options.build_model(options, 10, images[0][0].shape[0], None)
    assert type(network) is type(models.create(options.model, init=False)) and head == ()
    batches, _ = train_options.build_batches(options, images, tests)
    (few, labels), = batches
    training = train_options.build_training(options, network, head, 3)
    assert batches.batch_size == recipe["batch_size"] and train_options.image_size(options) == images[0][0].shape[1]
    assert type(training.optimizer).__name__.lower() == recipe["optimizer"]
    group = training.optimizer.param_groups[0]
    if recipe["schedule"] == "constant":
        assert training.schedule is None and group["lr"] == recipe["lr"]
    elif recipe["schedule"] == "multi-step":
        rates = []
        for _ in range(recipe["epochs"]):
            rates.append(group["lr"])
            training.schedule.step()
        assert rates[199:201] == pytest.approx([0.05, 0.005]) and rates[-1] == pytest.approx(0.05e-3)
    else:
        assert training.schedule.max_lrs[0] == recipe["lr"] and recipe["lr_bias"] in training.schedule.max_lrs
        assert training.schedule.total_steps == 3 * recipe["epochs"] and frozen
    moving = [p for p in network.parameters() if p.requires_grad]
    weights = [p.detach().numpy().copy() for p in moving]
    loss, _ = train.train_epoch(network, [(few[:2], labels[:2])], training.optimizer, training.loss_function)
    assert 0 < loss < 20
    assert any((p.detach().numpy() != before).any() for p, before in zip(moving, weights, strict=True))


@pytest.mark.parametrize("name", OFTEN)
def test_a_recipe_trains_and_the_last_line_is_the_accuracy(name, tmp_path, capsys, monkeypatch, root):
    monkeypatch.setattr(run_folder, "draw", lambda *_: None)
    if "cifar" in name:
        monkeypatch.setattr(data, "load", lambda dataset, root, part, *_: noise(dataset, 64 if part else 16))
    before = mg.get_num_threads()
    code = cli.main(["train", "--recipe", name, "--epochs", "1", "--batch-size", "16", "--limit", "32", "--out",
                     str(tmp_path / "run"), "--data-root", str(root), *MILESTONES.get(name, ())])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert code == 0, err
    assert "32 training images" in lines[0] and "16 test images" in lines[0]
    assert lines[-1].startswith("test accuracy: ") and lines[-1].endswith("%")
    assert mg.get_num_threads() == before
    settings = run_folder.settings(tmp_path / "run")["options"]
    assert (settings["recipe"], settings["epochs"], settings["batch_size"]) == (name, 1, 16)
    assert settings["lr"] == train.recipe(name).options["lr"]


MILESTONES = {"allcnn_a-cifar10": ("--milestones", "1")}


def test_what_stands_on_the_command_line_goes_before_the_recipe_wherever_it_stands():
    after = options_of("cifar10-80", "--epochs", 20, "--no-flip", "--lr", 0.1)  # 20 is the default without a recipe
    before = cli.parser().parse_args(["train", "--epochs", "20", "--no-flip", "--lr", "0.1", "--recipe", "cifar10-80"])
    assert vars(after) == vars(before)
    assert (after.epochs, after.flip, after.lr, after.model) == (20, False, 0.1, "fast_cifar")
    assert cli.parser().parse_args(["train"]).model == "lenet5_modern"


def test_an_unknown_recipe_is_told_with_the_known_ones(capsys):
    assert cli.main(["train", "--recipe", "convnet_mnist"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("minigrad train: unknown recipe 'convnet_mnist'; there is convnet-mnist, ")
    assert all(name in err for name in train.RECIPES) and len(err.splitlines()) == 1


def test_a_run_cannot_be_resumed_with_a_recipe(capsys, tmp_path):
    run_folder.begin(tmp_path, train_options.saved_form(cli.parser().parse_args(["train"])), data.digits(size=32))
    assert cli.main(["train", "--resume", str(tmp_path), "--recipe", "nin-cifar10"]) == 2
    assert "--recipe cannot be given with it" in capsys.readouterr().err


def test_the_command_lists_every_recipe_with_its_bar(capsys):
    assert cli.main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*train.RECIPES]
    assert "97.77%" in lines[0] and "convnet " in lines[0]


# --- what recipes brought with them


def test_some_examples_are_spread_evenly_and_converted_as_before():
    images = noise("mnist", 64)
    few = data.Some(images, 16)
    assert len(few) == 16 and few.classes == images.classes
    assert all((few[i][0] == images[4 * i][0]).all() and few[i][1] == images[4 * i][1] for i in range(16))
    (x, y), = data.DataLoader(few, 16)
    np.testing.assert_array_equal(x.numpy(), images[::4][0])
    np.testing.assert_array_equal(y.numpy(), images[::4][1])
    np.testing.assert_array_equal(few[:5][1], images[:20:4][1])
    assert len(data.Some(images, 1000)) == 64


def test_a_shift_fills_with_the_mirror_image():
    image = np.arange(36, dtype=np.uint8).reshape(1, 1, 6, 6)
    moved = data.transforms.RandomShift(2, "reflect")(image.repeat(40, 0), np.random.default_rng(0))
    wide = np.pad(image[0, 0], 2, "reflect")
    windows = [wide[i : i + 6, j : j + 6].tobytes() for i in range(5) for j in range(5)]
    assert {m.tobytes() for m in moved} <= set(windows) and len({m.tobytes() for m in moved}) > 10
    with pytest.raises(ValueError, match="fill must be 'dark' or 'reflect', got 'wrap'"):
        data.transforms.RandomShift(2, "wrap")


def test_biases_may_have_a_rate_of_their_own():
    net = models.create("fast_cifar", init=False)
    groups = train.parameter_groups(net, 0.1, bias_lr=3.0)
    names = {id(p): name for name, p in net.named_parameters()}
    rates = {names[id(p)]: (group.get("lr"), group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(rates) == len(names)
    for name, found in rates.items():
        assert found == ((3.0, 0.0) if name.endswith("bias") else (None, 0.0 if "norm" in name else 0.1)), name
    head = train.parameter_groups(net, 0.0, ["layers.pair1.norm1.bias"], 7.0, bias_lr=3.0)
    assert [group["lr"] for group in head if "lr" in group] == [7.0, 3.0]


def test_the_first_filters_whiten_the_patches_of_the_images_they_were_made_from():
    rng = np.random.default_rng(0)
    images = np.cumsum(rng.standard_normal((50, 3, 9, 9), dtype=np.float32), 3) + rng.standard_normal((50, 1, 1, 1))
    images = images.astype(np.float32)
    net = models.create("fast_cifar")
    net.prepare(images)
    y = mg.conv2d(mg.tensor(images), net.layers[0].weight.detach()).numpy()
    assert y.shape == (50, 24, 8, 8)
    np.testing.assert_allclose(y[:, 12:], -y[:, :12], atol=1e-6)
    flat = y[:, :12].transpose(1, 0, 2, 3).reshape(12, -1).astype(np.float64)
    np.testing.assert_allclose(flat @ flat.T / flat.shape[1], np.eye(12), atol=2e-2)
    assert whitening_filters(images, 2).shape == (12, 3, 2, 2) and not net.layers[0].bias.detach().numpy().any()


def test_the_command_prepares_the_first_filters_and_keeps_them(monkeypatch, tmp_path):
    monkeypatch.setattr(run_folder, "draw", lambda *_: None)
    images = noise("cifar10", 64)
    monkeypatch.setattr(data, "load", lambda dataset, root, part, *_: images)
    assert cli.main(["train", "--recipe", "cifar10-80", "--epochs", "1", "--batch-size", "32", "--ema", "0.5",
                     "--out", str(tmp_path)]) == 0
    weights = mg.load(tmp_path / "model.safetensors")
    filters = whitening_filters(images[:][0], 2)
    np.testing.assert_allclose(weights["layers.whiten.weight"].numpy()[:12], filters, rtol=1e-5, atol=1e-5)
    assert (weights["layers.pair1.norm1.weight"].numpy() == 1).all()
    assert weights["layers.pair1.norm1.bias"].numpy().any() and weights["layers.whiten.bias"].numpy().any()


def test_convolutions_begin_as_the_identity_and_scores_are_small():
    mg.manual_seed(0)
    net = models.create("fast_cifar")
    conv = net.layers[2][0]
    x = mg.randn(2, 24, 5, 5)
    np.testing.assert_array_equal(conv(x).detach().numpy()[:, :24], x.numpy())
    assert conv.weight.detach().numpy()[24:].any(axis=(1, 2, 3)).all()
    net.eval()
    images = mg.randn(2, 3, 32, 32)
    inner = net.linear(net.layers(images))
    np.testing.assert_allclose(net(images).detach().numpy() * 9, inner.detach().numpy(), rtol=1e-5)
