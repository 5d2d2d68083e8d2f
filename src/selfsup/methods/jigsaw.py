"""Jigsaw puzzles (CFN): say in which order the tiles of an image were shuffled."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import draws
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks.encoders import Encoder, takes
from selfsup.recipe import Recipe
from selfsup.views import color, crops, patches, sheets
from selfsup.views.permutations import permutation_set
from selfsup.views.precision import in_full

LARGE_CELL = 64
"""Side in pixels from which a cell is cut as in the paper (64 of 75 pixels); smaller ones lose a quarter."""


class Jigsaw(Method):
    """Classify which permutation of a fixed set shuffled the tiles of an image.

    Args:
        encoder: network to train; it sees one tile at a time.
        grid: tiles along a side. None: 3 from 48 pixels on, 2 below.
        tile: side of a tile in pixels. None: 64 of 75 pixels of its cell, three quarters in cells below 64 pixels.
        permutations: size of the set. None: 64 for nine tiles, all 24 for four.
        criterion: how the set is chosen: large `minimum` distance, or large `mean` distance as in the paper.
        puzzles: orders asked of each image and step; the tiles are encoded once.
        grayscale: share of images made gray.
        channel_shift: pixels by which the channels of a tile move against each other. None: 2 in a cell of 75,
            in proportion below.
        head: `cfn` has the paper's layers on the last map, `pooled` smaller ones with batch norm on the vector.
            None: `cfn` for alexnet, else `pooled`.
        hidden: width of the layer that sees all tiles. None: 4096 for `cfn`, 1024 for `pooled`.
        flip: mirror half of the images before they are cut.

    Source: Noroozi and Favaro, 2016, https://arxiv.org/abs/1603.09246
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.1,
        lr_per=256,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        warmup=0.05,
        batch_size=256,
        epochs=100.0,
    )
    headline: ClassVar[str] = "accuracy"

    permutations: Tensor
    """[n, tiles] int64; place i of a puzzle shows tile permutations[k, i]."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        grid: int | None = None,
        tile: int | None = None,
        permutations: int | None = None,
        criterion: Literal["minimum", "mean"] = "minimum",
        puzzles: int = 1,
        grayscale: float = 0.3,
        channel_shift: int | None = None,
        head: Literal["cfn", "pooled"] | None = None,
        hidden: int | None = None,
        flip: bool = True,
    ) -> None:
        super().__init__()
        size = encoder.image_size
        self.grid = (3 if size >= 48 else 2) if grid is None else grid
        if self.grid not in (2, 3):
            raise InputError(f"A puzzle has a grid of 2 or 3 tiles along a side, got {grid}.")
        self.cell = -(-size // self.grid)
        usual = round(self.cell * (64 / 75 if self.cell >= LARGE_CELL else 0.75))
        self.tile = usual if tile is None else tile
        if not 8 <= self.tile <= self.cell:
            raise InputError(
                f"A tile of {self.tile} pixels does not suit cells of {self.cell} pixels ({size} pixels cut by "
                f"{self.grid}); a tile has 8 to {self.cell}, so use a smaller grid or larger images."
            )
        self.channel_shift = _shift(channel_shift, self.cell, self.tile)
        _check(puzzles, grayscale, hidden)
        pieces = self.grid**2
        count = (64 if pieces == 9 else 24) if permutations is None else permutations
        self.register_buffer("permutations", torch.from_numpy(permutation_set(count, pieces, criterion)))
        self.encoder = encoder
        self.side = self.tile if takes(encoder, self.tile) else size
        self.puzzles, self.grayscale, self.flip = puzzles, grayscale, flip
        kind = head or ("cfn" if encoder.name == "alexnet" else "pooled")
        self.head = _cfn_head(self, hidden or 4096) if kind == "cfn" else _pooled_head(self, hidden or 1024)
        self.headline_chance = 1 / count  # type: ignore[misc]

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the cross-entropy of which permutation shuffled each image's tiles."""
        tiles = self.tiles(batch.images)
        order = draws.integers(batch.images, self.puzzles, below=len(self.permutations))  # [B, puzzles]
        logits = self.solve(self.features(tiles), order)
        loss = F.cross_entropy(logits, order.flatten())
        accuracy = (logits.argmax(1) == order.flatten()).float().mean()
        yield Objective(loss, metrics={"accuracy": accuracy}, chance=math.log(len(self.permutations)))

    def tiles(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B P 3 t t"]:
        """Cut the tiles of each image, row by row, in [0, 1] units as they are seen, each standardized on its own."""
        return self.encoder.denormalize(patches.standardize(self.cut(images)))

    def cut(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B P 3 t t"]:
        """Cut the tiles of each image, row by row, at random places in their cells."""
        side = min(self.grid * self.cell, images.shape[-1])
        # without padding: a black border would say where a tile comes from
        views = crops.random_crop(images, side, pad=0, flip=self.flip)
        gray = draws.happens(images, self.grayscale)
        views = color.gray_chosen(views, gray)
        # a channel that left its cell would meet its neighbour's, or the edge of the image
        room = self.cell - self.tile - 2 * self.channel_shift
        starts = patches.cells(views, self.grid, self.cell)
        top, left = (patches.jittered(start + self.channel_shift, room) for start in starts)
        if self.channel_shift:
            top, left = (self._shifted(place, gray) for place in (top, left))
        return patches.cut(views, top, left, self.tile)

    def features(self, tiles: Float[Tensor, "B P 3 t t"]) -> Float[Tensor, "B P D"]:
        """Encode every tile on its own, enlarged where the encoder takes none that small."""
        flat = crops.resize(tiles.flatten(0, 1), self.side)
        encoded = self.encoder(flat).flatten(1) if isinstance(self.head, CFNHead) else self.encoder.vector(flat)
        return encoded.view(*tiles.shape[:2], -1)

    def solve(self, features: Float[Tensor, "B P D"], order: Int[Tensor, "B K"]) -> Float[Tensor, "B*K N"]:
        """Give the logits of all permutations for each image's tiles in each of the orders."""
        shown = self.permutations[order]  # [B, K, P]
        index = shown.flatten(1)[:, :, None].expand(-1, -1, features.shape[2])
        shuffled = features.gather(1, index).view(-1, *features.shape[1:])  # [B*K, P, D]
        logits: Tensor = self.head(shuffled)
        return in_full(logits)

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw puzzles as they were given and as the network puts them together: whole pictures are right answers."""
        cut = self.cut(batch.images[:8])
        order = draws.integers(batch.images, 1, below=len(self.permutations))[: len(cut)]
        features = self.features(self.encoder.denormalize(patches.standardize(cut)))
        answer = self.permutations[self.solve(features, order).argmax(1)]
        everyone = torch.arange(len(cut), device=cut.device)[:, None]
        given = cut[everyone, self.permutations[order[:, 0]]]
        placed = torch.empty_like(given)
        placed[everyone, answer] = given
        return {"puzzles, and as they were solved": sheets.rows([patches.assemble(p, 1) for p in (given, placed)])}

    def _shifted(self, places: Int[Tensor, "B P"], gray: Bool[Tensor, " B"]) -> Int[Tensor, "B P 3"]:
        """Move the channels of each tile against each other, except in gray puzzles, which stay gray."""
        shifted = patches.channel_shifts(places, 3, self.channel_shift)
        return torch.where(gray[:, None, None], places[:, :, None], shifted)


def _shift(given: int | None, cell: int, tile: int) -> int:
    """Give the shift of channels: 2 pixels in a cell of 75, and no more than the cell has room for."""
    most = (cell - tile) // 2
    if given is None:
        return min(round(2 * cell / 75), most)
    if not 0 <= given <= most:
        raise InputError(f"channel_shift is 0 to {most} pixels for tiles of {tile} in cells of {cell}, got {given}.")
    return given


def _check(puzzles: int, grayscale: float, hidden: int | None) -> None:
    if puzzles < 1:
        raise InputError(f"puzzles must be at least 1, got {puzzles}.")
    if not 0 <= grayscale <= 1:
        raise InputError(f"grayscale is a share of images in [0, 1], got {grayscale}.")
    if hidden is not None and hidden < 1:
        raise InputError(f"hidden must be at least 1, got {hidden}; leave it out for the usual width.")


class CFNHead(nn.Module):
    """The paper's layers: one per tile with shared weights, then two on all tiles; ReLU and dropout between.

    Args:
        width: of a tile's flattened map.
        pieces: tiles of a puzzle.
        per_tile: width of the layer that sees one tile.
        hidden: width of the layer that sees all.
        count: permutations.
    """

    def __init__(self, width: int, pieces: int, per_tile: int, hidden: int, count: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(width, per_tile)
        self.fc7 = nn.Linear(pieces * per_tile, hidden)
        self.fc8 = nn.Linear(hidden, count)

    def forward(self, features: Float[Tensor, "B P D"]) -> Float[Tensor, "B N"]:
        """Give logits for tiles in the order shown."""
        per_tile = self._dropout(F.relu(self.fc6(features)))
        together = self._dropout(F.relu(self.fc7(per_tile.flatten(1))))
        logits: Tensor = self.fc8(together)
        return logits

    def _dropout(self, values: Float[Tensor, "B *D"]) -> Float[Tensor, "B *D"]:
        # nn.Dropout would draw something else for the same image on two processes
        if not self.training:
            return values
        return values * 2 * (draws.uniform(values, *values.shape[1:]) < 0.5)


def _cfn_head(method: Jigsaw, hidden: int) -> nn.Module:
    with torch.no_grad():
        width = method.encoder.eval()(torch.zeros(1, 3, method.side, method.side)).numel()
    method.encoder.train()
    return CFNHead(width, method.grid**2, 1024, hidden, len(method.permutations))


class PooledHead(nn.Module):
    """Layers with batch norm on pooled vectors: one per tile with shared weights, then two on all tiles.

    Args:
        width: of a tile's vector.
        pieces: tiles of a puzzle.
        per_tile: width of the layer that sees one tile.
        hidden: width of the layer that sees all.
        count: permutations.
    """

    def __init__(self, width: int, pieces: int, per_tile: int, hidden: int, count: int) -> None:
        super().__init__()
        self.per_tile = nn.Sequential(nn.Linear(width, per_tile, bias=False), nn.BatchNorm1d(per_tile), nn.ReLU())
        self.together = nn.Sequential(
            nn.Linear(pieces * per_tile, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, count),
        )

    def forward(self, features: Float[Tensor, "B P D"]) -> Float[Tensor, "B N"]:
        """Give logits for tiles in the order shown."""
        per_tile = self.per_tile(features.flatten(0, 1)).view(len(features), -1)
        logits: Tensor = self.together(per_tile)
        return logits


def _pooled_head(method: Jigsaw, hidden: int) -> nn.Module:
    return PooledHead(method.encoder.vector_width, method.grid**2, 256, hidden, len(method.permutations))
