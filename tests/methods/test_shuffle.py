"""Shuffle: tuples are asked as the papers say, alike for all frames, and nothing but their order tells the answer."""

import itertools
import math

import moving
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from selfsup.errors import InputError
from selfsup.method import DataFacts
from selfsup.methods.shuffle import NO, ORDERS, YES, Shuffle, forwards, in_order, order_of
from selfsup.networks.encoders import build_encoder
from selfsup.recipe import Recipe
from selfsup.training.loop import autocast_of, train
from selfsup.tuples import tuples_of

TASKS = ("verify", "sort", "arrow")


def shuffle(size: int = 32, encoder: str = "small", **settings: object) -> Shuffle:
    """Give a method in training mode."""
    torch.manual_seed(0)
    return Shuffle(build_encoder(encoder, size, seed=0), **settings)  # type: ignore[arg-type]


def frames_of(method: Shuffle, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give the frames asked for, and the frame that was dealt to each row."""
    clips, draw = moving.squares().clips, np.random.default_rng(seed)
    index = draw.integers(0, len(clips), count)
    return method.moments(clips, index, draw), index


@pytest.mark.parametrize("task", TASKS)
def test_frames_are_of_the_clip_dealt_and_seeds_repeat_them(task: str) -> None:
    """Every row asks about its own clip; equal generators give equal frames."""
    clips = moving.squares().clips
    frames, index = frames_of(shuffle(task=task), 200)
    assert frames.shape == (200, 4 if task == "sort" else 3)
    assert (clips.clip[frames] == clips.clip[index][:, None]).all()
    again, _ = frames_of(shuffle(task=task), 200)
    other, _ = frames_of(shuffle(task=task), 200, seed=1)
    np.testing.assert_array_equal(frames, again)
    assert (frames != other).any()


def test_a_quarter_of_every_batch_is_in_order() -> None:
    """Exactly, not by chance; a wrong middle frame lies outside its tuple, whose ends are those of right ones."""
    method = shuffle()
    found = tuples_of(moving.squares().clips, method.limits)
    right = {(b, c, d) for b, c, d in found.frames.tolist()}
    wrong = {(b, x, d) for (b, _, d), x in zip(found.frames.tolist(), found.wrong.tolist(), strict=True)}
    assert not right & wrong
    frames, _ = frames_of(method, 64)
    label = in_order(torch.from_numpy(frames))
    assert int(label.sum()) == 16
    for (one, middle, other), is_in_order in zip(frames.tolist(), label.tolist(), strict=True):
        assert (min(one, other), middle, max(one, other)) in (right if is_in_order else wrong)
    assert 20 < int(forwards(torch.from_numpy(frames)).sum()) < 44  # and half of all are backwards
    many, _ = frames_of(shuffle(positives=0.5), 64)
    assert int(in_order(torch.from_numpy(many)).sum()) == 32


@pytest.mark.parametrize("positives", [0.25, 0.9])
@pytest.mark.parametrize("count", [2, 3, 5, 6, 17])
def test_batches_of_any_size_have_both_answers_and_are_judged_by_their_own_shares(count: int, positives: float) -> None:
    """Shares are whole tuples: constant answers have 0.5 of `balanced`, and the better one is the headline's chance."""
    method = shuffle(positives=positives, hidden=8)
    last = method.head.layers[-1]
    torch.nn.init.zeros_(last.weight)
    batch = moving.batch(method, moving.squares(), count)
    right = int(in_order(batch.extra["frames"]).sum())
    assert 0 < right < count
    assert abs(right - positives * count) <= 0.8
    accuracies = []
    for answer in (0.0, 1.0):
        last.bias.data = torch.tensor([1 - answer, answer])
        (objective,) = method.losses(batch)
        assert objective.metrics["balanced"].item() == pytest.approx(0.5)
        accuracies.append(objective.metrics["accuracy"].item())
    assert method.headline_chance == pytest.approx(max(accuracies))
    last.bias.data = torch.tensor([count - right, right]).float().log()
    (objective,) = method.losses(batch)
    assert objective.chance == pytest.approx(objective.loss.item(), rel=1e-5)


def test_shares_are_those_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of two processes are judged by the share of the batch that both have, and average to it."""
    method = shuffle().eval()
    batch = moving.batch(method, moving.squares(), 12)
    (together,) = method.losses(batch)
    blind = method.headline_chance
    monkeypatch.setattr("selfsup.processes.count", lambda: 2)
    balanced = []
    for rows in (slice(0, 6), slice(6, 12)):
        (objective,) = method.losses(moving.batch(method, moving.squares(), 12, rows=rows))
        assert (objective.chance, method.headline_chance) == (together.chance, blind)
        balanced.append(objective.metrics["balanced"].item())
    assert np.mean(balanced) == pytest.approx(together.metrics["balanced"].item())


def test_order_is_judged_as_in_the_paper() -> None:
    """Of three frames b < c < d or d < c < b is right, and reversing a tuple changes nothing."""
    frames = torch.tensor(list(itertools.permutations((3, 5, 9))))
    expected = [b < c < d or d < c < b for b, c, d in frames.tolist()]
    assert in_order(frames).tolist() == expected
    assert in_order(frames.flip(1)).tolist() == expected


def test_orders_and_their_reversals_are_twelve_classes() -> None:
    """The 24 orders of four frames fall on 12 labels, each hit twice, a reversal on the same; numbered as released."""
    frames = torch.tensor(list(itertools.permutations((2, 4, 7, 20))))
    label = order_of(frames)
    assert label.bincount(minlength=12).tolist() == [2] * 12
    assert torch.equal(order_of(frames.flip(1)), label)
    for row, number in zip(frames.tolist(), label.tolist(), strict=True):
        digits = "".join(str(sorted(row).index(value) + 1) for value in row)
        assert ORDERS[number] in (digits, digits[::-1])
    asked, _ = frames_of(shuffle(task="sort"), 600)
    assert order_of(torch.from_numpy(asked)).bincount(minlength=12).min() > 25


def test_arrow_asks_of_both_directions() -> None:
    """Each tuple is asked forwards and backwards: labels 1 and 0, and reversing frames turns y into 1 - y."""
    method = shuffle(task="arrow").eval()
    features, frames = torch.randn(5, 3, method.encoder.vector_width), torch.arange(15).view(5, 3)
    logits, label = method.solve(features, frames)
    assert label.tolist() == [1, 0] * 5
    assert torch.allclose(logits[1::2], method.head(features.flip(1)), atol=1e-6)
    assert torch.equal(forwards(frames.flip(1)), ~forwards(frames))
    asked, _ = frames_of(method, 100)
    assert (np.diff(asked, axis=1) > 0).all()


def places(count: int, frames: int, side: int) -> torch.Tensor:
    """Give frames whose pixels hold their own row and column."""
    row, column = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return torch.stack([row, column, row * 0]).expand(count, frames, -1, -1, -1) / side


@pytest.mark.parametrize("task", ["verify", "arrow"])
def test_frames_of_a_tuple_share_crop_and_mirror(task: str) -> None:
    """The same square of every frame, all of them mirrored or none; tuples differ."""
    views = shuffle(task=task).views(places(60, 3, 40))
    assert torch.equal(views, views[:, :1].expand_as(views))
    corner = (views[:, 0, :2, 0, 0] * 40).round()
    assert corner[:, 0].unique().tolist() == list(range(9))
    mirrored = views[:, 0, 1, 0, 0] > views[:, 0, 1, 0, -1]
    assert 15 < int(mirrored.sum()) < 45
    assert not (shuffle(flip=False).views(places(20, 3, 40)).diff(dim=-1)[:, :, 1] < 0).any()


def test_sorting_moves_each_frame_and_shows_one_channel() -> None:
    """Frames move on their own by at most the jitter, share the mirror, and show one of their channels three times."""
    method = shuffle(task="sort", split=False)
    assert method.jitter == 2
    views = method.views(places(300, 4, 40))
    corner = (views[:, :, :2].amin((3, 4)) * 40).round()  # [B, K, 2]
    spread = corner.amax(1) - corner.amin(1)
    assert spread.max() == 2 * method.jitter
    assert corner.min() == 0
    assert corner.max() == 8
    mirrored = views[:, :, 1, 0, 0] > views[:, :, 1, 0, -1]
    assert torch.equal(mirrored, mirrored[:, :1].expand_as(mirrored))

    images = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1).expand(200, 4, 3, 36, 36)
    shown = shuffle(task="sort").views(images)
    assert torch.equal(shown, shown[:, :, :1].expand_as(shown))
    assert torch.allclose(shown[:, :, 0, 0, 0].unique(), torch.tensor([0.1, 0.5, 0.9]))
    assert (shown[:, 0] != shown[:, 1]).any()


def test_jitter_stays_inside_the_stored_frame() -> None:
    """Where the frame has no room to move, nothing moves."""
    views = shuffle(task="sort", split=False).views(places(20, 4, 32))
    assert torch.equal(views, views[:, :1].expand_as(views))


def test_branches_share_their_weights() -> None:
    """Equal frames give equal features, and frames in another order give the features in that order."""
    method = shuffle().eval()
    views = torch.rand(4, 3, 3, 32, 32)
    views[:, 2] = views[:, 0]
    features = method.features(views)
    assert torch.allclose(features[:, 0], features[:, 2], atol=1e-6)
    assert torch.allclose(method.features(views[:, [1, 0, 2]]), features[:, [1, 0, 2]], atol=1e-6)
    for number in range(3):
        assert torch.allclose(method.encoder.vector(views[:, number]), features[:, number], atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_loss_equals_a_loop_over_tuples(task: str) -> None:
    """One tuple after another through the same heads, written out."""
    method = shuffle(task=task, jitter=0, split=False, flip=False, hidden=16).double().eval()
    batch = moving.batch(method, moving.squares(side=32), 6, dtype=torch.float64)
    (objective,) = method.losses(batch)
    total, asked = 0.0, 0
    for images, frames in zip(batch.images, batch.extra["frames"].tolist(), strict=True):
        vectors = [method.encoder.vector(image[None])[0] for image in images]
        for turned in (False, True) if task == "arrow" else (False,):
            order = vectors[::-1] if turned else vectors
            if task == "sort":
                each = [method.head.each(v[None]) for v in order]
                pairs = [method.head.pair(torch.cat([each[i], each[j]], 1)) for i in range(4) for j in range(i + 1, 4)]
                logits = method.head.all(torch.cat(pairs, 1))[0]
                ranks = "".join(str(sorted(frames).index(f) + 1) for f in frames)
                answer = next(k for k, known in enumerate(ORDERS) if ranks in (known, known[::-1]))
            else:
                logits = method.head(torch.stack(order)[None])[0]
                answer = int(not turned) if task == "arrow" else int(sorted(frames)[1] == frames[1])
            total -= logits.log_softmax(0)[answer].item()
            asked += 1
    assert objective.loss.item() == pytest.approx(total / asked, rel=1e-10)


@pytest.mark.parametrize(("task", "guess"), [("verify", math.log(2)), ("sort", math.log(12)), ("arrow", math.log(2))])
def test_a_head_that_says_nothing_guesses(task: str, guess: float) -> None:
    """With a zero head the loss is that of even guesses; told the shares it is 0.562 of a quarter in order."""
    method = shuffle(task=task)
    last = method.head.all if task == "sort" else method.head.layers[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    batch = moving.batch(method, moving.squares(), 16)
    (objective,) = method.losses(batch)
    assert objective.loss.item() == pytest.approx(guess, rel=1e-5)
    assert method.headline_chance == {"verify": 0.75, "sort": 1 / 12, "arrow": 0.5}[task]
    if task == "verify":
        last.bias.data = torch.tensor([0.75, 0.25]).log()
        (objective,) = method.losses(batch)
        assert objective.loss.item() == pytest.approx(0.5623, abs=1e-4)
        assert objective.metrics["accuracy"].item() == 0.75
        assert objective.metrics["balanced"].item() == pytest.approx(0.5)
    assert objective.chance == pytest.approx(0.5623 if task == "verify" else guess, abs=1e-4)


def held_out_accuracy(order: np.ndarray, steps: int = 24) -> float:
    """Train on a blob that crosses the picture, its frames put in an order [K, T]; ask about other such clips."""
    clips = len(order)
    frames = (order + 24 * np.arange(clips)[:, None]).ravel()
    known, unknown = (moving.film(moving.squares(clips, 32, seed=s, speed=0.35).pixels[frames], clips) for s in (3, 4))
    method = shuffle(flip=False)
    recipe = Recipe(lr=0.05, warmup=0.05)
    batches = (moving.batch(method, known, 32, k, k / steps) for k in range(steps))
    optimizers = method.optimizers(recipe)
    for _ in train(method, batches, optimizers, recipe, 0, autocast_of(torch.device("cpu"), "float32")):
        pass
    with torch.no_grad():
        (objective,) = method.eval().losses(moving.batch(method, unknown, 200))
    return objective.metrics["accuracy"].item()


def test_order_is_learned_from_motion_and_not_without_time() -> None:
    """A blob that moves evenly teaches more than the majority answer; with its frames shuffled there is nothing."""
    straight = np.tile(np.arange(24), (24, 1))
    assert held_out_accuracy(straight) > 0.85
    assert held_out_accuracy(np.random.default_rng(0).permuted(straight, axis=1)) < 0.78


@pytest.mark.parametrize(("size", "encoder"), [(224, "small"), (64, "mobilenetv3_small_050")])
@pytest.mark.parametrize("task", TASKS)
def test_works_at_any_size_with_any_network(size: int, encoder: str, task: str) -> None:
    """Larger frames and networks of timm, inside autocast: losses are float32, figures are drawn."""
    method = shuffle(size, encoder, task=task)
    batch = moving.batch(method, moving.squares(2, side=size * 8 // 7), 4)
    with torch.autocast("cpu", torch.bfloat16):
        (objective,) = method.losses(batch)
        assert method.figures(batch)
    objective.loss.backward()
    assert objective.loss.dtype == torch.float32
    assert all(p.grad is not None for p in method.encoder.parameters())


def test_figures_show_truth_and_answer() -> None:
    """Half of the tuples shown are in order; left edges tell the truth, right ones the answer."""
    method = shuffle().eval()
    with torch.no_grad():
        method.head.layers[-1].weight.zero_()
        method.head.layers[-1].bias.copy_(torch.tensor([0.0, 1.0]))  # always: in order
        (picture,) = method.figures(moving.batch(method, moving.squares(), 16)).values()
    wide = 2 + 32 + 2
    left = picture[:, 10, :: wide + 2].T
    right = picture[:, 10, wide - 1 :: wide + 2].T
    expected = torch.tensor([YES] * 4 + [NO] * 4)
    assert torch.allclose(left, expected)
    assert torch.allclose(right, torch.tensor([YES] * 8))


def test_sorted_frames_come_in_time() -> None:
    """A head that is always right is drawn with its frames in time, below those that were given."""
    method = shuffle(task="sort", jitter=0, split=False, flip=False).eval()
    batch = moving.batch(method, moving.squares(side=32), 8)
    method.solve = lambda features, frames: (F.one_hot(order_of(frames), 12).float(), order_of(frames))  # type: ignore[method-assign]
    (picture,) = method.figures(batch).values()
    high = 32 + 4 + 2
    rows = [picture[:, k * high + 2 : k * high + 34] for k in range(9)]
    for column, frames in enumerate(batch.extra["frames"].tolist()):
        tiles = [row[:, :, column * high + 2 : column * high + 34] for row in rows]
        for tile, number in zip(tiles[5:], np.argsort(frames).tolist(), strict=True):
            matching = [torch.cdist(tile.flatten()[None], v.flatten()[None]).item() for v in batch.images[column]]
            assert int(np.argmin(matching)) == number


def test_what_it_cannot_use_is_said() -> None:
    """Single images and still clips are refused; clips without a tuple are counted."""
    with pytest.raises(InputError, match="was given single images; give it videos"):
        shuffle().start(DataFacts(64, 32, lambda n: torch.rand(n, 3, 36, 36)))
    with pytest.raises(InputError, match="Nothing moves enough in 2 clips"):
        shuffle().start(moving.facts(moving.squares(2, speed=0), 32))
    film = moving.squares(3)
    pixels = film.pixels.copy()
    pixels[24:48] = pixels[24]
    method = shuffle()
    method.start(moving.facts(moving.film(pixels, 3), 32))
    assert method.remarks[0].startswith("1 of 3 clips are not asked about: 0 are too short")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tau_min": 3.0}, "tau_min from 0.001 seconds to tau_max, got 3 and a tau_max of 2.4"),
        ({"positives": 1.0}, "positives is a share above 0 and below 1"),
        ({"difference": -0.1}, "difference is at least 0"),
        ({"hidden": 0}, "hidden must be at least 1"),
    ],
)
def test_bad_settings_get_one_sentence(settings: dict[str, object], words: str) -> None:
    """What is wrong, what was given, what would do."""
    with pytest.raises(InputError, match=words):
        shuffle(**settings)


def test_reading_needs_no_torch_generator() -> None:
    """Frames are chosen in another thread: torch's random numbers are left alone."""
    method = shuffle()
    before = torch.get_rng_state()
    frames_of(method, 8)
    assert torch.equal(before, torch.get_rng_state())
