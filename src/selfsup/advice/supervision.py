"""How often and how long networks are trained on the labels, so that the controls are strong and yet affordable."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from selfsup.recipe import seconds as read_seconds

if TYPE_CHECKING:
    from selfsup.advice.plan import Plan

PASSES = 60
"""Passes over the labelled images after which training from scratch gains little more."""
LEAST_STEPS = 200
"""Of training from scratch, however few labels there are."""
SUPERVISED_BATCH = 128
SUPERVISED_SHARE = 0.5
"""Time that training on the labels may take, as a share of the time of pretraining."""


class Supervised(NamedTuple):
    """How networks are trained on the labels; the same for training from scratch and for fine-tuning."""

    steps: dict[int | None, int]
    """At each budget."""
    scratch: dict[int | None, int]
    """Trainings per draw at each budget that is done; at the smaller budgets every draw has another seed."""
    tuned_methods: int
    """Finalists that are fine-tuned, at the largest budget, best first."""
    tuned_repeats: int
    """Fine-tunings per draw."""
    left_out: list[str]

    def written(self) -> dict[str, Any]:
        """Give what `plan.json` holds; null as a budget is all labels."""
        pairs = {"steps": list(self.steps.items()), "scratch": list(self.scratch.items())}
        return {**self._asdict(), **{name: [list(pair) for pair in value] for name, value in pairs.items()}}


def read_supervised(written: Mapping[str, Any]) -> Supervised:
    """Read what `Supervised.written` gave."""
    pairs = {name: {b: n for b, n in written[name]} for name in ("steps", "scratch")}  # noqa: C416 - lists from JSON
    return Supervised(**{**written, **pairs})


def plan_supervised(
    plan: "Plan", seconds: float, sizes: Mapping[int | None, int], draws: Mapping[int | None, int]
) -> Supervised:
    """Decide how often and how long networks are trained on the labels, within a share of the pretraining time.

    First comes scratch at the largest budget, then fine-tuning of the best finalist there, then scratch at the
    smaller budgets, then fine-tuning of the others. One training may take as long as one pretraining.

    Args:
        plan: with steps and seeds.
        seconds: of one step of training on the labels.
        sizes: labelled images (or frames) at each budget, from few to many.
        draws: draws at each budget.
    """
    run_seconds = read_seconds(plan.budget)
    most = max(1, int(run_seconds / seconds))
    steps = {budget: _supervised_steps(n, most) for budget, n in sizes.items()}
    largest = list(sizes)[-1]
    finalists, seeds = min(plan.finalists, len(plan.methods)), len(plan.seeds)
    left = SUPERVISED_SHARE * run_seconds * (finalists * seeds + len(plan.methods) * (plan.screening_seed is not None))

    def cost(budget: int | None, repeats: int) -> float:
        return steps[budget] * seconds * (repeats * draws[budget] + 1)  # one more for the learning rate

    full = max(1, seeds // draws[largest])
    scratch = {largest: full}
    left -= cost(largest, full)
    repeats = next((r for r in range(full, 0, -1) if cost(largest, r) <= left), 0)
    left -= cost(largest, repeats) if repeats else 0
    left_out = []
    for budget in list(sizes)[-2::-1]:
        if cost(budget, 1) <= left:
            left -= cost(budget, 1)
            scratch[budget] = 1
        else:
            left_out.append(f"Training from scratch with {budget} labels per class was left out to keep to the budget.")
    tuned = min(finalists, 1 + int(left / cost(largest, repeats))) if repeats else 0
    if tuned == 0:
        left_out.append(
            "Fine-tuning was left out to keep to the budget, so frozen encoders stand against trained networks."
        )
    elif tuned < finalists or repeats < full:
        which = "All finalists were" if tuned == finalists else f"Only the best {tuned} of {finalists} finalists were"
        seeds_words = "" if repeats == full else f" with {repeats} of {full} seeds"
        left_out.append(f"{which} fine-tuned{seeds_words}, to keep to the budget.")
    if steps[largest] < _supervised_steps(sizes[largest], steps[largest] + 10**9):
        passes = steps[largest] * min(SUPERVISED_BATCH, sizes[largest]) / sizes[largest]
        left_out.append(
            f"Training on the labels was cut at {steps[largest]} steps ({passes:.0f} passes), the time of one "
            "pretraining run; longer runs of both may change the comparison."
        )
    if len(sizes) > 1 and tuned:
        left_out.append("Fine-tuning was tried at the largest label budget only.")
    return Supervised(steps, scratch, tuned, repeats, left_out)


def _supervised_steps(labels: int, most: int) -> int:
    wanted = max(LEAST_STEPS, PASSES * labels // min(SUPERVISED_BATCH, labels))
    return min(most, wanted)


def supervised_seconds(supervised: Supervised, draws: Mapping[int | None, int], seconds: float) -> float:
    """Give the time of all training on the labels."""
    largest = list(supervised.steps)[-1]
    runs = {budget: repeats * draws[budget] + 1 for budget, repeats in supervised.scratch.items()}
    tuned = supervised.tuned_methods * (supervised.tuned_repeats * draws[largest] + 1)
    return seconds * (sum(supervised.steps[b] * n for b, n in runs.items()) + supervised.steps[largest] * tuned)
