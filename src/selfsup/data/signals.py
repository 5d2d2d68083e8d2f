"""Open 1-D signals: arrays [N, C, L] of numbers, kept as float32 and memory-mapped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from selfsup.data.arrays import as_numpy, collected, hashes_of, is_array, load_npy, numbered
from selfsup.data.cache import cache_folder, key
from selfsup.data.listing import Skipped
from selfsup.data.progress import Progress, silent
from selfsup.data.store import ImageStore
from selfsup.errors import InputError
from selfsup.networks.names import SHORTEST

FILE = "signals.npy"
"""What a folder of signals holds."""
_ROWS = 1024


def open_signals(
    source: Any,
    length: int | None = None,
    *,
    channels: int | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
    least: int = 16,
) -> ImageStore:
    """Open signals as a store of float32 [N, C, L]; those with values that are not finite are skipped and named.

    Args:
        source: a .npy file, a folder with `signals.npy`, or an array or tensor, [N, C, L] or [N, L], of numbers.
        length: samples that an encoder will see; signals must have as many, or more.
        channels: that signals must have; None: any.
        cache: folder for what is not stored as float32 already (see `cache_folder`).
        progress: is told how far the work is.
        least: fewer usable signals are refused.

    Raises:
        InputError: in one sentence, if there are no signals, too few, or of a kind that cannot be read.
    """
    folder: Path | None = None
    if is_array(source):
        array, name = as_numpy(source), "the array"
    else:
        file = signals_file(source)
        array, name = load_npy(file, "[N, C, L]"), str(source)
        facts = file.stat()
        folder = cache_folder(cache) / "signals" / key([1, file.resolve(), facts.st_size, facts.st_mtime_ns])
    array = _shaped(array, name)
    if channels not in (None, array.shape[1]):
        raise InputError(
            f"{name} holds signals of {array.shape[1]} channels, and the encoder reads {channels}; give signals like"
            " those it was trained on."
        )
    if length is not None and array.shape[2] < length:
        raise InputError(
            f"{name} holds signals of {array.shape[2]} samples, and the encoder reads {length}; give longer ones, or"
            " train with a smaller --image-size."
        )
    values = array if array.dtype == np.float32 else collected(_floats(array, progress), array.shape, folder, progress)
    return _usable(values, name, hashes_of(array, progress, folder), least)


def signals_file(source: Any) -> Path:
    """Find the .npy file that a path names: itself, or `signals.npy` in a folder.

    Raises:
        InputError: if it names something else.
    """
    if not isinstance(source, str | Path):
        raise InputError(f"Signals are given as a .npy file or an array [N, C, L], got {type(source).__name__}.")
    path = Path(source).expanduser()
    file = path / FILE if path.is_dir() else path
    if file.suffix != ".npy" or not file.is_file():
        raise InputError(
            f"{source} holds no signals: an encoder of signals needs a .npy file of numbers [N, C, L], or a folder"
            f" with one named {FILE}; for images choose another encoder, such as small."
        )
    return file


def signal_length(source: Any) -> int:
    """Give the samples of each signal; only the head of a file is read."""
    array = source if hasattr(source, "shape") else load_npy(signals_file(source), "[N, C, L]")
    return int(_shaped(array, "the array" if array is source else str(source)).shape[-1])


def statistics(signals: ImageStore) -> tuple[list[float], list[float]]:
    """Give mean and standard deviation of each channel over all samples of all signals; 1 for constant channels."""
    count, total, squares = 0, 0.0, 0.0
    start = signals.rows([0]).astype(np.float64).mean((0, 2))[:, None]  # near the mean: no difference of large numbers
    for first in range(0, len(signals), _ROWS):
        rows = signals.rows(np.arange(first, min(first + _ROWS, len(signals)))).astype(np.float64) - start
        count += rows.shape[0] * rows.shape[2]
        total, squares = total + rows.sum((0, 2)), squares + np.square(rows).sum((0, 2))
    offset = total / count
    deviation = np.sqrt(np.maximum(squares / count - offset**2, 0))
    mean = offset + start[:, 0]
    # values that are all equal differ from their mean by rounding
    return mean.tolist(), np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0).tolist()


def _shaped(array: Any, name: str) -> Any:
    """See numbers as [N, C, L]; refuse what cannot be signals."""
    shape = tuple(array.shape)
    if len(shape) == 2:
        array = array[:, None]
    elif len(shape) != 3:
        raise InputError(
            f"{name} has shape {shape}; an encoder of signals reads [N, C, L]; for images choose another encoder, such"
            " as small."
        )
    if min(shape) == 0:
        raise InputError(f"{name} has shape {shape} and holds no signals.")
    if getattr(getattr(array, "dtype", None), "kind", "f") not in "uifb":
        raise InputError(f"{name} holds {array.dtype} values, not numbers; give one array [N, C, L] of numbers.")
    if array.shape[2] < SHORTEST:
        raise InputError(
            f"{name} has shape {shape}, signals of {array.shape[2]} samples, and at least {SHORTEST} are needed; if"
            " time is on another axis, move it to the last."
        )
    return array


def _floats(array: np.ndarray, progress: Progress) -> Iterator[np.ndarray]:
    for first in range(0, len(array), _ROWS):
        progress("reading signals", first, len(array))
        with np.errstate(over="ignore"):  # too large for float32: infinite, and skipped
            yield np.asarray(array[first : first + _ROWS]).astype(np.float32)
    progress("reading signals", len(array), len(array))


def _usable(values: Float[np.ndarray, "N C L"], name: str, hashes: list[str], least: int) -> ImageStore:
    finite = np.concatenate(
        [np.isfinite(values[first : first + _ROWS]).all((1, 2)) for first in range(0, len(values), _ROWS)]
    )
    names = numbered(len(values))
    skipped = [Skipped(names[n], "it has values that are not finite") for n in np.flatnonzero(~finite)]
    if finite.sum() < least:
        why = f" ({len(skipped)} have values that are not finite)" if skipped else ""
        raise InputError(f"{name} holds {finite.sum()} usable signals{why}; at least {least} are needed.")
    store = ImageStore(
        pixels=values, names=names, hashes=hashes, skipped=skipped, notes=[], source=name, sources=[None] * len(values)
    )
    return store if finite.all() else store.select(np.flatnonzero(finite))
