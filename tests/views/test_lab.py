"""CIE Lab: known colours, there and back, gray without colour."""

import pytest
import torch

from selfsup.views import lab

KNOWN = {
    "white": ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
    "black": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "red": ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
    "green": ((0.0, 1.0, 0.0), (87.74, -86.18, 83.18)),
    "blue": ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
    "middle gray": ((0.5, 0.5, 0.5), (53.39, 0.0, 0.0)),
    "teal": ((0.0, 128 / 255, 128 / 255), (48.25, -28.85, -8.48)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_colours(name: str) -> None:
    """Corners of sRGB and two colours between lie where tables say."""
    rgb, expected = KNOWN[name]
    image = torch.tensor(rgb).view(1, 3, 1, 1)
    assert lab.from_rgb(image).flatten().tolist() == pytest.approx(expected, abs=0.01)
    assert lab.lightness(image).item() == pytest.approx(expected[0], abs=0.01)


def test_there_and_back() -> None:
    """All 8-bit colours of a cube come back to a thousandth, and so do their L, a and b."""
    axis = torch.linspace(0, 1, 18)
    images = torch.cartesian_prod(axis, axis, axis).T.reshape(1, 3, 18, -1)
    values = lab.from_rgb(images)
    assert (lab.to_rgb(values) - images).abs().max() < 1e-4
    assert (lab.from_rgb(lab.to_rgb(values)) - values).abs().max() < 1e-2
    assert (lab.from_rgb(lab.to_rgb(values.double())) - values).abs().max() < 1e-3


def test_gray_has_no_colour() -> None:
    """Equal channels give a and b of 0, and lightness that grows with them."""
    gray = torch.linspace(0, 1, 256).view(1, 1, 16, 16).expand(2, 3, -1, -1)
    values = lab.from_rgb(gray)
    assert values[:, 1:].abs().max() < 0.01
    assert (values[0, 0].flatten().diff() > 0).all()


def test_lightness_is_the_first_channel() -> None:
    """It is computed alone, from luminance, to the same numbers."""
    images = torch.rand(2, 3, 8, 8)
    assert torch.allclose(lab.lightness(images), lab.from_rgb(images)[:, :1], atol=1e-4)


def test_what_no_screen_shows_is_clipped() -> None:
    """Any L, a and b give an image in [0, 1], never NaN."""
    values = torch.tensor([[50.0, 120, -120], [0, 100, 100], [100, -100, 100], [5, -120, 0]]).view(4, 3, 1, 1)
    image = lab.to_rgb(values)
    assert image.isfinite().all()
    assert 0 <= image.min() <= image.max() <= 1


def test_gradients_are_finite() -> None:
    """At black, where the cube root has none, and outside the gamut, where the gamma has none."""
    for change, value in (
        (lab.from_rgb, [0.0, 0.0, 0.0]),
        (lab.lightness, [0.0, 0.0, 0.0]),
        (lab.to_rgb, [5.0, 90, -90]),
    ):
        given = torch.tensor(value).view(1, 3, 1, 1).requires_grad_()
        change(given).sum().backward()
        assert given.grad is not None
        assert given.grad.isfinite().all()
