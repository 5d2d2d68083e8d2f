"""Ranking with hard negatives and InfoNCE: values, limits and symmetries, against loops written from the paper."""

import math

import pytest
import torch

from selfsup.networks.triplets import choose, compare, infonce, ranking

ALL = 1000
"""More negatives than there are: nothing is drawn."""


def pairs(count: int = 6, width: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Give pairs that are rather alike, of three sources."""
    torch.manual_seed(seed)
    one = torch.randn(count, width, dtype=dtype)
    return [one, one + 0.8 * torch.randn(count, width, dtype=dtype), torch.arange(count) % 3 + 7]


def loop(one: torch.Tensor, other: torch.Tensor, source: torch.Tensor, margin: float, negatives: int) -> torch.Tensor:
    """Give the loss triplet by triplet, with all negatives that break the margin of either of a pair."""

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return 1 - a @ b / (a.norm() * b.norm())

    total = one.new_zeros(())
    patches = [*zip([*one, *other], source.repeat(2).tolist(), strict=True)]
    for i in range(len(one)):
        near = distance(one[i], other[i])
        for patch, label in patches:
            hinges = [near - distance(anchor, patch) + margin for anchor in (one[i], other[i])]
            if label != int(source[i]) and max(hinges) > 0:
                total = total + sum(hinge.clamp(min=0) for hinge in hinges)
    return total / (2 * negatives * len(one))


def test_equals_a_loop_over_triplets_and_so_does_its_gradient() -> None:
    """Value and gradient are those of three nested loops."""
    one, other, source = pairs()
    one.requires_grad_()
    found = ranking(compare(one, other, source), 0.5, ALL, 0.5)
    expected = loop(one, other, source, 0.5, ALL)
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    assert found.item() > 0
    (gradient,) = torch.autograd.grad(found, one, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, one)
    assert torch.allclose(gradient, wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_equal_vectors_cost_exactly_the_margin(margin: float) -> None:
    """The alarm of a collapse: every hinge is the margin."""
    same = torch.ones(8, 4)
    compared = compare(same, same, torch.arange(8))
    for hard in (0.0, 0.5, 1.0):
        assert ranking(compared, margin, 4, hard).item() == pytest.approx(margin, rel=1e-6)


def test_nothing_is_lost_once_all_margins_hold() -> None:
    """0 when every foreign vector is farther than the pair by the margin, and not a little before."""
    axes = torch.eye(6, dtype=torch.float64)
    compared = compare(axes, axes, torch.arange(6))
    assert ranking(compared, 1.0, 4, 0.5).item() == 0
    assert ranking(compared, 1.001, 4, 0.5).item() > 0


def test_scale_order_and_roles_do_not_matter() -> None:
    """Rescaled vectors, exchanged members of the pairs and permuted pairs have the same loss."""
    one, other, source = pairs()
    scale, order = torch.rand(6, 1) + 0.5, torch.randperm(6)
    expected = ranking(compare(one, other, source), 0.5, ALL, 0.5)
    for changed in (
        (scale * one, 3 * other, source),
        (other, one, source),
        (one[order], other[order], source[order]),
    ):
        assert ranking(compare(*changed), 0.5, ALL, 0.5).item() == pytest.approx(expected.item(), rel=1e-9)


def test_one_source_gives_zero_and_no_gradient() -> None:
    """Without a foreign vector loss and gradient are 0, not NaN; so they are for vectors of length 0."""
    one, other, _ = pairs()
    one.requires_grad_()
    compared = compare(one, other, torch.zeros(6, dtype=torch.int64))
    for loss in (ranking(compared, 0.5, 4, 0.5), infonce(compared, 0.1)):
        (gradient,) = torch.autograd.grad(loss, one, retain_graph=True)
        assert loss.item() == 0
        assert gradient.abs().max().item() == 0
    zeros = torch.zeros(6, 5, requires_grad=True)
    loss = ranking(compare(zeros, zeros, torch.arange(6)), 0.5, 4, 0.5)
    loss.backward()
    assert torch.isfinite(zeros.grad).all()


def test_distances_are_cosine_distances_in_half_precision_too() -> None:
    """In [0, 2], 2 for opposite vectors, float32 inside autocast; only other sources are foreign."""
    one, other, source = pairs(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        compared = compare(one.bfloat16(), -one.bfloat16(), source)
    assert compared.near.dtype == compared.far.dtype == torch.float32
    assert torch.allclose(compared.near, torch.full((6,), 2.0), atol=1e-5)
    exact = compare(one, other, source)
    assert exact.far.min() > -1e-6
    assert exact.far.max() < 2 + 1e-6
    assert torch.equal(exact.foreign, source[:, None] != source.repeat(2))
    assert torch.allclose(exact.far[0, :, 6:].diagonal(), exact.near)


def test_hard_negatives_are_the_most_similar() -> None:
    """Half of K from the K nearest candidates, half from the rest, at most K, never what is no candidate."""
    torch.manual_seed(0)
    distance, uniform = torch.rand(50, 30), torch.rand(50, 30)
    candidates = torch.rand(50, 30) < 0.6
    chosen = choose(distance, candidates, 4, 0.5, uniform)
    rank = distance.masked_fill(~candidates, 9).argsort(1).argsort(1)
    assert not (chosen & ~candidates).any()
    assert torch.equal(chosen.sum(1), torch.full((50,), 4))
    assert torch.equal((chosen & (rank < 4)).sum(1), torch.full((50,), 2))
    assert torch.equal(choose(distance, candidates, 4, 1.0, uniform), candidates & (rank < 4))
    assert torch.equal(choose(distance, candidates, 4, 0.5, uniform), chosen)
    assert not torch.equal(choose(distance, candidates, 4, 0.5, torch.rand(50, 30)), chosen)


def test_random_negatives_are_drawn_from_all() -> None:
    """Without a hard share near and far candidates are drawn alike."""
    torch.manual_seed(0)
    distance = torch.rand(4000, 20)
    chosen = choose(distance, torch.ones(4000, 20, dtype=torch.bool), 4, 0.0, torch.rand(4000, 20))
    rank = distance.argsort(1).argsort(1)
    shares = torch.stack([chosen[rank == k].float().mean() for k in range(20)])
    assert (shares - 0.2).abs().max() < 0.03


def test_few_candidates_are_all_taken() -> None:
    """No more than K candidates: all of them, hard or not, and none where there is none."""
    candidates = torch.zeros(3, 10, dtype=torch.bool)
    candidates[0, :4] = True
    candidates[1, 7] = True
    for hard in (0.0, 0.5, 1.0):
        assert torch.equal(choose(torch.rand(3, 10), candidates, 4, hard, torch.rand(3, 10)), candidates)


def test_the_divisor_does_not_shrink_with_easy_triplets() -> None:
    """One broken hinge among many pairs is divided by 2 K for every pair."""
    axes = torch.eye(6, dtype=torch.float64)
    one, other = axes.clone(), axes.clone()
    other[0] = (axes[0] + axes[1]) / math.sqrt(2)  # apart from its own by 1 - 1/√2, and as near to the second's
    near = 1 - 1 / math.sqrt(2)
    margin = 0.8
    # pair 0: to both of pair 1 from its second (distance near), and from its first (distance 1), and to all the others
    hinges = 2 * margin + 2 * (near - 1 + margin) + 8 * 2 * (near - 1 + margin)
    # pair 1: the second of pair 0 from both
    hinges += 2 * (0 - near + margin)
    assert near - 1 + margin > 0
    found = ranking(compare(one, other, torch.arange(6)), margin, ALL, 0.5)
    assert found.item() == pytest.approx(hinges / (2 * ALL * 6), rel=1e-9)


def test_infonce_equals_a_loop() -> None:
    """For both of each pair: the partner against all patches of other sources."""
    one, other, source = pairs()
    patches, labels = torch.cat([one, other]), source.repeat(2)
    unit = patches / patches.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(6):
        for anchor, partner in ((i, i + 6), (i + 6, i)):
            logits = [float(unit[anchor] @ unit[partner]) / 0.1]
            logits += [float(unit[anchor] @ unit[j]) / 0.1 for j in range(12) if labels[j] != source[i]]
            total -= logits[0] - math.log(sum(math.exp(value) for value in logits))
    assert infonce(compare(one, other, source), 0.1).item() == pytest.approx(total / 12, rel=1e-9)
