"""Moving averages: the two ends, a fixed point, the warm-up, and buffers."""

import pytest
import torch
from torch import nn

from selfsup.networks.ema import MovingAverage


def test_decay_zero_copies_and_decay_one_never_changes() -> None:
    """The two ends."""
    module = nn.Linear(3, 2)
    copying, standing = MovingAverage(module, 0.0), MovingAverage(module, 1.0, warmup=False)
    before = module.weight.detach().clone()
    nn.init.normal_(module.weight)
    for average in (copying, standing):
        average.update(module)
    assert torch.equal(copying.average.weight, module.weight)
    assert torch.equal(standing.average.weight, before)


def test_equal_weights_stay() -> None:
    """What is followed stands still, and so does the average, to the bit."""
    module = nn.Linear(3, 2)
    average = MovingAverage(module, 0.9)
    for _ in range(5):
        average.update(module)
    assert torch.equal(average.average.weight, module.weight)
    assert torch.equal(average(torch.ones(1, 3)), module(torch.ones(1, 3)))


def test_value_by_hand() -> None:
    """0.9 * old + 0.1 * new; while warming up the n-th update keeps n / (n + 9)."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    plain, warm = MovingAverage(module, 0.9, warmup=False), MovingAverage(module, 0.9)
    nn.init.ones_(module.weight)
    for average in (plain, warm):
        average.update(module)
        average.update(module)
    assert plain.average.weight.item() == pytest.approx(1 - 0.9**2)
    assert warm.average.weight.item() == pytest.approx(1 - 1 / 10 * 2 / 11)


def test_buffers_are_copied_and_nothing_is_trained() -> None:
    """Batch-norm statistics are the present ones; no parameter asks for a gradient; the original keeps its own."""
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    average = MovingAverage(module, 0.999)
    module(torch.randn(16, 2))
    average.update(module)
    assert torch.equal(average.average[1].running_mean, module[1].running_mean)
    assert not any(p.requires_grad for p in average.parameters())
    assert all(p.requires_grad for p in module.parameters())
    assert "updates" in average.state_dict()
