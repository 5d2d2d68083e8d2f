"""SimCLR: pull two views of an image together, push all other views of the batch away."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from selfsup import processes
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks.encoders import Encoder
from selfsup.networks.heads import Projector
from selfsup.recipe import Recipe
from selfsup.views import crops, sheets
from selfsup.views.coloured import coloured_crops

LARGE = 96
"""Side in pixels from which views are made as for ImageNet (full strength, blur), below it as for CIFAR-10."""


class SimCLR(Method):
    """Find, among all views of a batch, the other view of the same image.

    Args:
        encoder: network to train.
        temperature: divides cosine similarities; 0.5 is the paper's for CIFAR-10, 0.1 for ImageNet.
        crop_min: smallest share of an image's area that a view shows.
        strength: of the colour jitter: brightness, contrast and saturation change by up to 0.8 times, hue by
            up to 0.2 times this. None: 1 from 96 pixels on, 0.5 below.
        grayscale: share of views made gray.
        blur: share of views that are blurred. None: 0.5 from 96 pixels on, none below.
        flip: mirror half of the views.
        hidden: width of the head's hidden layers. None: as wide as the encoder's vector, at least 512.
        projection: width of the projections that are compared.
        layers: of the head; 2 in the paper, 3 in its second version.

    Source: Chen, Kornblith, Norouzi and Hinton, 2020, https://arxiv.org/abs/2002.05709
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.06,
        lr_per=256,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        batch_size=256,
        epochs=100.0,
    )
    headline: ClassVar[str] = "accuracy"

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float = 0.5,
        crop_min: float = 0.08,
        strength: float | None = None,
        grayscale: float = 0.2,
        blur: float | None = None,
        flip: bool = True,
        hidden: int | None = None,
        projection: int = 128,
        layers: int = 2,
    ) -> None:
        super().__init__()
        large = encoder.image_size >= LARGE
        self.temperature = _within("temperature", temperature, 1e-3, 100.0)
        self.crop_min = _within("crop_min", crop_min, 1e-3, 1.0)
        self.strength = _within("strength", (1.0 if large else 0.5) if strength is None else strength, 0.0, 2.5)
        self.grayscale = _within("grayscale", grayscale, 0.0, 1.0)
        self.blur = _within("blur", (0.5 if large else 0.0) if blur is None else blur, 0.0, 1.0)
        self.flip = flip
        self.encoder = encoder
        self.head = Projector(encoder.vector_width, hidden or max(encoder.vector_width, 512), projection, layers)

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the contrast of two fresh views of every image."""
        projections = self.head(self.encoder.vector(self.views(batch.images)))
        one, other = projections[0::2], projections[1::2]
        logits, positives = similarities(one, other, self.temperature)
        loss = F.cross_entropy(logits, positives)
        others = logits.shape[1] - 1
        # not known before there is a batch, hence no class variable here
        self.headline_chance = 1 / others  # type: ignore[misc]
        accuracy = (logits.argmax(1) == positives).float().mean()
        agreement = logits.detach().gather(1, positives[:, None]).mean() * self.temperature
        yield Objective(loss, metrics={"accuracy": accuracy, "agreement": agreement}, chance=math.log(others))

    def views(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "2*B 3 s s"]:
        """Make two views of each image, which stand together: rows 2i and 2i + 1 show image i."""
        like = images.new_empty(2 * len(images), 0)
        boxes = crops.random_boxes(like, images.shape[-2], images.shape[-1], scale=(self.crop_min, 1.0))
        flips = crops.random_flips(like, self.flip)
        return coloured_crops(
            images,
            boxes,
            flips,
            self.encoder.image_size,
            strength=self.strength,
            grayscale=self.grayscale,
            blur=self.blur,
        )

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw two views of each image and, of all other views in the batch, the one found nearest to the first."""
        views = self.views(batch.images)
        projections = self.head(self.encoder.vector(views))
        logits, _ = similarities(projections[0::2], projections[1::2], self.temperature)
        first, second = views[0::2], views[1::2]
        shown = slice(0, 8)
        nearest = torch.cat([first, second])[logits[: len(first)].argmax(1)]
        return {"a view, its partner, and the nearest view": sheets.rows([first[shown], second[shown], nearest[shown]])}


def nt_xent(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, ""]:
    """Contrast each pair of rows with all other rows of all processes, averaged over the 2B rows of this one.

    Args:
        one: projections of the first views, any scale (they are normalized here).
        other: projections of the second views, in the same order.
        temperature: divides cosine similarities; positive, 0.1 to 1 in practice.

    The official code gives twice this: the sum of the means over the two halves.

    Source: Chen et al., 2020, equation 1, https://arxiv.org/abs/2002.05709
    """
    return F.cross_entropy(*similarities(one, other, temperature))


def similarities(
    one: Float[Tensor, "B D"], other: Float[Tensor, "B D"], temperature: float
) -> tuple[Float[Tensor, "2*B V"], Int[Tensor, "2*B"]]:
    """Compare the views of this process with those of all processes; also say which column is each row's partner.

    Columns hold all first views, then all second ones, in order of rank; a view's own column is -inf.
    In at least float32, whatever is given; gradients flow to the views of all processes.
    """
    with torch.autocast(one.device.type, enabled=False):
        one, other = (F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1) for z in (one, other))
        every = torch.cat([processes.gather_with_gradient(one), processes.gather_with_gradient(other)])  # [2N, D]
        logits = (torch.cat([one, other]) / temperature) @ every.T  # [2B, V = 2N]
        mine = torch.arange(len(one), device=one.device) + processes.rank() * len(one)
        itself = torch.cat([mine, mine + len(every) // 2])
        return logits.scatter_(1, itself[:, None], -math.inf), itself.roll(len(one))


def _within(name: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise InputError(f"simclr takes a {name} from {low:g} to {high:g}, got {value:g}.")
    return value
