"""Rounds: how long they are, and that what they cost is paid from the budget."""

from itertools import pairwise

import pytest

from selfsup.data.rounds import Rounds


def test_a_round_is_an_epoch_or_longer() -> None:
    """What is left over of a run's last epoch is shared by all rounds; long runs have no more than the most."""
    rounds = Rounds(per_epoch=78, most=20)
    assert [rounds.count(steps) for steps in (10, 78, 79, 600, 1200, 1560, 7800)] == [1, 1, 1, 7, 15, 20, 20]
    for most in (1, 7, 20, 100):
        for steps in (1, 10, 78, 333, 600, 5001):
            own = Rounds(78, most)
            found = [own.around(step, steps) for step in range(steps)]
            assert all(first <= step < after for step, (first, after) in enumerate(found))
            bounds = sorted(set(found))
            assert len(bounds) == own.count(steps)
            assert bounds[0][0] == 0
            assert bounds[-1][1] == steps
            assert all(before[1] == later[0] for before, later in pairwise(bounds))
            lengths = [after - first for first, after in bounds]
            assert max(lengths) - min(lengths) <= 1
            assert steps < 78 or min(lengths) >= 78


def test_more_steps_never_have_fewer_rounds() -> None:
    """Else a budget could not be filled."""
    for rounds in (Rounds(7, 100), Rounds(1, 100), Rounds(78, 20)):
        counts = [rounds.count(steps) for steps in range(1, 2000)]
        assert counts == sorted(counts)
    assert Rounds(1, 100, 1.0).steps_within(106, 0.01) == 600


def test_time_of_a_run_is_that_of_steps_and_rounds() -> None:
    """600 steps of 0.1 s and 7 rounds of 5 s."""
    assert Rounds(78, 20, 5.0).total(600, 0.1) == pytest.approx(95.0)


def test_rounds_are_paid_from_the_budget() -> None:
    """The largest number of steps that fits: 7 rounds of 5 s leave 60 s of 95."""
    rounds = Rounds(78, 20, 5.0)
    assert rounds.steps_within(95.0, 0.1) == 600
    assert Rounds(78).steps_within(10.0, 0.04) == 250
    for budget in (6.0, 30.0, 77.7, 210.0, 5000.0):
        steps = rounds.steps_within(budget, 0.1)
        assert rounds.total(steps, 0.1) <= budget < rounds.total(steps + 1, 0.1)
    assert rounds.steps_within(1.0, 0.1) == 1


def test_what_comes_before_the_first_step_is_paid_from_the_budget_too() -> None:
    """Half a minute of searching leaves half of a minute."""
    rounds = Rounds(78, before=30.0)
    assert rounds.total(100, 0.1) == pytest.approx(40.0)
    assert rounds.steps_within(60.0, 0.1) == 300
