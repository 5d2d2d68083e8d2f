"""Turn a folder of images, or of videos, into vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.images import ImageStore, Skipped
from selfsup.data.inputs import open_inputs
from selfsup.errors import InputError
from selfsup.evaluation.features import device_named, vectors
from selfsup.evaluation.reading import wanted_of
from selfsup.networks.encoders import load_encoder
from selfsup.progress import Progress, silent
from selfsup.run import Run


def embed(
    run: Run | Path | str,
    data: Any,
    out: Path | str | None = None,
    *,
    cache: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Path:
    """Write the encoder's vector of every image as `.npz` with `names` [N] and `vectors` [N, D].

    Of videos, a row is a clip: the mean over its frames.

    Args:
        run: run folder, or an exported encoder.
        data: folder of images or videos, or what else `pretrain` takes.
        out: the file; by default `embeddings.npz` in the run folder.
        cache: folder of decoded images; by default the user's cache.
        device: `auto`, `cpu` or `cuda`.
        progress: told what is being done.

    Returns: the file. Read it with `numpy.load`; nothing in it is pickled.
    """
    folder = folder_of(run)
    file = Path(out) if out is not None else folder / "embeddings.npz"
    if file.suffix != ".npz":
        raise InputError(f"Vectors are written as .npz, got {str(file)!r}; try {file.stem}.npz.")
    encoder = load_encoder(folder).to(device_named(device))
    images = open_inputs(
        encoder.name, data, encoder.image_size, channels=encoder.shape[0], cache=cache, progress=progress, least=1,
        wanted=wanted_of(folder),
    )  # fmt: skip
    found = vectors(encoder, images, per_clip=images.clips is not None, progress=progress)
    names = images.names if images.clips is None else images.clips.names
    tell_skipped(images, progress)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("wb") as opened:
        np.savez(opened, names=np.array([_encodable(name) for name in names]), vectors=found)
    temporary.replace(file)
    return file


def folder_of(run: Run | Path | str) -> Path:
    """Give the folder of a run, however it was given."""
    return run.folder if isinstance(run, Run) else Path(run)


def tell_skipped(images: ImageStore, progress: Progress) -> None:
    """Name the files that could not be read."""
    shown: list[Skipped] = images.skipped[:20]
    for name, reason in shown:
        progress.note(f"skipped {name}: {reason}")
    if len(images.skipped) > len(shown):
        progress.note(f"... and {len(images.skipped) - len(shown)} more files were skipped")


def _encodable(name: str) -> str:
    """Replace what no encoding has in a file name that is not valid Unicode."""
    return name.encode("utf-8", "replace").decode("utf-8")
