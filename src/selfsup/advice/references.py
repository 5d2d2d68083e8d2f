"""References: public weights in files on the user's disk, shown beside the methods and outside their ranking.

They saw other images, mostly with labels and for far longer than a trial, and often belong to another architecture:
what they reach says what can be had for nothing, not which pretext task is better.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from selfsup.errors import InputError
from selfsup.networks.names import check_encoder_name

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Reference:
    """A file of weights, as a plan holds it."""

    name: str
    """Of the arm: the file's, with as many of its folders as tell it from the others."""
    file: str
    encoder: str | None
    """As it was given behind the file; None: what the file says of itself, else the run's own."""
    content: str
    """Fingerprint of the file."""
    architecture: str = ""
    """In words, once it has been loaded."""
    same: bool = False
    """Whether the architecture is that of the methods' encoder."""

    @property
    def given(self) -> str:
        """Give what stands on the command line."""
        return self.file if self.encoder is None else f"{self.file}={self.encoder}"

    def written(self) -> dict[str, Any]:
        """Give what `plan.json` holds."""
        return asdict(self)


def planned_references(written: Sequence[Mapping[str, Any]]) -> list[Reference]:
    """Read what `Reference.written` gave."""
    return [Reference(**row) for row in written]


def open_references(given: Sequence[str | Path]) -> list[Reference]:
    """Find the files that were given, each as `FILE.safetensors` or `FILE.safetensors=ENCODER`.

    Raises:
        InputError: if a file is missing, unreadable or of another kind, or an encoder is unknown.
    """
    found: dict[tuple[Path, str | None], str] = {}
    for text in map(str, given):
        with readable(text):
            file, encoder = _parts(text)
            found[file, encoder] = fingerprint_of_file(file)
    names = _telling([file for file, _ in found])
    return [
        Reference(name, str(file), encoder, content)
        for name, ((file, encoder), content) in zip(names, found.items(), strict=True)
    ]


@contextmanager
def readable(given: str | Path) -> Iterator[None]:
    """Turn what the system says against a file into one sentence.

    Raises:
        InputError: where a name is too long, a home is nobody's, or a file may not be read.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(
            f"The reference {str(given)!r} cannot be read ({why}); give a {SUFFIX} file that can be opened."
        ) from error


def refuse_other_weights(planned: Sequence[Reference], now: Sequence[Reference]) -> None:
    """Compare the files of a plan with what they hold now.

    Raises:
        InputError: naming the first that has changed.
    """
    for before, after in zip(planned, now, strict=True):
        if before.content != after.content:
            raise InputError(
                f"The weights in {before.file!r} are not those that the plan was made for; "
                "name them anew with --reference."
            )


def _parts(given: str) -> tuple[Path, str | None]:
    """Take a file and its encoder apart; a file may have `=` in its name."""
    path, encoder = Path(given).expanduser(), None
    if not path.exists() and "=" in given and not given.endswith(SUFFIX):
        before, _, encoder = given.rpartition("=")
        path = Path(before).expanduser()
        check_encoder_name(encoder)
    file = (path / "encoder.safetensors" if path.is_dir() else path).absolute()  # links keep their names
    if "," in str(file):
        raise InputError(f"{str(file)!r} has a comma in its path, and commas separate references; rename or move it.")
    if file.suffix != SUFFIX:
        raise InputError(
            f"A reference is a file of weights that ends in {SUFFIX}, got {given!r}; pickled weights are not read."
        )
    if not file.is_file():
        raise InputError(f"There is no file {str(file)!r}; --reference takes FILE{SUFFIX} or FILE{SUFFIX}=ENCODER.")
    return file, encoder


def _telling(files: Sequence[Path]) -> list[str]:
    """Name files by as few of their last parts as tell them apart; one file given twice gets a number."""
    names: list[str] = []
    for file in files:
        others = {other for other in files if other != file}
        depth = next(
            (n for n in range(1, len(file.parts)) if all(o.parts[-n:] != file.parts[-n:] for o in others)),
            len(file.parts),
        )
        name = "/".join(file.parts[-depth:])
        times = sum(before.split(" #")[0] == name for before in names)
        names.append(f"{name} #{times + 1}" if times else name)
    return names


def fingerprint_of_file(file: Path) -> str:
    """Name what a file holds."""
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()[:16]
