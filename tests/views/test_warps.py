"""Turns and warps agree with torchvision, homographies with the eight equations and with kornia."""

import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from selfsup.views import homographies, warps


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


@pytest.mark.parametrize("outside", [0.0, 128 / 255, None])
@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_identity_gives_the_image_back(outside: float | None, size: int) -> None:
    """To the bit where the side is a power of two; elsewhere places along it are not exact numbers."""
    x = images(2, size, size)
    made = warps.project(x, torch.eye(3).expand(2, 3, 3), outside)
    torch.testing.assert_close(made, x, atol=0 if size != 96 else 1e-5, rtol=0)


def test_projections_agree_with_torchvision() -> None:
    """The same four corners, in pixels there and from -1 to 1 here."""
    x = images(2, 32, 32)
    frame, moved = [[0, 0], [32, 0], [32, 32], [0, 32]], [[3, 1], [30, 4], [32, 28], [1, 32]]
    expected = reference.perspective(x, frame, moved, InterpolationMode.BILINEAR, fill=0.0)
    one, other = homographies.onto(torch.tensor([frame, moved], dtype=torch.float32) / 16 - 1).split(1)
    made = warps.project(x, (one @ homographies.inverse(other)).expand(2, 3, 3))
    torch.testing.assert_close(made[..., 5:27, 5:27], expected[..., 5:27, 5:27], atol=1e-3, rtol=0)


def test_an_affine_projection_is_the_affine_warp() -> None:
    x, rows = images(2), torch.tensor([[0.7, 0.2, 0.1], [-0.3, 0.9, -0.2]]).expand(2, 2, 3)
    whole = torch.cat([rows, torch.tensor([[[0.0, 0.0, 1.0]]]).expand(2, 1, 3)], dim=1)
    torch.testing.assert_close(warps.project(x, whole), warps.affine(x, rows), atol=1e-5, rtol=0)


def test_what_lies_outside_has_the_colour_asked_for() -> None:
    """A constant image of that colour stays constant; a shift by 3 pixels shows 3 columns of it."""
    maps = homographies.pick_projective(torch.rand(8, 10, generator=torch.Generator().manual_seed(2)), 32)
    even = torch.full((8, 3, 32, 32), 0.25)
    torch.testing.assert_close(warps.project(even, maps, 0.25), even, atol=1e-5, rtol=0)
    right = torch.tensor([[[1.0, 0.0, -6 / 32], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    x = images(1, 32, 32)
    made = warps.project(x, right, 0.25)
    torch.testing.assert_close(made[..., 3:], x[..., :-3], atol=1e-5, rtol=0)
    assert (made[..., :3] == 0.25).all()
    mirrored = warps.project(x, right, None)
    torch.testing.assert_close(mirrored[..., :3], x[..., :3].flip(3), atol=1e-5, rtol=0)


def test_maps_that_flatten_the_plane_give_pictures() -> None:
    """An estimate may be anything: what it puts behind the viewer or nowhere is outside."""
    x = images(3)
    flat = torch.stack([torch.zeros(3, 3), torch.full((3, 3), torch.nan), torch.diag(torch.tensor([1.0, 1.0, -1.0]))])
    assert (warps.project(x, flat, 0.5) == 0.5).all()
    assert warps.project(x, flat, None).isfinite().all()


def test_sampling_without_antialiasing_is_good_enough_for_aets_scales() -> None:
    """At a scale of 0.7 a picture as smooth as photographs are is within 32 dB of the average over each pixel."""
    coarse = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    x = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)
    maps = torch.diag(torch.tensor([1 / 0.7, 1 / 0.7, 1.0])).expand(4, 3, 3)
    fine = torch.nn.functional.interpolate(x, size=512, mode="bilinear")
    exact = torch.nn.functional.avg_pool2d(warps.project(fine, maps, 0.5), 8)
    error = (warps.project(x, maps, 0.5) - exact)[..., 12:-12, 12:-12].square().mean()
    assert -10 * error.log10() > 32


def test_homographies_go_through_four_points() -> None:
    """The solution of the eight equations; every corner lands on its point to a thousandth of a pixel at 224."""
    frame, moved, maps = moved_corners()
    for one, points, made in zip(frame, moved, maps, strict=True):
        rows = []
        for (x, y), (u, v) in zip(one.tolist(), points.tolist(), strict=True):
            rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        solved = torch.linalg.solve(torch.tensor(rows), points.flatten())
        torch.testing.assert_close(made.flatten()[:8], solved, atol=1e-5, rtol=1e-4)
    assert (homographies.corners_of(maps) - moved).abs().max() * 112 < 1e-3
    assert torch.linalg.det(maps).min() > 0


def test_homographies_are_those_of_kornia() -> None:
    kornia = pytest.importorskip("kornia")
    frame, moved, maps = moved_corners()
    torch.testing.assert_close(maps, kornia.geometry.get_perspective_transform(frame, moved), atol=1e-5, rtol=1e-4)


def moved_corners() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the frame, its corners moved by up to a quarter of a half side, and the maps between them."""
    frame = torch.tensor(homographies.FRAME).expand(64, 4, 2)
    moved = frame + (torch.rand(64, 4, 2, generator=torch.Generator().manual_seed(4)) - 0.5) * 0.5
    return frame, moved, homographies.onto(moved)


def test_inverse_maps_undo_maps_in_either_order() -> None:
    for family in homographies.FAMILIES.values():
        uniform = torch.rand(64, family.numbers, generator=torch.Generator().manual_seed(5))
        maps = family.pick(uniform, 32)
        back = homographies.inverse(maps)
        for both in (maps @ back, back @ maps):
            torch.testing.assert_close(both / both[:, 2:, 2:], torch.eye(3).expand(64, 3, 3), atol=1e-5, rtol=0)
        torch.testing.assert_close(back, torch.linalg.inv(maps) / torch.linalg.inv(maps)[:, 2:, 2:], atol=1e-4, rtol=0)


def test_pixels_are_counted_from_the_top_left_corner() -> None:
    """Half a side to the right from the middle of 32 pixels is 16 pixels; the middle is at 16."""
    shift = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, -0.25], [0.0, 0.0, 1.0]]])
    assert homographies.in_pixels(shift, 32)[0].tolist() == [[1, 0, 8], [0, 1, -4], [0, 0, 1]]
    maps = homographies.pick_projective(torch.rand(16, 10, generator=torch.Generator().manual_seed(6)), 32)
    torch.testing.assert_close(homographies.from_pixels(homographies.in_pixels(maps, 32), 32), maps, atol=1e-5, rtol=0)


def test_quarter_turns_of_the_corners_are_exact_turns() -> None:
    """No shift, no scale: the second number alone turns the picture, clockwise."""
    x = images(4, 32, 32)
    uniform = torch.full((4, 10), 0.5)
    uniform[:, 1] = torch.arange(4) / 4
    made = warps.project(x, homographies.pick_projective(uniform, 32), 0.5)
    for turns in range(4):
        torch.testing.assert_close(made[turns], x[turns].rot90(-turns, (1, 2)), atol=1e-5, rtol=0)


def test_affine_maps_are_those_of_torchvision() -> None:
    """Clockwise turn, scale and shift as today; shear as in version 0.2.1, by the matrix printed there."""
    x = images(1, 32, 32)
    maps = homographies.affine(
        torch.tensor([30.0]), torch.tensor([[4 / 16, -2 / 16]]), torch.tensor([1.2]), zero := torch.zeros(1)
    )
    expected = reference.affine(x, 30.0, [4, -2], 1.2, [0.0, 0.0], InterpolationMode.BILINEAR)
    torch.testing.assert_close(warps.project(x, maps)[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], atol=1e-3, rtol=0)
    a, s, f = math.radians(30), 1.2, math.radians(20)
    printed = [[s * math.cos(a), -s * math.sin(a + f), 0], [s * math.sin(a), s * math.cos(a + f), 0], [0, 0, 1]]
    made = homographies.affine(torch.tensor([30.0]), torch.zeros(1, 2), torch.tensor([1.2]), torch.tensor([20.0]))
    torch.testing.assert_close(homographies.inverse(made)[0], torch.tensor(printed), atol=1e-5, rtol=0)
    still = homographies.affine(zero, torch.zeros(1, 2), zero + 1, zero)
    assert torch.equal(warps.project(x, still, 0.5), x)
