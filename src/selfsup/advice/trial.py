"""One trial: an encoder's answers on the test images, kept on disk so that a finished trial is never repeated."""

import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsup.advice.references import Reference
from selfsup.run import write_json

Key = tuple[int | None, int]
"""Labels per class (None: all) and the number of the draw."""
Features = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Exam:
    """What every arm is asked: labelled images, which of them may be learned from, and which are the test."""

    labels: NDArray[np.int64]
    classes: int
    pool: NDArray[np.int64]
    test: NDArray[np.int64]
    draws: Mapping[Key, NDArray[np.int64]]
    """Positions within the pool."""
    groups: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()
    seed: int = 0
    pictures: float = 1.0
    """Images an encoder looks at for each label: 1, or the frames of a clip."""

    @property
    def truth(self) -> NDArray[np.int64]:
        """Class of each test image."""
        return self.labels[self.test]

    @property
    def test_groups(self) -> NDArray[np.int64] | None:
        """Group of each test image."""
        return None if self.groups is None else self.groups[self.test]

    @property
    def sizes(self) -> dict[int | None, int]:
        """Labels at each budget, from few to many."""
        sizes = {key[0]: len(positions) for key, positions in self.draws.items()}
        return dict(sorted(sizes.items(), key=lambda pair: pair[1]))

    @property
    def largest(self) -> int | None:
        """The label budget the user has."""
        return list(self.sizes)[-1]

    def keys(self, per_class: int | None) -> list[Key]:
        """Give the draws of a budget."""
        return sorted(key for key in self.draws if key[0] == per_class)

    def positions(self, key: Key) -> NDArray[np.int64]:
        """Positions, among all labelled images, of those that a draw may learn from."""
        return self.pool[self.draws[key]]


@dataclass(frozen=True)
class Answers:
    """What one arm with one seed said about every test image, for each budget, draw and stage."""

    rows: list[dict[str, Any]]
    """`stage`, `per_class`, `draw`, `probe`, `validation`, `balanced_accuracy`, ..."""
    predicted: NDArray[np.int16]
    """[rows, T]"""
    chosen: dict[Key, str]
    """Stage chosen inside the label pool."""
    cost: dict[str, Any] = field(default_factory=dict)

    def at(self, key: Key, stage: str | None = None, probe: str = "linear") -> NDArray[np.int16]:
        """Give the answers [T] at the chosen stage, or at another."""
        found: NDArray[np.int16] = self.predicted[self._place(key, stage or self.chosen[key], probe)]
        return found

    def correct(
        self, exam: Exam, per_class: int | None, stage: str | None = None, probe: str = "linear"
    ) -> NDArray[np.bool_]:
        """Say which test images are right, for all draws of a budget: [D, T]."""
        return np.stack([self.at(key, stage, probe) == exam.truth for key in exam.keys(per_class)])

    def validation(self, key: Key, stage: str | None = None) -> float | None:
        """Give the balanced accuracy on folds inside the label budget."""
        found: float | None = self.row(key, stage)["validation"]
        return found

    def row(self, key: Key, stage: str | None = None, probe: str = "linear") -> dict[str, Any]:
        """Give the row at the chosen stage, or at another."""
        return self.rows[self._place(key, stage or self.chosen[key], probe)]

    @property
    def stages(self) -> list[str]:
        """Stages, first to last."""
        return list(dict.fromkeys(row["stage"] for row in self.rows))

    def _place(self, key: Key, stage: str, probe: str = "linear") -> int:
        wanted = (*key, stage, probe)
        return next(
            place
            for place, row in enumerate(self.rows)
            if (row["per_class"], row["draw"], row["stage"], row["probe"]) == wanted
        )

    def write(self, file: Path, asked: str) -> None:
        """Write `file`.npz, then `file`.json, which says that both are there and what was asked."""
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp.npz")
        np.savez_compressed(temporary, predicted=self.predicted)
        temporary.replace(_with(file, ".npz"))
        chosen = [[*key, stage] for key, stage in self.chosen.items()]
        write_json(_with(file, ".json"), {"asked": asked, "cost": self.cost, "chosen": chosen, "rows": self.rows})


def read_answers(file: Path, asked: str) -> Answers | None:
    """Read answers to this very question, or None: nothing there, half written, or to another question."""
    try:
        content = json.loads(_with(file, ".json").read_text(encoding="utf-8"))
        if content["asked"] != asked:
            return None
        with np.load(_with(file, ".npz"), allow_pickle=False) as arrays:
            predicted = arrays["predicted"]
        chosen = {(per_class, draw): stage for per_class, draw, stage in content["chosen"]}
        return (
            Answers(content["rows"], predicted, chosen, content["cost"])
            if len(predicted) == len(content["rows"])
            else None
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _with(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)  # with_suffix would cut a name at its last dot


def probe(features: Features, exam: Exam, *, neighbours: Sequence[int] = (10,)) -> Answers:
    """Probe every stage at every budget; stage and lambda are chosen inside each budget."""
    from selfsup.evaluation.probing import probe_stages

    probed = probe_stages(
        features, exam.labels, exam.pool, exam.test, exam.classes, exam.draws,
        groups=exam.groups, seed=exam.seed, neighbours=tuple(neighbours),
    )  # fmt: skip
    predicted = np.stack([row.predicted for row in probed.rows]).astype(np.int16)
    return Answers([row.as_dict() for row in probed.rows], predicted, dict(probed.chosen))


def whole_network(
    predicted: Mapping[Key, NDArray[np.int64]],
    exam: Exam,
    notes: Mapping[Key, Any] | None = None,
    cost: Mapping[str, Any] | None = None,
) -> Answers:
    """Give the answers of networks that were trained as a whole: they have one stage, `whole`."""
    rows = [
        {
            "stage": "whole", "per_class": key[0], "draw": key[1], "labels": len(exam.draws[key]), "probe": "linear",
            "validation": None, "lr": (notes or {}).get(key),
            "accuracy": float((answer == exam.truth).mean()),
        }
        for key, answer in predicted.items()
    ]  # fmt: skip
    stacked = np.stack(list(predicted.values())).astype(np.int16)
    return Answers(rows, stacked, dict.fromkeys(predicted, "whole"), dict(cost or {}))


class OnLabels(NamedTuple):
    """A network that was trained as a whole on labels."""

    predicted: NDArray[np.int64]
    """Class of each test image."""
    lr: float
    cost: dict[str, Any]
    """`seconds`, `steps`, `trunk_gflops`, ... as a run's summary has them, of the one training; the search for a
    learning rate is not in it."""


class Bench(ABC):
    """What advice asks of training and evaluation. Tests put a fake in its place."""

    @abstractmethod
    def pretrain(self, method: str, seed: int, folder: Path) -> None:
        """Train, or resume, until the run folder is complete."""

    @abstractmethod
    def cost(self, folder: Path) -> dict[str, Any]:
        """Read what a finished run cost."""

    @abstractmethod
    def features(self, folder: Path) -> Features:
        """Give the stages of a run's encoder on all labelled images."""

    @abstractmethod
    def untrained(self, seed: int, sees: str = "colour") -> Features:
        """Give the stages of an encoder with random weights and re-estimated statistics on all labelled images."""

    @abstractmethod
    def reference(self, reference: Reference) -> Features:
        """Give the stages of an encoder with public weights on all labelled images."""

    @abstractmethod
    def fixed(self, name: str) -> Features:
        """Give the stages of an encoder without parameters (`pixels`, `scattering`) on all labelled images."""

    @abstractmethod
    def supervised(
        self, start: Path | None, seed: int, positions: NDArray[np.int64], steps: int, lr: float | None
    ) -> OnLabels:
        """Train a network on labelled images, from a run's encoder or from random weights.

        Without a learning rate one is chosen inside the labels.
        """

    @abstractmethod
    def keep(self, run: Path, out: Path, stage: str, exam: Exam) -> None:
        """Copy a run's encoder, with a probe of a stage trained on the whole label pool."""

    @abstractmethod
    def neighbours(self, folder: Path, out: Path) -> None:
        """Draw what a run's encoder takes for alike."""


@dataclass(frozen=True)
class Failure:
    """A trial that could not be finished."""

    arm: str
    seed: int | None
    reason: str

    def sentence(self) -> str:
        """Name it."""
        which = self.arm if self.seed is None else f"{self.arm} with seed {self.seed}"
        return f"The trial of {which} failed ({self.reason}); the same command tries it again."


def attempt(work: Callable[[], Answers], arm: str, seed: int | None, failures: list[Failure]) -> Answers | None:
    """Do a trial; what goes wrong in it is named and does not stop the others."""
    try:
        return work()
    except Exception as error:  # one failing trial must not lose the hours of the others; Ctrl-C is not an Exception
        failures.append(Failure(arm, seed, reason_of(error)))
        return None


def reason_of(error: Exception) -> str:
    """Say in one line what went wrong."""
    first = (str(error).splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {first}".removesuffix(": ").rstrip(".")


def run_trial(bench: Bench, method: str, seed: int, exam: Exam, folder: Path, asked: str) -> Answers:
    """Pretrain with one method and one seed and probe the encoder; both only if that has not been done.

    Args:
        bench: trains and computes features.
        method: name of the method.
        seed: of weights, order and views.
        exam: what is asked.
        folder: the run's; the answers stand beside it.
        asked: fingerprint of everything that decides the answers.
    """
    found = read_answers(folder, asked)
    if found is None:
        bench.pretrain(method, seed, folder)
        answers = probe(bench.features(folder), exam)
        found = Answers(answers.rows, answers.predicted, answers.chosen, bench.cost(folder))
        found.write(folder, asked)
    return found
