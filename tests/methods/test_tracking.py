"""Tracking: patches are cut where things were tracked to, and pairs are compared as the paper says."""

import math
from dataclasses import replace

import moving
import numpy as np
import pytest
import torch

from selfsup.clips import Clips, described
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts
from selfsup.methods.tracking import Tracking, corners_of
from selfsup.networks.encoders import build_encoder
from selfsup.networks.triplets import compare, ranking
from selfsup.tracks import tracks_of
from selfsup.training.loop import autocast_of, train

AS_IT_IS: dict[str, float] = {"strength": 0.0, "grayscale": 0.0}
"""Settings with which a patch keeps its colours."""


def tracking(size: int = 32, encoder: str = "small", sees: str = "colour", **settings: object) -> Tracking:
    """Give a method in training mode."""
    torch.manual_seed(0)
    return Tracking(build_encoder(encoder, size, seed=0, sees=sees), sees=sees, **settings)  # type: ignore[arg-type]


def started(size: int = 32, film: moving.Film | None = None, **settings: object) -> Tracking:
    """Give a method that knows its clips."""
    method = tracking(size, **settings)  # type: ignore[arg-type]
    method.start(moving.facts(film or moving.squares(), size))
    return method


def test_frames_are_the_ends_of_a_track_of_the_clip_dealt() -> None:
    """First and last frame of a track of each row's own clip; equal generators give equal frames."""
    method, clips = started(), moving.squares().clips
    index = np.random.default_rng(0).integers(0, len(clips), 100)
    frames = method.moments(clips, index, np.random.default_rng(1))
    assert (clips.clip[frames] == clips.clip[index][:, None]).all()
    np.testing.assert_allclose(clips.seconds[frames[:, 1]] - clips.seconds[frames[:, 0]], 1.0)
    np.testing.assert_array_equal(frames, method.moments(clips, index, np.random.default_rng(1)))
    assert (frames != method.moments(clips, index, np.random.default_rng(2))).any()


def test_patches_lie_where_the_thing_was_tracked_to() -> None:
    """What is cut shows the square in its middle, in the first frame and in the last, brought to the encoder's size."""
    method, film = started(flip=False, patch=0.4, **AS_IT_IS), moving.squares()
    batch = moving.batch(method, film, 24)
    side = film.pixels.shape[-1]
    row, column = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    maps = torch.stack([row, column, row * 0]).expand(24, 2, -1, -1, -1) / side
    patches = method.patches(batch._replace(images=maps))
    assert patches.shape == (48, 3, 32, 32)
    middle = patches[:, :2].mean((2, 3)).unflatten(0, (24, 2))
    truth = torch.from_numpy(film.truth[batch.extra["frames"].numpy()])
    assert (middle - truth).abs().median() < 0.03
    extent = patches[:, :2].amax((2, 3)) - patches[:, :2].amin((2, 3))
    assert (extent - 0.4 * 31 / 32).abs().max() < 0.02


def test_half_of_the_patches_are_mirrored_each_on_its_own() -> None:
    """Of a pair both, one or none are mirrored, as often."""
    method = started(patch=0.4, **AS_IT_IS)
    batch = moving.batch(method, moving.squares(), 200)
    column = torch.arange(36.0).expand(200, 2, 3, 36, 36) / 36
    patches = method.patches(batch._replace(images=column))
    mirrored = (patches[:, 0, 0, 0] > patches[:, 0, 0, -1]).view(200, 2).sum(1)
    assert mirrored.bincount().tolist() == pytest.approx([50, 100, 50], abs=25)


def test_colours_of_the_two_patches_change_each_on_its_own() -> None:
    """Of one plain colour in all frames, patches get colours of their own, partners too; some are gray."""
    method = started(grayscale=0.25)
    batch = moving.batch(method, moving.squares(), 200)
    plain = torch.tensor([0.6, 0.3, 0.45]).view(3, 1, 1).expand_as(batch.images)
    colours = method.patches(batch._replace(images=plain)).mean((2, 3))
    spread = colours.amax(1) - colours.amin(1)
    assert (spread < 1e-5).float().mean().item() == pytest.approx(0.25, abs=0.06)
    kept = (colours - torch.tensor([0.6, 0.3, 0.45])).abs().amax(1) < 1e-3
    assert kept.float().mean().item() == pytest.approx(0.75 * 0.2, abs=0.05)
    one, other = colours.unflatten(0, (-1, 2)).unbind(1)
    assert torch.corrcoef(torch.stack([one[:, 0], other[:, 0]]))[0, 1].abs() < 0.25
    unchanged = started(**AS_IT_IS).patches(batch._replace(images=plain))
    torch.testing.assert_close(unchanged, plain[0, 0].mean((1, 2)).view(1, 3, 1, 1).expand_as(unchanged))


def test_parts_of_a_patch_lie_inside_it() -> None:
    """With `crop_min` a view shows a box inside the tracked one, never less of its area, of places of its own."""
    whole = started(patch=0.4, flip=False, **AS_IT_IS)
    method = started(patch=0.4, flip=False, crop_min=0.3, **AS_IT_IS)
    batch = moving.batch(method, moving.squares(), 100)
    side = batch.images.shape[-1]
    row, column = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    maps = batch._replace(images=torch.stack([row, column, row * 0]).expand(100, 2, -1, -1, -1) / side)
    (low, high), (least, most) = (
        (patches.amin((2, 3))[:, :2], patches.amax((2, 3))[:, :2])
        for patches in (method.patches(maps), whole.patches(maps))
    )
    assert (low >= least - 0.02).all()
    assert (high <= most + 0.02).all()
    shares = ((high - low) * 32 / 31).prod(1) / 0.4**2
    assert 0.25 < shares.min() < 0.4
    assert 0.9 < shares.max() < 1.1
    one, other = ((low + high) / 2 - (least + most) / 2).unflatten(0, (-1, 2)).unbind(1)
    assert (one - other).abs().amax(1).median() > 0.015


def test_held_out_clips_have_tracks_of_their_own() -> None:
    """Frames of held-out clips are numbered from 0 too; their boxes are found by their source."""
    method, training = started(patch=0.4), moving.squares()
    other = moving.squares(4, seed=5)
    held_out = other._replace(clips=replace(other.clips, source=other.clips.source + 100))
    for film in (held_out, training):
        batch = moving.batch(method, film, 16)
        frames = batch.extra["frames"].numpy()
        places = corners_of(method._known, batch.extra["source"][:, 0], batch.extra["frames"][:, 0])
        found = tracks_of(film.clips, method.limits)
        numbers = np.searchsorted(found.frames[:, 0], frames[:, 0])
        np.testing.assert_array_equal(found.frames[numbers, -1], frames[:, 1])
        np.testing.assert_array_equal(places.numpy(), found.corners[numbers][:, [0, -1]])


@pytest.mark.parametrize("loss", ["ranking", "infonce"])
def test_metrics_and_chance_by_loops(loss: str) -> None:
    """Matching, distances and broken margins, pair by pair."""
    method = started(loss=loss).eval()
    batch = moving.batch(method, moving.squares(), 10)
    with torch.no_grad():
        (objective,) = method.losses(batch)
        torch.manual_seed(0)
        (objective,) = method.losses(batch)
        torch.manual_seed(0)
        vectors = method.head(method.encoder.vector(method.patches(batch)))
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    label = batch.extra["source"].flatten().tolist()
    matched, near, far, active, chances = [], [], [], [], []
    for i in range(0, 20, 2):
        d = 1 - unit[[i, i + 1]] @ unit.T
        foreign = [j for j in range(20) if label[j] != label[i]]
        near.append(float(d[0, i + 1]))
        matched.append(all(near[-1] < d[0, j] for j in foreign))
        far.append(np.mean([d[k, j] for j in foreign for k in (0, 1)]))
        active.append(np.mean([near[-1] - d[k, j] + 0.5 > 0 for j in foreign for k in (0, 1)]))
        chances.append(1 / (1 + len(foreign)))
    expected = {"matching": matched, "near": near, "far": far, "active": active}
    for name, values in expected.items():
        assert objective.metrics[name].item() == pytest.approx(float(np.mean(values)), abs=1e-5), name
    assert method.headline_chance == pytest.approx(np.mean(chances))
    guess = 0.5 if loss == "ranking" else np.mean([math.log(1 / chance) for chance in chances])
    assert objective.chance == pytest.approx(guess)


def test_hard_negatives_come_after_the_first_third() -> None:
    """Until a third of training negatives are drawn from all, then half of them from the most similar."""
    method = started(negatives=2, flip=False, **AS_IT_IS).eval()
    batch = moving.batch(method, moving.squares(), 32)
    with torch.no_grad():
        one, other = method.head(method.encoder.vector(method.patches(batch))).unflatten(0, (-1, 2)).unbind(1)
        compared = compare(one, other, batch.extra["source"][:, 0])
        for progress, hard in ((0.0, 0.0), (0.33, 0.0), (0.34, 0.5), (0.9, 0.5)):
            torch.manual_seed(3)
            method.patches(batch)  # draws the views
            expected = ranking(compared, 0.5, 2, hard)
            torch.manual_seed(3)
            (objective,) = method.losses(batch._replace(progress=progress))
            assert objective.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_clips_of_one_video_are_never_negatives() -> None:
    """A batch of one source has loss 0 and leaves the weights alone."""
    film = moving.squares()
    method = started()
    batch = moving.batch(method, film, 8)
    keep = batch.extra["source"][:, 0] == batch.extra["source"][0, 0]
    rows = Batch(batch.images[keep], batch.index[keep], 0, 0.5, {k: v[keep] for k, v in batch.extra.items()})
    rows = Batch(*(torch.cat([x, x]) for x in rows[:2]), 0, 0.5, {k: torch.cat([v, v]) for k, v in rows.extra.items()})
    (objective,) = method.losses(rows)
    objective.loss.backward()
    assert objective.loss.item() == 0
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in method.parameters())


def test_pairs_of_other_clips_are_told_apart() -> None:
    """A few steps bring tracked patches together and others away, on clips that were never seen too."""
    film, steps = moving.squares(16, seed=2), 20
    method = started(film=film, **AS_IT_IS)
    unseen = moving.squares(8, seed=3)
    unseen = unseen._replace(clips=replace(unseen.clips, source=unseen.clips.source + 100))
    before = on(method, unseen)
    batches = (moving.batch(method, film, 32, k, k / steps) for k in range(steps))
    optimizers = method.optimizers(method.recipe)
    for _ in train(method, batches, optimizers, method.recipe, 0, autocast_of(torch.device("cpu"), "float32")):
        pass
    after = on(method, unseen)
    assert after["far"] - after["near"] > before["far"] - before["near"] + 0.2


def on(method: Tracking, film: moving.Film) -> dict[str, float]:
    """Give the metrics of a batch."""
    method.eval()
    with torch.no_grad():
        (objective,) = method.losses(moving.batch(method, film, 32))
    method.train()
    return {name: value.item() for name, value in objective.metrics.items()}


@pytest.mark.parametrize(("size", "encoder"), [(224, "small"), (64, "mobilenetv3_small_050")])
@pytest.mark.parametrize("loss", ["ranking", "infonce"])
def test_works_at_any_size_with_any_network(size: int, encoder: str, loss: str) -> None:
    """Larger frames and networks of timm, inside autocast: losses are float32, figures are drawn."""
    film = moving.squares(3, side=size * 8 // 7)
    method = started(size, film, encoder=encoder, loss=loss)
    batch = moving.batch(method, film, 4)
    with torch.autocast("cpu", torch.bfloat16):
        (objective,) = method.losses(batch)
        assert len(method.figures(batch)) == 3
    objective.loss.backward()
    assert objective.loss.dtype == torch.float32
    assert all(p.grad is not None for p in method.encoder.parameters())


def test_the_gray_model_sees_no_colour() -> None:
    """With `lightness` a patch and its gray picture give the same vectors."""
    method = started(sees="lightness", flip=False, **AS_IT_IS).eval()
    batch = moving.batch(method, moving.squares(), 4)
    colours = torch.tensor([0.6, 0.3, 0.45]).view(3, 1, 1).expand_as(batch.images)
    light = method.encoder.vector(method.patches(batch._replace(images=colours)))
    assert light.std(0).max() < 1e-5
    with pytest.raises(InputError, match="This tracking sees lightness, got an encoder that sees colour"):
        Tracking(build_encoder("small", 32, seed=0), sees="lightness")


def test_what_it_found_is_said() -> None:
    """How many tracks hold, in how many clips, is a remark; clips without one are not asked for."""
    film = moving.squares(3)
    pixels = film.pixels.copy()
    pixels[24:48] = pixels[24]
    still = moving.film(pixels, 3)
    method = started(film=still)
    assert "of 12 tracks hold, in 2 of 3 clips; the other 1 are not learned from" in method.remarks[0]
    frames = method.moments(still.clips, np.full(50, 30), np.random.default_rng(0))
    assert set(still.clips.clip[frames].ravel().tolist()) == {0, 2}


def test_patches_of_few_pixels_are_remarked_on() -> None:
    """Half of 36 pixels are enlarged to 32; with the store that is named they would not be."""
    words = "Patches have a side of 18 pixels of what is stored and are enlarged to 32; --store-size 64 or more"
    assert words in started().remarks[1]
    assert len(started(film=moving.squares(3, side=64)).remarks) == 1


def one_source(film: moving.Film) -> Clips:
    """Give clips as if all were cut from one video."""
    clips = film.clips
    return described(film.pixels, clips.clip, clips.seconds, clips.source * 0, clips.names)


def test_what_it_cannot_use_is_said() -> None:
    """Single images, and tracks of a single video, in training or held-out clips."""
    with pytest.raises(InputError, match="was given single images; give it videos"):
        tracking().start(DataFacts(64, 32, lambda n: torch.rand(n, 3, 36, 36)))
    facts = moving.facts(moving.squares(), 32)
    with pytest.raises(InputError, match="all tracks found are of one video; give it several"):
        tracking().start(facts._replace(clips=one_source(moving.squares())))
    with pytest.raises(InputError, match="all tracks found are of one video"):
        started().moments(one_source(moving.squares()), np.arange(4), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"margin": 0.0}, "takes margin from 0.001 to 2, got 0"),
        ({"patch": 1.0}, "takes patch from 0.1 to 0.9, got 1"),
        ({"hard": 2.0}, "takes hard from 0 to 1, got 2"),
        ({"strength": -1.0}, "takes strength from 0 to 2.5, got -1"),
        ({"grayscale": 1.5}, "takes grayscale from 0 to 1, got 1.5"),
        ({"crop_min": 0.0}, "takes crop_min from 0.001 to 1, got 0"),
        ({"negatives": 0}, "takes negatives from 1, got 0"),
    ],
)
def test_bad_settings_get_one_sentence(settings: dict[str, object], words: str) -> None:
    """What is wrong, what was given, what would do."""
    with pytest.raises(InputError, match=words):
        tracking(**settings)  # type: ignore[arg-type]
