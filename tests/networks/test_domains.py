"""The discriminator of two domains of features, and the pool of maps it is shown again."""

import pytest
import torch
from torch import Tensor, nn

from selfsup.networks.domains import DomainDiscriminator, ReplayPool

SHAPE = (2, 3, 3)


@pytest.mark.parametrize("side", [1, 2, 4, 13])
def test_patches_are_judged(side: int) -> None:
    """A logit for each place after a stride of 2, one map after the other; widths of the code at 256 channels."""
    judge = DomainDiscriminator(256)
    assert judge(torch.randn(4, 256, side, side)).shape == (4 * (-(-side // 2)) ** 2,)
    widths = [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in judge.layers if isinstance(m, nn.Conv2d)]
    assert widths == [(256, 512, 3), (512, 512, 1), (512, 1, 1)]
    assert not [key for key in judge.state_dict() if "running" in key]


def test_nothing_is_exchanged_until_the_pool_is_full() -> None:
    """Rows come back as they are; the pool fills in their order and never holds more than its size."""
    pool = ReplayPool(7, SHAPE)
    for step in range(3):
        maps = numbered(3, step)
        assert torch.equal(pool(maps), maps)
        assert int(pool.held) == min(7, 3 * (step + 1))
    assert pool.maps[:, 0, 0, 0].tolist() == [0, 1, 2, 100, 101, 102, 200]


@pytest.mark.parametrize(("size", "batch"), [(16, 8), (8, 8), (5, 12), (1, 4)])
def test_then_about_half_is_exchanged(size: int, batch: int) -> None:
    """What comes back is what came or what was kept, nothing is lost or doubled, as in a loop that swaps one by one."""
    pool = ReplayPool(size, SHAPE)
    while int(pool.held) < size:
        pool(numbered(batch, -1 - int(pool.held)))
    exchanged = 0
    for step in range(200):
        maps, kept = numbered(batch, step), pool.maps.clone()
        given = pool(maps)
        before = [*keys(maps), *keys(kept)]
        assert sorted(before) == sorted([*keys(given), *keys(pool.maps)])
        for came, back in zip(keys(maps), keys(given), strict=True):
            assert back == came or (back in keys(kept) and came in keys(pool.maps))
        for place, (old, new) in enumerate(zip(keys(kept), keys(pool.maps), strict=True)):
            if old != new:  # the row that went in got what stood there
                assert keys(given)[keys(maps).index(new)] == keys(kept)[place]
                exchanged += 1
        assert pool.maps.shape == (size, *SHAPE)
        assert int(pool.held) == size
    expected = {(16, 8): 0.5, (8, 8): 0.5, (5, 12): 0.38, (1, 4): 0.234}[size, batch]
    assert exchanged / (200 * batch) == pytest.approx(expected, abs=0.04)


def test_every_kept_map_comes_back_some_day() -> None:
    """No place of the pool is forgotten."""
    pool = ReplayPool(6, SHAPE)
    for step in range(60):
        pool(numbered(4, step))
    assert min(keys(pool.maps)) >= 4000


def test_looking_keeps_nothing() -> None:
    """In eval mode, and without a pool, maps come back as they are, cut off from what made them."""
    pool, none = ReplayPool(4, SHAPE), ReplayPool(0, SHAPE)
    maps = numbered(4, 1).requires_grad_()
    assert torch.equal(none(maps), maps)
    assert not pool(maps).requires_grad
    state = {key: value.clone() for key, value in pool.state_dict().items()}
    other = numbered(4, 2)
    assert torch.equal(pool.eval()(other), other)
    assert all(torch.equal(value, state[key]) for key, value in pool.state_dict().items())


def numbered(count: int, step: int) -> Tensor:
    """Give maps that hold their own number."""
    return (100.0 * step + torch.arange(count)).view(-1, 1, 1, 1).expand(-1, *SHAPE).clone()


def keys(maps: Tensor) -> list[float]:
    """Read the numbers."""
    return maps[:, 0, 0, 0].tolist()
