"""Images as rows of bytes, or signals as rows of floats, memory-mapped, with their names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from selfsup.clips import Clips
from selfsup.data.listing import Skipped

if TYPE_CHECKING:
    from selfsup.data.scenes.truth_store import TruthStore
    from selfsup.data.single import SingleImage


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Square RGB images of one size. Read them with `rows`; a selection shares the pixels of its origin.

    Signals of one length are kept in the same way, as floats in their own units.
    """

    pixels: UInt8[np.ndarray, "M 3 S S"] | Float32[np.ndarray, "M C L"]
    """All images (or signals) of the origin, memory-mapped and read only; `rows` knows which of them belong here."""
    names: list[str]
    """Path relative to the folder with forward slashes, or "000123" for arrays."""
    hashes: list[str]
    """Content hash of each image in hexadecimal: of the file's bytes, or of an array's values."""
    skipped: list[Skipped]
    """Files that cannot be used, with the reason."""
    notes: list[str]
    """Sentences to show."""
    source: str
    """What was given, for display."""
    sources: list[Path | None]
    """The file of each image, so that it can be shown at full size."""
    index: Integer[np.ndarray, " N"] | None = None
    """Rows of `pixels` that belong to this selection, in order; None for all."""
    sizes: Integer[np.ndarray, "N 2"] | None = None
    """Width and height of each image before it was resized, where known."""
    traits: list[str] | None = None
    """What was special about each image, where known: words such as alpha, cmyk, frames, 16-bit."""
    folder: Path | None = None
    """The cache folder that holds all of these images and nothing else, if there is one."""
    made_by: "SingleImage | None" = None
    """What these are crops of, if they are crops of one image or a few."""
    clips: Clips | None = None
    """Which images belong together, if they are the frames of clips."""
    groups: Integer[np.ndarray, " N"] | None = None
    """Numbers of what belongs together, where the user says it; of frames the same as the sources of their clips."""
    beside: "TruthStore | None" = None
    """Rendered scenes that are read beside the images, with what is true of each pixel."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def holds_signals(self) -> bool:
        """Whether these are signals [C, L] in place of images."""
        return self.pixels.ndim == 3

    @property
    def in_files(self) -> bool:
        """Whether each row is a file of its own; frames of videos, arrays and scenes are not."""
        return None not in self.sources[:1]

    @property
    def things(self) -> str:
        """What the rows are, in a word."""
        return "signals" if self.holds_signals else "images" if self.clips is None else "frames"

    @property
    def size(self) -> int:
        """Side of the images in pixels; length of signals in samples."""
        return int(self.pixels.shape[-1])

    def rows(
        self, indices: Integer[np.ndarray, " n"] | Sequence[int]
    ) -> UInt8[np.ndarray, "n 3 S S"] | Float32[np.ndarray, "n C L"]:
        """Gather images (or signals) in the order asked, as a copy."""
        wanted = np.asarray(indices, dtype=np.int64)
        if self.index is not None:
            wanted = self.index[wanted]
        return np.asarray(self.pixels)[wanted]

    def select(self, indices: Integer[np.ndarray, " n"] | Sequence[int]) -> "ImageStore":
        """Give a part of the images, in the order asked, without copying pixels."""
        chosen = np.asarray(indices, dtype=np.int64)
        picked = chosen.tolist()
        return replace(
            self,
            names=[self.names[i] for i in picked],
            hashes=[self.hashes[i] for i in picked],
            sources=[self.sources[i] for i in picked],
            index=chosen if self.index is None else self.index[chosen],
            sizes=None if self.sizes is None else self.sizes[chosen],
            traits=None if self.traits is None else [self.traits[i] for i in picked],
            folder=None,
            groups=None if self.groups is None else self.groups[chosen],
            clips=None if self.clips is None else self.clips.select(chosen),
        )
