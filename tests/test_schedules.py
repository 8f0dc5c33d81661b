"""Schedules, AdamW and gradient clipping against PyTorch, step by step, and what does not need it."""
import json
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

SCHEDULES = {
    "step": ("StepLR", {"step_size": 3, "gamma": 0.5}, 10),
    "multi-step": ("MultiStepLR", {"milestones": [7, 2, 5, 5], "gamma": 0.3}, 10),
    "linear": ("LinearLR", {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 4}, 8),
    "linear by default": ("LinearLR", {}, 8),
    "cosine": ("CosineAnnealingLR", {"T_max": 6, "eta_min": 0.01}, 15),
    "one-cycle": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 20}, 20),
    "one-cycle by epochs": ("OneCycleLR", {"max_lr": [0.5, 0.2], "epochs": 4, "steps_per_epoch": 6,
                                           "anneal_strategy": "linear", "div_factor": 10, "pct_start": 0.45}, 24),
    "one-cycle of three phases": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 21, "three_phase": True,
                                                 "base_momentum": [0.8, 0.7], "final_div_factor": 50}, 21),
    "one-cycle without momentum": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 9, "cycle_momentum": False}, 9),
}


def optimizers(kind, torch):
    """An optimiser with two groups, ours and PyTorch's."""
    options = {"SGD": {"momentum": 0.9}, "Adam": {"betas": (0.8, 0.99)}, "AdamW": {}}[kind]
    ours = [nn.Parameter(mg.ones(2)) for _ in range(2)]
    theirs = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    return [module([{"params": [a], "lr": 0.4}, {"params": [b]}], lr=0.1, **options)
            for module, (a, b) in ((getattr(optim, kind), ours), (getattr(torch.optim, kind), theirs))]


def options_of(optimizer):
    """What a schedule may change, of every group."""
    return [(group["lr"], group["betas"][0] if "betas" in group else group["momentum"])
            for group in optimizer.param_groups]


def assert_follows(ours, theirs, step, steps):
    """Both schedules, stepped together, give their optimisers the same options; ours is saved and loaded half-way."""
    for t in range(steps):
        np.testing.assert_allclose(options_of(ours.optimizer), options_of(theirs.optimizer), rtol=1e-12, err_msg=str(t))
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-12)
        if t < steps - 1:
            step(ours, t)
            ours.optimizer.step()
            theirs.optimizer.step()
            step(theirs, t)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_pytorch(name, kind):
    torch = pytest.importorskip("torch")
    schedule, options, steps = SCHEDULES[name]
    ours, theirs = optimizers(kind, torch)
    assert_follows(getattr(optim, schedule)(ours, **options),
                   getattr(torch.optim.lr_scheduler, schedule)(theirs, **options), lambda s, t: s.step(), steps)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_warm_up_and_what_follows_it_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    schedules = []
    for module, optimizer in zip((optim, torch.optim.lr_scheduler), optimizers("SGD", torch), strict=True):
        parts = [module.LinearLR(optimizer, 0.1, total_iters=3), module.CosineAnnealingLR(optimizer, 5),
                 module.StepLR(optimizer, 2)]
        schedules.append(module.SequentialLR(optimizer, parts, milestones=[3, 8]))
    assert_follows(*schedules, lambda s, t: s.step(), 14)


@pytest.mark.parametrize("options", [
    {"patience": 1}, {"mode": "max", "patience": 0, "factor": 0.5}, {"patience": 1, "cooldown": 3},
    {"threshold": 0.05, "threshold_mode": "abs", "patience": 2}, {"patience": 0, "min_lr": [0.2, 0.01]},
    {"patience": 0, "factor": 0.0, "eps": 0.2}, {"threshold": 0.2, "patience": 1},
    {"mode": "max", "threshold": 0.3, "patience": 0}, {"mode": "max", "threshold_mode": "abs", "patience": 1},
], ids=str)
def test_the_plateau_schedule_is_that_of_pytorch(options):
    torch = pytest.importorskip("torch")
    values = np.abs(np.random.default_rng(0).standard_normal(40)) * np.linspace(1, 0.3, 40)
    ours, theirs = optimizers("SGD", torch)
    assert_follows(optim.ReduceLROnPlateau(ours, **options),
                   torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options), lambda s, t: s.step(values[t]), 40)


def made(name, lr=0.1):
    """A schedule over an optimiser of its own."""
    optimizer = optim.SGD([nn.Parameter(mg.ones(2))], lr=lr, momentum=0.9)
    if name == "sequence":
        parts = [optim.LinearLR(optimizer, total_iters=3), optim.CosineAnnealingLR(optimizer, 5)]
        return optim.SequentialLR(optimizer, parts, [3])
    if name == "plateau":
        return optim.ReduceLROnPlateau(optimizer, patience=0)
    schedule, options, _ = SCHEDULES[name]
    return getattr(optim, schedule)(optimizer, **{**options, **({"max_lr": 0.5} if "max_lr" in options else {}),
                                                  **({"base_momentum": 0.8} if "base_momentum" in options else {})})


@pytest.mark.parametrize("name", [*SCHEDULES, "sequence", "plateau"])
def test_a_loaded_schedule_goes_on_with_the_same_rates(name):
    first, second = made(name), made(name)
    arguments = (1.0,) if name == "plateau" else ()
    for _ in range(4):
        first.step(*arguments)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for _ in range(4):
        assert first.get_last_lr() == second.get_last_lr()
        first.step(*arguments)
        second.step(*arguments)
    assert options_of(first.optimizer) == options_of(second.optimizer)


def test_an_optimiser_without_a_schedule_takes_the_state_of_one_with_it():
    schedule = made("step")
    optimizer = optim.SGD([nn.Parameter(mg.ones(2))], lr=0.7, momentum=0.9)
    optimizer.load_state_dict(schedule.optimizer.state_dict())
    assert optimizer.param_groups[0]["initial_lr"] == 0.1


@pytest.mark.parametrize(("make", "message"), [
    (lambda o: optim.StepLR(o, 0), "step_size must be an integer >= 1, got 0"),
    (lambda o: optim.LinearLR(o, 0.0), "LinearLR: factors must be above 0"),
    (lambda o: optim.LinearLR(o, total_iters=0), "total_iters"),
    (lambda o: optim.OneCycleLR(o, 0.1), "total_steps is needed"),
    (lambda o: optim.OneCycleLR(o, 0.1, 10, pct_start=2), "pct_start must be between 0 and 1, got 2"),
    (lambda o: optim.OneCycleLR(o, 0.1, 10, anneal_strategy="x"), "'cos' or 'linear', got 'x'"),
    (lambda o: optim.OneCycleLR(o, [0.1, 0.2], 10), "2 values of max_lr for 1 groups"),
    (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), "factor must be from 0 to below 1, got 1.0"),
    (lambda o: optim.ReduceLROnPlateau(o, "least"), "'least'"),
    (lambda o: optim.ReduceLROnPlateau(o, min_lr=[0, 0]), "2 values of min_lr for 1 groups"),
    (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), "1 schedules for 1 milestones"),
    (lambda o: optim.SequentialLR(o, [made("step")], []), "StepLR is no schedule of the same optimiser"),
])
def test_schedules_that_make_no_sense_are_refused(make, message):
    optimizer = optim.SGD([nn.Parameter(mg.ones(2))], lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make(optimizer)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.0}, {"lr": 0.1, "weight_decay": 0.3}], ids=str)
def test_adamw_is_that_of_pytorch(options):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    p = nn.Parameter(mg.tensor(rng.standard_normal((3, 4))))
    q = torch.nn.Parameter(torch.tensor(p.detach().numpy().copy()))
    ours, theirs = optim.AdamW([p], **options), torch.optim.AdamW([q], **options)
    for _ in range(5):
        g = rng.standard_normal((3, 4))
        p.grad, q.grad = mg.tensor(g), torch.tensor(g)
        ours.step()
        theirs.step()
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12)
    assert ours.param_groups[0]["weight_decay"] == options.get("weight_decay", 0.01)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_by_norm_is_that_of_pytorch(norm_type, max_norm):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    ours = [nn.Parameter(mg.zeros(*shape, dtype="float64")) for shape in ((3, 4), (5,), (), (2,))]
    theirs = [torch.nn.Parameter(torch.zeros(p.shape, dtype=torch.float64)) for p in ours]
    for p, q in list(zip(ours, theirs, strict=True))[:3]:
        g = rng.standard_normal(p.shape)
        p.grad, q.grad = mg.tensor(g), torch.tensor(g)
    norms = [module.clip_grad_norm_(ps, max_norm, norm_type)
             for module, ps in ((nn.utils, ours), (torch.nn.utils, theirs))]
    assert norms[0].item() == pytest.approx(norms[1].item(), rel=1e-12)
    for p, q in list(zip(ours, theirs, strict=True))[:3]:
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)
    assert ours[3].grad is None


def test_clipping_by_value_and_gradients_that_share_their_memory():
    a, b = nn.Parameter(mg.ones(3)), nn.Parameter(mg.ones(3))
    ((a + b) * 6.0).sum().backward()
    nn.utils.clip_grad_value_([a, b], 2.0)
    assert a.grad.tolist() == b.grad.tolist() == [2.0] * 3
    (a + b).sum().backward()
    assert nn.utils.clip_grad_norm_([a, b], 3.0).item() == pytest.approx(54**0.5)
    assert nn.utils.clip_grad_norm_([a, b], 30.0).item() == pytest.approx(3.0)


def test_gradients_that_are_not_finite_are_an_error_if_asked_for():
    p = nn.Parameter(mg.ones(2))
    assert nn.utils.clip_grad_norm_(p, 1.0).item() == 0.0
    p.grad = mg.tensor([math.nan, 1.0])
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert math.isnan(nn.utils.clip_grad_norm_(p, 1.0).item())


def test_one_cycle_ends():
    schedule = optim.OneCycleLR(optim.SGD([nn.Parameter(mg.ones(2))], momentum=0.9), 0.1, 2)
    schedule.step()
    schedule.step()
    with pytest.raises(ValueError, match="OneCycleLR: step 3 of 2"):
        schedule.step()
