"""Videos become frames of clips: the right ones, upright, at their times; what cannot be read is named."""

import json
import os
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import LEVELS, corner, drifting, steps, write_film, write_sound
from PIL import Image

from selfsup.data import seen, video_store
from selfsup.data.images import open_images
from selfsup.data.listing import list_folder
from selfsup.data.sizes import natural_size
from selfsup.errors import InputError


def opened(root, **words):
    """Open at 36 pixels, the height of the frames."""
    return open_images(root, 36, workers=2, **({"min_images": 1, "cache": root.parent / "cache"} | words))


def numbers(store, first=10):
    """Which frames of `steps` are in a store, told by their brightness."""
    return np.round((store.rows(range(len(store))).mean((1, 2, 3)) - first) / LEVELS).astype(int).tolist()


@pytest.fixture
def root(tmp_path):
    """An empty folder beside the cache."""
    (tmp_path / "films").mkdir()
    return tmp_path / "films"


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [
        ("a.mp4", "mpeg4", "yuv420p"),
        ("a.m4v", "mpeg4", "yuv420p"),
        ("a.mov", "mpeg4", "yuv420p"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_every_container_gives_its_frames(root, name, codec, layout):
    """The content decides: each kind of file gives its frames in order, at their times."""
    write_film(root / name, steps(8), 10, codec, layout)

    store = opened(root)

    tolerance = 25 if name == "a.gif" else 4  # 8 bits of colour
    means = store.rows(range(8)).mean((1, 2, 3))
    np.testing.assert_allclose(means, 10 + LEVELS * np.arange(8), atol=tolerance)
    np.testing.assert_allclose(store.clips.seconds, np.arange(8) / 10, atol=0.011)
    assert store.clips.names == (name,)
    assert store.pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("has", "asked", "taken"),
    [
        (30, 10, [0, 3, 6, 9, 12, 15]),
        (25, 10, [0, 3, 5, 8, 10, 13, 15]),
        (10, 10, list(range(18))),
        (5, 10, list(range(18))),
    ],
)
def test_rate_is_the_one_asked_for_but_never_more_than_there_is(root, has, asked, taken):
    """Of each tenth of a second the first frame is taken; a file with fewer frames gives all it has."""
    write_film(root / "a.mkv", steps(18), has, "ffv1", "bgr0")

    store = opened(root, frame_rate=asked)

    assert numbers(store) == taken
    np.testing.assert_allclose(store.clips.seconds, np.array(taken) / has, atol=0.001)


def test_uneven_times_are_kept(root):
    """Of a variable rate the frames are chosen by time, not by number, and keep their times."""
    shown = [0, 20, 40, 300, 310, 700, 790, 810]
    write_film(root / "a.mkv", steps(8), 50, "ffv1", "bgr0", milliseconds=shown)

    store = opened(root)

    assert numbers(store) == [0, 3, 5, 6]  # 0.79 s counts as 0.8: rounded times come a little early
    assert store.clips.seconds.tolist() == [0, 0.3, 0.7, 0.79]


@pytest.mark.parametrize(("turned", "quarter"), [(0, 0), (90, 1), (180, 2), (-90, 3)])
def test_turned_videos_stand_upright(root, turned, quarter):
    """What players turn is turned, and sizes are those that are seen."""
    write_film(root / "a.mp4", corner(), turned=turned)

    store = opened(root, store_size=36)

    plain = corner(1)[0][:, 6:42].transpose(2, 0, 1)
    expected = np.rot90(plain, quarter, (1, 2))
    assert np.abs(store.rows([0])[0].astype(int) - expected).mean() < 12
    assert store.sizes[0].tolist() == ([36, 48] if quarter % 2 else [48, 36])


def test_mirrored_videos_are_mirrored(root):
    """A front camera writes a matrix that swaps left and right."""
    file = write_film(root / "a.mp4", corner(), turned=180)
    one = (1 << 16).to_bytes(4, "big", signed=True)
    minus = (-(1 << 16)).to_bytes(4, "big", signed=True)
    content = file.read_bytes()
    place = content.index(b"tkhd") + 44  # the matrix, a b u c d v x y w
    assert content[place : place + 4] == minus
    assert content[place + 16 : place + 20] == minus
    file.write_bytes(content[: place + 16] + one + content[place + 20 :])

    store = opened(root, store_size=36)

    expected = corner(1)[0][:, 6:42].transpose(2, 0, 1)[:, :, ::-1]
    assert np.abs(store.rows([0])[0].astype(int) - expected).mean() < 12


def test_wide_pixels_are_stretched(root):
    """Pixels twice as wide as high make a picture twice as wide."""
    write_film(root / "a.mkv", corner(width=24), wide=Fraction(2, 1))

    store = opened(root)

    assert store.sizes[0].tolist() == [48, 36]
    assert np.abs(store.rows([0])[0].astype(int) - corner(1)[0][:, 6:42].transpose(2, 0, 1)).mean() < 12


def test_what_cannot_be_read_is_named_and_the_others_are_used(root):
    """Broken, cut, empty, silent, damaged and disguised files are skipped with a reason, never fatal."""
    whole = write_film(root / "good/a.mp4", steps(20), faststart=True).read_bytes()
    matroska = write_film(root / "good/b.mkv", drifting(20, 0), codec="ffv1", layout="bgr0").read_bytes()
    moving = write_film(root / "good/c.avi", drifting(30, 1)).read_bytes()
    gif = write_film(root / "good/d.gif", drifting(8, 2), codec="gif", layout="rgb8").read_bytes()
    for name, content in {
        "cut.mp4": whole[: len(whole) * 3 // 4],
        "cut.mkv": matroska[: len(matroska) // 2],
        "cut.avi": moving[: len(moving) * 2 // 3],
        "cut.gif": gif[: len(gif) // 2],
        "headless.mp4": write_film(root.parent / "x.mp4", steps(4)).read_bytes()[:-300],
        "empty.mp4": b"",
        "text.mkv": b"no video at all, just words\n" * 100,
        "script.mkv": b"ffconcat version 1.0\nfile 'good/a.mp4'\n",
        "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        "concealed.mp4": _damaged(write_film(root.parent / "y.mp4", drifting(30, 1)).read_bytes()),
        "damaged.mp4": _damaged(write_film(root.parent / "y.mp4", drifting(30, 1), codec="libx264").read_bytes()),
    }.items():
        (root / name).write_bytes(content)
    write_sound(root / "sound.mp4")
    (root / "still.gif").write_bytes(b"")
    Image.new("RGB", (20, 20)).save(root / "still.gif")
    os.symlink(root / "nowhere.mp4", root / "dangling.mp4")

    store = opened(root)

    reasons = dict(store.skipped)
    assert store.clips.names == ("good/a.mp4", "good/b.mkv", "good/c.avi", "good/d.gif")
    assert set(reasons) == {
        "cut.mp4", "cut.mkv", "cut.avi", "cut.gif", "headless.mp4", "empty.mp4", "text.mkv",
        "playlist.mp4", "script.mkv", "concealed.mp4", "damaged.mp4", "sound.mp4", "dangling.mp4",
    }  # fmt: skip
    assert all("truncated" in reasons[name] for name in ("cut.mp4", "cut.mkv", "cut.avi", "cut.gif"))
    assert "sound" in reasons["sound.mp4"]
    assert reasons["empty.mp4"] == "the file is empty"
    assert reasons["damaged.mp4"] == reasons["concealed.mp4"] == "the video data are damaged"


def _damaged(content):
    """Overwrite bytes in several places: encoders do not give the same bytes everywhere, and one may be spared."""
    spoiled, noise = bytearray(content), np.random.default_rng(0)
    for place in range(content.index(b"mdat") + 1000, content.index(b"mdat") + 2400, 200):
        spoiled[place : place + 4] = noise.bytes(4)
    return bytes(spoiled)


def test_a_recording_that_ends_early_is_noticed_by_its_length(root):
    """A file whose boxes are whole but whose header speaks of more seconds was cut, unless its frames last as long."""
    film = write_film(root / "a.mkv", steps(20), codec="ffv1", layout="bgr0")
    _lengthened(film, 60)
    slides = write_film(root / "slides.mkv", steps(3), 1, "ffv1", "bgr0", milliseconds=[0, 30000, 50000])
    _lengthened(slides, 90)

    store = opened(root)

    assert [item.name for item in store.skipped] == ["a.mkv"]
    assert "2.0 of 60.0 seconds" in store.skipped[0].reason


def _lengthened(file, seconds):
    content = file.read_bytes()
    place = content.index(bytes.fromhex("4489")) + 3  # Duration, milliseconds as a double
    file.write_bytes(content[:place] + np.array(1000 * seconds, ">f8").tobytes() + content[place + 8 :])


def test_names_of_any_kind(root):
    """Spaces, colons, other scripts, escape codes and bytes that are no text are read, and shown as escapes."""
    names = ["é and 東京.mp4", "http:x.mp4", "-y.mp4", "\x1b[2J.mp4", "deep/er/ü.mp4", "%03d.mp4"]
    for name in names:
        write_film(root / "x.mp4", steps(3))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "x.mp4").rename(root / name)
    os.rename(os.fsencode(write_film(root / "x.mp4", steps(3))), os.path.join(os.fsencode(root), b"\xff.mp4"))

    store = opened(root)

    assert not store.skipped
    assert set(store.clips.names) == {*names, "\\xff.mp4"}
    assert len(store) == 21


def test_opened_again_it_is_read_and_changed_files_alone_are_decoded(root, monkeypatch):
    """The second time nothing is decoded; a new file costs its own decoding."""
    write_film(root / "a.mkv", steps(6))
    write_film(root / "b.mkv", steps(4, first=100))
    before = opened(root)
    decoded = []
    sample = video_store._Worker.outcome
    monkeypatch.setattr(video_store, "in_workers", _in_this_process(decoded, sample))
    again = opened(root)
    assert decoded == []
    np.testing.assert_array_equal(again.rows(range(10)), before.rows(range(10)))
    np.testing.assert_array_equal(again.clips.thumbs, before.clips.thumbs)

    write_film(root / "aa.mkv", steps(2, first=200))
    more = opened(root)

    assert decoded == ["aa.mkv"]
    assert more.clips.names == ("a.mkv", "aa.mkv", "b.mkv")
    np.testing.assert_array_equal(more.rows([0, 1, 2, 3, 4, 5, 8, 9, 10, 11]), before.rows(range(10)))
    assert more.hashes[:6] == before.hashes[:6]


def _in_this_process(decoded, outcome, stop_after=None):
    def work(make, pieces, workers, handle, lost, forked=None):
        worker = make(nullcontext(), str).__self__
        for number in [number for piece in pieces for number in piece]:
            if stop_after is not None and len(decoded) == stop_after:
                raise KeyboardInterrupt
            decoded.append(worker.job.videos[number].path)
            handle([[number, *outcome(worker, number)]])

    return work


@pytest.mark.parametrize("where", ["decoding", "together"])
def test_an_interrupted_call_goes_on_where_it_stopped(root, monkeypatch, where):
    """What was decoded before an interruption is not decoded again, and the result is the same to the byte."""
    for number in range(4):
        write_film(root / f"{number}.mkv", drifting(5, number))
    expected = opened(root)
    decoded = []
    with monkeypatch.context() as patched:
        patched.setenv("SELFSUP_CACHE", str(root.parent / "second"))
        stop = 2 if where == "decoding" else None
        patched.setattr(video_store, "in_workers", _in_this_process(decoded, video_store._Worker.outcome, stop))
        if where == "together":
            unlink, gone = Path.unlink, []

            def once(self, missing_ok=False):
                unlink(self, missing_ok)
                gone.append(self.suffix == ".frames")
                if sum(gone) == 2:
                    raise KeyboardInterrupt

            patched.setattr(Path, "unlink", once)
        with pytest.raises(KeyboardInterrupt):
            opened(root, cache=None)
    assert len(decoded) == (2 if where == "decoding" else 4)
    monkeypatch.setenv("SELFSUP_CACHE", str(root.parent / "second"))
    late = []
    monkeypatch.setattr(video_store, "in_workers", _in_this_process(late, video_store._Worker.outcome))

    store = opened(root, cache=None)

    assert late == (["2.mkv", "3.mkv"] if where == "decoding" else [])
    np.testing.assert_array_equal(store.rows(range(20)), expected.rows(range(20)))
    assert not list((root.parent / "second").rglob("*.frames"))
    (table,) = (root.parent / "second").rglob("files.json")
    assert len(json.loads(table.read_text())["files"]) == 4


def test_a_crash_costs_one_file(root, monkeypatch):
    """A decoder that brings its process down loses that file alone."""
    for name in ("a.mkv", "bad.mkv", "c.mkv"):
        write_film(root / name, steps(3))
    outcome = video_store._Worker.outcome

    def crashing(self, number):
        if self.job.videos[number].path == "bad.mkv":
            os._exit(1)
        return outcome(self, number)

    monkeypatch.setattr(video_store._Worker, "outcome", crashing)

    store = opened(root)

    assert [item.name for item in store.skipped] == ["bad.mkv"]
    assert store.clips.names == ("a.mkv", "c.mkv")


def test_images_and_videos_in_one_folder_go_to_those_who_read_them(root):
    """Methods of images get the images, methods of clips the videos, and each is told of the rest."""
    write_film(root / "a.mp4", steps(5))
    for number in range(3):
        Image.fromarray(np.full((40, 40, 3), 60 * number, np.uint8)).save(root / f"{'xyz'[number]}.png")

    images, clips = opened(root), opened(root, wanted="clips")

    assert (len(images), images.clips) == (3, None)
    assert any("1 video beside the images is left" in note for note in images.notes)
    assert clips.clips.names == ("a.mp4",)
    assert any("3 images are beside" in note or "3 images" in note for note in clips.notes)


def test_gifs_are_clips_where_they_move_and_nothing_else_is_there(root):
    """A folder of moving gifs is one of clips; of still ones, or beside photos, one of images."""
    write_film(root / "a.gif", drifting(6, 0), codec="gif", layout="rgb8")
    assert opened(root).clips.count == 1
    assert opened(root / "a.gif").clips.count == 1
    Image.new("RGB", (40, 40), "red").save(root / "b.png")
    assert opened(root).clips is None
    (root / "a.gif").unlink()
    (root / "b.png").rename(root / "b.gif")
    assert opened(root).clips is None


def test_frames_in_folders_are_clips_for_those_who_read_them(root):
    """Numbers give order and time; a missing one leaves a gap; a folder is a source."""
    for clip in ("one", "two/left", "two/right"):
        folder, _, before = clip.partition("/")
        (root / folder).mkdir(exist_ok=True)
        for number, frame in enumerate(drifting(12, len(clip))):
            if number != 4:
                Image.fromarray(frame).save(root / folder / f"{before}f{number}.png")

    store = opened(root, wanted="clips", frame_rate=4)

    assert store.clips.names == ("one", "two/leftf*.png", "two/rightf*.png")
    np.testing.assert_allclose(store.clips.seconds[:11], [n / 4 for n in range(12) if n != 4])
    assert store.names[:11] == [f"one/f{n}.png" for n in range(12) if n != 4]
    assert store.clips.source.tolist() == [0] * 11 + [1] * 22
    assert opened(root).clips is None


def test_single_images_are_no_clips(root):
    """A method that reads clips refuses a folder of photographs in a sentence, numbered ones too."""
    for name, seed in zip("pqrst", range(5), strict=True):
        Image.fromarray(drifting(1, seed)[0]).save(root / f"{name}.png")
    with pytest.raises(InputError, match="holds single images"):
        opened(root, wanted="clips")
    for seed in range(20):
        Image.fromarray(drifting(1, seed)[0]).save(root / f"photo_{seed}.jpg")
    with pytest.raises(InputError, match="as much as from any other"):
        opened(root, wanted="clips")


def test_folders_of_photographs_are_images_for_those_who_take_either(root):
    """Two numbered photographs among others, or classes that differ in colour, do not make a folder one of clips."""
    for seed in range(24):
        Image.fromarray(drifting(1, seed)[0]).save(root / f"{chr(97 + seed)}.png")
    for number in (1, 2):
        Image.fromarray(drifting(1, 50 + number)[0]).save(root / f"photo{number}.png")
    assert opened(root, wanted="either").clips is None

    draw = np.random.default_rng(0)
    for label in range(4):
        (root.parent / f"classes/c{label}").mkdir(parents=True)
        for number in range(30):
            noise = np.kron(draw.integers(-60, 60, (5, 5, 3)), np.ones((8, 8, 1)))
            picture = np.clip(np.eye(4, 3)[label] * 200 + 40 + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root.parent / f"classes/c{label}/{number:03d}.png")
    assert opened(root.parent / "classes", wanted="either").clips is None


def test_classes_one_after_the_other_are_images(root):
    """Numbered photographs that are sorted by their class are like their neighbours, and like those near them too."""
    draw = np.random.default_rng(0)
    for number in range(120):
        noise = np.kron(draw.integers(-60, 60, (5, 5, 3)), np.ones((8, 8, 1)))
        picture = np.clip(np.eye(4, 3)[number // 30] * 200 + 40 + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(root / f"image_{number:05d}.png")
    assert opened(root, wanted="either").clips is None


def test_a_camera_that_stands_still_makes_clips(root):
    """Frames in which something small moves before the same wall are clips for those who take either."""
    wall = drifting(1, 7)[0]
    (root / "room").mkdir()
    for number in range(20):
        frame = wall.copy()
        frame[10:16, number : number + 6] = 255 - wall[0, 0]
        Image.fromarray(frame).save(root / "room" / f"{number}.png")
    assert opened(root, wanted="either").clips.count == 1


def test_numbers_of_any_length_are_read(root):
    """Times in nanoseconds and numbers beyond 64 bits give order and time."""
    for number, frame in enumerate(drifting(6, 0)):
        Image.fromarray(frame).save(root / f"{20261120195817003456 + 5 * number}.png")

    store = opened(root, wanted="clips")

    np.testing.assert_allclose(store.clips.seconds, np.arange(6) / 10)


@pytest.mark.parametrize("harm", [b"", b"PK\x03\x04 cut", "flipped"])
def test_what_was_seen_is_looked_at_again_where_its_file_is_damaged(root, harm):
    """A file that cannot be read is as good as none; nothing but the whole new one is left."""
    write_film(root / "a.mkv", drifting(6, 0))
    before = opened(root)
    (kept,) = before.folder.glob("seen*")
    content = kept.read_bytes()
    kept.write_bytes(content[:300] + bytes(1000) + content[1300:] if harm == "flipped" else harm)

    again = opened(root)

    np.testing.assert_array_equal(again.clips.thumbs, before.clips.thumbs)
    np.testing.assert_array_equal(again.clips.motion, before.clips.motion)
    assert [file.name for file in again.folder.glob("seen*")] == [kept.name]
    assert kept.read_bytes() == content


def test_what_was_seen_another_way_is_not_believed(root, monkeypatch):
    """A higher format number leaves the file of a lower one alone."""
    write_film(root / "a.mkv", drifting(6, 0))
    before = opened(root)
    monkeypatch.setattr(seen, "FORMAT", seen.FORMAT + 1)
    looked = []
    monkeypatch.setattr(seen, "described", lambda *words: looked.append(1) or before.clips)
    opened(root)
    assert looked


def test_frames_taken_over_are_durable_before_they_are_counted_on(root, monkeypatch):
    """The journal speaks of no piece that is not on disk."""
    write_film(root / "a.mkv", steps(6))
    opened(root)
    write_film(root / "b.mkv", steps(4))
    synced, counted = set(), []
    fsync, save = os.fsync, video_store.Decoding.save
    monkeypatch.setattr(os, "fsync", lambda file: (synced.add(os.fstat(file).st_ino), fsync(file)))

    def saved(self):
        counted.extend(file.stat().st_ino in synced for file in self.partial.glob("*.frames"))
        save(self)

    monkeypatch.setattr(video_store.Decoding, "save", saved)
    monkeypatch.setattr(video_store, "in_workers", _in_this_process([], video_store._Worker.outcome))
    opened(root)
    assert counted
    assert all(counted)


@pytest.mark.parametrize("rate", [0.0, -1.0, 2000.0, float("nan")])
def test_impossible_rates_are_refused(root, rate):
    """A frame rate is above 0."""
    write_film(root / "a.mp4", steps(5))
    with pytest.raises(InputError, match="above 0"):
        opened(root, frame_rate=rate)


def test_a_rate_needs_videos(root):
    """Images have no frame rate."""
    for number in range(3):
        Image.new("RGB", (40, 40)).save(root / f"{number}.png")
    with pytest.raises(InputError, match="no videos"):
        opened(root, frame_rate=5.0)


def test_size_is_that_of_the_videos(root):
    """The image size that is chosen by itself is the short side of the videos, in steps of 32."""
    write_film(root / "a.mp4", steps(3, 72, 100))
    assert natural_size(root) == 64
    assert [entry.path for entry in list_folder(root).videos] == ["a.mp4"]
