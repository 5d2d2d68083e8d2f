"""Measure a pretrained encoder on labelled images or clips, always beside the same network untrained."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.labels import LabelledImages, open_labelled, open_labelled_signals, test_split
from selfsup.errors import InputError
from selfsup.evaluation import metrics
from selfsup.evaluation.budgets import Key, label_draws
from selfsup.evaluation.embed import folder_of
from selfsup.evaluation.features import device_named, stage_features
from selfsup.evaluation.intervals import Bootstrap, Interval
from selfsup.evaluation.probing import NEIGHBOURS, Probed, Row, fit_probe, probe_stages
from selfsup.evaluation.protocols import protocol, run_protocol
from selfsup.evaluation.reading import seed_of, untrained_of, wanted_of
from selfsup.evaluation.saved import SavedProbe
from selfsup.memory import keep_pages
from selfsup.networks.encoders import Encoder, load_encoder
from selfsup.networks.names import reads_signals
from selfsup.progress import Progress, silent
from selfsup.run import Run, write_json

LABEL_BUDGETS = (1, 5, 10, 50, 100, None)
"""Labels per class; None: all there are."""
UNTRAINED = "untrained"


def evaluate(
    run: Run | Path | str,
    labels: Any,
    *,
    pattern: str | None = None,
    group: str | None = None,
    label_budgets: Sequence[int | None] = LABEL_BUDGETS,
    draws: int = 3,
    seed: int = 0,
    protocols: Sequence[str] = (),
    protocol_epochs: float | None = None,
    max_width: int = 1024,
    out: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Probe every stage of a run's encoder at several label budgets, beside the same network untrained.

    A run of `baseline` stands alone, unless its filters were made from images: then beside plain random weights.

    Args:
        run: run folder made by `pretrain` or `baseline`.
        labels: class folders, train/val/test folders of class folders, a CSV of path,label[,group], a flat folder
            with `pattern`, `scenes` or `plain-scenes`; clips are judged as a whole: class folders of videos,
            `moving-scenes`, a CSV that names folders of frames, and, for methods that read clips, class folders of such
            folders; for signals a folder of `signals.npy` and `labels.npy`.
        pattern: regular expression with one group that finds the label in a file name.
        group: regular expression with one group; images that share it never straddle pool and test.
        label_budgets: labels per class; None stands for all.
        draws: how often the labelled images of a budget are drawn.
        seed: of draws, folds and intervals.
        protocols: SGD probes of papers to run too, on the whole label pool (slow).
        protocol_epochs: length of these instead of the papers'.
        max_width: features per stage after average pooling.
        out: JSON file; by default `evaluation/LABELS.json` in the run folder.
        cache: folder of decoded images; by default the user's cache.
        device: `auto`, `cpu` or `cuda`.
        progress: told what is being done.

    Returns: what is written.
    """
    folder = folder_of(run)
    for name in protocols:
        protocol(name)
    _check(label_budgets, draws)
    keep_pages()
    place = device_named(device)
    encoder = load_encoder(folder).to(place)
    if reads_signals(encoder.name):
        _refuse_for_signals(protocols, pattern, group)
        data = open_labelled_signals(
            labels, encoder.image_size, channels=encoder.shape[0], cache=cache, progress=progress
        )
    else:
        data = open_labelled(
            labels, encoder.image_size, pattern=pattern, group=group, cache=cache, progress=progress,
            wanted=wanted_of(folder),
        )  # fmt: skip
        if data.frames is not None and protocols:
            raise InputError(f"The protocol {protocols[0]} is for images, and the labels of {labels} are of clips.")
    opened = _Opened(data, label_budgets, draws, seed)
    trained = _Arm(_method_of(folder), encoder)
    arms = [trained]
    if not Run(folder).is_baseline or (folder / "untrained.safetensors").is_file():
        arms.append(_Arm(UNTRAINED, untrained_of(folder, encoder, data.seen, opened.notes).to(place)))
    for arm in arms:
        arm.probe(opened, max_width, progress)
        for name in protocols:
            arm.run(name, opened, protocol_epochs, progress)
    result = _result(opened, arms, seed_of(folder))
    file = Path(out) if out is not None else folder / "evaluation" / f"{_file_name(labels)}.json"
    saved = _save_probe(trained, opened, max_width, folder)
    write_json(file, result | {"probe": {"stage": saved.stage, "lambda": saved.probe.lambda_, "labels": saved.labels}})
    return result


def table(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Give an evaluation as rows of text for a terminal: a head, then a row per arm, label budget and stage chosen."""
    rows: list[tuple[str, ...]] = [("arm", "labels per class", "stage", "balanced accuracy", "points over untrained")]
    for item in result["intervals"]:
        if item["stage"] == "chosen":
            gain = item.get("vs_untrained")
            rows.append((
                item["arm"], _name(item["per_class"]), " ".join(item["stages"]),
                _words(item), "" if gain is None else _words(gain, gain=True),
            ))  # fmt: skip
    return rows


class _Opened:
    """The labelled images, split and drawn once for all arms."""

    def __init__(self, data: LabelledImages, per_class: Sequence[int | None], draws: int, seed: int) -> None:
        self.data, self.seed, self.classes = data, seed, len(data.classes)
        self.pool, self.test = test_split(data)
        self.notes = list(data.notes)
        if data.frames is not None:
            self.notes.append(
                f"What is counted is clips: features are means over the frames of a clip, of {len(data.frames)} frames"
                f" in {len(data)} clips, and clips of one video stay on one side of the test split."
            )
        known = set(data.labels[self.pool].tolist())
        missing = [name for number, name in enumerate(data.classes) if number not in known]
        if missing or len(self.test) == 0:
            lacking = (
                f"no labels outside the test set for {', '.join(missing)}" if missing else f"no test {data.things}"
            )
            raise InputError(
                f"Probes need labelled {data.things} on both sides of the test split, but there are {lacking}."
            )
        self.draws = label_draws(data.labels[self.pool], per_class, draws, seed)
        if not self.draws:
            fewest, wanted = int(np.bincount(data.labels[self.pool]).min()), ", ".join(map(_name, per_class))
            raise InputError(
                f"No label budget of {wanted} per class can be filled: one class has {fewest} labels outside the test"
                " set; ask for fewer, or for all."
            )
        left_out = [str(n) for n in per_class if n is not None and (n, 0) not in self.draws]
        if left_out:
            fewest = int(np.bincount(data.labels[self.pool]).min())
            budgets = ", ".join(left_out)
            self.notes.append(f"No probes at {budgets} labels per class: one class has {fewest} outside the test set.")
        groups = None if data.groups is None else data.groups[self.test]
        self.bootstrap = Bootstrap(data.labels[self.test], self.classes, groups, seed=seed)


class _Arm:
    """One encoder and what was measured of it."""

    def __init__(self, name: str, encoder: Encoder) -> None:
        self.name, self.encoder = name, encoder
        self.protocol_rows: list[Row] = []
        self.protocol_settings: dict[str, dict[str, Any]] = {}

    def probe(self, opened: _Opened, max_width: int, progress: Progress) -> None:
        data = opened.data
        self.features = stage_features(
            self.encoder, data.seen, max_width=max_width, per_clip=data.frames is not None, progress=progress
        )
        self.probed: Probed = probe_stages(
            self.features, data.labels, opened.pool, opened.test, opened.classes, opened.draws,
            groups=data.groups, seed=opened.seed, progress=progress,
        )  # fmt: skip

    def chosen(self, per_class: int | None) -> list[str]:
        """Give the stages chosen at a budget, that of most draws first."""
        draws = [stage for key, stage in self.probed.chosen.items() if key[0] == per_class]
        return [stage for stage, _ in Counter(draws).most_common()]

    def run(self, name: str, opened: _Opened, epochs: float | None, progress: Progress) -> None:
        data, truth = opened.data, opened.data.labels[opened.test]
        known, asked = data.images.select(opened.pool), data.images.select(opened.test)
        outcome = run_protocol(
            name, self.encoder, known, data.labels[opened.pool], asked, opened.classes,
            epochs=epochs, seed=opened.seed, progress=progress,
        )  # fmt: skip
        self.protocol_settings[name] = outcome.settings
        for stage, logits in outcome.logits.items():
            predicted = logits.argmax(1)
            area = metrics.auroc(truth, logits[:, 1] - logits[:, 0]) if opened.classes == 2 else None
            exact = metrics.accuracy(truth, predicted)
            balanced = metrics.balanced_accuracy(truth, predicted, opened.classes)
            self.protocol_rows.append(
                Row(stage, None, len(known), 0, name, None, None, exact, balanced, area, predicted)
            )


def _result(opened: _Opened, arms: Sequence[_Arm], seed: int) -> dict[str, Any]:
    data = opened.data
    return {
        "labels": {
            "source": data.images.source, "classes": list(data.classes), "pool": len(opened.pool),
            "test": len(opened.test), "notes": opened.notes, "things": data.things,
            "skipped": [list(item) for item in data.images.skipped],
        },
        "seed": opened.seed,
        "arms": [
            {
                "name": arm.name, "seed": seed, "stages": list(arm.features),
                "widths": {stage: x.shape[1] for stage, x in arm.features.items()},
                "chosen": [
                    {"per_class": key[0], "draw": key[1], "stage": stage, "lambda": arm.probed.row(key).lambda_}
                    for key, stage in arm.probed.chosen.items()
                ],
                "rows": [row.as_dict() for row in [*arm.probed.rows, *arm.protocol_rows]],
                "protocols": arm.protocol_settings,
            }
            for arm in arms
        ],
        "chosen": {arm.name: {_name(n): arm.chosen(n)[0] for n in _per_class(opened)} for arm in arms},
        "intervals": [item for arm in arms for item in _intervals(opened, arm, arms[-1])],
    }  # fmt: skip


def _intervals(opened: _Opened, arm: _Arm, untrained: _Arm) -> Iterable[dict[str, Any]]:
    """Give intervals per label budget of the chosen stage and of each stage, and of the gain over untrained."""
    probes = ["linear", *(f"knn{k}" for k in NEIGHBOURS)]
    for per_class in _per_class(opened):
        for stage in [None, *arm.features]:
            for probe in probes if stage else probes[:1]:
                predicted = arm.probed.predicted(per_class, probe, stage)
                item: dict[str, Any] = {"arm": arm.name, "per_class": per_class, "probe": probe}
                item |= {"stage": stage or "chosen", "stages": [stage] if stage else arm.chosen(per_class)}
                item |= _numbers(opened.bootstrap.interval(predicted))
                if arm is not untrained:
                    other = untrained.probed.predicted(per_class, probe, stage)
                    item["vs_untrained"] = _numbers(opened.bootstrap.difference(predicted, other))
                yield item


def _save_probe(arm: _Arm, opened: _Opened, max_width: int, folder: Path) -> SavedProbe:
    """Train the probe that `predict` uses, on the whole label pool at the stage chosen there, and write it."""
    data, key = opened.data, max(opened.draws, key=_size)
    stage = arm.probed.chosen[key]
    known, groups = opened.pool, None if data.groups is None else data.groups[opened.pool]
    probe, _ = fit_probe(arm.features[stage][known], data.labels[known], opened.classes, groups, opened.seed)
    predicted = probe.predict(arm.features[stage][opened.test])
    score = metrics.balanced_accuracy(data.labels[opened.test], predicted, opened.classes)
    saved = SavedProbe(probe, list(data.classes), stage, max_width, len(known), score)
    saved.write(folder)
    return saved


def _method_of(folder: Path) -> str:
    return Run(folder).arm


def _check(label_budgets: Sequence[int | None], draws: int) -> None:
    wrong = [n for n in label_budgets if n is not None and n < 1]
    if wrong or not label_budgets:
        raise InputError(f"Label budgets are labels per class, at least 1, or all, got {list(label_budgets)}.")
    if draws < 1:
        raise InputError(f"draws must be at least 1, got {draws}.")


def _refuse_for_signals(protocols: Sequence[str], pattern: str | None, group: str | None) -> None:
    if protocols:
        raise InputError(f"The protocol {protocols[0]} is for images, and this run's encoder reads signals.")
    if pattern is not None or group is not None:
        raise InputError(
            "Patterns look at the names of files, which signals do not have; give labels.npy and groups.npy beside"
            " signals.npy."
        )


def _per_class(opened: _Opened) -> list[int | None]:
    """Give the label budgets that could be filled."""
    return list(dict.fromkeys(key[0] for key in sorted(opened.draws, key=_size)))


def _name(per_class: int | None) -> str:
    return "all" if per_class is None else str(per_class)


def _size(key: Key) -> float:
    return float("inf") if key[0] is None else key[0]


def _numbers(interval: Interval) -> dict[str, float]:
    return interval._asdict()


def _words(item: dict[str, Any], gain: bool = False) -> str:
    mean, low, high = (f"{100 * item[name]:{'+.1f' if gain else '.1f'}}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})" if gain else f"{mean} % ({low} to {high})"


def _file_name(labels: Any) -> str:
    given = Path(str(labels)).stem if isinstance(labels, str | Path) else "labels"
    return given.replace(":", "-") or "labels"
