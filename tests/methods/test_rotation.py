"""Rotation: exact turns, all four in a batch, and a head that knows nothing at first."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selfsup.method import Batch
from selfsup.methods.rotation import Rotation, all_turns
from selfsup.networks.encoders import build_encoder


def test_quarter_turns_of_a_two_by_two_image() -> None:
    """Label 1 is a quarter turn counter-clockwise, 2 upside down, 3 a quarter turn clockwise."""
    a, b, c, d = 1.0, 2.0, 3.0, 4.0
    turned, turns = all_turns(torch.tensor([[a, b], [c, d]]).expand(1, 1, 2, 2))
    assert turns.tolist() == [0, 1, 2, 3]
    assert turned[:, 0].tolist() == [[[a, b], [c, d]], [[b, d], [a, c]], [[d, c], [b, a]], [[c, a], [d, b]]]


def test_turns_keep_every_pixel() -> None:
    """No interpolation: each copy holds exactly the pixel values of its image."""
    images = torch.rand(3, 3, 8, 8)
    turned, _ = all_turns(images)
    expected = images.flatten(1).sort(1).values.repeat_interleave(4, 0)
    assert torch.equal(turned.flatten(1).sort(1).values, expected)


def test_undoing_each_turn_gives_four_equal_copies() -> None:
    """All four copies are of one view, in a group per image, each label once."""
    images = torch.rand(5, 3, 8, 8)
    turned, turns = all_turns(images)
    assert torch.equal(turns.bincount(), torch.full((4,), 5))
    for copy, k, image in zip(turned, turns, images.repeat_interleave(4, 0), strict=True):
        assert torch.equal(copy.rot90(-int(k), (1, 2)), image)


def test_turns_compose() -> None:
    """Turning by a, then by b, is turning by a + b."""
    images = torch.rand(1, 3, 6, 6)
    once = all_turns(images)[0]
    for a in range(4):
        twice = all_turns(once[a : a + 1])[0]
        for b in range(4):
            assert torch.equal(twice[b], once[(a + b) % 4])


def test_mirroring_after_the_turn_swaps_one_and_three() -> None:
    """A mirror image turned by k is the mirrored image turned by -k, so views are mirrored before turning."""
    images = torch.rand(1, 3, 6, 6)
    turned, mirrored = all_turns(images)[0], all_turns(images.flip(3))[0]
    for k in range(4):
        assert torch.equal(mirrored[k], turned[-k % 4].flip(2))


def test_untrained_head_guesses_at_chance() -> None:
    """With a zero head the loss is log 4: all turns are equally likely."""
    method = rotation()
    nn.init.zeros_(method.head.weight)
    nn.init.zeros_(method.head.bias)
    (objective,) = method.losses(batch_of(torch.rand(6, 3, 32, 32)))
    assert objective.loss.item() == pytest.approx(math.log(4))
    assert objective.chance == pytest.approx(math.log(4))


def test_loss_equals_a_loop_over_images_and_turns() -> None:
    """The formula of the paper, one image and one turn at a time."""
    method = rotation(flip=False).eval()
    images = torch.rand(4, 3, 36, 36)
    torch.manual_seed(0)
    (objective,) = method.losses(batch_of(images))
    torch.manual_seed(0)
    from selfsup.views.crops import random_crop

    views = random_crop(images, 32, flip=False)
    total = 0.0
    for view in views:
        for k in range(4):
            chances = F.softmax(method.head(method.encoder.vector(view.rot90(k, (1, 2))[None])), 1)
            total -= math.log(chances[0, k].item()) / 4
    assert objective.loss.item() == pytest.approx(total / len(views), rel=1e-4)


def test_symmetric_images_cannot_be_told_apart() -> None:
    """On images that look the same after a quarter turn exactly one of four answers is right."""
    line = torch.linspace(-1, 1, 32)
    rings = (line[:, None] ** 2 + line**2).expand(6, 3, 32, 32).clamp(0, 1) * torch.rand(6, 3, 1, 1)
    method = rotation().eval()
    turned, _ = all_turns(rings)
    with torch.no_grad():
        logits = method.head(method.encoder.vector(turned)).view(6, 4, 4)
    assert torch.allclose(logits, logits[:, :1].expand_as(logits), atol=1e-5)


def rotation(**arguments: bool) -> Rotation:
    """Give a rotation method on a small encoder."""
    return Rotation(build_encoder("small", 32, seed=0), **arguments)


def batch_of(images: torch.Tensor) -> Batch:
    """Wrap images as a batch."""
    return Batch(images, torch.arange(len(images)), 0, 0.0)
