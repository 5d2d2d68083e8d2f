"""Crops with changed colours: each change happens to its share of crops, and nothing else does."""

import pytest
import torch

from selfsup.views import color, crops
from selfsup.views.coloured import coloured_crops

OFF: dict[str, float] = {"strength": 0.0, "grayscale": 0.0}


def drawn(count: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give noise, two boxes for each picture, and which are mirrored."""
    torch.manual_seed(0)
    images = torch.rand(count, 3, 40, 40)
    like = images.new_empty(2 * count, 0)
    return images, crops.random_boxes(like, 40, 40, scale=(0.3, 1.0)), crops.random_flips(like)


def test_without_changes_they_are_plain_crops() -> None:
    """Rows 2i and 2i + 1 show image i."""
    images, boxes, flips = drawn()
    expected = crops.crop_resize(images.repeat_interleave(2, 0), boxes, flips, 24)
    torch.testing.assert_close(coloured_crops(images, boxes, flips, 24, **OFF), expected)


def test_all_are_blurred_where_all_are_to_be() -> None:
    """As one by one with the same widths; a half of them otherwise."""
    images, boxes, flips = drawn()
    plain = coloured_crops(images, boxes, flips, 24, **OFF)
    torch.manual_seed(5)
    blurred = coloured_crops(images, boxes, flips, 24, blur=1.0, **OFF)
    rough = [(x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) for x in (plain, blurred)]
    assert (rough[1] <= rough[0] + 1e-6).all()
    assert rough[1].mean() < 0.6 * rough[0].mean()
    torch.manual_seed(5)
    some = coloured_crops(images, boxes, flips, 24, blur=0.5, **OFF)
    changed = (some - plain).abs().amax((1, 2, 3)) > 1e-3
    assert changed.float().mean().item() == pytest.approx(0.5, abs=0.2)


def test_gray_comes_after_the_jitter() -> None:
    """With all gray, channels are equal and still as bright as the jitter made them."""
    images, boxes, flips = drawn()
    torch.manual_seed(3)
    coloured = coloured_crops(images, boxes, flips, 24, strength=1.0, grayscale=0.0)
    torch.manual_seed(3)
    grays = coloured_crops(images, boxes, flips, 24, strength=1.0, grayscale=1.0)
    torch.testing.assert_close(grays, color.gray(coloured).expand_as(grays))
