"""Decode the images of a folder once, and open them again in no time."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from selfsup.data.cache import check_space, journal_lines, key, locked, move_into_place, write_json
from selfsup.data.deep import SAMPLE, range_sentence, value_range
from selfsup.data.faults import Unusable
from selfsup.data.listing import Entry, Listing, Skipped, extension, printable
from selfsup.data.progress import Progress
from selfsup.data.store import ImageStore

FORMAT = 2
"""To be raised when decoding changes, so that older stores are not used again."""
_JOURNAL_EVERY = 1.0
"""Seconds; pixels reach the disk while others are decoded, so that little is left to wait for at the end."""


class _File(NamedTuple):
    """A line of a store's table."""

    path: str
    size: int
    modified: int
    status: str
    detail: str
    width: int
    height: int
    traits: list[str]


def default_store_size(image_size: int, short_sides: Iterable[int]) -> int:
    """8/7 of the image size, so that crops can move; never above the typical short side, never below the image size."""
    sides = list(short_sides)
    wanted = round(image_size * 8 / 7)
    return max(image_size, min(wanted, round(median(sides)))) if sides else wanted


def short_sides(root: Path, entries: Sequence[Entry]) -> list[int]:
    """Short sides of up to 64 images, evenly spread over the listing; only their headers are read."""
    from PIL import Image

    found = []
    for entry in evenly(entries, SAMPLE):
        try:
            with Image.open(root / entry.path) as image:
                found.append(min(image.size))
        except Exception:  # whatever is wrong with it will be said when it is decoded
            continue
    return found


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """Take up to `most` items, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[i * (len(items) - 1) // (most - 1)] for i in range(most)]


def open_folder(
    root: Path, listing: Listing, size: int, cache: Path, workers: int | None, progress: Progress, table: str
) -> ImageStore:
    """Open the store of the listed files, decoding them first if need be."""
    home = cache / "images" / key(["folder", FORMAT, size, root.resolve(), table])
    final = home / key(f"{entry.path}\0{entry.size}\0{entry.modified}" for entry in listing.entries)
    if not (final / "files.json").exists():
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "lock", progress):
            if not (final / "files.json").exists():
                _Decoding(root, listing, size, home, final, progress).run(workers)
    return _load(root, listing, final)


def _load(root: Path, listing: Listing, folder: Path) -> ImageStore:
    content = json.loads((folder / "files.json").read_text())
    files = [_File(*line) for line in content["files"]]
    usable = [file for file in files if file.status == "ok"]
    skipped = [Skipped(printable(file.path), file.detail) for file in files if file.status == "skipped"]
    return ImageStore(
        pixels=np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
        names=[printable(file.path) for file in usable],
        hashes=[file.detail for file in usable],
        skipped=sorted(skipped + listing.skipped),
        notes=_notes(files, listing, content["ranges"], content["size"]),
        source=str(root),
        sources=[root / file.path for file in usable],
        sizes=np.array([(file.width, file.height) for file in usable], dtype=np.int64).reshape(-1, 2),
        traits=[" ".join(file.traits) for file in usable],
        folder=folder,
    )


class _Decoding:
    """Fill a partial folder row by row, with a journal, then move it into place."""

    def __init__(self, root: Path, listing: Listing, size: int, home: Path, final: Path, progress: Progress) -> None:
        self.root, self.entries, self.size, self.final, self.progress = root, listing.entries, size, final, progress
        self.home = home
        self.partial = home / (final.name + ".partial")
        self.target = self.partial / "images.npy"
        self.journal = self.partial / "journal.jsonl"
        self.image_bytes = 3 * size * size
        self.outcomes: dict[int, Any] = {}
        self.deep: set[int] = set()
        self.unsaved: list[Any] = []
        self.saved_at = 0.0

    def run(self, workers: int | None) -> None:
        from selfsup.data.pool import Job, decode_rows, default_workers

        workers = workers or default_workers()
        self.start()
        job = Job(self.root, self.entries, self.size, self.target, self.offset)
        todo = [row for row in range(len(self.entries)) if row not in self.outcomes and row not in self.deep]
        try:
            if todo:
                decode_rows(job, todo, {}, min(workers, len(todo)), self.handle)
            self.save()
            ranges = self.ranges()
            late = sorted(row for row in self.deep if row not in self.outcomes)
            if late:
                decode_rows(job, late, ranges, min(workers, len(late)), self.handle)
        finally:
            self.save()
        self.finish(ranges)

    def start(self) -> None:
        """Go on where the journal ends, or make an empty file and take over what an older store of the folder has."""
        rows = len(self.entries)
        header = _npy_header((rows, 3, self.size, self.size))
        self.offset = len(header)
        whole = self.offset + rows * self.image_bytes
        if self.journal.exists() and self.target.exists() and self.target.stat().st_size == whole:
            for outcomes in journal_lines(self.journal):
                self.remember(outcomes)
            return
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        check_space(self.partial, rows * self.image_bytes)
        with open(self.target, "wb") as file:
            file.write(header)
            file.truncate(whole)
        self.take_over()
        self.save()

    def take_over(self) -> None:
        """Copy the rows of unchanged files from an older store of the same folder and size."""
        for older in self.home.glob("*/files.json"):
            table = [_File(*line) for line in json.loads(older.read_text())["files"]]
            row_of = {(entry.path, entry.size, entry.modified): row for row, entry in enumerate(self.entries)}
            pixels = np.load(older.parent / "images.npy", mmap_mode="r", allow_pickle=False)
            place, outcomes = 0, []
            with open(self.target, "r+b") as file:
                for known in table:
                    row = row_of.get((known.path, known.size, known.modified))
                    if row is not None and row not in self.outcomes and not _is_deep(known.traits):
                        if known.status == "ok":
                            file.seek(self.offset + row * self.image_bytes)
                            file.write(pixels[place].tobytes())
                        outcomes.append([row, *known[3:]])
                    place += known.status == "ok"
            self.handle(outcomes)

    def handle(self, outcomes: Sequence[Any]) -> None:
        import time

        self.remember(outcomes)
        self.unsaved.extend(outcomes)
        self.progress("decoding images", len(self.outcomes), len(self.entries))
        if time.monotonic() - self.saved_at > _JOURNAL_EVERY:
            self.save()
            self.saved_at = time.monotonic()

    def remember(self, outcomes: Sequence[Any]) -> None:
        for outcome in outcomes:
            if outcome[1] == "deep" or _is_deep(outcome[5]):
                self.deep.add(outcome[0])
            if outcome[1] != "deep":
                self.outcomes[outcome[0]] = outcome

    def save(self) -> None:
        """Make the pixels durable, then the journal that counts on them."""
        with open(self.target, "r+b") as file:
            os.fsync(file.fileno())
        with open(self.journal, "a", encoding="utf-8") as journal:
            journal.write(json.dumps(self.unsaved) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        self.unsaved = []

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of each kind of image with more than 8 bits, from a sample of all of them."""
        from selfsup.data.decoding import deep_sample

        values: dict[str, list[np.ndarray]] = {}
        rows = evenly(sorted(self.deep), SAMPLE)
        for done, row in enumerate(rows):
            self.progress("measuring the range of 16-bit and float images", done, len(rows))
            try:
                kind, sample = deep_sample(os.path.join(self.root, self.entries[row].path))
            except Unusable:
                continue
            values.setdefault(kind, []).append(sample)
        if rows:
            self.progress("measuring the range of 16-bit and float images", len(rows), len(rows))
        return {kind: value_range(np.concatenate(samples)) for kind, samples in values.items()}

    def finish(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Close the gaps that skipped files left, write the table and move everything into place."""
        usable = [row for row in range(len(self.entries)) if self.outcomes[row][1] == "ok"]
        if len(usable) < len(self.entries):
            self.journal.unlink()  # rows move now: an interruption from here on means a new start
            with open(self.target, "r+b") as file:
                for place, row in enumerate(usable):
                    if place != row:
                        file.seek(self.offset + row * self.image_bytes)
                        pixels = file.read(self.image_bytes)
                        file.seek(self.offset + place * self.image_bytes)
                        file.write(pixels)
                file.truncate(self.offset + len(usable) * self.image_bytes)
                file.seek(0)
                file.write(_npy_header((len(usable), 3, self.size, self.size)))
                file.flush()
                os.fsync(file.fileno())
        files = [_File(*self.entries[row], *self.outcomes[row][1:]) for row in range(len(self.entries))]
        write_json(self.partial / "files.json", {"size": self.size, "ranges": ranges, "files": files})
        self.journal.unlink(missing_ok=True)
        older = [table.parent for table in self.home.glob("*/files.json") if table.parent != self.partial]
        shutil.rmtree(self.final, ignore_errors=True)
        move_into_place(self.partial, self.final)
        for folder in older:
            shutil.rmtree(folder, ignore_errors=True)


def _is_deep(traits: Iterable[str]) -> bool:
    return not {"16-bit", "32-bit", "float"}.isdisjoint(traits)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The first 128 bytes of a .npy file of bytes, whatever the number of rows."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape!r}, }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"


def _notes(files: Sequence[_File], listing: Listing, ranges: Mapping[str, Sequence[float]], size: int) -> list[str]:
    """Sentences about what was done to the images."""
    counts = Counter(trait for file in files if file.status == "ok" for trait in file.traits)
    small = sum(file.status == "ok" and min(file.width, file.height) < size for file in files)
    notes = [range_sentence(kind, counts[kind], low, high) for kind, (low, high) in sorted(ranges.items())]
    said = {
        "alpha": "{} with transparency: put on white.",
        "cmyk": "{} in CMYK: converted to RGB.",
        "frames": "{} with several frames or pages: the first is used.",
        "shallow": "{} of 16 bits per channel read at 8 bits, because torchvision's decoders are missing.",
    }
    notes += [sentence.format(_images(counts[trait])) for trait, sentence in said.items() if counts[trait]]
    if small:
        notes.append(f"{_images(small)} smaller than {size} pixels on the short side: enlarged.")
    ignored = listing.ignored + Counter(extension(file.path) for file in files if file.status == "ignored")
    if ignored:
        kinds = [
            f"{count} {'.' + ending if ending else 'without extension'}" for ending, count in ignored.most_common(5)
        ]
        notes.append(f"Files that are no images were ignored: {', '.join(kinds)}{', ...' if len(ignored) > 5 else ''}.")
    return notes


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
