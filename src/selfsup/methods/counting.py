"""Learning to count: what is counted in the four tiles of an image adds up to what is counted in the whole."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from selfsup import draws, processes
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks.encoders import Encoder, takes
from selfsup.recipe import Recipe
from selfsup.views import color, crops, downsampling
from selfsup.views.precision import in_full

STREAMS = 5
"""Pictures the encoder sees of each image: four tiles and the whole at half its size."""


NOTHING = 1e-3
"""Counts up to this are none: softplus never gives 0 itself."""

UNITS_SHOWN = 2
"""Units of each image whose counts a picture shows."""

TILE_COLOURS = ((0.89, 0.47, 0.2), (0.95, 0.75, 0.25), (0.35, 0.7, 0.5), (0.3, 0.55, 0.8))
WHOLE_COLOUR = (0.2, 0.2, 0.2)
GAP = 3
"""Pixels between what a picture shows."""
ACROSS = 3
"""Images in a row of the picture."""


class Counts(NamedTuple):
    """What was counted, never negative."""

    tiles: Float[Tensor, "B 4 U"]
    whole: Float[Tensor, "B U"]


class Counting(Method):
    """Count unknown things so that the tiles of an image add up to the whole, and not to another image.

    Args:
        encoder: network to train.
        margin: squared distance from which the tiles of an image and the whole of another are far enough apart.
        units: things that can be counted, the length of the vector of counts.
        hidden: width of the head's hidden layer.
        rectifier: what keeps counts from being negative: `relu` as in the paper, or `softplus`, whose units cannot die.
        grayscale: share of pairs of images that are made gray.
        flip: mirror half of the images.

    Source: Noroozi, Pirsiavash and Favaro, 2017, https://arxiv.org/abs/1708.06734
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=3e-4,
        momentum=0.9,
        weight_decay=0.0,
        schedule="cosine",
        clip=20.0,
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "accuracy"

    def __init__(
        self,
        encoder: Encoder,
        *,
        margin: float = 10.0,
        units: int = 1000,
        hidden: int = 512,
        rectifier: Literal["relu", "softplus"] = "relu",
        grayscale: float = 0.67,
        flip: bool = True,
    ) -> None:
        super().__init__()
        if not margin > 0:
            raise InputError(f"counting needs a margin above 0, got {margin:g}; the paper's is 10.")
        if not 0 <= grayscale <= 1:
            raise InputError(f"counting takes a share of gray pairs in [0, 1], got {grayscale:g}.")
        if units < 1 or hidden < 1:
            raise InputError(f"counting needs at least 1 unit and 1 hidden value, got {units} and {hidden}.")
        self.encoder = encoder
        self.head = Counter(encoder.vector_width, hidden, units, rectifier, margin)
        self.margin = margin
        self.grayscale = grayscale
        self.flip = flip
        self.side = encoder.image_size // 2 if takes(encoder, encoder.image_size // 2) else encoder.image_size

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the contrast of each image's tiles with its own whole and with another image's."""
        if len(batch.images) < 2 and self.training:
            raise InputError("counting compares images with each other: a batch needs at least 2 per process, got 1.")
        tiles, whole = self.count(self.views(batch.images))
        total = tiles.sum(1)
        own = squared_distances(total, whole)
        other = squared_distances(total, whole[partners(len(whole), whole.device)])
        everyone = processes.in_rank_order([whole.detach()])
        # not known before there is a batch, hence no class variable here
        self.headline_chance = 1 / len(everyone)  # type: ignore[misc]
        mine = torch.arange(len(total), device=total.device) + processes.rank() * len(total)
        nearest = torch.cdist(total.detach(), everyone).argmin(1)
        metrics = {
            "accuracy": (nearest == mine).float().mean(),
            "positive": own.mean(),
            "negative": other.mean(),
            "hinge_active": (other < self.margin).float().mean(),
            "active_units": (tiles.detach().amax((0, 1)) > NOTHING).float().mean(),
        }
        yield Objective(contrast(own, other, self.margin), metrics=metrics, chance=self.margin)

    def views(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 5 3 s s"]:
        """Give the four tiles of a view of each image, and the view at half its size; partners are gray together."""
        size = self.encoder.image_size // 2 * 2
        view = crops.random_crop(images, size, pad=0, flip=self.flip)
        pairs = pairs_of(len(images), images.device)
        gray = draws.happens(images[: int(pairs[-1]) + 1], self.grayscale)[pairs]
        view = color.gray_chosen(view, gray)
        return torch.cat([tiles_of(view), downsampling.random_halves(view).unsqueeze(1)], dim=1)

    def count(self, views: Float[Tensor, "B 5 3 s s"]) -> Counts:
        """Count in all streams at once: apart, each kind would get batch statistics of its own and give itself away."""
        counts = self.head(self.encoder.vector(crops.resize(views.flatten(0, 1), self.side)))
        counts = in_full(counts)
        counts = counts.view(-1, STREAMS, counts.shape[1])
        return Counts(counts[:, :4], counts[:, 4])

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw images and their tiles, and for each one's busiest units the counts of tiles and whole as bars."""
        views = self.views(batch.images[:6])
        tiles, whole = self.count(views)
        busiest = (tiles.sum(1) + whole).topk(min(UNITS_SHOWN, whole.shape[1]), dim=1).indices.unique()
        shown = Counts(tiles[..., busiest], whole[:, busiest])
        return {"image, tiles, and their counts stacked beside that of the whole": drawn(views, shown)}


class Counter(nn.Module):
    """Turn vectors into counts: linear, ReLU, linear, rectifier.

    Counts start small against the margin: were they large, the first steps would only shrink them, and units that
    are pushed below zero for every image never count again.
    """

    def __init__(self, width: int, hidden: int, units: int, rectifier: str, margin: float) -> None:
        super().__init__()
        last = nn.Linear(hidden, units)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), last)
        self.rectifier = nn.Softplus() if rectifier == "softplus" else nn.ReLU()
        nn.init.normal_(last.weight, std=0.3 * math.sqrt(margin / (units * hidden)))
        # four tiles count 3 times more than one whole, so softplus(bias) gives a tenth of the margin as distance
        small = math.sqrt(margin / 10 / (9 * units))
        nn.init.constant_(last.bias, 0.0 if rectifier == "relu" else math.log(math.expm1(small)))

    def forward(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B U"]:
        """Give counts, 0 or above."""
        counts: Tensor = self.rectifier(self.layers(vectors))
        return counts


def contrast(own: Float[Tensor, " B"], other: Float[Tensor, " B"], margin: float) -> Float[Tensor, ""]:
    """Average the squared distance to the own whole, and what that to the other's whole lacks of the margin.

    The hinge acts on the whole squared distance of a pair; unit by unit it would be another loss.
    """
    return (own + (margin - other).clamp(min=0)).mean()


def squared_distances(one: Float[Tensor, "B U"], other: Float[Tensor, "B U"]) -> Float[Tensor, " B"]:
    """Give the squared distance of each pair of rows."""
    return (one - other).square().sum(1)


def tiles_of(images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B 4 C s s"]:
    """Cut each image into its four quarters, row by row; S must be even."""
    count, channels, side, _ = images.shape
    cells = images.view(count, channels, 2, side // 2, 2, side // 2)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def partners(count: int, device: torch.device) -> Int[Tensor, " {count}"]:
    """Say which image each is contrasted with: neighbours with each other; of an odd number the last three in a ring.

    One image alone is its own partner.
    """
    numbers = torch.arange(count, device=device)
    partner = numbers ^ 1
    if count % 2:
        partner[-3:] = numbers[-3:].roll(-1)
    return partner


def pairs_of(count: int, device: torch.device) -> Int[Tensor, " {count}"]:
    """Number the groups in which `partners` stay."""
    return (torch.arange(count, device=device) // 2).clamp(max=max(0, count // 2 - 1))


@torch.no_grad()
def drawn(views: Float[Tensor, "B 5 3 s s"], counts: Counts) -> Float[Tensor, "3 H W"]:
    """Lay out each image: its tiles and the whole, underlined in the colour of their bars, and the bars; in columns."""
    larger = max(1, 48 // views.shape[-1])
    views = views.float().repeat_interleave(larger, 3).repeat_interleave(larger, 4)
    side = views.shape[-1]
    framed = nn.functional.pad(views, (0, GAP, 0, 2 * GAP), value=1.0)
    colours = views.new_tensor([*TILE_COLOURS, WHOLE_COLOUR])  # [5, 3]
    framed[..., side : side + GAP, :side] = colours[:, :, None, None]
    tiles = framed[:, :4].unflatten(1, (2, 2)).permute(0, 3, 1, 4, 2, 5)  # [B, 3, 2, y, 2, x]
    tiles = tiles.flatten(4, 5).flatten(2, 3)
    whole = nn.functional.pad(framed[:, 4], (0, 2 * GAP, 0, side + 2 * GAP), value=1.0)
    chart = nn.functional.pad(bars(counts, 2 * side), (0, 0, 0, 4 * GAP), value=1.0)
    each = torch.cat([tiles, whole, chart], dim=3)  # [B, 3, h, w]
    each = nn.functional.pad(each, (0, 0, 0, 0, 0, 0, 0, -len(each) % ACROSS), value=1.0)
    sheet: Tensor = each.unflatten(0, (-1, ACROSS)).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return sheet


def bars(counts: Counts, height: int) -> Float[Tensor, "B 3 {height} W"]:
    """Draw two bars for each unit: the counts of the four tiles on top of each other, and the count of the whole."""
    tiles, whole = counts.tiles.float().cumsum(1), counts.whole.float()
    top = torch.maximum(tiles[:, -1], whole).amax().clamp(min=NOTHING)
    level = torch.arange(height - 1, -1, -1, device=whole.device).add(0.5).div(height)[:, None] * top  # [height, 1]
    white = whole.new_ones(1, 3)
    stacked = torch.cat([whole.new_tensor(TILE_COLOURS), white])[(level >= tiles[:, :, None]).sum(1)]
    single = torch.cat([whole.new_tensor([WHOLE_COLOUR]), white])[(level >= whole[:, None]).long()]  # [B, height, U, 3]
    widths = torch.tensor([5, 5, 4], device=whole.device)
    drawn = torch.stack([stacked, single, torch.ones_like(single)], dim=3)  # [B, height, U, 3 bars, 3]
    return drawn.repeat_interleave(widths, dim=3).flatten(2, 3).permute(0, 3, 1, 2)
