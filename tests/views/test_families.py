"""Families: changes within their ranges, none where they are none, the same for one process and two."""

import math

import pytest
import torch

from selfsup import processes
from selfsup.views.crops import center
from selfsup.views.families import Ranges, changed, family, random_changes
from selfsup.views.hsv import change, palette_of, stretch
from selfsup.views.windows import window


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Draw the same changes whatever ran before: a hue that hardly turns is no mistake."""
    torch.manual_seed(0)


PAPER = Ranges(0.2, 2**0.5, 20.0, 2.0, 4.0, 2**0.5, 0.1, 0.1)
NOTHING = Ranges(0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0)


def images(count: int = 4, side: int = 36) -> torch.Tensor:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    return (torch.nn.functional.interpolate(coarse, size=side, mode="bilinear").clamp(0, 1) * 255).round() / 255


def made(x: torch.Tensor, ranges: Ranges = PAPER, copies: int = 3) -> torch.Tensor:
    return family(x, copies, 32, palette_of(images(16)), ranges)


def test_without_changes_copies_are_the_seed() -> None:
    expected = center(images(), 32).repeat_interleave(3, 0)
    torch.testing.assert_close(made(images(), NOTHING), expected, atol=1 / 255, rtol=0)


def test_every_draw_is_in_its_range() -> None:
    """Over 100,000 draws; factors are symmetric in their logarithm, and both ends are reached."""
    changes = random_changes(torch.empty(100_000, 0), PAPER)._asdict()
    drawn = {
        "shifts": (0.2, False),
        "scales": (2**0.5, True),
        "angles_degrees": (20.0, False),
        "contrasts": (2.0, True),
        "powers": (4.0, True),
        "factors": (2**0.5, True),
        "sums": (0.1, False),
        "hues": (0.1, False),
    }
    assert drawn.keys() == changes.keys()
    for name, (most, is_factor) in drawn.items():
        values = changes[name].log2() if is_factor else changes[name]
        top = math.log2(most) if is_factor else most
        assert values.abs().max() <= top + 1e-5, name
        assert values.max() > 0.99 * top, name
        assert values.min() < -0.99 * top, name
        assert values.mean().abs() < 0.02 * top, name


def test_saturation_and_value_are_drawn_apart() -> None:
    changes = random_changes(torch.empty(1000, 0), PAPER)
    for two in (changes.powers, changes.factors, changes.sums, changes.shifts):
        assert torch.corrcoef(two.T)[0, 1].abs() < 0.15


def test_copies_stand_together_differ_and_stay_in_range() -> None:
    """A flat image keeps its brightness through moves; copies of one image are all different."""
    shades = torch.linspace(0.1, 0.9, 4)[:, None, None, None].expand(4, 3, 36, 36)
    moved = made(shades, NOTHING._replace(shift=0.2, scale=1.4, rotation=20.0))
    torch.testing.assert_close(moved.mean((1, 2, 3)), shades[:, 0, 0, 0].repeat_interleave(3), atol=1e-5, rtol=0)
    copies = made(images())
    assert copies.shape == (12, 3, 32, 32)
    assert copies.min() >= 0
    assert copies.max() <= 1
    assert torch.pdist(copies.flatten(1)).min() > 0.1


@pytest.mark.parametrize("name", Ranges._fields)
def test_each_range_changes_copies_by_itself(name: str) -> None:
    """None is forgotten; changes of colour treat all pixels of one colour alike."""
    copies = made(images(), NOTHING._replace(**{name: getattr(PAPER, name)}))
    unchanged = made(images(), NOTHING)
    assert (copies - unchanged).abs().mean((1, 2, 3)).min() > 1e-4
    if name not in ("shift", "scale", "rotation"):
        squares = images()[:, :, :1, :1].expand(-1, -1, 36, 36)
        flat = made(squares, NOTHING._replace(**{name: getattr(PAPER, name)}))
        torch.testing.assert_close(flat, flat[:, :, :1, :1].expand_as(flat), atol=1e-5, rtol=0)


def test_changes_come_in_the_order_of_the_paper() -> None:
    """Geometry, principal colours, then hue, saturation and value."""
    changes = random_changes(torch.empty(4, 0), PAPER)
    palette = palette_of(images(16))
    moved = window(images(), changes.shifts, changes.scales, changes.angles_degrees, 32)
    expected = change(stretch(moved, palette, changes.contrasts), *changes[4:])
    torch.testing.assert_close(changed(images(), *changes, size=32, palette=palette), expected)


def test_no_pixel_is_filled() -> None:
    """White pictures stay white to the corners however they are moved, also where nothing is stored beyond."""
    white = torch.ones(50, 3, 32, 32)
    moved = made(white, NOTHING._replace(shift=0.2, scale=1.4, rotation=20.0))
    torch.testing.assert_close(moved, torch.ones_like(moved))


def test_same_seed_gives_the_same_copies_in_one_process_and_two(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    alone = made(images(4))
    torch.manual_seed(5)
    assert torch.equal(made(images(4)), alone)
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        half = made(images(4)[2 * rank : 2 * rank + 2])
        torch.testing.assert_close(half, alone[6 * rank : 6 * rank + 6], atol=1e-6, rtol=0)
