"""The order of the images is a function of (seed, epoch), so that any step can be reached directly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup.clips import Clips, described
from selfsup.data.batches import Batches, clean_batches
from selfsup.data.store import ImageStore


def store(count: int) -> ImageStore:
    """Images of one colour each: the value of every pixel is the image's number."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(3, 1).repeat(8, 2).repeat(8, 3)
    names = [str(number) for number in range(count)]
    return ImageStore(pixels, names, names, [], [], "test", [None] * count)


def batches(count: int = 22, batch_size: int = 5, steps: int = 12, seed: int = 0) -> Batches:
    return Batches(store(count), batch_size, steps, seed, torch.device("cpu"))


def run(made: Batches, step: int = 0, order: torch.Tensor | None = None) -> list[tuple[int, list[int]]]:
    """Give the rounds from a step on as (step, image numbers)."""
    found = []
    while step < made.steps:
        for batch in made.round_from(step, order):
            assert torch.equal((batch.images[:, 0, 0, 0] * 255).round().long(), batch.index)
            assert batch.progress == batch.step / made.steps
            found.append((batch.step, batch.index.tolist()))
            step = batch.step + 1
    return found


def test_an_epoch_shows_each_image_at_most_once_and_drops_the_last_short_batch():
    """22 images in batches of 5: four whole batches an epoch, two images left out, others in the next."""
    found = run(batches())

    assert [step for step, _ in found] == list(range(12))
    epochs = [[image for _, index in found[first : first + 4] for image in index] for first in (0, 4, 8)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3, "another order each time"
    assert len({frozenset(set(range(22)) - set(epoch)) for epoch in epochs}) > 1, "not always the same ones"


def test_the_order_depends_on_the_seed_alone():
    """Not on history, the number of steps or what was read before."""
    whole = run(batches())

    assert run(batches()) == whole
    assert run(batches(seed=1)) != whole
    assert run(batches(steps=7)) == whole[:7]
    for start in (1, 4, 6, 11):
        assert run(batches(), start) == whole[start:]


def test_a_round_ends_where_the_next_begins():
    """Wherever it was entered; it is an epoch and its share of what is left over, or a twentieth of a long run."""
    made = batches()
    assert [batch.step for batch in made.round_from(2, None)] == [2, 3]
    assert [batch.step for batch in made.round_from(4, None)] == [4, 5, 6, 7]
    assert batches(steps=400).round_of(30) == (20, 40)
    assert batches(steps=10).round_of(4) == (0, 5)
    assert [batch.step for batch in batches(steps=10).round_from(8, None)] == [8, 9]


def test_an_order_that_a_method_gives_is_followed():
    """From its beginning in each round, around its end if the round is longer, from any step."""
    order = torch.tensor([7, 3, 3, 9, 1, 0, 2])
    made = batches(steps=8)

    found = run(made, 0, order)

    laid_out = (order.tolist() * 3)[:20]
    assert found == [(step, laid_out[5 * (step % 4) : 5 * (step % 4) + 5]) for step in range(8)]
    assert run(made, 5, order) == found[5:]


def test_two_processes_share_each_batch(monkeypatch: pytest.MonkeyPatch):
    """Side by side they show what one shows alone."""
    from selfsup import processes

    alone = run(batches(batch_size=6))
    shares = []
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        shares.append(run(batches(batch_size=6)))

    assert [(step, one + other) for (step, one), (_, other) in zip(*shares, strict=True)] == alone


def test_clean_batches_give_all_images_once_in_order():
    """The last one is shorter."""
    found = list(clean_batches(store(7), 6, 3, torch.device("cpu")))

    assert [tuple(batch.shape) for batch in found] == [(3, 3, 6, 6), (3, 3, 6, 6), (1, 3, 6, 6)]
    assert (torch.cat(found)[:, 0, 0, 0] * 255).round().tolist() == list(range(7))


class _Scenes:
    """Stands for rendered scenes: every map holds the scene's number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def rows(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        pictures = numbers.astype(np.uint8)[:, None, None, None].repeat(3, 1)
        return {"scenes": pictures, "depth": numbers.astype(np.float32)[:, None, None]}


def _film(lengths: tuple[int, ...]) -> ImageStore:
    frames = store(sum(lengths))
    clip = np.repeat(np.arange(len(lengths)), lengths)
    seconds = np.concatenate([np.arange(length) / 10 for length in lengths])
    names = [f"clip {number}" for number in range(len(lengths))]
    return replace(frames, clips=described(frames.pixels, clip, seconds, clip + 7, names))


def _next_one(clips: Clips, index: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Each frame, the one after it, and one drawn at random."""
    return np.stack([index, np.minimum(index + 1, len(clips) - 1), draw.integers(len(clips), size=len(index))], axis=1)


def test_a_method_of_clips_gets_the_frames_it_asks_for():
    film = _film((5, 9))

    made = Batches(film, 4, 6, 0, torch.device("cpu"), moments=_next_one)

    for batch in made.round_from(0, None):
        frames = batch.extra["frames"]
        assert batch.images.shape == (4, 3, 3, 8, 8)
        assert torch.equal((batch.images[:, :, 0, 0, 0] * 255).round().long(), frames)
        assert torch.equal(frames[:, 0], batch.index)
        assert torch.equal(frames[:, 1], (batch.index + 1).clamp(max=13))
        assert torch.equal(batch.extra["source"], 7 + (frames >= 5).long())
        assert torch.allclose(batch.extra["seconds"], torch.where(frames >= 5, frames - 5, frames) / 10)


def test_what_is_drawn_for_a_step_depends_on_seed_and_step_alone():
    film = _film((5, 9))

    def drawn(seed: int, first: int) -> list[list[int]]:
        made = Batches(film, 4, 3, seed, torch.device("cpu"), moments=_next_one)
        return [batch.extra["frames"][:, 2].tolist() for batch in made.round_from(first, None)]

    assert drawn(0, 0)[1:] == drawn(0, 1)
    assert drawn(0, 0) != drawn(1, 0)
    assert drawn(0, 0)[0] != drawn(0, 0)[1]


def test_two_processes_hold_the_halves_of_what_one_would(monkeypatch: pytest.MonkeyPatch):
    """The frames are chosen for the whole batch in every process."""
    film = replace(_film((5, 9)), beside=_Scenes(6))
    whole = Batches(film, 4, 3, 0, torch.device("cpu"), moments=_next_one).batch_of(np.array([3, 1, 8, 0]), 2, 0.5)

    halves = []
    for rank in (0, 1):
        monkeypatch.setattr("selfsup.processes.rank", lambda rank=rank: rank)
        monkeypatch.setattr("selfsup.processes.count", lambda: 2)
        halves.append(
            Batches(film, 4, 3, 0, torch.device("cpu"), moments=_next_one).batch_of(np.array([3, 1, 8, 0]), 2, 0.5)
        )

    assert whole.progress == 0.5
    assert torch.equal(torch.cat([half.images for half in halves]), whole.images)
    for name, value in whole.extra.items():
        assert torch.equal(torch.cat([half.extra[name] for half in halves]), value), name


def test_scenes_stand_beside_images_each_once_before_any_comes_again():
    """As many as images, in an order of their own that goes on from step to step."""
    images = replace(store(40), beside=_Scenes(6))

    made = list(Batches(images, 4, 6, 0, torch.device("cpu")).round_from(0, None))

    seen = [number for batch in made for number in batch.extra["depth"][:, 0, 0].long().tolist()]
    assert [sorted(seen[first : first + 6]) for first in (0, 6, 12, 18)] == [[0, 1, 2, 3, 4, 5]] * 4
    assert len({tuple(seen[first : first + 6]) for first in (0, 6, 12, 18)}) > 1
    for batch in made:
        assert torch.equal((batch.extra["scenes"][:, 0, 0, 0] * 255).round(), batch.extra["depth"][:, 0, 0])
    again = next(iter(Batches(images, 4, 6, 0, torch.device("cpu")).round_from(3, None)))
    assert torch.equal(again.extra["depth"], made[3].extra["depth"])
