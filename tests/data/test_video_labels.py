"""Clips have labels, not their frames, and clips of one video stay on one side of every split."""

import tracemalloc

import numpy as np
import pytest
from films import drifting, write_film
from PIL import Image

from selfsup.clips import described
from selfsup.data.by_clip import clips_of, one_of_each, similar_clips
from selfsup.data.images import open_images
from selfsup.data.labels import open_labelled, test_split
from selfsup.data.splits import LabelledImages
from selfsup.data.store import ImageStore
from selfsup.errors import InputError


def opened(root, **words) -> LabelledImages:
    """Open at 40 pixels."""
    return open_labelled(root, 40, cache=root.parent / "cache", workers=1, **words)


@pytest.fixture
def films(tmp_path):
    """Three classes of six videos."""
    for seed in range(18):
        write_film(tmp_path / "films" / "abc"[seed % 3] / f"{seed}.mkv", drifting(4 + seed % 5, seed))
    return tmp_path / "films"


def test_a_folder_of_videos_is_a_class(films):
    """Labels, names and groups are of clips; the frames of each follow."""
    data = opened(films)

    assert data.classes == ["a", "b", "c"]
    assert len(data) == len(data.images) == 18
    assert data.images.names[0] == "a/0.mkv"
    assert data.seen.clips.names == tuple(data.images.names)
    assert len(np.unique(data.groups)) == 18


def test_frames_follow_their_clips_into_a_part(films):
    """Chosen in any order, each clip has its own frames and no others."""
    data = opened(films)

    part = data.select([7, 2, 3])

    assert part.images.names == [data.images.names[n] for n in (7, 2, 3)]
    assert part.frames.clips.names == tuple(part.images.names)
    own = {name.rpartition("@")[0] for name in part.frames.names[: part.frames.clips.starts[1]]}
    assert own == {part.images.names[0]}
    np.testing.assert_array_equal(part.frames.rows([0]), data.frames.rows([int(data.frames.clips.starts[7])]))


def test_test_clips_are_a_fair_share_that_depends_on_content_alone(films):
    """Each class has a third of its clips in the test set; other names give the same one."""
    data = opened(films)
    _, test = test_split(data)
    assert np.bincount(data.labels[test]).tolist() == [2, 2, 2]
    hashes = {data.images.hashes[n] for n in test}

    for file in list(films.rglob("*.mkv")):
        file.rename(file.with_name(f"z{99 - int(file.stem)}.mkv"))
    again = opened(films)

    assert {again.images.hashes[n] for n in test_split(again)[1]} == hashes


def test_a_group_pattern_joins_clips(films):
    """Clips of one person, say, told by the path, are one group."""
    data = opened(films, group=r"/(\d)\d*\.mkv")
    tens = [n for n, name in enumerate(data.images.names) if name.split("/")[1].startswith("1")]
    assert len(set(data.groups[tens].tolist())) == 1


def test_what_is_too_few_is_called_clips(tmp_path):
    """A class with one, and all of them."""
    for name in ("a/1", "b/2"):
        write_film(tmp_path / f"films/{name}.mkv", drifting(6, int(name[-1])))
    with pytest.raises(InputError, match="only 2 usable clips; at least 4 are needed"):
        opened(tmp_path / "films")

    for number in (3, 5):
        write_film(tmp_path / f"films/a/{number}.mkv", drifting(6, number))
    assert "1 classes have a single clip (b), which cannot be learned and tested." in opened(tmp_path / "films").notes


def test_the_same_film_saved_again_stays_beside_it(films):
    """A copy in another size and codec is one with its original; clips of one camera that stands still are not."""
    write_film(films / "a/copy.mp4", [np.kron(f, np.ones((2, 2, 1), np.uint8)) for f in drifting(8, 4)])
    room = drifting(1, 99)[0]
    for name, column in (("a/left.mkv", 0), ("b/right.mkv", 28)):
        frames = [room.copy() for _ in range(8)]
        for number, frame in enumerate(frames):
            frame[4 * number : 4 * number + 4, column : column + 4] = 255
        write_film(films / name, frames, codec="ffv1", layout="bgr0")

    data = opened(films)

    group = dict(zip(data.images.names, data.groups.tolist(), strict=True))
    assert group["a/copy.mp4"] == group["b/4.mkv"]
    assert group["a/left.mkv"] != group["b/right.mkv"]
    assert any("1 of 21 clips nearly repeat" in note for note in data.notes)


def test_series_in_one_folder_stay_together(tmp_path):
    """Two series of frames in one folder are clips of one source."""
    for seed in range(8):
        folder = tmp_path / "frames" / "ab"[seed % 2] / f"{seed // 4}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(drifting(6, seed)):
            Image.fromarray(frame).save(folder / f"{'xy'[seed // 2 % 2]}{number}.png")
    for number, frame in enumerate(drifting(6, 9)):  # of no class, and the first
        Image.fromarray(frame).save(tmp_path / "frames" / f"A{number}.png")

    data = opened(tmp_path / "frames", wanted="either")
    images = opened(tmp_path / "frames")

    assert (len(data), len(np.unique(data.groups))) == (8, 4)
    assert data.seen.clips.names == tuple(data.images.names)
    pool, test = (set(data.groups[part].tolist()) for part in test_split(data))
    assert (len(pool), len(test), pool & test) == (2, 2, set())
    assert not any("repeat" in note for note in data.notes)
    assert (len(images), images.frames) == (48, None)
    assert not any("neighbours may" in note for note in data.notes)


def test_a_class_with_one_series_is_judged_by_its_images(tmp_path):
    """Class folders of numbered frames, one film each, are labelled images, and a note says why."""
    for label in range(3):
        (tmp_path / "frames" / f"c{label}").mkdir(parents=True)
        for number, frame in enumerate(drifting(12, label)):
            Image.fromarray(frame).save(tmp_path / "frames" / f"c{label}" / f"{number:03d}.png")

    data = opened(tmp_path / "frames", wanted="either")

    assert (data.frames, len(data), data.classes) == (None, 36, ["c0", "c1", "c2"])
    assert any("single series" in note for note in data.notes)
    assert any("neighbours may stand on both sides" in note for note in data.notes)
    grouped = opened(tmp_path / "frames", wanted="either", group=r"c\d/00|c\d/01")
    assert not any("neighbours may" in note for note in grouped.notes)


def test_many_clips_alike_are_compared_in_pieces():
    """Hundreds of clips of one camera need no memory for all their pairs at once."""
    count, length = 160, 8
    rooms = np.stack([drifting(1, seed, 16)[0].transpose(2, 0, 1) for seed in (0, 1)])
    pixels = np.repeat(rooms, count * length // 2, 0)
    pixels[:, :, 3, 3] = np.random.default_rng(0).integers(0, 80, (count * length, 1))
    names = [str(number) for number in range(count)]
    clip = np.repeat(np.arange(count), length)
    clips = described(pixels, clip, np.tile(np.arange(length) / 10, count), clip, names)
    hashes = [str(number) for number in range(len(pixels))]
    frames = ImageStore(pixels, hashes, hashes, [], [], "", [None] * len(pixels), clips=clips)
    tracemalloc.start()
    similar_clips(frames)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


def test_a_table_names_videos(films):
    """A CSV of path, label and split is read for videos too; what it does not name is not used."""
    rows = "".join(f"films/{'abc'[n % 3]}/{n}.mkv,{'odd' if n % 2 else 'even'},{'test' if n > 11 else 'train'}\n"
                   for n in range(2, 18))  # fmt: skip
    (films.parent / "labels.csv").write_text("path,label,split\n" + rows)

    data = opened(films.parent / "labels.csv")
    _, test = test_split(data)

    assert (data.classes, len(data), len(test)) == (["even", "odd"], 16, 6)
    assert all(int(data.images.names[n].split("/")[-1].split(".")[0]) > 11 for n in test)


def test_a_table_names_folders_of_frames(tmp_path):
    """As rendering writes it: a row is a clip, its label, group and split those of all its series of frames."""
    rows = ["clip,label,group,split"]
    for seed in range(8):
        folder = tmp_path / "frames" / "rgb" / f"{seed:03}"
        folder.mkdir(parents=True)
        for number, frame in enumerate(drifting(6, seed)):
            Image.fromarray(frame).save(folder / f"{'left' if seed == 3 and number < 3 else 'x'}{number}.png")
        rows.append(f"rgb/{seed:03}{'/' * (seed % 2)},{'ab'[seed % 2]},g{seed // 2},{'test' if seed > 5 else 'train'}")
    (tmp_path / "frames" / "rgb" / "999").mkdir()
    rows += ["rgb/999,a,,", "rgb/777,a,,"]
    (tmp_path / "frames" / "labels.csv").write_text("\n".join(rows))

    data = opened(tmp_path / "frames" / "labels.csv", wanted="either")
    images = opened(tmp_path / "frames" / "labels.csv")

    expected = [f"rgb/{seed:03}" for seed in (0, 1, 2)] + ["rgb/003/left*.png", "rgb/003/x*.png"]
    assert data.images.names == [*expected, *(f"rgb/{seed:03}" for seed in (4, 5, 6, 7))]
    assert [data.classes[label] for label in data.labels] == list("ababbabab")
    assert [data.groups.tolist().count(group) for group in data.groups] == [2, 2, 3, 3, 3, 2, 2, 2, 2]
    assert sorted(test_split(data)[1].tolist()) == [7, 8]
    assert "1 of 10 files named in labels.csv cannot be used, as the file is missing: rgb/777." in data.notes
    assert (
        "1 of 10 files named in labels.csv cannot be used, as the folder itself holds no images and no videos: rgb/999."
        in data.notes
    )
    assert images.images.names == data.images.names  # whoever asks: what has a label is a folder


def test_folders_of_photographs_stay_together(tmp_path):
    """What is no series of frames is labelled image by image, all of a folder on one side of the split."""
    draws = np.random.default_rng(0)
    for folder in range(12):
        (tmp_path / "x" / "photos" / f"p{folder}").mkdir(parents=True)
        for name in "abcd":
            pixels = draws.integers(0, 255, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "x" / "photos" / f"p{folder}" / f"{name}.png")
    rows = ["photos,label"] + [f"./photos/p{folder}/,{'no' if folder % 2 else 'yes'}" for folder in range(12)]
    (tmp_path / "x" / "labels.csv").write_text("\n".join(rows))

    data = opened(tmp_path / "x" / "labels.csv")
    pool, test = ({data.images.names[n].split("/")[1] for n in part} for part in test_split(data))

    assert (len(data), data.frames, data.classes) == (48, None, ["no", "yes"])
    assert test
    assert not pool & test


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["001/0.png,b", "000,a"], "names folders \\(000\\) and files \\(001/0.png\\); give a label to each folder"),
        (["000,a", "./000,b", "001,b"], "gives 000 two labels, a and b"),
        (
            ["deep,a", "gone,b"],
            "None of the 2 files or folders named in .* can be used; of deep, the folder itself holds",
        ),
    ],
)
def test_tables_of_folders_that_cannot_work(tmp_path, rows, words):
    """What is wrong, in one sentence."""
    for name in ("000", "001", "deep/er"):
        (tmp_path / "x" / name).mkdir(parents=True)
        for number, frame in enumerate(drifting(3, 0)):
            Image.fromarray(frame).save(tmp_path / "x" / name / f"{number}.png")
    (tmp_path / "x" / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(InputError, match=words):
        opened(tmp_path / "x" / "labels.csv")


def test_moving_scenes_have_a_class_for_each_clip(tmp_path):
    """The class of motion is that of the clip."""
    data = open_labelled("moving-scenes:6", 16, cache=tmp_path, workers=1)
    assert len(data) == 6
    assert len(data.seen) == 6 * 24


def test_pictures_of_clips_are_their_middle_frames(films):
    """One frame stands for a clip, under the clip's name."""
    frames = open_images(films, 40, cache=films.parent / "cache", workers=1)
    pictures = one_of_each(frames)
    assert pictures.clips is None
    place = int(frames.clips.starts[3] + frames.clips.starts[4]) // 2
    np.testing.assert_array_equal(pictures.rows([3]), frames.rows([place]))
    assert len(clips_of(frames, np.array([3]))) == np.diff(frames.clips.starts)[3]
    assert similar_clips(frames).tolist() == list(range(18))
