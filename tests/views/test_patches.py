"""Patches: cut where they should be, and with nothing left that betrays where that was."""

import pytest
import torch
from torch.nn import functional as F

from selfsup import draws
from selfsup.views import patches


def pictures(count: int = 6, side: int = 24) -> torch.Tensor:
    """Give noise, so that no two pixels are alike."""
    return torch.rand(count, 3, side, side)


def test_cells_are_row_by_row() -> None:
    """Cell i of a grid of three stands in row i // 3 and column i % 3."""
    top, left = patches.cells(torch.empty(2, 0), 3, 8)
    assert top.tolist() == [[0, 0, 0, 8, 8, 8, 16, 16, 16]] * 2
    assert left.tolist() == [[0, 8, 16, 0, 8, 16, 0, 8, 16]] * 2


def test_cut_equals_slicing() -> None:
    """Every patch holds exactly the pixels of its square."""
    images = pictures()
    top, left = torch.randint(0, 17, (2, 6, 5)).unbind()
    made = patches.cut(images, top, left, 8)
    for image, its, tops, lefts in zip(images, made, top.tolist(), left.tolist(), strict=True):
        for patch, row, column in zip(its, tops, lefts, strict=True):
            assert torch.equal(patch, image[:, row : row + 8, column : column + 8])


def test_cut_moves_patches_inside() -> None:
    """A patch that would stick out is moved in, so it holds real pixels only."""
    images = pictures(1)
    made = patches.cut(images, torch.tensor([[-3, 30]]), torch.tensor([[30, -3]]), 8)
    assert torch.equal(made[0, 0], images[0, :, :8, 16:])
    assert torch.equal(made[0, 1], images[0, :, 16:, :8])


def test_channels_may_be_cut_in_different_places() -> None:
    """With a place for every channel each is cut at its own."""
    images = pictures(2)
    top, left = torch.randint(0, 17, (2, 2, 4, 3)).unbind()
    made = patches.cut(images, top, left, 8)
    for channel in range(3):
        alone = patches.cut(images[:, channel : channel + 1], top[:, :, channel], left[:, :, channel], 8)
        assert torch.equal(made[:, :, channel], alone[:, :, 0])


def test_jitter_reaches_every_place_in_the_cell_and_no_other() -> None:
    """Offsets 0 to cell - tile, both ends included, each as often; gaps lie in [0, 2 (cell - tile)]."""
    cell, tile = 10, 7
    top, _ = patches.cells(torch.empty(4000, 0), 3, cell)
    moved = patches.jittered(top, cell - tile)
    offsets = moved - top
    assert offsets.unique().tolist() == [0, 1, 2, 3]
    assert (offsets.flatten().bincount() / offsets.numel() - 0.25).abs().max() < 0.01
    gaps = moved[:, 3] - moved[:, 0] - tile
    assert gaps.min() == 0
    assert gaps.max() == 2 * (cell - tile)
    # patches of one image move on their own
    assert abs(torch.corrcoef(offsets[:, :2].T.double())[0, 1].item()) < 0.06


def test_channel_shifts_are_drawn_for_every_channel() -> None:
    """Whole pixels from -most to most, each as often; every patch has shifts of its own."""
    places = torch.full((500, 4), 10)
    shifts = patches.channel_shifts(places, 3, 2) - 10
    assert shifts.shape == (500, 4, 3)
    assert shifts.unique().tolist() == [-2, -1, 0, 1, 2]
    assert ((shifts + 2).flatten().bincount() / shifts.numel() - 0.2).abs().max() < 0.02
    assert (shifts[..., 0] != shifts[..., 1]).any()
    assert (shifts[:, 0] != shifts[:, 1]).any()


def test_standardized_patches_have_mean_zero_and_deviation_one() -> None:
    """Each channel of each patch on its own; a flat one becomes zeros, not a number divided by nothing."""
    given = torch.rand(3, 4, 3, 8, 8) * (torch.rand(3, 4, 3, 1, 1) + 0.1) + torch.rand(3, 4, 3, 1, 1)
    given[1, 2] = 0.3
    made = patches.standardize(given)
    assert made.mean((3, 4)).abs().max() < 1e-3
    flat = torch.zeros(3, 4, dtype=torch.bool)
    flat[1, 2] = True
    assert torch.allclose(made.std((3, 4), correction=0)[~flat], torch.ones(11, 3), atol=1e-3)
    assert made[1, 2].abs().max() < 1e-2


def test_dropping_leaves_one_channel() -> None:
    """The kept channel is untouched and picked evenly for each patch; the others are faint noise around its mean."""
    given = torch.rand(400, 3, 3, 8, 8)
    made = patches.drop_colours(given)
    same = (made == given).all(dim=4).all(dim=3)  # [B, P, 3]
    assert same.sum(2).eq(1).all()
    assert (same.float().mean((0, 1)) - 1 / 3).abs().max() < 0.05
    assert (same[:, 0] != same[:, 1]).any(), "neighbours must not always keep the same channel"
    kept = given[same].view(400, 3, 1, 8, 8)
    others = made[~same].view(400, 3, 2, 8, 8)
    assert torch.allclose(others.mean((3, 4)), kept.mean((3, 4)).expand(-1, -1, 2), atol=5e-3)
    noise = others - kept.mean((3, 4), keepdim=True)
    for axis in (0, 1, 2):  # every channel of every patch has its own
        one, other = (noise.select(axis, k).flatten() for k in (0, 1))
        assert torch.corrcoef(torch.stack([one, other]))[0, 1].abs() < 0.2
    ratio = others.std((3, 4)).mean() / kept.std((3, 4)).mean()
    assert ratio.item() == pytest.approx(0.01, rel=0.1)


def test_share_of_dropped_patches() -> None:
    """A probability per patch, not per image."""
    given = torch.rand(500, 4, 3, 4, 4)
    touched = (patches.drop_colours(given, 0.3) != given).flatten(2).any(2)
    assert touched.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert (touched.any(1) & ~touched.all(1)).any()


def test_projection_removes_green_against_magenta() -> None:
    """B B = B, B a = 0, rank 2, gray stays; the matrix is the paper's."""
    matrix = patches.projection(torch.empty(0, dtype=torch.float64))
    axis = matrix.new_tensor(patches.GREEN_MAGENTA)
    expected = [[5 / 6, 1 / 3, -1 / 6], [1 / 3, 1 / 3, 1 / 3], [-1 / 6, 1 / 3, 5 / 6]]
    assert torch.allclose(matrix, matrix.new_tensor(expected))
    assert torch.allclose(matrix @ matrix, matrix)
    assert (matrix @ axis).abs().max() < 1e-12
    assert torch.linalg.matrix_rank(matrix) == 2
    gray = torch.rand(2, 2, 1, 4, 4).expand(-1, -1, 3, -1, -1)
    assert torch.allclose(patches.project_colours(gray), gray, atol=1e-6)
    made = patches.project_colours(torch.rand(2, 2, 3, 4, 4))
    assert torch.einsum("c,bpchw->bphw", made.new_tensor(patches.GREEN_MAGENTA), made).abs().max() < 1e-5


def test_blunt_equals_resizing_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each patch is shrunk to a side of its own and enlarged again, as a loop over torch's resize does."""
    given = torch.rand(2, 3, 3, 12, 12)
    areas = torch.tensor([[0.02, 0.25, 1.0], [0.5, 0.1, 0.9]])
    answers = iter([torch.zeros(2, 3), areas])
    monkeypatch.setattr(draws, "uniform", lambda *_, **__: next(answers))
    made = patches.blunt(given, probability=1.0)
    for image in range(2):
        for place in range(3):
            side = round(areas[image, place].item() ** 0.5 * 12)
            small = F.interpolate(given[image, place][None], (side, side), mode="bilinear", antialias=True)
            back = F.interpolate(small, (12, 12), mode="bilinear")[0]
            assert torch.allclose(made[image, place], back, atol=1e-5)


def test_blunt_treats_the_stated_share() -> None:
    """Untreated patches come back as they were; sides reach down to the smallest."""
    given = torch.rand(300, 4, 3, 8, 8)
    touched = ((patches.blunt(given, 0.5, smallest=0.25) - given).abs().flatten(2) > 1e-4).any(2)
    # a third of an eighth of the draws keeps the full side of 8 pixels
    assert 0.38 < touched.float().mean().item() < 0.52
    assert (touched.any(1) & ~touched.all(1)).any(), "each patch decides for itself"
    alike = patches.blunt(given[:, :1].expand(-1, 2, -1, -1, -1), 1.0)
    assert (alike[:, 0] - alike[:, 1]).abs().amax() > 0.01, "each patch is shrunk to a side of its own"


def test_assembled_patches_are_the_image() -> None:
    """Cells without gaps, laid out again, give the image back."""
    images = pictures(2)
    top, left = patches.cells(images, 3, 8)
    assert torch.equal(patches.assemble(patches.cut(images, top, left, 8)), images)
    assert patches.assemble(patches.cut(images, top, left, 8), gap=1).shape == (2, 3, 26, 26)
