"""Probe every stage of an encoder at every label budget, and choose the stage without looking at the test set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

from selfsup.evaluation import budgets, linear, metrics
from selfsup.evaluation.budgets import Key
from selfsup.evaluation.features import Tell
from selfsup.evaluation.knn import knn_draws
from selfsup.evaluation.linear import LinearProbe
from selfsup.progress import silent

FOLDS = 5
ENOUGH = 5
"""Labels per class from which lambda and stage are chosen inside the budget."""
HELD_OUT = 1000
"""Held-out images that choose well enough: of many labels not all folds are held out in turn."""
NEIGHBOURS = (10, 20)


@dataclass(frozen=True)
class Row:
    """The test result of one probe on one stage at one draw of one label budget."""

    stage: str
    per_class: int | None
    labels: int
    draw: int
    probe: str
    """`linear`, `knn10`, `knn20` or the name of a protocol."""
    lambda_: float | None
    validation: float | None
    """Balanced accuracy on folds inside the label budget, where there were labels enough."""
    accuracy: float
    balanced_accuracy: float
    auroc: float | None
    predicted: Int[np.ndarray, " T"] = field(repr=False)
    """Class of every test image, for intervals; not written."""

    def as_dict(self) -> dict[str, Any]:
        """Give what is written."""
        return {
            "stage": self.stage, "per_class": self.per_class, "labels": self.labels, "draw": self.draw,
            "probe": self.probe, "lambda": self.lambda_, "validation": self.validation,
            "accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy, "auroc": self.auroc,
        }  # fmt: skip


@dataclass(frozen=True)
class Probed:
    """All rows of one encoder, and the stage chosen for each budget and draw inside the label pool."""

    rows: list[Row]
    chosen: dict[Key, str]

    def row(self, key: Key, probe: str = "linear", stage: str | None = None) -> Row:
        """Give the row of a budget and draw, at the chosen stage unless another is named."""
        stage = stage or self.chosen[key]
        (found,) = (r for r in self.rows if ((r.per_class, r.draw), r.probe, r.stage) == (key, probe, stage))
        return found

    def predicted(
        self, per_class: int | None, probe: str = "linear", stage: str | None = None
    ) -> Int[np.ndarray, "draws T"]:
        """Give the predictions of all draws of a budget, at the chosen stage of each unless one is named."""
        keys = sorted(key for key in self.chosen if key[0] == per_class)
        return np.stack([self.row(key, probe, stage).predicted for key in keys])


def probe_stages(
    features: Mapping[str, Float[np.ndarray, "N _"]],
    labels: Int[np.ndarray, " N"],
    pool: Int[np.ndarray, " n"],
    test: Int[np.ndarray, " T"],
    classes: int,
    draws: Mapping[Key, Int[np.ndarray, " _"]],
    *,
    groups: Int[np.ndarray, " N"] | None = None,
    seed: int = 0,
    neighbours: Sequence[int] = NEIGHBOURS,
    progress: Tell = silent,
) -> Probed:
    """Probe all stages by logistic regression and by nearest neighbours.

    Lambda and stage are chosen by stratified, group-aware folds of the labelled images of each draw. Below 5
    labels per class lambda is fixed and the stage is that of the smallest budget of 5 or more in the same draw.

    Args:
        features: of all labelled images, by stage, first to last.
        labels: class of each image.
        pool: positions of the images that may be used with their labels.
        test: positions of the test images; nothing is chosen by them.
        classes: number of classes.
        draws: positions within the pool, from `budgets.label_draws(labels[pool], ...)`.
        groups: images that belong together (a patient), as numbers.
        seed: of the folds.
        neighbours: the k of each nearest-neighbour probe.
        progress: told the number of stages done.
    """
    rows: list[Row] = []
    own = None if groups is None else groups[pool]
    dealt = {
        key: _deal(labels[pool][some], classes, None if own is None else own[some], seed) for key, some in draws.items()
    }
    for number, (stage, x) in enumerate(features.items()):
        known, asked = x[pool], x[test]
        fitted = _fit_all(known, labels[pool], draws, classes, dealt)
        logits = _all_logits({key: probe for key, (probe, _) in fitted.items()}, asked)
        near = knn_draws(known, labels[pool], draws, asked, classes, neighbours) if neighbours else {}
        for key, positions in draws.items():
            probe, validation = fitted[key]
            row = _Rows(stage, key, len(positions), labels[test], classes)
            rows.append(row.linear(probe, validation, logits[key]))
            rows.extend(row.nearest(k, near[key, k]) for k in neighbours)
        progress("probes", number + 1, len(features))
    return Probed(rows, choose_stages(rows, list(draws), list(features)))


def choose_stages(rows: Sequence[Row], keys: Sequence[Key], stages: Sequence[str]) -> dict[Key, str]:
    """Choose the stage of each budget and draw by its validation score; of equals the later.

    Budgets without one take the stage of the next larger in their draw; without any, it is the last stage.
    """
    score = {((r.per_class, r.draw), r.stage): r.validation for r in rows if r.probe == "linear"}

    def best(key: Key) -> str | None:
        scored = [(value, place) for place, s in enumerate(stages) if (value := score[key, s]) is not None]
        return stages[max(scored)[1]] if scored else None

    own = {key: best(key) for key in keys}
    by_size = sorted(keys, key=lambda key: (key[0] is None, key[0] or 0))
    chosen: dict[Key, str] = {}
    for key in keys:
        larger = by_size[by_size.index(key) :]
        candidates = (own[k] for k in larger if k[1] == key[1] or k[0] is None)
        chosen[key] = next((stage for stage in candidates if stage is not None), stages[-1])
    return chosen


def fit_probe(
    features: Float[np.ndarray, "n D"],
    labels: Int[np.ndarray, " n"],
    classes: int,
    groups: Int[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> tuple[LinearProbe, float | None]:
    """Fit a probe with lambda chosen on folds of the same images, where there are 5 labels per class or more.

    Returns:
        The probe, and its balanced accuracy on the held-out folds.
    """
    return _fit(features, labels, classes, _deal(labels, classes, groups, seed))


def _deal(
    labels: Int[np.ndarray, " n"], classes: int, groups: Int[np.ndarray, " n"] | None, seed: int
) -> Int[np.ndarray, " n"] | None:
    """Deal labelled images into folds; None where there are too few to choose anything by."""
    count = FOLDS if groups is None else min(FOLDS, len(np.unique(groups)))
    if budgets.labels_per_class(labels, classes) < ENOUGH or count < 2:
        return None
    return budgets.folds(labels, count, seed, groups)


def _fit(
    features: Float[np.ndarray, "n D"],
    labels: Int[np.ndarray, " n"],
    classes: int,
    folds: Int[np.ndarray, " n"] | None,
) -> tuple[LinearProbe, float | None]:
    data = linear.prepare(features, labels, classes)
    if folds is None:
        return linear.fit_prepared(data, linear.FIXED_LAMBDA), None
    count = int(folds.max()) + 1
    enough = -(-HELD_OUT * count // len(labels))
    choice = linear.choose_lambda(data, folds, held_out=max(1, min(count, enough)))
    return linear.fit_prepared(data, choice.lambda_, choice.start), choice.score


def _fit_all(
    features: Float[np.ndarray, "n D"],
    labels: Int[np.ndarray, " n"],
    draws: Mapping[Key, Int[np.ndarray, " _"]],
    classes: int,
    dealt: Mapping[Key, Int[np.ndarray, " _"] | None],
) -> dict[Key, tuple[LinearProbe, float | None]]:
    """Fit every draw; draws of the same images (the whole pool) are fitted once."""
    known: dict[bytes, tuple[LinearProbe, float | None]] = {}
    for key, positions in draws.items():
        if (name := positions.tobytes()) not in known:
            known[name] = _fit(features[positions], labels[positions], classes, dealt[key])
    return {key: known[positions.tobytes()] for key, positions in draws.items()}


def _all_logits(
    probes: Mapping[Key, LinearProbe], features: Float[np.ndarray, "T D"]
) -> dict[Key, Float[np.ndarray, "T K"]]:
    """Score the test images with all probes of a stage in one matrix product."""
    folded = [probe.folded() for probe in probes.values()]
    weight, bias = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*folded, strict=True))
    logits = F.linear(torch.from_numpy(np.ascontiguousarray(features)), weight, bias).numpy()
    return dict(zip(probes, np.split(logits, len(probes), axis=1), strict=True))


@dataclass(frozen=True)
class _Rows:
    """What the rows of one stage and draw have in common."""

    stage: str
    key: Key
    labels: int
    truth: Int[np.ndarray, " T"]
    classes: int

    def linear(self, probe: LinearProbe, validation: float | None, logits: Float[np.ndarray, "T K"]) -> Row:
        area = metrics.auroc(self.truth, logits[:, 1] - logits[:, 0]) if self.classes == 2 else None
        return self._row("linear", logits.argmax(1), probe.lambda_, validation, area)

    def nearest(self, k: int, predicted: Int[np.ndarray, " T"]) -> Row:
        return self._row(f"knn{k}", predicted, None, None, None)

    def _row(
        self,
        probe: str,
        predicted: Int[np.ndarray, " T"],
        lambda_: float | None,
        validation: float | None,
        area: float | None,
    ) -> Row:
        return Row(
            self.stage, *(self.key[0], self.labels, self.key[1]), probe, lambda_, validation,
            metrics.accuracy(self.truth, predicted), metrics.balanced_accuracy(self.truth, predicted, self.classes),
            area, predicted,
        )  # fmt: skip
