"""Filters as tiles: red where red counts, gray where nothing does."""

import torch

from selfsup.networks.encoders import build_encoder
from selfsup.networks.filter_sheet import filter_sheet


def test_a_filter_is_drawn_as_what_it_answers() -> None:
    """One weight of the first filter on red, upper left: that corner is red and the rest gray, whatever the scale."""
    encoder = build_encoder("small", 32, seed=0)
    with torch.no_grad():
        encoder.inner.stage1[0].weight[0] = 0
        encoder.inner.stage1[0].weight[0, 0, 0, 0] = 30.0
    drawn = filter_sheet(encoder)
    assert drawn is not None
    assert drawn[:, 2, 2].tolist() == [1.0, 0.5, 0.5]
    assert drawn[:, 30, 30].tolist() == [0.5, 0.5, 0.5]
    assert drawn.shape == (3, 42, 16 * 42 + 15 * 2)
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_there_is_nothing_to_draw_of_signals() -> None:
    assert filter_sheet(build_encoder("small1d", 64, seed=0, mean=[0.0], std=[1.0])) is None


def test_two_channels_are_drawn_as_red_and_green() -> None:
    drawn = filter_sheet(build_encoder("small", 32, seed=0, sees="edges"))
    assert drawn is not None
    tile = drawn[:, :42, :42]
    assert torch.all(tile[2] == 0.5)
