"""Rehearsals: a step's time and arithmetic are those of all phases of a run alike."""

from collections.abc import Iterable, Iterator
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from selfsup.method import Batch, Objective
from selfsup.methods.rotation import Rotation
from selfsup.training.prepare import prepare
from selfsup.training.rehearsal import Rehearsal, phases, seconds_per_step, standing_in

QUICK = {"threads": 1, "precision": "float32", "layout": "contiguous", "batch_size": 8, "image_size": 32}


class Timed(Rehearsal):
    """A rehearsal whose steps take known times."""

    def __init__(self, seconds: Iterable[float], changes_at: Iterable[float] = ()) -> None:
        self.seconds = iter(seconds)
        self.phases = phases(changes_at)

    def step(self) -> float:
        """Give the next one."""
        return next(self.seconds)


def test_a_step_takes_the_mean_over_phases_of_their_medians() -> None:
    """The dear last phase counts a quarter; the warm-up and a slow moment do not count."""
    seconds = [50.0, 50.0, 50.0, *([1.0, 1.0, 1.0, 5.0] * 5)]
    seconds[7] = 100.0
    assert seconds_per_step([Timed(seconds), Timed(2 * s for s in seconds)]) == [2.0, 4.0]
    assert seconds_per_step([Timed(seconds[:7])], limit=0.0) == [2.0]


def test_a_phase_counts_as_long_as_it_lasts() -> None:
    """What joins at 0.95 is seen, and is a twentieth; the steps of one phase follow those of the last."""
    late = [(k % 5 == 4) * 20.0 + 1.0 for k in range(23)]
    other = [(k % 4 == 0) * 4.0 + 1.0 for k in range(23)]
    assert [(p.progress, p.share) for p in phases([0.0, 0.95, 1.0])][3:] == [
        (pytest.approx(0.85), pytest.approx(0.2)), (pytest.approx(0.975), pytest.approx(0.05)),
    ]  # fmt: skip
    assert seconds_per_step([Timed(late, [0.95]), Timed(other)]) == pytest.approx([2.0, 2.0])
    assert seconds_per_step([Timed(late, [0.95]), Timed(other)], limit=0.0) == pytest.approx([2.0, 2.0])


def test_a_discriminator_that_joins_late_is_paid_for() -> None:
    """As much as if it joined sooner, for as long as it plays."""
    pictures = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)

    def gflops(start: float) -> float:
        words: dict[str, Any] = {**QUICK, "adversarial_from": start}
        return float(prepare("superresolution", pictures, steps=1, **words).resolved["gflops_per_step"])

    with_it, late, without = gflops(0.0), gflops(0.9), gflops(1.0)
    assert with_it > 1.5 * without
    assert late == pytest.approx(0.1 * with_it + 0.9 * without, rel=0.01)


@pytest.fixture(scope="module")
def rehearsal() -> Rehearsal:
    """Rehearse rotation."""
    pictures = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    prepared = prepare("rotation", pictures, steps=1, **QUICK)  # type: ignore[arg-type]
    return Rehearsal(prepared.settings, prepared.images)


def test_arithmetic_is_the_mean_over_the_phases(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder's is that of 4 x 8 images; a method that does nothing in the first half costs half."""
    method = rehearsal.trainee.method
    with FlopCounterMode(display=False) as counted:
        method.encoder.vector(torch.zeros(32, 3, 32, 32)).sum().backward()
    always = rehearsal.compute()
    assert always.trunk == pytest.approx(counted.get_total_flops() / 1e9, rel=1e-6)
    assert always.trunk < always.step < 1.1 * always.trunk
    losses = method.losses
    monkeypatch.setattr(method, "losses", lambda batch: losses(batch) if batch.progress > 0.5 else iter(()))
    assert rehearsal.compute() == pytest.approx((always.step / 2, always.trunk / 2))


def test_steps_are_of_one_phase_after_another(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each a quarter of the training on."""
    method, seen = rehearsal.trainee.method, []
    losses = method.losses

    def watched(batch: Batch) -> Iterator[Objective]:
        seen.append(batch.progress)
        return losses(batch)  # type: ignore[return-value]

    monkeypatch.setattr(method, "losses", watched)
    for _ in range(5):
        rehearsal.step()
    assert seen == [0.125, 0.375, 0.625, 0.875, 0.125]


def test_features_that_stand_in_for_others_are_not_equal_to_them() -> None:
    """k-means of equal points finds as many clusters as there are different ones, and loses its time on the others."""
    few = torch.randn(30, 4)
    all_of_them = standing_in(few, 100)
    assert all_of_them.shape == (100, 4)
    assert torch.equal(all_of_them[:30], few)
    assert len(all_of_them.unique(dim=0)) == 100
    assert all_of_them.std().item() == pytest.approx(2**0.5, rel=0.4)


def test_a_start_that_takes_long_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what only loads is not."""
    pictures = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    monkeypatch.setattr(Rotation, "start", lambda self, data: sleep(0.2))
    prepared = prepare("rotation", pictures, steps=1, **QUICK)  # type: ignore[arg-type]
    assert "seconds_to_start" not in prepared.resolved
    assert Rehearsal(prepared.settings, prepared.images).rounds.before == 0

    monkeypatch.setattr("selfsup.training.rehearsal.NOTED", 0.1)

    assert Rehearsal(prepared.settings, prepared.images).rounds.before >= 0.2
    assert prepare("rotation", pictures, steps=1, **QUICK).resolved["seconds_to_start"] >= 0.2  # type: ignore[arg-type]
    monkeypatch.setattr("selfsup.training.prepare.seconds_per_step", lambda *_, **__: [0.1])
    assert prepare("rotation", pictures, budget="1s", **QUICK).resolved["steps"] <= 8  # type: ignore[arg-type]
