"""Holes have the size asked for, are new for each image and step, and are drawn as if image by image."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from selfsup import processes
from selfsup.views import masks

RANDOM: dict[str, Callable[[Tensor], Tensor]] = {"blocks": masks.blocks, "region": masks.region}


def images(count: int = 8, side: int = 32) -> Tensor:
    return torch.zeros(count, 3, side, side)


def test_centre_at_128_is_the_released_one() -> None:
    """A hole of [36, 92), and with an overlap of 4 px a target of [32, 96); the ring is 4 px wide everywhere."""
    hole = masks.centre(images(2, 128), 56)
    target = masks.grown(hole, 4)
    for square, first, last in ((hole, 36, 92), (target, 32, 96)):
        assert square.sum((1, 2, 3)).tolist() == [(last - first) ** 2] * 2
        assert square[:, :, first:last, first:last].all()


def test_growing_is_in_squares_within_the_image() -> None:
    hole = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    hole[..., 0, 2] = True
    grown = masks.grown(hole, 1)
    assert grown[0, 0, :2, 1:4].all()
    assert grown.sum() == 6
    assert torch.equal(masks.grown(hole, 0), hole)


@pytest.mark.parametrize("side", [32, 50])
@pytest.mark.parametrize("name", RANDOM)
def test_a_hole_never_exceeds_a_quarter(name: str, side: int) -> None:
    """And is no crumb: a region covers a quarter to the pixel, blocks are at least one square and most often more."""
    torch.manual_seed(0)
    shares = RANDOM[name](images(500, side)).float().mean((1, 2, 3))
    assert shares.max() <= 0.25
    if name == "region":
        assert shares.min().item() == int(side * side / 4) / side**2
    else:
        assert shares.min().item() >= (round(3 / 16 * side) / side) ** 2
        assert 0.19 < shares.mean() < 0.24


@pytest.mark.parametrize("name", RANDOM)
def test_holes_are_new_for_each_image_and_step_and_seeded(name: str) -> None:
    torch.manual_seed(0)
    first, second = RANDOM[name](images()), RANDOM[name](images())
    torch.manual_seed(0)
    assert torch.equal(RANDOM[name](images()), first)
    holes = torch.cat([first, second]).flatten(1)
    same = (holes[:, None] == holes[None]).all(2)
    assert torch.equal(same, torch.eye(16, dtype=torch.bool))


@pytest.mark.parametrize("name", RANDOM)
def test_holes_lie_anywhere(name: str) -> None:
    """No pixel is always kept, none is dropped in half of the images."""
    torch.manual_seed(0)
    often = RANDOM[name](images(2000)).float().mean(0)
    assert often.min() > 0.001
    assert often.max() < 0.5


def test_blocks_equal_a_loop_over_squares() -> None:
    """Squares of 6 to 10 px are added one by one, until the next would cover more than a quarter."""
    torch.manual_seed(3)
    holes = masks.blocks(images(64))
    torch.manual_seed(3)
    drawn = torch.rand(64, 3, 5, 1)
    sides = set()
    for n in range(64):
        covered: set[tuple[int, int]] = set()
        for k in range(5):
            size = 6 + int(drawn[n, 0, k] * 5)
            top, left = (int(drawn[n, i, k] * (32 - size + 1)) for i in (1, 2))
            square = {(y, x) for y in range(top, top + size) for x in range(left, left + size)}
            sides.add(size)
            if len(covered | square) > 256:
                break
            covered |= square
        assert {(y, x) for _, y, x in holes[n].nonzero().tolist()} == covered
    assert sides == {6, 7, 8, 9, 10}


def test_reach_is_the_factor_by_which_a_polygon_is_grown() -> None:
    """A pixel lies inside the polygon grown by s (even-odd rule, edge by edge) exactly if its reach is below s."""
    torch.manual_seed(0)
    drawn, side = torch.rand(6, masks.POLYGONS, masks.CORNERS + 5), 24
    found = masks.reaches(drawn, side)
    for n, p in torch.cartesian_prod(torch.arange(6), torch.arange(masks.POLYGONS)).tolist():
        for s in (3.0, 8.0):
            corners = [corner(drawn[n], p, k, s, side) for k in range(masks.CORNERS)]
            inside = [[crossings(corners, x + 0.5, y + 0.5) % 2 == 1 for x in range(side)] for y in range(side)]
            clear = (found[n, p] / s - 1).abs() > 1e-4  # what lies on the edge may go either way
            assert torch.equal((found[n, p] < s)[clear], torch.tensor(inside)[clear])


def corner(drawn: Tensor, polygon: int, number: int, factor: float, side: int) -> tuple[float, float]:
    """Give a corner of a grown polygon in pixels: at even angles, stretched, turned, moved."""
    middle = [side * value for value in drawn[0, :2].tolist()]
    if polygon:
        middle = [m + side * (value - 0.5) / 2 for m, value in zip(middle, drawn[polygon, :2].tolist(), strict=True)]
    turn, stretch, size, radius = (drawn[polygon, k].item() for k in (2, 3, 4, 5 + number))
    length = factor * (0.5 + 0.5 * size) * (0.3 + 0.7 * radius)
    angle = 2 * math.pi * number / 8
    x = length * math.cos(angle) / 1.6 ** (stretch - 0.5)
    y = length * math.sin(angle) * 1.6 ** (stretch - 0.5)
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    return middle[0] + cosine * x - sine * y, middle[1] + sine * x + cosine * y


def crossings(corners: list[tuple[float, float]], x: float, y: float) -> int:
    """Count the edges that a ray to the right crosses."""
    count = 0
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            count += 1
    return count


@pytest.mark.parametrize("name", RANDOM)
def test_precision_does_not_move_a_hole(name: str) -> None:
    """Inside bfloat16 autocast and for float64 images the holes are the same."""
    torch.manual_seed(0)
    expected = RANDOM[name](images())
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(RANDOM[name](images()), expected)
    torch.manual_seed(0)
    assert torch.equal(RANDOM[name](images().double()), expected)


@pytest.mark.parametrize("name", RANDOM)
def test_two_processes_cut_what_one_cuts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    alone = RANDOM[name](images())
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        assert torch.equal(RANDOM[name](images(4)), alone[4 * rank : 4 * rank + 4])
