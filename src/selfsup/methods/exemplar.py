"""Exemplar-CNN: every image is a class of its own, whose members are changed copies of it."""

import math
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import processes
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Method, Objective
from selfsup.networks.encoders import Encoder
from selfsup.recipe import Recipe
from selfsup.views import crops, families, hsv, sheets
from selfsup.views.precision import in_full

MOST = 32_000
"""Classes up to which a softmax is offered, the most of the paper; it found 8,000 to be best."""

COLOURS = 1 << 22
"""Pixels, about, from which the principal colours are found."""

FACTORS = ("scale", "contrast", "power", "factor")

NO_CLASS = -1

SHARPNESS = 10.0
"""Factor of cosine similarities in the loss of held-out images, for which there are no classes."""


class Exemplar(Method):
    """Name the image of which a changed copy was made.

    Args:
        encoder: network to train.
        form: `softmax` over one class per image as in the paper, or the `triplet` loss of its large-scale version,
            which compares the copies of a batch and has no limit on the number of images.
        surrogates: images that become classes, at most 32,000; of more images this many are trained on, evenly spread.
        copies: of each image in a batch, at least 2.
        shift: largest move of a copy to the sides and up or down, in shares of its side.
        scale: largest factor of its scale, the least is one over it; the paper's range is 0.7 to 1.4.
        rotation: largest turn of a copy to either side in degrees.
        contrast: largest factor along each principal colour of the data, the least is one over it.
        power: largest power of saturation and value, the least is one over it.
        factor: largest factor of saturation and value, the least is one over it; the paper's range is 0.7 to 1.4.
        addition: largest number added to or taken from saturation and value.
        hue: largest shift of the hue to either side, in turns of the colour circle.
        margin: of the triplet loss, in squared distances of vectors of length 1.
        embedding: width of the vectors that the triplet loss compares.

    Source: Dosovitskiy, Fischer, Springenberg, Riedmiller and Brox, 2014, https://arxiv.org/abs/1406.6909;
    triplets: Kolesnikov, Zhai and Beyer, 2019, https://arxiv.org/abs/1901.09005
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "matching"

    mean: Tensor
    directions: Tensor
    seeds: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        form: Literal["softmax", "triplet"] = "softmax",
        surrogates: int = 2000,
        copies: int = 2,
        shift: float = 0.2,
        scale: float = 2**0.5,
        rotation: float = 20.0,
        contrast: float = 2.0,
        power: float = 4.0,
        factor: float = 2**0.5,
        addition: float = 0.1,
        hue: float = 0.1,
        margin: float = 0.5,
        embedding: int = 1000,
    ) -> None:
        super().__init__()
        if form == "softmax" and not 2 <= surrogates <= MOST:
            raise InputError(
                f"exemplar takes 2 to {MOST:,} surrogates, because its classifier grows with them, got {surrogates:,}; "
                "for more images use --form triplet."
            )
        if copies < 2:
            raise InputError(f"exemplar compares copies of an image: copies must be at least 2, got {copies}.")
        self.ranges = families.Ranges(shift, scale, rotation, contrast, power, factor, addition, hue)
        for name, value in self.ranges._asdict().items():
            none = 1 if name in FACTORS else 0
            if not none <= value <= 180:
                raise InputError(f"exemplar takes a {name} from {none} (no change) to 180, got {value:g}.")
        if not margin > 0 or embedding < 1:
            raise InputError(
                f"exemplar needs a margin above 0 and an embedding of 1 or more, got {margin:g} and {embedding}; "
                "0.5 and 1000 are usual."
            )
        self.encoder = encoder
        self.surrogates, self.copies, self.margin = surrogates, copies, margin
        self.images = 0
        self.classifier: nn.Linear | None = None
        self.head = nn.Linear(encoder.vector_width, embedding) if form == "triplet" else None
        self.register_buffer("mean", encoder.mean.clone())
        self.register_buffer("directions", torch.eye(3))

    def start(self, data: DataFacts) -> None:
        """Find the principal colours, and make a class of each image or of as many as there may be classes."""
        few = min(data.count, max(32, min(1024, COLOURS // data.image_size**2)))
        palette = hsv.palette_of(data.sample(few))
        self.mean.copy_(palette.mean)
        self.directions.copy_(palette.directions)
        if self.head is not None:
            return
        self.images = data.count
        classes = min(self.surrogates, data.count)
        # every k-th image: follows from the counts alone, so it needs no place in a checkpoint
        seeds = torch.arange(classes) * data.count // classes
        self.register_buffer("seeds", seeds.to(self.mean.device), persistent=False)
        classifier = nn.Linear(self.encoder.vector_width, classes)
        nn.init.normal_(classifier.weight, std=0.005)  # released code
        nn.init.zeros_(classifier.bias)
        self.classifier = classifier.to(self.mean)

    def start_epoch(self, embed: Callable[[nn.Module], Tensor]) -> Tensor | None:
        """Let only images come that are classes, each as often as any other."""
        if self.classifier is None or len(self.seeds) == self.images:
            return None
        # the generator has just been seeded alike in every process
        rounds = [self.seeds.cpu()[torch.randperm(len(self.seeds))] for _ in range(-(-self.images // len(self.seeds)))]
        return torch.cat(rounds)[: self.images]

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the error of naming each copy's image; held-out images, which are no classes, are matched instead."""
        vectors = in_full(self.encoder.vector(self.copies_of(batch.images)))
        similarities = self.similarities(vectors)
        mine = torch.arange(len(similarities), device=vectors.device) + processes.rank() * len(similarities)
        # not known before there is a batch, hence no class variable here
        self.headline_chance = 1 / similarities.shape[1]  # type: ignore[misc]
        metrics = {"matching": (similarities.argmax(1) == mine).float().mean()}
        chance: float
        if self.head is not None:
            embeddings = in_full(self.head(vectors))
            loss, chance = triplet(embeddings, self.copies, self.margin), self.margin
        elif self.training:
            assert self.classifier is not None, "start makes the classifier"
            logits = in_full(self.classifier(vectors))
            labels = self.classes_of(batch.index).repeat_interleave(self.copies)
            metrics["accuracy"] = (logits.argmax(1) == labels).float().mean()
            loss, chance = over_classes(logits, labels), math.log(logits.shape[1])
        else:
            loss, chance = F.cross_entropy(SHARPNESS * similarities, mine), math.log(similarities.shape[1])
        yield Objective(loss, metrics=metrics, chance=chance)

    def copies_of(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "N 3 s s"]:
        """Give changed copies of each image, which stand together."""
        palette = hsv.Palette(self.mean, self.directions)
        return families.family(images, self.copies, self.encoder.image_size, palette, self.ranges)

    def classes_of(self, index: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Give the class of each image, NO_CLASS for images that are none."""
        place = torch.searchsorted(self.seeds, index).clamp(max=len(self.seeds) - 1)
        return torch.where(self.seeds[place] == index, place, NO_CLASS)

    def similarities(self, vectors: Float[Tensor, "N D"]) -> Float[Tensor, "B V"]:
        """Give the cosines of the first copy of each image with the second copies of the images of all processes."""
        with torch.autocast(vectors.device.type, enabled=False):
            vectors = F.normalize(vectors.detach(), dim=1)
            everyone = processes.in_rank_order([vectors[1 :: self.copies]])
            return vectors[0 :: self.copies] @ everyone.T

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw images, three copies of each, and the image that is nearest to the last of them."""
        seeds = crops.center(batch.images, self.encoder.image_size)
        rounds = [self.copies_of(batch.images)[:: self.copies] for _ in range(3)]
        known, asked = (F.normalize(in_full(self.encoder.vector(x)), dim=1) for x in (seeds, rounds[-1]))
        nearest = seeds[(asked @ known.T).argmax(1)]
        rows = [row[:8] for row in (seeds, *rounds, nearest)]
        return {"image, three copies, and the image nearest to the last copy": sheets.rows(rows)}


def over_classes(logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Give the cross-entropy, averaged over the copies that have a class."""
    total = F.cross_entropy(logits, labels, ignore_index=NO_CLASS, reduction="sum")
    return total / (labels != NO_CLASS).sum().clamp(min=1)


def triplet(embeddings: Float[Tensor, "N E"], copies: int, margin: float) -> Float[Tensor, ""]:
    """Keep every copy closer to each other copy of its image than to those of others, by a margin.

    Args:
        embeddings: of any length (they are normalized here, each on its own); copies of an image stand together.
        copies: of each image.
        margin: in squared distances.

    For each pair of copies the other image's copy is the nearest that is farther away than the pair is; if there is
    none, the farthest of all (semi-hard, FaceNet). It is looked for in all processes.

    Source: google/revisiting-self-supervised, self_supervision/exemplar.py, which normalizes over the batch instead.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        embeddings = F.normalize(embeddings, dim=1)
        everyone = processes.gather_with_gradient(embeddings)  # [V, E]
        distances = 2 - 2 * embeddings @ everyone.T  # [N, V]
        owner = torch.arange(len(everyone), device=embeddings.device) // copies
        row = torch.arange(len(embeddings), device=embeddings.device) + processes.rank() * len(embeddings)
        others = owner[row, None] != owner  # [N, V]
        if not bool(others.any()):
            raise InputError("exemplar compares images with each other: a batch needs at least 2, got 1.")
        members = owner[row, None] * copies + torch.arange(copies, device=row.device)  # [N, copies]
        near = distances.gather(1, members)
        farther = others[:, None] & (distances[:, None] > near[:, :, None])  # [N, copies, V]
        far = distances[:, None].masked_fill(~farther, math.inf).amin(2)
        farthest = distances.masked_fill(~others, -math.inf).amax(1, keepdim=True)
        far = torch.where(far.isinf(), farthest, far)
        errors = (margin + near - far).clamp(min=0).masked_fill(members == row[:, None], 0)
        return errors.sum() / (len(embeddings) * (copies - 1))
