"""The game of a discriminator against a generator: both sides' losses, a penalty, and what to watch.

Logits are of any float type and are worked on in at least float32; a positive one says "real".
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selfsup.errors import InputError

Loss = Literal["logistic", "hinge"]
"""`logistic` is the cross-entropy of the original game, `hinge` stops pushing what is right by a margin of 1."""


def discriminator_loss(
    real_logits: Float[Tensor, " B"], fake_logits: Float[Tensor, " F"], kind: Loss, smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Punish a discriminator for what it says of real and of generated images: the sum of both means.

    At zero logits 2 ln 2 for logistic and 2 for hinge.

    Args:
        real_logits: of real images.
        fake_logits: of generated ones.
        kind: of loss.
        smoothing: real images are called real with 1 - smoothing only (0.25 in improved-gan's code); logistic only. The
            fake side stays as it is: smoothing it would reinforce the generator's present errors.

    Source: Goodfellow et al., 2014; hinge as in Miyato et al., 2018; smoothing: Salimans et al., 2016.
    """
    real, fake = _precise(real_logits), _precise(fake_logits)
    if kind == "hinge":
        if smoothing:
            raise ValueError(f"The hinge loss has no targets to smooth, got smoothing {smoothing}.")
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    said_real = (1 - smoothing) * F.softplus(-real) + smoothing * F.softplus(real)
    return said_real.mean() + F.softplus(fake).mean()


def generator_loss(fake_logits: Float[Tensor, " F"], kind: Loss) -> Float[Tensor, ""]:
    """Punish a generator for images that are told from real ones; never the form that saturates, log(1 - D)."""
    fake = _precise(fake_logits)
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def penalized(images: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    """Give the same images, cut off from what made them, for logits whose gradient is to be punished."""
    # a view: torch cannot count the arithmetic of a module that is given a leaf
    return images.detach().requires_grad_().view_as(images)


def r1_penalty(logits: Float[Tensor, " B"], images: Float[Tensor, "B ..."], gamma: float) -> Float[Tensor, ""]:
    """Give gamma / 2 times the squared norm of the logits' gradient at real images, a mean over images.

    Make `logits` outside autocast, from `images` as `penalized` gives them.

    Args:
        logits: of real images, before any sigmoid.
        images: what they were computed from.
        gamma: 0.1 at 32 px, 1 at 64 px, growing with the square of the side.

    Source: Mescheder, Geiger and Nowozin, 2018, https://arxiv.org/abs/1801.04406 (their code leaves out the 1/2).
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    squares: Tensor = gradient.flatten(1).square().sum(1)
    return squares.mean() * (gamma / 2)


def accuracy(real_logits: Float[Tensor, " B"], fake_logits: Float[Tensor, " F"]) -> Float[Tensor, ""]:
    """Give the share that is told right, real and generated images counting alike; 0.5 is blind, a zero logit half."""
    real, fake = real_logits.detach().float().sign().mean(), fake_logits.detach().float().sign().mean()
    return 0.5 + (real - fake) / 4


def diversity(samples: Float[Tensor, "F ..."], images: Float[Tensor, "B ..."]) -> Float[Tensor, ""]:
    """Say how far samples lie apart, as a share of how far real images do: 0 where all samples are alike.

    Distances of pixels, in one unit for both, each image against the next of its batch.
    """
    return _apart(samples.detach()) / _apart(images.detach()).clamp_min(1e-12)


_LIMITS = {
    "latent": (1, 100_000, "1 to 100,000 numbers; 100 is usual"),
    "width": (1, 512, "1 to 512 channels; 32 or 64 is usual"),
    "r1": (0, math.inf, "0 or above; 0.1 is a start at 32 px, 1 at 64 px"),
    "ema": (0, 1, "a share in [0, 1]; 0.999 is usual"),
    "discriminator_rate": (1e-6, 1e6, "above 0; 1 gives both sides one rate"),
    "unary": (0, math.inf, "0 or above; 1 counts images as much as pairs"),
    "regressor": (0, math.inf, "0 or above; 0.25 is the paper's"),
}


def check(**settings: float) -> None:
    """Refuse settings of a game that are out of range.

    Raises:
        InputError: naming the first of them.
    """
    for name, value in settings.items():
        low, high, sentence = _LIMITS[name]
        if not (low <= value <= high and math.isfinite(value)):
            raise InputError(f"{name} is {sentence}, got {value:g}.")


def _apart(images: Float[Tensor, "B ..."]) -> Float[Tensor, ""]:
    flat = images.flatten(1).float()
    distances: Tensor = torch.linalg.vector_norm(flat - flat.roll(1, 0), dim=1)
    return distances.mean()


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
