"""What is told of long reading: every piece of work that was begun is told to its end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from told import Told

from selfsup.data.images import open_images
from selfsup.data.signals import open_signals


class Items:
    """A data set object of pairs of picture and label."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> Any:
        if number == 19:
            raise OSError("the last one is broken")
        return Image.fromarray(picture(number)), number % 2


@pytest.mark.parametrize("kind", ["bytes", "floats", "items", "folder", "signals", "doubles"])
def test_reading_is_told_to_its_end(tmp_path: Path, kind: str) -> None:
    """The last call of each work says that all is done, whatever the images came as and whether some were broken."""
    told = Told()
    if kind in ("signals", "doubles"):
        numbers = np.random.default_rng(0).normal(size=(20, 2, 64))
        open_signals(numbers.astype("float32" if kind == "signals" else "float64"), cache=tmp_path, progress=told)
    else:
        open_images(source(kind, tmp_path), 32, cache=tmp_path / "cache", progress=told)
    last = {what: (done, total) for what, done, total in told.calls}
    assert last
    assert all(done == total == 20 for done, total in last.values()), last


def source(kind: str, folder: Path) -> Any:
    """Give twenty images, as an array, a data set or a folder."""
    pictures = [picture(number) for number in range(20)]
    if kind == "items":
        return Items()
    if kind == "folder":
        (folder / "images").mkdir()
        for number, one in enumerate(pictures):
            Image.fromarray(one).save(folder / "images" / f"{number}.png")
        return folder / "images"
    array = np.stack(pictures).transpose(0, 3, 1, 2)
    return array if kind == "bytes" else array / 255.0


def picture(number: int) -> np.ndarray:
    """Give a picture of noise."""
    return np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
