"""Tracking (siamese triplets): what is followed through a clip stays nearer to itself than to other videos."""

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import draws, processes
from selfsup.clips import Clips
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Method, Objective
from selfsup.networks.encoders import Encoder
from selfsup.networks.triplets import Compared, compare, infonce, ranking
from selfsup.recipe import Recipe
from selfsup.tracks import Limits, Tracks, tracks_of
from selfsup.views import crops, sheets
from selfsup.views.coloured import coloured_crops

SHOWN = 8
ENLARGED = 0.9
"""Pixels of a patch for each the encoder sees, along a side, below which it is blurred."""
FARTHEST = 3.0
"""More than any cosine distance."""
_FRAMES = 1 << 40  # numbers of frames are below this


class Tracking(Method):
    """Bring the first and the last patch of a track together, and patches of other videos away from both.

    Args:
        encoder: network to train; it sees one patch at a time, brought to its size.
        loss: `ranking` is the paper's, of triplets with a margin; `infonce` tells the tracked patch from all of the
            batch that are from other videos.
        margin: of `ranking`, in cosine distances.
        negatives: of each pair, at most, for `ranking`.
        hard: share of the negatives taken from the most similar ones, for `ranking`.
        random_until: share of training in which negatives are drawn at random, for `ranking`.
        temperature: divides cosine similarities, for `infonce`.
        seconds: from the first to the last patch.
        patch: side of a patch, as a share of the picture's.
        tracker: `points` moves the box by the median motion of points that move; `kcf` is the paper's correlation
            filter, which is slower and loses more.
        tracks: at most so many are tried, evenly spread over the clips.
        sees: `colour`, or `lightness` as the paper's gray model, for which the colours of a thing are no cue.
        hidden: width of the head's hidden layer.
        projection: width of the vectors that are compared.
        strength: of the colour jitter of each patch: brightness, contrast and saturation change by up to 0.8 times, hue
            by up to 0.2 times this; 0: none, as in the paper.
        grayscale: share of patches made gray; 0 in the paper.
        crop_min: smallest share of a patch's area that is shown; 1 in the paper.
        flip: mirror half of the patches.

    Source: Wang and Gupta, 2015, https://arxiv.org/abs/1505.00687
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.05,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "matching"
    reads: ClassVar[str] = "clips"

    def __init__(
        self,
        encoder: Encoder,
        *,
        loss: Literal["ranking", "infonce"] = "ranking",
        margin: float = 0.5,
        negatives: int = 4,
        hard: float = 0.5,
        random_until: float = 1 / 3,
        temperature: float = 0.1,
        seconds: float = 1.0,
        patch: float = 0.5,
        tracker: Literal["points", "kcf"] = "points",
        tracks: int = 4000,
        sees: Literal["colour", "lightness"] = "colour",
        hidden: int = 1024,
        projection: int = 128,
        strength: float = 0.5,
        grayscale: float = 0.2,
        crop_min: float = 1.0,
        flip: bool = True,
    ) -> None:
        super().__init__()
        if encoder.sees != sees:
            raise InputError(f"This tracking sees {sees}, got an encoder that sees {encoder.sees}; build it alike.")
        for name, value, low, high in (
            ("margin", margin, 1e-3, 2.0), ("temperature", temperature, 1e-3, 100.0), ("seconds", seconds, 1e-2, 60.0),
            ("patch", patch, 0.1, 0.9), ("hard", hard, 0.0, 1.0), ("random_until", random_until, 0.0, 1.0),
            ("strength", strength, 0.0, 2.5), ("grayscale", grayscale, 0.0, 1.0), ("crop_min", crop_min, 1e-3, 1.0),
        ):  # fmt: skip
            if not low <= value <= high:
                raise InputError(f"tracking takes {name} from {low:g} to {high:g}, got {value:g}.")
        for name, number in (
            ("negatives", negatives), ("tracks", tracks), ("hidden", hidden), ("projection", projection),
        ):  # fmt: skip
            if number < 1:
                raise InputError(f"tracking takes {name} from 1, got {number}.")
        self.encoder = encoder
        self.changes_at = (random_until,) if loss == "ranking" else ()
        self.loss, self.margin, self.temperature, self.flip = loss, margin, temperature, flip
        self.negatives, self.hard, self.random_until = negatives, hard, random_until
        self.strength, self.grayscale, self.crop_min = strength, grayscale, crop_min
        self.limits = Limits(seconds, patch, tracker, tracks)
        self.head = nn.Sequential(
            nn.Linear(encoder.vector_width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, projection)
        )
        self._known: dict[Clips, Tracks] = {}
        self._rows: tuple[Tensor, Tensor] | None = None  # of training clips, to look at

    def start(self, data: DataFacts) -> None:
        """Search the clips for tracks, and say how many there are."""
        if data.clips is None:
            raise InputError("tracking follows things through clips, and was given single images; give it videos.")
        found = self.tracks_in(data.clips)
        without = int((np.diff(found.starts) == 0).sum())
        self.remarks = (
            f"{len(found.frames):,} of {found.tried:,} tracks hold, in {data.clips.count - without} of "
            f"{data.clips.count} clips; the other {without} are not learned from. It took {found.took:.0f} s.",
        )
        self.remarks += self._enlarged(data.clips.pixels.shape[-1])
        self._rows = self._followed(data.clips, found)

    def tracks_in(self, clips: Clips) -> Tracks:
        """Give the tracks of training or of held-out clips; of a single video they are refused."""
        if clips not in self._known:
            found = tracks_of(clips, self.limits)
            if len(np.unique(clips.source[found.frames[:, 0]])) < 2:
                raise InputError(
                    "tracking compares what moves in one video with what other videos show, and all tracks found are "
                    "of one video; give it several."
                )
            self._known[clips] = found
        return self._known[clips]

    def moments(
        self, clips: Clips, index: Int64[np.ndarray, " B"], draw: np.random.Generator
    ) -> Int64[np.ndarray, "B 2"]:
        """Draw a track of the clip of each frame; give its first and its last frame."""
        found = self.tracks_in(clips)
        frames: np.ndarray = found.frames[found.drawn(clips.clip[index], draw)]
        return frames[:, [0, -1]]

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the mean hinge of the chosen triplets, or the error of finding the tracked patch."""
        one, other = self.head(self.encoder.vector(self.patches(batch))).unflatten(0, (-1, 2)).unbind(1)
        compared = compare(one, other, batch.extra["source"][:, 0])
        count = compared.foreign.sum(1)
        # not known before there is a batch, hence no class variable here
        self.headline_chance = float((1 / (1 + count)).mean())  # type: ignore[misc]
        if self.loss == "infonce":
            loss, chance = infonce(compared, self.temperature), float((1 + count).log().mean())
        else:
            hard = 0.0 if batch.progress < self.random_until else self.hard
            loss, chance = ranking(compared, self.margin, self.negatives, hard), self.margin
        yield Objective(loss, metrics=self._metrics(compared), chance=chance)

    def patches(self, batch: Batch) -> Float[Tensor, "N 3 s s"]:
        """Cut both patches of each pair, which stand together; mirror and colour them, each on its own."""
        images, size = batch.images.flatten(0, 1), self.encoder.image_size
        corners = corners_of(self._known, batch.extra["source"][:, 0], batch.extra["frames"][:, 0])
        flips = draws.uniform(batch.images, 2).flatten() < (0.5 if self.flip else 0.0)
        boxes = self._boxes(corners.flatten(0, 1), images)
        if self.crop_min < 1:
            side = self.limits.patch * images.shape[-1]
            boxes = crops.random_boxes(images, side, side, scale=(self.crop_min, 1.0)) + F.pad(boxes[:, :2], (0, 2))
        return coloured_crops(images, boxes, flips, size, strength=self.strength, grayscale=self.grayscale)

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw tracks of the training clips, and for patches of a batch what the network finds nearest to them."""
        patches = self.patches(batch)
        one, other = self.head(self.encoder.vector(patches)).unflatten(0, (-1, 2)).unbind(1)
        compared = compare(one, other, batch.extra["source"][:, 0])
        # of the columns of all processes those of this one
        mine = torch.arange(len(one), device=one.device) + processes.rank() * len(one)
        mine = torch.cat([mine, mine + compared.foreign.shape[1] // 2])
        far = compared.far[0][:, mine].masked_fill(~compared.foreign[:, mine], FARTHEST)
        far, nearest = far.min(1)
        found = torch.where((compared.near < far)[:, None, None, None], patches[1::2], _columns(patches)[nearest])
        few = _different(batch.extra["frames"][:, 0])[:SHOWN]
        rows = [row[few] for row in (patches[0::2], patches[1::2], found)]
        drawn = {"patches, where they were tracked to, and the nearest of that and other videos": sheets.rows(rows)}
        if self._rows is not None:
            boxed, followed = self._rows
            drawn["tracked boxes from moment to moment"] = sheets.rows(list(boxed.unbind(1)))
            drawn["tracked patches from moment to moment"] = sheets.rows(list(followed.unbind(1)))
        return drawn

    def _metrics(self, compared: Compared) -> dict[str, Tensor]:
        """Average over pairs: whether the tracked patch is the nearest, both kinds of distances, and broken margins."""
        near, far, foreign = compared.near.detach(), compared.far.detach(), compared.foreign
        total = 2 * foreign.sum(1).clamp(min=1)
        broken = (near[:, None] - far + self.margin > 0) & foreign
        return {
            "matching": (near < far[0].masked_fill(~foreign, FARTHEST).amin(1)).to(near.dtype).mean(),
            "near": near.mean(),
            "far": (far.masked_fill(~foreign, 0).sum((0, 2)) / total).mean(),
            "active": (broken.sum((0, 2)) / total).mean(),
        }

    def _enlarged(self, stored: int) -> tuple[str, ...]:
        """Say that patches are blurred, where few pixels are made many: what is learned of them knows nothing fine."""
        shown = self.limits.patch * math.sqrt(self.crop_min)
        side, size = round(shown * stored), self.encoder.image_size
        if side >= ENLARGED * size:
            return ()
        return (
            f"Patches have a side of {side} pixels of what is stored and are enlarged to {size}; --store-size "
            f"{math.ceil(size / shown)} or more keeps them sharp, if the videos are as large.",
        )

    def _boxes(self, corners: Float[Tensor, "N 2"], images: Tensor) -> Float[Tensor, "N 4"]:
        side = images.shape[-1]
        corners = corners.to(images)
        return torch.cat([corners, torch.full_like(corners, self.limits.patch)], dim=1) * side

    def _followed(self, clips: Clips, found: Tracks) -> tuple[Tensor, Tensor]:
        """Give some tracks to look at: frames [n, 5, 3, S, S] with their boxes, and patches [n, 5, 3, s, s]."""
        few = np.unique(np.linspace(0, len(found.frames) - 1, SHOWN).round().astype(np.int64))
        images = torch.from_numpy(clips.read(found.frames[few].ravel())).to(self.encoder.mean) / 255
        boxes = self._boxes(torch.from_numpy(found.corners[few]).flatten(0, 1), images)
        no_flips = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        patches = crops.crop_resize(images, boxes, no_flips, self.encoder.image_size)
        shape = (len(few), found.frames.shape[1])
        return _framed(images, boxes).unflatten(0, shape), patches.unflatten(0, shape)


def corners_of(
    known: Mapping[Clips, Tracks], source: Int[Tensor, " B"], first: Int[Tensor, " B"]
) -> Float[Tensor, "B 2 2"]:
    """Give top and left of the first and the last box of tracks, in sides of the picture.

    A batch names a track by its source and its first frame: no two tracks begin with the same frame, and training and
    held-out clips, whose frames have numbers of their own, never share a source.

    Args:
        known: tracks of all clips that may be asked for.
        source: of each row.
        first: number of the first frame of each row.
    """
    keys, corners = [], []
    for clips, tracks in list(known.items()):  # the thread that reads batches may add to them
        begin = tracks.frames[:, 0]
        keys.append(torch.from_numpy(clips.source[begin] * _FRAMES + begin))
        corners.append(torch.from_numpy(tracks.corners[:, [0, -1]]))
    rising, order = torch.cat(keys).to(source.device).sort()
    place = torch.searchsorted(rising, source * _FRAMES + first)
    return torch.cat(corners).to(source.device)[order[place]]


def _different(numbers: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Order rows so that each number comes once before any comes again."""
    same = numbers[:, None] == numbers
    earlier = same.tril(-1).sum(1)
    return earlier.argsort(stable=True)


def _columns(patches: Float[Tensor, "N 3 s s"]) -> Float[Tensor, "N 3 s s"]:
    """Order patches as `compare` does: the firsts of all pairs, then the seconds."""
    return torch.cat([patches[0::2], patches[1::2]])


def _framed(images: Float[Tensor, "N 3 S S"], boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 S S"]:
    """Draw a thin blue line around a box of each image."""
    step = torch.arange(images.shape[-1], device=images.device)
    top, left, height, width = boxes.round().long()[:, :, None].unbind(1)  # [N, 1] each
    down, across = ((step >= start) & (step < start + length) for start, length in ((top, height), (left, width)))
    edge_down = (step == top) | (step == top + height - 1)
    edge_across = (step == left) | (step == left + width - 1)
    line = (edge_down[:, :, None] & across[:, None]) | (down[:, :, None] & edge_across[:, None])
    return torch.where(line[:, None], images.new_tensor((0.12, 0.45, 0.95))[:, None, None], images)
