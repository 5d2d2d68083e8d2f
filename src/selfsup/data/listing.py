"""List the files of a folder that may be images, without opening any of them."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from selfsup.errors import InputError

# Never images, whatever their content: annotations, documents, code, archives, sound, video, weights.
OTHER_FILES = frozenset(
    "txt csv tsv json jsonl xml yaml yml toml ini cfg md rst html htm css js py ipynb c h cpp java sh bat log tex bib"
    " pdf doc docx xls xlsx ppt pptx odt ods eps ps svg wmf emf zip tar gz tgz bz2 xz 7z rar zst mp3 wav flac ogg m4a"
    " mp4 avi mov mkv webm mpg mpeg wmv m4v h5 hdf hdf5 npy npz pt pth pkl pickle safetensors onnx ckpt mat"
    " parquet feather arrow db sqlite lock sha256 md5 asc sig exe dll so dylib"
    " class o ttf otf woff woff2 xmp aae url lnk".split()
)
IMAGE_FILES = frozenset(
    "jpg jpeg jpe jfif jif mpo png apng webp tif tiff bmp dib gif avif avifs jp2 j2k jpc jpf jpx j2c ppm pgm pbm pnm"
    " pfm ico icns psd dds sgi rgb rgba bw tga qoi pcx xbm xpm ras fits fit fts im msp dcx heic heif".split()
)
VIDEO_FILES = frozenset("mp4 m4v mov mkv webm avi gif".split())
"""Files that may hold clips; a gif may be an image as well."""
_SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "icon\r"})


class Entry(NamedTuple):
    """A file that may be an image."""

    path: str
    """Relative to the folder, with forward slashes; bytes that are no UTF-8 are surrogate escapes."""
    size: int
    modified: int
    """In nanoseconds."""

    @property
    def name(self) -> str:
        """The path as it can be shown and written anywhere."""
        return printable(self.path)

    @property
    def extension(self) -> str:
        """In lower case, without the dot."""
        return extension(self.path)


class Skipped(NamedTuple):
    """A file that is not used, and why."""

    name: str
    reason: str


class Listing(NamedTuple):
    """What a folder holds, in a fixed order."""

    entries: list[Entry]
    skipped: list[Skipped]
    ignored: Counter[str]
    """Number of files of each extension that never holds an image."""
    videos: list[Entry] = []  # noqa: RUF012 (a tuple's default, never changed)
    """Files that may be videos; gifs are among the images too."""


def list_folder(root: Path) -> Listing:
    """List regular files below `root` that may be images, and those that may be videos, sorted by path.

    Hidden and system files are left out. Links are followed once: a folder that was visited is not visited
    again, and a link to a file that is listed under its own name does not count twice.
    """
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    ignored: Counter[str] = Counter()
    own: set[tuple[int, int]] = set()
    links: list[tuple[Entry, tuple[int, int]]] = []
    for path, item in _walk(os.fspath(root), skipped):
        ending = extension(path)
        if ending in OTHER_FILES:
            ignored[ending] += 1
            if ending not in VIDEO_FILES:
                continue
        try:
            facts = item.stat()
        except OSError as error:
            skipped.append(Skipped(printable(path), _why(error, item)))
            continue
        if not stat.S_ISREG(facts.st_mode):
            continue
        entry, place = Entry(path, facts.st_size, facts.st_mtime_ns), (facts.st_dev, facts.st_ino)
        if item.is_symlink():
            links.append((entry, place))
        else:
            entries.append(entry)
            own.add(place)
    for entry, place in sorted(links):
        if place not in own:
            own.add(place)
            entries.append(entry)
    return _divided(entries, skipped, ignored)


def list_files(root: Path, paths: list[str]) -> Listing:
    """List the files that were named, and those in named folders; what is missing or empty is skipped.

    Args:
        root: the folder to which paths are relative.
        paths: of files or folders, relative or absolute.
    """
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    for path in sorted(set(paths)):
        try:
            facts = os.stat(os.path.join(root, path))
        except OSError:
            skipped.append(Skipped(printable(path), "the file is missing"))
            continue
        if not stat.S_ISDIR(facts.st_mode):
            entries.append(Entry(path, facts.st_size, facts.st_mtime_ns))
            continue
        below = list_folder(Path(root, path))
        inside = sorted({entry for entry in below.entries + below.videos if "/" not in entry.path})
        entries += [entry._replace(path=f"{path}/{entry.path}") for entry in inside]
        if not inside:
            skipped.append(Skipped(printable(path), "the folder itself holds no images and no videos"))
    return _divided(entries, skipped, Counter())


def _divided(files: list[Entry], skipped: list[Skipped], ignored: Counter[str]) -> Listing:
    """Tell images from videos by their names."""
    return Listing(
        sorted(entry for entry in files if entry.extension not in VIDEO_FILES - IMAGE_FILES),
        sorted(skipped),
        ignored,
        sorted(entry for entry in files if entry.extension in VIDEO_FILES),
    )


def check_folder(folder: Path) -> None:
    """Raise an InputError if `folder` is not a folder one can read."""
    if folder.is_dir():
        return
    if folder.exists():
        raise InputError(f"{folder} is a file; give the folder that holds the images.")
    near = _nearest(folder)
    raise InputError(f"There is no folder {folder}" + (f"; did you mean {near}?" if near else "; check the path."))


def extension(path: str) -> str:
    """The extension of a path in lower case, without the dot; "" if there is none."""
    stem, dot, ending = path.rpartition(".")
    return ending.lower() if dot and stem and "/" not in ending and not stem.endswith("/") else ""


def printable(path: str) -> str:
    """`path` with bytes that are no UTF-8 written as escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is never looked at."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _walk(root: str, skipped: list[Skipped]) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Yield (relative path, entry) of everything below `root` that is not a folder, each folder once."""
    seen = {_place(parent) for parent in (Path(root).resolve(), *Path(root).resolve().parents)}
    waiting: list[tuple[str, str]] = [(root, "")]
    linked: list[tuple[str, str]] = []  # visited after all real folders, so that a folder keeps its own name
    while waiting or linked:
        if not waiting:
            waiting = [link for link in [linked.pop(0)] if _first_visit(link[0], seen)]
            continue
        folder, prefix = waiting.pop()
        try:
            items = sorted(os.scandir(folder), key=lambda item: item.name)
        except OSError as error:
            skipped.append(Skipped(printable(prefix.rstrip("/")), f"the folder cannot be read ({error.strerror})"))
            continue
        for item in items:
            if hidden(item.name):
                continue
            if not _leads_to_folder(item):
                yield prefix + item.name, item
            elif item.is_symlink():
                linked.append((item.path, prefix + item.name + "/"))
            elif _first_visit(item.path, seen):
                waiting.append((item.path, prefix + item.name + "/"))


def _leads_to_folder(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _first_visit(folder: str, seen: set[tuple[int, int]]) -> bool:
    place = _place(folder)
    if place in seen:
        return False
    seen.add(place)
    return True


def _place(folder: str | Path) -> tuple[int, int]:
    facts = os.stat(folder)
    return facts.st_dev, facts.st_ino


def _why(error: OSError, item: "os.DirEntry[str]") -> str:
    if item.is_symlink():
        return "a link to a file that does not exist"
    return f"the file cannot be read ({error.strerror})"


def _nearest(folder: Path) -> Path | None:
    import difflib

    try:
        names = [item.name for item in os.scandir(folder.parent) if not hidden(item.name)]
    except OSError:
        return None
    near = difflib.get_close_matches(folder.name, names, 1)
    return folder.parent / near[0] if near else None
