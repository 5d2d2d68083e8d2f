"""DiffAugment: identity without a policy, one decision per image, and gradients back to the image."""

import pytest
import torch

from selfsup.errors import InputError
from selfsup.views.differentiable import augment


def test_empty_policy_is_the_identity() -> None:
    """Nothing asked for, nothing done."""
    images = torch.rand(3, 3, 16, 16)
    assert torch.equal(augment(images, ""), images)
    assert torch.equal(augment(images, "none"), images)


@pytest.mark.parametrize("policy", ["color", "translation", "cutout", "color,translation,cutout"])
def test_every_image_has_its_own_change(policy: str) -> None:
    """Equal images come out different, of the same shape and type; the ones given stay as they were."""
    images = (torch.rand(1, 3, 16, 16) * 2 - 1).expand(12, -1, -1, -1).clone()
    before = images.clone()
    torch.manual_seed(0)
    changed = augment(images, policy)
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert torch.equal(images, before)
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 6
    torch.manual_seed(0)
    assert torch.equal(augment(images, policy), changed)


@pytest.mark.parametrize("policy", ["color", "translation", "cutout"])
def test_gradient_is_that_of_the_change(policy: str) -> None:
    """The change is linear in the image up to a shift, so differences of images are mapped as the gradient says."""
    images = (torch.rand(2, 3, 8, 8, dtype=torch.float64) * 2 - 1).requires_grad_()
    aim = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def score(given: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return (augment(given, policy) * aim).sum()

    (gradient,) = torch.autograd.grad(score(images), images)
    step = torch.randn_like(images)
    assert torch.allclose((gradient * step).sum(), score(images + step) - score(images))
    assert gradient.abs().sum() > 0


def test_translation_moves_by_up_to_an_eighth() -> None:
    """A dot in the middle of 16 pixels comes out at most 2 away, in every direction; outside is 0."""
    images = torch.zeros(200, 1, 16, 16)
    images[:, :, 8, 8] = 1
    moved = augment(images, "translation")
    places = moved[:, 0].flatten(1).argmax(1)
    assert (moved.flatten(1).sum(1) == 1).all()
    assert {(int(p) // 16 - 8, int(p) % 16 - 8) for p in places} == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_cutout_erases_a_square_of_half_the_side() -> None:
    """At most a quarter of the image, all of it for squares inside; the rest is untouched."""
    images = torch.ones(300, 2, 16, 16)
    cut = augment(images, "cutout")
    erased = (cut == 0).float().mean((1, 2, 3))
    assert erased.max().item() == pytest.approx(0.25)
    assert erased.min().item() >= 1 / 16
    assert set(cut.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(cut[:, 0], cut[:, 1])


def test_colour_by_hand() -> None:
    """A gray image moves by at most 0.5; contrast keeps its mean, saturation has nothing to scale."""
    images = torch.full((500, 3, 4, 4), 0.2)
    shift = augment(images, "color") - 0.2
    assert -0.5 <= shift.min() < -0.45
    assert 0.45 < shift.max() <= 0.5
    assert shift.flatten(1).std(1).max() < 1e-6


def test_unknown_policy_is_refused() -> None:
    """A sentence names what there is."""
    with pytest.raises(InputError, match="color,translation,cutout"):
        augment(torch.rand(1, 3, 8, 8), "colour")
