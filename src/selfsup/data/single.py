"""A data set made of one image, or of a few: thousands of augmented crops, cut once and kept like decoded images.

Source: Asano, Rupprecht and Vedaldi, "A critical analysis of self-supervision, or what we can learn from a single
image", 2020, https://arxiv.org/abs/1904.13132, and the generator released with it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Int64, UInt8

from selfsup.data.listing import Listing, Skipped, check_folder, list_files, list_folder
from selfsup.data.progress import Progress, silent
from selfsup.data.pyramids import Pyramids
from selfsup.data.store import ImageStore
from selfsup.errors import InputError
from selfsup.values import is_drawn

if TYPE_CHECKING:
    from selfsup.data.cropping import Pyramid

FORMAT = 1
"""To be raised when a crop of equal settings changes, so that older ones are not used again."""
PIECE = 256
"""Crops that are made together."""
FEWEST = 16
"""Crops; with fewer images nothing is trained."""
SURVEYED = 64
"""Side in pixels at which source images are decoded once to see which of them can be used; smaller ones are not."""


@dataclass(frozen=True)
class SingleImage:
    """Crops of one image (or of a few) as a data set: crop i is a function of the images, the seed and i alone.

    Each is a box of a random square window, resized, turned and sheared, cut to its middle, and half of them get other
    colours. It can stand wherever a folder of images can; `pretrain --single-image COUNT` makes one. With k images,
    crop i is of image i mod k, in the order of their names.

    Args:
        paths: image file, several, or a folder of them at any depth.
        count: crops, at least one per image.
        size: side of the crops in pixels; what trains on them may cut out less.
        seed: of all draws. Another seed gives other crops.
        window: side of the windows as a share of the image's short side.
        area: range of a box's share of its window's area, uniform.
        ratio: range of a box's width over its height, uniform in its logarithm.
        rotation_degrees: turns are uniform between minus and plus this; up to 45, or quarter turns could not be told.
        shear_degrees: along x, likewise.
        jitter: of brightness, contrast, saturation and hue, as in `views.color.jitter`.
        jitter_probability: share of the crops whose colours are changed.
        noise: deviation of Gaussian noise in every pixel, where white is 1.
        least: side in pixels of the smallest square that a box may have the area of, whatever `area` says.
        outside: what is seen where a strong shear leaves its box: its mirror image, or black.
        cache: folder for decoded images; by default the user's (see `cache_folder`).

    Raises:
        InputError: for settings out of range.
    """

    paths: str | Path | Sequence[str | Path]
    count: int
    size: int
    seed: int = 0
    window: float = 0.5
    area: tuple[float, float] = (1 / 500, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    rotation_degrees: float = 30.0
    shear_degrees: float = 30.0
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.5
    noise: float = 0.0
    least: int = 16
    outside: Literal["mirror", "black"] = "mirror"
    cache: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check(self)

    def __len__(self) -> int:
        return self.count

    def __str__(self) -> str:
        """Say what it is made of, for display."""
        root, paths = _root_and_paths(self.paths)
        what = root if not paths else root / paths[0] if len(paths) == 1 else f"{len(paths)} images"
        return f"{self.count:,} crops of {what}"

    def window_of(self, height: int, width: int) -> int:
        """Give the side of the windows of a picture in pixels."""
        return max(self.least, int(self.window * min(height, width)))

    def sources(
        self, workers: int | None = None, progress: Progress = silent
    ) -> tuple[list[Path], list[str], list[Skipped]]:
        """Find the images that can be used, by decoding each once; give files, hashes of content and what is skipped.

        Raises:
            InputError: if there is none, or the only one cannot be used.
        """
        from selfsup.data.cache import cache_folder
        from selfsup.data.folder import open_folder

        root, paths = _root_and_paths(self.paths)
        listing = _listed(root, paths)
        table = "" if not paths else "\0".join(["single", *paths])
        store = open_folder(root, listing, SURVEYED, cache_folder(self.cache), workers, progress, table)
        assert store.sizes is not None
        faults = [_fault(int(width), int(height)) for width, height in store.sizes]
        skipped = store.skipped + [Skipped(name, why) for name, why in zip(store.names, faults, strict=True) if why]
        usable = [i for i, why in enumerate(faults) if not why]
        if not usable:
            why = f": {skipped[0].name}: {skipped[0].reason}" if skipped else ""
            given = self.paths if isinstance(self.paths, str | Path) else root
            raise InputError(f"{str(given)!r} holds no image to cut crops from{why}; give a photo or a folder of them.")
        files = [source for i in usable if (source := store.sources[i]) is not None]
        return files, [store.hashes[i] for i in usable], skipped

    def picture(self, file: Path) -> "Pyramid":
        """Read one of the images at full size; the last one is kept."""
        return self._pyramids.of(file)

    def crops(self, numbers: Sequence[int] | Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3 S S"]:
        """Make some of the crops anew, in the order asked: the same bytes that a store of them holds."""
        from selfsup.data.cropping import cut

        asked = np.asarray(numbers, dtype=np.int64)
        files = self.sources()[0]
        made = np.empty((len(asked), 3, self.size, self.size), np.uint8)
        for source in np.unique(asked % len(files)):
            rows = np.flatnonzero(asked % len(files) == source)
            made[rows] = cut(self, self.picture(files[source]), asked[rows])
        return made

    @cached_property
    def _pyramids(self) -> Pyramids:
        return Pyramids(1)


def open_single(
    single: SingleImage,
    image_size: int,
    store_size: int | None,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
) -> ImageStore:
    """Open the crops as a store; they are made in parallel at the first call, and kept.

    Raises:
        InputError: if their size is not the one that was asked for, or too few are wanted.
    """
    from selfsup.data.arrays import hashes_of, numbered
    from selfsup.data.cache import cache_folder, key
    from selfsup.data.cropping import cut
    from selfsup.data.filling import filled
    from selfsup.data.pool import default_workers

    if store_size not in (None, single.size) or image_size > single.size:
        wanted = f"a store size of {store_size}" if store_size not in (None, single.size) else f"{image_size} pixels"
        raise InputError(f"The crops have {single.size} pixels, but {wanted} was asked for; give them that size.")
    workers, single = workers or default_workers(), replace(single, cache=cache or single.cache)
    files, hashes, skipped = single.sources(workers, progress)
    count, size = single.count, single.size
    if count < len(files):
        raise InputError(f"There are {len(files):,} images to cut {count:,} crops from; ask for one of each at least.")
    settings = [getattr(single, item.name) for item in fields(single) if item.name not in ("paths", "cache")]
    folder = cache_folder(single.cache) / "images" / key(["single", FORMAT, *settings, *hashes])
    of_source = [np.arange(first, count, len(files)) for first in range(len(files))]
    pieces = [rows[k : k + PIECE] for rows in of_source for k in range(0, len(rows), PIECE)]
    pyramids = Pyramids(workers)

    def make(piece: int) -> UInt8[np.ndarray, "n 3 S S"]:
        rows = pieces[piece]
        return cut(single, pyramids.of(files[int(rows[0]) % len(files)]), rows)

    pixels = filled(folder, (count, 3, size, size), pieces, make, workers, progress, "cutting crops")
    return ImageStore(
        pixels=pixels,
        names=numbered(count),
        hashes=hashes_of(pixels, progress, folder),
        skipped=skipped,
        notes=[_note(count, len(files), size)],
        source=str(single),
        sources=[None] * count,
        sizes=np.full((count, 2), size),
        folder=folder,
        made_by=single,
    )


def single_side(paths: Any) -> int:
    """Give the typical side in pixels of the windows that crops of these images are cut from; reads headers only."""
    from statistics import median

    from selfsup.data.folder import short_sides

    root, named = _root_and_paths(paths)
    sides = short_sides(root, _listed(root, named).entries)
    return int(SingleImage.window * median(sides)) if sides else 0


def _fault(width: int, height: int) -> str:
    """Say why a picture of that size is not used; "" if it is."""
    from selfsup.data.faults import Unusable, check_size

    if min(width, height) < SURVEYED:
        return f"it has {width} x {height} pixels, and crops are cut from {SURVEYED} x {SURVEYED} or more"
    try:
        check_size(width, height, 4 * width * height)
    except Unusable as error:
        return str(error)
    return ""


def _note(count: int, sources: int, size: int) -> str:
    images = "one image" if sources == 1 else f"{sources:,} images"
    return (
        f"The {count:,} images are crops of {images}, {size} x {size} pixels: those held out share pixels with those"
        " trained on, so what is measured on them says nothing about other images."
    )


def _root_and_paths(paths: Any) -> tuple[Path, list[str]]:
    """Give a folder, and the files in it that were named; none named: all."""
    if isinstance(paths, str | Path):
        path = Path(paths).expanduser()
        if not path.is_file():
            check_folder(path)
            return path, []
        return path.parent, [path.name]
    if not isinstance(paths, list | tuple):
        raise InputError(f"Crops are cut from image files or a folder of them, got {type(paths).__name__}.")
    files = [Path(path).expanduser().absolute() for path in paths]
    missing = next((file for file in files if not file.is_file()), None)
    if not files or missing is not None:
        what = f"there is no file {missing}" if missing is not None else "none was given"
        raise InputError(f"Crops are cut from image files or a folder of them, but {what}.")
    root = Path(os.path.commonpath([file.parent for file in files]))
    return root, [file.relative_to(root).as_posix() for file in files]


def _listed(root: Path, paths: list[str]) -> Listing:
    return list_files(root, paths) if paths else list_folder(root)


def _check(single: SingleImage) -> None:
    """Raise an InputError for settings out of range."""
    ranges = {
        "count": (single.count, 1, None), "size": (single.size, 8, None), "window": (single.window, 0.01, 1),
        "the smallest area": (single.area[0], 0, single.area[1]), "the largest area": (single.area[1], 0.001, 1),
        "the smallest ratio": (single.ratio[0], 0.01, single.ratio[1]),
        "rotation_degrees": (single.rotation_degrees, 0, 45), "shear_degrees": (single.shear_degrees, 0, 60),
        "jitter_probability": (single.jitter_probability, 0, 1), "noise": (single.noise, 0, 1),
        "least": (single.least, 1, SURVEYED), "hue": (single.jitter[3], 0, 0.5),
    }  # fmt: skip
    for name, (value, low, high) in ranges.items():
        if not low <= value <= (value if high is None else high):
            most = "" if high is None else f" and at most {high}"
            raise InputError(f"Crops of a single image need {name} of at least {low}{most}, got {value}.")


def single_image(paths: Any, count: int, image_size: int, store_size: int | None, noise: float) -> SingleImage:
    """Make the crops that `pretrain --single-image` trains on: larger than what is seen by as much as in a folder."""
    if isinstance(paths, str) and is_drawn(paths):
        raise InputError(f"{paths} are many images already; crops are cut from files, leave --single-image out.")
    if count < FEWEST:
        raise InputError(f"--single-image is a number of crops, at least {FEWEST}, got {count}; try 10000.")
    return SingleImage(paths, count, store_size or round(image_size * 8 / 7), noise=noise)
