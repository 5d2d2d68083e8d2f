"""Tuples of frames: where they may lie, what must move in them, and that all is drawn evenly."""

from dataclasses import replace
from itertools import pairwise

import moving
import numpy as np
import pytest

from selfsup.clips import Clips, described
from selfsup.errors import InputError
from selfsup.tuples import STILL, Limits, Tuples, tuples_of

VERIFY = Limits(3, 1.0, 0.4, 0.02)
SORT = Limits(4, 1.2, None, 0.02)


def apart(clips: Clips, one: int, other: int) -> float:
    """Root mean square difference of two small pictures."""
    difference = clips.thumbs[one].astype(float) - clips.thumbs[other]
    return float(np.sqrt((difference**2).mean()) / 255)


def uneven() -> Clips:
    """Clips of 24, 5 and 18 frames at uneven times, that begin at any time."""
    film = moving.squares(3)
    kept = np.concatenate([np.arange(24), 24 + np.arange(5), 48 + np.arange(18)])
    gaps = np.random.default_rng(0).uniform(0.03, 0.2, len(kept))
    clip = film.clips.clip[kept]
    seconds = np.concatenate([np.cumsum(gaps[clip == k]) for k in range(3)])
    return described(film.pixels[kept], clip, seconds, clip, ["a", "b", "c"])


def check(clips: Clips, limits: Limits, found: Tuples) -> None:
    """Look at each tuple on its own, as the paper says what it is."""
    for frames, wrong in zip(found.frames.tolist(), found.wrong.tolist(), strict=True):
        assert all(a < b for a, b in pairwise(frames))
        assert len({clips.clip[k] for k in [*frames, wrong]}) == 1
        first, last = clips.seconds[frames[0]], clips.seconds[frames[-1]]
        assert last - first <= limits.tau_max + 1e-5
        pairs = list(pairwise(frames))
        if limits.tau_min is not None:
            outside = max(first - clips.seconds[wrong], clips.seconds[wrong] - last)
            assert limits.tau_min - 1e-5 <= outside <= limits.tau_max + 1e-5
            pairs = [(frames[1], wrong)]
        assert all(apart(clips, *pair) >= limits.difference * 0.999 for pair in pairs)


@pytest.mark.parametrize("limits", [VERIFY, SORT, Limits(3, 2.4, 0.6, 0.0)], ids=["verify", "sort", "paper"])
def test_tuples_keep_to_the_limits(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, inside a clip, no longer than tau_max, the wrong frame at least tau_min outside, and telling."""
    monkeypatch.setattr("selfsup.tuples.EACH", 16)
    for clips in (moving.squares().clips, uneven()):
        clips = replace(clips)  # another object, for which nothing is kept
        found = tuples_of(clips, limits)
        assert len(found.frames) > 50
        check(clips, limits, found)
        assert (np.diff(clips.clip[found.frames[:, 0]]) >= 0).all()


def test_every_window_that_fits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """All first and last frames of a short clip occur together, with every middle and every wrong frame that may be."""
    monkeypatch.setattr("selfsup.tuples.EACH", 4096)
    clips = replace(moving.squares(1).clips)
    found = tuples_of(clips, Limits(3, 0.5, 0.4, 0.0))
    expected = {
        (b, c, d, x)
        for b in range(24) for d in range(b + 2, min(24, b + 7)) for c in range(b + 1, d) for x in range(24)
        if 5 <= b - x <= 6 or 5 <= x - d <= 6
    }  # fmt: skip
    assert {(*frames, wrong) for frames, wrong in zip(found.frames.tolist(), found.wrong.tolist(), strict=True)} == (
        expected
    )


def test_still_frames_give_no_tuple() -> None:
    """Of a clip that moves in one half all tuples lie there; a still clip and one too short have none, and are told."""
    film = moving.squares(4, speed=0.36)
    pixels = film.pixels.copy()
    pixels[12:24] = pixels[12]
    pixels[24:48] = pixels[24]
    kept = np.arange(75)  # the fourth keeps three frames
    clip = film.clips.clip[kept]
    clips = described(pixels[kept], clip, film.clips.seconds[kept], clip, list("abcd"))

    found = tuples_of(clips, Limits(3, 0.5, 0.2, 0.005))

    counts = np.diff(found.starts)
    assert counts[0] > 0
    assert counts[2] > 0
    assert counts[1] == counts[3] == 0
    assert (found.still, found.short) == (1, 1)
    of_first = np.column_stack([found.frames, found.wrong])[: counts[0]]
    assert of_first.max() <= 12


def test_noise_of_a_camera_is_no_motion() -> None:
    """Frames that differ by noise alone are not told apart, though every pixel changes."""
    film = moving.squares(2, speed=0)
    noise = np.random.default_rng(0).integers(-6, 7, film.pixels.shape)
    clips = moving.film((film.pixels.astype(int) + noise).clip(0, 255).astype(np.uint8), 2).clips
    assert clips.motion[1] > 100 * STILL
    with pytest.raises(InputError, match="Nothing moves enough in 2 clips"):
        tuples_of(clips, VERIFY)


def test_clips_without_room_are_refused_in_a_sentence() -> None:
    """What a tuple takes, and what there is."""
    clips = replace(moving.squares(1).clips)
    with pytest.raises(InputError, match=r"within 4 s, with a wrong one at least 3 s outside.* lasts 1.92 s with at"):
        tuples_of(clips, Limits(3, 4.0, 3.0, 0.0))


def test_draws_follow_motion_and_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tuple comes from the clip asked for, in proportion to its motion, and as often early as late in the clip."""
    monkeypatch.setattr("selfsup.tuples.EACH", 4096)
    film = moving.squares(2)
    clips = replace(film.clips, motion=np.where(np.arange(48) % 24 < 12, 0.01, 0.03).astype(np.float32))
    found = tuples_of(clips, Limits(3, 0.25, 0.2, 0.0))
    draw = np.random.default_rng(0)
    clip = np.repeat([0, 1], 50_000)
    rows = found.drawn(clip, draw)

    assert (clips.clip[found.frames[rows, 0]] == clip).all()
    drawn = np.bincount(found.frames[rows, 0] % 24 * 24 + found.frames[rows, 2] % 24, minlength=576) / len(rows)
    moved = np.zeros((24, 24))  # in each window of 3 or 4 frames that has 3 to spare before or after it
    for b, d in [(b, b + length) for length in (2, 3) for b in range(24 - length) if b >= 3 or b + length <= 20]:
        moved[b, d] = clips.motion[b + 1 : d + 1].mean()
    assert np.abs(drawn - moved.ravel() / moved.sum()).max() < 0.003

    even = replace(film.clips, motion=np.full(48, 0.01, np.float32))
    found = tuples_of(even, Limits(3, 1.0, 0.4, 0.0))
    rows = found.drawn(clip, draw)
    for column in (found.frames[rows, 1], found.wrong[rows]):
        assert (column % 24).mean() == pytest.approx(11.5, abs=0.15)


def test_clips_without_tuples_borrow_from_others() -> None:
    """A row whose clip has none gets one of any other clip."""
    film = moving.squares(3)
    pixels = film.pixels.copy()
    pixels[24:48] = pixels[24]
    clips = moving.film(pixels, 3).clips
    found = tuples_of(clips, VERIFY)
    rows = found.drawn(np.array([1] * 200 + [0, 2]), np.random.default_rng(0))
    clip = clips.clip[found.frames[rows, 0]]
    assert 60 < (clip[:200] == 0).sum() < 140
    assert not (clip == 1).any()
    assert clip[200:].tolist() == [0, 2]


def test_tuples_follow_from_the_clips_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal clips have equal tuples, in whatever pieces they are looked at."""
    clips = moving.squares().clips
    whole = tuples_of(replace(clips), VERIFY)
    monkeypatch.setattr("selfsup.tuples._ROWS", 999)
    pieces = tuples_of(replace(clips), VERIFY)
    np.testing.assert_array_equal(whole.frames, pieces.frames)
    np.testing.assert_array_equal(whole.wrong, pieces.wrong)
    np.testing.assert_array_equal(whole.cumulative, pieces.cumulative)
