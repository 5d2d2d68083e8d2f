"""Losses of depth, normals and contours against loops written from the papers, their limits, and the blind guess."""

import math

import pytest
import torch
from torch import Tensor

from selfsup.networks.surfaces import (
    TASKS,
    Blind,
    contour_error,
    contour_loss,
    depth_error,
    depth_loss,
    normal_error,
    normal_loss,
    unit,
)

SIDE = 6


def test_depth_loss_equals_the_papers_loop() -> None:
    """Eigen's equation 4 with lambda 1/2, halved, picture by picture over what is seen."""
    predicted, depth = torch.randn(3, 1, SIDE, SIDE), depths(3)
    total = 0.0
    for one, true in zip(predicted[:, 0], depth[:, 0], strict=True):
        off = [one[y, x] - true[y, x].log() for y in range(SIDE) for x in range(SIDE) if true[y, x] > 0]
        n = len(off)
        total += 0.5 * (sum(d * d for d in off) / n - 0.5 * (sum(off) / n) ** 2)
    assert depth_loss(predicted, depth).item() == pytest.approx(float(total) / 3, rel=1e-5)


def test_a_constant_added_to_depth_costs_a_known_amount() -> None:
    """It is c m / 2 + c^2 / 4, where m is the mean error: half of what the plain squared error would take."""
    depth = depths(4)
    exact = torch.where(depth > 0, depth, 1.0).log()
    assert depth_loss(exact, depth).item() == 0
    for constant in (-0.7, 0.4):
        assert depth_loss(exact + constant, depth).item() == pytest.approx(constant**2 / 4, rel=1e-5)
        assert depth_error(exact + constant, depth).item() == pytest.approx(abs(constant), rel=1e-5)
        biased = depth_loss(exact + 0.3 + constant, depth) - depth_loss(exact + 0.3, depth)
        assert biased.item() == pytest.approx(constant * 0.3 / 2 + constant**2 / 4, rel=1e-4)


def test_what_is_not_seen_does_not_count() -> None:
    """Neither depth nor normals where there is nothing, whatever is predicted; gradients there are 0 and finite."""
    depth, normals = depths(2), directions(2)
    normals = normals * (depth > 0)
    predicted = torch.randn(2, 3, SIDE, SIDE, requires_grad=True)
    (depth_loss(predicted[:, :1], depth) + normal_loss(predicted, normals)).backward()
    assert predicted.grad is not None
    assert predicted.grad[(depth == 0).expand(-1, 3, -1, -1)].abs().max() == 0
    assert predicted.grad[(depth > 0).expand(-1, 3, -1, -1)].abs().min() > 0
    changed = torch.where(depth > 0, predicted.detach(), 9.0)
    assert torch.equal(normal_error(changed, normals), normal_error(predicted, normals))
    assert depth_loss(predicted[:, :1], 0 * depth).item() == 0


def test_normal_loss_knows_only_directions() -> None:
    """0 for c times the truth (c > 0), 2 for its opposite, 1 and 90 degrees for what is perpendicular."""
    normals = directions(3)
    for factor in (0.01, 1.0, 50.0):
        assert normal_loss(factor * normals, normals).item() == pytest.approx(0, abs=1e-6)
        assert normal_loss(-factor * normals, normals).item() == pytest.approx(2, abs=1e-6)
    across = torch.cross(normals, directions(3), dim=1)
    assert normal_loss(across, normals).item() == pytest.approx(1, abs=1e-5)
    assert normal_error(across, normals).item() == pytest.approx(90, abs=1e-2)
    assert torch.linalg.vector_norm(unit(torch.randn(2, 3, 4, 4)), dim=1) == pytest.approx(torch.ones(2, 4, 4))
    assert unit(torch.zeros(1, 3, 1, 1)).abs().max() == 0


def test_contour_loss_equals_a_loop_with_the_weights_of_hed() -> None:
    """Each class weighs with the share of the other one; divided by the weight there is in all."""
    logits, contours = torch.randn(3, 1, SIDE, SIDE), (torch.rand(3, 1, SIDE, SIDE) < 0.2).float()
    total = 0.0
    for one, true in zip(logits[:, 0], contours[:, 0], strict=True):
        on = true.mean().item()
        loss, weight = 0.0, 0.0
        for y in range(SIDE):
            for x in range(SIDE):
                p = 1 / (1 + math.exp(-one[y, x].item()))
                beta = (1 - on) if true[y, x] else on
                loss -= beta * math.log(p if true[y, x] else 1 - p)
                weight += beta
        total += loss / weight
    assert contour_loss(logits, contours).item() == pytest.approx(total / 3, rel=1e-5)


def test_both_classes_of_contours_weigh_the_same() -> None:
    """One answer for all pixels is best where it is undecided: ln 2, whatever the base rate."""
    contours = torch.zeros(1, 1, SIDE, SIDE)
    contours[..., 2] = 1
    logit = torch.zeros(1, 1, 1, 1, requires_grad=True)
    loss = contour_loss(logit.expand(-1, -1, SIDE, SIDE), contours)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx(0, abs=1e-7)
    everywhere = torch.zeros(1, 1, SIDE, SIDE, requires_grad=True)
    contour_loss(everywhere, contours).backward()
    pull = everywhere.grad
    assert pull is not None
    assert pull[contours > 0].sum().item() == pytest.approx(-pull[contours == 0].sum().item())
    assert contour_error(torch.full_like(contours, 3.0), contours).item() == 0.5
    assert contour_error(contours - 0.5, contours).item() == 0
    assert contour_error(0 * contours, contours).item() == 0.5


def test_half_precision_is_lifted() -> None:
    """Losses of bfloat16 predictions are float32."""
    truth = {"depth": depths(2), "normals": directions(2), "contours": torch.ones(2, 1, SIDE, SIDE)}
    with torch.autocast("cpu", torch.bfloat16):
        for name, task in TASKS.items():
            given = torch.randn(2, task.channels, SIDE, SIDE, dtype=torch.bfloat16)
            assert task.loss(given, truth[name]).dtype == torch.float32


def test_the_blind_guess_is_the_mean_of_each_place() -> None:
    """Over all batches: log depth where it is seen, the direction of the mean normal, contours against their rate."""
    truth = {"depth": depths(40), "normals": directions(40), "contours": (torch.rand(40, 1, SIDE, SIDE) < 0.3).float()}
    truth["contours"][:, :, 0] = 1
    truth["depth"][:, :, 1, 1] = 0
    blind = Blind(SIDE)
    for rows in (slice(0, 10), slice(10, 40)):
        blind.learn({name: values[rows] for name, values in truth.items()})
    guess = blind.guess({name: values[:2] for name, values in truth.items()})
    seen = truth["depth"][:, 0, 3, 4]
    expected = seen[seen > 0].log().mean().item()
    assert guess["depth"][1, 0, 3, 4].item() == pytest.approx(expected, rel=1e-5)
    all_seen = truth["depth"][truth["depth"] > 0].log().mean()
    assert guess["depth"][0, 0, 1, 1].item() == pytest.approx(all_seen.item(), rel=1e-5)
    assert blind.log_depth.item() == pytest.approx(all_seen.item(), rel=1e-5)
    mean = truth["normals"][:, :, 2, 2].mean(0)
    torch.testing.assert_close(guess["normals"][0, :, 2, 2], mean / mean.norm())
    assert (guess["contours"][:, :, 0] > 0).all()
    assert guess["contours"][:, :, 1:].mean() < 0
    for name, task in TASKS.items():
        whole = blind.guess(truth)[name]
        other = whole + 0.3 * torch.randn(1, *whole.shape[1:])
        assert task.loss(whole, truth[name]) < task.loss(other, truth[name])


def test_before_anything_is_learned_the_batch_is_its_own_guide() -> None:
    """A guess is there from the first look on, of scenes without normals too."""
    truth = {"depth": depths(5), "contours": torch.ones(5, 1, SIDE, SIDE)}
    fresh, learned = Blind(SIDE), Blind(SIDE)
    learned.learn(truth)
    for name, values in fresh.guess(truth).items():
        torch.testing.assert_close(values, learned.guess(truth)[name])
    assert fresh.pictures.item() == 0


def depths(count: int) -> Tensor:
    """Give depths from 1 to 5, with nothing seen in some places."""
    depth = 1 + 4 * torch.rand(count, 1, SIDE, SIDE)
    return depth * (torch.rand(count, 1, SIDE, SIDE) < 0.8)


def directions(count: int) -> Tensor:
    """Give random unit vectors."""
    return torch.nn.functional.normalize(torch.randn(count, 3, SIDE, SIDE), dim=1)
