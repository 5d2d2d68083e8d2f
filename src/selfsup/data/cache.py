"""Where decoded images are kept between runs."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from selfsup.data.progress import Progress
from selfsup.errors import InputError

_WAITING = "waiting for another run that decodes the same images"


def cache_folder(given: Path | None = None) -> Path:
    """The folder for decoded data: `given`, else $SELFSUP_CACHE, else $XDG_CACHE_HOME/selfsup, else ~/.cache/selfsup.

    Raises:
        InputError: if it cannot be written to.
    """
    if given is not None:
        folder = Path(given)
    elif named := os.environ.get("SELFSUP_CACHE"):
        folder = Path(named)
    elif shared := os.environ.get("XDG_CACHE_HOME"):
        folder = Path(shared) / "selfsup"
    else:
        folder = Path.home() / ".cache" / "selfsup"
    folder = folder.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The cache folder {folder} cannot be made ({error.strerror}); name another one in SELFSUP_CACHE."
        ) from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"The cache folder {folder} cannot be written to; name another one in SELFSUP_CACHE.")
    return folder


def key(parts: Iterable[object]) -> str:
    """A short name for what `parts` say."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def check_space(folder: Path, needed: int) -> None:
    """Raise an InputError if the disk of `folder` has less than `needed` bytes left."""
    import shutil

    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"The decoded images need {needed / 2**30:.1f} GiB in {folder}, which has {free / 2**30:.1f} GiB left;"
            " free some space, choose a smaller image size or name another folder in SELFSUP_CACHE."
        )


@contextlib.contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold `path` as a lock; the system releases it however this process ends."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs that decode the same folder at once are not kept apart
        yield
        return
    with open(path, "w") as file:
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = True
                progress(_WAITING, 0, 1)
                time.sleep(0.2)
        if waited:
            progress(_WAITING, 1, 1)
        yield


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that becomes `path` when all is written; other processes may do the same at once."""
    partial = path.with_name(f"{path.name}.{os.getpid()}-{uuid4().hex[:8]}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_durably(path: Path, content: str) -> None:
    """Write a text file so that it is complete or not there, whenever the machine stops."""
    with replaced(path) as file:
        file.write(content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON as `write_durably` does."""
    write_durably(path, json.dumps(content, separators=(",", ":")))


def journal_lines(journal: Path) -> Iterator[Any]:
    """Give what the lines of a journal hold, up to one that was cut off when the machine stopped."""
    for line in journal.read_text().splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            return
        yield content


def move_into_place(partial: Path, final: Path) -> None:
    """Rename a finished folder and make the rename durable."""
    os.replace(partial, final)
    if os.name == "posix":
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
