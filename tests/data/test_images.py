"""A folder becomes a store once; broken files are named, an interruption costs nothing, the second start is quick."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import centre, encoded, folder_of, picture
from PIL import Image

from selfsup.data import decoding, folder, pool
from selfsup.data.cache import cache_folder
from selfsup.data.faults import Unusable
from selfsup.data.folder import default_store_size
from selfsup.data.images import ImageStore, open_images
from selfsup.errors import InputError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def pixels_of(store: ImageStore) -> np.ndarray:
    return store.rows(np.arange(len(store)))


def test_a_folder_becomes_rows_in_the_order_of_its_names(tmp_path, cache):
    """Every image is resized to 8/7 of the image size and cut to the centre square."""
    source = folder_of(tmp_path / "images", 20)

    store = open_images(source, 28, cache=cache)

    assert store.names == [f"{number:03d}.png" for number in range(20)]
    assert store.pixels.shape == (20, 3, 32, 32)
    assert not store.pixels.flags.writeable
    assert store.sources[3] == source / "003.png"
    assert store.sizes is not None
    assert store.sizes[0].tolist() == [64, 48]
    for number in (0, 7, 19):
        assert np.abs(store.rows([number])[0].astype(int) - centre(picture(number), 32)).mean() < 1
    assert (store.skipped, store.notes) == ([], [])


def test_selections_share_pixels_and_keep_order(tmp_path, cache):
    """A selection of a selection reads the rows it should, with names to match, and copies nothing."""
    store = open_images(folder_of(tmp_path / "images", 20), 28, cache=cache)

    part = store.select([5, 3, 11]).select([2, 0])

    assert part.names == ["011.png", "005.png"]
    assert (part.rows([1, 0]) == store.rows([5, 11])).all()
    assert part.pixels is store.pixels


def test_broken_files_are_skipped_by_name_and_reason(tmp_path, cache):
    """Zero bytes, text, a cut JPEG (with and without an end marker), a bomb and a dead link; the rest is used."""
    source = folder_of(tmp_path / "images", 18)
    jpeg = encoded(picture(50, 300, 200), "JPEG")
    (source / "005 empty.jpg").write_bytes(b"")
    (source / "cut.jpg").write_bytes(jpeg[: int(0.6 * len(jpeg))])
    (source / "cut and closed.jpg").write_bytes(jpeg[: int(0.6 * len(jpeg))] + b"\xff\xd9")
    (source / "text.jpg").write_text("not found")
    (source / "dead.jpg").symlink_to(source / "gone")
    (source / "README").write_text("about")
    (source / "about.txt").write_text("about")

    store = open_images(source, 28, cache=cache)

    assert len(store) == len(pixels_of(store)) == 18
    assert store.pixels.shape[0] == 18
    assert [item.name for item in store.skipped] == [
        "005 empty.jpg",
        "cut and closed.jpg",
        "cut.jpg",
        "dead.jpg",
        "text.jpg",
    ]
    assert {item.name: item.reason for item in store.skipped}["cut.jpg"].startswith("the file is truncated")
    assert store.notes == ["Files that are no images were ignored: 1 .txt, 1 without extension."]
    for number in (4, 5, 17):  # rows moved up over the gaps
        assert np.abs(store.rows([number])[0].astype(int) - centre(picture(number), 32)).mean() < 1


def test_damage_that_only_libjpeg_sees_is_found(tmp_path, cache, capfd):
    """Zeroed bytes in the middle of a JPEG: the warning libjpeg prints is read, and not shown."""
    source = folder_of(tmp_path / "images", 16)
    jpeg = bytearray(encoded(picture(50, 60, 60), "JPEG", quality=95))
    jpeg[len(jpeg) // 2 : len(jpeg) // 2 + 300] = b"\xff\xd0" * 150
    (source / "damaged.jpg").write_bytes(jpeg)

    store = open_images(source, 28, cache=cache)

    assert [item.name for item in store.skipped] == ["damaged.jpg"]
    assert "Corrupt" not in capfd.readouterr().err


def test_what_was_said_of_a_broken_file_is_not_held_against_the_next(tmp_path, cache, monkeypatch):
    """A decoder that complains and then gives up leaves nothing behind for the files after it."""
    source = folder_of(tmp_path / "images", 18)
    work = decoding.decode

    def complain(path, *rest):
        if path.endswith("003.png"):
            os.write(2, b"Premature end of JPEG file\n")
            raise Unusable("broken")
        return work(path, *rest)

    monkeypatch.setattr(pool, "decode", complain)

    assert open_images(source, 28, cache=cache).skipped == [("003.png", "broken")]


def test_sixteen_bit_images_share_one_range(tmp_path, cache):
    """A dark image stays dark beside a bright one; the range is said and kept with the store."""
    source = folder_of(tmp_path / "images", 16)
    for number, top in enumerate((1000, 4000)):
        values = np.linspace(0, top, 48 * 64).reshape(48, 64).astype(np.uint16)
        Image.fromarray(values).save(source / f"deep{number}.png")

    store = open_images(source, 28, cache=cache)
    again = open_images(source, 28, cache=cache)

    dark, bright = (store.rows([store.names.index(f"deep{number}.png")]).max() for number in range(2))
    assert 0.2 * bright < dark < 0.3 * bright
    assert bright > 240
    assert "2 images have 16 bits per channel" in store.notes[0]
    assert again.notes == store.notes


def test_a_new_deep_image_changes_the_range_of_all(tmp_path, cache):
    """Rows that an older range made are not taken over."""
    source = folder_of(tmp_path / "images", 16)
    for number, top in enumerate((1000, 4000, 16000)):
        values = np.linspace(0, top, 48 * 64).reshape(48, 64).astype(np.uint16)
        Image.fromarray(values).save(source / f"deep{number}.png")
        store = open_images(source, 28, cache=cache)

    fresh = open_images(source, 28, cache=tmp_path / "fresh")

    assert (pixels_of(store) == pixels_of(fresh)).all()
    assert store.notes == fresh.notes


def test_holes_in_float_images_do_not_decide_the_range(tmp_path, cache):
    """What is not a number is left out where the range of a folder is measured."""
    source = folder_of(tmp_path / "images", 16)
    values = np.linspace(0, 8, 48 * 64, dtype=np.float32).reshape(48, 64)
    values[:4], values[4] = np.nan, np.inf
    Image.fromarray(values).save(source / "float.tif")

    store = open_images(source, 28, cache=cache)

    pixels = store.rows([store.names.index("float.tif")])[0]
    assert "nan" not in store.notes[0]
    assert "inf" not in store.notes[0]
    assert pixels[:, 5].max() < 60
    assert pixels[:, -1].min() > 240


def test_what_was_converted_is_said(tmp_path, cache):
    """Transparency, CMYK, frames and enlarged images are counted."""
    source = folder_of(tmp_path / "images", 16)
    see_through = picture(1).convert("RGBA")
    see_through.putalpha(100)
    see_through.save(source / "alpha.png")
    picture(2).convert("CMYK").save(source / "cmyk.jpg")
    picture(3).save(source / "two.gif", save_all=True, append_images=[picture(4)])
    picture(5, 20, 20).save(source / "small.png")

    notes = open_images(source, 28, cache=cache).notes

    assert notes == [
        "1 image with transparency: put on white.",
        "1 image in CMYK: converted to RGB.",
        "1 image with several frames or pages: the first is used.",
        "1 image smaller than 32 pixels on the short side: enlarged.",
    ]


@pytest.mark.parametrize(
    ("image_size", "sides", "expected"),
    [
        (32, [32] * 5, 32),
        (32, [500], 37),
        (64, [70] * 3, 70),
        (64, [40], 64),
        (224, [480, 600, 200], 256),
        (96, [], 110),
    ],
)
def test_store_size(image_size, sides, expected):
    """8/7 of the image size, not above the typical short side, never below the image size."""
    assert default_store_size(image_size, sides) == expected


def test_a_second_start_opens_no_image(tmp_path, cache, monkeypatch):
    """The same listing finds its store again; only headers of a sample are looked at."""
    source = folder_of(tmp_path / "images", 20)
    first = open_images(source, 28, cache=cache)
    monkeypatch.setattr(pool, "decode_rows", None)

    second = open_images(source, 28, cache=cache)

    assert (pixels_of(first) == pixels_of(second)).all()
    assert (first.names, first.hashes, first.sources) == (second.names, second.hashes, second.sources)


def test_a_changed_folder_decodes_what_is_new(tmp_path, cache, monkeypatch):
    """New, changed and removed files are seen; the others' rows are taken over; the old store makes room."""
    source = folder_of(tmp_path / "images", 20)
    (source / "000 broken.jpg").write_bytes(b"")
    open_images(source, 28, cache=cache)
    folder_of(source, 2, start=100)
    (source / "003.png").unlink()
    picture(77).save(source / "007.png")
    asked: list[int] = []
    work = pool.decode_rows
    monkeypatch.setattr(pool, "decode_rows", lambda job, rows, *rest: (asked.extend(rows), work(job, rows, *rest)))

    store = open_images(source, 28, cache=cache)

    assert len(asked) == 3
    assert len(store) == 21
    assert len(store.skipped) == 1
    assert len(list(cache.glob("images/*/*/files.json"))) == 1
    shutil.rmtree(cache)
    assert (pixels_of(open_images(source, 28, cache=cache)) == pixels_of(store)).all()


def test_a_file_that_was_written_anew_is_decoded_anew(tmp_path, cache):
    """The same names are not enough."""
    source = folder_of(tmp_path / "images", 16)
    open_images(source, 28, cache=cache)
    picture(77).save(source / "007.png")

    assert np.abs(open_images(source, 28, cache=cache).rows([7])[0].astype(int) - centre(picture(77), 32)).mean() < 1


@pytest.mark.parametrize("kept", ["size", "time"])
def test_either_another_size_or_another_time_is_another_file(tmp_path, cache, kept):
    """A file written anew at the same length, or with its old time put back, is still decoded anew."""
    source = folder_of(tmp_path / "images", 16)
    file = source / "007.bmp"
    picture(7).save(file)
    open_images(source, 28, cache=cache)
    before = file.stat()
    picture(77, *((64, 48) if kept == "size" else (60, 48))).save(file)
    after = before.st_mtime_ns + (1 if kept == "size" else 0)
    os.utime(file, ns=(after, after))
    assert (file.stat().st_size == before.st_size) == (kept == "size")

    store = open_images(source, 28, cache=cache)

    row = store.rows([store.names.index("007.bmp")])[0].astype(int)
    assert np.abs(row - np.asarray(open_images(source, 28, cache=tmp_path / "fresh").rows([7])[0])).max() == 0


def test_the_hash_follows_content_not_name_or_size(tmp_path, cache):
    """A copy has the hash of its origin, at every store size."""
    source = folder_of(tmp_path / "images", 16)
    shutil.copy(source / "000.png", source / "copy.png")

    one, other = (open_images(source, size, cache=cache) for size in (16, 28))

    assert one.hashes == other.hashes
    assert len(set(one.hashes)) == 16
    assert one.hashes[one.names.index("copy.png")] == one.hashes[0]


def test_threads_do_the_same_as_processes(tmp_path, cache, monkeypatch):
    """Where there is no fork."""
    source = folder_of(tmp_path / "images", 20)
    (source / "broken.jpg").write_bytes(b"")
    one = open_images(source, 28, cache=cache)
    work = pool.decode_rows
    monkeypatch.setattr(pool, "decode_rows", lambda *given: work(*given, forked=False))

    other = open_images(source, 28, cache=tmp_path / "other")

    assert (pixels_of(one) == pixels_of(other)).all()
    assert (one.hashes, one.skipped) == (other.hashes, other.skipped)


def test_a_decoder_that_crashes_costs_one_file(tmp_path, cache, monkeypatch):
    """The process dies, the file is named, the others are decoded."""
    source = folder_of(tmp_path / "images", 20)
    work = decoding.decode

    def crash(path, *rest):
        if path.endswith("011.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return work(path, *rest)

    monkeypatch.setattr(pool, "decode", crash)

    store = open_images(source, 28, cache=cache)

    assert len(store) == 19
    assert store.skipped == [("011.png", "the decoder crashed or ran out of memory on it")]
    assert np.abs(store.rows([11])[0].astype(int) - centre(picture(12), 32)).mean() < 1


SLOW = """
import sys, time
from functools import partial
from pathlib import Path
from selfsup.data import folder, pool
from selfsup.data.images import open_images
work, folder._JOURNAL_EVERY = pool.decode, 0.0
pool.pieces_of = partial(pool.pieces_of, most_files=4)
def slow(*given):
    time.sleep(0.1)
    return work(*given)
pool.decode = slow
open_images(sys.argv[1], 28, cache=Path(sys.argv[2]), workers=2, progress=lambda *what: print(*what, flush=True))
"""


def test_a_killed_start_goes_on_where_it_was(tmp_path, cache, monkeypatch):
    """After SIGKILL no worker is left, and the next start decodes the rest only, to the same bytes."""
    source = folder_of(tmp_path / "images", 60)
    (source / "broken.jpg").write_bytes(b"")
    Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)).save(source / "000 deep.png")
    expected = open_images(source, 28, cache=tmp_path / "undisturbed")
    program = [sys.executable, "-c", SLOW, str(source), str(cache)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line.split()[-2]) >= 20:
                break
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        process.kill()
    assert children
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not list(cache.glob("images/*/*/files.json"))
    asked: list[int] = []
    work = pool.decode_rows
    monkeypatch.setattr(pool, "decode_rows", lambda job, rows, *rest: (asked.extend(rows), work(job, rows, *rest)))

    store = open_images(source, 28, cache=cache)

    assert 0 < len(asked) <= 45
    assert (pixels_of(store) == pixels_of(expected)).all()
    assert (store.names, store.skipped, store.notes) == (expected.names, expected.skipped, expected.notes)


class Failing:
    """A file that fails at the fifth write."""

    def __init__(self, file) -> None:
        self.file, self.left = file, 5

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    def write(self, data) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        self.file.write(data)


@pytest.mark.parametrize("moment", ["while rows move up over gaps", "before the table", "before the last rename"])
def test_a_stop_at_the_end_starts_again_cleanly(tmp_path, cache, monkeypatch, moment):
    """The worst moments."""
    source = folder_of(tmp_path / "images", 20)
    (source / "000 broken.png").write_bytes(b"")

    def stop(*given, **more):
        raise KeyboardInterrupt

    def opened(path, mode="r", **more):
        file = open(path, mode, **more)  # noqa: SIM115 (handed on)
        return Failing(file) if mode == "r+b" else file

    with monkeypatch.context() as patch:
        if "move up" in moment:
            patch.setattr(folder, "open", opened, raising=False)
        else:
            patch.setattr(folder, "write_json" if "table" in moment else "move_into_place", stop)
        with pytest.raises(KeyboardInterrupt):
            open_images(source, 28, cache=cache)

    store = open_images(source, 28, cache=cache)

    for number in range(20):
        assert np.abs(store.rows([number])[0].astype(int) - centre(picture(number), 32)).mean() < 1


def test_two_starts_at_once_decode_once(tmp_path, cache):
    """The second waits for the first and opens its store."""
    source = folder_of(tmp_path / "images", 40)
    program = [sys.executable, "-c", SLOW, str(source), str(cache)]
    both = [subprocess.Popen(program, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sorted("waiting" in text for text in said) == [False, True]
    assert sorted("decoding images" in text for text in said) == [False, True]


def test_progress_reaches_its_end(tmp_path, cache):
    """The last call says that all are done."""
    calls: list[tuple[str, int, int]] = []

    open_images(folder_of(tmp_path / "images", 20), 28, cache=cache, progress=lambda *call: calls.append(call))

    assert calls[-1] == ("decoding images", 20, 20)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "holds no images"), (5, "only 5 usable images; at least 16 are needed")]
)
def test_too_few_images_are_one_sentence(tmp_path, cache, count, words):
    """An empty folder, and one of five."""
    with pytest.raises(InputError, match=words) as caught:
        open_images(folder_of(tmp_path / "images", count), 28, cache=cache)
    assert "\n" not in str(caught.value)


def test_a_folder_of_broken_files_names_one(tmp_path, cache):
    """The sentence says why nothing is usable."""
    source = tmp_path / "images"
    source.mkdir()
    for number in range(20):
        (source / f"{number}.jpg").write_bytes(b"")

    with pytest.raises(InputError, match=r"no usable image .*20 skipped, the first, 0.jpg: the file is empty"):
        open_images(source, 28, cache=cache)


@pytest.mark.parametrize(("source", "words"), [("gone", "no folder"), (3, "got int"), ("scenes:x", "scenes:COUNT")])
def test_other_sources_are_one_sentence(tmp_path, cache, source, words):
    """A missing folder, a number, scenes of no number."""
    with pytest.raises(InputError, match=words):
        open_images(source, 28, cache=cache)


def test_sizes_are_checked(tmp_path, cache):
    """A store must not be smaller than what is cut from it."""
    source = folder_of(tmp_path / "images", 16)
    with pytest.raises(InputError, match="at least the image size, 28, got 20"):
        open_images(source, 28, store_size=20, cache=cache)
    with pytest.raises(InputError, match="at least 8 pixels"):
        open_images(source, 4, cache=cache)


def test_where_the_cache_is(tmp_path, monkeypatch):
    """What is given, then SELFSUP_CACHE, then XDG_CACHE_HOME, then ~/.cache."""
    for name in ("SELFSUP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "selfsup"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "selfsup"
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        cache_folder(tmp_path / "file" / "cache")


def test_a_full_disk_is_said_before_decoding(tmp_path, cache, monkeypatch):
    """With the numbers of what is needed and what there is."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(InputError, match="GiB"):
        open_images(folder_of(tmp_path / "images", 16), 28, cache=cache)


def test_unusual_names_survive(tmp_path, cache):
    """Unicode, spaces, quotes, newlines and bytes that are no UTF-8."""
    source = folder_of(tmp_path / "images", 16)
    data = encoded(picture(3), "PNG")
    for name in ("žluťoučký kůň.png", "a b'\"<x>.png", "line\nbreak.png"):
        (source / name).write_bytes(data)
    with open(os.fsencode(source) + b"/caf\xe9.png", "wb") as file:
        file.write(data)

    for _ in range(2):
        store = open_images(source, 28, cache=cache)
        assert len(store) == 20
        assert "caf\\xe9.png" in store.names
        assert all(path is not None and path.exists() for path in store.sources)
        json.dumps(store.names).encode()


def test_opening_imports_no_torch(tmp_path, cache):
    """A second start must not pay two seconds for it."""
    source = folder_of(tmp_path / "images", 16)
    open_images(source, 28, cache=cache)
    code = (
        "import sys; from pathlib import Path; from selfsup.data.images import open_images;"
        f"open_images({str(source)!r}, 28, cache=Path({str(cache)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
