"""Crops, flips and resizing agree with torchvision and decide once per image."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from selfsup import processes
from selfsup.views import crops


def images(count: int = 6, side: int = 36) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def never(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.bool)


def test_the_whole_box_at_the_same_size_gives_the_image_back() -> None:
    x = images()
    boxes = torch.tensor([[0.0, 0, 36, 36]]).expand(6, 4)
    torch.testing.assert_close(crops.crop_resize(x, boxes, never(6), 36), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_crop_and_resize_agree_with_torchvision(size: int) -> None:
    """Each image has its own box and flip; shrinking, growing and both at once, to 1e-5."""
    x = images()
    boxes = torch.tensor(
        [[0, 0, 36, 36], [3, 5, 20, 9], [30, 30, 6, 6], [0, 7, 36, 24], [10, 0, 13, 36], [1, 2, 33, 31]]
    )
    flips = torch.tensor([False, True, True, False, True, False])
    ours = crops.crop_resize(x, boxes.float(), flips, size)
    for image, box, flip, made in zip(x, boxes.tolist(), flips, ours, strict=True):
        expected = reference.resized_crop(image, *box, [size, size], antialias=True)
        expected = expected.flip(2) if flip else expected
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_a_box_between_pixels_shifts_the_image() -> None:
    """Half a pixel to the right of [0, 1, 0, 0] is [0.5, 0.5, 0]: neighbours share."""
    row = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(1, 3, 4, 4)
    shifted = crops.crop_resize(row, torch.tensor([[0.0, 0.5, 3.0, 3.0]]), never(1), 3)
    torch.testing.assert_close(shifted[0, 0, 1], torch.tensor([0.5, 0.5, 0.0]))


def test_resizing_agrees_with_torchvision_for_any_shape() -> None:
    x = torch.rand(2, 3, 50, 41)
    expected = reference.resize(x, [24, 24], antialias=True)
    torch.testing.assert_close(crops.resize(x, 24), expected, atol=1e-5, rtol=0)


def test_a_constant_image_stays_constant() -> None:
    x = torch.full((64, 3, 40, 40), 0.3)
    torch.testing.assert_close(crops.random_resized_crop(x, 32), torch.full((64, 3, 32, 32), 0.3))


def test_boxes_follow_the_law_of_torchvision() -> None:
    """Areas are uniform where all of them fit, ratios uniform in their logarithm, places uniform; no box sticks out."""
    boxes = crops.random_boxes(torch.empty(20_000, 0), 32, 48, scale=(0.1, 0.4), ratio=(3 / 4, 4 / 3))
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (top + height <= 32 + 1e-4).all()
    assert (left + width <= 48 + 1e-4).all()
    shares = height * width / (32 * 48)
    assert shares.min() == pytest.approx(0.1, abs=1e-3)
    assert shares.max() == pytest.approx(0.4, abs=1e-3)
    assert shares.mean() == pytest.approx(0.25, abs=0.003)
    stretch = (width / height).log() / torch.tensor(4 / 3).log()
    assert stretch.min() == pytest.approx(-1, abs=1e-3)
    assert stretch.std() == pytest.approx(3**-0.5, abs=0.01)
    assert stretch.mean() == pytest.approx(0, abs=0.02)
    assert (top / (32 - height)).mean() == pytest.approx(0.5, abs=0.01)
    assert (left / (48 - width)).std() == pytest.approx(12**-0.5, abs=0.01)


def test_boxes_that_stick_out_are_drawn_again() -> None:
    """Of the default boxes a quarter sticks out at first; ten tries leave next to none to be replaced by the whole."""
    _, _, height, width = crops.random_boxes(torch.empty(20_000, 0), 32, 32).T
    assert ((height == 32) & (width == 32)).float().mean() < 0.001
    assert (height * width / 32**2).max() > 0.95


def test_where_no_box_fits_the_largest_centred_one_is_taken() -> None:
    boxes = crops.random_boxes(torch.empty(3, 0), 32, 64, scale=(2.0, 3.0), ratio=(1.0, 1.0))
    torch.testing.assert_close(boxes, torch.tensor([[0.0, 16.0, 32.0, 32.0]]).expand(3, 4))


def test_half_of_the_images_are_flipped_each_on_its_own() -> None:
    x = images(1).expand(4000, 3, 36, 36)[..., :8, :8]
    flipped = crops.random_crop(x, 8, pad=0) != x
    share = flipped.flatten(1).any(dim=1).float().mean()
    assert share == pytest.approx(0.5, abs=0.04)


def test_random_crop_cuts_pixel_for_pixel_from_the_image_with_a_black_border() -> None:
    """Images of the size asked for get a border of an eighth, and every offset occurs."""
    x = images(1, 16)[:, :1].expand(3000, 1, 16, 16)
    views = crops.random_crop(x, 16, flip=False)
    padded = torch.nn.functional.pad(x[0, 0], [2] * 4)
    windows = padded.unfold(0, 16, 1).unfold(1, 16, 1).reshape(25, 256)  # all 5 x 5 offsets
    matches = (views.view(3000, 1, 256) == windows).all(dim=2)
    assert (matches.sum(dim=1) == 1).all()
    assert matches.float().mean(dim=0) == pytest.approx([1 / 25] * 25, abs=0.02)


def test_random_crop_from_a_larger_store_needs_no_border() -> None:
    assert (crops.random_crop(torch.ones(500, 3, 18, 18), 16) == 1).all()


def test_a_flip_mirrors_the_crop() -> None:
    x = images(2)
    top, left = torch.tensor([1, 4]), torch.tensor([2, 0])
    views = crops.cut(x, top, left, torch.tensor([False, True]), 32)
    assert torch.equal(views[0], x[0, :, 1:33, 2:34])
    assert torch.equal(views[1], x[1, :, 4:36, 0:32].flip(2))


def test_the_centre_view_is_the_middle() -> None:
    x = images()
    assert torch.equal(crops.center(x, 32), x[..., 2:34, 2:34])
    assert crops.center(x, 36).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("make", [lambda x: crops.random_resized_crop(x, 32), lambda x: crops.random_crop(x, 32)])
def test_two_processes_see_what_one_sees(make, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(8)
    torch.manual_seed(5)
    alone = make(x)
    monkeypatch.setattr(processes, "count", lambda: 2)
    halves = []
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        halves.append(make(x[4 * rank : 4 * rank + 4]))
    torch.testing.assert_close(torch.cat(halves), alone, atol=1e-6, rtol=0)


def test_crops_keep_full_precision_inside_autocast() -> None:
    x = images()
    torch.manual_seed(5)
    outside = crops.random_resized_crop(x, 32)
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = crops.random_resized_crop(x, 32)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_half_precision_images_are_widened_and_double_ones_kept() -> None:
    assert crops.random_resized_crop(images().bfloat16(), 32).dtype == torch.float32
    assert crops.random_resized_crop(images().double(), 32).dtype == torch.float64
