"""A bench that trains nothing: encoders whose quality is planted, and images that are only numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsup.advice.plan import Measured, Plan, fix_steps
from selfsup.advice.references import Reference
from selfsup.advice.supervision import Supervised
from selfsup.advice.trial import Answers, Bench, Exam, Features, OnLabels
from selfsup.evaluation.budgets import label_draws
from selfsup.run import write_json

CLASSES = 4


def exam(
    per_class: int = 100,
    budgets: tuple[int | None, ...] = (5, None),
    draws: int = 2,
    noise_labels: bool = False,
    classes: int = CLASSES,
) -> Exam:
    """60 % of the images to learn from, the others to be asked."""
    labels = np.repeat(np.arange(classes), per_class)
    if noise_labels:
        labels = np.random.default_rng(7).permutation(labels)
    place = np.arange(len(labels)) % 5
    pool, test = np.flatnonzero(place < 3), np.flatnonzero(place >= 3)
    return Exam(labels, classes, pool, test, label_draws(labels[pool], budgets, draws, 0))


def plan(
    methods: tuple[str, ...] = ("rotation", "dae", "simclr"),
    seeds: int = 3,
    finalists: int = 3,
    supervised: Supervised | None = None,
    **changes: Any,
) -> Plan:
    """A plan as if steps had been timed."""
    seconds = dict.fromkeys(methods, 0.1)
    settings: dict[str, Any] = {
        "data": "photos", "images": "abc", "count": 500, "labels": "labelled", "labelled": "def",
        "encoder": "small", "image_size": 32, "store_size": 36, "device": "cpu", "precision": "float32",
        "layout": "contiguous", "threads": 1,
        "budget": "10s", "methods": list(methods), "seconds_per_step": seconds, "steps": fix_steps("10s", seconds),
        "batch_size": dict.fromkeys(methods, 64), "screening_seed": 1000 if len(methods) > finalists else None,
        "seeds": list(range(seeds)), "finalists": finalists, "label_budgets": [5, None], "draws": 2,
        "supervised": {} if supervised is None else supervised.written(),
    }  # fmt: skip
    return Plan(**{**settings, **changes})


def measured(methods: tuple[str, ...], seconds: float = 0.1, supervised: float = 0.01) -> Measured:
    """What timing would have found."""
    return Measured(
        dict.fromkeys(methods, seconds),
        {},
        dict.fromkeys(methods, 64),
        supervised,
        "cpu",
        "float32",
        "contiguous",
        1,
        500.0,
        2.0,
    )


class FakeBench(Bench):
    """Features are class means times a planted quality, plus noise of their own for every arm and seed.

    Args:
        labels: what the features are made from; labels of the exam may be others.
        quality: of each method, of `untrained`, of `pixels` and of references by name; above 1 is easy.
        scratch: accuracy of training on the labels alone, by number of labels.
        failing: (method, seed) that raise.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        test: NDArray[np.int64],
        quality: Mapping[str, float],
        scratch: Mapping[int, float] | None = None,
        failing: frozenset[tuple[str, int]] = frozenset(),
    ) -> None:
        self.labels, self.test, self.quality = labels, test, quality
        self.accuracy, self.failing = dict(scratch or {}), failing
        self.steps: dict[str, int] = {}
        self.trained: list[tuple[str, int]] = []
        self.on_labels: list[tuple[str | None, int, int, int, float | None]] = []
        self.sheets: list[Path] = []

    def pretrain(self, method: str, seed: int, folder: Path) -> None:
        if (method, seed) in self.failing:
            raise RuntimeError(f"{method} exploded\nwith details")
        self.trained.append((method, seed))
        folder.mkdir(parents=True)
        (folder / "encoder.safetensors").write_bytes(f"{method} {seed}".encode())
        headline = {"name": "accuracy", "value": 0.5, "chance": 0.25, "rises": True}
        write_json(folder / "summary.json", {"method": method, "seed": seed, "seconds": 9.5, "headline": headline})

    def cost(self, folder: Path) -> dict[str, Any]:
        headline = {"name": "accuracy", "value": 0.5, "chance": 0.25, "rises": True}
        return {"seconds": 9.5, "steps": 100, "headline": headline}

    def features(self, folder: Path) -> Features:
        method, seed = (folder / "encoder.safetensors").read_text().split()
        return self._features(method, int(seed))

    def untrained(self, seed: int, sees: str = "colour") -> Features:
        return self._features("untrained" if sees == "colour" else f"untrained ({sees})", seed)

    def reference(self, reference: Reference) -> Features:
        return self._features(reference.name, 0)

    def fixed(self, name: str) -> Features:
        return {name: self._features(name, 0)["stage2"]}

    def keep(self, run: Path, out: Path, stage: str, exam: Exam) -> None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "encoder.safetensors").write_bytes((run / "encoder.safetensors").read_bytes())

    def neighbours(self, folder: Path, out: Path) -> None:
        self.sheets.append(out)

    def supervised(
        self, start: Path | None, seed: int, positions: NDArray[np.int64], steps: int, lr: float | None
    ) -> OnLabels:
        name = None if start is None else start.name
        self.on_labels.append((name, seed, len(positions), steps, lr))
        rng = np.random.default_rng([5, seed, len(positions), len(name or "")])
        accuracy = self.accuracy.get(len(positions), 0.3) + (0.05 if start is not None else 0.0)
        truth = self.labels[self.test]
        right = rng.random(len(truth)) < accuracy
        predicted = np.where(right, truth, (truth + 1) % (truth.max() + 1))
        return OnLabels(predicted, 0.03 if lr is None else lr, {"seconds": 4.5, "steps": steps, "trunk_gflops": 77.0})

    def _features(self, name: str, seed: int) -> Features:
        number = sum(name.encode())
        means = np.random.default_rng(3).normal(size=(int(self.labels.max()) + 1, 6))
        rng = np.random.default_rng([number, seed])
        signal, noise = means[self.labels], rng.normal(size=(len(self.labels), 6))
        quality = self.quality[name] + 0.02 * rng.normal()
        return {
            "stage1": (0.4 * quality * signal + noise).astype(np.float32),
            "stage2": (quality * signal + noise).astype(np.float32),
        }


def fast_probe(features: Features, exam: Exam) -> Answers:
    """Stand in for evaluation's probes: the nearest class mean, judged on the odd half of the labels."""
    rows, predicted, best = [], [], {}
    for stage, x in features.items():
        for key in exam.draws:
            positions = exam.positions(key)
            score = _right(_nearest(x, positions[::2], positions[1::2], exam), exam.labels[positions[1::2]])
            enough = len(positions) >= 5 * exam.classes
            answer = _nearest(x, positions, exam.test, exam)
            about = {"stage": stage, "per_class": key[0], "draw": key[1], "labels": len(positions), "lambda": None}
            scores = {"accuracy": _right(answer, exam.truth), "balanced_accuracy": _right(answer, exam.truth)}
            area = _right(answer, exam.truth) if exam.classes == 2 else None
            for probe in ("linear", "knn10"):
                row = {**about, **scores, "probe": probe, "validation": score if enough else None, "auroc": area}
                rows.append(row)
                predicted.append(answer)
            if key not in best or score >= best[key][0]:
                best[key] = (score, stage)
    return Answers(rows, np.stack(predicted).astype(np.int16), {key: stage for key, (_, stage) in best.items()})


def _nearest(
    x: NDArray[np.float32], known: NDArray[np.int64], wanted: NDArray[np.int64], exam: Exam
) -> NDArray[np.int64]:
    means = np.stack([x[known][exam.labels[known] == label].mean(0) for label in range(exam.classes)])
    return np.asarray(((x[wanted][:, None] - means) ** 2).sum(2).argmin(1))


def _right(answer: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float((answer == truth).mean())
