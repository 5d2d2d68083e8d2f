"""Open images that are already arrays: NumPy, torch, .npy, data set objects."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from selfsup.data.cache import cache_folder, check_space, key, locked, move_into_place, write_durably
from selfsup.data.deep import range_sentence, value_range
from selfsup.data.folder import default_store_size, evenly
from selfsup.data.progress import Progress
from selfsup.data.squares import squares
from selfsup.data.store import ImageStore
from selfsup.errors import InputError

_BATCH_BYTES = 32 * 2**20
_IN_MEMORY = 2**30  # larger results go to a file
_SAMPLE = 64
_THINNEST = 8  # pixels; below, gray images are more likely signals of as many channels


class Values(NamedTuple):
    """Which values of an array become black and white."""

    low: float
    high: float
    note: str | None = None


def is_array(source: Any) -> bool:
    """Whether `source` is a NumPy array or a torch tensor."""
    return isinstance(source, np.ndarray) or (hasattr(source, "detach") and hasattr(source, "numpy"))


def as_numpy(source: Any) -> np.ndarray:
    """Give a NumPy array or torch tensor as the former; bfloat16, which NumPy has not, as float32."""
    if isinstance(source, np.ndarray):
        return source
    tensor = source.detach().cpu()
    numbers: np.ndarray = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return numbers


def open_npy(path: Path, image_size: int, store_size: int | None, cache: Path, progress: Progress) -> ImageStore:
    """Open a .npy file; what is not stored as it is needed is converted once."""
    array = load_npy(path, "[N, 3, H, W]")
    facts = path.stat()
    name = key(["npy", 1, path.resolve(), facts.st_size, facts.st_mtime_ns, image_size, store_size])
    return open_array(array, image_size, store_size, str(path), progress, cache / "images" / name)


def load_npy(path: Path, shape: str) -> np.ndarray:
    """Map a .npy file into memory.

    Raises:
        InputError: if it cannot be read, or holds Python objects; `shape` says what it should hold.
    """
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise InputError(
                f"{path} holds Python objects, which are never unpickled; save one array of numbers {shape}."
            ) from None
        raise InputError(f"{path} is no .npy file that can be read ({error}).") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from None
    return array


def open_array(
    array: Any,
    image_size: int,
    store_size: int | None,
    source: str,
    progress: Progress,
    folder: Path | None = None,
) -> ImageStore:
    """Open images [N, 3, H, W], [N, H, W, 3] or [N, H, W] of numbers; `folder` keeps the result if it is given."""
    array = as_numpy(array)
    check_shape(array, source)
    count = len(array)
    values = values_of([np.asarray(array[row]) for row in evenly(range(count), _SAMPLE)], count)
    height, width = planes(array[:1]).shape[2:]
    size = store_size or default_store_size(image_size, [min(height, width)])

    def batches() -> Iterator[np.ndarray]:
        step = max(1, _BATCH_BYTES // max(1, array[:1].nbytes * 4))
        for start in range(0, count, step):
            progress("reading images", start, count)
            yield squares(as_bytes(np.asarray(array[start : start + step]), values), size)
        progress("reading images", count, count)

    as_it_is = array.dtype == np.uint8 and array.shape[1:] == (3, size, size)
    pixels = array if as_it_is else collected(batches(), (count, 3, size, size), folder, progress, np.uint8)
    return ImageStore(
        pixels=pixels,
        names=numbered(count),
        hashes=hashes_of(array, progress, folder),
        skipped=[],
        notes=[values.note] if values.note else [],
        source=source,
        sources=[None] * count,
        sizes=np.tile([width, height], (count, 1)),
    )


def numbered(count: int, start: int = 0) -> list[str]:
    """Names of images that have none: 000000, 000001, ..."""
    return [f"{number:06d}" for number in range(start, start + count)]


def hashes_of(array: Sequence[Any] | np.ndarray, progress: Progress, folder: Path | None = None) -> list[str]:
    """A hash of the values of each image."""
    if folder is not None and (folder / "hashes.txt").exists():
        return (folder / "hashes.txt").read_text().split()
    hashes = []
    for number, image in enumerate(array):
        if number % 1000 == 0:
            progress("hashing", number, len(array))
        hashes.append(hash_of(image))
    progress("hashing", len(array), len(array))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / "hashes.txt", "\n".join(hashes))
    return hashes


def hash_of(image: np.ndarray) -> str:
    """A hash of the values of an image."""
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).hexdigest()


def check_shape(array: np.ndarray, source: str) -> None:
    """Raise an InputError unless `array` can be images."""
    if array.dtype.kind not in "uifb":
        raise InputError(f"{source} holds {array.dtype} values, not numbers; give one array [N, 3, H, W] of numbers.")
    if array.ndim not in (3, 4):
        raise InputError(f"{source} has shape {array.shape}; images are [N, 3, H, W], [N, H, W, 3] or [N, H, W].")
    if min(array.shape) == 0:
        raise InputError(f"{source} has shape {array.shape} and holds no images.")
    if array.ndim == 3 and min(array.shape[1:]) < _THINNEST:
        raise InputError(
            f"{source} has shape {array.shape}, which would be gray images of {array.shape[1]} x {array.shape[2]}"
            " pixels; signals [N, C, L] need an encoder of signals, such as small1d."
        )
    channels = planes(array[:1]).shape[1]
    if channels not in (1, 3, 4):
        raise InputError(
            f"{source} has shape {array.shape}, with {channels} channels; images have 1, 3 or 4,"
            " on the first axis after the number of images or on the last axis."
        )


def planes(batch: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n C H W"]:
    """See a batch of images, gray or with channels on axis 1 or on the last, as [n, C, H, W]."""
    if batch.ndim == 3:
        return batch[:, None]
    return batch if batch.shape[1] in (1, 3, 4) else batch.transpose(0, 3, 1, 2)


def values_of(images: Sequence[np.ndarray], count: int) -> Values:
    """Find out from some of `count` images which values are black and white."""
    dtype = np.result_type(*images)
    if dtype.kind == "b" or dtype == np.uint8:
        return Values(0, 1 if dtype.kind == "b" else 255)
    sample = np.concatenate([image.reshape(-1)[:: max(1, image.size // 65536)].astype(np.float64) for image in images])
    sample = sample[np.isfinite(sample)]
    low, high = (float(sample.min()), float(sample.max())) if len(sample) else (0.0, 1.0)
    if low >= 0 and high <= 1 and dtype.kind == "f":
        return Values(0, 1)
    if low >= 0 and high <= 255 and (dtype.kind != "f" or high > 8):
        return Values(0, 255)
    low, high = value_range(sample)
    return Values(
        low, high, range_sentence("float" if dtype.kind == "f" else f"{8 * dtype.itemsize}-bit", count, low, high)
    )


def as_bytes(batch: Shaped[np.ndarray, "n ..."], values: Values) -> UInt8[np.ndarray, "n 3 H W"]:
    """Scale to bytes in RGB; what is transparent becomes white."""
    batch = planes(batch)
    if batch.dtype != np.uint8:
        numbers = np.nan_to_num(batch.astype(np.float32), nan=values.low, posinf=values.high, neginf=values.low)
        batch = np.round(np.clip((numbers - values.low) / (values.high - values.low), 0, 1) * 255).astype(np.uint8)
    if batch.shape[1] == 4:
        alpha = batch[:, 3:].astype(np.float32) / 255
        batch = np.round(batch[:, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return batch if batch.shape[1] == 3 else np.repeat(batch, 3, axis=1)


def collected(
    batches: Iterable[np.ndarray],
    shape: tuple[int, ...],
    folder: Path | None,
    progress: Progress,
    dtype: type[np.generic] = np.float32,
) -> np.ndarray:
    """Put batches into one array of a shape: in memory, or in `folder`, where it is found again."""
    if folder is None:
        pixels = room_for(shape, None, dtype)
        _fill(pixels, batches)
        return pixels
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / "images.npy"
    with locked(folder / "lock", progress):
        if not final.exists():
            check_space(folder, _size(shape, dtype))
            partial = folder / "images.partial"
            mapped = np.lib.format.open_memmap(partial, "w+", dtype, shape)
            _fill(mapped, batches)
            mapped.flush()
            with open(partial, "r+b") as file:
                os.fsync(file.fileno())
            move_into_place(partial, final)
    loaded: np.ndarray = np.load(final, mmap_mode="r", allow_pickle=False)
    return loaded


def room_for(shape: tuple[int, ...], cache: Path | None, dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """An empty array, of bytes unless said; if it is large, in a file that vanishes with this process."""
    if _size(shape, dtype) <= _IN_MEMORY:
        return np.empty(shape, dtype)
    folder = cache_folder(cache)
    check_space(folder, _size(shape, dtype))
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def _size(shape: tuple[int, ...], dtype: type[np.generic]) -> int:
    """Bytes of an array."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _fill(pixels: np.ndarray, batches: Iterable[np.ndarray]) -> None:
    place = 0
    for batch in batches:
        pixels[place : place + len(batch)] = batch
        place += len(batch)
