"""Turns and warps agree with torchvision."""

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from selfsup.views import warps


def images(count: int = 4, height: int = 24, width: int = 24) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_no_turn_gives_the_image_back() -> None:
    torch.testing.assert_close(warps.turn(images(), torch.zeros(4)), images(), atol=1e-5, rtol=0)


def test_quarter_turns_are_those_of_rot90() -> None:
    x = images()
    turned = warps.turn(x, torch.tensor([0.0, 90.0, 180.0, 270.0]))
    for quarter in range(4):
        torch.testing.assert_close(turned[quarter], x[quarter].rot90(quarter, (1, 2)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(24, 24), (20, 31)])
def test_turns_agree_with_torchvision_image_by_image(shape: tuple[int, int]) -> None:
    x, angles = images(4, *shape), torch.tensor([13.0, -40.0, 95.0, 200.0])
    for image, angle, made in zip(x, angles, warps.turn(x, angles), strict=True):
        expected = reference.rotate(image, angle.item(), InterpolationMode.BILINEAR)
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


def test_a_warp_shifts_and_flips_by_its_matrix() -> None:
    """Reading two pixels further right (x + 2/12) shifts the picture left; -x mirrors it."""
    x = images(2)
    matrices = torch.tensor([[[1.0, 0.0, 4 / 24], [0.0, 1.0, 0.0]], [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    made = warps.affine(x, matrices)
    torch.testing.assert_close(made[0, :, :, :-2], x[0, :, :, 2:], atol=1e-5, rtol=0)
    assert made[0, :, :, -2:].abs().max() < 1e-5
    torch.testing.assert_close(made[1], x[1].flip(2), atol=1e-5, rtol=0)


def test_warps_agree_with_torchvision() -> None:
    """A similarity of torchvision's, put into coordinates from -1 to 1."""
    x = images(1)
    expected = reference.affine(x, 0.0, [3, -2], 1.5, [0.0, 0.0], InterpolationMode.BILINEAR)
    matrix = torch.tensor([[[1 / 1.5, 0.0, -3 / 12 / 1.5], [0.0, 1 / 1.5, 2 / 12 / 1.5]]])
    torch.testing.assert_close(warps.affine(x, matrix), expected, atol=1e-4, rtol=0)


def test_a_warp_may_change_the_size() -> None:
    identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]).expand(4, 2, 3)
    smaller = warps.affine(images(), identity, 12)
    torch.testing.assert_close(smaller, torch.nn.functional.avg_pool2d(images(), 2), atol=1e-5, rtol=0)


def test_warps_keep_full_precision_inside_autocast() -> None:
    x, angles = images(), torch.tensor([13.0, -40.0, 95.0, 200.0])
    with torch.autocast("cpu", torch.bfloat16):
        inside = warps.turn(x, angles)
    assert torch.equal(inside, warps.turn(x, angles))
