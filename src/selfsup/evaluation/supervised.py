"""Train a whole network on labels: from scratch, or from pretrained weights, by one and the same procedure."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import nn

from selfsup.data.images import ImageStore
from selfsup.draws import mix, reseed
from selfsup.evaluation import budgets, metrics
from selfsup.evaluation.features import Tell, batches, center_views, device_of, frozen
from selfsup.networks.encoders import Encoder, reestimate_norms
from selfsup.progress import silent
from selfsup.views import crops

LRS = (0.01, 0.03, 0.1)
"""Tried where there are labels enough to choose; the middle one is taken elsewhere."""
ENOUGH = 5
"""Labels per class from which the learning rate is chosen on held-out labels."""


@dataclass(frozen=True)
class Classifier:
    """An encoder with a linear head, trained on labels."""

    encoder: Encoder
    head: nn.Linear
    lr: float
    validation: list[tuple[float, float]]
    """Each (learning rate, balanced accuracy on labels held out inside the budget) that was tried."""

    def logits(self, images: ImageStore, *, batch_size: int = 256, progress: Tell = silent) -> Float[np.ndarray, "N K"]:
        """Score the centre views of images."""
        rows: list[np.ndarray] = []
        with frozen(self.encoder):
            for start, batch in batches(images, self.encoder.image_size, batch_size, device_of(self.encoder)):
                rows.append(self.head(self.encoder.vector(batch)).float().cpu().numpy())
                progress("predictions", start + len(batch), len(images))
        return np.concatenate(rows)

    def predict(self, images: ImageStore, *, batch_size: int = 256) -> Int[np.ndarray, " N"]:
        """Give the most likely class of each image."""
        best: Int[np.ndarray, " N"] = self.logits(images, batch_size=batch_size).argmax(1)
        return best


def train_supervised(
    encoder: Encoder,
    images: ImageStore,
    labels: Int[np.ndarray, " N"],
    classes: int,
    *,
    steps: int,
    batch_size: int = 64,
    lr: float | None = None,
    lrs: Sequence[float] = LRS,
    seed: int = 0,
    groups: Int[np.ndarray, " N"] | None = None,
    weight_decay: float = 5e-4,
    flip: bool = True,
    norm_images: ImageStore | None = None,
    progress: Tell = silent,
) -> Classifier:
    """Train a copy of an encoder and a linear head on labelled images: SGD, cosine, random crops and flips.

    Scratch and fine-tuning differ in the weights they start from and in nothing else: batch norms are live in
    both, and in both their statistics are re-estimated at the end.

    Args:
        encoder: where training starts; not changed.
        images: labelled images.
        labels: their classes.
        classes: number of classes.
        steps: batches of the training (and of each trial of a learning rate).
        batch_size: images per step, at most all of them.
        lr: peak learning rate. None: the best of `lrs` on a fifth of the labels, which is held out and then
            trained on too; below 5 labels per class the middle one.
        lrs: learning rates to try.
        seed: of head, order and views.
        groups: images that must not be separated when labels are held out.
        weight_decay: of all weights.
        flip: whether images may be flipped left to right.
        norm_images: images without labels for the batch norms' statistics, by default the labelled ones.
        progress: told the number of steps done.
    """
    validation: list[tuple[float, float]] = []
    if lr is None:
        words: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lrs": lrs, "seed": seed, "groups": groups}
        words |= {"weight_decay": weight_decay, "flip": flip, "norm_images": norm_images, "progress": progress}
        lr, validation = choose_lr(encoder, images, labels, classes, **words)
    course = _Course(steps, batch_size, weight_decay, flip, seed, progress)
    trained = course.run(encoder, images, labels, classes, lr, images if norm_images is None else norm_images)
    return Classifier(trained.encoder, trained.head, lr, validation)


def choose_lr(
    encoder: Encoder,
    images: ImageStore,
    labels: Int[np.ndarray, " N"],
    classes: int,
    *,
    steps: int,
    batch_size: int = 64,
    lrs: Sequence[float] = LRS,
    seed: int = 0,
    groups: Int[np.ndarray, " N"] | None = None,
    weight_decay: float = 5e-4,
    flip: bool = True,
    norm_images: ImageStore | None = None,
    progress: Tell = silent,
) -> tuple[float, list[tuple[float, float]]]:
    """Choose a learning rate by training with each on four fifths of the labels; arguments of `train_supervised`.

    Returns:
        The rate, the middle one where there are fewer than 5 labels per class, and each (rate, balanced accuracy on
        the last fifth) that was tried.
    """
    kinds = len(labels) if groups is None else len(np.unique(groups))
    if len(lrs) == 1 or budgets.labels_per_class(labels, classes) < ENOUGH or kinds < 2:
        return sorted(lrs)[len(lrs) // 2], []
    course = _Course(steps, batch_size, weight_decay, flip, seed, progress)
    fold = budgets.folds(labels, min(5, kinds), seed, groups)
    known, asked = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    norms = images.select(known) if norm_images is None else norm_images
    validation = []
    for lr in lrs:
        tried = course.run(encoder, images.select(known), labels[known], classes, lr, norms)
        predicted = tried.predict(images.select(asked))
        validation.append((lr, metrics.balanced_accuracy(labels[asked], predicted, classes)))
    return max(validation, key=lambda pair: pair[1])[0], validation


@dataclass(frozen=True)
class _Course:
    """How a network is trained, whatever it starts from."""

    steps: int
    batch_size: int
    weight_decay: float
    flip: bool
    seed: int
    progress: Tell

    def run(
        self,
        encoder: Encoder,
        images: ImageStore,
        labels: Int[np.ndarray, " N"],
        classes: int,
        lr: float,
        norm_images: ImageStore,
    ) -> Classifier:
        """Train a copy of the encoder at one learning rate."""
        # on a CPU float32 convolutions train about 1.5 times faster in this layout
        encoder = copy.deepcopy(encoder).to(memory_format=torch.channels_last).train()
        encoder.requires_grad_()
        device = device_of(encoder)
        with own_generator(device):
            reseed(self.seed, 0x5CA7C4)
            head = nn.Linear(encoder.vector_width, classes).to(device)
            parameters = [*encoder.parameters(), *head.parameters()]
            optimizer = torch.optim.SGD(parameters, lr, momentum=0.9, nesterov=True, weight_decay=self.weight_decay)
            targets = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64)).to(device)
            for step in range(self.steps):
                reseed(self.seed, step)
                rows = rows_of_step(len(images), self.batch_size, step, self.seed)
                views = crops.random_crop(
                    center_views(images.rows(rows), None, device), encoder.image_size, flip=self.flip
                )
                for group in optimizer.param_groups:
                    group["lr"] = lr * 0.5 * (1 + np.cos(np.pi * step / self.steps))
                optimizer.zero_grad()
                loss = F.cross_entropy(head(encoder.vector(views)), targets[torch.from_numpy(rows).to(device)])
                loss.backward()
                optimizer.step()
                self.progress("supervised", step + 1, self.steps)
        clean = (batch for _, batch in batches(norm_images, encoder.image_size, 256, device))
        reestimate_norms(encoder, clean)
        return Classifier(encoder.eval(), head, lr, [])


def rows_of_step(count: int, batch_size: int, step: int, seed: int) -> Int[np.ndarray, " B"]:
    """Give the image numbers of a step: a fresh order in every epoch, no short batch."""
    size = min(batch_size, count)
    per_epoch = count // size
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng(mix(seed, epoch)).permutation(count)
    return order[place * size : (place + 1) * size]


def own_generator(device: torch.device) -> AbstractContextManager[None]:
    """Leave torch's generators afterwards as they were."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
