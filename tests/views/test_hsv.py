"""HSV agrees with the standard library, its changes keep what they must, principal colours are those of the data."""

import colorsys

import numpy as np
import torch

from selfsup.views import hsv


def images(count: int = 4, side: int = 12) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def same(count: int = 4) -> dict[str, torch.Tensor]:
    ones, zeros = torch.ones(count, 2), torch.zeros(count, 2)
    return {"powers": ones, "factors": ones, "sums": zeros, "hues": torch.zeros(count)}


def test_hsv_agrees_with_the_standard_library_and_back() -> None:
    x = images(1, 5)
    x[0, :, 0] = torch.tensor([[0.4, 1.0, 0.0, 0.0, 1.0], [0.4, 0.0, 1.0, 0.0, 1.0], [0.4, 0.0, 0.0, 0.0, 0.0]])
    made = hsv.to_hsv(x)
    for row in range(5):
        for column in range(5):
            expected = colorsys.rgb_to_hsv(*x[0, :, row, column].tolist())
            assert np.allclose(made[0, :, row, column], expected, atol=1e-6)
    torch.testing.assert_close(hsv.to_rgb(made), x)


def test_neutral_changes_give_the_image_back() -> None:
    torch.testing.assert_close(hsv.change(images(), **same()), images(), atol=2e-3, rtol=0)
    eight_bits = (images() * 255).round() / 255
    torch.testing.assert_close(hsv.change(eight_bits, **same()), eight_bits)


def test_whole_turns_of_the_hue_change_nothing_and_a_third_turns_red_to_green() -> None:
    for turns in (-1.0, 1.0):
        turned = hsv.change(images(), **{**same(), "hues": torch.full((4,), turns)})
        torch.testing.assert_close(turned, hsv.change(images(), **same()), atol=1e-5, rtol=0)
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    green = hsv.change(red, **{**same(1), "hues": torch.tensor([1 / 3])})
    torch.testing.assert_close(green.flatten(), torch.tensor([0.0, 1.0, 0.0]))


def test_powers_keep_zero_and_one() -> None:
    """Black, white and full colours stay; what lies between moves."""
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0.8, 0.4, 0.4]]).view(4, 3, 1, 1)
    for power in (0.25, 4.0):
        made = hsv.change(colours, **{**same(), "powers": torch.full((4, 2), power)})
        torch.testing.assert_close(made[:3], colours[:3])
        value = 0.8**power
        expected = torch.tensor([value, value * (1 - 0.5**power), value * (1 - 0.5**power)])
        torch.testing.assert_close(made[3].flatten(), expected)


def test_power_comes_before_factor_before_sum() -> None:
    """Value (0.5^2) * 1.2 + 0.1, saturation (0.5^0.5) * 0.8 - 0.05, by hand."""
    colour = torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1, 1)
    made = hsv.change(
        colour,
        powers=torch.tensor([[0.5, 2.0]]),
        factors=torch.tensor([[0.8, 1.2]]),
        sums=torch.tensor([[-0.05, 0.1]]),
        hues=torch.zeros(1),
    )
    value, saturation = 0.25 * 1.2 + 0.1, 0.5**0.5 * 0.8 - 0.05
    low = value * (1 - saturation)
    torch.testing.assert_close(made.flatten(), torch.tensor([value, low, low]))


def test_gray_stays_gray_and_everything_in_range() -> None:
    """Even gray that rounding has tinted; at the ends of all ranges nothing leaves [0, 1]."""
    extreme = {"powers": torch.full((4, 2), 0.25), "factors": torch.full((4, 2), 1.4), "sums": torch.full((4, 2), 0.1)}
    gray = images()[:, :1].repeat(1, 3, 1, 1)
    gray[:, 0] += 1e-7
    made = hsv.change(gray, **extreme, hues=torch.full((4,), 0.1))
    assert (made.amax(1) - made.amin(1)).max() < 1e-6
    for sign in (-1, 1):
        made = hsv.change(images(), **{**extreme, "sums": torch.full((4, 2), 0.1 * sign)}, hues=torch.full((4,), 0.1))
        assert made.min() >= 0
        assert made.max() <= 1


def test_palette_is_that_of_numpy() -> None:
    x = images(6) * torch.tensor([1.0, 0.5, 0.2]).view(3, 1, 1)
    palette = hsv.palette_of(x)
    pixels = x.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
    _, axes = np.linalg.eigh(np.cov(pixels.T))
    assert np.allclose(palette.mean, pixels.mean(0), atol=1e-5)
    assert np.allclose(np.abs(palette.directions.numpy().T @ axes), np.eye(3), atol=1e-4)


def test_stretching_by_one_is_the_identity_and_by_two_doubles_along_one_direction() -> None:
    x = images() * 0.1 + 0.45
    palette = hsv.palette_of(x)
    torch.testing.assert_close(hsv.stretch(x, palette, torch.ones(4, 3)), x, atol=1e-6, rtol=0)
    stretched = hsv.stretch(x, palette, torch.tensor([[1.0, 1.0, 2.0]]).expand(4, 3))
    for image, before in ((stretched, x),):
        along = torch.einsum("bchw,cd->bdhw", image - palette.mean.view(3, 1, 1), palette.directions)
        expected = torch.einsum("bchw,cd->bdhw", before - palette.mean.view(3, 1, 1), palette.directions)
        torch.testing.assert_close(along[:, 2], 2 * expected[:, 2], atol=1e-5, rtol=0)
        torch.testing.assert_close(along[:, :2], expected[:, :2], atol=1e-5, rtol=0)
