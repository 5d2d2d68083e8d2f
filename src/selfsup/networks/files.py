"""Files of tensors: safetensors only, written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from selfsup.errors import InputError


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file.

    Raises:
        InputError: if the file is missing or is something else.
    """
    if not file.is_file():
        raise InputError(f"There are no weights at {file}; give a run folder or a .safetensors file.")
    try:
        with safe_open(file, framework="pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{file} is not a safetensors file ({error}); pickled weights are not read.") from None


def file_in(place: Path, name: str) -> Path:
    """Give the file of that name if the place is a folder, else the place itself.

    Raises:
        InputError: if there can be no such place (a name that is too long, for one).
    """
    try:
        return place / name if place.is_dir() else place
    except OSError as error:
        raise InputError(
            f"{str(place)[:60]}... cannot be opened ({error.strerror}); give a folder or a file."
        ) from None


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file so that it is either whole or as before, even if the machine stops."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.tmp")  # always the same name, so that a killed run leaves one at most
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def same_shape(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether both tensors are there and of one shape."""
    return one is not None and other is not None and one.shape == other.shape


@torch.no_grad()
def copy_into(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copy into live tensors, which keep their device, type and memory layout."""
    for key, value in source.items():
        target[key].copy_(value)
