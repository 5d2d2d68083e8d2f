"""What a step costs, and what a round does, measured on a throwaway copy before the run begins."""

import math
import resource
import statistics
from collections.abc import Iterable
from itertools import pairwise
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn

from selfsup import processes
from selfsup.arithmetic import FlopCounterMode
from selfsup.data.batches import Batches, moments_of
from selfsup.data.images import ImageStore
from selfsup.data.rounds import Rounds
from selfsup.method import Batch
from selfsup.training.build import build, embedder
from selfsup.training.loop import as_list, autocast_of, train
from selfsup.training.settings import Settings

PHASES = 4
"""Equal parts of training of which steps are measured, at least; more where a method says that its steps change."""
EMBEDDED = 2048
"""Images that are embedded to find what it takes to embed all."""
NOTED = 1.0
"""Seconds before the first step that count; less is loading what all runs load."""
WARM = 5.0
"""Seconds of preparing a round above which it is not prepared a second time to be timed."""
_FIRST = torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Linear


class Phase(NamedTuple):
    """A part of training in which steps are alike."""

    progress: float
    """Its middle."""
    share: float
    """Of all steps."""


class Compute(NamedTuple):
    """Arithmetic of one step, in GFLOPs (a multiply-add counts as two)."""

    step: float
    """Forward and backward of everything."""
    trunk: float
    """Forward and backward of the encoder alone."""


class RoundCost(NamedTuple):
    """What preparing a round takes; next to nothing for most methods."""

    seconds: float
    gflops: float
    """Arithmetic of everything."""
    trunk_gflops: float
    """Of the encoder, which only goes forward."""


class Rehearsal:
    """A copy of a run that is stepped to be timed and then thrown away.

    Args:
        settings: of the run; its length does not matter.
        images: the training set.
    """

    def __init__(self, settings: Settings, images: ImageStore) -> None:
        self.settings = settings
        self.trainee = build(settings, images)
        self.images = images
        self.batches = Batches(
            images, settings.recipe.batch_size, 1_000_000, settings.seed, self.trainee.device,
            moments=moments_of(self.trainee.method),
        )  # fmt: skip
        self.round = self._round() if self.batches.per_epoch else RoundCost(0.0, 0.0, 0.0)
        self.phases = phases(self.trainee.method.changes_at)
        self.autocast = autocast_of(self.trainee.device, settings.precision)
        stream = (self._placed(batch, number) for number, batch in enumerate(self.batches.round_from(0, None)))
        self._steps = train(
            self.trainee.method, stream, self.trainee.optimizers, settings.recipe, settings.seed, self.autocast
        )

    def _placed(self, batch: Batch, number: int) -> Batch:
        """Give a step the progress of another phase than the last one's: some methods add losses late in training."""
        return batch._replace(progress=self.phases[number % len(self.phases)].progress)

    def step(self) -> float:
        """Take one step, of one phase after another; give its seconds."""
        _wait(self.trainee.device)
        began = perf_counter()
        next(self._steps)
        _wait(self.trainee.device)
        return perf_counter() - began

    @property
    def rounds(self) -> Rounds:
        """Say how the run is divided into rounds, and what these and all before them take."""
        taken = self.trainee.start_seconds
        before = taken if taken > NOTED else 0.0
        return Rounds(self.batches.per_epoch, self.trainee.method.most_rounds, self.round.seconds, before)

    def _round(self) -> RoundCost:
        """Prepare a round, to count and to time it; few images are embedded, standing for all."""
        method, count, device = self.trainee.method, len(self.images), self.trainee.device
        few = self.images.select(range(min(count, EMBEDDED)))
        embed_few = embedder(few, self.settings.image_size, device, self.settings.precision)
        more = count / len(few) - 1
        with_all = {"passes": 0, "seconds": 0.0, "flops": 0.0}
        counter = FlopCounterMode(display=False)

        def embed(module: nn.Module) -> torch.Tensor:
            _wait(device)
            began, before = perf_counter(), counter.get_total_flops()
            features = embed_few(module)
            _wait(device)
            with_all["passes"] += 1
            with_all["seconds"] += more * (perf_counter() - began)
            with_all["flops"] += more * (counter.get_total_flops() - before)
            return standing_in(features, count)

        def prepare() -> float:
            with_all["seconds"], began = 0.0, perf_counter()
            method.start_epoch(embed)
            _wait(device)
            return perf_counter() - began

        with counter:
            taken = prepare()
        flops, passes = counter.get_total_flops() + with_all["flops"], with_all["passes"]
        if passes == 0:
            return RoundCost(0.0, flops / 1e9, 0.0)
        # the first time includes what is loaded but once; where it takes long that does not count
        seconds = (prepare() if taken < WARM else taken) + with_all["seconds"]
        with FlopCounterMode(display=False) as one, torch.no_grad():
            method.encoder.vector(torch.zeros(2, *method.encoder.shape, device=device))
        trunk = one.get_total_flops() / 2 * count / processes.count() * passes
        return RoundCost(seconds, flops / 1e9, trunk / 1e9)

    def compute(self) -> Compute:
        """Count the arithmetic of a step, mean over training: everything, and the encoder's by the images it saw."""
        method, shape = self.trainee.method, self.trainee.method.encoder.shape
        batch = next(iter(self.batches.round_from(0, None)))
        seen: list[float] = []
        first = next(m for m in method.encoder.modules() if isinstance(m, _FIRST))
        hook = first.register_forward_hook(
            lambda _, given, __: seen.append(given[0].shape[0] * _places(given[0]) / math.prod(shape[1:]))
        )
        step = images = 0.0
        for number, phase in enumerate(self.phases):
            seen.clear()
            with FlopCounterMode(display=False) as counter:
                for yielded in method.losses(self._placed(batch, number)):
                    torch.stack([objective.loss for objective in as_list(yielded)]).sum().backward(retain_graph=True)
            method.zero_grad(set_to_none=True)
            step += phase.share * counter.get_total_flops()
            images += phase.share * sum(seen)
        hook.remove()
        with FlopCounterMode(display=False) as one:
            method.encoder.vector(torch.zeros(2, *shape, device=self.trainee.device)).sum().backward()
        method.zero_grad(set_to_none=True)
        return Compute(step / 1e9, one.get_total_flops() / 2 * images / 1e9)


def phases(changes_at: Iterable[float]) -> list[Phase]:
    """Divide training into quarters, and those where a method's steps change."""
    ends = {number / PHASES for number in range(PHASES + 1)} | {at for at in changes_at if 0 < at < 1}
    return [Phase((begin + end) / 2, end - begin) for begin, end in pairwise(sorted(ends))]


def standing_in(features: torch.Tensor, count: int) -> torch.Tensor:
    """Give features for `count` images: those of a few, again and again, and no two alike.

    Of equal ones k-means would make as many clusters as there are different ones, and spend its time on the others.
    """
    repeated = features.repeat(math.ceil(count / len(features)), *[1] * (features.ndim - 1))[:count]
    noise = torch.randn_like(repeated[len(features) :])
    repeated[len(features) :] += noise * features.std(0)
    return repeated


def seconds_per_step(
    rehearsals: list[Rehearsal], steps: int = 20, warm_up: int = 3, limit: float = 60.0
) -> list[float]:
    """Time a step of each rehearsal: interleaved, the mean over training of the median of each phase.

    Args:
        rehearsals: of the runs to compare, timed in turn so that a slow moment of the machine hits all alike.
        steps: timed steps of each.
        warm_up: steps of each that do not count.
        limit: seconds after which what has been timed must do (at least one step of each phase).
    """
    times: list[list[float]] = [[] for _ in rehearsals]
    began = perf_counter()
    for turn in range(warm_up + steps):
        for rehearsal, taken in zip(rehearsals, times, strict=True):
            taken.append(rehearsal.step())
        if turn >= warm_up + max(len(one.phases) for one in rehearsals) - 1 and perf_counter() - began > limit:
            break
    return [
        sum(phase.share * statistics.median(of_phase) for phase, of_phase in zip(one.phases, apart, strict=True))
        for one, taken in zip(rehearsals, times, strict=True)
        for apart in [_by_phase(taken, len(one.phases), warm_up)]
    ]


def _by_phase(taken: list[float], count: int, warm_up: int) -> list[list[float]]:
    """Part the times of steps that were of one phase after another; the first of all do not count."""
    return [taken[warm_up + (number - warm_up) % count :: count] for number in range(count)]


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory this process has held so far: on the accelerator, or in all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _places(x: torch.Tensor) -> float:
    """Pixels of an image or samples of a signal; what is neither counts as one."""
    return float(x[0, 0].numel()) if x.ndim > 2 else 1.0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
