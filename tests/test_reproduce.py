"""The table of results: training recipes in processes of their own, PyTorch's side, and what README shows."""
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import reproduce  # noqa: E402

import minigrad as mg  # noqa: E402
from minigrad import data, train  # noqa: E402


def row(recipe="convnet-mnist", framework="minigrad", seed=0, accuracy=0.98, seconds=60.0, **more):
    """A row of reproduce.json."""
    return {"recipe": recipe, "framework": framework, "seed": seed, "changed": "", "hardware": "2 CPU threads",
            "accuracy": accuracy, "seconds": seconds, "note": "", "machine": "a machine", "date": "2026-01-02", **more}


def lines(rows):
    """{recipe: its cells} of the table."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in reproduce.table(rows).splitlines()[2:]]
    return {line[0].strip("`"): line[1:] for line in cells if line}


def test_the_table_in_readme_is_the_one_of_the_committed_results():
    readme = (BENCHMARKS.parent / "README.md").read_text(encoding="utf-8")
    made = reproduce.table(reproduce.read(BENCHMARKS / "results" / "reproduce.json"))
    assert reproduce.replaced(readme, made) == readme
    assert (BENCHMARKS / "results" / "reproduce.md").read_text(encoding="utf-8") == made + "\n"
    with pytest.raises(ValueError, match="README has no lines"):
        reproduce.replaced("a README without marks", made)


def test_recipes_that_were_not_run_say_so_and_all_stand_in_the_table():
    empty = lines([])
    assert [*empty] == [*train.RECIPES]
    assert empty["convnet-mnist"] == ["97.77%, 2.25 min", "not yet run", *[""] * 6]
    assert empty["allcnn_c_all-cifar10"][0] == "90.92%, 10 h"
    only_theirs = lines([row(framework="torch"), row(changed="--epochs 1")])
    assert only_theirs["convnet-mnist"][1] == "not yet run"


def test_seeds_are_averaged_and_compared_with_those_of_pytorch():
    found = lines([
        row(seed=0, accuracy=0.98, seconds=60), row(seed=1, accuracy=0.97, seconds=90),
        row(seed=0, framework="torch", accuracy=0.96, seconds=120), row("nin-cifar10", note="a copy"),
    ])
    assert found["convnet-mnist"] == ["97.77%, 2.25 min", "97.50% (97.00 to 98.00)", "1.25 min", "96.00%", "2.00 min",
                                      "0.50", "0, 1", "2 CPU threads"]
    assert found["nin-cifar10"][1:4] == ["98.00% (a copy)", "1.00 min", ""]
    assert "Measured 2026-01-02 on a machine." in reproduce.table([row()])


def test_what_is_trained_again_replaces_its_earlier_result(tmp_path, monkeypatch, capsys):
    values = iter([0.5, 0.6, 0.7, 0.8])
    monkeypatch.setattr(reproduce, "train", lambda framework, name, seed, options: row(
        name, framework, seed, next(values)))
    readme = tmp_path / "README.md"
    readme.write_text(f"a\n{reproduce.BEGIN}\n{reproduce.END}\nb\n", encoding="utf-8")
    shared = ["--recipes", "convnet-mnist", "--out", str(tmp_path), "--readme", str(readme)]
    reproduce.main([*shared, "--seeds", "0,1"])
    reproduce.main([*shared, "--seeds", "1", "--peers", "torch"])
    kept = [(r["framework"], r["seed"], r["accuracy"]) for r in reproduce.read(tmp_path / "reproduce.json")]
    assert kept == [("minigrad", 0, 0.5), ("minigrad", 1, 0.7), ("torch", 1, 0.8)]
    text = readme.read_text(encoding="utf-8")
    assert "60.00% (50.00 to 70.00)" in text and text.startswith("a\n") and text.endswith("\nb\n")


@pytest.mark.parametrize("options", [["--recipes", "convnet"], ["--recipes", "none", "--peers", "jax"]])
def test_unknown_names_end_with_a_message(options, capsys):
    with pytest.raises(SystemExit):
        reproduce.main(options)
    assert "unknown" in capsys.readouterr().err


def write_mnist(folder):
    """Noise in the layout of MNIST, with labels that the images tell."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 64), ("t10k", 32)):
        labels = rng.integers(0, 10, n)
        images = rng.integers(0, 40, (n, 28, 28)) + 20 * labels[:, None, None]
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())


def test_a_recipe_is_trained_by_both_frameworks(tmp_path, capfd):
    write_mnist(tmp_path)
    peers = ["--peers", "torch"] if importlib.util.find_spec("torch") else []
    reproduce.main(["--recipes", "convnet-mnist", "--data-root", str(tmp_path), "--out", str(tmp_path / "out"),
                    "--runs", str(tmp_path / "runs"), "--threads", "1", *peers,
                    "--", "--epochs", "2", "--batch-size", "16"])
    rows = reproduce.read(tmp_path / "out" / "reproduce.json")
    assert [r["framework"] for r in rows] == ["minigrad", *(["torch"] if peers else [])]
    for found in rows:
        assert found["changed"] == "--epochs 2 --batch-size 16" and found["hardware"] == "1 CPU threads"
        assert 0 <= found["accuracy"] <= 1 and 0 < found["seconds"] < found["wall"]
    out = capfd.readouterr().out
    assert f"test accuracy: {rows[0]['accuracy']:.2%}" in out and "not yet run" in out


def test_a_training_that_fails_ends_the_script(tmp_path):
    with pytest.raises(SystemExit) as stopped:
        reproduce.main(["--recipes", "convnet-mnist", "--data-root", str(tmp_path / "nothing"), "--out", str(tmp_path),
                        "--runs", str(tmp_path / "runs")])
    assert stopped.value.code == 2


@pytest.mark.parametrize(("name", "rates"), [
    ("convnet-mnist", ()), ("residual_resized-mnist", ()),
    ("cifar10-80", ("--lr", "0.02", "--lr-bias", "0.2")),  # at its own rates a rounding error grows too fast
])
def test_pytorchs_side_goes_the_same_way(name, rates, monkeypatch):
    """After two epochs of a few steps from the same weights, on the same batches, the weights are still the same."""
    pytest.importorskip("torch")
    import recipe_torch

    from minigrad import cli
    from minigrad.commands import train_options

    shape = (1, 28, 28) if "mnist" in name else (3, 32, 32)
    rng = np.random.default_rng(0)
    images = data.Images(rng.integers(0, 256, (48, *shape), np.uint8), rng.integers(0, 10, 48), [*"0123456789"],
                         data.images.Conversion((0.5,), (0.25,)))
    monkeypatch.setattr(data, "load", lambda *_: images)
    options = cli.parser().parse_args(["train", "--recipe", name, "--epochs", "2", "--batch-size", "16", *rates])
    net, batches, tests, frozen = recipe_torch.twin(options)
    assert recipe_torch.faster(net, batches, options) in recipe_torch.side_torch.FORMATS
    accuracy, seconds = recipe_torch.fit(net, batches, tests, options, frozen, "channels_last")

    mg.manual_seed(options.seed)
    ours, head, _ = train_options.build_model(options, 10, shape[0], None)
    recipe_torch.command.prepare(ours, images)
    batches, tests = train_options.build_batches(options, images, images)
    training = train_options.build_training(options, ours, head, len(batches))
    training.fit(batches, tests, options.epochs)
    theirs = dict(net.named_parameters())
    for key, p in ours.named_parameters():
        if "residual" in name and "conv" in key and key.endswith(".bias") and "bn" not in key:
            continue  # before a batch norm it has no gradient but rounding errors, which Adam makes steps of
        np.testing.assert_allclose(p.detach().numpy(), theirs[key].detach().numpy(), rtol=2e-3, atol=2e-4, err_msg=key)
    assert accuracy == pytest.approx(training.history[-1]["test_accuracy"], abs=0.05) and seconds > 0
