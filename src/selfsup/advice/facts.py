"""What can be seen in a folder before anything is trained, and which methods it rules out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from selfsup import methods as table
from selfsup.errors import InputError

if TYPE_CHECKING:
    from selfsup.data.images import ImageStore


@dataclass(frozen=True)
class FolderFacts:
    """What can be seen in a folder before anything is trained."""

    count: int
    image_size: int
    gray: bool
    """Whether the three channels are equal."""
    clips: int = 0
    """How many clips the images are the frames of; 0: single images."""
    videos: int = 0
    """How many videos these clips are from."""
    generator: bool = False
    """Whether a trained generator was given beside the folder."""


def folder_facts(images: "ImageStore", image_size: int, looked_at: int = 256) -> FolderFacts:
    """Look at images spread over the folder."""
    few = np.unique(np.linspace(0, len(images) - 1, min(looked_at, len(images)), dtype=np.int64))
    rows = images.rows(few).astype(np.int16)
    spread = rows.max(axis=1) - rows.min(axis=1)  # [n, S, S]
    # JPEG leaves gray images a few levels of colour
    colourful = (np.quantile(spread.reshape(len(few), -1), 0.99, axis=1) > 8).mean()
    gray, clips = bool(colourful < 0.01), images.clips
    if clips is None:
        return FolderFacts(len(images), image_size, gray)
    return FolderFacts(len(images), image_size, gray, clips.count, len(np.unique(clips.source)))


Rule = Callable[[FolderFacts], str | None]


def needs_colour(facts: FolderFacts) -> str | None:
    """Refuse gray images."""
    return "the images are gray, and there is no colour to predict" if facts.gray else None


def needs_pixels(side: int) -> Rule:
    """Refuse images below a side in pixels."""

    def rule(facts: FolderFacts) -> str | None:
        if facts.image_size >= side:
            return None
        return f"it needs at least {side} pixels, and the images have {facts.image_size}"

    return rule


def needs_images(count: int) -> Rule:
    """Refuse folders of fewer images."""

    def rule(facts: FolderFacts) -> str | None:
        things = "frames" if facts.clips else "images"
        return f"it needs at least {count} {things}, and there are {facts.count}" if facts.count < count else None

    return rule


def needs_clips(facts: FolderFacts) -> str | None:
    """Refuse single images."""
    return (
        None if facts.clips else "it learns from clips, and these are single images; give videos or folders of frames"
    )


def needs_videos(facts: FolderFacts) -> str | None:
    """Refuse clips of one video only."""
    return None if facts.videos != 1 else "it compares what moves with other videos, and all clips are of one"


def needs_generator(facts: FolderFacts) -> str | None:
    """Refuse every folder beside which no generator was given."""
    return None if facts.generator else "it needs the generator of a finished bigan run; name one with --generator"


RULES: dict[str, list[Rule]] = {
    "simclr": [needs_images(32)],  # a batch is a quarter of the images, and below 8 there is nothing to contrast with
    "deepcluster": [needs_images(500)],  # ten clusters of fifty images
    "nat": [needs_images(32)],  # points are dealt out inside a batch
    "colorization": [needs_colour],
    "splitbrain": [needs_colour],
    "aetgan": [needs_generator],
    "shuffle": [needs_clips],
    "tracking": [needs_clips, needs_videos],
}
"""What rules a method out; a method without a line here fits every folder."""


def fits(method: str, facts: FolderFacts) -> str | None:
    """Say why a method cannot work on a folder, or None where nothing speaks against it."""
    return next((reason for rule in RULES.get(method, []) if (reason := rule(facts)) is not None), None)


def choose_methods(names: Sequence[str] | None, facts: FolderFacts) -> tuple[list[str], dict[str, str]]:
    """Give the methods to try, and why others are left out.

    Raises:
        InputError: for an unknown name, or when none is left.
    """
    wanted = list(dict.fromkeys(table.METHODS if names is None else names))
    for name in wanted:
        table.entry(name)
    excluded = {name: reason for name in wanted if (reason := fits(name, facts)) is not None}
    kept = [name for name in wanted if name not in excluded]
    if not kept:
        why = "; ".join(f"{name}: {reason}" for name, reason in excluded.items()) or "none was named"
        raise InputError(f"No method is left to try ({why}); name others with --methods.")
    return kept, excluded
