"""The table of methods. Importing it costs nothing: a method's file, and torch, load when the method is used."""

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from selfsup.errors import InputError

if TYPE_CHECKING:
    from selfsup.method import Method


class Entry(NamedTuple):
    """A line of the table: where a method lives and what it is, in words."""

    module: str
    class_name: str
    family: str
    summary: str


METHODS = {
    "rotation": Entry("rotation", "Rotation", "predictive", "say by which quarter turn an image was turned"),
    "jigsaw": Entry("jigsaw", "Jigsaw", "predictive", "say in which order an image's tiles were shuffled"),
    "counting": Entry("counting", "Counting", "predictive", "count so that the tiles of an image add up to the whole"),
    "aet": Entry("aet", "AET", "predictive", "say how an image was warped, from the image before and after"),
    "aetgan": Entry("aetgan", "GeneratedAET", "predictive", "say by which code a generator changed an image"),
    "context": Entry("context", "Context", "predictive", "say where a second patch lies as seen from the first"),
    "dae": Entry("dae", "DenoisingAutoencoder", "generative", "undo noise that was added to an image"),
    "inpainting": Entry("inpainting", "Inpainting", "generative", "fill in what was cut out of an image"),
    "superresolution": Entry(
        "superresolution", "SuperResolution", "generative", "give back the detail of an image that was made small"
    ),
    "colorization": Entry(
        "colorization", "Colorization", "generative", "say which colours a picture had, from its lightness alone"
    ),
    "splitbrain": Entry(
        "splitbrain", "SplitBrain", "generative", "say the colours from the lightness, and lightness from colours"
    ),
    "bigan": Entry("bigan", "BiGAN", "generative", "find the code that a generator would make an image from"),
    "dcgan": Entry("dcgan", "DCGAN", "generative", "tell real images from those that a generator makes"),
    "synthetic": Entry(
        "synthetic", "Synthetic", "predictive", "say how far, how turned and where the edges are in rendered scenes"
    ),
    "exemplar": Entry(
        "exemplar", "Exemplar", "contrastive", "tell every image from all others, however it was changed"
    ),
    "deepcluster": Entry(
        "deepcluster", "DeepCluster", "clustering", "cluster the features, say each image's cluster, and begin again"
    ),
    "nat": Entry("nat", "NAT", "clustering", "send each image to a point of random noise, which images may swap"),
    "simclr": Entry("simclr", "SimCLR", "contrastive", "pull two views of an image together, push others away"),
    "shuffle": Entry("shuffle", "Shuffle", "predictive", "say whether, or how, frames of a clip are in order"),
    "tracking": Entry(
        "tracking", "Tracking", "contrastive", "bring what was tracked through a clip together, push other videos away"
    ),
}


def entry(name: str) -> Entry:
    """Find a method's line by name."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(METHODS)}."
        raise InputError(f"There is no method {name!r}; {hint}")
    return METHODS[name]


def sees(name: str, arguments: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Say what of an image the encoder of a method sees: its argument `sees`, or else what its class says."""
    import inspect  # for those alone who ask: the table itself costs nothing

    kind = load(name)
    choice = inspect.signature(kind).parameters.get("sees")
    return kind.sees if choice is None else str(arguments.get("sees", choice.default))


def load(name: str) -> "type[Method]":
    """Import a method's class by name."""
    found = entry(name)
    return getattr(importlib.import_module(f"selfsup.methods.{found.module}"), found.class_name)  # type: ignore[no-any-return]
