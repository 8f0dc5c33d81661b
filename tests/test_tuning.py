"""`minigrad tune`: what it measures, what it keeps, and that "auto" takes it, for this machine only."""
import json
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import cli, models, tune
from minigrad.kernels import conv, jit
from minigrad.kernels.conv import conv_params, tuning

X, W = (2, 4, 9, 9), (6, 4, 3, 3)
P = conv_params(X, W, padding=1)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache folder of the test's own."""
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "new" / "cache"))
    tuning.forget()
    yield tmp_path / "new" / "cache" / "convolutions.json"
    tuning.forget()


def row(which="forward"):
    """The name of the module that "auto" takes."""
    return conv.lookup("auto", "cpu", X, W, P, which).__name__.rpartition(".")[2]


def test_the_file_is_where_the_environment_says(monkeypatch, tmp_path):
    assert tuning.cache_file() == tmp_path / "new" / "cache" / "convolutions.json"
    monkeypatch.delenv("MINIGRAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tuning.cache_file() == tmp_path / "minigrad" / "convolutions.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tuning.cache_file() == tmp_path / ".cache" / "minigrad" / "convolutions.json"


def test_without_a_file_the_rules_decide_and_nothing_is_written(cache):
    assert row() == conv.select(X, W, P) + "_cpu"
    assert not cache.parent.exists()


def test_what_was_measured_is_taken_pass_by_pass(cache):
    tuning.store({("grad_weight", X, W, P): {"direct": 2.0, "im2col": 1.0, "winograd": 3.0}})
    tuning.store({("grad_input", X, W, P): {"direct": 2.0, "winograd": 1.5}})
    tuning.forget()  # as in the next process
    assert [row("grad_weight"), row("grad_input"), row()] == ["im2col_cpu", "winograd_cpu", "direct_cpu"]
    other = conv_params(X, W, padding=0)
    assert tuning.choice("grad_weight", X, W, other) is None
    tuning.store({("grad_weight", X, W, P): {"direct": 2.0, "im2col": 3.0}})  # measured again
    assert row("grad_weight") == "direct_cpu" and row("grad_input") == "winograd_cpu"
    assert [f.name for f in cache.parent.iterdir()] == [cache.name]


@pytest.mark.parametrize("which", tuning.PASSES)
def test_each_of_the_three_functions_asks_for_its_own_pass(monkeypatch, which):
    tuning.store({(which, X, W, P): {"im2col": 1.0}})
    ran = []
    for name in tuning.PASSES:
        module = conv.lookup("im2col", "cpu", X, W, P)
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=function, n=name, **k: (ran.append(n), f(*a, **k))[1])
    x, w = (mg.randn(*shape, requires_grad=True) for shape in (X, W))
    mg.conv2d(x, w, padding=1).sum().backward()
    assert ran == [which]


@pytest.mark.parametrize("what", ["processor", "threads", "kernels"])
def test_choices_of_another_machine_do_not_count_and_are_kept(monkeypatch, cache, what):
    tuning.store({("forward", X, W, P): {"im2col": 1.0}})
    assert row() == "im2col_cpu"
    with monkeypatch.context() as patch:
        if what == "processor":
            patch.setattr(tuning, "_processor", lambda: "another")
        elif what == "threads":
            patch.setattr(tuning, "get_num_threads", lambda: 99)
        else:
            patch.setattr(jit, "stamp", lambda: 0)
        tuning.forget()
        assert row() == "direct_cpu"
        tuning.store({("forward", X, W, P): {"winograd": 1.0}})
        assert row() == "winograd_cpu"
    tuning.forget()
    assert row() == "im2col_cpu"
    assert len(json.loads(cache.read_text())["machines"]) == 2


def rows_of_this_machine(*rows):
    return json.dumps({"format": 1, "machines": {tuning.machine(tuning.get_num_threads()): rows}})


GOOD = {"pass": "forward", "x": X, "w": W, "stride": [1, 1], "padding": [[1, 1], [1, 1]], "dilation": [1, 1],
        "groups": 1, "algorithm": "im2col", "seconds": {}}


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", '"format"', '{"format": 2, "machines": {}}', '{"format": 1}', '{"format": 1, "machines": 3}',
    "[" * 100_000, b"\xff\xfe\x00", "rows: 3", {**GOOD, "algorithm": "fft"}, {**GOOD, "algorithm": "flipped"},
    {**GOOD, "algorithm": "winograd", "stride": [2, 2]}, {**GOOD, "algorithm": ["im2col"]}, {"algorithm": "im2col"},
    {**GOOD, "x": 7}, {**GOOD, "w": [3]}, {**GOOD, "algorithm": "winograd", "w": [3]}, {**GOOD, "padding": [1, 1]},
    {**GOOD, "x": [[1], 2, 3, 4]},
], ids=range(21))
def test_a_file_that_is_not_ours_is_one_warning_and_otherwise_ignored(cache, text):
    cache.parent.mkdir(parents=True)
    if text == "rows: 3":
        text = json.dumps({"format": 1, "machines": {tuning.machine(tuning.get_num_threads()): 3}})
    text = rows_of_this_machine(text) if isinstance(text, dict) else text
    cache.write_bytes(text if isinstance(text, bytes) else text.encode())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert row() == row() == "direct_cpu"
    assert len(caught) == 1 and "convolutions.json is ignored" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuning.store({("forward", X, W, P): {"im2col": 1.0}})
    assert row() == "im2col_cpu"


def test_a_good_row_by_hand_is_taken(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text(rows_of_this_machine(GOOD))
    assert row() == "im2col_cpu"


def test_an_interrupted_write_leaves_the_file_as_it_was(monkeypatch, cache):
    tuning.store({("forward", X, W, P): {"im2col": 1.0}})
    before = cache.read_bytes()

    def interrupted(*args, **kwargs):
        args[1].write("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning.json, "dump", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuning.store({("forward", X, W, P): {"direct": 1.0}})
    assert cache.read_bytes() == before and len(list(cache.parent.iterdir())) == 1


@pytest.mark.parametrize("which", tuning.PASSES)
def test_every_fast_algorithm_is_timed_and_only_these(which):
    times = tuning.measure(which, X, W, P, seconds=0.001, rounds=1)
    assert set(times) == {"direct", "im2col", "winograd", "winograd_2x2"}
    assert all(t > 0 for t in times.values())
    strided = conv_params(X, W, 2)
    assert set(tuning.measure(which, X, W, strided, 0.001, 1)) == {"direct", "im2col"}


# --- the rules


def test_rules_may_differ_from_pass_to_pass(monkeypatch):
    monkeypatch.setattr(conv, "select", conv.select.__wrapped__)  # which does not remember what other rules said
    monkeypatch.setitem(conv.RULES, "grad_input", {"direct": conv.Cost(2), "im2col": conv.Cost(1)})
    assert row() == row("grad_weight") == "direct_cpu" and row("grad_input") == "im2col_cpu"


def test_the_rules_name_every_pass_and_algorithms_of_the_table():
    assert set(conv.RULES) == set(tuning.PASSES)
    for rules in conv.RULES.values():
        assert set(rules) <= set(conv.CROSS_CORRELATION) - set(conv.LESSONS)
        assert not rules["direct"].points  # for every convolution


# --- the command


def test_the_passes_of_a_network_are_those_of_its_training_step():
    passes = tune.network_passes("lenet5_modern", 7)
    assert [(which, x, w) for which, x, w, _ in passes] == [
        ("forward", (7, 1, 32, 32), (6, 1, 5, 5)), ("grad_weight", (7, 1, 32, 32), (6, 1, 5, 5)),  # none of the images
        ("forward", (7, 6, 14, 14), (16, 6, 5, 5)), ("grad_input", (7, 6, 14, 14), (16, 6, 5, 5)),
        ("grad_weight", (7, 6, 14, 14), (16, 6, 5, 5)), ("forward", (7, 16, 5, 5), (120, 16, 5, 5)),
        ("grad_input", (7, 16, 5, 5), (120, 16, 5, 5)), ("grad_weight", (7, 16, 5, 5), (120, 16, 5, 5)),
    ]
    resnet = tune.network_passes("resnet18", 2)
    assert len(resnet) == len(set(resnet)) == 3 * 11 - 1


def test_training_runs_exactly_the_passes_that_were_named(monkeypatch):
    named = set(tune.network_passes("lenet5_modern", 3))
    seen, choice = set(), conv.choice
    monkeypatch.setattr(conv, "choice", lambda *key: (seen.add(key), choice(*key))[1])
    model = models.create("lenet5_modern")
    mg.cross_entropy(model(mg.randn(3, 1, 32, 32)), mg.tensor(np.array([1, 2, 3]))).backward()
    assert seen == named


@pytest.mark.parametrize("name", ["googlenet_2014", "inception_v3", "enet", "densenet121", "allcnn_c", "resnet50"])
def test_every_kind_of_network_can_be_named(name):
    passes = tune.network_passes(name, 2)
    assert {which for which, *_ in passes} == set(tuning.PASSES)
    assert all(x[0] == 2 for _, x, _, _ in passes)


def test_tune_measures_and_keeps(monkeypatch, capsys, cache):
    measured = []
    monkeypatch.setattr(tuning, "measure", lambda *key: (measured.append(key), {"direct": 2e-3, "im2col": 1e-3})[1])
    assert cli.main(["tune", "--net", "lenet5_modern", "--batch", "4", "--shapes", "2x4x9x9,6x4x3x3,1,1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(measured) == 8 + 3 == len(out) - 1 and out[-1] == f"written to {cache}"
    assert "4x6x14x14 * 16x6x5x5, stride 1, grad_input: im2col 1.00 ms, direct 2.00 ms (the rules say direct)" in out
    assert row("forward") == row("grad_weight") == "im2col_cpu"
    assert cli.main(["tune", "--forget"]) == 0
    assert not cache.exists() and cli.main(["tune", "--forget"]) == 0


@pytest.mark.parametrize(("options", "message"), [
    ([], "nothing to measure; name a network with --net or convolutions with --shapes"),
    (["--net", "lenet7"], "lenet7"),
    (["--shapes", "2x4x9x9"], "expected NxCxHxW,OCxCxKHxKW[,stride[,padding[,groups]]], got '2x4x9x9'"),
    (["--shapes", "2x4x9x9,6x4x3x3,a"], "got '2x4x9x9,6x4x3x3,a'"),
    (["--shapes", "2x4x9x9,6x5x3x3"], "weight expects 5 input channels, got x with 4"),
    (["--batch", "0", "--net", "lenet5"], "must be >= 1, got 0"),
])
def test_a_mistake_is_one_line(capsys, options, message):
    assert cli.main(["tune", *options]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_found_before_measuring(capsys, cache):
    cache.parent.parent.mkdir()
    cache.parent.write_text("in the way")
    assert cli.main(["tune", "--shapes", "2x4x9x9,6x4x3x3"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("minigrad tune: ") and err.count("\n") == 1
