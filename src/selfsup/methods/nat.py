"""Noise as targets (NAT): land on fixed random points of a sphere, which images may swap among themselves."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import processes
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Method, Objective
from selfsup.networks import sphere
from selfsup.networks.encoders import Encoder
from selfsup.recipe import Recipe
from selfsup.views import color, crops, sheets
from selfsup.views.precision import in_full

SHOWN = 12
"""Images in a picture."""


class NAT(Method):
    """Send each image to a random point of a sphere; which image gets which point is found while training.

    Args:
        encoder: network to train.
        dimension: of the sphere's space; the paper's is 2048.
        rematch_every: epochs from one in which the points of each batch are dealt out anew to the next; the paper
            has 3.
        sees: `edges` of the gray image as in the paper, or `colour`, whose views are changed in colour.
        hidden: width of the layer between encoder and sphere. None: as wide as the encoder's vector, at least 512.
        crop_min: smallest share of an image's area that a view shows. None: a crop without any change of scale.
        strength: of the colour jitter: brightness, contrast and saturation change by up to 0.8 times, hue by up to
            0.2 times this. None: 0.5 for colour, 0 for edges.
        grayscale: share of views without colour. None: 0.2 for colour, 0 for edges.
        flip: mirror half of the views.

    Source: Bojanowski and Joulin, 2017, https://arxiv.org/abs/1704.05310
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        batch_size=256,
        epochs=100.0,
    )
    headline: ClassVar[str] = "found"

    seed: Tensor
    target_of: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        dimension: int = 512,
        rematch_every: int = 10,
        sees: Literal["edges", "colour"] = "edges",
        hidden: int | None = None,
        crop_min: float | None = 0.3,
        strength: float | None = None,
        grayscale: float | None = None,
        flip: bool = True,
    ) -> None:
        super().__init__()
        if encoder.sees != sees:
            raise InputError(f"This nat sees {sees}, got an encoder that sees {encoder.sees}; build it alike.")
        for name, value, least in (
            ("dimension", dimension, 2), ("rematch_every", rematch_every, 1), ("hidden", hidden, 1),
        ):  # fmt: skip
            if value is not None and value < least:
                raise InputError(f"nat takes {name} from {least}, got {value}.")
        self.strength = (0.5 if sees == "colour" else 0.0) if strength is None else strength
        self.grayscale = (0.2 if sees == "colour" else 0.0) if grayscale is None else grayscale
        shown = 1.0 if crop_min is None else crop_min
        for name, share, low, high in (
            ("crop_min", shown, 0.01, 1.0), ("strength", self.strength, 0.0, 2.5),
            ("grayscale", self.grayscale, 0.0, 1.0),
        ):  # fmt: skip
            if not low <= share <= high:
                raise InputError(f"nat takes {name} from {low:g} to {high:g}, got {share:g}.")
        self.encoder = encoder
        self.dimension, self.rematch_every, self.crop_min, self.flip = dimension, rematch_every, crop_min, flip
        width = hidden or max(encoder.vector_width, 512)
        self.head = nn.Sequential(
            nn.Linear(encoder.vector_width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
            nn.Linear(width, dimension, bias=False), nn.BatchNorm1d(dimension, affine=False),
        )  # fmt: skip

    def start(self, data: DataFacts) -> None:
        """Deal out one point to each image, at random; points follow from a seed and their numbers and never change."""
        device = self.encoder.mean.device
        self.register_buffer("seed", torch.randint(2**62, (), device=device))
        self.register_buffer("target_of", torch.randperm(data.count).to(device))

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the mean squared distance to the images' points; held-out images get the points of a fresh draw."""
        outputs = self.outputs(self.views(batch.images))
        index = processes.in_rank_order([batch.index])
        everyone = processes.in_rank_order([outputs.detach()])  # [V, d]
        mine = torch.arange(len(outputs), device=outputs.device) + processes.rank() * len(outputs)
        metrics = {}
        if self.training:
            if batch.step // max(1, len(self.target_of) // len(index)) % self.rematch_every == 0:
                metrics["moved"] = self._rematch(everyone, index)
            points = self.points(self.target_of[index], outputs)
            owned = points
        else:
            fresh = self.points(len(self.target_of) + torch.arange(len(index), device=index.device), outputs)
            points = fresh[matched(everyone @ fresh.T)]
            # of an image without a point, the place where another view of it lands
            owned = processes.in_rank_order([self.outputs(self.views(batch.images))])
        # not known before there is a batch, hence no class variable here
        self.headline_chance = 1 / len(index)  # type: ignore[misc]
        metrics["found"] = ((outputs.detach() @ owned.T).argmax(1) == mine).float().mean()
        cosine = (outputs * points[mine]).sum(1).mean()
        yield Objective(2 - 2 * cosine, metrics={**metrics, "cosine": cosine}, chance=2.0)

    @torch.no_grad()
    def _rematch(self, outputs: Float[Tensor, "V d"], index: Int[Tensor, " V"]) -> Float[Tensor, ""]:
        """Deal the points of a batch out anew, all processes alike; give the share of images whose point is another."""
        held = self.target_of[index]
        now = held[matched(outputs @ self.points(held, outputs).T)]
        self.target_of[index] = now
        return (now != held).float().mean()

    def points(self, numbers: Int[Tensor, " V"], like: Float[Tensor, "_ d"]) -> Float[Tensor, "V d"]:
        """Give the points of these numbers."""
        return sphere.points(numbers, self.seed, self.dimension).to(like)

    def outputs(self, images: Float[Tensor, "B 3 s s"]) -> Float[Tensor, "B d"]:
        """Say where on the sphere images land."""
        vectors = self.head(self.encoder.vector(images))
        return F.normalize(in_full(vectors), dim=1)

    def views(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 s s"]:
        """Crop, mirror and, where colours are seen, change them."""
        size = self.encoder.image_size
        if self.crop_min is None:
            made = crops.random_crop(images, size, flip=self.flip)
        else:
            made = crops.random_resized_crop(images, size, scale=(self.crop_min, 1.0), flip=self.flip)
        by = 0.8 * self.strength
        made = color.jitter(made, by, by, by, 0.2 * self.strength) if by > 0 else made
        return color.grayscale(made, self.grayscale) if self.grayscale > 0 else made

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw images matched to noise, and images with the one that lands nearest to another view of them."""
        images = crops.center(batch.images, self.encoder.image_size)
        views = self.views(batch.images)
        known, asked = self.outputs(images), self.outputs(views)
        numbers = torch.arange(len(images), device=images.device)
        fresh = self.points(len(self.target_of) + numbers, known)
        scores = known @ fresh[matched(known @ fresh.T)].T  # [B, B]
        shades = (0.5 + 0.5 * scores / scores.abs().max())[:, :, None, None, None].expand(-1, -1, *images.shape[1:])
        nearest = images[(asked @ known.T).argmax(1)]
        return {
            "images, and how near each lands to the points of all after matching": sheets.rows(
                [torch.cat([images[i, None], shades[i, :SHOWN]]) for i in range(min(SHOWN, len(images)))]
            ),
            "image, another view, and the image that lands nearest to it": sheets.rows(
                [row[:SHOWN] for row in (images, views, nearest)]
            ),
        }


def matched(scores: Float[Tensor, "V V"]) -> Int[Tensor, " V"]:
    """Give each row a column of its own so that the sum of their scores is largest (Hungarian method, exact)."""
    _, columns = linear_sum_assignment(scores.detach().double().cpu().numpy(), maximize=True)
    return torch.from_numpy(columns).to(scores.device)
