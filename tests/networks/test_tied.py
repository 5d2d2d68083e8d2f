"""Tied weights: the decoder is made of the encoder's own convolutions, transposed."""

import pytest
import torch
from torch import nn

from selfsup.networks.encoders import build_encoder
from selfsup.networks.tied import TiedDecoder, transposed

CASES = [("small", 32), ("small", 96), ("alexnet", 32), ("alexnet", 96), ("nin", 33), ("small1d", 64), ("small1d", 77)]


@pytest.mark.parametrize(("name", "size"), CASES)
def test_output_has_the_shape_of_the_input(name: str, size: int) -> None:
    """Whatever strides and poolings leave over, every layer comes back to the size it had."""
    encoder = build_encoder(name, size, seed=0)
    inputs = torch.rand(2, *encoder.shape)
    decoder = TiedDecoder(encoder.inner, encoder.shape)
    assert decoder(encoder(inputs), encoder.inner).shape == inputs.shape


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 5, 3, 1, 1, bias=False), (3, 9, 9)),
        (nn.Conv2d(3, 5, 11, 4, 2, bias=False), (3, 34, 35)),
        (nn.Conv1d(2, 4, 9, 2, 4, bias=False), (2, 33)),
    ],
)
def test_transposed_is_the_matrix_transposed(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """W' = W^T, entry by entry, for the matrix that the convolution is."""
    inputs = torch.eye(torch.Size(shape).numel()).view(-1, *shape)
    outputs = layer(inputs)
    matrix = outputs.flatten(1).T  # [out, in]
    units = torch.eye(matrix.shape[0]).view(-1, *outputs.shape[1:])
    assert torch.allclose(transposed(layer, units, shape[1:]).flatten(1), matrix, atol=1e-6)


def test_decoder_owns_norms_and_a_bias_only() -> None:
    """No weight of its own to stray from the encoder's: one parameter each, kept once in a checkpoint."""
    encoder = build_encoder("small", 32, seed=0)
    decoder = TiedDecoder(encoder.inner, encoder.shape)
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    assert {key.split(".")[0] for key in decoder.state_dict()} == {"norms", "bias"}
    assert sum(p.numel() for p in decoder.parameters()) == 3 + 2 * sum(c.in_channels for c in convolutions[1:])


def test_measuring_changes_nothing() -> None:
    """Building the decoder leaves the encoder's statistics and mode as they were."""
    encoder = build_encoder("small", 32, seed=0).train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    TiedDecoder(encoder.inner, encoder.shape)
    assert encoder.inner.training
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
