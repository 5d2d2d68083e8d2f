"""Context prediction: say where a second patch of an image lies as seen from the first."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import draws
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks.encoders import Encoder, takes
from selfsup.recipe import Recipe
from selfsup.views import color, crops, patches, sheets
from selfsup.views.precision import in_full

DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Row and column of the second patch as seen from the first, for labels 0 to 7; 7 - label looks back."""
CENTRE = 4
AROUND = (0, 1, 2, 3, 5, 6, 7, 8)
"""Cells of a grid of nine around its centre, in the order of the labels."""


class Pairs(NamedTuple):
    """Patches of a batch and the pairs asked of each image."""

    patches: Float[Tensor, "B P 3 s s"]
    first: Int[Tensor, "B K"]
    """Number of the first patch of each pair."""
    second: Int[Tensor, "B K"]
    label: Int[Tensor, "B K"]
    """Where the second lies, as in `DIRECTIONS`."""


class Context(Method):
    """Classify in which of eight directions the second of two patches lies.

    Args:
        encoder: network to train; it sees one patch at a time.
        form: `grid` cuts nine patches and asks for the eight around the middle one; `pairs` cuts two patches
            for each question, anywhere in the image. None: `grid` from 64 pixels on, `pairs` below.
        patch: side of a patch in pixels. None: 3/4 of a cell of the grid (a third of the image), or 3/8 of the image.
        gap: pixels between neighbours before jitter. None: a third of the patch in a grid, half of it for pairs.
        jitter: pixels by which each patch moves on its own, up, down, left and right. None: 7 for a patch of 96, in
            proportion below, at least 1.
        pairs: questions per image, for `pairs`.
        colours: against lenses that shift colours: `drop` all but one channel, `project` away green against
            magenta, or `keep` them.
        dropped: share of patches that lose their colours, for `drop`.
        grayscale: share of images made gray.
        blunted: share of patches that are shrunk and enlarged again.
        hidden: width of the two layers that see both patches.
        flip: mirror half of the images before they are cut.

    Source: Doersch, Gupta and Efros, 2015, https://arxiv.org/abs/1505.05192
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.1,
        lr_per=256,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        warmup=0.05,
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "accuracy"
    headline_chance: ClassVar[float | None] = 0.125

    def __init__(
        self,
        encoder: Encoder,
        *,
        form: Literal["grid", "pairs"] | None = None,
        patch: int | None = None,
        gap: int | None = None,
        jitter: int | None = None,
        pairs: int = 4,
        colours: Literal["drop", "project", "keep"] = "drop",
        dropped: float = 0.5,
        grayscale: float = 0.0,
        blunted: float = 1 / 3,
        hidden: int = 512,
        flip: bool = True,
    ) -> None:
        super().__init__()
        size = encoder.image_size
        self.form = form or ("grid" if size >= 64 else "pairs")
        across = 3 if self.form == "grid" else 2
        self.patch = (size // 4 if self.form == "grid" else size * 3 // 8) if patch is None else patch
        self.gap = (self.patch // 3 if self.form == "grid" else self.patch // 2) if gap is None else gap
        self.jitter = max(1, round(7 * self.patch / 96)) if jitter is None else jitter
        # room for jitter too: a patch pushed back into the image would lie nearer than its label says
        self.needed = across * self.patch + (across - 1) * self.gap + 2 * self.jitter
        if self.patch < 8 or self.needed > size:
            raise InputError(
                f"{across} patches of {self.patch} pixels, gaps of {self.gap} and jitter {self.jitter} take "
                f"{self.needed} pixels, the images have {size}; a patch has at least 8, so use a smaller gap, "
                "--form pairs, or larger images."
            )
        if not self.gap > 2 * self.jitter >= 0:
            raise InputError(
                f"Patches with a gap of {self.gap} pixels and jitter {self.jitter} may touch; the gap must be above "
                "twice the jitter, and the jitter 0 or above."
            )
        for name, number in (("pairs", pairs), ("hidden", hidden)):
            if number < 1:
                raise InputError(f"{name} must be at least 1, got {number}.")
        for name, share in (("dropped", dropped), ("grayscale", grayscale), ("blunted", blunted)):
            if not 0 <= share <= 1:
                raise InputError(f"{name} is a share in [0, 1], got {share}.")
        self.encoder = encoder
        self.side = self.patch if takes(encoder, self.patch) else size
        self.pairs, self.colours, self.flip = pairs, colours, flip
        self.dropped, self.grayscale, self.blunted = dropped, grayscale, blunted
        self.head = nn.Sequential(
            *(nn.Linear(2 * encoder.vector_width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()),
            *(nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, len(DIRECTIONS)),
        )

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the cross-entropy of the direction, averaged over all pairs."""
        cut = self.cut(batch.images)
        logits = self.compare(self.features(self.disguise(cut.patches)), cut)
        label = cut.label.flatten()
        accuracy = (logits.argmax(1) == label).float().mean()
        yield Objective(F.cross_entropy(logits, label), metrics={"accuracy": accuracy}, chance=math.log(8))

    def cut(self, images: Float[Tensor, "B 3 S S"]) -> Pairs:
        """Cut the patches of each image and say which pairs are asked for."""
        views = crops.random_crop(images, images.shape[-1], pad=0, flip=self.flip)
        views = color.grayscale(views, self.grayscale)
        return self._grid(views) if self.form == "grid" else self._pairs(views)

    def disguise(self, cut: Float[Tensor, "B P 3 s s"]) -> Float[Tensor, "B P 3 s s"]:
        """Hide sharpness, colour and brightness of each patch on its own; in [0, 1] units as the encoder reads them."""
        if self.blunted > 0:
            cut = patches.blunt(cut, self.blunted)
        if self.colours == "drop":
            cut = patches.drop_colours(cut, self.dropped)
        elif self.colours == "project":
            cut = patches.project_colours(cut)
        return self.encoder.denormalize(patches.equalize(cut))

    def features(self, seen: Float[Tensor, "B P 3 s s"]) -> Float[Tensor, "B P D"]:
        """Encode every patch once, on its own, enlarged where the encoder takes none that small."""
        return self.encoder.vector(crops.resize(seen.flatten(0, 1), self.side)).view(*seen.shape[:2], -1)

    def compare(self, features: Float[Tensor, "B P D"], asked: Pairs) -> Float[Tensor, "N 8"]:
        """Give logits of the directions for each pair."""
        width = features.shape[2]
        first, second = (
            features.gather(1, number[:, :, None].expand(-1, -1, width)) for number in (asked.first, asked.second)
        )
        logits: Tensor = self.head(torch.cat([first, second], dim=2).flatten(0, 1))
        return in_full(logits)

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw first patches with the second where it was (above) and where the network puts it (below)."""
        cut = self.cut(batch.images[:8])
        answers = self.compare(self.features(self.disguise(cut.patches)), cut).argmax(1).view(cut.label.shape)
        everyone = torch.arange(len(cut.label), device=cut.label.device)
        asked = everyone % cut.label.shape[1]  # another pair for each image
        first = cut.patches[everyone, cut.first[everyone, asked]]
        second = cut.patches[everyone, cut.second[everyone, asked]]
        shown = [_placed(first, second, labels[everyone, asked]) for labels in (cut.label, answers)]
        return {"two patches where they were, and the second where it was thought to be": sheets.rows(shown)}

    def _grid(self, images: Float[Tensor, "B 3 S S"]) -> Pairs:
        """Nine patches in a grid at a random place; the eight around the middle one are asked for."""
        top, left = patches.cells(images, 3, self.patch + self.gap)
        origin = draws.integers(images, 2, 1, below=images.shape[-1] - self.needed + 1) + self.jitter
        top, left = self._jittered(top + origin[:, 0]), self._jittered(left + origin[:, 1])
        around = torch.tensor(AROUND, device=images.device).expand(len(images), -1)
        label = torch.arange(8, device=images.device).expand(len(images), -1)
        made = patches.cut(images, top, left, self.patch)
        return Pairs(made, torch.full_like(around, CENTRE), around, label)

    def _pairs(self, images: Float[Tensor, "B 3 S S"]) -> Pairs:
        """Two patches for each question, anywhere in the image; directions are drawn."""
        pitch = self.patch + self.gap
        label = draws.integers(images, self.pairs, below=8)
        step = torch.tensor(DIRECTIONS, device=images.device)[label] * pitch  # [B, K, 2]
        free = images.shape[-1] - self.patch - step.abs() - 2 * self.jitter + 1
        start = _below(draws.uniform(images, self.pairs, 2), free) - step.clamp(max=0) + self.jitter
        both = torch.stack([start, start + step], dim=2).flatten(1, 2)  # [B, 2K, 2]
        made = patches.cut(images, self._jittered(both[..., 0]), self._jittered(both[..., 1]), self.patch)
        first = torch.arange(0, 2 * self.pairs, 2, device=images.device).expand(len(images), -1)
        return Pairs(made, first, first + 1, label)

    def _jittered(self, starts: Int[Tensor, "B P"]) -> Int[Tensor, "B P"]:
        return patches.jittered(starts, 2 * self.jitter) - self.jitter


def _below(uniform: Float[Tensor, "B K 2"], bounds: Int[Tensor, "B K 2"]) -> Int[Tensor, "B K 2"]:
    """Turn uniform numbers in [0, 1) into whole ones from 0 to below the bounds."""
    return (uniform * bounds).long()


def _placed(
    first: Float[Tensor, "B 3 s s"], second: Float[Tensor, "B 3 s s"], label: Int[Tensor, " B"]
) -> Float[Tensor, "B 3 h h"]:
    """Lay the first patch in the middle of nine white cells and the second in the direction of its label."""
    count, _, size, _ = first.shape
    cells = first.new_ones(count, 9, 3, size, size)
    cells[:, CENTRE] = first
    cells[torch.arange(count, device=label.device), torch.tensor(AROUND, device=label.device)[label]] = second
    return patches.assemble(cells, gap=1)
