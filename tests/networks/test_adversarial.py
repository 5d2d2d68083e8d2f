"""The game's losses: known values at zero logits, where they stop pushing, and who gets a gradient."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selfsup.networks.adversarial import (
    accuracy,
    discriminator_loss,
    diversity,
    generator_loss,
    r1_penalty,
)

ZERO = torch.zeros(5)


def test_blind_discriminator() -> None:
    """At zero logits: 2 ln 2 and 2 for the discriminator, ln 2 and 0 for the generator, accuracy 1/2."""
    assert discriminator_loss(ZERO, ZERO, "logistic").item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(ZERO, ZERO, "hinge").item() == 2
    assert generator_loss(ZERO, "logistic").item() == pytest.approx(math.log(2))
    assert generator_loss(ZERO, "hinge").item() == 0
    assert accuracy(ZERO, ZERO).item() == 0.5


def test_logistic_is_the_cross_entropy_of_both_labels() -> None:
    """With and without smoothing, as torch computes it for targets 1 - smoothing and 0."""
    real, fake = torch.randn(6), torch.randn(4)
    for smoothing in (0.0, 0.25):
        expected = F.binary_cross_entropy_with_logits(real, torch.full((6,), 1 - smoothing))
        expected = expected + F.binary_cross_entropy_with_logits(fake, torch.zeros(4))
        assert torch.allclose(discriminator_loss(real, fake, "logistic", smoothing), expected)
    expected = F.binary_cross_entropy_with_logits(fake, torch.ones(4))
    assert torch.allclose(generator_loss(fake, "logistic"), expected)


def test_smoothed_loss_is_least_where_the_target_is_said() -> None:
    """With smoothing 1/4 the best logit for a real image is that of probability 3/4; the fake side has none."""
    logits = torch.linspace(-3, 3, 601)
    never = torch.full((1,), -50.0)
    losses = torch.stack([discriminator_loss(logit[None], never, "logistic", 0.25) for logit in logits])
    assert torch.sigmoid(logits[losses.argmin()]).item() == pytest.approx(0.75, abs=5e-3)
    assert discriminator_loss(50 - never, never, "logistic").item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="no targets"):
        discriminator_loss(ZERO, ZERO, "hinge", 0.1)


def test_hinge_stops_at_its_margin() -> None:
    """Real above 1 and generated below -1 get no gradient."""
    real, fake = torch.tensor([1.5, 0.5], requires_grad=True), torch.tensor([-2.0, 0.0], requires_grad=True)
    discriminator_loss(real, fake, "hinge").backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [0, -0.5]
    assert fake.grad.tolist() == [0, 0.5]


def test_r1_of_a_linear_critic() -> None:
    """Exactly gamma / 2 * |w|^2, whatever the batch; of a constant critic 0; the gradient is the critic's."""
    weight = torch.randn(3 * 4 * 4, dtype=torch.float64, requires_grad=True)
    for size in (1, 7):
        images = torch.randn(size, 3, 4, 4, dtype=torch.float64, requires_grad=True)
        penalty = r1_penalty(images.flatten(1) @ weight, images, 0.6)
        assert penalty.item() == pytest.approx(0.3 * weight.detach().square().sum().item())
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert torch.allclose(gradient, 0.6 * weight)
    assert r1_penalty((images * 0).sum((1, 2, 3)) + 3, images, 1.0).item() == 0


def test_r1_is_a_mean_over_images() -> None:
    """For l = |x|^2 / 2 the gradient is x, so the penalty is the mean of each image's squared norm."""
    images = torch.randn(5, 2, 3, requires_grad=True)
    penalty = r1_penalty(images.square().sum((1, 2)) / 2, images, 2.0)
    assert torch.allclose(penalty, images.square().sum((1, 2)).mean())


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_dirac_game_ends_only_with_r1(gamma: float) -> None:
    """One real point at 0, one generated at theta, a critic x -> psi * x: with R1 it ends, without it circles on.

    Source: Mescheder et al., 2018, section 2.
    """
    theta, psi = torch.tensor([1.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    for _ in range(400):
        real = torch.zeros(1, 1, requires_grad=True)
        penalty = r1_penalty(psi * real[:, 0], real, gamma) if gamma else torch.zeros(())
        loss = discriminator_loss(psi * real[:, 0], psi * theta.detach(), "logistic") + penalty
        (of_psi,) = torch.autograd.grad(loss, psi)
        (of_theta,) = torch.autograd.grad(generator_loss(psi.detach() * theta, "logistic"), theta)
        with torch.no_grad():
            psi -= 0.05 * of_psi
            theta -= 0.05 * of_theta
    left = (theta.square() + psi.square()).sqrt().item() / 2**0.5
    assert left < 0.01 if gamma else left > 0.3


def test_accuracy_counts_both_sides_alike() -> None:
    """All real right and half of the generated: 3/4, however many there are of each."""
    assert accuracy(torch.ones(8), torch.tensor([1.0, -1.0])).item() == pytest.approx(0.75)
    assert accuracy(torch.ones(2), -torch.ones(9)).item() == 1
    assert accuracy(-torch.ones(2), torch.ones(9)).item() == 0


def test_diversity() -> None:
    """0 for one picture over and over, 1 for the images themselves, and in proportion between."""
    images = torch.randn(16, 3, 4, 4)
    assert diversity(images[:1].expand(8, -1, -1, -1), images).item() == 0
    assert diversity(images, images).item() == pytest.approx(1)
    assert diversity(0.25 * images + 3, images).item() == pytest.approx(0.25, rel=1e-4)


def test_each_side_moves_alone() -> None:
    """A step of one side with the other detached leaves the other's gradients untouched."""
    critic, generator = nn.Linear(4, 1), nn.Linear(2, 4)
    made = generator(torch.randn(8, 2))
    discriminator_loss(critic(torch.randn(8, 4))[:, 0], critic(made.detach())[:, 0], "hinge").backward()
    assert all(p.grad is None for p in generator.parameters())
    critic.zero_grad(set_to_none=True)
    generator_loss(critic(made)[:, 0], "hinge").backward(inputs=list(generator.parameters()))
    assert all(p.grad is None for p in critic.parameters())
