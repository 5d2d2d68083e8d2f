"""Weights that are given: what of a file fits an encoder, and starting from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from selfsup.errors import InputError
from selfsup.networks.descriptions import LABELS, find_description
from selfsup.networks.encoders import Encoder
from selfsup.networks.files import copy_into, read_tensors, same_shape


class Matched(NamedTuple):
    """What `load_weights` found."""

    matched: int
    """Tensors of the encoder that were in the file with the same shape."""
    missing: list[str]
    """The encoder's other tensors; they keep their random values."""


def load_weights(encoder: Encoder, file: Path | str) -> Matched:
    """Start the encoder from the weights in a safetensors file; a classifier and other extras in it are ignored.

    Raises:
        InputError: if fewer than 95 % of the encoder's tensors are in the file, or they see something else.
    """
    tensors, metadata = read_tensors(Path(file))
    about = find_description(Path(file), metadata, beside_first=False)
    seen = "colour" if about is None else about.get("sees", "colour")
    # weights for RGB are a fair start for three times lightness, and none for edges
    if seen != encoder.sees and (seen != "colour" or encoder.sees == "edges"):
        fair = "" if encoder.sees == "edges" else "for RGB, or from those "
        raise InputError(
            f"{file} holds an encoder that sees {seen}, and this one sees {encoder.sees}; start from weights "
            f"{fair}of the same method."
        )
    wanted, found = trained_tensors(encoder), fitting_tensors(encoder, tensors)
    if len(found) < 0.95 * len(wanted):
        raise InputError(
            f"{file} fits {encoder.name} at {encoder.image_size} pixels in {len(found)} of {len(wanted)} tensors, "
            f"and 95 % are needed; give weights of {encoder.name}, or name their encoder with --encoder."
        )
    copy_into(found, wanted)
    encoder.labels = "unknown" if about is None else about.get("labels", "none")
    return Matched(len(found), sorted(wanted.keys() - found.keys()))


def let_in(encoder: Encoder, labels: str, what: str) -> tuple[str, ...]:
    """Note in an encoder that it learns with the help of other weights; give the sentence to say of that, if any.

    Args:
        encoder: to be trained.
        labels: whether labels came into the weights, one of `descriptions.LABELS`.
        what: the weights, in words.
    """
    encoder.labels = max(encoder.labels, labels, key=LABELS.index)
    compared = "what this run learns is not to be compared with what was learned without labels."
    said = {
        "used": (f"Labels come in with {what}: {compared}",),
        "unknown": (f"Nothing says how {what} came about: if labels were used, they come in, and then {compared}",),
    }
    return said.get(labels, ())


_PREFIXES = ("", "inner.", "encoder.inner.", "encoder.", "backbone.", "module.", "model.", "student.backbone.")
"""What other programs put in front of the names of an encoder's tensors."""


def trained_tensors(encoder: Encoder) -> dict[str, Tensor]:
    """Give the tensors that make an encoder, by the inner network's names; counts of batches are none."""
    return {k: v for k, v in encoder.inner.state_dict().items() if not k.endswith("num_batches_tracked")}


def fitting_tensors(encoder: Encoder, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give those of a file's tensors that are the encoder's by name and shape, by the inner network's names."""
    wanted = trained_tensors(encoder)
    return max((_with_prefix(tensors, wanted, prefix) for prefix in _PREFIXES), key=len)


def _with_prefix(tensors: Mapping[str, Tensor], wanted: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key: tensors[prefix + key] for key in wanted if same_shape(wanted[key], tensors.get(prefix + key))}
