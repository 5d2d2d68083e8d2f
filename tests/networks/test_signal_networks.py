"""The encoder of signals behind the surface of all encoders, and its decoder."""

from pathlib import Path

import pytest
import torch

from selfsup.errors import InputError
from selfsup.networks.encoders import behind_last_map, build_encoder, load_encoder, reestimate_norms, save_encoder
from selfsup.networks.names import check_encoder_name
from selfsup.networks.signals import SignalDecoder


def test_maps_of_all_stages() -> None:
    """Four stages along time; the vector is the mean of the last and reaches every parameter."""
    encoder = build_encoder("small1d", 256, seed=0, mean=[0.0, 5.0], std=[1.0, 2.0]).eval()
    signals = torch.randn(3, 2, 256)
    shapes = {name: tuple(value.shape) for name, value in encoder.stages(signals).items()}
    assert shapes == {
        "stage1": (3, 16, 128), "stage2": (3, 32, 64), "stage3": (3, 64, 32), "stage4": (3, 128, 16),
    }  # fmt: skip
    assert (encoder.shape, encoder.width, encoder.side, encoder.vector_width) == ((2, 256), 128, 16, 128)
    last, vector = encoder.map_and_vector(signals)
    assert torch.equal(vector, last.mean(2))
    assert torch.equal(encoder(signals), last)
    assert torch.equal(encoder.vector(signals), vector)
    assert behind_last_map(encoder) == []
    assert [build_encoder("small1d", length, seed=0).side for length in (1024, 4096, 16384)] == [64, 128, 256]


def test_statistics_are_inside_and_travel(tmp_path: Path) -> None:
    """Mean and deviation of the data are in the description, and a loaded encoder gives the same vectors."""
    encoder = build_encoder("small1d", 64, seed=0, mean=[3.0, -4.0], std=[0.5, 20.0]).eval()
    assert encoder.normalize(torch.tensor([[[3.5], [16.0]]])).flatten().tolist() == [1, 1]
    assert encoder.denormalize(torch.ones(1, 2, 1)).flatten().tolist() == [3.5, 16]
    reestimate_norms(encoder, [torch.randn(8, 2, 64)])
    save_encoder(encoder, tmp_path)
    loaded = load_encoder(tmp_path).eval()
    signals = torch.randn(3, 2, 64)
    assert torch.equal(loaded.vector(signals), encoder.vector(signals))
    assert loaded.description()["std"] == [0.5, 20.0]


@pytest.mark.parametrize("length", [32, 50, 64, 333])
def test_decoder_gives_signals_of_the_length(length: int) -> None:
    encoder = build_encoder("small1d", length, seed=0)
    decoder = SignalDecoder(encoder.width, encoder.side, length, 2)
    assert decoder(encoder(torch.randn(2, 1, length))).shape == (2, 2, length)


def test_impossible_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="small1d takes signals of 32 to 65536 samples, got 16"):
        check_encoder_name("small1d", 16)
    with pytest.raises(InputError, match="did you mean small1d"):
        check_encoder_name("smal1d")
    with pytest.raises(InputError, match="small1d reads signals, which have no lightness"):
        build_encoder("small1d", 64, sees="lightness")
