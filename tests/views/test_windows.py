"""Windows: exact where they can be, and without fill wherever they lie."""

import torch

from selfsup.views.crops import center
from selfsup.views.windows import window


def images(count: int = 3, side: int = 12) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def cut(
    x: torch.Tensor, size: int, right: float = 0.0, down: float = 0.0, scale: float = 1.0, angle: float = 0.0
) -> torch.Tensor:
    count = len(x)
    shifts = torch.tensor([[right, down]]).expand(count, 2)
    return window(x, shifts, torch.full((count,), scale), torch.full((count,), angle), size)


def test_no_change_is_the_middle() -> None:
    torch.testing.assert_close(cut(images(), 12), images(), atol=1e-5, rtol=0)
    torch.testing.assert_close(cut(images(), 8), center(images(), 8), atol=1e-5, rtol=0)


def test_shifts_by_whole_pixels_are_exact() -> None:
    """A quarter of 8 pixels to the right and an eighth up."""
    made = cut(images(), 8, right=0.25, down=-0.125)
    torch.testing.assert_close(made, images()[:, :, 1:9, 4:12], atol=1e-5, rtol=0)


def test_quarter_turns_are_those_of_torch() -> None:
    torch.testing.assert_close(cut(images(), 12, angle=90.0), images().rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_scale_two_shows_twice_the_side() -> None:
    """Each new pixel is the mean of 2 x 2."""
    x = images(side=16)
    expected = torch.nn.functional.avg_pool2d(x, 2)
    torch.testing.assert_close(cut(x, 8, scale=2.0), expected, atol=1e-5, rtol=0)


def test_outside_is_mirrored() -> None:
    """A shift by two pixels to the left of a picture without room shows its first two columns reversed."""
    made = cut(images(side=8), 8, right=-0.25)
    torch.testing.assert_close(made[..., :2], images(side=8)[..., :2].flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(made[..., 2:], images(side=8)[..., :6], atol=1e-5, rtol=0)
    flat = cut(torch.full((3, 3, 8, 8), 0.4), 8, right=0.2, down=0.2, scale=1.41, angle=20.0)
    torch.testing.assert_close(flat, torch.full((3, 3, 8, 8), 0.4))
