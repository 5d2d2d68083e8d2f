"""SimCLR: NT-Xent by hand and by naive loops, its limits and invariances, and views that differ but not too much."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup import processes
from selfsup.errors import InputError
from selfsup.method import Batch
from selfsup.methods.simclr import SimCLR, nt_xent, similarities
from selfsup.networks.encoders import build_encoder


def projections(count: int = 5, width: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    one, other = torch.randn(2, count, width, generator=generator, dtype=dtype)
    return one, other


def naive(one: Tensor, other: Tensor, temperature: float) -> float:
    """Equation 1 of the paper, term by term."""
    views = [row / math.sqrt(sum(float(x) ** 2 for x in row)) for row in torch.cat([one, other])]
    count, total = len(views), 0.0
    for i in range(count):
        similarity = [float(sum(a * b for a, b in zip(views[i], view, strict=True))) / temperature for view in views]
        positive = (i + count // 2) % count
        below = sum(math.exp(similarity[k]) for k in range(count) if k != i)
        total -= math.log(math.exp(similarity[positive]) / below)
    return total / count


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_loss_equals_the_double_loop_of_the_paper(temperature: float) -> None:
    one, other = projections()
    assert nt_xent(one, other, temperature).item() == pytest.approx(naive(one, other, temperature), rel=1e-12)


def test_gradient_is_that_of_finite_differences() -> None:
    one, other = projections(2, 3)
    inputs = (one.requires_grad_(), other.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), inputs)


def test_equal_projections_are_a_blind_guess() -> None:
    """All views alike: the loss is log(2N - 1), and nothing is nearer than anything else."""
    same = torch.ones(6, 4)
    assert nt_xent(same, same, 0.5).item() == pytest.approx(math.log(11), abs=1e-6)


def test_perfect_pairs_reach_the_least_loss_of_orthogonal_images() -> None:
    """-log(e^(1/t) / (e^(1/t) + 2N - 2)) when pairs agree and everything else is orthogonal."""
    axes = torch.eye(6, dtype=torch.float64)
    for temperature in (0.1, 0.5):
        top = math.exp(1 / temperature)
        assert nt_xent(axes, axes, temperature).item() == pytest.approx(-math.log(top / (top + 10)), rel=1e-9)


def test_loss_is_blind_to_scale_order_sides_and_rotation() -> None:
    one, other = projections()
    loss = nt_xent(one, other, 0.5)
    lengths = torch.rand(2, 5, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(nt_xent(one * lengths[0], other * lengths[1], 0.5), loss)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(nt_xent(one[order], other[order], 0.5), loss)
    torch.testing.assert_close(nt_xent(other, one, 0.5), loss)
    rotation = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    torch.testing.assert_close(nt_xent(one @ rotation, other @ rotation, 0.5), loss)
    assert (nt_xent(one, other[order], 0.5) - loss).abs() > 1e-3  # pairs torn apart are another matter


def test_a_view_is_never_compared_with_itself() -> None:
    """Only the diagonal is left out; the partner is the same row of the other half."""
    one, other = projections()
    logits, positives = similarities(one, other, 0.5)
    assert torch.equal(logits.isinf(), torch.eye(10, dtype=torch.bool))
    assert positives.tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    partner = F.cosine_similarity(one[2], other[2], dim=0) / 0.5
    torch.testing.assert_close(logits[2, 7], partner)


def test_similarities_are_float32_inside_autocast() -> None:
    one, other = projections(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = similarities(one, other, 0.5)
        halved, _ = similarities(one.bfloat16(), other.bfloat16(), 0.5)
    assert torch.equal(inside, similarities(one, other, 0.5)[0])
    assert halved.dtype == torch.float32


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_their_negatives(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradient of k processes with B images average to those of one with k*B; each scores its own views.

    Played through one after the other, with the gather of all processes' rows put in.
    """
    one, other = projections(2 * count, 3)
    weight = torch.linspace(-1, 1, 9, dtype=torch.float64).view(3, 3).requires_grad_()
    alone = nt_xent(one @ weight, other @ weight, 0.5)
    (expected,) = torch.autograd.grad(alone, weight)
    losses = []
    for rank in range(count):
        gathered = (F.normalize(z @ weight, dim=1) for z in (one, other))
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(processes, "gather_with_gradient", lambda _, gathered=gathered: next(gathered))
        mine = slice(2 * rank, 2 * rank + 2)
        losses.append(nt_xent(one[mine] @ weight, other[mine] @ weight, 0.5))
    together = sum(losses) / count
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(torch.autograd.grad(together, weight)[0], expected)


def test_views_of_an_image_differ_and_keep_their_range() -> None:
    method = simclr(blur=0.5)
    images = pictures(16)
    views = method.views(images)
    assert views.shape == (32, 3, 32, 32)
    assert views.min() >= 0
    assert views.max() <= 1
    assert (views[0::2] - views[1::2]).abs().mean((1, 2, 3)).min() > 1e-3


def test_without_randomness_both_views_are_the_image() -> None:
    """All chances 0, no jitter, no flip and the full crop."""
    method = simclr(crop_min=1.0, strength=0.0, grayscale=0.0, blur=0.0, flip=False)
    images = pictures(5, side=32)
    torch.testing.assert_close(method.views(images), images.repeat_interleave(2, 0), atol=5e-6, rtol=0)


def test_views_of_an_image_stand_together() -> None:
    """Rows 2i and 2i + 1 show image i: flat images keep their brightness through crop and flip."""
    method = simclr(strength=0.0, grayscale=0.0)
    shades = torch.linspace(0.1, 0.9, 6)
    views = method.views(shades[:, None, None, None].expand(6, 3, 36, 36))
    torch.testing.assert_close(views.mean((1, 2, 3)), shades.repeat_interleave(2))


def test_each_change_happens_to_its_share_of_views() -> None:
    """Grayscale 0.2 of views, jitter 0.8, each view on its own (a colour shows hue, a flat image no crop)."""
    images = torch.tensor([0.8, 0.4, 0.2])[:, None, None].expand(600, 3, 32, 32)
    made = simclr().views(images).mean((2, 3))  # [1200, 3]
    is_gray = (made[:, 0] - made[:, 2]).abs() < 1e-4
    untouched = (made - torch.tensor([0.8, 0.4, 0.2])).abs().amax(1) < 1e-4
    assert is_gray.float().mean() == pytest.approx(0.2, abs=0.05)
    assert untouched.float().mean() == pytest.approx(0.2 * 0.8, abs=0.05)
    both = (is_gray[0::2] & is_gray[1::2]).float().mean()
    assert both == pytest.approx(0.04, abs=0.035)


def test_gray_views_have_three_equal_channels_and_blur_keeps_flat_images() -> None:
    views = simclr(grayscale=1.0).views(pictures(8))
    torch.testing.assert_close(views[:, :1].expand(-1, 3, -1, -1), views, atol=1e-6, rtol=0)
    flat = torch.full((8, 3, 36, 36), 0.3)
    torch.testing.assert_close(
        simclr(strength=0.0, grayscale=0.0, blur=1.0).views(flat), torch.full((16, 3, 32, 32), 0.3)
    )


def test_large_images_get_the_views_of_imagenet() -> None:
    small, large = SimCLR(build_encoder("small", 64, seed=0)), SimCLR(build_encoder("small", 96, seed=0))
    assert (small.strength, small.blur) == (0.5, 0.0)
    assert (large.strength, large.blur) == (1.0, 0.5)


def test_two_processes_make_the_views_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    method, images = simclr(blur=0.5), pictures(8)
    torch.manual_seed(5)
    alone = method.views(images)
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        half = method.views(images[4 * rank : 4 * rank + 4])
        torch.testing.assert_close(half, alone[8 * rank : 8 * rank + 8], atol=1e-6, rtol=0)


def test_an_untrained_network_does_about_as_badly_as_a_blind_guess() -> None:
    method = simclr()
    (objective,) = method.losses(batch(16))
    assert objective.chance == pytest.approx(math.log(31))
    assert method.headline_chance == pytest.approx(1 / 31)
    assert abs(objective.loss.item() - objective.chance) < 1.0
    assert 0 <= objective.metrics["accuracy"] < 0.6
    assert -1 <= objective.metrics["agreement"] <= 1


def test_accuracy_counts_views_whose_partner_is_nearest() -> None:
    """Views that cannot be told apart by anything but their image are all found."""
    method = simclr(crop_min=1.0, strength=0.0, grayscale=0.0, flip=False).eval()
    (objective,) = method.losses(batch(8))
    assert objective.metrics["accuracy"] == 1
    assert objective.metrics["agreement"] == pytest.approx(1, abs=1e-4)


def test_every_weight_gets_a_gradient_through_both_views() -> None:
    method = simclr()
    (objective,) = method.losses(batch(8))
    objective.loss.backward()
    missing = [name for name, weight in method.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert missing == []


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0.0}, {"crop_min": 1.5}, {"crop_min": 0.0}, {"strength": 3.0}, {"grayscale": -0.1}, {"blur": 2.0}],
)
def test_impossible_arguments_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        simclr(**wrong)


def test_the_figure_shows_two_views_and_the_nearest() -> None:
    """With identical views the nearest is the partner: three equal rows."""
    method = simclr(crop_min=1.0, strength=0.0, grayscale=0.0, flip=False).eval()
    with torch.no_grad():
        (picture,) = method.figures(batch(8)).values()
    rows = picture.unfold(1, 32, 34)  # [3, 3 rows, W, 32]
    torch.testing.assert_close(rows[:, 2], rows[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(rows[:, 1], rows[:, 0], atol=1e-5, rtol=0)


def simclr(**arguments) -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(build_encoder("small", 32, seed=0), **arguments)


def pictures(count: int, side: int = 36) -> Tensor:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    return F.interpolate(coarse, size=side, mode="bilinear").clamp(0, 1)


def batch(count: int) -> Batch:
    return Batch(pictures(count), torch.arange(count), 0, 0.0)
