"""Batches of stored images in an order that is a function of (seed, epoch), so any step can be reached directly."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsup import processes
from selfsup.clips import Clips
from selfsup.data.images import ImageStore
from selfsup.data.rounds import Rounds
from selfsup.draws import mix
from selfsup.method import Batch, Method

Moments = Callable[[Clips, Int[np.ndarray, " B"], np.random.Generator], Int[np.ndarray, "B K"]]
"""How a method that reads clips chooses frames (see `Method.moments`)."""


class Batches:
    """The training images in global batches, of which this process holds its rows; the last short batch is dropped.

    Args:
        images: the training set.
        batch_size: images per step over all processes.
        steps: batches in the whole run.
        seed: of the order.
        device: where the batches shall lie.
        most_rounds: of the whole run; a round, which a method prepares, is an epoch or longer.
        moments: of a method that reads clips, which chooses the frames of each step.
    """

    def __init__(
        self,
        images: ImageStore,
        batch_size: int,
        steps: int,
        seed: int,
        device: torch.device,
        most_rounds: int = 20,
        moments: Moments | None = None,
    ) -> None:
        self.images, self.batch_size, self.steps, self.seed, self.device = images, batch_size, steps, seed, device
        self.per_epoch = len(images) // batch_size
        self.rounds = Rounds(max(1, self.per_epoch), most_rounds)
        self.moments = moments
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
                images, index, extra = ahead.result()
                if step + 1 < stop:
                    ahead = reader.submit(self._read, step + 1, order)
                batch = self._on_device(images, index, extra, step)
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

    def batch_of(self, numbers: Int[np.ndarray, " B"], step: int, progress: float) -> Batch:
        """Give the batch of some images, whatever the order, with what a step of that number draws."""
        return self._on_device(*self._gather(numbers, step), step)._replace(progress=progress)

    def _on_device(self, images: Tensor, index: Tensor, extra: Mapping[str, Tensor], step: int) -> Batch:
        beside = {name: value.to(self.device) for name, value in extra.items()}
        if "scenes" in beside:
            beside["scenes"] = as_floats(beside["scenes"])
        return Batch(as_floats(images.to(self.device)), index.to(self.device), step, step / self.steps, beside)

    def _read(self, step: int, order: Tensor | None) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        return self._gather(self.index_of(step, order), step)

    def _gather(self, numbers: Int[np.ndarray, " B"], step: int) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Read this process's rows of a global batch, and what stands beside them."""
        mine = processes.rows(len(numbers))
        index = torch.from_numpy(numbers[mine].astype(np.int64))
        extra = self._scenes(step, len(numbers), mine)
        if self.moments is None:
            return self._pixels(numbers[mine]), index, extra
        clips = self.images.clips
        assert clips is not None
        frames = self.moments(clips, numbers, np.random.default_rng(mix(self.seed, step, 0xF1)))[mine]
        told = {
            "frames": frames.astype(np.int64),
            "seconds": clips.seconds[frames].astype(np.float32),
            "source": clips.source[frames],
        }
        images = self._pixels(frames.ravel()).unflatten(0, frames.shape)
        return images, index, {**extra, **{name: torch.from_numpy(value) for name, value in told.items()}}

    def _pixels(self, numbers: Int[np.ndarray, " n"]) -> Tensor:
        if self._resident is not None:
            return self._resident[torch.from_numpy(numbers.astype(np.int64)).to(self.device)]
        return torch.from_numpy(self.images.rows(numbers))

    def _scenes(self, step: int, count: int, mine: slice) -> Mapping[str, Tensor]:
        """Read as many scenes as images: in an order of their own, each once before any comes again."""
        beside = self.images.beside
        if beside is None:
            return {}
        places = step * count + np.arange(count)
        numbers = np.empty(count, np.int64)
        for epoch in np.unique(places // len(beside)).tolist():
            order = np.random.default_rng(mix(self.seed, epoch, 0x5CE)).permutation(len(beside))
            now = places // len(beside) == epoch
            numbers[now] = order[places[now] % len(beside)]
        return {name: torch.from_numpy(value) for name, value in beside.rows(numbers[mine]).items()}


def moments_of(method: Method) -> Moments | None:
    """Give how a method chooses frames, if it reads clips."""
    return method.moments if "clips" in method.reads.split(" and ") else None


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
