"""Large pictures that several threads cut crops from: each is read once."""

import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from selfsup.errors import InputError

if TYPE_CHECKING:
    from selfsup.data.cropping import Pyramid


class Pyramids:
    """Pyramids of the pictures in use, each made by one thread while the others wait for it.

    Args:
        most: that are kept; the oldest goes first.
    """

    def __init__(self, most: int) -> None:
        self.most, self.kept, self.lock = most, dict[Path, "Future[Pyramid]"](), Lock()

    def of(self, file: Path) -> "Pyramid":
        """Give the pyramid of a file.

        Raises:
            InputError: if it cannot be read.
        """
        with self.lock:
            found = self.kept.get(file)
            mine = Future[Any]() if found is None else None
            if mine is not None:
                self.kept[file] = mine
                while len(self.kept) > self.most:
                    del self.kept[next(iter(self.kept))]
        if mine is not None:
            _settle(mine, lambda: _pyramid(file))
        return (found or mine).result()  # type: ignore[union-attr]


def _settle(future: "Future[Any]", work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _pyramid(file: Path) -> "Pyramid":
    from selfsup.data.cropping import Pyramid
    from selfsup.data.decoding import whole
    from selfsup.data.faults import Unusable

    try:
        return Pyramid(whole(os.fspath(file)))
    except Unusable as error:
        raise InputError(f"{file} cannot be cut into crops: {error}.") from None
