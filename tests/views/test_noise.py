"""Corruptions follow the definitions of the denoising autoencoder's papers (spec: invariants of corruption)."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from selfsup import processes
from selfsup.views import noise

MEAN, STD = torch.tensor([0.2, 0.5, 0.7]), torch.tensor([0.1, 0.2, 0.3])
CORRUPTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda x: noise.gaussian(x, 0.5, STD),
    "masking": lambda x: noise.masking(x, 0.3, mean=MEAN)[0],
    "blocks": lambda x: noise.masking(x, 0.3, 4, mean=MEAN)[0],
    "salt and pepper": lambda x: noise.salt_and_pepper(x, 0.3)[0],
}


def images(count: int = 8, side: int = 16) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_no_noise_gives_the_image_exactly() -> None:
    x = images()
    assert torch.equal(noise.gaussian(x, 0.0, STD), x)
    corrupted, kept = noise.masking(x, 0.0, mean=MEAN)
    assert torch.equal(corrupted, x)
    assert kept.all()
    corrupted, changed = noise.salt_and_pepper(x, 0.0)
    assert torch.equal(corrupted, x)
    assert not changed.any()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_target_is_not_touched_and_noise_is_fresh(name: str) -> None:
    x, corrupt = images(), CORRUPTIONS[name]
    before = x.clone()
    first = corrupt(x)
    assert torch.equal(x, before)
    assert first.data_ptr() != x.data_ptr()
    assert not torch.equal(first, corrupt(x))
    torch.manual_seed(3)
    again = corrupt(x)
    torch.manual_seed(3)
    assert torch.equal(corrupt(x), again)


def test_gaussian_noise_is_measured_in_the_encoders_units_and_not_clipped() -> None:
    x = images(64)
    added = noise.gaussian(x, 0.5, STD) - x
    assert added.mean((0, 2, 3)).abs().max() < 0.005
    torch.testing.assert_close(added.std((0, 2, 3)), 0.5 * STD, rtol=0.03, atol=0)
    assert noise.gaussian(torch.ones(8, 3, 16, 16), 0.5, STD).max() > 1.1


def test_noise_is_independent_between_images() -> None:
    added = (noise.gaussian(images(2, 64), 1.0, torch.ones(3)) - images(2, 64)).flatten(1)
    assert torch.corrcoef(added)[0, 1].abs() < 0.05


@pytest.mark.parametrize(("share", "block"), [(0.25, 1), (0.3, 1), (0.5, 4), (0.3, 8)])
def test_masking_erases_an_exact_share_and_keeps_the_rest_bit_for_bit(share: float, block: int) -> None:
    x = images()
    corrupted, kept = noise.masking(x, share, block, mean=MEAN)
    blocks = (16 // block) ** 2
    assert ((~kept).sum((1, 2, 3)) == round(share * blocks) * block**2).all()
    everywhere = kept.expand_as(x)
    assert torch.equal(corrupted[everywhere], x[everywhere])
    assert torch.equal(corrupted[~everywhere], MEAN.view(3, 1, 1).expand_as(x)[~everywhere])
    tiles = kept.view(8, 16 // block, block, 16 // block, block)
    assert (tiles == tiles[:, :, :1, :, :1]).all()


def test_every_pixel_is_masked_equally_often() -> None:
    _, kept = noise.masking(torch.zeros(4000, 3, 6, 6), 0.25, mean=MEAN)
    assert (~kept).float().mean(0).flatten().tolist() == pytest.approx([0.25] * 36, abs=0.035)


def test_blocks_that_do_not_divide_the_side_are_cut_at_the_edge() -> None:
    corrupted, kept = noise.masking(images(2, 10), 0.5, 4, mean=MEAN)
    assert corrupted.shape == (2, 3, 10, 10)
    assert kept.shape == (2, 1, 10, 10)


def test_salt_and_pepper_is_black_or_white_half_each() -> None:
    x = images(64) * 0.8 + 0.1
    corrupted, changed = noise.salt_and_pepper(x, 0.4)
    assert (changed.sum((1, 2, 3)) == round(0.4 * 256)).all()
    everywhere = changed.expand_as(x)
    assert torch.equal(corrupted[~everywhere], x[~everywhere])
    values = corrupted[everywhere]
    assert ((values == 0) | (values == 1)).all()
    assert values.mean() == pytest.approx(0.5, abs=0.03)
    assert (corrupted[:, 0] == corrupted[:, 1])[changed[:, 0]].all()


def signals(count: int = 64, length: int = 40) -> Tensor:
    return torch.randn(count, 3, length, generator=torch.Generator().manual_seed(1))


def test_signals_are_corrupted_like_images_of_one_row() -> None:
    """The same draws, the same samples: noise of the channel's deviation, spans of exactly the share erased."""
    x = signals()
    row = x[:, :, None, :]
    for corrupt in (lambda y: noise.gaussian(y, 0.5, STD), lambda y: noise.masking(y, 0.3, mean=MEAN)[0]):
        torch.manual_seed(2)
        one = corrupt(x)
        torch.manual_seed(2)
        assert torch.equal(one, corrupt(row)[:, :, 0])


def test_spans_of_signals_are_erased_whole() -> None:
    x = signals()
    corrupted, kept = noise.masking(x, 0.5, 8, mean=MEAN)
    spans = kept.view(64, 5, 8)
    assert (spans == spans[:, :, :1]).all()
    assert ((~spans[:, :, 0]).sum(1) == 2).all()  # half of five, rounded to even
    everywhere = kept.expand_as(x)
    assert torch.equal(corrupted[everywhere], x[everywhere])
    assert torch.equal(corrupted[~everywhere], MEAN.view(3, 1).expand_as(x)[~everywhere])
    assert noise.masking(x[:, :, :30], 0.5, 8, mean=MEAN)[1].shape == (64, 1, 30)


def test_salt_and_pepper_of_signals_are_their_own_extremes() -> None:
    """Greatest or least value of that channel in that signal, half each; nothing else moves."""
    x = signals()
    corrupted, changed = noise.salt_and_pepper(x, 0.4)
    assert (changed.sum((1, 2)) == 16).all()
    everywhere = changed.expand_as(x)
    assert torch.equal(corrupted[~everywhere], x[~everywhere])
    greatest, least = (corrupted == x.amax(2, keepdim=True)), (corrupted == x.amin(2, keepdim=True))
    assert (greatest | least)[everywhere].all()
    assert greatest[everywhere].float().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_two_processes_see_what_one_sees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, corrupt = images(), CORRUPTIONS[name]
    torch.manual_seed(5)
    alone = corrupt(x)
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        assert torch.equal(corrupt(x[4 * rank : 4 * rank + 4]), alone[4 * rank : 4 * rank + 4])
