"""Counting: exact tiles, a hinge on whole squared distances, other images as partners, and no way out by counting 0."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import processes
from selfsup.errors import InputError
from selfsup.method import Batch, Objective
from selfsup.methods.counting import (
    Counting,
    Counts,
    bars,
    contrast,
    pairs_of,
    partners,
    squared_distances,
    takes,
    tiles_of,
)
from selfsup.networks.encoders import build_encoder
from selfsup.views import downsampling


def test_tiles_of_a_four_by_four_image() -> None:
    """Upper left, upper right, lower left, lower right; laid together they are the image to the bit."""
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert tiles_of(image)[0, :, 0].tolist() == [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
        [[8, 9], [12, 13]],
        [[10, 11], [14, 15]],
    ]
    images = torch.rand(3, 3, 32, 32)
    one, two, three, four = tiles_of(images).unbind(1)
    assert torch.equal(torch.cat([torch.cat([one, two], 3), torch.cat([three, four], 3)], 2), images)


def test_pixel_sums_do_not_solve_the_task() -> None:
    """With area filters the tiles' pixel sums are four times the whole's: only a network that knows which it sees wins.

    That is the shortcut which random filters close.
    """
    images = torch.rand(2, 3, 8, 8)
    whole = downsampling.halve(images, torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(tiles_of(images).sum((1, 2, 3, 4)), 4 * whole.sum((1, 2, 3)))


def test_loss_equals_a_loop_over_pairs_and_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula of the paper, with the hinge on the whole squared distance of each pair; and all that is reported."""
    method = counting(margin=6.0)
    tiles = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(2)) * (torch.arange(3) < 2)
    whole = tiles.sum(1) + torch.linspace(-0.5, 2.5, 5)[:, None] * (torch.arange(3) < 2)
    monkeypatch.setattr(method, "count", lambda _: Counts(tiles, whole))
    objective = one_loss(method, pictures(5))
    own, other, right = [], [], 0
    for i, j in enumerate([1, 0, 3, 4, 2]):
        summed = [sum(float(tiles[i, tile, unit]) for tile in range(4)) for unit in range(3)]
        distances = [sum((float(w) - s) ** 2 for w, s in zip(row, summed, strict=True)) for row in whole]
        own.append(distances[i])
        other.append(distances[j])
        right += distances[i] == min(distances)
    expected = sum(a + max(0.0, 6.0 - b) for a, b in zip(own, other, strict=True)) / 5
    hinges = sum(b < 6.0 for b in other)
    assert 0 < hinges < 5
    assert 0 < right < 5
    assert objective.loss.item() == pytest.approx(expected, rel=1e-5)
    said = {name: value.item() for name, value in objective.metrics.items()}
    assert said == pytest.approx(
        {
            "accuracy": right / 5,
            "positive": sum(own) / 5,
            "negative": sum(other) / 5,
            "hinge_active": hinges / 5,
            "active_units": 2 / 3,
        }
    )


def test_counts_belong_to_the_streams_they_were_made_of() -> None:
    """Counting all pictures at once gives what counting each alone gives."""
    method = counting().eval()
    views = method.views(pictures(3).images)
    with torch.no_grad():
        tiles, whole = method.count(views)
        for image in range(3):
            for stream in range(5):
                alone = method.head(method.encoder.vector(views[image, stream][None]))[0]
                together = tiles[image, stream] if stream < 4 else whole[image]
                torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-6)


def test_counting_nothing_costs_the_margin() -> None:
    """All counts 0 is no way out: the loss is M exactly, every image is as near as any other, no unit is active."""
    method = counting()
    nn.init.zeros_(method.head.layers[-1].weight)
    objective = one_loss(method, pictures(8))
    assert objective.loss.item() == objective.chance == 10.0
    assert objective.metrics["accuracy"].item() == method.headline_chance == 1 / 8
    assert objective.metrics["active_units"].item() == 0
    assert objective.metrics["hinge_active"].item() == 1


def test_same_partner_costs_at_least_the_margin() -> None:
    """With y = x both distances are one: M, and more once that passes M."""
    distance = torch.tensor([0.0, 3.0, 25.0])
    assert [contrast(d[None], d[None], 10.0).item() for d in distance] == [10.0, 10.0, 25.0]


def test_hinge_lets_go_beyond_the_margin() -> None:
    """No loss and no gradient from another image that is far enough away."""
    other = torch.tensor([4.0, 10.5, 90.0], requires_grad=True)
    loss = contrast(torch.zeros(3), other, 10.0)
    (gradient,) = torch.autograd.grad(loss, other)
    assert loss.item() == 2.0
    assert gradient[1:].tolist() == [0.0, 0.0]
    assert gradient[0].item() == pytest.approx(-1 / 3)


def test_perfect_counts_cost_nothing() -> None:
    """Units that count each image's own marks: tiles add up, others are further than M."""
    whole = 4 * torch.eye(6)
    total = whole.clone()
    assert contrast(squared_distances(total, whole), squared_distances(total, whole.roll(1, 0)), 10.0).item() == 0


def test_order_of_tiles_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile in the place of the whole does."""
    method = counting().eval()
    batch = pictures(6)
    views = method.views(batch.images)
    losses, distances = [], []
    for order in ([0, 1, 2, 3, 4], [2, 0, 3, 1, 4], [4, 1, 2, 3, 0]):
        monkeypatch.setattr(method, "views", lambda _, order=order: views[:, order])
        objective = one_loss(method, batch)
        losses.append(objective.loss)
        distances.append(objective.metrics["positive"])
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(distances[1], distances[0])
    assert abs(distances[2] / distances[0] - 1) > 1e-3


@pytest.mark.parametrize("count", [2, 3, 8, 9])
def test_partner_is_always_another_image_of_the_same_group(count: int) -> None:
    """Each image is the other one exactly once, and partners share their decision on colour."""
    partner, pairs = partners(count, torch.device("cpu")), pairs_of(count, torch.device("cpu"))
    assert (partner != torch.arange(count)).all()
    assert partner.sort().values.tolist() == list(range(count))
    assert torch.equal(pairs[partner], pairs)


def test_all_terms_of_a_pair_are_gray_or_none() -> None:
    """Tiles and wholes of both partners alike; gray means three equal channels; about 67 % of pairs."""
    images = torch.rand(400, 3, 32, 32)
    views = counting().views(images)
    gray = (views[:, :, :1] == views).flatten(2).all(2)  # [B, 5]
    assert torch.equal(gray, gray[:, :1].expand_as(gray))
    assert torch.equal(gray[0::2], gray[1::2])
    assert gray.float().mean().item() == pytest.approx(0.67, abs=0.1)


def test_views_are_the_tiles_and_the_half_of_one_picture() -> None:
    """No padding, no border that only some tiles would have; halves are as large as a tile, each by its own filter."""
    images = torch.rand(40, 3, 32, 32)
    views = counting(flip=False, grayscale=0.0).views(images)
    assert torch.equal(views[:, :4], tiles_of(images))
    every = torch.arange(len(downsampling.FILTERS))
    halves = torch.stack([downsampling.halve(images, k.expand(40)) for k in every], dim=1)  # [B, K, 3, s, s]
    same = torch.isclose(halves, views[:, 4:], atol=1e-6).flatten(2).all(2)
    assert same.any(1).all()
    assert same.any(0).all()  # each filter is some image's


@pytest.mark.parametrize("rectifier", ["relu", "softplus"])
def test_counts_are_never_negative(rectifier: Any) -> None:
    method = counting(rectifier=rectifier)
    tiles, whole = method.count(method.views(pictures(8).images))
    assert tiles.shape == (8, 4, 1000)
    assert whole.shape == (8, 1000)
    assert tiles.min() >= 0
    assert whole.min() >= 0
    assert whole.max() > 0


@pytest.mark.parametrize("rectifier", ["relu", "softplus"])
def test_counts_start_within_the_margin(rectifier: Any) -> None:
    """Else the first steps would only make them smaller, down to none; most units are alive at first."""
    objective = one_loss(counting(rectifier=rectifier), pictures(16))
    assert objective.metrics["negative"] < 10.0
    assert objective.metrics["active_units"] > 0.5


def test_one_pass_sees_all_streams() -> None:
    """Batch norm takes its statistics over tiles and wholes together."""
    method = counting()
    sizes: list[tuple[int, ...]] = []
    method.encoder.inner.register_forward_hook(lambda _, given, __: sizes.append(tuple(given[0].shape)))
    one_loss(method, pictures(6))
    assert sizes == [(30, 3, 16, 16)]


def test_networks_of_one_size_get_enlarged_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where half the side cannot be taken, everything the network sees is enlarged alike."""
    encoder = build_encoder("small", 32, seed=0)
    assert takes(encoder, 16)
    assert not takes(encoder, 4)
    assert encoder.training
    monkeypatch.setattr("selfsup.methods.counting.takes", lambda *_: False)
    method = counting()
    sizes: list[tuple[int, ...]] = []
    method.encoder.inner.register_forward_hook(lambda _, given, __: sizes.append(tuple(given[0].shape)))
    one_loss(method, pictures(6))
    assert sizes == [(30, 3, 32, 32)]


def test_collapse_does_not_come_by_itself() -> None:
    """A few steps on simple pictures: the loss falls below M and units stay active."""
    torch.manual_seed(0)
    method, batch = counting(units=50), pictures(8)
    optimizer = torch.optim.Adam(method.parameters(), 1e-3)
    for _ in range(20):
        objective = one_loss(method, batch)
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.step()
    assert objective.loss.item() < 9.0
    assert objective.metrics["positive"] < objective.metrics["negative"]
    assert objective.metrics["active_units"] > 0.3


def test_two_processes_pair_images_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    method, images = counting(), pictures(8).images
    torch.manual_seed(5)
    alone = method.views(images)
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        assert torch.equal(method.views(images[4 * rank : 4 * rank + 4]), alone[4 * rank : 4 * rank + 4])


def test_bars_are_as_high_as_the_counts() -> None:
    """Two tiles with 1 and 2, a whole with 4: the stack is three quarters as high as the whole."""
    picture = bars(Counts(torch.tensor([[[1.0], [2.0], [0.0], [0.0]]]), torch.tensor([[4.0]])), 40)
    colours = picture[0].sum(0)
    assert [int((colours[:, column] < 2.99).sum()) for column in (0, 5, 10)] == [30, 40, 0]
    assert len(colours[:, 0].unique()) == 3


@pytest.mark.parametrize(
    ("wrong", "said"), [({"margin": 0.0}, "margin"), ({"grayscale": 1.5}, "gray"), ({"units": 0}, "unit")]
)
def test_impossible_arguments_are_refused_by_name(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        counting(**wrong)


def test_a_single_image_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        one_loss(counting(), pictures(1))


def counting(**arguments: Any) -> Counting:
    torch.manual_seed(0)
    return Counting(build_encoder("small", 32, seed=0), **arguments)


def one_loss(method: Counting, batch: Batch) -> Objective:
    (objective,) = method.losses(batch)
    assert math.isfinite(objective.loss.item())
    return objective


def pictures(count: int) -> Batch:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    images: Tensor = F.interpolate(coarse, size=36, mode="bilinear").clamp(0, 1)
    return Batch(images, torch.arange(count), 0, 0.0)
