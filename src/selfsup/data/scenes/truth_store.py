"""Rendered scenes with what is true of each of their pixels, as they are read beside a user's images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped

from selfsup.data.cache import cache_folder
from selfsup.data.listing import Skipped, check_folder
from selfsup.data.scenes import truth_maps
from selfsup.data.scenes.crew import Order
from selfsup.errors import InputError
from selfsup.progress import Progress, silent

ROOMS = {"scenes": True, "plain-scenes": False}
"""Sources by name, and whether there is a room around the things."""
SCENES = 3000
"""Scenes that are drawn when no number is given."""
LEAST = 40
"""Fewer scenes are refused: every twentieth is held out."""


@dataclass(frozen=True, eq=False)
class TruthStore:
    """Rendered pictures of one size with their truth, memory-mapped; a selection shares the arrays of its origin."""

    arrays: Mapping[str, Shaped[np.ndarray, "M ..."]]
    """`scenes`, and of `depth`, `normals` and `contours` what there is; `rows` says what they hold."""
    source: str
    """What was given, for display."""
    index: Integer[np.ndarray, " N"]
    """Rows of the arrays that belong to this selection, in order."""
    skipped: list[Skipped] = field(default_factory=list)
    """Pictures of a folder that cannot be used, with the reason."""
    notes: list[str] = field(default_factory=list)
    """Sentences to show."""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return int(self.arrays["scenes"].shape[-1])

    @property
    def key(self) -> str:
        """Name the content: other scenes, or changed files, lie in another folder of the cache."""
        array = self.arrays["scenes"]
        return Path(str(array.filename)).parent.name if isinstance(array, np.memmap) else ""

    def rows(self, numbers: Integer[np.ndarray, " n"] | Sequence[int]) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """Gather pictures and truth in the order asked, as copies; truth that a folder lacks is left out.

        Returns: `scenes` uint8 [n, 3, S, S]; `depth` float32 [n, S, S] in world units, 0 where nothing is seen;
        `normals` float32 [n, 3, S, S], unit, right, down and forward, 0 where nothing is seen; `contours` float32
        [n, 1, S, S], 0 or 1.
        """
        wanted = self.index[np.asarray(numbers, dtype=np.int64)]
        found = {name: np.asarray(array)[wanted] for name, array in self.arrays.items()}
        return {name: rows if name == "scenes" else rows.astype(np.float32) for name, rows in found.items()}

    def select(self, numbers: Integer[np.ndarray, " n"] | Sequence[int]) -> "TruthStore":
        """Give a part of the pictures, in the order asked, without copying."""
        return replace(self, index=self.index[np.asarray(numbers, dtype=np.int64)])


def open_truth(
    source: str | Path,
    size: int,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> TruthStore:
    """Open rendered scenes with their truth: rendered or read at the first call, from disk at the next.

    Args:
        source: "scenes", "scenes:COUNT" or "scenes:COUNT:SEED", "plain-scenes" likewise; or a folder of scenes that
            were rendered elsewhere (see `foreign.open_foreign`).
        size: side in pixels; 16 to 512 where scenes are drawn.
        cache: folder to keep them in (see `cache_folder`).
        workers: processes; one per core by default, 0 works in this one.
        progress: told how far the work is, and what was skipped.

    Raises:
        InputError: in one sentence, if there are no such scenes, too few, or none with any truth.
    """
    from selfsup.data.pool import default_workers

    workers = default_workers() if workers is None else workers
    name = str(source).partition(":")[0]
    if isinstance(source, str) and name in ROOMS:
        store = _drawn(source, size, cache_folder(cache), workers, progress)
    else:
        from selfsup.data.scenes.foreign import open_foreign

        _refuse_moving(str(source))
        root = Path(source).expanduser()
        check_folder(root)
        store = open_foreign(root, size, cache_folder(cache), workers, progress)
    _refuse_few(store)
    for note in store.notes:
        progress.note(note)
    return store


def draw_part(order: Order, part: int) -> None:
    """Draw the scenes of one part with their truth, in this process."""
    from selfsup.data.scenes.description import describe
    from selfsup.data.scenes.renderer import render
    from selfsup.data.scenes.truth import truth

    described = [describe(order.seed, index, order.room) for index in order.scenes_of(part)]
    found = [truth(scene, order.size) for scene in described]
    maps = {
        "scenes": np.stack([picture.transpose(2, 0, 1) for picture in render(described, order.size)]),
        "depth": np.stack([each.depth for each in found]),
        "normals": np.stack([each.normals.transpose(2, 0, 1) for each in found]),
        "contours": np.stack([each.contours[None] for each in found]),
    }
    truth_maps.write_part(order, part, maps)


def _drawn(source: str, size: int, cache: Path, workers: int, progress: Progress) -> TruthStore:
    from selfsup.data.scenes.renderer import check_size, require_panda3d
    from selfsup.data.scenes.store import drawing_code

    count, seed = _numbers(source)
    if count < LEAST:
        raise InputError(f"At least {LEAST} scenes are needed, got {source}; try {source.partition(':')[0]}:{SCENES}.")
    check_size(size)
    name = source.partition(":")[0]
    code = drawing_code("truth", "truth_maps", "truth_store")
    folder = cache / f"truth-{name}-{size}px-{count}-seed{seed}-{code}"
    order = Order(str(folder), count, size, seed, ROOMS[name], truth_maps.PART)
    names = list(truth_maps.LAYOUT)
    if truth_maps.opened(order, names) is None:
        require_panda3d()
    arrays, _ = truth_maps.filled("truth_store", order, names, workers, progress, "drawing scenes with truth")
    return TruthStore(arrays, source, np.arange(count))


def _numbers(source: str) -> tuple[int, int]:
    """Read COUNT and SEED of "scenes:COUNT:SEED"."""
    name, *parts = source.split(":")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise InputError(f"Scenes are given as {name}, {name}:COUNT or {name}:COUNT:SEED, got {source}.")
    return int(parts[0]) if parts else SCENES, int(parts[1]) if len(parts) > 1 else 0


def _refuse_moving(source: str) -> None:
    from selfsup.values import is_drawn

    if is_drawn(source):
        raise InputError(
            f"Truth is read of scenes, plain-scenes or a folder, got {source}; render it to a folder first, with"
            f" `selfsup render {source.partition(':')[0]} FOLDER --truth depth,normals,contours`."
        )


def _refuse_few(store: TruthStore) -> None:
    if len(store) >= LEAST:
        return
    why = ""
    if store.skipped:
        first = store.skipped[0]
        why = f" ({len(store.skipped)} skipped, the first, {first.name}: {first.reason})"
    raise InputError(f"{store.source} gives {len(store)} usable scenes{why}; at least {LEAST} are needed.")
