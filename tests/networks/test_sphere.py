"""Points on a sphere: of length 1, evenly spread, and decided by seed and number alone."""

import torch

from selfsup.draws import mix
from selfsup.networks import sphere

SEED = torch.tensor(7)


def test_a_point_depends_on_its_number_alone() -> None:
    """Any selection, in any order, gives the same points; another seed gives others."""
    points = sphere.points(torch.arange(100), SEED, 9)
    some = torch.tensor([70, 3, 99])
    assert torch.equal(sphere.points(some, SEED, 9), points[some])
    assert (sphere.points(some, SEED + 1, 9) - points[some]).abs().max() > 0.1


def test_numbers_are_mixed_as_seeds_are() -> None:
    """The same arithmetic modulo 2^64 as `draws.mix`, one number at a time."""
    found = sphere._hashed(SEED, torch.tensor([[0], [5], [2**40]]), torch.arange(3))
    for row, number in enumerate((0, 5, 2**40)):
        for column in range(3):
            assert found[row, column].item() == (mix(7, number, column) >> 10) * 2.0**-53


def test_points_spread_evenly() -> None:
    """Length 1, mean 0, no direction preferred, and almost orthogonal: cosines have deviation 1 / sqrt(d)."""
    points = sphere.points(torch.arange(4000), SEED, 64)
    assert torch.allclose(points.norm(dim=1), torch.ones(4000, dtype=torch.float64))
    assert points.mean(0).abs().max() < 4 / (64 * 4000) ** 0.5
    assert torch.allclose(points.T @ points / 4000 * 64, torch.eye(64, dtype=torch.float64), atol=0.09)
    cosines = (points[:500] @ points[500:1000].T).flatten()
    assert abs(cosines.std().item() * 8 - 1) < 0.01
    assert abs((cosines * 8).pow(4).mean().item() - 3 * 64 / 66) < 0.05  # as on a sphere, nearly normal
