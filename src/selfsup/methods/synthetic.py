"""Synthetic imagery: depth, normals and contours of rendered scenes, by features that real images could have too."""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks import adversarial as game
from selfsup.networks.dense import DenseHead
from selfsup.networks.domains import DomainDiscriminator, ReplayPool
from selfsup.networks.encoders import Encoder, behind_last_map
from selfsup.networks.norm import by_batch
from selfsup.networks.surfaces import TASKS, Blind, unit
from selfsup.recipe import Recipe
from selfsup.views import color, crops, sheets, truth
from selfsup.views.precision import in_full

HEAD_WIDTH = 64
"""Most channels of the heads' layers (code)."""
STRIDE = 16
"""Pixels of a place of the judged map, at most: that of AlexNet's conv5, which is judged in the code."""
UNITS = {"depth": "depth_error", "normals": "normal_degrees", "contours": "contour_error"}
"""Metric of each task; the blind guess has the same name and `_blind`."""


class Synthetic(Method):
    """Predict depth, normals and contours of rendered scenes with features that cannot be told from real images'.

    Args:
        encoder: network to train.
        scenes: what is rendered: `scenes` (in a room) or `plain-scenes`, with `:COUNT` or `:COUNT:SEED`; or a folder
            of scenes rendered elsewhere.
        depth: weight of the error of log depth; 0: no such head.
        normals: weight of the error of normals; 0: no such head.
        contours: weight of the error of contours; 0: no such head.
        adversarial: weight of the discriminator's verdict on the features of scenes; 0: it only looks on.
        stage: of the encoder, whose map the discriminator judges. None: the last one with a stride of 16 or less.
        pool: maps of earlier steps that the discriminator is shown again, of each domain.
        discriminator_rate: rate of the discriminator in units of the others'.
        gray: show one channel of an image, drawn at random, in all three, so that colours do not tell the domains.
        flip: mirror half of the scenes and of the images.

    Source: Ren and Lee, 2018, https://arxiv.org/abs/1711.09082
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=1e-3,
        momentum=0.5,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=64,
        epochs=30.0,
    )
    headline: ClassVar[str] = "explained"
    headline_chance: ClassVar[float | None] = 0.0  # what scenes show on average in each place
    reads: ClassVar[str] = "images and scenes"

    def __init__(
        self,
        encoder: Encoder,
        *,
        scenes: str = "scenes:3000",
        depth: float = 5.0,
        normals: float = 1.0,
        contours: float = 1.0,
        adversarial: float = 0.2,
        stage: str | None = None,
        pool: int = 128,
        discriminator_rate: float = 0.1,
        gray: bool = True,
        flip: bool = True,
    ) -> None:
        super().__init__()
        weights = {"depth": depth, "normals": normals, "contours": contours}
        _check({**weights, "adversarial": adversarial}, pool)
        game.check(discriminator_rate=discriminator_rate)
        self.encoder = encoder
        self.scenes = scenes  # opened by whoever makes the batches
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        self.adversarial, self.discriminator_rate = adversarial, discriminator_rate
        self.gray, self.flip = gray, flip
        shapes = _shapes(encoder)
        self.stage = _stage(stage, shapes, encoder.image_size)
        behind = encoder.vector_width if behind_last_map(encoder) else 0
        self.heads = nn.ModuleDict({
            name: DenseHead(
                encoder.width, encoder.side, encoder.image_size // 2, TASKS[name].channels, behind, widest=HEAD_WIDTH
            )
            for name in self.weights
        })  # fmt: skip
        self.discriminator = DomainDiscriminator(shapes[self.stage][0])
        self.of_scenes, self.of_images = (ReplayPool(pool, shapes[self.stage]) for _ in range(2))
        self.blind = Blind(encoder.image_size)

    def optimizers(self, recipe: Recipe) -> dict[str, Optimizer]:
        """Give one to encoder and heads, and one to the discriminator."""
        judging = list(self.discriminator.parameters())
        others = [p for name, p in self.named_parameters() if not name.startswith("discriminator.")]
        return {
            "encoder": recipe.build(others),
            "discriminator": recipe.build(judging, lr_factor=self.discriminator_rate),
        }

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the discriminator's loss, then that of encoder and heads against the discriminator as it then is."""
        size = self.encoder.image_size
        maps = truth.random_crop(truth.laid_out(batch.extra), size, flip=self.flip)
        images = crops.random_crop(batch.images, size, pad=0, flip=self.flip)
        scenes = maps.pop("scenes")
        if self.gray:
            scenes, images = color.one_channel(scenes), color.one_channel(images)
        of_scenes, vector = self.stages_of(scenes)
        told = of_scenes[self.stage]
        # only the discriminator learns from real images
        with torch.no_grad(), nullcontext() if self.training else by_batch(self.encoder):
            real = self.encoder.stages(images)[self.stage]
        real_logits = self.discriminator(self.of_images(real))
        fake_logits = self.discriminator(self.of_scenes(told))
        judging = game.discriminator_loss(real_logits, fake_logits, "logistic") / 2
        accuracy = {"domain_accuracy": game.accuracy(real_logits, fake_logits)}
        yield Objective(judging, "discriminator", accuracy, chance=math.log(2))
        if self.training:
            self.blind.learn(maps)
        predicted = self.predict(of_scenes, vector)
        guesses = self.blind.guess(maps)
        loss, blind = (self.weighted(maps, answers) for answers in (predicted, guesses))
        fooling = game.generator_loss(self.discriminator(told), "logistic")
        chance = blind.item() + self.adversarial * math.log(2)
        yield Objective(loss + self.adversarial * fooling, "encoder", measured(maps, predicted, guesses), chance)

    def stages_of(self, images: Float[Tensor, "B 3 S S"]) -> tuple[dict[str, Tensor], Float[Tensor, "B D"]]:
        """Give the maps of all stages and the vector; batch norm goes by the images at hand, in eval mode too.

        Its running statistics, which the encoder is kept with, are those of real images alone.
        """
        with by_batch(self.encoder):
            return self.encoder.stages_and_vector(images)

    def predict(
        self, stages: Mapping[str, Tensor], vector: Float[Tensor, "B D"]
    ) -> dict[str, Float[Tensor, "B _ S S"]]:
        """Give log depth, unit normals and logits of contours, at the side of the picture."""
        size = self.encoder.image_size
        last = stages[self.encoder.stage_names[-1]]
        found = {
            name: F.interpolate(in_full(head(last, vector)), (size, size), mode="bilinear")
            for name, head in self.heads.items()
        }
        if "depth" in found:  # from the mean on: a bias alone would take thousands of steps to get there
            found["depth"] = found["depth"] + self.blind.log_depth
        if "normals" in found:
            found["normals"] = unit(found["normals"])
        return found

    def weighted(self, maps: Mapping[str, Tensor], answers: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Add up the losses of the tasks that there is truth for."""
        known = [name for name in self.weights if name in maps]
        if not known:
            raise InputError(f"The scenes of {self.scenes} have no {' or '.join(self.weights)} to learn from.")
        return torch.stack([self.weights[name] * TASKS[name].loss(answers[name], maps[name]) for name in known]).sum()

    @torch.no_grad()
    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw scenes with what is true and what is predicted of them, and real images with what is predicted."""
        size = self.encoder.image_size
        maps = truth.center(truth.laid_out(batch.extra), size)
        scenes, images = maps["scenes"], crops.center(batch.images, size)
        if self.gray:
            scenes, images = color.one_channel(scenes), color.one_channel(images)
        found, imagined = self.predict(*self.stages_of(scenes)), self.predict(*self.stages_of(images))
        rows = [scenes]
        for name, values in found.items():
            rows += [_drawn(name, maps[name], maps.get(name), True)] if name in maps else []
            rows.append(_drawn(name, values, maps.get(name), False))
        alone = [images, *(_drawn(name, values, None, False) for name, values in imagined.items())]
        return {
            f"scenes with {', '.join(found)}, true and predicted": sheets.rows([row[:8] for row in rows]),
            f"real images with {', '.join(imagined)}, predicted": sheets.rows([row[:8] for row in alone]),
        }


def measured(
    maps: Mapping[str, Tensor], predicted: Mapping[str, Tensor], guesses: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give the error of each task beside that of the blind guess, and what share of the latter is gone, in the mean."""
    metrics: dict[str, Tensor] = {}
    gone = []
    for name, values in predicted.items():
        if name not in maps:
            continue
        error, blind = (TASKS[name].error(answers.detach(), maps[name]) for answers in (values, guesses[name]))
        metrics |= {UNITS[name]: error, f"{UNITS[name]}_blind": blind}
        gone.append(1 - error / blind.clamp(min=1e-6))
    return {"explained": torch.stack(gone).mean(), **metrics}


def _drawn(name: str, values: Tensor, of_scene: Tensor | None, given: bool) -> Float[Tensor, "B 3 S S"]:
    """Draw a map; predicted depth in the brightness of the true one, where there is one."""
    if name == "normals":
        return truth.draw_normals(values)
    if name == "contours":
        return (values.float() if given else values.float().sigmoid()).expand(-1, 3, -1, -1)
    if of_scene is None:
        return truth.draw_depth(values)
    seen = of_scene > 0
    true = torch.where(seen, of_scene, 1.0).log()
    return truth.draw_depth(true if given else values, *truth.depth_range(true, seen), seen if given else None)


@torch.no_grad()
def _shapes(encoder: Encoder) -> dict[str, tuple[int, ...]]:
    """Give the shape of each stage's map, by a trial."""
    was_training = encoder.training
    encoder.eval()
    found = encoder.stages(encoder.mean.new_zeros(1, *encoder.shape))
    encoder.train(was_training)
    return {name: tuple(values.shape[1:]) for name, values in found.items()}


def _stage(asked: str | None, shapes: Mapping[str, tuple[int, ...]], image_size: int) -> str:
    if asked is not None:
        if asked not in shapes:
            raise InputError(f"The encoder has no stage {asked!r}; choose one of {', '.join(shapes)}.")
        return asked
    fine = [name for name, shape in shapes.items() if image_size / shape[1] <= STRIDE]
    return fine[-1] if fine else next(iter(shapes))


def _check(weights: Mapping[str, float], pool: int) -> None:
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise InputError(f"{name} is a weight of 0 or above, got {weight:g}.")
    if not any(weight for name, weight in weights.items() if name != "adversarial"):
        raise InputError("At least one of depth, normals and contours needs a weight above 0; the paper has all three.")
    if not 0 <= pool <= 10_000:
        raise InputError(f"pool is 0 to 10,000 maps, got {pool}; the paper's code has 128.")
