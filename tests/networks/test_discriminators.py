"""Discriminators: a logit per image at any side, maps of every layer, and pairs that are judged as pairs."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from selfsup.networks.adversarial import r1_penalty
from selfsup.networks.discriminators import Discriminator


@pytest.mark.parametrize(("size", "last"), [(8, 4), (15, 7), (32, 4), (33, 4), (64, 4), (96, 6), (100, 6), (224, 7)])
@pytest.mark.parametrize("norm", ["spectral", "batch", "none"])
def test_any_side(size: int, last: int, norm: str) -> None:
    """One logit per image; maps are halved down to a side of 4 to 7; every parameter takes part."""
    network = Discriminator(size, width=4, norm=norm)  # type: ignore[arg-type]
    logits, maps = network.judged(torch.randn(3, 3, size, size))
    assert logits.shape == (3,)
    assert maps[-1].shape[-1] == last
    assert all(one.shape[-1] // 2 == next_.shape[-1] for one, next_ in pairwise(maps))
    logits.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_first_maps_alone() -> None:
    """Asked for a few maps, it gives the first of all, which is how many it says it has."""
    network, images = Discriminator(32, width=4).eval(), torch.randn(2, 3, 32, 32)
    every, few = network.maps(images), network.maps(images, count=2)
    assert len(every) == network.depth == 3
    assert len(few) == 2
    assert all(torch.equal(one, same) for one, same in zip(few, every[:2], strict=True))


def test_layout_at_32_pixels() -> None:
    """DCGAN's: 64, 128 and 256 channels from the image, then a logit from 4x4."""
    network = Discriminator(32)
    assert [c.out_channels for c in network.convolutions] == [64, 128, 256]
    assert network.logit.in_features == 256 * 16


@pytest.mark.parametrize(("size", "side"), [(32, 4), (40, 5)])
def test_pooled_logits_ask_for_what_and_not_where(size: int, side: int) -> None:
    """A moved map has the same logit; a weight of norm 1 gives none above the map's norm, and that to an even map."""
    network = Discriminator(size, width=8, norm="none", pooled=True)
    nn.init.constant_(network.logit.weight, 32**-0.5)
    uneven, even = torch.rand(1, 32, side, side), torch.ones(1, 32, side, side)
    given = iter([uneven, uneven.roll((1, 2), (2, 3)), even])
    network.convolutions[-1].register_forward_hook(lambda module, seen, made: next(given))
    here, there, flat = (network(torch.rand(1, 3, size, size)).item() for _ in range(3))
    assert there == pytest.approx(here, rel=1e-5)
    assert here < uneven.norm().item()
    assert flat == pytest.approx(even.norm().item(), rel=1e-5)


def test_spectral_norm_is_on_every_layer() -> None:
    """No layer amplifies: each weight in use has a largest singular value of about 1."""
    network = Discriminator(32, width=8, code_width=5)
    with torch.no_grad():
        for _ in range(100):
            network(torch.randn(2, 3, 32, 32), torch.randn(2, 5))
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3 + 1 + 4
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(1, abs=0.02)


def test_looking_in_eval_mode_changes_nothing() -> None:
    """Buffers stay, and an image's logit does not depend on its batch."""
    network = Discriminator(32, width=8).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randn(6, 3, 32, 32)
    together = network(images)
    assert torch.allclose(together[:2], network(images[:2]), atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_batch_norm_keeps_no_statistics() -> None:
    """Real and generated images pass separately; statistics of both mixed would be those of neither."""
    network = Discriminator(32, width=8, norm="batch")
    images = torch.randn(6, 3, 32, 32)
    assert torch.equal(network(images), network.eval()(images))
    assert not any("running" in name for name in network.state_dict())


def test_code_enters_every_layer() -> None:
    """Each injection has a gradient at the start, and other codes give other logits for the same images."""
    network = Discriminator(32, width=8, code_width=5)
    images, codes = torch.randn(4, 3, 32, 32), torch.rand(4, 5, requires_grad=True)
    network(images, codes).sum().backward()
    assert codes.grad is not None
    assert codes.grad.abs().min() > 0
    assert len(network.codes) == 4
    for layer in network.codes:
        assert layer.parametrizations.weight.original.grad.abs().max() > 0
    assert not torch.allclose(network.eval()(images, codes), network(images, codes.roll(1, 0)))


def test_penalty_can_be_trained_through() -> None:
    """R1 differentiates twice through convolutions, leaky ReLUs and spectral norm, and reaches all weights."""
    network = Discriminator(32, width=4)
    images = torch.randn(4, 3, 32, 32, requires_grad=True)
    r1_penalty(network(images), images, 1.0).backward()
    assert all(p.grad is not None for name, p in network.named_parameters() if "bias" not in name)


def test_images_too_small_are_refused() -> None:
    """Below 8 pixels nothing is left to halve."""
    with pytest.raises(ValueError, match="at least 8"):
        Discriminator(4)
