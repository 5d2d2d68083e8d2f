"""Line plots show a signal where it is, whatever its length."""

import pytest
import torch

from selfsup.views.plots import COLOURS, rows


@pytest.mark.parametrize("length", [32, 100, 5000])
def test_line_follows_the_signal(length: int) -> None:
    """A ramp is drawn from the lower left to the upper right, in the colour of its channel."""
    (picture,) = [rows([torch.linspace(0, 1, length).view(1, 1, -1)], width=100, height=60)]
    assert picture.shape == (3, 60, 100)
    dark = (1 - picture).sum(0)[1:-1, 1:-1]  # without the frame
    middle = (dark * torch.arange(1.0, 59).view(-1, 1)).sum(0) / dark.sum(0) + 0.5
    expected = 60 * (1.15 - (torch.arange(1, 99) + 0.5) / 100) / 1.3
    assert (middle - expected).abs().max() < 1
    darkest = picture.flatten(1)[:, picture.sum(0)[1:-1, 1:-1].argmin().item() // 98 * 100 + 100 + 1 :]
    assert darkest.amin(1).tolist() == pytest.approx([c / 255 for c in COLOURS[0]], abs=0.02)


def test_peaks_of_single_samples_are_not_lost() -> None:
    """Two hundred samples share a column of pixels, and one of them stands out."""
    signal = torch.zeros(1, 1, 20000)
    signal[0, 0, 12345] = 1
    picture = rows([signal], width=100, height=60)
    column = picture[0, :, int(12345 / 200)]
    assert (column[10:50] < 0.5).all()


def test_rows_share_the_scale_of_the_first() -> None:
    """Twice the signal leaves the plot, and a row behind is drawn in gray."""
    signals = torch.sin(torch.linspace(0, 12, 64)).expand(2, 1, 64)
    picture = rows([signals, 2 * signals, 0 * signals], behind=0, width=100, height=60)
    assert picture.shape == (3, 3 * 60 + 2 * 4, 2 * 100 + 4)
    assert 0 <= picture.min() <= picture.max() <= 1
    assert torch.equal(picture[:, :60, :100], picture[:, :60, 104:])
    assert torch.equal(picture[:, :60], rows([signals], width=100, height=60))
    last = picture[:, 128:, :100]
    grays = ((last.amax(0) - last.amin(0)) < 0.02) & (last[0] < 0.9)
    assert grays[2:-2, 2:-2].any()
