"""The arms that a method must beat: raw pixels, fixed wavelets, an untrained encoder, and training on labels alone.

Fine-tuning stands beside training from scratch, with the same steps, views and tuning: a frozen encoder against a
trained network alone would compare apples with oranges.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsup.advice.plan import fingerprint
from selfsup.advice.references import Reference
from selfsup.advice.supervision import Supervised
from selfsup.advice.trial import Answers, Bench, Exam, Failure, Key, attempt, probe, read_answers, whole_network


def fixed(bench: Bench, exam: Exam, name: str, folder: Path, asked: str, failures: list[Failure]) -> Answers | None:
    """Probe what nobody trained and no seed decides: the images themselves, or fixed wavelets."""
    words = "raw pixels" if name == "pixels" else name
    return attempt(lambda: _kept(folder / name, asked, lambda: probe(bench.fixed(name), exam)), words, None, failures)


def untrained(
    bench: Bench, exam: Exam, seeds: Sequence[int], folder: Path, asked: str, failures: list[Failure], sees: str
) -> list[Answers]:
    """Probe untrained encoders of the methods' seeds that see the same, with every courtesy that trained ones get."""
    found = []
    name = "untrained" if sees == "colour" else f"untrained-{sees}"
    for seed in seeds:

        def work(seed: int = seed) -> Answers:
            return _kept(folder / f"{name}-seed{seed}", asked, lambda: probe(bench.untrained(seed, sees), exam))

        words = "the untrained encoder" + ("" if sees == "colour" else f" that sees {sees}")
        found.append(attempt(work, words, seed, failures))
    return [answers for answers in found if answers is not None]


def reference(
    bench: Bench, exam: Exam, weights: Reference, folder: Path, asked: str, failures: list[Failure]
) -> Answers | None:
    """Probe public weights as methods are probed."""
    own = fingerprint(asked, weights.content, weights.architecture)
    file = folder / f"reference-{own}"
    return attempt(
        lambda: _kept(file, own, lambda: probe(bench.reference(weights), exam)), weights.name, None, failures
    )


class Trained(NamedTuple):
    """Networks that were trained on the labels of one budget."""

    right: NDArray[np.bool_]
    """[repeats, D, T]: which test images each gets right."""
    costs: list[dict[str, Any]]
    """Of each training."""


def on_labels(
    bench: Bench,
    exam: Exam,
    supervised: Supervised,
    per_class: int | None,
    repeats: int,
    seeds: Sequence[int],
    name: str,
    start: Callable[[int], Path] | None,
    folder: Path,
    asked: str,
    failures: list[Failure],
) -> Trained | None:
    """Train networks on the labels of one budget.

    The learning rate is chosen inside the labels of the first training, and the others use it.

    Args:
        bench: trains.
        exam: labels and test images.
        supervised: number of steps.
        per_class: the budget.
        repeats: trainings for each draw.
        seeds: each draw and repeat takes the next one.
        name: of the arm.
        start: run folder whose encoder a seed starts from; None: from scratch.
        folder: where answers are kept.
        asked: fingerprint of everything that decides the answers.
        failures: gets what went wrong; a repeat with a failure is left out.
    """
    keys = exam.keys(per_class)
    lr: list[float] = []

    def train(key: Key, seed: int) -> Answers:
        trained = bench.supervised(
            None if start is None else start(seed), seed, exam.positions(key), supervised.steps[per_class],
            lr[0] if lr else None,
        )  # fmt: skip
        return whole_network({key: trained.predicted}, exam, {key: trained.lr}, trained.cost)

    complete: list[NDArray[np.bool_]] = []
    costs: list[dict[str, Any]] = []
    for repeat in range(repeats):
        cells = []
        for place, key in enumerate(keys):
            seed = seeds[(repeat * len(keys) + place) % len(seeds)]
            words = "all" if per_class is None else per_class
            file = folder / f"{name.replace(' ', '-')}-{words}-draw{key[1]}-seed{seed}"
            own = fingerprint(asked, str(supervised.steps[per_class]), str(lr))

            def work(file: Path = file, own: str = own, key: Key = key, seed: int = seed) -> Answers:
                return _kept(file, own, lambda: train(key, seed))

            answers = attempt(work, f"{name} with {words} labels", seed, failures)
            if answers is not None:
                cells.append(answers.at(key) == exam.truth)
                costs.append(answers.cost)
                lr = lr or [float(answers.rows[0]["lr"])]
        if len(cells) == len(keys):
            complete.append(np.stack(cells))
    return Trained(np.stack(complete), costs) if complete else None


def _kept(file: Path, asked: str, work: Callable[[], Answers]) -> Answers:
    """Read answers from disk, or work them out and keep them."""
    found = read_answers(file, asked)
    if found is None:
        found = work()
        found.write(file, asked)
    return found
