"""All answers that a plan brought, as arms that can be compared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selfsup.advice.arms import Arm, Kind
from selfsup.advice.controls import Trained
from selfsup.advice.plan import Plan
from selfsup.advice.references import Reference
from selfsup.advice.resampling import Interval, Resampled, resample_budgets
from selfsup.advice.trial import Answers, Exam, Failure

RESAMPLES, STAGE_RESAMPLES = 2000, 500
"""The table of stages decides nothing."""


@dataclass(frozen=True)
class Screened:
    """A method's run of the screening seed, judged inside the label pool."""

    method: str
    validation: float | None
    stage: str
    game: tuple[str, ...] = ()
    """What its summary says of a game that did not end in balance."""


@dataclass
class Found:
    """All answers that the plan brought."""

    exam: Exam
    plan: Plan
    trials: dict[str, dict[int, Answers]] = field(default_factory=dict)
    """Of the finalists, by fresh seed: these are reported."""
    screened: list[Screened] = field(default_factory=list)
    fixed: dict[str, Answers] = field(default_factory=dict)
    """Of encoders without parameters: no seed changes them."""
    untrained: dict[str, list[Answers]] = field(default_factory=dict)
    """Of a network that sees colour, and of one for each other thing that a finalist sees."""
    trained: dict[tuple[str, Kind], dict[int | None, Trained]] = field(default_factory=dict)
    """Whole networks trained on labels, by name and kind, at each budget."""
    references: dict[Reference, Answers] = field(default_factory=dict)
    """Public weights."""
    failures: list[Failure] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def arms(self, per_class: int | None) -> list[Arm]:
        """Give the arms at a budget: methods first, then their fine-tuned networks, then controls."""
        found = [
            self._frozen(name, "method", list(of_seed.values()), per_class) for name, of_seed in self.trials.items()
        ]
        found += [
            Arm(n, kind, trained[per_class].right)
            for (n, kind), trained in self.trained.items()
            if kind != "control" and per_class in trained
        ]
        found += [self._frozen(name, "control", answers, per_class) for name, answers in self.untrained.items()]
        found += [
            Arm(name, "control", answers.correct(self.exam, per_class)[None], seeded=False)
            for name, answers in self.fixed.items()
        ]
        found += [
            Arm(n, kind, trained[per_class].right)
            for (n, kind), trained in self.trained.items()
            if kind == "control" and per_class in trained
        ]
        return found

    def probed(self, per_class: int | None, probe: str) -> list[Arm]:
        """Give the frozen arms that are compared, by another probe than the linear one, at the same stages."""
        return [
            Arm(
                name,
                kind,
                np.stack([one.correct(self.exam, per_class, probe=probe) for one in answers]),
                name not in self.fixed,
            )
            for name, (kind, answers) in self.frozen().items()
            if kind != "reference"
        ]

    def probes(self) -> list[str]:
        """Name the probes beside the linear one."""
        rows = [row for of_seed in self.trials.values() for one in of_seed.values() for row in one.rows]
        return [name for name in dict.fromkeys(row["probe"] for row in rows) if name != "linear"]

    def frozen(self) -> dict[str, tuple[Kind, list[Answers]]]:
        """Give the arms that have stages; references last."""
        found: dict[str, tuple[Kind, list[Answers]]] = {n: ("method", list(a.values())) for n, a in self.trials.items()}
        found |= {name: ("control", answers) for name, answers in self.untrained.items()}
        found |= {name: ("control", [answers]) for name, answers in self.fixed.items()}
        return found | {weights.name: ("reference", [answers]) for weights, answers in self.references.items()}

    def stage(self, name: str, per_class: int | None) -> str | None:
        """Give the stage that most seeds and draws of an arm chose; of equals the later."""
        if name not in self.frozen():
            return None
        answers = self.frozen()[name][1]
        votes = Counter(one.chosen[key] for one in answers for key in self.exam.keys(per_class))
        order = answers[0].stages
        return max(votes, key=lambda stage: (votes[stage], order.index(stage)))

    def resampled(self) -> dict[int | None, Resampled]:
        """Resample the arms that are compared at every budget."""
        return self._resample({budget: self.arms(budget) for budget in self.exam.sizes})

    def second(self, probe: str) -> Resampled:
        """Resample the frozen arms by another probe at the largest budget."""
        budget = self.exam.largest
        return self._resample({budget: self.probed(budget, probe)})[budget]

    def with_references(self) -> dict[int | None, Resampled]:
        """Resample all arms together with the references; of these numbers, only those of references are used.

        Spreads are pooled over arms, so a reference among them would move the numbers of the others.
        """
        if not self.references:
            return {}
        return self._resample({
            budget: [
                *self.arms(budget),
                *(
                    Arm(weights.name, "reference", answers.correct(self.exam, budget)[None], seeded=False)
                    for weights, answers in self.references.items()
                ),
            ]
            for budget in self.exam.sizes
        })  # fmt: skip

    def stage_intervals(self) -> list[dict[str, Any]]:
        """Give every stage of every frozen arm at every budget; references last."""
        return [*self._stage_intervals("method", "control"), *self._stage_intervals("reference")]

    def _stage_intervals(self, *kinds: Kind) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        arms: dict[int | None, list[Arm]] = {}
        for budget in self.exam.sizes:
            for name, (kind, answers) in self.frozen().items():
                for stage in answers[0].stages if kind in kinds else ():
                    right = np.stack([one.correct(self.exam, budget, stage) for one in answers])
                    seeded = name not in self.fixed and kind != "reference"
                    arms.setdefault(budget, []).append(Arm(f"{name}\n{stage}", kind, right, seeded=seeded))
                    rows.append({"arm": name, "kind": kind, "stage": stage, "per_class": budget})
        found = self._resample(arms, STAGE_RESAMPLES)
        return [{**row, **as_row(found[row["per_class"]].interval(f"{row['arm']}\n{row['stage']}"))} for row in rows]

    def _resample(
        self, arms: Mapping[int | None, Sequence[Arm]], resamples: int = RESAMPLES
    ) -> dict[int | None, Resampled]:
        return resample_budgets(arms, self.exam.truth, self.exam.test_groups, resamples=resamples)

    def _frozen(self, name: str, kind: Kind, answers: Sequence[Answers], per_class: int | None) -> Arm:
        return Arm(name, kind, np.stack([one.correct(self.exam, per_class) for one in answers]))


def as_row(interval: Interval) -> dict[str, float]:
    """Give an interval as it is written."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}
