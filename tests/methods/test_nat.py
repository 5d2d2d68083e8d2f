"""NAT: matching by brute force, points that are dealt out and never change, and a headline for held-out images."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn import functional as F

from selfsup import processes
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Objective
from selfsup.methods.nat import NAT, matched
from selfsup.networks.encoders import build_encoder

STILL = {"flip": False, "crop_min": 1.0}
"""Every view is its whole image."""


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_matching_equals_brute_force(size: int) -> None:
    """Of all ways to give each image a point of its own, the one with the largest sum of scores."""
    scores = torch.randn(size, size, generator=torch.Generator().manual_seed(size))
    best = max(itertools.permutations(range(size)), key=lambda way: sum(scores[i, j] for i, j in enumerate(way)))
    assert matched(scores).tolist() == list(best)


def test_matching_finds_a_shuffle_again() -> None:
    """Outputs that are the points in another order get their own points, and the distance is 0."""
    points = F.normalize(torch.randn(32, 16, generator=torch.Generator().manual_seed(0)))
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1))
    found = matched(points[order] @ points.T)
    assert torch.equal(found, order)
    assert (points[order] - points[found]).abs().max() == 0


def test_matching_depends_on_differences_only() -> None:
    """What is added to all scores of an image, or of a point, changes nothing."""
    generator = torch.Generator().manual_seed(2)
    scores, row, column = (torch.randn(shape, generator=generator) for shape in ((9, 9), (9, 1), (1, 9)))
    assert torch.equal(matched(scores + row + column), matched(scores))


def test_loss_is_the_squared_distance_to_the_own_points() -> None:
    """2 - 2zy equals the squared distance, summed by a loop; all lengths are 1 and an untrained network is near 2."""
    method = nat(64, rematch_every=2, **STILL)
    objective = one_loss(method, pictures(16, step=4))  # the second epoch: nothing is dealt out anew
    with torch.no_grad():
        outputs = method.outputs(method.views(pictures(16).images))
    points = method.points(method.target_of[:16], outputs)
    by_loop = [sum((a - b) ** 2 for a, b in zip(z, y, strict=True)) for z, y in zip(outputs, points, strict=True)]
    assert all(0 <= distance <= 4 for distance in by_loop)
    assert objective.loss.item() == pytest.approx(sum(by_loop).item() / 16, abs=1e-4)  # type: ignore[union-attr]
    assert objective.loss.item() == pytest.approx(2, abs=0.2)
    for rows in (outputs, points):
        assert torch.allclose(rows.norm(dim=1), torch.ones(16), atol=1e-5)


def test_images_swap_points_and_none_is_lost() -> None:
    """The points of a batch stay in it, each with one image, and the distance cannot become larger."""
    method = nat(64, **STILL)
    index = torch.randperm(64, generator=torch.Generator().manual_seed(3))[:16]
    batch = pictures(16)._replace(index=index)
    before = method.target_of.clone()
    with torch.no_grad():
        outputs = method.outputs(method.views(batch.images))
    objective = one_loss(method, batch)
    after = method.target_of
    assert sorted(after[index].tolist()) == sorted(before[index].tolist())
    others = torch.ones(64, dtype=torch.bool)
    others[index] = False
    assert torch.equal(after[others], before[others])
    assert sorted(after.tolist()) == list(range(64))
    moved = (after != before)[index].float().mean().item()
    assert objective.metrics["moved"].item() == pytest.approx(moved) != 0
    at_first = (2 - 2 * (outputs * method.points(before[index], outputs)).sum(1)).mean()
    assert objective.loss.item() < at_first.item()
    assert objective.loss.item() == pytest.approx(
        (2 - 2 * (outputs * method.points(after[index], outputs)).sum(1)).mean().item(), abs=1e-4
    )


@pytest.mark.parametrize("every", [1, 3])
def test_points_are_dealt_out_in_some_epochs_only(every: int) -> None:
    """In an epoch whose number is no multiple the table stays as it is; an epoch is 64 / 16 steps."""
    method = nat(64, rematch_every=every)
    for step in range(0, 28, 2):
        before = method.target_of.clone()
        metrics = one_loss(method, pictures(16, step)).metrics
        assert ("moved" in metrics) == (step // 4 % every == 0)
        assert torch.equal(method.target_of, before) or "moved" in metrics


def test_points_never_change_and_are_not_trained() -> None:
    """The same numbers after steps and in another order give the same points, and none of it is a parameter."""
    method = nat(64)
    numbers = torch.arange(64)
    points = method.points(numbers, torch.empty(0, 512))
    for step in range(2):
        one_loss(method, pictures(16, step)).loss.backward()
    assert torch.equal(method.points(numbers.flip(0), points).flip(0), points)
    assert {"seed", "target_of"} <= set(dict(method.named_buffers()))
    assert not points.requires_grad


def test_twice_the_batch_has_the_same_mean() -> None:
    """Each image counted twice doubles the sum of distances."""
    method = nat(64, rematch_every=2, **STILL)
    batch = pictures(16, step=4)
    twice = batch._replace(images=batch.images.repeat(2, 1, 1, 1), index=batch.index.repeat(2), step=2)
    assert one_loss(method, twice).loss.item() == pytest.approx(one_loss(method, batch).loss.item(), abs=1e-5)


def test_what_is_found_is_ones_own_point() -> None:
    """1 where every image lies on its point, chance 1 / B; of held-out images, where views are all alike."""
    method = nat(64, rematch_every=2, **STILL)
    shown = pictures(16, step=4)
    own = method.points(method.target_of[:16], torch.empty(0, 512))
    method.outputs = lambda images: own  # type: ignore[method-assign]
    objective = one_loss(method, shown)
    assert objective.metrics["found"] == 1
    assert method.headline_chance == 1 / 16
    assert objective.loss.item() == pytest.approx(0, abs=1e-6)
    method.outputs = lambda images: own.roll(1, 0)  # type: ignore[method-assign]
    assert one_loss(method, shown).metrics["found"] == 0

    held_out = nat(64, **STILL).eval()
    before = held_out.target_of.clone()
    objective = one_loss(held_out, pictures(16))
    assert objective.metrics["found"] == 1
    assert torch.equal(held_out.target_of, before)
    held_out.views = lambda images: torch.rand_like(images)  # type: ignore[method-assign]
    assert one_loss(held_out, pictures(16)).metrics["found"] < 0.5


def test_held_out_images_are_matched_to_points_of_no_training_image() -> None:
    """Outputs all at one place lie at 2 whatever they are matched to; spread outputs lie nearer."""
    method = nat(64).eval()
    at_random = F.normalize(torch.randn(16, 512, generator=torch.Generator().manual_seed(4)))
    method.outputs = lambda images: at_random  # type: ignore[method-assign]
    spread = one_loss(method, pictures(16)).loss.item()
    fresh = method.points(torch.arange(64, 80), at_random)
    assert spread == pytest.approx(2 - 2 * (at_random * fresh[matched(at_random @ fresh.T)]).sum(1).mean().item())
    method.outputs = lambda images: at_random[:1].expand(16, -1)  # type: ignore[method-assign]
    assert spread < one_loss(method, pictures(16)).loss.item() == pytest.approx(2, abs=0.1)


def test_colour_is_changed_only_where_it_is_seen() -> None:
    """Edges: crop and flip alone; colour: views differ in colour."""
    image = torch.rand(1, 3, 32, 32).expand(8, -1, -1, -1)
    assert torch.allclose(nat(8, **STILL).views(image), image, atol=1e-6)
    changed = nat(8, sees="colour", **STILL).views(image)
    assert changed.std(0).mean() > 0.01


@pytest.mark.parametrize("slip", [{"dimension": 1}, {"rematch_every": 0}, {"crop_min": 0.0}, {"strength": -1.0}])
def test_slips_are_refused(slip: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(slip))):
        nat(8, **slip)
    with pytest.raises(InputError, match="sees edges"):
        NAT(build_encoder("small", 32, seed=0))


def test_two_processes_never_give_one_point_to_two_images(tmp_path: Path) -> None:
    """Points are dealt out over the gathered batch: both tables are that of one process."""
    from safetensors.torch import load_file

    mp.spawn(_one_of_two, args=(str(tmp_path),), nprocs=2)
    tables = [load_file(tmp_path / f"{rank}.safetensors")["table"] for rank in range(2)]
    assert sorted(tables[0].tolist()) == list(range(64))
    assert torch.equal(*tables)
    assert torch.equal(tables[0], dealt())


def dealt() -> Tensor:
    """Deal the points of two batches of eight out anew, each process its rows; give the whole table."""
    torch.set_num_threads(1)
    method = nat(64, **STILL).double().eval()  # by no statistics of a batch
    rows = processes.rows(8)
    for step in range(2):
        shown = pictures(8, step)
        with torch.no_grad():
            outputs = method.outputs(method.views(shown.images[rows].double()))
        index = processes.in_rank_order([(shown.index + 4 * step)[rows]])
        method._rematch(processes.in_rank_order([outputs]), index)
    return method.target_of


def _one_of_two(rank: int, folder: str) -> None:
    from safetensors.torch import save_file

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    save_file({"table": dealt()}, f"{folder}/{rank}.safetensors")
    processes.barrier()  # who leaves first may bring the other down
    processes.stop()


def nat(count: int, **arguments: Any) -> NAT:
    """Give a method on the smallest encoder, with so many training images."""
    encoder = build_encoder("small", 32, seed=0, sees=arguments.get("sees", "edges"))
    torch.manual_seed(0)
    method = NAT(encoder, **arguments)
    method.start(DataFacts(count, 32, lambda count: pictures(count).images))
    return method


def pictures(count: int, step: int = 0) -> Batch:
    """Give smooth random images of the encoder's size."""
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(5))
    return Batch(F.interpolate(coarse, size=32, mode="bilinear"), torch.arange(count), step, 0.0)


def one_loss(method: NAT, batch: Batch) -> Objective:
    """Give the only loss of a batch."""
    torch.manual_seed(1)
    (objective,) = method.losses(batch)
    return objective
