"""The networks of SRGAN have the paper's layers, enlarge what they are given, and start without a checkerboard."""

import pytest
import torch
from torch import nn

from selfsup.networks.srgan import Doubling, Placed, SRDiscriminator, SRResNet, as_nearest


def test_paper_setting_has_the_paper_count_of_parameters() -> None:
    """16 blocks of 64 channels at factor 4: 1,549,462; the discriminator of 96 pixels 23.57 million."""
    assert count(SRResNet(4)) == 1_549_462
    judge = SRDiscriminator(96)
    assert count(judge) == 23_565_505
    assert count(judge.judge[1]) == 512 * 6 * 6 * 1024 + 1024


@pytest.mark.parametrize("factor", [2, 4])
def test_any_image_is_enlarged(factor: int) -> None:
    """The generator is fully convolutional, and every parameter takes part."""
    network = SRResNet(factor, width=8, blocks=2)
    made = network(torch.rand(2, 3, 5, 7))
    assert made.shape == (2, 3, 5 * factor, 7 * factor)
    made.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_pixel_shuffle_is_a_bijection_with_known_places() -> None:
    """Channel 4c + 2i + j lands at (2y + i, 2x + j), and shuffling back recovers the map."""
    given = torch.rand(2, 12, 3, 5)
    shuffled = nn.PixelShuffle(2)(given)
    for channel, i, j in ((0, 0, 0), (1, 0, 1), (2, 1, 1)):
        assert torch.equal(shuffled[:, channel, i::2, j::2], given[:, 4 * channel + 2 * i + j])
    assert torch.equal(nn.PixelUnshuffle(2)(shuffled), given)


def test_without_its_body_the_network_knows_the_first_features_only() -> None:
    """Zero the body's last norm: what the blocks compute no longer matters."""
    network = SRResNet(2, width=8, blocks=2).eval()
    images = torch.rand(1, 3, 6, 6)
    nn.init.zeros_(network.body[-1].weight)
    before = network(images)
    nn.init.normal_(network.body[0].layers[0].weight)
    assert torch.equal(network(images), before)
    nn.init.normal_(network.first[0].weight)
    assert not torch.equal(network(images), before)


def test_doubling_starts_as_nearest_neighbour() -> None:
    """All four pixels that come of one are alike at first, and unlike without that start."""
    doubled = Doubling(6)(torch.rand(1, 6, 4, 4))
    assert torch.equal(doubled, doubled[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    plain = nn.PixelShuffle(2)(nn.Conv2d(6, 24, 3, padding=1)(torch.rand(1, 6, 4, 4)))
    assert not torch.allclose(plain, plain[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert len(as_nearest(nn.Conv2d(2, 16, 3), 4).weight.unique()) == 16 * 18 // 16


@pytest.mark.parametrize(("side", "side_out"), [(4, 16), (4, 8), (1, 16), (8, 8), (16, 8), (3, 24), (7, 24), (5, 16)])
def test_last_map_is_placed_on_any_grid(side: int, side_out: int) -> None:
    """Maps smaller and larger than the small image come to its side."""
    placed = Placed(10, side, 6, side_out)(torch.rand(2, 10, side, side))
    assert placed.shape == (2, 6, side_out, side_out)


def test_discriminator_halves_four_times() -> None:
    """Eight convolutions, no pooling; any side gives one logit per image."""
    sides = [m.shape[-1] for m in SRDiscriminator(96).maps(torch.rand(1, 3, 96, 96))]
    assert sides == [96, 48, 48, 24, 24, 12, 12, 6]
    for size in (32, 50):
        logits, maps = SRDiscriminator(size).judged(torch.rand(2, 3, size, size))
        assert logits.shape == (2,)
        assert len(maps) == 8


@pytest.mark.parametrize("few", [1, 3, 8])
def test_first_maps_alone(few: int) -> None:
    """Asked for a few maps, the judge gives the first of all, which is how many it says it has."""
    network, images = SRDiscriminator(32), torch.rand(2, 3, 32, 32)
    found, every = network.maps(images, count=few), network.maps(images)
    assert (len(found), len(every)) == (few, network.depth)
    assert all(torch.equal(one, same) for one, same in zip(found, every[:few], strict=True))


def count(network: nn.Module) -> int:
    """Count parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_map_is_resized_under_bfloat16_too() -> None:
    """Sides that do not divide are brought to size, whatever the precision of the pass."""
    with torch.autocast("cpu", torch.bfloat16):
        assert Placed(4, 7, 4, 8)(torch.rand(2, 4, 7, 7)).shape == (2, 4, 8, 8)


def test_the_judge_judges_alike_in_both_modes() -> None:
    """Its norms keep no statistics, so that held-out numbers are those of the game that was played."""
    torch.manual_seed(0)
    judge, images = SRDiscriminator(32), torch.rand(8, 3, 32, 32)
    judge(3 * torch.rand(8, 3, 32, 32))
    assert torch.equal(judge(images), judge.eval()(images))
