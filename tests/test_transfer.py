"""Transfer learning, `minigrad eval` and `minigrad predict`, as a user calls them."""
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import cli, data, models, nn, train
from minigrad.commands import run_folder


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = cli.main([*map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two small runs on digits."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "draw", lambda *_: None)
        for seed in (0, 1):
            assert cli.main(["train", "--epochs", "2", "--batch-size", "64", "--seed", str(seed), "--out",
                             str(folder / str(seed))]) == 0
    return folder / "0", folder / "1"


def test_an_evaluation_counts_top_1_top_5_and_confusions():
    scores = np.array([[9, 8, 7, 6, 5, 4, 3], [9, 8, 7, 6, 5, 4, 3], [9, 8, 7, 6, 5, 4, 3], [0, 0, 0, 0, 0, 0, 0]],
                      np.float32)
    labels = np.array([0, 4, 5, 5])
    found = train.evaluate(nn.Identity(), [(mg.tensor(scores[:3]), mg.tensor(labels[:3])),
                                           (mg.tensor(scores[3:]), mg.tensor(labels[3:]))])
    assert found.accuracy == 0.25 and found.top5 == 0.5
    assert found.confusion.sum() == 4 and found.confusion[0, 0] == 1 == found.confusion[4, 0]
    assert found.confusion[5, 0] == 2  # among equal scores the first is the best, and the sixth is not among five
    loss = mg.cross_entropy(mg.tensor(scores), mg.tensor(labels)).item()
    assert found.loss == pytest.approx(loss, rel=1e-6)


def test_an_ensemble_gives_the_mean_of_the_probabilities():
    mg.manual_seed(0)
    networks = [nn.Linear(3, 4).double() for _ in range(3)]
    x = mg.randn(5, 3, dtype="float64")
    mean = sum(net(x).softmax(1).detach().numpy() for net in networks) / 3
    np.testing.assert_allclose(train.Ensemble(networks)(x).softmax(1).detach().numpy(), mean, rtol=1e-12)


def test_eval_of_one_run_says_what_training_said(capsys, runs):
    code, out, _ = run(capsys, "eval", runs[0])
    with open(runs[0] / "history.csv", encoding="utf-8") as file:
        accuracy = float(file.read().splitlines()[-1].split(",")[4])
    assert code == 0 and out.splitlines()[-1] == f"test accuracy: {accuracy:.2%}"
    assert re.fullmatch(rf"{runs[0]}: loss \d\.\d{{4}}, top-1 {accuracy:.2%}, top-5 \d+\.\d\d% of 360 images",
                        out.splitlines()[0])


def test_eval_of_several_lets_them_vote(capsys, runs, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, _ = run(capsys, "eval", *runs, "--confusion", tmp_path / "confusion.png")
    lines = out.splitlines()
    assert code == 0 and lines[2].startswith("the mean of 2: loss") and lines[3].startswith("test accuracy")
    networks = [run_folder.network(folder, run_folder.settings(folder)) for folder in runs]
    images, labels = data.digits(train=False, size=32)[:]
    shares = sum(net(mg.tensor(images)).softmax(1).detach().numpy() for net in networks)
    assert lines[3] == f"test accuracy: {np.mean(shares.argmax(1) == labels):.2%}"
    assert (tmp_path / "confusion.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_predict_names_the_classes_of_pictures(capsys, runs, tmp_path):
    image = pytest.importorskip("PIL.Image")
    settings = run_folder.settings(runs[0])
    net = run_folder.network(runs[0], settings)
    images, _ = data.digits(train=False, size=32)[:3]
    shares = net(mg.tensor(images)).softmax(1).detach().numpy()
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, pixels in zip(paths, images, strict=True):
        grey = np.rint((pixels[0] * settings["std"][0] + settings["mean"][0]) * 255).clip(0, 255).astype(np.uint8)
        image.fromarray(255 - grey).convert("RGB").save(path)  # dark ink, in colour
    code, out, _ = run(capsys, "predict", runs[0], *paths, "--invert", "--top", 2)
    assert code == 0
    for line, path, expected in zip(out.splitlines(), paths, shares, strict=True):
        best = np.argsort(-expected)[:2]
        found = re.fullmatch(rf"{path}: (\d) (\d+\.\d\d)%, (\d) (\d+\.\d\d)%", line)
        assert [int(found[1]), int(found[3])] == best.tolist()
        np.testing.assert_allclose([float(found[2]), float(found[4])], 100 * expected[best], atol=0.5)


def test_weights_of_pytorch_get_a_new_head_and_only_that_is_trained(capsys, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(run_folder, "draw", lambda *_: None)
    mg.manual_seed(5)
    net = models.create("resnet18", num_classes=7, in_channels=1)  # the names are torchvision's
    state = {name: torch.tensor(t.numpy().copy()) for name, t in net.state_dict().items()}
    torch.save(state, tmp_path / "resnet18.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    for part, n in (("train", 20), ("t10k", 10)):
        for kind, array in (("images-idx3", pixels[:n]), ("labels-idx1", np.arange(n) % 10)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    options = ("--model", "resnet18", "--dataset", "mnist", "--data-root", tmp_path, "--size", 32, "--epochs", 1,
               "--weights", tmp_path / "resnet18.pth", "--batch-size", 20)
    code, out, err = run(capsys, "train", *options, "--freeze", "*", "--lr-head", 0.1, "--out", tmp_path / "frozen")
    assert code == 0 and "11,170,240 of them frozen" in out, (out, err)
    after = mg.load(tmp_path / "frozen" / "model.safetensors")
    assert after["fc.weight"].shape == (10, 512)
    assert all((after[name].numpy() == t.numpy()).all() for name, t in state.items() if not name.startswith("fc."))
    (tmp_path / "resnet18.pth").unlink()  # the checkpoint has everything
    assert run(capsys, "train", "--resume", tmp_path / "frozen")[0] == 0


def test_patterns_choose_what_is_frozen_and_the_head_is_not():
    net = models.create("resnet18", init=False)
    chosen = train.freeze(net, ["layer[12].*", "*bn1*", "fc.*"], keep=models.head("resnet18"))
    assert chosen == [name for name, p in net.named_parameters() if not p.requires_grad]
    assert {name.split(".")[0] for name in chosen} == {"bn1", "layer1", "layer2", "layer3", "layer4"}
    assert "layer3.0.bn1.weight" in chosen and "layer3.0.bn2.weight" not in chosen


def test_the_head_has_a_rate_of_its_own_and_biases_do_not_decay():
    net = models.create("lenet5_modern")
    head = models.head("lenet5_modern")
    groups = train.parameter_groups(net, 0.1, head, 0.5)
    named = {id(p): name for name, p in net.named_parameters()}
    assert [(g.get("lr"), g["weight_decay"], len(g["params"])) for g in groups] == [
        (0.5, 0.1, 1), (0.5, 0.0, 1), (None, 0.1, 4), (None, 0.0, 4)]
    assert {named[id(p)] for g in groups[:2] for p in g["params"]} == head
    assert all(p.ndim == 1 for g in groups if not g["weight_decay"] for p in g["params"])


def test_pretraining_helps_where_there_is_little_to_learn_from():
    """A network trained on half of the classes, frozen but for its head, learns the others from 20 images better."""
    images, labels = data.digits(train=True, size=8)[:]
    test_images, test_labels = data.digits(train=False, size=8)[:]

    def part(images, labels, first, n):
        chosen = np.flatnonzero((labels >= first) & (labels < first + 5))[:n]
        return data.TensorDataset(images[chosen], labels[chosen] - first)

    def fit(net, dataset, epochs):
        training = train.Training(net, mg.optim.Adam(train.parameter_groups(net), lr=0.01))
        training.fit(data.DataLoader(dataset, 20, shuffle=True, seed=0),
                     data.DataLoader(part(test_images, test_labels, 5, None), 256), epochs)
        return training.evaluation.accuracy

    def make(seed):
        mg.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.ReLU(), nn.Flatten(),
                             nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 5))

    net = make(0)
    fit(net, part(images, labels, 0, None), 8)
    transferred, few = make(1), part(images, labels, 5, 20)
    state = {name: t for name, t in net.state_dict().items() if not name.startswith("7.")}
    transferred.load_state_dict(state, strict=False)
    train.freeze(transferred, ["0.*", "2.*"])
    assert fit(transferred, few, 15) > 0.6


@pytest.mark.parametrize(("arguments", "message"), [
    (("eval", "/nowhere"), "minigrad eval: /nowhere is no run folder"),
    (("eval", "RUN", "OTHER"), "has another image size than"),
    (("eval", "EMPTY"), "no model.safetensors yet; go on with minigrad train --resume"),
    (("predict", "RUN", "/nowhere.png"), "minigrad predict: /nowhere.png: No such file"),
    (("predict", "RUN", __file__), "not a picture that Pillow can read"),
    (("predict", "RUN"), "required: IMAGE"),
    (("eval",), "required: RUN"),
])
def test_a_mistake_is_one_line_and_exit_code_2(capsys, tmp_path, runs, arguments, message):
    pytest.importorskip("PIL")
    for name in ("OTHER", "EMPTY"):
        (tmp_path / name).mkdir()
    text = (runs[0] / "run.json").read_text()
    (tmp_path / "EMPTY" / "run.json").write_text(text)
    (tmp_path / "OTHER" / "run.json").write_text(re.sub(r"32,\s+32", "28, 28", text))
    (tmp_path / "OTHER" / "model.safetensors").write_bytes((runs[0] / "model.safetensors").read_bytes())
    places = {"RUN": runs[0], "OTHER": tmp_path / "OTHER", "EMPTY": tmp_path / "EMPTY"}
    code, out, err = run(capsys, *(places.get(a, a) for a in arguments))
    assert code == 2 and out == "" and message in err and len(err.splitlines()) == 1, err
