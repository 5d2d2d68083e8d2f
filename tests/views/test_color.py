"""Changes of colour agree with torchvision and decide once per image."""

import itertools

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from selfsup import processes
from selfsup.views import color

APPLY = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)


def images(count: int = 8, side: int = 12) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def always(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.bool)


def neutral(count: int) -> torch.Tensor:
    return torch.tensor([[1.0, 1.0, 1.0, 0.0]]).repeat(count, 1)


def orders(count: int) -> torch.Tensor:
    return torch.tensor(list(itertools.islice(itertools.cycle(itertools.permutations(range(4))), count)))


def test_neutral_amounts_give_the_image_back() -> None:
    x = images(24)
    torch.testing.assert_close(color.adjust(x, neutral(24), orders(24), always(24)), x, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("change", "amounts"),
    [(0, (0.0, 0.6, 1.4)), (1, (0.0, 0.6, 1.8)), (2, (0.0, 0.6, 1.8)), (3, (-0.5, -0.1, 0.01, 0.3, 0.5))],
)
def test_each_change_agrees_with_torchvision(change: int, amounts: tuple[float, ...]) -> None:
    """To 1e-3, and to 1e-5 in all but the hue."""
    x = images()
    x[0, :, :4] = torch.tensor([0.2, 0.2, 0.2])[:, None, None]  # gray has no hue
    x[0, :, 4:6] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    x[0, :, 6:8] = torch.tensor([0.0, 0.7, 0.7])[:, None, None]
    x[0, :, 8] = 0
    for amount in amounts:
        asked = neutral(8)
        asked[:, change] = amount
        ours = color.adjust(x, asked, orders(8), always(8))
        torch.testing.assert_close(ours, APPLY[change](x, amount), atol=1e-3 if change == 3 else 1e-5, rtol=0)


def test_hue_turns_red_to_green_to_blue() -> None:
    """A third of the circle, by eye."""
    red = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    third = torch.tensor([[1.0, 1.0, 1.0, 1 / 3]])
    green = color.adjust(red, third, orders(1), always(1))
    blue = color.adjust(green, third, orders(1), always(1))
    assert green.flatten().tolist() == pytest.approx([0.1, 0.9, 0.1], abs=1e-5)
    assert blue.flatten().tolist() == pytest.approx([0.1, 0.1, 0.9], abs=1e-5)


def test_every_order_agrees_with_torchvision_image_by_image() -> None:
    """All 24 orders, strong amounts that clip, each image with its own; images not chosen are untouched."""
    x = images(48)
    generator = torch.Generator().manual_seed(3)
    amounts = torch.rand(48, 4, generator=generator) * torch.tensor([1.8, 1.8, 1.8, 1.0]) - torch.tensor([0, 0, 0, 0.5])
    chosen = torch.arange(48) % 5 != 0
    ours = color.adjust(x, amounts, orders(48), chosen)
    for image, asked, order, picked, made in zip(x, amounts.tolist(), orders(48).tolist(), chosen, ours, strict=True):
        expected = image
        for change in order if picked else []:
            expected = APPLY[change](expected, asked[change])
        torch.testing.assert_close(made, expected, atol=1e-3, rtol=0)
    assert torch.equal(ours[~chosen], x[~chosen])


def test_jitter_leaves_its_input_alone_and_stays_in_range() -> None:
    x = images(64)
    before = x.clone()
    made = color.jitter(x, 0.8, 0.8, 0.8, 0.2)
    color.adjust(x, *color.random_changes(x, 0.8, 0.8, 0.8, 0.2))
    assert torch.equal(x, before)
    assert made.min() >= 0
    assert made.max() <= 1 + 1e-6


def test_decisions_have_the_law_asked_for() -> None:
    changes = color.random_changes(torch.empty(24_000, 0), 0.4, 0.2, 1.5, 0.1, probability=0.8)
    assert changes.chosen.float().mean() == pytest.approx(0.8, abs=0.01)
    for column, (low, high) in enumerate([(0.6, 1.4), (0.8, 1.2), (0.0, 2.5), (-0.1, 0.1)]):
        values = changes.amounts[:, column]
        assert values.min() == pytest.approx(low, abs=2e-3)
        assert values.max() == pytest.approx(high, abs=2e-3)
        assert values.std() == pytest.approx((high - low) / 12**0.5, rel=0.02)
    _, counts = changes.order.unique(dim=0, return_counts=True)
    assert len(counts) == 24
    assert counts.min() > 850  # 1,000 expected, five deviations of 31
    correlations = torch.corrcoef(torch.cat([changes.amounts, changes.chosen[:, None], changes.order], dim=1).T)[:5, :5]
    assert (correlations - torch.eye(5)).abs().max() < 0.04


def test_grayscale_makes_three_equal_channels_in_its_share_of_images() -> None:
    x = images(1, 2).repeat(4000, 1, 1, 1)
    made = color.grayscale(x, 0.2)
    is_gray = (made[:, 0] == made[:, 1]).flatten(1).all(dim=1) & (made[:, 1] == made[:, 2]).flatten(1).all(dim=1)
    assert is_gray.float().mean() == pytest.approx(0.2, abs=0.03)
    torch.testing.assert_close(made[is_gray], reference.rgb_to_grayscale(x[is_gray], 3), atol=1e-4, rtol=0)
    assert torch.equal(made[~is_gray], x[~is_gray])


def test_blur_agrees_with_torchvision_image_by_image() -> None:
    x = images(4, 20)
    sigmas = torch.tensor([0.1, 0.7, 1.3, 2.0])
    for kernel in (3, 7):
        ours = color.gaussian_blur(x, kernel, sigmas)
        for image, sigma, made in zip(x, sigmas, ours, strict=True):
            expected = reference.gaussian_blur(image, [kernel, kernel], [sigma.item()] * 2)
            torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_blur_keeps_constant_images_and_touches_only_its_share() -> None:
    flat = torch.full((50, 3, 16, 16), 0.4)
    torch.testing.assert_close(color.blur(flat, 5), flat)
    x = images(1, 8).repeat(2000, 1, 1, 1)
    untouched = (color.blur(x, 3, (0.5, 2.0), 0.3) == x).flatten(1).all(dim=1)
    assert untouched.float().mean() == pytest.approx(0.7, abs=0.04)
    assert torch.equal(color.blur(x, 3, probability=0.0), x)
    assert [color.kernel_for(side) for side in (32, 64, 96, 224)] == [3, 7, 9, 23]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: color.jitter(x, 0.4, 0.4, 0.4, 0.1, 0.5),
        lambda x: color.grayscale(x, 0.5),
        lambda x: color.blur(x, 3, probability=0.5),
    ],
)
def test_two_processes_see_what_one_sees(make, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(16)
    torch.manual_seed(5)
    alone = make(x)
    monkeypatch.setattr(processes, "count", lambda: 2)
    halves = []
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        halves.append(make(x[8 * rank : 8 * rank + 8]))
    torch.testing.assert_close(torch.cat(halves), alone, atol=1e-6, rtol=0)


def test_colours_keep_full_precision_inside_autocast() -> None:
    x = images(4, 20)
    sigmas = torch.full((4,), 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = color.gaussian_blur(x, 5, sigmas)
    assert torch.equal(inside, color.gaussian_blur(x, 5, sigmas))
    assert inside.dtype == torch.float32
