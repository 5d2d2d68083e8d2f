"""The order of the images is a function of (seed, epoch), so that any step can be reached directly."""

import numpy as np
import pytest
import torch

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
