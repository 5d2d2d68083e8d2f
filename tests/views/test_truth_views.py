"""Views of scenes: picture and maps stay together, and what points right points left in a mirror."""

import pytest
import torch
from torch import Tensor

from selfsup.views import truth


@pytest.mark.parametrize("flip", [False, True])
def test_maps_are_cut_like_the_picture(flip: bool) -> None:
    """Each pixel of a view has depth, normal and contour of the pixel it shows; flipping negates x of normals alone."""
    maps = coordinates(50, 9)
    views = truth.random_crop(maps, 6, flip=flip)
    assert {name: values.shape for name, values in views.items()} == {
        name: (50, values.shape[1], 6, 6) for name, values in maps.items()
    }
    mirrored = 0
    corners = set()
    for n in range(50):
        top, left = (int(v) for v in (views["scenes"][n, 0].min(), views["scenes"][n, 1].min()))
        turned = bool(views["scenes"][n, 1, 0, 0] > views["scenes"][n, 1, 0, 1])
        for name, values in maps.items():
            expected = values[n, :, top : top + 6, left : left + 6].clone()
            if turned:
                expected = expected.flip(2)
                if name == "normals":
                    expected[0] *= -1
            assert torch.equal(views[name][n], expected), name
        mirrored += turned
        corners.add((top, left))
    assert (mirrored > 10) == flip
    assert mirrored < 40
    assert len(corners) > 8


def test_flipping_twice_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a picture that is cut whole."""
    maps = coordinates(3, 5)
    zero, all_flipped = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool)
    twice = truth.cut(truth.cut(maps, zero, zero, all_flipped, 5), zero, zero, all_flipped, 5)
    for name, values in maps.items():
        assert torch.equal(twice[name], values)


def test_a_batch_is_laid_out() -> None:
    """Depth gets a channel; what a batch does not have, and what is no map, is left out."""
    maps = truth.laid_out({"scenes": torch.rand(2, 3, 4, 4), "depth": torch.rand(2, 4, 4), "frames": torch.zeros(2)})
    assert {name: tuple(values.shape) for name, values in maps.items()} == {
        "scenes": (2, 3, 4, 4),
        "depth": (2, 1, 4, 4),
    }
    assert truth.center(maps, 2)["depth"].shape == (2, 1, 2, 2)


def test_drawings() -> None:
    """Near is bright and far is dark, in the same scale for truth and guess; black where nothing is."""
    log_depth = torch.linspace(0, 1, 100).view(1, 1, 10, 10)
    drawn = truth.draw_depth(log_depth)
    assert drawn.shape == (1, 3, 10, 10)
    assert drawn[0, 0].flatten().diff().max() <= 0
    assert drawn[0, 0, 0, 0] == 1
    assert drawn[0, 0, -1, -1] == pytest.approx(truth.FAINTEST)
    seen = log_depth > 0.5
    low, high = truth.depth_range(log_depth, seen)
    assert low.item() == pytest.approx(0.51, abs=0.02)
    assert truth.draw_depth(log_depth, low, high, seen)[0, 0, 0, 0] == 0
    assert truth.depth_range(log_depth, log_depth > 2)[0].item() == 0
    normals = torch.zeros(1, 3, 2, 2)
    normals[0, 0, 0, 0] = 3
    assert truth.draw_normals(normals)[0, :, 0, 0].tolist() == [1, 0.5, 0.5]
    assert truth.draw_normals(normals)[0, :, 0, 1].tolist() == [0, 0, 0]


def coordinates(count: int, side: int) -> dict[str, Tensor]:
    """Give maps whose pixels say where they are."""
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    offsets = torch.arange(float(count)).view(-1, 1, 1)
    planes = {
        "scenes": [y, x, x * y],
        "depth": [1 + y + 20 * x],
        "normals": [x + 1, y, y - x],
        "contours": [(y + x) % 2],
    }
    return {
        name: torch.stack([plane + 0 * offsets for plane in each], dim=1).expand(count, -1, -1, -1).clone()
        for name, each in planes.items()
    }
