"""The loop steps each loss before the next is asked for, and lists together."""

import math
from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from selfsup.method import Batch, Method, Objective
from selfsup.recipe import Recipe
from selfsup.training.loop import NonFiniteLoss, autocast_of, train

PLAIN = Recipe(optimizer="sgd", lr=0.5, momentum=0.0, weight_decay=0.0, schedule="constant")


class TwoPlayers(Method):
    """Two numbers that chase each other."""

    recipe: ClassVar[Recipe] = PLAIN
    headline: ClassVar[str] = "gap"

    def __init__(self, together: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(3.0))
        self.together = together

    def optimizers(self, recipe: Recipe) -> dict[str, Optimizer]:
        return {"one": recipe.build([self.one]), "two": recipe.build([self.two])}

    def losses(self, batch: Batch) -> Iterator[Objective | list[Objective]]:
        if self.together:
            yield [Objective(self.one * self.two, "one"), Objective(self.one * self.two, "two")]
        else:
            yield Objective(self.one * self.two, "one")
            yield Objective(self.one * self.two, "two")


def test_yielded_one_after_the_other() -> None:
    """The second player sees the first player's new value."""
    method = TwoPlayers(together=False)
    steps(method, 1)
    assert method.one.item() == pytest.approx(1 - 0.5 * 3)
    assert method.two.item() == pytest.approx(3 - 0.5 * (1 - 0.5 * 3))


def test_yielded_list_steps_together() -> None:
    """Both players see each other's old value."""
    method = TwoPlayers(together=True)
    steps(method, 1)
    assert method.one.item() == pytest.approx(1 - 0.5 * 3)
    assert method.two.item() == pytest.approx(3 - 0.5 * 1)


def test_schedule_decides_the_rate() -> None:
    """At progress 0 of a warm-up nothing moves."""
    method = TwoPlayers(together=False)
    steps(method, 1, Recipe(optimizer="sgd", lr=0.5, momentum=0.0, weight_decay=0.0, warmup=0.5))
    assert (method.one.item(), method.two.item()) == (1.0, 3.0)


def test_gradient_is_clipped_by_norm() -> None:
    """A gradient of 3 clipped to 0.1 moves the weight by rate times 0.1."""
    method = TwoPlayers(together=True)
    recipe = Recipe(optimizer="sgd", lr=0.5, momentum=0.0, weight_decay=0.0, schedule="constant", clip=0.1)
    steps(method, 1, recipe)
    assert method.one.item() == pytest.approx(1 - 0.5 * 0.1, rel=1e-4)


def test_a_loss_that_is_no_number_stops_before_the_step() -> None:
    """The weights keep their last good value."""
    method = TwoPlayers(together=False)
    with torch.no_grad():
        method.two.fill_(math.inf)
    with pytest.raises(NonFiniteLoss, match="step 0"):
        steps(method, 1)
    assert method.one.item() == 1.0


def test_draws_depend_on_seed_step_and_turn_only() -> None:
    """Each loss of each batch has random numbers of its own, the same in every run."""
    seen: list[float] = []

    class Watching(TwoPlayers):
        def losses(self, batch: Batch) -> Iterator[Objective | list[Objective]]:
            for part in ("one", "two"):
                seen.append(torch.rand(()).item())
                yield Objective(0 * self.one * self.two, part)

    steps(Watching(together=False), 2)
    torch.rand(5)
    steps(Watching(together=False), 2)
    assert seen[:4] == seen[4:]
    assert len(set(seen[:4])) == 4


def steps(method: Method, count: int, recipe: Recipe = PLAIN) -> None:
    """Train on empty batches."""
    batches = (Batch(torch.zeros(2, 3, 4, 4), torch.arange(2), k, k / count) for k in range(count))
    for _ in train(method, batches, method.optimizers(recipe), recipe, 0, autocast_of(torch.device("cpu"), "float32")):
        pass
