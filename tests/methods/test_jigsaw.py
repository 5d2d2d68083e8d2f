"""Jigsaw: tiles are cut, standardized and shuffled as said, and nothing but their content tells the order."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selfsup import draws
from selfsup.errors import InputError
from selfsup.method import Batch
from selfsup.methods.jigsaw import CFNHead, Jigsaw, PooledHead
from selfsup.networks.encoders import build_encoder
from selfsup.views.permutations import permutation_set


def jigsaw(size: int = 32, encoder: str = "small", **settings: object) -> Jigsaw:
    """Give a puzzle solver in training mode."""
    torch.manual_seed(0)
    return Jigsaw(build_encoder(encoder, size, seed=0), **settings)  # type: ignore[arg-type]


def batch(images: torch.Tensor) -> Batch:
    """Give a batch of these images."""
    return Batch(images, torch.arange(len(images)), 0, 0.0)


@pytest.mark.parametrize(
    ("size", "grid", "cell", "tile", "shift", "classes"),
    [
        (32, 2, 16, 12, 0, 24),
        (48, 3, 16, 12, 0, 64),
        (64, 3, 22, 16, 1, 64),
        (96, 3, 32, 24, 1, 64),
        (224, 3, 75, 64, 2, 64),
    ],
)
def test_geometry_follows_the_size(size: int, grid: int, cell: int, tile: int, shift: int, classes: int) -> None:
    """The paper's cells of 75 and tiles of 64 at its size; two by two with all 24 orders at 32 pixels."""
    method = jigsaw(size)
    assert (method.grid, method.cell, method.tile, len(method.permutations)) == (grid, cell, tile, classes)
    assert method.channel_shift == shift
    assert method.headline_chance == 1 / classes


def places(side: int, count: int = 1) -> torch.Tensor:
    """Give images whose three channels all hold their own row, and others that hold their column, [2, count, ...]."""
    row, column = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return torch.stack([row, column])[:, None, None].expand(-1, count, 3, -1, -1) / side


@pytest.mark.parametrize(("size", "store"), [(32, 32), (48, 48), (96, 96), (96, 110)])
def test_tiles_lie_in_their_cells(size: int, store: int) -> None:
    """Every channel of tile i comes from cell (i // n, i % n) at every offset, row by row; gaps are never negative."""
    method = jigsaw(size, grayscale=0.0, flip=False)
    method.grayscale = 0.0
    torch.manual_seed(0)
    for axis, images in enumerate(places(store, 300)):
        tiles = method.cut(images) * store  # [B, P, 3, t, t]
        first = tiles.amin((3, 4)).round()
        assert (tiles.amax((3, 4)).round() - first).eq(method.tile - 1).all()
        index = torch.arange(method.grid**2)
        cell = (index // method.grid if axis == 0 else index % method.grid) * method.cell
        offset = first - cell[:, None]
        # a larger store moves the whole puzzle
        spread = offset - offset.amin((1, 2), keepdim=True) if store > size else offset
        assert spread.min() == 0
        assert spread.max() == method.cell - method.tile


def test_tiles_move_down_and_across_on_their_own() -> None:
    """A tile's place in its cell is anywhere, not on the cell's diagonal."""
    rows, columns = places(32, 400)
    tiles = jigsaw(grayscale=0.0, flip=False).cut(torch.cat([rows[:, :1], columns[:, :2]], 1))
    assert torch.corrcoef(tiles[:, 0, :2, 0, 0].T)[0, 1].abs() < 0.15


def test_channels_move_against_each_other_in_both_directions() -> None:
    """From 64 px on the channels of a tile are cut in different places, up to twice the shift apart."""
    method = jigsaw(96, grayscale=0.0, flip=False)
    for images in places(96, 100):
        first = method.cut(images).amin((3, 4)) * 96
        apart = (first.amax(2) - first.amin(2)).round()
        assert apart.max() == 2 * method.channel_shift
        assert (apart == 0).any()


@pytest.mark.parametrize("size", [48, 96])
def test_gray_puzzles_are_gray_in_all_tiles(size: int) -> None:
    """Gray is decided per image, before it is cut, in the stated share; channels of gray puzzles do not move."""
    method = jigsaw(size)
    tiles = method.cut(torch.rand(400, 3, size, size))
    gray = (tiles - tiles[:, :, :1]).abs().flatten(2).amax(2) < 1e-5  # [B, 9]
    assert (gray.all(1) | ~gray.any(1)).all()
    assert gray[:, 0].float().mean().item() == pytest.approx(0.3, abs=0.07)


def test_half_of_the_images_are_mirrored() -> None:
    """A whole image is mirrored before it is cut, or not at all."""
    _, columns = places(32, 400)
    tiles = jigsaw(grayscale=0.0).cut(columns)
    rises = tiles[..., -1] > tiles[..., 0]
    assert (rises.flatten(1).all(1) | ~rises.flatten(1).any(1)).all()
    assert rises[:, 0, 0, 0].float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_orders_come_from_the_whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every permutation of the set is asked for, each about as often."""
    method = jigsaw()
    asked: list[torch.Tensor] = []
    solve = method.solve
    monkeypatch.setattr(method, "solve", lambda features, order: (asked.append(order), solve(features, order))[1])
    for _ in range(8):
        list(method.losses(batch(torch.rand(64, 3, 32, 32))))
    counts = torch.cat(asked).flatten().bincount(minlength=24)
    assert counts.min() > 0
    assert counts.max() < 3 * 512 / 24


def test_criterion_chooses_the_set() -> None:
    """The paper's criterion gives the paper's kind of set."""
    found = jigsaw(48, criterion="mean").permutations.numpy()
    assert (found == permutation_set(64, 9, "mean")).all()
    assert (found != jigsaw(48).permutations.numpy()).any()


@pytest.mark.parametrize(("encoder", "size"), [("alexnet", 96), ("convnext_atto", 96), ("vit_tiny_patch16_224", 32)])
def test_tiles_too_small_for_an_encoder_are_enlarged(encoder: str, size: int) -> None:
    """Where an encoder takes no tile, it is given tiles of the whole image's side."""
    method = jigsaw(size, encoder)
    assert method.side == size
    (objective,) = method.losses(batch(torch.rand(4, 3, size, size)))
    objective.loss.backward()
    assert torch.isfinite(objective.loss)


def test_encoder_sees_standardized_tiles() -> None:
    """After the encoder's own normalization each channel of each tile has mean 0 and deviation 1."""
    method = jigsaw()
    tiles = method.encoder.normalize(method.tiles(torch.rand(4, 3, 32, 32)).flatten(0, 1))
    assert tiles.mean((2, 3)).abs().max() < 1e-4
    assert (tiles.std((2, 3), correction=0) - 1).abs().max() < 1e-3


def test_shuffling_shows_the_named_tile_at_each_place() -> None:
    """Place i shows tile p[i]; the inverse order restores the list; no feature changes."""
    method = jigsaw(48)
    seen: list[torch.Tensor] = []
    method.head = Watching(seen)
    features = torch.randn(5, 9, 7)
    order = torch.randint(64, (5, 2))
    method.solve(features, order)
    for row, (image, k) in enumerate((i, k) for i in range(5) for k in order[i]):
        for place, tile in enumerate(method.permutations[k].tolist()):
            assert torch.equal(seen[0][row, place], features[image, tile])
        assert torch.equal(seen[0][row][method.permutations[k].argsort()], features[image])


class Watching(nn.Module):
    """A head that remembers what it was shown."""

    def __init__(self, seen: list[torch.Tensor]) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Give zeros."""
        self.seen.append(features)
        return features.new_zeros(len(features), 64)


@pytest.mark.parametrize("kind", ["cfn", "pooled"])
def test_loss_equals_a_loop_over_puzzles(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each image its tiles are encoded alone, put in order, and the order's log-probability is averaged."""
    method = jigsaw(head=kind, hidden=32, grayscale=0.0).double().eval()
    tiles = method.tiles(torch.rand(4, 3, 32, 32, dtype=torch.float64))
    orders = torch.tensor([[3], [0], [23], [7]])
    monkeypatch.setattr(method, "tiles", lambda _: tiles)
    monkeypatch.setattr(draws, "integers", lambda *_, **__: orders)
    (objective,) = method.losses(batch(tiles[:, 0]))
    total = 0.0
    for image, (k,) in enumerate(orders.tolist()):
        shown = [tiles[image, tile][None] for tile in method.permutations[k].tolist()]
        if kind == "cfn":
            encoded = torch.stack([method.encoder(tile).flatten(1) for tile in shown], 1)
        else:
            encoded = torch.stack([method.encoder.vector(tile) for tile in shown], 1)
        total -= F.log_softmax(method.head(encoded), 1)[0, k].item()
    assert objective.loss.item() == pytest.approx(total / 4, rel=1e-9)


@pytest.mark.parametrize("kind", ["cfn", "pooled"])
def test_tiles_are_encoded_on_their_own(kind: str) -> None:
    """In eval mode a tile's features do not depend on the other tiles, and the answer depends on their order."""
    method = jigsaw(head=kind, hidden=32).eval()
    tiles = torch.rand(3, 4, 3, 12, 12)
    other = torch.cat([tiles[:, :1], torch.rand(3, 3, 3, 12, 12)], 1)
    assert torch.allclose(method.features(tiles)[:, 0], method.features(other)[:, 0], atol=1e-6)
    features = method.features(tiles)
    first, second = (method.solve(features, torch.full((3, 1), k)) for k in (0, 5))
    assert not torch.allclose(first, second, atol=1e-6)


def test_untrained_head_guesses_at_chance() -> None:
    """A zero layer gives ln n."""
    method = jigsaw(48)
    assert isinstance(method.head, PooledHead)
    nn.init.zeros_(method.head.together[-1].weight)
    nn.init.zeros_(method.head.together[-1].bias)
    (objective,) = method.losses(batch(torch.rand(8, 3, 48, 48)))
    assert objective.loss.item() == pytest.approx(math.log(64), rel=1e-5)
    assert objective.chance == math.log(64)


@pytest.mark.parametrize("size", [32, 96])
def test_constant_images_tell_nothing(size: int) -> None:
    """Flat tiles are all alike for the encoder."""
    method = jigsaw(size, grayscale=0.0)
    tiles = method.tiles(torch.rand(16, 3, 1, 1).expand(-1, -1, size, size))
    assert method.encoder.normalize(tiles.flatten(0, 1)).abs().max() < 0.01


def test_paper_head_has_the_paper_layers() -> None:
    """AlexNet gets fc6 of 1024 per tile, 9 of them side by side, fc7 of 4096."""
    method = jigsaw(224, "alexnet")
    assert isinstance(method.head, CFNHead)
    assert (method.head.fc6.out_features, method.head.fc7.in_features) == (1024, 9216)
    assert (method.head.fc7.out_features, method.head.fc8.out_features) == (4096, 64)


def test_dropout_halves_and_doubles() -> None:
    """In training half of a layer's values are dropped and the rest doubled; in eval mode none."""
    head = CFNHead(5, 4, 16, 8, 24)
    values = torch.ones(64, 4, 16)
    made = head._dropout(values)
    assert made.unique().tolist() == [0.0, 2.0]
    assert made.mean().item() == pytest.approx(1, abs=0.06)
    assert not torch.equal(made[0], made[1])  # each image and each tile on its own
    assert not torch.equal(made[:, 0], made[:, 1])
    assert torch.equal(head.eval()._dropout(values), values)


def test_several_puzzles_share_the_encoded_tiles() -> None:
    """More puzzles per image ask more orders of the same tiles, each drawn on its own."""
    method = jigsaw(puzzles=3)
    calls: list[torch.Size] = []
    entrance = next(m for m in method.encoder.modules() if isinstance(m, nn.Conv2d))
    entrance.register_forward_pre_hook(lambda _, args: calls.append(args[0].shape))
    shown: list[torch.Tensor] = []
    method.head.register_forward_pre_hook(lambda _, args: shown.append(args[0]))
    list(method.losses(batch(torch.rand(6, 3, 32, 32))))
    assert [shape[0] for shape in calls] == [6 * 4]
    assert shown[0].shape[:2] == (18, 4)
    first, second, _ = shown[0].unflatten(0, (6, 3)).unbind(1)
    assert not torch.equal(first, second)


def test_solved_puzzles_are_drawn_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the named order is right, the lower row of the picture shows the tiles where they belong."""
    method = jigsaw(48, grayscale=0.0, flip=False)
    right = torch.tensor([[5], [9]])
    monkeypatch.setattr(
        draws, "integers", lambda like, *shape, below: right if below == 64 else like.new_zeros(2, *shape).long()
    )
    monkeypatch.setattr(method, "solve", lambda *_: F.one_hot(right[:, 0], 64).float())
    images = torch.rand(2, 3, 48, 48)
    (picture,) = method.figures(batch(images)).values()
    cut = method.cut(images)
    gap, side = 2, 3 * 12 + 2
    for number in range(2):
        lower = picture[:, side + gap : 2 * side + gap, number * (side + gap) : number * (side + gap) + side]
        for tile in range(9):
            row, column = tile // 3 * 13, tile % 3 * 13
            assert torch.allclose(lower[:, row : row + 12, column : column + 12], cut[number, tile])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"grid": 4}, "grid of 2 or 3"),
        ({"grid": 3, "tile": 12}, "A tile of 12 pixels does not suit cells of 11 pixels"),
        ({"permutations": 30}, "4 pieces have 24 permutations, got 30"),
        ({"puzzles": 0}, "puzzles must be at least 1"),
        ({"grayscale": 1.5}, "grayscale is a share"),
        ({"permutations": 0}, "choose 2 to 24"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"channel_shift": -1}, "channel_shift is 0 to 2 pixels"),
        ({"channel_shift": 3}, "channel_shift is 0 to 2 pixels"),
    ],
)
def test_bad_settings_get_one_sentence(settings: dict[str, object], words: str) -> None:
    """What is wrong, what was given, what would do."""
    with pytest.raises(InputError, match=words):
        jigsaw(**settings)  # type: ignore[arg-type]
