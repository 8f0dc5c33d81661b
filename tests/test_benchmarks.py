"""The benchmark scripts run on tiny work, and their parts are right: the exact results, the twins in PyTorch."""
import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_scripts import BENCHMARKS, FAST, result, script, sides_in_process, torch_peer  # noqa: F401 (a fixture)

import common  # isort: skip
import inference  # isort: skip
import layers  # isort: skip
import problems  # isort: skip
import run_all  # isort: skip
import shapes  # isort: skip
import speed_table  # isort: skip
import startup  # isort: skip
import train_step  # isort: skip

import minigrad
from minigrad.kernels import conv as conv_table
from minigrad.kernels.conv import reference

FILES = sorted(BENCHMARKS.glob("*.py"))
SPECS = {
    "strided, padded": {"x": (2, 3, 7, 6), "w": (4, 3, 3, 2), "stride": 2, "padding": 1, "groups": 1},
    "depthwise": {"x": (2, 4, 6, 5), "w": (4, 1, 3, 3), "stride": 1, "padding": 1, "groups": 4},
    "grouped": {"x": (1, 4, 5, 5), "w": (6, 2, 2, 2), "stride": 1, "padding": 0, "groups": 2},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_scripts_are_small_and_say_what_they_are_for(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= 400
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("flip", [False, True])
def test_the_exact_results_are_those_of_the_reference(name, flip):
    spec = SPECS[name]
    x, w, gy = (array.astype("float64") for array in problems.data(spec))
    p = conv_table.conv_params(spec["x"], spec["w"], spec["stride"], spec["padding"], 1, spec["groups"])
    assert conv_table.conv_output_shape(x.shape, w.shape, p) == gy.shape
    turned = w[:, :, ::-1, ::-1] if flip else w
    gw = reference.grad_weight(x, gy, p, w.shape)
    expected = {
        "forward": reference.forward(x, turned, p), "grad_input": reference.grad_input(gy, turned, p, x.shape),
        "grad_weight": gw[:, :, ::-1, ::-1] if flip else gw,
    }
    exact = problems.exact(spec, flip)
    for which in problems.PASSES:
        np.testing.assert_allclose(exact[which], expected[which], rtol=1e-12, atol=1e-12)


def test_multiplications_and_bytes_of_a_convolution():
    spec = shapes.spec(shapes.three(64, 56, 128, stride=2), 8)
    assert problems.output_shape(spec) == (8, 128, 28, 28)
    assert problems.macs(spec) == 8 * 128 * 28 * 28 * 64 * 9
    assert problems.traffic(spec) == 4 * (8 * 64 * 56 * 56 + 128 * 64 * 9 + 8 * 128 * 28 * 28)
    assert shapes.kind(shapes.depthwise(8, 6)) == "depthwise"
    assert shapes.kind(shapes.STEM) == "7x7/2"


@pytest.mark.parametrize(("name", "model"), [("vgg16", "vgg16"), ("resnet18", "resnet18"), ("resnet50", "resnet50")])
def test_the_shapes_are_those_of_the_networks(name, model):
    from minigrad import models, nn
    from minigrad.inspect import summary

    net = models.create(model, init=False)
    convolutions = {n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    expected = sum(row.multiplications for row in summary(net, (3, 224, 224)) if row.name in convolutions)
    assert sum(problems.macs(shapes.spec(layer, 1)) * layer.count for layer in shapes.SETS[name][1]) == expected
    assert sum(layer.count for layer in shapes.SETS[name][1]) == len(convolutions)


def test_medians_quartiles_and_means():
    assert common.spread([3.0, 1.0, 2.0, 5.0, 4.0]) == {"low": 2.0, "median": 3.0, "high": 4.0}
    assert common.spread([2.0]) == {"low": 2.0, "median": 2.0, "high": 2.0}
    assert common.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert common.geometric_mean([]) is None
    assert common.best({"a": 2.0, "b": 1.0, "c": None}) == "b"


def test_alternate_goes_forth_and_back():
    calls = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def ask(self, request, labels, seconds):
            calls.append((self.name, seconds))
            return {label: float(len(calls)) for label in labels}

    times = common.alternate([("a", Fake("a"), ["f"]), ("b", Fake("b"), ["f", "g"])], 3, 0.5, 0)
    assert [name for name, _ in calls] == ["a", "a", "b", "b", "a", "b", "b", "a", "a", "b"]
    assert times == {("a", "f"): [5.0, 8.0, 9.0], ("b", "f"): [6.0, 7.0, 10.0], ("b", "g"): [6.0, 7.0, 10.0]}


def test_conv(tmp_path, capsys):
    options = ["--shapes", "tiny", "--algorithms", "auto,im2col,flipped", "--sgemm", "64", "--out", str(tmp_path)]
    script("conv").main([*FAST, *options, *torch_peer()])
    rows = result(tmp_path, "conv")
    assert [row["kind"] for row in rows] == ["3x3", "1x1", "5x5/2", "depthwise"]
    found = {(r["side"], r["variant"], r["pass"]) for r in rows[0]["results"]}
    variants = [("minigrad", name) for name in ("auto", "im2col", "flipped")]
    variants += [("torch", layout) for layout in common.LAYOUTS] if torch_peer() else []
    assert found == {(*variant, which) for variant in variants for which in problems.PASSES}
    assert all(r["error"] < 5e-5 and r["gflops"] > 0 for row in rows for r in row["results"])
    assert "geometric means" in capsys.readouterr().out


def test_an_algorithm_that_does_not_support_a_shape_is_left_out(in_process, tmp_path, capsys):
    options = ["--shapes", "tiny", "--algorithms", "winograd,im2col", "--passes", "forward", "--no-errors"]
    script("conv").main([*FAST, *options, "--sgemm", "64", "--out", str(tmp_path)])
    used = [{r["variant"] for r in row["results"]} for row in result(tmp_path, "conv")]
    assert used == [{"winograd", "im2col"}, {"im2col"}, {"im2col"}, {"im2col"}]


def test_train_step(in_process, tmp_path, capsys):
    train_step.main([*FAST, "--nets", "tiny", "--out", str(tmp_path), *torch_peer()])
    (row,) = result(tmp_path, "train_step")
    assert row["measured"]["minigrad"]["minigrad"]["memory"]["peak"] > 10
    if torch_peer():
        assert row["ratio"] > 0 and row["memory_ratio"] > 0 and row["opponent"] in common.LAYOUTS


def test_inference(in_process, tmp_path, capsys):
    inference.main([*FAST, "--nets", "tiny", "--batches", "1", "--out", str(tmp_path), *torch_peer()])
    (row,) = result(tmp_path, "inference")
    assert "plain" in row["measured"]["minigrad"]
    if torch_peer():
        assert set(row["measured"]["torch"]) == set(inference.both(common.LAYOUTS))


def test_layers(in_process, tmp_path, capsys):
    layers.main([*FAST, "--layers", "tiny", "--out", str(tmp_path), *torch_peer()])
    rows = result(tmp_path, "layers")
    assert len(rows) == 2 * 5 + 2
    if torch_peer():
        assert all(row["ratio"] > 0 for row in rows)


def test_startup(tmp_path, capsys):
    startup.main([*FAST, "--nets", "tiny", "--out", str(tmp_path)])
    cold, warm = result(tmp_path, "startup")
    assert (cold["state"], warm["state"]) == ("cold", "warm")
    assert cold["seconds"]["first"]["median"] > warm["seconds"]["first"]["median"] > 0


def test_data(tmp_path, capsys):
    threads = minigrad.get_num_threads()
    try:
        script("data").main([*FAST, "--net", "resnet20_cifar", "--batch", "2", "--steps", "1", "--out", str(tmp_path)])
    finally:
        minigrad.set_num_threads(threads)
    rows = {row["name"]: row for row in result(tmp_path, "data")}
    assert rows["a batch: read, crop, flip, normalise"]["share"] > 0
    assert rows["step, batch at hand"]["share"] == 1
    assert "aim below 5%" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "message"), [
    (["--peers", "mxnet"], "--peers: unknown 'mxnet'"),
    (["--shapes", "vgg"], "--shapes: unknown 'vgg'"),
    (["--passes", "backward"], "--passes: unknown 'backward'"),
    (["--rounds", "0"], "must be at least 1"),
])
def test_wrong_options_end_with_a_message(options, message, capsys):
    with pytest.raises(SystemExit):
        script("conv").main(options)
    assert message in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_named(capsys):
    p = common.parser("", peers=("no_such_framework",))
    with pytest.raises(SystemExit):
        common.arguments(p, ["--peers", "no_such_framework"])
    assert "no_such_framework is not installed" in capsys.readouterr().err


def test_an_error_in_a_side_is_told_and_the_side_lives_on():
    with common.Side("numpy", 1) as side:
        with pytest.raises(common.SideError, match="numpy: AttributeError"):
            side.ask("ask", "nothing")
        assert side.ask("peak_memory") > 1


TWINS = {  # small members of the families that are timed
    "convnet": ({}, (1, 28, 28)),
    "allcnn_c": ({"widths": (4, 6)}, (3, 32, 32)),
    "vgg16": ({"width": 0.05, "hidden": 8}, (3, 32, 32)),
    "resnet18_cifar": ({"width": 4}, (3, 16, 16)),
    "resnet50": ({"width": 4, "layers": (1, 1)}, (3, 32, 32)),
    "googlenet_2014": ({"aux_heads": False, "width": 0.05}, (3, 64, 64)),
    "densenet121": ({"layers": (2, 2), "growth_rate": 4, "width": 8}, (3, 32, 32)),
    "lenet5_modern": ({}, (1, 32, 32)),
    "residual_identity": ({}, (1, 28, 28)),
    "residual_resized": ({}, (1, 28, 28)),
    "fast_cifar": ({"widths": (8, 16, 16)}, (3, 32, 32)),
}


@pytest.mark.parametrize("name", TWINS)
def test_twins_in_pytorch_have_the_same_scores(name, tmp_path):
    pytest.importorskip("torch")
    import networks
    import side_minigrad
    import side_torch

    options, image = TWINS[name]
    net = {"model": name, "options": {"num_classes": 10, **options}, "batch": 2, "image": image}
    ours = side_minigrad.export(net, str(tmp_path / "w.npz"))
    theirs = side_torch.check(net, ours["tree"], str(tmp_path / "w.npz"))
    networks.compare(name, "torch", ours, theirs)
    folded = side_torch.inference(net, ours["tree"], str(tmp_path / "w.npz"), ["channels_last folded"])
    scores = folded["channels_last folded"]().numpy()
    np.testing.assert_allclose(scores, ours["scores"], rtol=0, atol=1e-4 * np.abs(ours["scores"]).max())
    theirs["scores"] = theirs["scores"] + 1e-3 * np.abs(ours["scores"]).max()
    with pytest.raises(RuntimeError, match="differ"):
        networks.compare(name, "torch", ours, theirs)


def test_the_table_in_readme_is_the_one_of_the_committed_results():
    readme = (BENCHMARKS.parent / "README.md").read_text(encoding="utf-8")
    assert speed_table.replaced(readme, speed_table.table(BENCHMARKS / "results")) == readme


def test_the_command_that_runs_all_gives_each_script_options_it_knows(monkeypatch, tmp_path):
    ran = []

    def run(command):
        ran.append(command[1:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(run_all.subprocess, "run", run)
    monkeypatch.setattr(speed_table, "main", lambda argv: None)
    run_all.main(["--peers", "torch,jax", "--quick", "--out", str(tmp_path)])
    assert [Path(command[0]).stem for command in ran] == list(run_all.SCRIPTS)
    for command in ran:
        known = "".join(Path(name).read_text(encoding="utf-8") for name in (command[0], common.__file__))
        assert all(f'"{word}"' in known for word in command[1:] if word.startswith("--"))
        jax = "torch,jax" in command
        assert jax == (Path(command[0]).stem == "conv")


def test_the_command_that_runs_all_stops_where_a_script_fails(monkeypatch):
    monkeypatch.setattr(run_all.subprocess, "run", lambda command: SimpleNamespace(returncode=3))
    with pytest.raises(SystemExit, match="3"):
        run_all.main([])
