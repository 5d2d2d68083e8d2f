"""Excerpts of signals are stretches of them, each at a place of its own."""

import pytest
import torch

from selfsup import processes
from selfsup.views.crops import center
from selfsup.views.excerpts import random_excerpt


def test_excerpt_is_a_stretch_of_the_signal() -> None:
    """Consecutive samples, the same in all channels, at every possible place."""
    signals = torch.arange(40.0).expand(500, 2, 40) + torch.tensor([[0.0], [100.0]])
    found = random_excerpt(signals, 37)
    assert torch.equal(found[:, 1], found[:, 0] + 100)
    assert (found[:, 0].diff() == 1).all()
    assert set(found[:, 0, 0].tolist()) == {0, 1, 2, 3}


def test_whole_signals_come_back_as_they_are() -> None:
    signals = torch.rand(3, 2, 40)
    assert random_excerpt(signals, 40) is signals
    assert torch.equal(center(signals, 40), signals)


def test_two_processes_see_what_one_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = torch.rand(8, 2, 40)
    torch.manual_seed(5)
    alone = random_excerpt(signals, 16)
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        assert torch.equal(random_excerpt(signals[4 * rank : 4 * rank + 4], 16), alone[4 * rank : 4 * rank + 4])
