"""The training loop: auxiliary losses."""
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, train


class Outputs(NamedTuple):
    logits: mg.Tensor
    aux: mg.Tensor


class TwoHeads(nn.Module):
    """Scores, and in training those of a second head."""

    def __init__(self):
        super().__init__()
        self.main, self.aux = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x):
        return Outputs(self.main(x), self.aux(x)) if self.training else self.main(x)


def batch():
    mg.manual_seed(0)
    return mg.randn(6, 3), mg.tensor([0, 1, 2, 3, 0, 1])


def test_the_loss_weighs_each_auxiliary_output_by_three_tenths():
    _, labels = batch()
    a, b, c = (mg.randn(6, 4) for _ in range(3))
    alone = [mg.cross_entropy(scores, labels).item() for scores in (a, b, c)]
    assert train.training_loss(a, labels).item() == alone[0]
    weighed = alone[0] + 0.3 * (alone[1] + alone[2])
    assert train.training_loss((a, b, c), labels).item() == pytest.approx(weighed, rel=1e-6)
    assert train.training_loss((a,), labels).item() == alone[0]


def test_both_heads_learn_and_the_accuracy_is_that_of_the_first():
    x, labels = batch()
    net = TwoHeads()
    before = {name: p.detach().numpy().copy() for name, p in net.named_parameters()}
    hits = float((net(x).logits.argmax(1) == labels).float().mean().item())
    loss, accuracy = train.train_epoch(net, [(x, labels)], optim.SGD(net.parameters(), lr=0.1))
    assert accuracy == pytest.approx(hits)
    assert all((p.detach().numpy() != before[name]).any() for name, p in net.named_parameters())
    losses = [train.train_epoch(net, [(x, labels)], optim.SGD(net.parameters(), lr=0.5))[0] for _ in range(20)]
    assert losses[-1] < 0.7 * loss
    assert np.isfinite(train.evaluate(net, [(x, labels)])[0])
