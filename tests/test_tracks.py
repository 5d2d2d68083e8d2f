"""Tracks: a moving thing is followed, still pictures and moving cameras are not, and starts are spread evenly."""

from dataclasses import replace

import moving
import numpy as np
import pytest

from selfsup import trackers
from selfsup.clips import Clips, described
from selfsup.errors import InputError
from selfsup.trackers import box_around, overlap, track
from selfsup.tracks import STEPS, Limits, tracks_of, windows_of

LIMITS = Limits(seconds=1.0, patch=0.4, tracker="points", most=4000)


def frames_of(film: moving.Film, first: int = 0, count: int = 13) -> np.ndarray:
    """Give frames of a clip."""
    return film.pixels[first : first + count]


@pytest.mark.parametrize(("tracker", "side"), [("points", 32), ("points", 64), ("points", 224), ("kcf", 32)])
def test_a_moving_square_is_followed(tracker: str, side: int) -> None:
    """The box lies around the square in every frame: its overlap with the truth is above 0.7, in the last one too."""
    film = moving.squares(3, side, seed=side)
    for clip in range(3):
        path = track(frames_of(film, 24 * clip + 6), 12.0, 0.4, tracker)
        assert path is not None
        truth = film.truth[24 * clip + 6 : 24 * clip + 19] - 0.2
        assert path.shape == truth.shape
        overlaps = [overlap(one, other, 0.4) for one, other in zip(path, truth, strict=True)]
        assert min(overlaps) > 0.7
        assert path.min() >= 0
        assert path.max() <= 0.6 + 1e-6


def test_a_thing_on_a_plain_ground_is_followed() -> None:
    """Where nothing else has texture, flow spreads over all of the picture; what moves is still found."""
    film = moving.squares(1, 36)
    frames = np.full((13, 3, 36, 36), 50, np.uint8)
    for number, frame in enumerate(frames):
        frame[:, 12:21, 8 + number : 17 + number] = film.pixels[0, :, 10:19, 10:19]
    path = track(frames, 12.0, 0.4, "points")
    assert path is not None
    assert overlap(path[-1], np.array([16.5, 24.5]) / 36 - 0.2, 0.4) > 0.7


def test_a_thing_is_followed_for_less_time_than_motion_is_looked_for() -> None:
    """Seven frames at 100 a second: the last stands for the one a tenth of a second later."""
    film = moving.squares(1, 64, seed=64)
    path = track(film.pixels[6:13], 100.0, 0.4, "points")
    assert path is not None
    np.testing.assert_allclose(path[-1] - path[0], film.truth[12] - film.truth[6], atol=0.01)


@pytest.mark.parametrize("change", ["still", "noise", "pan", "zoom", "light"])
def test_what_is_no_moving_thing_is_not_followed(change: str) -> None:
    """Nothing is tracked in a still picture, in noise, or where the camera moves or the light changes."""
    draw = np.random.default_rng(0)
    ground = moving.texture(draw, 90, 24).astype(np.float32)
    frames = np.stack([ground[:, 20:56, 20:56]] * 13)
    if change == "noise":
        frames = (frames + draw.normal(0, 0.01, frames.shape)).clip(0, 1).astype(np.float32)
    elif change == "pan":
        frames = np.stack([ground[:, 20:56, 20 + k : 56 + k] for k in range(13)])
    elif change == "zoom":
        steps = [np.linspace(20 - k, 55 + k, 36).round().astype(int) for k in range(13)]
        frames = np.stack([ground[:, step][:, :, step] for step in steps])
    elif change == "light":
        frames = np.stack([frames[0] * (0.5 + 0.04 * k) for k in range(13)]).astype(np.float32)
    assert track(in_bytes(frames), 12.0, 0.4, "points") is None


def in_bytes(frames: np.ndarray) -> np.ndarray:
    """Turn frames in [0, 1] into bytes."""
    return (frames * 255).round().astype(np.uint8)


@pytest.mark.parametrize(("speed", "start", "kept"), [(5.0, 30, 4), (1.8, 30, 5)], ids=["out", "nearly out"])
def test_what_leaves_the_picture_is_no_track(speed: float, start: int, kept: int) -> None:
    """A thing that runs out of the picture is lost, or its box is, though the ground it left could be followed."""
    ground, thing = (moving.texture(np.random.default_rng(side), side, side // 4) for side in (64, 16))
    frames = np.stack([ground * 0.5] * 13)
    for number, frame in enumerate(frames):
        left = round(start + speed * number)
        seen = max(0, min(16, 64 - left))
        frame[:, 20:36, left : left + seen] = thing[:, :, :seen]
    assert track(in_bytes(frames), 12.0, 0.4, "points") is None
    assert track(in_bytes(frames[:kept]), 12.0, 0.4, "points") is not None


@pytest.mark.parametrize(("share", "kept"), [(1.0, True), (0.8, True), (-0.2, False)])
def test_a_box_that_does_not_come_back_is_dropped(share: float, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A track is kept if going back ends where it began, and not if points stayed behind on the way."""
    film = moving.squares(1, 64)
    there = trackers._moved
    answers: list[trackers._Moved] = []

    def back_again(gray: list[np.ndarray], points: np.ndarray) -> trackers._Moved | None:
        found = there(gray, points)
        assert found is not None
        answers.append(found)
        return found if len(answers) == 1 else found._replace(steps=found.steps * share)

    monkeypatch.setattr(trackers, "_moved", back_again)
    assert (track(frames_of(film), 12.0, 0.4, "points") is not None) == kept


def test_the_box_holds_most_of_what_moves_in_its_middle() -> None:
    """Of boxes that hold as much the middle one; of two things one, not the gap between them."""
    moved = np.zeros((20, 20), bool)
    moved[4:7, 9:12] = True
    np.testing.assert_allclose(box_around(moved, 9), [2, 6])  # from 0, where the picture ends, to 4; from 3 to 9
    moved[4:7, 0:3] = True
    moved[4:7, 9:12] = False
    moved[4:7, 17:20] = True
    corner = box_around(moved, 5)
    assert moved[int(corner[0]) :, int(corner[1]) :][:5, :5].sum() == 9


def test_overlap_of_boxes() -> None:
    """1 for equal boxes, a third for a shift by half a side, 0 for boxes apart."""
    here = np.zeros(2)
    assert overlap(here, here, 2.0) == 1
    assert overlap(here, np.array([1.0, 0.0]), 2.0) == pytest.approx(1 / 3)
    assert overlap(here, np.array([1.0, 1.0]), 2.0) == pytest.approx(1 / 7)
    assert overlap(here, np.array([3.0, 0.0]), 2.0) == 0


def test_tracks_lie_in_their_clips() -> None:
    """Five moments of one clip each, a second from the first to the last, boxes around the square in all of them."""
    film = moving.squares()
    clips = replace(film.clips)
    found = tracks_of(clips, LIMITS)
    assert found.frames.shape == (len(found.frames), STEPS)
    assert len(found.frames) >= 24
    assert (np.diff(found.frames, axis=1) > 0).all()
    assert (clips.clip[found.frames] == clips.clip[found.frames[:, :1]]).all()
    length = clips.seconds[found.frames[:, -1]] - clips.seconds[found.frames[:, 0]]
    np.testing.assert_allclose(length, 1.0)
    assert len(np.unique(found.frames[:, 0])) == len(found.frames)
    off = np.abs(found.corners + 0.2 - film.truth[found.frames])
    assert np.median(off) < 0.03
    np.testing.assert_array_equal(clips.clip[found.frames[found.starts[:-1], 0]], np.arange(8))
    drawn = found.drawn(np.arange(8), np.random.default_rng(0))
    np.testing.assert_array_equal(clips.clip[found.frames[drawn, 0]], np.arange(8))


def test_clips_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same object is not read again; an equal one is, with equal tracks."""
    clips, reads = replace(moving.squares(2).clips), []
    read = Clips.read
    monkeypatch.setattr(Clips, "read", lambda self, numbers: reads.append(len(numbers)) or read(self, numbers))
    first = tracks_of(clips, LIMITS)
    count = len(reads)
    assert tracks_of(clips, LIMITS) is first
    assert len(reads) == count == first.tried
    again = tracks_of(replace(clips), LIMITS)
    assert len(reads) == 2 * count
    np.testing.assert_array_equal(again.corners, first.corners)


def timed(seconds: list[float], lengths: list[int]) -> Clips:
    """Give clips of which only the times matter."""
    black = np.zeros((len(seconds), 3, 16, 16), np.uint8)
    clip = np.repeat(np.arange(len(lengths)), lengths)
    return described(black, clip, np.array(seconds), clip, [str(number) for number in range(len(lengths))])


def test_windows_are_as_long_as_asked_and_a_quarter_apart() -> None:
    """Every quarter of a second in each clip that is long enough; frames at uneven times reach the whole second."""
    clips = timed([*np.arange(20) / 10, *np.arange(9) / 10, 0.0, 0.3, 0.5, 0.9, 1.1, 1.3], [20, 9, 6])
    windows = windows_of(clips, LIMITS)
    ends = [window.frames[[0, -1]].tolist() for window in windows]
    assert ends == [[0, 10], [3, 13], [5, 15], [8, 18], [29, 33], [30, 34]]
    assert windows[0].rate == pytest.approx(10)
    few = windows_of(clips, replace(LIMITS, most=2))
    assert [int(window.frames[0]) for window in few] == [0, 30]


def test_what_cannot_be_tracked_is_said() -> None:
    """Clips that are too short, and clips in which nothing moves."""
    with pytest.raises(InputError, match=r"A track takes 3 s .* longest of 2 clips lasts 1.92 s"):
        tracks_of(replace(moving.squares(2).clips), replace(LIMITS, seconds=3.0))
    with pytest.raises(InputError, match=r"Nothing could be tracked in 2 clips \(8 tries of 1 s\)"):
        tracks_of(replace(moving.squares(2, speed=0).clips), LIMITS)
