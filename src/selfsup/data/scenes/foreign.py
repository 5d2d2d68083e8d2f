"""Scenes that were rendered elsewhere: a folder of pictures, and folders of maps beside them."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Num, Shaped, UInt8

from selfsup.data.cache import key, write_json
from selfsup.data.faults import Unusable, reason
from selfsup.data.listing import IMAGE_FILES, OTHER_FILES, Skipped, extension, hidden, printable
from selfsup.data.progress import Progress
from selfsup.data.scenes import truth_maps
from selfsup.data.scenes.crew import Order
from selfsup.data.scenes.truth_store import TruthStore
from selfsup.errors import InputError

FOLDERS = {
    "rgb": ("rgb", "images"),
    "depth": ("depth", "depths"),
    "normal": ("normal", "normals"),
    "contour": ("contour", "contours"),
    "instance": ("instance", "instances"),
}
"""What is looked for, and the names its folder may have."""
GIVEN = {"depth": "depth", "normal": "normals", "contour": "contours", "instance": "contours"}
"""Folders of maps, and what of `TruthStore` each gives."""
READ = IMAGE_FILES | {"npy"}
"""Endings of files that are read; one with another is left alone where there is such a file of the same name."""
FORMAT = 1
"""To be raised when reading changes, so that older stores are not used again."""
THOUSANDTHS = 1000
"""Of a unit in whole numbers of depth: millimetres of metres, and what `selfsup render` writes."""
EMPTY = 0.001
"""Share of contours below which a picture shows nothing to learn from (code: 350 pixels, before resizing)."""


@dataclass(frozen=True)
class ForeignOrder(Order):
    """Which files to read, and into which arrays; the files are listed in the folder of the arrays."""

    root: str
    names: tuple[str, ...]


def open_foreign(root: Path, size: int, cache: Path, workers: int, progress: Progress) -> TruthStore:
    """Open a folder with `rgb/` and beside it `depth/`, `normal/`, `contour/` or `instance/`, or several of them.

    Files belong together by their path below these folders without its ending. Pictures are any images of 8 bits; maps
    are PNG (or TIFF) or `.npy`:

    - depth: whole numbers of 16 bits or more are thousandths of a unit (millimetres), floats units; along the view
      axis; 0 where nothing is seen;
    - normals: bytes, 127.5 (n + 1) of right, down and forward, or floats [H, W, 3]; 0 0 0 where nothing is seen;
    - contours: not 0 where one is;
    - instances: a number or a colour for each thing, from which contours are made where there is no `contour/`.

    The middle square is used. What `selfsup render` writes is such a folder.

    Raises:
        InputError: if there are no pictures, or nothing is known of them.
    """
    files, kinds, skipped = list_scenes(root)
    listing = [f"{name}\0{_facts(root / path)}" for one in files for name, path in one.items()]
    folder = cache / f"truth-folder-{size}px-{key(['foreign', FORMAT, root.resolve(), *listing])}"
    names = tuple(name for name in truth_maps.LAYOUT if name == "scenes" or name in {GIVEN[kind] for kind in kinds})
    order = ForeignOrder(str(folder), len(files), size, 0, False, truth_maps.PART, str(root), names)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "files.json", files)
    arrays, unusable = truth_maps.filled("foreign", order, names, workers, progress, "reading scenes with truth")
    bad = {name for name, _ in unusable}
    usable = np.array([n for n, one in enumerate(files) if printable(one["rgb"]) not in bad], dtype=np.int64)
    skipped = sorted(skipped + unusable)
    return TruthStore(arrays, str(root), usable, skipped, _notes(root, names, skipped))


def list_scenes(root: Path) -> tuple[list[dict[str, str]], list[str], list[Skipped]]:
    """List the files of each picture (kind -> path below `root`), the kinds of maps, and pictures that lack one."""
    found = {kind: _stems(root, names) for kind, names in FOLDERS.items()}
    kinds = [kind for kind in GIVEN if found[kind]]
    if found["contour"] and found["instance"]:
        kinds.remove("instance")
    if not found["rgb"]:
        raise InputError(f"{root} holds no rendered scenes; their pictures are looked for in {root / 'rgb'}.")
    if not kinds:
        raise InputError(
            f"{root} says nothing of its pictures; at least one folder of depth, normal, contour or instance is needed"
            " beside rgb."
        )
    files, skipped = [], []
    for stem, path in sorted(found["rgb"].items()):
        lacking = [kind for kind in kinds if stem not in found[kind]]
        if lacking:
            skipped.append(Skipped(printable(path), f"it has no {lacking[0]}"))
        else:
            files.append({"rgb": path, **{kind: found[kind][stem] for kind in kinds}})
    return files, kinds, skipped


def read_part(order: ForeignOrder, part: int) -> None:
    """Read the files of one part, in this process."""
    files = json.loads((Path(order.folder) / "files.json").read_text(encoding="utf-8"))
    rows = order.scenes_of(part)
    maps = {name: np.zeros((len(rows), *_shape(name, order.size)), truth_maps.LAYOUT[name][1]) for name in order.names}
    skipped = []
    for place, row in enumerate(rows):
        try:
            for name, values in read_scene(Path(order.root), files[row], order.size).items():
                maps[name][place] = values
        except Unusable as why:
            skipped.append(Skipped(printable(files[row]["rgb"]), str(why)))
    truth_maps.write_part(order, part, maps, skipped)


def read_scene(root: Path, files: Mapping[str, str], size: int) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read one picture and its maps as `TruthStore` keeps them.

    Raises:
        Unusable: with the reason.
    """
    values = {kind: _read(root / path, kind) for kind, path in files.items()}
    height, width = values["rgb"].shape[:2]
    for kind, map_ in values.items():
        if abs(map_.shape[1] * height - map_.shape[0] * width) > max(height, width):
            raise Unusable(f"its {kind} is {map_.shape[1]} x {map_.shape[0]}, the picture {width} x {height}")
    found: dict[str, np.ndarray] = {"scenes": _picture(values["rgb"], size)}
    if "depth" in values:
        found["depth"] = depth_of(_nearest(values["depth"], size))
    if "normal" in values:
        found["normals"] = normals_of(_nearest(values["normal"], size)).transpose(2, 0, 1)
    if "contour" in values:
        found["contours"] = _largest(values["contour"] != 0, size)[None]
    elif "instance" in values:
        found["contours"] = edges_of(_nearest(values["instance"], size), found.get("depth"))[None]
    if "contours" in found and found["contours"].mean() < EMPTY:
        raise Unusable("it shows next to no contours")
    return found


def depth_of(values: Num[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Give depth in units from whole thousandths or from floats; 0 where there is none."""
    depth = values.astype(np.float32) / (1 if values.dtype.kind == "f" else THOUSANDTHS)
    known = np.isfinite(depth) & (depth > 0) & (depth < np.finfo(np.float16).max)
    return np.where(known, depth, np.float32(0))


def normals_of(values: Num[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "H W 3"]:
    """Give unit normals from bytes or from floats; 0 where there is none."""
    normals = values.astype(np.float32)
    known = np.isfinite(normals).all(2) & (normals != 0).any(2)
    if values.dtype.kind != "f":
        normals = normals / np.float32(127.5) - 1
    normals = np.where(known[:, :, None], normals, np.float32(0))
    lengths = np.linalg.norm(normals, axis=2, keepdims=True)
    # what is far from unit length is a way to say that nothing is seen (128 128 128, for one)
    return np.where(lengths > 0.5, normals / np.maximum(lengths, 0.5), np.float32(0)).astype(np.float32)


def edges_of(ids: Num[np.ndarray, "S S"], depth: Num[np.ndarray, "S S"] | None) -> UInt8[np.ndarray, "S S"]:
    """Find where a pixel and the one to its right or below are of different things; the nearer one is the contour.

    Without depth it is the upper or left one.
    """
    away = np.zeros(ids.shape, np.float32) if depth is None else np.where(depth > 0, depth, np.inf)
    edges = np.zeros(ids.shape, np.uint8)
    for axis in (0, 1):
        here, there = ((slice(None),) * axis + (cut,) for cut in (slice(None, -1), slice(1, None)))
        differ, nearer = ids[here] != ids[there], away[here] <= away[there]
        edges[here] |= differ & nearer
        edges[there] |= differ & ~nearer
    return edges


def _read(path: Path, kind: str) -> Num[np.ndarray, "H W ..."]:
    """Read one file: a picture or normals [H, W, 3], other maps [H, W]."""
    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_image(path, kind)
    except Unusable:
        raise
    except Exception as error:  # any decoder, any error: a folder never fails for a file
        raise Unusable(f"its {kind}: {reason(error, '', extension(path.name))}") from error
    values = np.squeeze(values)
    if kind in ("rgb", "normal") and values.ndim == 3 and values.shape[2] != 3 and values.shape[0] == 3:
        values = values.transpose(1, 2, 0)
    right = values.shape[2:] == (3,) if kind in ("rgb", "normal") else values.ndim == 2
    if not right or values.dtype.kind not in "buif" or 0 in values.shape:
        raise Unusable(f"its {kind} has the shape {values.shape} and type {values.dtype}")
    if kind == "rgb" and values.dtype != np.uint8:
        raise Unusable(f"its picture is of {values.dtype}, not of bytes")
    return values


def _read_image(path: Path, kind: str) -> Num[np.ndarray, "H W ..."]:
    from PIL import Image

    from selfsup.data.pillow import deep_kind, rgb

    with Image.open(path) as image:
        deep = deep_kind(image.mode) is not None
        if kind in ("rgb", "normal"):
            if deep:
                raise Unusable(f"its {kind} has more than 8 bits")
            return np.asarray(rgb(image)[0])
        if kind == "depth" and not deep:
            raise Unusable("its depth has 8 bits; 16 are needed")
        if deep or image.mode in ("L", "P", "1"):
            return np.asarray(image)
        colours = np.asarray(image.convert("RGB")).astype(np.int64)
        return colours[:, :, 0] + 256 * colours[:, :, 1] + 65536 * colours[:, :, 2]


def _square(values: Shaped[np.ndarray, "H W ..."]) -> Shaped[np.ndarray, "s s ..."]:
    height, width = values.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return values[top : top + side, left : left + side]


def _picture(values: UInt8[np.ndarray, "H W 3"], size: int) -> UInt8[np.ndarray, "3 S S"]:
    """Resize the middle square, antialiased."""
    from PIL import Image

    resized = Image.fromarray(_square(values)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def _nearest(values: Shaped[np.ndarray, "H W ..."], size: int) -> Shaped[np.ndarray, "S S ..."]:
    """Take what stands in the middle of each new pixel: a mean of depths or of normals is of no surface."""
    square = _square(values)
    places = ((np.arange(size) + 0.5) * len(square) / size).astype(np.int64)
    return square[places][:, places]


def _largest(values: Shaped[np.ndarray, "H W"], size: int) -> UInt8[np.ndarray, "S S"]:
    """Take the largest value inside each new pixel, so that no thin line is lost."""
    square = _square(values)
    if len(square) <= size:
        return _nearest(square, size).astype(np.uint8)
    starts = np.arange(size) * len(square) // size
    largest: np.ndarray = np.maximum.reduceat(np.maximum.reduceat(square, starts, 0), starts, 1)
    return largest.astype(np.uint8)


def _stems(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Give the files of the first of these folders that exists: path below it without ending -> path below `root`."""
    found: dict[str, str] = {}
    for name in names:
        if (root / name).is_dir():
            for path in _files(root / name):
                stem, ending = os.path.splitext(os.path.relpath(path, root / name))[0], extension(path)
                # what is of an unknown kind may be a picture: it is refused with the reason when it is read
                if ending in READ or (ending not in OTHER_FILES and stem not in found):
                    found[stem] = os.path.relpath(path, root)
            break
    return found


def _files(folder: Path) -> list[str]:
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not hidden(name))
        found += [os.path.join(place, name) for name in sorted(files) if not hidden(name)]
    return found


def _facts(path: Path) -> tuple[Any, ...]:
    facts = path.stat() if path.exists() else path.lstat()  # a link that leads nowhere is said to be so when it is read
    return str(path), facts.st_size, facts.st_mtime_ns


def _shape(name: str, size: int) -> tuple[int, ...]:
    channels = truth_maps.LAYOUT[name][0]
    return (*([channels] if channels else []), size, size)


def _notes(root: Path, names: Sequence[str], skipped: Sequence[Skipped]) -> list[str]:
    """Say what is missing."""
    notes = [
        f"The scenes in {root} have no {name}, so none are learned from them."
        for name in truth_maps.LAYOUT
        if name not in names
    ]
    if skipped:
        first = skipped[0]
        notes.append(f"{len(skipped):,} of these scenes cannot be used; the first, {first.name}: {first.reason}.")
    return notes
