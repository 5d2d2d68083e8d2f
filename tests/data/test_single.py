"""Crops of a single image: of seed and number alone, right to the pixel, cut once, in any number of parts."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pictures import folder_of, picture
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine, center_crop

from selfsup import SingleImage, cli, draws
from selfsup.data import filling, pyramids
from selfsup.data.crop_sheet import corners, crop_sheet
from selfsup.data.cropping import Pyramid, cut, draw, oversize
from selfsup.data.decoding import whole
from selfsup.data.images import open_images
from selfsup.data.inputs import size_for
from selfsup.data.sizes import natural_size
from selfsup.errors import InputError
from selfsup.run import Run
from selfsup.training.prepare import prepare

STILL = {"rotation_degrees": 0.0, "shear_degrees": 0.0, "jitter_probability": 0.0}
"""Nothing but the box is random."""
NUMBERS = np.arange(300)


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "photo.png"
    picture(1, 400, 300).save(file)
    return file


def test_crops_depend_on_seed_and_number_alone(photo, tmp_path):
    """Whatever the workers, the pieces, their order and how many there are; other seeds and numbers give others."""
    stores = [
        open_images(SingleImage(photo, count, 24, seed=3), 24, cache=tmp_path / name, workers=workers)
        for count, workers, name in ((600, 1, "one"), (600, 3, "three"), (40, 2, "few"))
    ]
    one, three, few = (store.rows(range(len(store))) for store in stores)

    assert one.shape == (600, 3, 24, 24)
    assert one.dtype == np.uint8
    assert (one == three).all()
    assert (one[:40] == few).all()
    again = SingleImage(photo, 600, 24, seed=3, cache=tmp_path / "one").crops([599, 5])
    assert (again == one[[599, 5]]).all()
    other = SingleImage(photo, 600, 24, seed=4, cache=tmp_path / "one").crops(range(40))
    assert (other != few).any(axis=(1, 2, 3)).all()
    assert len(set(stores[0].hashes)) == 600


def test_boxes_keep_their_bounds():
    """Area and aspect stay within their ranges, and boxes within windows of half the short side."""
    single = SingleImage("unread", 1, 32, area=(0.05, 1.0), least=1)
    boxes = draw(single, np.arange(5000), 300, 1000).boxes
    area, ratio = boxes[:, 2] * boxes[:, 3] / 150**2, boxes[:, 3] / boxes[:, 2]

    assert 0.05 <= area.min() < 0.06
    assert 0.9 < area.max() <= 1 + 1e-9
    assert 0.75 - 1e-9 <= ratio.min() < 0.76
    assert 1.3 < ratio.max() <= 4 / 3 + 1e-9
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2]).max() <= 300 + 1e-9
    assert 950 < (boxes[:, 1] + boxes[:, 3]).max() <= 1000 + 1e-9


def test_no_box_is_smaller_than_sixteen_pixels_square():
    boxes = draw(SingleImage("unread", 1, 32), np.arange(5000), 225, 600).boxes

    assert 16**2 - 1e-6 <= (boxes[:, 2] * boxes[:, 3]).min() < 300


def test_the_sampler_ends_where_no_box_fits():
    """Boxes as large as the window and three times as wide: the largest of that ratio in its middle, at once."""
    (box,) = draw(SingleImage("unread", 1, 32, area=(1, 1), ratio=(3, 3), window=1), np.arange(1), 90, 90).boxes

    assert box.tolist() == pytest.approx([30, 0, 30, 90])


@pytest.mark.parametrize("size", [24, 31, 32, 37, 64])
def test_turns_leave_no_corner_without_picture(size):
    """A turn of up to 45 degrees sees only its box; a shear may see more, which is black only if asked for."""
    white = Pyramid(np.full((200, 300, 3), 255, np.uint8))
    turned = SingleImage("unread", 1, size, rotation_degrees=45, shear_degrees=0, jitter_probability=0, outside="black")
    sheared = {"rotation_degrees": 30.0, "shear_degrees": 30.0, "jitter_probability": 0.0}

    assert cut(turned, white, NUMBERS).min() == 255
    assert cut(SingleImage("unread", 1, size, outside="black", **sheared), white, NUMBERS).min() == 0
    assert cut(SingleImage("unread", 1, size, **sheared), white, NUMBERS).min() == 255


@pytest.mark.parametrize("size", [31, 32])
def test_without_ranges_a_crop_is_a_resized_window(size):
    """The middle of Pillow's bicubic resize of the box, though it was read from a pyramid; each pixel is one of its."""
    image = picture(2, 1200, 900)
    single = SingleImage("unread", 1, size, area=(1, 1), ratio=(1, 1), **STILL)
    pyramid, side = Pyramid(np.asarray(image)), oversize(size)
    boxes = draw(single, NUMBERS[:20], 900, 1200).boxes

    for box, crop in zip(boxes, cut(single, pyramid, NUMBERS[:20]), strict=True):
        top, left, height, width = box
        assert height == width == 450
        resized = image.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        middle = np.asarray(center_crop(resized, size)).transpose(2, 0, 1)
        assert abs(crop.astype(int) - middle).max() <= 6
        assert (crop == center_crop(pyramid.cut(box.tolist(), side)[0], [size, size]).numpy()).all()


def test_turn_and_shear_are_those_of_torchvision():
    """The released generator's: RandomAffine on the resized box, then its middle."""
    single = SingleImage("unread", 1, 32, jitter_probability=0, outside="black")
    pyramid, side = Pyramid(np.asarray(picture(3, 400, 300))), oversize(32)
    drawn = draw(single, NUMBERS[:30], 300, 400)
    uniform = draws.hashed(0, NUMBERS[:30], 6)[:, 4:]

    crops = cut(single, pyramid, NUMBERS[:30])
    for box, (turn, shear), crop in zip(drawn.boxes, uniform * 60 - 30, crops, strict=True):
        resized = pyramid.cut(box.tolist(), side)[0]
        expected = affine(resized, turn, [0, 0], 1.0, [shear, 0.0], InterpolationMode.BILINEAR)
        assert abs(crop.astype(int) - center_crop(expected, [32, 32]).numpy()).max() <= 1


def test_outlines_lie_where_the_crops_come_from():
    """In a picture whose colours are its coordinates, a crop's corner pixels tell where they were."""
    y, x = np.mgrid[0:256, 0:256]
    single = SingleImage("unread", 1, 64, area=(0.3, 0.9), jitter_probability=0, shear_degrees=10)
    crops = cut(single, Pyramid(np.stack([x, y, x], axis=2).astype(np.uint8)), NUMBERS).astype(float)
    outlines = corners(draw(single, NUMBERS, 256, 256))  # [n, 4, 2], in front of the first pixel's middle
    seen = crops[:, :2][:, :, [0, 0, -1, -1], [0, -1, -1, 0]].transpose(0, 2, 1)

    assert abs(seen - outlines).max() < 5
    assert abs(seen - outlines).mean() < 1.5


def test_colours_change_for_half_of_the_crops():
    gray = Pyramid(np.full((200, 200, 3), (60, 120, 180), np.uint8))
    changed = (cut(SingleImage("unread", 1, 16), gray, np.arange(2000)) != [[[60]], [[120]], [[180]]]).any((1, 2, 3))

    assert changed.mean() == pytest.approx(0.5, abs=0.05)


def test_noise_is_added_only_when_asked_for():
    gray = Pyramid(np.full((200, 200, 3), 128, np.uint8))
    plain, noisy = (cut(SingleImage("unread", 1, 32, noise=n, **STILL), gray, NUMBERS) for n in (0.0, 0.1))

    assert (plain == 128).all()
    assert noisy.std() / 255 == pytest.approx(0.1, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.5)
    assert (noisy[0] != noisy[1]).any()


def test_numbers_are_spread_evenly_over_several_images(tmp_path):
    """A broken file and one that is too small are left out and named."""
    folder = folder_of(tmp_path / "few", 3, width=80, height=80)
    (folder / "000.png").write_bytes((folder / "000.png").read_bytes()[:300])
    picture(9, 80, 40).save(folder / "small.png")
    Image.new("RGB", (80, 80), "red").save(folder / "zred.png")
    single = SingleImage(folder, 30, 16, cache=tmp_path / "cache", **STILL)
    store = open_images(single, 16, cache=tmp_path / "cache")
    red = (store.rows(range(30)) == [[[255]], [[0]], [[0]]]).all(axis=(1, 2, 3))

    assert red.tolist() == [k % 3 == 2 for k in range(30)]
    assert {skipped.name for skipped in store.skipped} == {"000.png", "small.png"}
    assert "40 pixels" in next(skipped.reason for skipped in store.skipped if skipped.name == "small.png")
    assert crop_sheet(store.made_by).shape[0] == 3 * crop_sheet(SingleImage(folder / "zred.png", 5, 16)).shape[0]


def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path):
    """Rows on disk are kept; a journal whose last line was cut off costs that piece."""
    pieces = [np.arange(100)[start::10] for start in range(10)]
    made: list[int] = []

    def fill(stop_at: int | None) -> np.ndarray:
        def make(number: int) -> np.ndarray:
            if number == stop_at:
                raise RuntimeError("stopped")
            made.append(number)
            return np.repeat(pieces[number][:, None], 4, axis=1).astype(np.uint8)

        return filling.filled(tmp_path, (100, 4), pieces, make, 1, lambda *_: None, "filling")

    with pytest.raises(RuntimeError, match="stopped"):
        fill(stop_at=5)
    kept = {int(line) for line in (tmp_path / "done.txt").read_text().split()}
    assert {0, 1, 2} <= kept <= {0, 1, 2, 3, 4, 6, 7}
    with open(tmp_path / "done.txt", "a") as file:
        file.write("9")  # the line of piece 9, cut off
    made.clear()
    found = fill(stop_at=None)

    assert set(made) == set(range(10)) - kept
    assert (found == np.arange(100)[:, None]).all()
    assert (fill(stop_at=0) == found).all(), "what is there is not made again"


def test_threads_share_a_picture(monkeypatch):
    """It is read by one of them while the others wait, and again only when others have taken its place."""
    read: list[str] = []

    def slow(file: Path) -> object:
        read.append(file.name)
        time.sleep(0.05)
        return object()

    monkeypatch.setattr(pyramids, "_pyramid", slow)
    kept = pyramids.Pyramids(2)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(kept.of, [Path("a")] * 4))) == 1
    for file in ("b", "a", "c", "b", "a"):
        kept.of(Path(file))

    assert read == ["a", "b", "c", "a"]


def test_hashed_draws_are_mixed_numbers():
    """Row by row and column by column what `mix` gives, to 53 bits."""
    found = draws.hashed(7, np.array([0, 5, 2**40]), 3)

    for row, number in zip(found, (0, 5, 2**40), strict=True):
        assert row.tolist() == [(draws.mix(7, number, column) >> 10) * 2.0**-53 for column in range(3)]
    many = draws.hashed(0, np.arange(20_000), 2)
    assert many.mean(axis=0).tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    assert abs(np.corrcoef(many[:-1, 0], many[1:, 0])[0, 1]) < 0.03


def test_pictures_are_read_whole_and_upright(tmp_path):
    """Turned by EXIF, or with 16 bits per channel."""
    image, exif = picture(4, 90, 70), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.linspace(0, 60000, 6400).reshape(80, 80).astype(np.uint16)).save(tmp_path / "deep.png")
    deep = whole(str(tmp_path / "deep.png"))

    assert (whole(str(tmp_path / "turned.png")) == np.rot90(np.asarray(image), -1)).all()
    assert deep.shape == (80, 80, 3)
    assert (deep[0, 0].max(), deep[-1, -1].min()) == (0, 255)


def test_pretrain_trains_on_crops_and_shows_them(photo, tmp_path, monkeypatch):
    """From the command line, with all that a run has; the same command finds it finished, another count is refused."""
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    command = ["pretrain", "rotation", str(photo), "--out", str(tmp_path / "run"), "--steps", "2"]
    command += ["--batch-size", "16", "--image-size", "32", "--single-noise", "0.02", "--quiet"]

    assert cli.run([*command, "--single-image", "200"]) == 0
    run = Run.open(tmp_path / "run")
    assert (run.config["single_image"], run.config["single_noise"], run.config["store_size"]) == (200, 0.02, 37)
    assert "crops.png" in [figure.name for figure in run.figures()]
    assert any("crops of one image" in finding["text"] for finding in run.summary["health"])
    assert cli.run([*command, "--single-image", "200"]) == 0
    assert cli.run([*command, "--single-image", "201"]) == 2


def test_a_single_image_lasts_as_long_as_a_folder(photo, tmp_path):
    """Of as many crops as there are images, as many are trained on, in as many steps."""
    folder = folder_of(tmp_path / "many", 200)
    common = {"image_size": 32, "cache": tmp_path / "cache", "epochs": 3, "batch_size": 16}
    many = prepare("rotation", folder, **common)
    one = prepare("rotation", photo, single_image=200, **common)

    for name in ("steps", "training_images", "held_out_images"):
        assert one.resolved[name] == many.resolved[name], name


def test_the_natural_size_is_that_of_the_windows(photo, tmp_path):
    """Of a photo of 300 pixels windows of 150 are cut, and 96 is the most that is chosen unasked."""
    picture(5, 200, 160).save(tmp_path / "small.png")

    assert size_for("small", photo, 40) == 96
    assert size_for("small", tmp_path / "small.png", 40) == 64
    assert natural_size(SingleImage(photo, 10, 64)) == 64


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"data": "photo.png"}, "is one image"),
        ({"data": "photo.png", "single_noise": 0.1}, "add --single-image"),
        ({"data": "nothing.png", "single_image": 90}, "no folder"),
        ({"data": "photo.png", "single_image": 0}, "at least 16, got 0"),
        ({"data": "photo.png", "single_image": 50, "single_noise": 3.0}, "noise of at least 0 and at most 1"),
        ({"data": "photo.png", "single_image": 50, "store_size": 20}, "at least the image size"),
        ({"data": "folder", "single_image": 16}, "ask for one of each"),
        ({"data": "small", "single_image": 50}, "has 64 x 48 pixels"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(photo, tmp_path, given, sentence):
    folder_of(tmp_path / "folder", 17, width=80, height=80)
    folder_of(tmp_path / "small", 1)
    settings = {"image_size": 32, "cache": tmp_path / "cache", **given, "data": tmp_path / given["data"]}

    with pytest.raises(InputError, match=sentence):
        prepare("rotation", **settings)
