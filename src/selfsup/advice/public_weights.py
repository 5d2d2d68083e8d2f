"""Public weights of a file as an encoder: read from safetensors only, never fetched. Loads torch."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from selfsup.advice.references import readable
from selfsup.errors import InputError
from selfsup.networks.descriptions import find_description
from selfsup.networks.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    build_encoder,
    load_encoder,
)
from selfsup.networks.files import read_tensors
from selfsup.networks.given import fitting_tensors, load_weights, trained_tensors
from selfsup.networks.names import BUILT_IN, architecture


class Opened(NamedTuple):
    """An encoder with public weights."""

    encoder: Encoder
    architecture: str
    """In words."""
    same: bool
    """Whether the architecture is the methods' own, stem included."""


def open_weights(file: Path, name: str | None, own: str, image_size: int) -> Opened:
    """Load public weights into the architecture they belong to, for images of the methods' size.

    Small images do not fit every stem: where the weights are of timm's own stem, that is kept, and the architecture
    is another than the methods'.

    Args:
        file: safetensors, with timm's names or written by selfsup.
        name: encoder that the weights belong to; None: what the file says of itself, else the methods' own.
        own: name of the methods' encoder.
        image_size: side of the images in pixels.

    Raises:
        InputError: if not all tensors of the encoder are in the file, or it cannot be read.
    """
    with readable(file):
        tensors, metadata = read_tensors(file)
    if name is None and find_description(file, metadata, beside_first=False) is not None:
        loaded = load_encoder(file)
        encoder, words = _at_size(loaded, image_size, file), loaded.name
        if loaded.image_size != image_size:
            words += f", trained at {loaded.image_size} pixels"
    else:
        encoder, words = _filled(file, tensors, name or own, image_size, named=name is not None)
    ours = _structure(build_encoder(own, image_size, seed=0))
    return Opened(encoder, words, _structure(encoder) == ours)


def _structure(encoder: Encoder) -> dict[str, Any]:
    description = encoder.description()
    own = {part: description[part] for part in ("name", "arguments", "stem", "width", "stage_names")}
    return own | {"sees": encoder.sees}


def _at_size(encoder: Encoder, image_size: int, file: Path) -> Encoder:
    """Give the same weights in the same architecture for images of another size."""
    if encoder.image_size == image_size:
        return encoder
    try:
        other = Encoder({**encoder.description(), "image_size": image_size})
        other.inner.load_state_dict(encoder.inner.state_dict())
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"{file} holds {encoder.name} for images of {encoder.image_size} pixels, which cannot take {image_size}; "
            f"use --image-size {encoder.image_size}, or leave this reference out."
        ) from error
    return other


def _filled(
    file: Path, tensors: Mapping[str, Tensor], name: str, image_size: int, *, named: bool
) -> tuple[Encoder, str]:
    """Build an encoder and fill all of it, with the stem that small images get or with timm's own."""
    mean, std = _colours(name)
    fitted = build_encoder(name, image_size, seed=0, mean=mean, std=std)
    ways = [(fitted, fitted.name)]
    if fitted.stem or fitted.arguments:
        ways += [(encoder, f"{fitted.name} with its own stem") for encoder in _unchanged(fitted)]
    for encoder, words in ways:
        with suppress(InputError):  # too few tensors fit: the next way may do
            if not load_weights(encoder, file).missing:
                return encoder, words
    counts = [(len(fitting_tensors(encoder, tensors)), len(trained_tensors(encoder))) for encoder, _ in ways]
    fitting, wanted = max(counts, key=lambda count: count[0])
    would_do = (
        f"give the name that the weights were trained under, as in --reference {file.name}=resnet18"
        if named
        else f"write --reference {file.name}=NAME, with timm's name of their architecture"
    )
    raise InputError(
        f"{file} fits {name} at {image_size} pixels in {fitting} of {wanted} tensors, and a reference "
        f"needs all; {would_do}."
    )


def _unchanged(fitted: Encoder) -> list[Encoder]:
    """Give timm's network as it is, where it takes such images at all."""
    found = []
    for arguments in ({}, {"img_size": fitted.image_size}):
        try:
            found.append(Encoder({**fitted.description(), "arguments": arguments, "stem": {}}))
        except (TypeError, RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError):
            continue
    return found


def _colours(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give mean and deviation of the colours that timm's weights of this name were trained with."""
    if name in BUILT_IN:
        return IMAGENET_MEAN, IMAGENET_STD
    import timm

    try:
        about: Any = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise InputError(f"timm knows no weights {name!r}; leave out what follows {architecture(name)!r}.") from error
    return (IMAGENET_MEAN, IMAGENET_STD) if about is None else (tuple(about.mean), tuple(about.std))
