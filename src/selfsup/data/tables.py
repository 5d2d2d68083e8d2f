"""Read labels from a CSV of path,label[,group]."""

import csv
import io
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from selfsup.data.listing import IMAGE_FILES
from selfsup.errors import InputError

_NAMES = {
    "path": "path file filename file_name filepath file_path image image_path image_name img name id image_id"
    " clip video folder".split(),
    "label": "label labels class classname class_name category target y diagnosis".split(),
    "group": "group group_id patient patient_id subject subject_id scene scene_id site".split(),
    "split": "split set subset fold partition".split(),
}


class Row(NamedTuple):
    """A line of the table."""

    path: str
    label: str
    group: str = ""
    split: str = ""


def read_table(file: Path) -> tuple[list[Row], list[str]]:
    """Give the lines that name an image and a label, and sentences about the others.

    The delimiter is found out, a header is optional, paths are relative to the CSV. A path without extension stands for
    the image of that name, or for a folder. Of lines that name the same image the first counts.

    Raises:
        InputError: if it is no such table, or one image has two labels.
    """
    lines = _lines(file)
    if not lines:
        raise InputError(f"{file} is empty; each line holds path,label[,group].")
    columns = _header(lines[0], file)
    rows, unlabelled = dict[str, Row](), 0
    for line in lines[1:] if columns else lines:
        row = _row(line, columns or {"path": 0, "label": 1, "group": 2})
        if not row.path:
            continue
        if not row.label:
            unlabelled += 1
            continue
        row = row._replace(path=_found(file.parent, row.path))  # two spellings of a path are one image
        first = rows.setdefault(row.path, row)
        if first.label != row.label:
            raise InputError(f"{file} gives {row.path} two labels, {first.label} and {row.label}; each image has one.")
    notes = [f"{unlabelled} lines of {file.name} have no label and are left out."] if unlabelled else []
    return list(rows.values()), notes


def _lines(file: Path) -> list[list[str]]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if "\0" in text:
        raise InputError(f"{file} is no text; each line of a table of labels holds path,label[,group].")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t|", key=first.count) if any(mark in first for mark in ",;\t|") else " "
    lines = [[cell.strip() for cell in line] for line in csv.reader(io.StringIO(text), delimiter=delimiter)]
    lines = [line for line in lines if any(line)]
    if lines and len(lines[0]) < 2:
        raise InputError(f"{file} has one column; each line holds path,label[,group].")
    return lines


def _header(first: Sequence[str], file: Path) -> dict[str, int] | None:
    """Which column holds what, if the first line says so; None if it is an image's line."""
    cells = [cell.lower().strip().replace(" ", "_") for cell in first]
    columns = {
        meaning: next(cells.index(name) for name in names if name in cells)
        for meaning, names in _NAMES.items()
        if any(name in cells for name in names)
    }
    if "path" in columns and "label" in columns:
        return columns
    named = _found(file.parent, first[0])
    if (file.parent / named).is_file() or Path(first[0]).suffix[1:].lower() in IMAGE_FILES:
        return None
    second = _second(file)
    if not columns and first[0] and (file.parent / named).is_dir() and not (second and second.is_file()):
        return None  # a folder with a label; beside a file it is the name of a column
    if columns:  # one name is known: the other is its neighbour
        path = columns.get("path", 0)
        label = columns.get("label", 1 if path == 0 else 0)
        return {**columns, "path": path, "label": label}
    return {"path": 0, "label": 1, **({"group": 2} if len(first) > 2 else {})} if second and second.exists() else None


def _second(file: Path) -> Path | None:
    """What the second line names: if it is there, a first line that names nothing is a header, whatever its names."""
    lines = _lines(file)
    named = lines[1][0] if len(lines) > 1 else ""
    return file.parent / _found(file.parent, named) if named else None


def _row(line: Sequence[str], columns: dict[str, int]) -> Row:
    cells = {meaning: line[place] if place < len(line) else "" for meaning, place in columns.items()}
    return Row(cells["path"], cells["label"], cells.get("group", ""), cells.get("split", ""))


def _found(folder: Path, path: str) -> str:
    """The path as it is on this disk: with forward slashes, and with the extension that was left out."""
    if (folder / path).is_file():
        return path
    slashed = path.replace("\\", "/")
    if (folder / slashed).is_file():
        return slashed
    for ending in ("jpg", "png", "jpeg", "tif", "webp", "tiff", "bmp", "JPG", "PNG"):
        if (folder / f"{slashed}.{ending}").is_file():
            return f"{slashed}.{ending}"
    return posixpath.normpath(slashed) if (folder / slashed).is_dir() else slashed
