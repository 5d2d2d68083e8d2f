"""Advice on videos: test clips leave pretraining by their videos, and clips are judged by their frames."""

import numpy as np
import pytest
from films import drifting, write_film
from PIL import Image
from torch import nn

from selfsup import methods
from selfsup.advice.bench import Workbench
from selfsup.advice.facts import fits, folder_facts
from selfsup.advice.material import open_material, without_test
from selfsup.advice.trial import Exam
from selfsup.data.by_clip import clips_of
from selfsup.data.doctor import worth_saying
from selfsup.data.images import open_images
from selfsup.errors import InputError
from selfsup.evaluation.supervised import Classifier

SIDE = 32


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two classes of 14 videos, and a copy of each tenth in another codec."""
    root = tmp_path_factory.mktemp("v") / "films"
    for seed in range(28):
        write_film(root / "ab"[seed % 2] / f"{seed}.mkv", drifting(3 + seed % 3, seed, SIDE))
    return root


def opened(films, labels=None, **words):
    return open_material(
        films, films if labels is None else labels, image_size=SIDE, store_size=SIDE, label_budgets=[2, None], draws=1,
        cache=films.parent / "cache", **words,
    )  # fmt: skip


def test_test_clips_leave_pretraining_whole(films):
    """No frame of a video of the test set is pretrained on, and all frames of the others are."""
    material = opened(films)
    test = {material.labelled.names[n] for n in material.exam.test}
    kept = material.images.clips

    assert len(test) == 9 or len(test) == 10
    assert test.isdisjoint(kept.names)
    assert len(kept.names) == 28 - len(test)
    assert len(material.images) == sum(3 + int(name.split("/")[1].split(".")[0]) % 3 for name in kept.names)
    assert len(material.exam.labels) == 28
    assert material.exam.pictures == len(material.frames) / 28
    assert any("What is judged is clips" in note for note in material.notes)


def test_copies_of_test_clips_leave_too(films, tmp_path):
    """A test clip that lies among the others in another codec and size is found; clips beside it stay."""
    for seed in range(6):
        large = [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in drifting(3 + seed % 3, seed, SIDE)]
        write_film(tmp_path / "more" / f"copy{seed}.mp4", large, codec="libx264")
        write_film(tmp_path / "more" / f"other{seed}.mp4", drifting(5, 100 + seed, SIDE), codec="libx264")
    images = open_images(tmp_path / "more", SIDE, store_size=SIDE, cache=films.parent / "cache")
    test = open_images(films, SIDE, store_size=SIDE, cache=films.parent / "cache")

    kept, said = without_test(images, test)

    assert images.select(kept).clips.names == tuple(f"other{n}.mp4" for n in range(6))
    assert said[0].startswith("6 of 12 clips")


def test_films_of_which_a_part_is_tested_leave(tmp_path):
    """Excerpts saved again, and films of which a training clip is an excerpt, are found from either side."""
    whole = {seed: _walk(60, seed) for seed in range(6)}
    for seed in range(3):
        write_film(tmp_path / "films" / f"{seed}.mp4", whole[seed])
        write_film(tmp_path / "cuts" / f"{seed}.avi", whole[seed][20 + seed : 35], codec="mjpeg", layout="yuvj420p")
    for seed in range(3, 6):
        write_film(tmp_path / "films" / f"cut{seed}.avi", whole[seed][11:31], codec="mjpeg", layout="yuvj420p")
        write_film(tmp_path / "cuts" / f"{seed}.mp4", whole[seed])
        write_film(tmp_path / "films" / f"other{seed}.mp4", _walk(60, 50 + seed))
    images, test = (
        open_images(tmp_path / name, SIDE, store_size=SIDE, cache=tmp_path / "c", min_images=1)
        for name in ("films", "cuts")
    )

    kept, said = without_test(images, test)

    assert images.select(kept).clips.names == tuple(f"other{n}.mp4" for n in range(3, 6))
    assert said[0].startswith("6 of 9 clips")


@pytest.mark.parametrize(
    ("rate", "begin", "pace"), [(30.0, 60, 1.0), (5.0, 60, 1.0), (30.0, 67, 0.1), (9.0, 67, 0.1), (3.0, 67, 0.1)]
)
def test_parts_are_found_at_other_rates_too(tmp_path, rate, begin, pace):
    """Test clips have 10 frames a second; what is pretrained on may have more or fewer, taken at other moments."""
    for seed in range(4):
        frames = _walk(180, seed, pace=pace)
        cut = frames[begin : begin + 66]
        write_film(tmp_path / "films" / f"{seed}.mp4", frames, rate=30)
        write_film(tmp_path / "films" / f"other{seed}.mp4", _walk(180, 50 + seed, pace=pace), rate=30)
        write_film(tmp_path / "cuts" / f"{seed}.avi", cut, rate=30, codec="mjpeg", layout="yuvj420p")
    words = {"store_size": SIDE, "cache": tmp_path / "c", "min_images": 1}
    images = open_images(tmp_path / "films", SIDE, frame_rate=rate, **words)
    test = open_images(tmp_path / "cuts", SIDE, **words)

    kept, said = without_test(images, test, frame_rate=rate)

    assert images.select(kept).clips.names == tuple(f"other{n}.mp4" for n in range(4))
    assert any("parts of test clips may not be found" in note for note in said) == (rate < 5)


def test_films_of_the_same_room_stay(tmp_path):
    """What moves before the same wall is another thing, or nothing: such films are pretrained on."""
    for seed in range(6):
        folder = tmp_path / ("films" if seed < 4 else "cuts")
        write_film(folder / f"{seed}.mp4", _walk(60, seed, room=0))
        write_film(folder / f"still{seed}.mp4", _walk(1, 0) * 60)
    images, test = (
        open_images(tmp_path / name, SIDE, store_size=SIDE, cache=tmp_path / "c", min_images=1)
        for name in ("films", "cuts")
    )

    kept, _ = without_test(images, test)

    assert {name for name in images.select(kept).clips.names if "still" not in name} == {f"{n}.mp4" for n in range(4)}


def _walk(count, seed, room=None, pace=1.0):
    """A wall before which two squares wander; at a tenth of the pace they take ten times as long."""
    frame = drifting(1, seed if room is None else room, SIDE)[0] // 2 + 40
    draw = np.random.default_rng(seed)
    place, speed = draw.uniform(0, SIDE - 8, (2, 2)), draw.uniform(-3, 3, (2, 2))
    colour = draw.integers(0, 256, (2, 3))
    frames = []
    for _ in range(count):
        speed += draw.normal(0, 0.4 * pace**0.5, (2, 2))
        step = pace * speed
        speed[(place + step < 0) | (place + step > SIDE - 8)] *= -1
        place = np.clip(place + pace * speed, 0, SIDE - 8)
        picture = frame.copy()
        for (top, left), value in zip(place.astype(int), colour, strict=True):
            picture[top : top + 8, left : left + 8] = value
        frames.append(picture)
    return frames


def test_members_of_test_groups_leave_by_their_clips(films):
    """The pattern looks at the names of videos, those without labels included."""
    images = open_images(films, SIDE, store_size=SIDE, cache=films.parent / "cache")
    test = clips_of(images, np.array([images.clips.names.index("b/11.mkv")]))

    alone, members = without_test(images, test)[0], without_test(images, test, r"/(\d)\d?\.mkv")[0]

    assert set(images.clips.names) - set(images.select(alone).clips.names) == {"b/11.mkv"}
    assert {name.split("/")[1][0] for name in images.select(members).clips.names} == set("023456789")


def test_groups_reach_the_clips_to_pretrain_on(films):
    """Clips of one group are no negatives of each other; a pattern that is for the labels alone does no harm."""
    material = opened(films, group=r"/(\d)\d?\.mkv")
    clips, named = material.images.clips, opened(films, group="^(a)/1").group
    source = clips.source[clips.starts[:-1]]

    assert material.group == r"/(\d)\d?\.mkv"
    assert len(set(source.tolist())) == len({name.split("/")[1][0] for name in clips.names}) < clips.count
    assert named in (None, "^(a)/1")


def test_a_group_pattern_that_finds_nothing_is_not_silent(films, tmp_path):
    """Without labels it is refused as in pretraining; one that fits the labels alone is said."""
    for seed in range(16):
        write_film(tmp_path / "new" / f"{seed}.mkv", drifting(3, 100 + seed, SIDE))
    words = {"image_size": SIDE, "store_size": SIDE, "label_budgets": [2], "draws": 1, "cache": films.parent / "cache"}
    with pytest.raises(InputError, match="matches none of the paths"):
        open_material(tmp_path / "new", None, group="nothing", **words)

    material = opened(tmp_path / "new", films, group=r"(./\d)\d?\.mkv")

    assert material.group is None
    assert any("finds nothing in the paths of the frames to pretrain on" in note for note in material.notes)
    assert not any("finds nothing" in note for note in opened(films, group=r"/(\d)\d?\.mkv").notes)


def test_methods_that_read_clips_are_ruled_out_on_still_images(films, tmp_path):
    """Each has the rule, with a reason in words, and none on videos."""
    for number in range(16):
        Image.fromarray(drifting(1, number, SIDE)[0]).save(tmp_path / f"{number}.png")
    still = folder_facts(open_images(tmp_path, SIDE, cache=tmp_path / "c"), SIDE)
    moving = folder_facts(open_images(films, SIDE, cache=films.parent / "cache"), SIDE)

    for name in methods.METHODS:
        if "clips" in methods.load(name).reads:
            assert "single images" in (fits(name, still) or "")
            assert fits(name, moving) is None
    assert (still.clips, moving.clips) == (0, 28)


def test_a_film_is_not_told_that_its_frames_repeat(tmp_path):
    """Frames are alike because they are frames; clips that repeat another one are a finding."""
    for seed in range(6):
        write_film(tmp_path / "still" / f"{seed}.mkv", drifting(1, seed, SIDE) * 4)
    still = open_images(tmp_path / "still", SIDE, store_size=SIDE, cache=tmp_path / "cache")
    assert not any("repeat" in sentence for sentence in worth_saying(still))

    write_film(tmp_path / "still" / "copy.mkv", drifting(1, 3, SIDE) * 5)
    copied = open_images(tmp_path / "still", SIDE, store_size=SIDE, cache=tmp_path / "cache")
    assert any("1 clips nearly repeat" in sentence for sentence in worth_saying(copied))


def test_networks_learn_from_frames_and_answer_for_clips(films, monkeypatch):
    """Labels go to all frames of a clip, and the answer is the mean over its frames."""
    material = opened(films)
    exam: Exam = material.exam
    settings = {"encoder": "small", "image_size": SIDE, "device": "cpu"}
    bench = Workbench(material.images, material.labelled, exam, settings, {}, frames=material.frames)
    seen = {}

    class Fake(Classifier):
        def logits(self, images, **_):
            seen["asked"] = images.clips.names
            values = np.zeros((len(images), 2), np.float32)
            starts = images.clips.starts
            values[starts[:-1], 1] = 14  # one frame is sure of the second class,
            values[:, 0] = 4  # the others say the first
            return values

    def train(encoder, images, labels, classes, *, lr, groups, **_):
        seen.update(labels=labels, names=images.names, lr=lr, groups=groups)
        return Fake(encoder, nn.Linear(1, 2), lr, [])

    monkeypatch.setattr("selfsup.advice.bench.train_supervised", train)
    positions = exam.positions((2, 0))

    answers = bench.supervised(None, 0, positions, 1, None)

    owners = [name.rpartition("@")[0] for name in seen["names"]]
    assert list(dict.fromkeys(owners)) == [material.labelled.names[n] for n in positions]
    truth = {material.labelled.names[n]: exam.labels[n] for n in range(28)}
    assert seen["labels"].tolist() == [truth[owner] for owner in owners]
    assert seen["lr"] == 0.03  # two clips of a class are too few to choose by, however many frames they have
    assert seen["asked"] == tuple(material.labelled.names[n] for n in exam.test)
    lengths = np.array([3 + int(name.split("/")[1].split(".")[0]) % 3 for name in seen["asked"]])
    assert answers.predicted.tolist() == (4 * lengths < 14).astype(int).tolist()
