"""Batches of stored images in an order that is a function of (seed, epoch), so any step can be reached directly."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsup import processes
from selfsup.data.images import ImageStore
from selfsup.data.rounds import Rounds
from selfsup.draws import mix
from selfsup.method import Batch


class Batches:
    """The training images in global batches, of which this process holds its rows; the last short batch is dropped.

    Args:
        images: the training set.
        batch_size: images per step over all processes.
        steps: batches in the whole run.
        seed: of the order.
        device: where the batches shall lie.
        most_rounds: of the whole run; a round, which a method prepares, is an epoch or longer.
    """

    def __init__(
        self,
        images: ImageStore,
        batch_size: int,
        steps: int,
        seed: int,
        device: torch.device,
        most_rounds: int = 20,
    ) -> None:
        self.images, self.batch_size, self.steps, self.seed, self.device = images, batch_size, steps, seed, device
        self.per_epoch = len(images) // batch_size
        self.rounds = Rounds(max(1, self.per_epoch), most_rounds)
        self.waited = 0.0
        self._resident = _resident(images, device)

    def round_from(self, step: int, order: Tensor | None) -> Iterator[Batch]:
        """Give the batches from `step` to the end of its round, reading one ahead in the background.

        Args:
            step: the first batch.
            order: image numbers [N] in the order they shall come in this round; None: a fresh permutation per epoch.
        """
        stop = self.round_of(step)[1]
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, step, order)
            while step < stop:
                began = perf_counter()
                images, index = ahead.result()
                if step + 1 < stop:
                    ahead = reader.submit(self._read, step + 1, order)
                batch = Batch(as_floats(images.to(self.device)), index.to(self.device), step, step / self.steps)
                self.waited += perf_counter() - began
                yield batch
                step += 1

    def round_of(self, step: int) -> tuple[int, int]:
        """Give the first batch of the round that a batch lies in, and of the next."""
        return self.rounds.around(step, self.steps)

    def index_of(self, step: int, order: Tensor | None) -> Int[np.ndarray, "B"]:
        """Say which images the global batch of a step holds."""
        if order is None:
            epoch, place = divmod(step, self.per_epoch)
            numbers = np.random.default_rng(mix(self.seed, epoch)).permutation(len(self.images))
            return numbers[place * self.batch_size : (place + 1) * self.batch_size]
        first = (step - self.round_of(step)[0]) * self.batch_size
        return order.numpy()[np.arange(first, first + self.batch_size) % len(order)]

    def _read(self, step: int, order: Tensor | None) -> tuple[Tensor, Tensor]:
        numbers = self.index_of(step, order)[processes.rows(self.batch_size)]
        index = torch.from_numpy(numbers.astype(np.int64))
        if self._resident is not None:
            return self._resident[index.to(self.device)], index
        return torch.from_numpy(self.images.rows(numbers)), index


def as_floats(pixels: Tensor) -> Float[Tensor, "*shape"]:
    """Turn bytes into floats in [0, 1]; signals are floats already."""
    return pixels if pixels.is_floating_point() else pixels.float().div_(255)


def clean_batches(images: ImageStore, size: int, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Give all images once, in order, as centre views [B, 3, size, size], or [B, C, size]."""
    from selfsup.views.crops import center

    for first in range(0, len(images), batch_size):
        numbers = np.arange(first, min(first + batch_size, len(images)))
        yield center(as_floats(torch.from_numpy(images.rows(numbers)).to(device)), size)


def _resident(images: ImageStore, device: torch.device) -> Tensor | None:
    """The whole set on the accelerator, if it takes less than 40 % of what is free there."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    size = len(images) * images.rows(np.arange(1)).nbytes
    return torch.from_numpy(images.rows(np.arange(len(images)))).to(device) if size < 0.4 * free else None
