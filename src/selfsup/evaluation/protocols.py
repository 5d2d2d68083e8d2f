"""The papers' probes by stochastic gradient descent, under their names.

The trunk is frozen: eval mode, batch-norm statistics fixed, no gradients. What a protocol puts on top of each
stage, and how that is trained, is a line of the table below. The result is that of the last epoch; the papers'
releases keep the best test epoch, which is choosing on the test set.

Sources: the official code of each method. What differs for all: maps are pooled adaptively, so that any trunk at
any image size can be probed, where some papers have windows fitted to AlexNet at 227 pixels.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from selfsup.data.images import ImageStore
from selfsup.draws import reseed
from selfsup.errors import InputError
from selfsup.evaluation.features import Tell, batches, center_views, device_of, frozen
from selfsup.evaluation.heads import build_head
from selfsup.evaluation.supervised import own_generator, rows_of_step
from selfsup.networks.encoders import Encoder
from selfsup.progress import silent
from selfsup.views import crops

LONGEST = 9600
"""Largest number of features of a stage after its reduction, as for AlexNet's conv1 at 227 pixels."""

Schedule = tuple[tuple[int, float], ...]
"""Pairs (until, rate): the rate is used until that epoch, the last one to the end."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A published way to probe a frozen trunk.

    Args:
        head: what is trained: `linear`; `layers`, fully connected with batch norm and ReLU; `block`, the third block of
            a network in network; `alexnet`, what follows conv4 or conv5 in AlexNet.
        epochs: length in the paper.
        rates: learning rates by epoch.
        batch_size: images per step.
        weight_decay: of all weights.
        reduction: how a map is brought to at most 9,600 features before a linear layer.
        norm: whether a batch norm without scale and bias comes before the linear layer.
        initial: weights of the head: torch's default, or N(0, 2 / fan out) as in RotNet's code.
        momentum: of SGD.
        nesterov: whether it is Nesterov's.
        bias_rate: factor of the learning rate for biases.
        depth: hidden layers of a `layers` head.
        lr_per: batch size the rates are meant for. None: as given.
        inverse_sqrt: divide the rate by sqrt(1 + rate * weight decay * step), in place of steps.
        crop: training views: crops at a random offset, or of random size; both are flipped too.
        ten_crop: whether test probabilities are means over ten crops.
        stages: positions of the stages the paper probes. None: every stage.
    """

    head: Literal["linear", "layers", "block", "alexnet"]
    epochs: int
    rates: Schedule
    batch_size: int
    weight_decay: float
    reduction: Literal["average", "max", "bilinear"] = "average"
    norm: bool = True
    initial: Literal["torch", "fan_out"] = "torch"
    momentum: float = 0.9
    nesterov: bool = False
    bias_rate: float = 1.0
    depth: int = 0
    lr_per: int | None = None
    inverse_sqrt: bool = False
    crop: Literal["offset", "resized"] = "offset"
    ten_crop: bool = False
    stages: tuple[int, ...] | None = None

    def rate(self, progress: float, step: int = 0) -> float:
        """Give the learning rate at a share of the training in [0, 1), whatever its length."""
        epoch = progress * self.epochs + 1e-6  # so that the last bit of a quotient does not delay a boundary
        rate = next((rate for until, rate in self.rates if epoch < until), self.rates[-1][1])
        if self.lr_per is not None:
            rate *= self.batch_size / self.lr_per
        return rate / math.sqrt(1 + rate * self.weight_decay * step) if self.inverse_sqrt else rate


def _after(first: float, decay: float, *milestones: int) -> Schedule:
    """Give the schedule that multiplies a rate by `decay` at each of the milestones but the last, its end."""
    return tuple((until, first * decay**number) for number, until in enumerate(milestones))


_ROTNET_LINEAR = ((5, 0.01), (15, 0.002), (25, 4e-4), (35, 8e-5))
_AET_LINEAR = ((5, 0.01), (25, 0.002), (45, 4e-4), (65, 8e-5))

PROTOCOLS: dict[str, Protocol] = {
    # 140,000 iterations of 256 images are 28 passes over ImageNet
    "zhang": Protocol(
        head="linear", reduction="bilinear", epochs=28, rates=_after(0.01, 0.1, 8, 16, 24, 28), batch_size=256,
        weight_decay=5e-4, bias_rate=2,
    ),
    "fair": Protocol(
        head="linear", epochs=28, rates=_after(0.01, 0.1, 8, 16, 24, 28), batch_size=256, weight_decay=1e-4,
        nesterov=True, bias_rate=2,
    ),
    "rotnet": Protocol(
        head="linear", reduction="max", epochs=35, rates=_ROTNET_LINEAR, batch_size=192, weight_decay=5e-4,
        nesterov=True, initial="fan_out",
    ),
    "aet": Protocol(
        head="linear", reduction="max", epochs=65, rates=_AET_LINEAR, batch_size=192, weight_decay=5e-4,
        nesterov=True, initial="fan_out",
    ),
    "deepcluster": Protocol(
        head="linear", norm=False, epochs=90, rates=((90, 0.01),), batch_size=256, weight_decay=1e-4,
        inverse_sqrt=True, ten_crop=True,
    ),
    "asano": Protocol(
        head="linear", reduction="max", epochs=36, rates=_after(0.01, 0.1, 10, 20, 30, 36), batch_size=192,
        weight_decay=1e-5, crop="resized",
    ),
    "google": Protocol(
        head="linear", reduction="max", norm=False, epochs=70, rates=_after(0.1, 0.1, 30, 50, 70), batch_size=512,
        weight_decay=0.0, lr_per=256,
    ),
    "rotnet-conv": Protocol(
        head="block", epochs=100, rates=_after(0.1, 0.2, 35, 70, 85, 100), batch_size=128, weight_decay=5e-4,
        nesterov=True, stages=(1,), initial="fan_out",
    ),
    "rotnet-fc": Protocol(
        head="layers", depth=2, epochs=100, rates=((20, 0.1), (40, 0.02), (45, 0.004), (100, 8e-4)),
        batch_size=128, weight_decay=5e-4, nesterov=True, stages=(1,), initial="fan_out",
    ),
    "aet-fc": Protocol(
        head="layers", depth=1, epochs=200, rates=_after(0.1, 0.1, 100, 150, 200), batch_size=128,
        weight_decay=5e-4, nesterov=True, stages=(1,), initial="fan_out",
    ),
    "rotnet-nonlinear": Protocol(
        head="alexnet", epochs=40, rates=((10, 0.01), (20, 0.002), (30, 4e-4), (40, 8e-5)), batch_size=192,
        weight_decay=5e-4, nesterov=True, stages=(-2, -1), initial="fan_out",
    ),
    "aet-nonlinear": Protocol(
        head="alexnet", epochs=50, rates=((20, 0.01), (30, 0.002), (40, 4e-4), (50, 8e-5)), batch_size=192,
        weight_decay=5e-4, nesterov=True, stages=(-2, -1), initial="fan_out",
    ),
}  # fmt: skip


def protocol(name: str) -> Protocol:
    """Find a protocol by name."""
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(PROTOCOLS)}."
        raise InputError(f"There is no probing protocol {name!r}; {hint}")
    return PROTOCOLS[name]


class Outcome(NamedTuple):
    """What a protocol gave."""

    logits: dict[str, Float[np.ndarray, "T K"]]
    """Test scores by stage, after the last epoch."""
    settings: dict[str, Any]
    """How the training was run and how that differs from the paper."""


def run_protocol(
    name: str,
    encoder: Encoder,
    train: ImageStore,
    labels: Int[np.ndarray, " N"],
    test: ImageStore,
    classes: int,
    *,
    epochs: float | None = None,
    augment: bool = True,
    seed: int = 0,
    progress: Tell = silent,
) -> Outcome:
    """Train a protocol's heads on all its stages at once and score the test images.

    Args:
        name: a key of `PROTOCOLS`.
        encoder: the trunk, left as it was to the bit.
        train: labelled images.
        labels: their classes.
        test: images to score; their labels are not asked for.
        classes: number of classes.
        epochs: passes over the labelled images, by default those of the paper; the schedule is stretched to them.
        augment: crop and flip as in the paper. False: the trunk sees each centre view once and the heads are
            trained on what it said, which is many times faster and not the paper's protocol.
        seed: of heads, order and views.
        progress: told the number of steps done.
    """
    how = protocol(name)
    length = how.epochs if epochs is None else epochs
    size = min(how.batch_size, len(train))
    steps = max(1, round(length * (len(train) // size)))
    device = device_of(encoder)
    targets = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64)).to(device)
    with frozen(encoder), own_generator(device):
        reseed(seed, 0x9A0BE)
        source = _Source(how, encoder, train)
        heads = source.heads(classes).to(device)
        memory = None if augment else source.all_inputs(train)
        optimizer = _optimizer(how, heads)
        for step in range(steps):
            reseed(seed, step)
            rows = rows_of_step(len(train), size, step, seed)
            inputs = source.views(train.rows(rows)) if memory is None else {k: m[rows] for k, m in memory.items()}
            _set_rate(optimizer, how.rate(step / steps, step), how.bias_rate)
            with torch.enable_grad():
                own = targets[torch.from_numpy(rows).to(device)]
                scores = [head(inputs[stage]) for stage, head in zip(source.stages, heads, strict=True)]
                optimizer.zero_grad()
                torch.stack([F.cross_entropy(s, own) for s in scores]).sum().backward()
            optimizer.step()
            progress(name, step + 1, steps)
        logits = source.score(heads.eval(), test)
    settings = {
        "epochs": length, "epochs_of_paper": how.epochs, "steps": steps, "batch_size": size, "augmented": augment,
        "labels": len(train), "as_published": augment and length == how.epochs and size == how.batch_size,
    }  # fmt: skip
    return Outcome(logits, settings)


def reduced(maps: Float[Tensor, "B C h w"], how: str, longest: int = LONGEST) -> Float[Tensor, "B _"]:
    """Bring maps to a square of at most `longest` features, never above their own size.

    At 224 or 227 pixels these are the published sizes: 96*10², 64*12², 192*7², 384*5², 256*6², 512*4².
    """
    side = max(1, min(int((longest / maps.shape[1]) ** 0.5), *maps.shape[2:]))
    if how == "bilinear":
        return F.interpolate(maps, (side, side), mode="bilinear", align_corners=False).flatten(1)
    pool = F.adaptive_max_pool2d if how == "max" else F.adaptive_avg_pool2d
    return pool(maps, side).flatten(1)


def ten_crops(images: Float[Tensor, "B 3 s s"], size: int) -> Float[Tensor, "10 B 3 {size} {size}"]:
    """Give the four corners and the centre of each image, and their mirror images."""
    height, width = images.shape[-2:]
    bottom, right = height - size, width - size
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    five = [images[..., y : y + size, x : x + size] for y, x in places] + [crops.center(images, size)]
    return torch.stack(five + [crop.flip(-1) for crop in five])


class _Source:
    """What the heads of a protocol see of images: the frozen trunk's maps, reduced where the protocol says so."""

    def __init__(self, how: Protocol, encoder: Encoder, images: ImageStore) -> None:
        self.how, self.encoder = how, encoder
        names = tuple(encoder.stage_names)
        self.stages = names if how.stages is None else tuple(names[place] for place in _places(how.stages, len(names)))
        self.examples = self.inputs(center_views(images.rows(np.arange(2)), encoder.image_size, device_of(encoder)))

    def inputs(self, views: Float[Tensor, "B 3 S S"]) -> dict[str, Tensor]:
        maps = self.encoder.stages(views)
        if self.how.head != "linear":
            return {stage: maps[stage] for stage in self.stages}
        return {stage: reduced(maps[stage], self.how.reduction) for stage in self.stages}

    def views(self, rows: np.ndarray) -> dict[str, Tensor]:
        whole, size = center_views(rows, None, device_of(self.encoder)), self.encoder.image_size
        resized = self.how.crop == "resized"
        return self.inputs(crops.random_resized_crop(whole, size) if resized else crops.random_crop(whole, size))

    def all_inputs(self, images: ImageStore) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {stage: [] for stage in self.stages}
        for _, batch in batches(images, self.encoder.image_size, 256, device_of(self.encoder)):
            for stage, value in self.inputs(batch).items():
                found[stage].append(value)
        return {stage: torch.cat(values) for stage, values in found.items()}

    def score(self, heads: nn.ModuleList, images: ImageStore) -> dict[str, Float[np.ndarray, "T K"]]:
        found: dict[str, list[np.ndarray]] = {stage: [] for stage in self.stages}
        size = self.encoder.image_size
        for _, whole in batches(images, None, 256, device_of(self.encoder)):
            views = ten_crops(whole, size) if self.how.ten_crop else crops.center(whole, size)[None]
            inputs = [self.inputs(view) for view in views]
            for stage, head in zip(self.stages, heads, strict=True):
                chances = torch.stack([head(one[stage]).softmax(1) for one in inputs]).mean(0)
                found[stage].append(chances.clamp_min(1e-12).log().float().cpu().numpy())
        return {stage: np.concatenate(rows) for stage, rows in found.items()}

    def heads(self, classes: int) -> nn.ModuleList:
        how, last = self.how, self.stages[-1]
        words = (how.head, how.norm, how.depth, how.initial)
        return nn.ModuleList(build_head(*words, self.examples[s], classes, s == last) for s in self.stages)


def _places(stages: Sequence[int], count: int) -> list[int]:
    """Give the positions nearest to those of the paper: its fourth layer may be beyond a small trunk."""
    return sorted({min(max(place + count if place < 0 else place, 0), count - 1) for place in stages})


def _optimizer(how: Protocol, heads: nn.Module) -> torch.optim.SGD:
    named = list(heads.named_parameters())
    groups = [
        {"params": [p for name, p in named if not name.endswith("bias")]},
        {"params": [p for name, p in named if name.endswith("bias")]},
    ]
    return torch.optim.SGD(
        groups, how.rate(0.0), momentum=how.momentum, nesterov=how.nesterov, weight_decay=how.weight_decay
    )


def _set_rate(optimizer: torch.optim.SGD, rate: float, bias_rate: float) -> None:
    weights, biases = optimizer.param_groups
    weights["lr"], biases["lr"] = rate, rate * bias_rate
