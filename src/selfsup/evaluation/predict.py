"""Sort images, or clips, into the classes of a run's winning probe."""

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selfsup.data.images import Skipped
from selfsup.data.inputs import open_inputs
from selfsup.evaluation.embed import folder_of, tell_skipped
from selfsup.evaluation.features import device_named, stage_features
from selfsup.evaluation.reading import wanted_of
from selfsup.evaluation.saved import SavedProbe
from selfsup.networks.encoders import load_encoder
from selfsup.progress import Progress, silent
from selfsup.run import Run, write_text


class Predictions(NamedTuple):
    """Where predictions were written, and what was not predicted."""

    file: Path
    images: int
    """Images, or clips."""
    of_class: dict[str, int]
    """How many images went to each class."""
    skipped: list[Skipped]
    things: str = "images"
    """What was predicted: `images` or `clips`."""


def predict(
    run: Run | Path | str,
    data: Any,
    out: Path | str | None = None,
    *,
    cache: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Predictions:
    """Write path, label and confidence of every image as CSV, by the probe that `evaluate` trained.

    Of videos, a line is a clip.

    Args:
        run: run folder that was evaluated.
        data: folder of images or videos, or what else `pretrain` takes.
        out: the file; by default `predictions.csv` in the run folder.
        cache: folder of decoded images; by default the user's cache.
        device: `auto`, `cpu` or `cuda`.
        progress: told what is being done.

    Returns: the file, counts of each class, and the files that could not be read.
    """
    folder = folder_of(run)
    file = Path(out) if out is not None else folder / "predictions.csv"
    saved = SavedProbe.read(folder)
    encoder = load_encoder(folder).to(device_named(device))
    images = open_inputs(
        encoder.name, data, encoder.image_size, channels=encoder.shape[0], cache=cache, progress=progress, least=1,
        wanted=wanted_of(folder),
    )  # fmt: skip
    features = stage_features(
        encoder, images, max_width=saved.max_width, stages=[saved.stage], per_clip=images.clips is not None,
        progress=progress,
    )  # fmt: skip
    names = images.names if images.clips is None else images.clips.names
    chances = saved.probe.probabilities(features[saved.stage])
    best = chances.argmax(1)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "label", "confidence"])
    for name, label, confidence in zip(names, best, chances.max(1), strict=True):
        writer.writerow([name, saved.classes[label], f"{confidence:.4f}"])
    write_text(file, text.getvalue())
    tell_skipped(images, progress)
    counts = np.bincount(best, minlength=len(saved.classes))
    of_class = dict(zip(saved.classes, counts.tolist(), strict=True))
    return Predictions(file, len(names), of_class, images.skipped, "images" if images.clips is None else "clips")
