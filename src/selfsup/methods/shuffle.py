"""Frame order (Shuffle and Learn, OPN, arrow of time): say whether, or how, frames of a clip are in order."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import draws, processes
from selfsup.clips import Clips
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Method, Objective
from selfsup.networks.encoders import Encoder
from selfsup.networks.ordering import Concatenation, Pairwise
from selfsup.recipe import Recipe
from selfsup.tuples import Limits, tuples_of
from selfsup.views import crops, sheets
from selfsup.views.precision import in_full

ORDERS = (
    "1234", "1324", "1342", "1243", "1423", "1432", "2134", "2143", "2314", "3124", "3142", "3214",
)  # fmt: skip
"""Orders of four frames, those that are each other's reversal counted once, as the released code numbers them."""
SHOWN = 8
YES, NO = (0.12, 0.45, 0.85), (0.95, 0.55, 0.1)
"""Blue and orange, which all eyes tell apart."""


class Shuffle(Method):
    """Say whether a frame belongs between two others, in which order frames came, or which way time runs.

    Args:
        encoder: network to train; it sees one frame at a time.
        task: `verify` asks whether the middle one of three frames was taken between the others, `sort` in which of
            the orders of four frames they stand (backwards is the same order; it wants a rate of 0.01), `arrow` whether
            three frames run forwards or backwards.
        tau_max: most seconds from the first to the last frame of a tuple; 2.4 are 60 frames at 25 a second.
        tau_min: least seconds by which a wrong middle frame lies outside, for `verify`; 0.6 are 15 frames.
        positives: share of tuples in order in every batch, to the nearest whole number, for `verify`.
        difference: least difference (root mean square, black to white is 1) of frames whose exchange would make an
            order wrong.
        jitter: pixels by which each frame moves on its own, up, down, left and right. None: 5 in 80 for `sort`, at
            least 1 and as far as there is room; none for the other tasks.
        split: show one colour channel of each frame, drawn anew for each. None: for `sort` alone.
        hidden: width of the head's layer that sees several frames.
        flip: mirror half of the tuples.

    Source: Misra, Zitnick and Hebert, 2016, https://arxiv.org/abs/1603.08561; `sort`: Lee, Huang, Singh and Yang,
    2017, https://arxiv.org/abs/1708.01246; `arrow`: after Wei, Lim, Zisserman and Freeman, 2018
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.05,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        warmup=0.05,
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "accuracy"
    reads: ClassVar[str] = "clips"

    def __init__(
        self,
        encoder: Encoder,
        *,
        task: Literal["verify", "sort", "arrow"] = "verify",
        tau_max: float = 2.4,
        tau_min: float = 0.6,
        positives: float = 0.25,
        difference: float = 0.02,
        jitter: int | None = None,
        split: bool | None = None,
        hidden: int = 512,
        flip: bool = True,
    ) -> None:
        super().__init__()
        if not 0.001 <= tau_min <= tau_max:
            raise InputError(
                f"shuffle takes a tau_min from 0.001 seconds to tau_max, got {tau_min:g} and a tau_max of {tau_max:g}."
            )
        if not 0 < positives < 1:
            raise InputError(f"positives is a share above 0 and below 1, got {positives:g}; 0.25 is usual.")
        if not 0 <= difference < 1:
            raise InputError(f"difference is at least 0 and below 1 (black to white), got {difference:g}.")
        if hidden < 1 or (jitter is not None and jitter < 0):
            raise InputError(f"hidden must be at least 1 and jitter at least 0, got {hidden} and {jitter}.")
        self.encoder = encoder
        self.task, self.positives, self.flip = task, positives, flip
        self.split = task == "sort" if split is None else split
        usual = max(1, round(5 * encoder.image_size / 80)) if task == "sort" else 0
        self.jitter = usual if jitter is None else jitter
        self.limits = Limits(4 if task == "sort" else 3, tau_max, tau_min if task == "verify" else None, difference)
        kind: type[nn.Module] = Pairwise if task == "sort" else Concatenation
        self.answers = len(ORDERS) if task == "sort" else 2
        self.head = kind(self.limits.frames, encoder.vector_width, hidden, self.answers)
        self.headline_chance = max(positives, 1 - positives) if task == "verify" else 1 / self.answers  # type: ignore[misc]

    def start(self, data: DataFacts) -> None:
        """Find the tuples, and say which clips have none."""
        if data.clips is None:
            raise InputError(
                "shuffle asks in which order the frames of a clip came, and was given single images; give it videos."
            )
        found = tuples_of(data.clips, self.limits)
        if found.short + found.still:
            self.remarks = (
                f"{found.short + found.still} of {data.clips.count} clips are not asked about: {found.short} are too "
                f"short for --tau-max and --tau-min, and in {found.still} too little moves.",
            )

    def moments(
        self, clips: Clips, index: Int64[np.ndarray, " B"], draw: np.random.Generator
    ) -> Int64[np.ndarray, "B K"]:
        """Draw a tuple of the clip of each frame, as it is shown: for `verify` and `sort` in an order drawn too."""
        found = tuples_of(clips, self.limits)
        rows = found.drawn(clips.clip[index], draw)
        frames: np.ndarray = found.frames[rows]
        count = len(frames)
        if self.task == "sort":
            frames = np.take_along_axis(frames, draw.permuted(np.tile(np.arange(4), (count, 1)), axis=1), axis=1)
        if self.task == "verify":
            wrong = draw.permutation(count) >= in_order_of(count, self.positives)  # a share of the batch, no chance
            frames[:, 1] = np.where(wrong, found.wrong[rows], frames[:, 1])
            backwards = draw.random(count) < 0.5
            frames = np.where(backwards[:, None], frames[:, ::-1], frames)
        return frames

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the cross-entropy of the answers."""
        logits, label = self.solve(self.features(self.views(batch.images)), batch.extra["frames"])
        right = (logits.argmax(1) == label).to(logits.dtype)
        metrics = {"accuracy": right.mean()}
        chance = math.log(self.answers)
        if self.task == "verify":
            asked = len(label) * processes.count()
            yes = in_order_of(asked, self.positives)
            shares = yes / asked, 1 - yes / asked
            chance = -sum(share * math.log(share) for share in shares if share)
            self.headline_chance = max(shares)  # type: ignore[misc]
            # the majority answer has the same share of these right as any guess
            weight = torch.where(label == 1, 0.5 * asked / max(yes, 1), 0.5 * asked / max(asked - yes, 1))
            metrics["balanced"] = (right * weight).mean()
        yield Objective(F.cross_entropy(logits, label), metrics=metrics, chance=chance)

    def views(self, images: Float[Tensor, "B K 3 S S"]) -> Float[Tensor, "B K 3 s s"]:
        """Cut the same square out of all frames of a tuple and mirror all or none, each frame moved by its jitter."""
        count, frames, _, store, _ = images.shape
        size = self.encoder.image_size
        room = store - size
        jitter = min(self.jitter, room // 2)
        corner = (draws.uniform(images, 1, 2) * (room - 2 * jitter + 1)).long() + jitter
        corner = corner + draws.integers(images, frames, 2, below=2 * jitter + 1) - jitter  # [B, K, 2]
        flips = crops.random_flips(images, self.flip).repeat_interleave(frames)
        top, left = corner.flatten(0, 1).unbind(1)
        made: Tensor = crops.cut(images.flatten(0, 1), top, left, flips, size).view(count, frames, 3, size, size)
        if not self.split:
            return made
        channel = draws.integers(images, frames, below=3)[:, :, None, None, None]
        return made.gather(2, channel.expand(-1, -1, 3, size, size))

    def features(self, views: Float[Tensor, "B K 3 s s"]) -> Float[Tensor, "B K D"]:
        """Encode every frame on its own, all by the same weights."""
        return self.encoder.vector(views.flatten(0, 1)).view(*views.shape[:2], -1)

    def solve(
        self, features: Float[Tensor, "B K D"], frames: Int[Tensor, "B K"]
    ) -> tuple[Float[Tensor, "N A"], Int[Tensor, " N"]]:
        """Give logits and the right answers; `arrow` asks of every tuple as it is and backwards, so N is 2 B."""
        if self.task == "arrow":
            features = torch.stack([features, features.flip(1)], dim=1).flatten(0, 1)
            frames = torch.stack([frames, frames.flip(1)], dim=1).flatten(0, 1)
        label = order_of(frames) if self.task == "sort" else _LABELS[self.task](frames).long()
        logits: Tensor = self.head(features)
        return in_full(logits), label

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw tuples as they were given, with the verdict, or as the network sorted them."""
        shown, frames = self.views(batch.images), batch.extra["frames"]
        logits, label = self.solve(self.features(shown), frames)
        if self.task == "sort":
            return _sorted_figure(*(rows[:SHOWN] for rows in (shown, frames, logits.argmax(1), label)))
        if self.task == "arrow":  # every other tuple backwards
            shown = torch.stack([shown, shown.flip(1)], dim=1).flatten(0, 1)
            few = torch.arange(min(len(frames), SHOWN), device=shown.device)
            few = 2 * few + few % 2
        else:  # as many in order as there are, up to half
            few = torch.cat([(label == answer).nonzero().flatten()[: SHOWN // 2] for answer in (1, 0)])
        shown, logits, label = shown[few], logits[few], label[few]
        edges = [_coloured(answer == 1) for answer in (label, logits.argmax(1))]
        yes, no = ("forwards", "backwards") if self.task == "arrow" else ("in order", "wrong")
        title = f"frames downwards, left edge the truth, right edge the answer (blue {yes}, orange {no})"
        return {title: sheets.rows([_edged(row, *edges) for row in shown.unbind(1)])}


def in_order_of(count: int, positives: float) -> int:
    """Say how many tuples of a global batch are in order: the nearest whole number, but both answers come where two do.

    Args:
        count: tuples in the batches of all processes.
        positives: share that is asked for.
    """
    return max(min(round(positives * count), count - 1), min(count - 1, 1))


def in_order(frames: Int[Tensor, "B 3"]) -> Bool[Tensor, " B"]:
    """Say whether the middle frame was taken between the others, whichever of these came first."""
    return (frames[:, 0] < frames[:, 1]) == (frames[:, 1] < frames[:, 2])


def forwards(frames: Int[Tensor, "B K"]) -> Bool[Tensor, " B"]:
    """Say whether the first frame was taken before the last."""
    return frames[:, 0] < frames[:, -1]


_LABELS = {"verify": in_order, "arrow": forwards}


def order_of(frames: Int[Tensor, "B 4"]) -> Int[Tensor, " B"]:
    """Give the number in `ORDERS` of the order in which four frames stand; backwards is the same."""
    ranks = frames.argsort(1).argsort(1)
    both = torch.stack([ranks, ranks.flip(1)], dim=1)  # [B, 2, 4]
    same = (both[:, :, None] == _orders(frames.device)).all(3).any(1)  # [B, 12]
    return same.int().argmax(1)


def _orders(device: torch.device) -> Int[Tensor, "12 4"]:
    return torch.tensor([[int(digit) - 1 for digit in order] for order in ORDERS], device=device)


def _sorted_figure(
    shown: Float[Tensor, "B 4 3 s s"], frames: Int[Tensor, "B 4"], answer: Int[Tensor, " B"], label: Int[Tensor, " B"]
) -> dict[str, Tensor]:
    """Put what the network makes of tuples below them: of the two orders it cannot tell apart the nearer to truth."""
    place = _orders(shown.device)[answer].argsort(1)  # which of the frames shown comes when
    same = ((place == frames.argsort(1)).sum(1) >= (3 - place == frames.argsort(1)).sum(1))[:, None]
    place = torch.where(same, place, 3 - place)
    index = place[:, :, None, None, None].expand_as(shown)
    edges = _coloured(answer == label)
    given, found = ([_edged(row, edges, edges) for row in rows.unbind(1)] for rows in (shown, shown.gather(1, index)))
    rows = [*given, torch.ones_like(given[0]), *found]
    return {"four frames as given, below as they were sorted (blue right, orange wrong)": sheets.rows(rows)}


def _coloured(answer: Bool[Tensor, " B"]) -> Float[Tensor, "B 3"]:
    yes, no = (torch.tensor(colour, device=answer.device) for colour in (YES, NO))
    return torch.where(answer[:, None], yes, no)


def _edged(
    images: Float[Tensor, "B 3 s s"], left: Float[Tensor, "B 3"], right: Float[Tensor, "B 3"]
) -> Float[Tensor, "B 3 h h"]:
    """Put a strip of colour on the left and the right edge of each image."""
    width = max(2, images.shape[-1] // 12)
    images = F.pad(images.float(), (width, width, width, width), value=1.0)
    images[..., :width] = left[:, :, None, None]
    images[..., -width:] = right[:, :, None, None]
    return images
