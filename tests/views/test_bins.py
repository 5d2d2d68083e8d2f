"""Bins of colour: the published grid, soft codes by hand and by brute force, rarity, the way back."""

import math

import pytest
import torch
from torch import Tensor

from selfsup.views import bins, lab

ROWS = {-90: (50, 90), -60: (-20, 90), 0: (-70, 100), 50: (-100, 80), 100: (-90, 0)}
"""Least and greatest b of some rows of the published grid, by a."""


@pytest.mark.parametrize(("step", "count"), [(5, 1083), (8, 460), (10, 313), (12, 228), (20, 101), (25, 72), (30, 54)])
def test_bins_near_colours_of_srgb(step: int, count: int) -> None:
    """Distinct multiples of the step, gray among them, as many as were published."""
    found = bins.in_gamut(float(step))
    assert len(found) == len(found.unique(dim=0)) == count
    assert torch.equal((found / step).round() * step, found)
    assert (found == 0).all(1).sum() == 1


def test_rows_of_the_published_grid() -> None:
    found = bins.in_gamut(10.0)
    for a, ends in ROWS.items():
        b = found[found[:, 0] == a, 1]
        assert (b.min().item(), b.max().item()) == ends
        assert len(b) == (ends[1] - ends[0]) / 10 + 1


def test_every_colour_is_near_a_bin() -> None:
    """No colour of sRGB is further from its bin than half a diagonal."""
    index, _ = codes(colours(), 10.0, 1)
    assert (bins.in_gamut(10.0)[index[:, 0]] - colours()).norm(dim=1).max() <= 5 * math.sqrt(2)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0), [0.6488, 0.0878, 0.0878, 0.0878, 0.0878]),
        ((5, 5), [0.2489, 0.2489, 0.2489, 0.2489, 0.0046]),
        ((3, 4), [0.4062, 0.2723, 0.1825, 0.1224, 0.0166]),
    ],
)
def test_soft_codes_by_hand(colour: tuple[int, int], expected: list[float]) -> None:
    """Weights of five bins with a Gaussian of 5, computed from the formula by hand."""
    _, shares = codes(torch.tensor([colour], dtype=torch.float32), 10.0, 5)
    assert shares[0].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("step", [10.0, 25.0])
@pytest.mark.parametrize("count", [1, 5, 10])
def test_the_nearest_of_all_bins_are_found(step: float, count: int) -> None:
    """The short lists of candidates give the bins that a search through all gives, nearest first."""
    given, grid = colours(), bins.in_gamut(step)
    index, shares = codes(given, step, count)
    apart = torch.cdist(given, grid)
    assert torch.allclose(apart.gather(1, index), apart.topk(count, largest=False).values, atol=1e-3)
    assert torch.allclose(shares.sum(1), torch.ones(len(given)), atol=1e-5)
    assert (shares.diff(dim=1) <= 1e-6).all()


def test_a_narrow_gaussian_gives_one_bin() -> None:
    """The hard code is the limit of the soft one."""
    _, shares = codes(colours()[::7] + 0.01, 10.0, 5, sigma=0.05)
    assert shares[:, 0].min() > 0.999


def test_smoothing_keeps_the_sum() -> None:
    """A share of 1 in one bin is spread like the Gaussian around it."""
    grid = bins.in_gamut(10.0)
    middle = int((grid == 0).all(1).nonzero())
    spread = bins.smoothed(torch.eye(len(grid))[middle], grid, 5.0)
    assert spread.sum().item() == pytest.approx(1, abs=1e-6)
    beside = int((grid == torch.tensor([10.0, 0.0])).all(1).nonzero())
    assert (spread[beside] / spread[middle]).item() == pytest.approx(math.exp(-2), rel=1e-4)


def test_rarity() -> None:
    """Mean weight 1; all equal for the uniform part alone, inverse to the share without it, bounded between."""
    share = torch.rand(313).pow(6).double()
    share[5] = 0
    share /= share.sum()
    for mixing in (1.0, 0.5, 0.1):
        assert (share * bins.rarity(share, mixing)).sum().item() == pytest.approx(1)
    assert torch.allclose(bins.rarity(share, 1.0), torch.ones(313).double())
    common = share[share > 0]
    inverse = bins.rarity(common / common.sum(), 0.0) * common
    assert torch.allclose(inverse, inverse[:1].expand_as(inverse))
    weights = bins.rarity(share, 0.5)
    assert weights.max() / weights.min() <= 314
    by_hand = 1 / (0.5 * share + 0.5 / 313)
    assert torch.allclose(weights, by_hand / (share * by_hand).sum())


def test_decoding() -> None:
    """One sure bin is itself at every temperature; otherwise from the likeliest (0) to the mean (1)."""
    grid = bins.in_gamut(20.0)
    sure = torch.full((1, len(grid), 1, 1), -math.inf)
    sure[0, 7] = 0
    for temperature in (0.0, 0.38, 1.0):
        assert torch.equal(bins.decoded(sure, grid, temperature).flatten(), grid[7])
    logits = torch.randn(2, len(grid), 3, 3)
    mean = torch.einsum("bqhw,qc->bchw", logits.softmax(1), grid)
    assert torch.allclose(bins.decoded(logits, grid, 1.0), mean, atol=1e-4)
    assert torch.allclose(bins.decoded(logits, grid, 1e-3), bins.decoded(logits, grid, 0.0), atol=1e-2)
    sharper = (logits.softmax(1).log() / 0.38).exp()
    annealed = torch.einsum("bqhw,qc->bchw", sharper / sharper.sum(1, keepdim=True), grid)
    assert torch.allclose(bins.decoded(logits, grid, 0.38), annealed, atol=1e-3)


def codes(given: Tensor, step: float, count: int, sigma: float | None = None) -> tuple[Tensor, Tensor]:
    """Code colours over the bins of a step."""
    sigma = step / 2 if sigma is None else sigma
    return bins.soft_codes(given, bins.in_gamut(step), bins.candidates(step, count), step, count, sigma)


def colours() -> Tensor:
    """Give a and b of a cube of sRGB, its faces included."""
    axis = torch.linspace(0, 1, 17)
    return lab.from_rgb(torch.cartesian_prod(axis, axis, axis).T[None, :, :, None])[0, 1:, :, 0].T
