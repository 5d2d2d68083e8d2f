"""DCGAN: the encoder is the discriminator, sees one kind of image at a time, and takes turns with the generator."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.errors import InputError
from selfsup.method import Batch, Objective
from selfsup.methods.dcgan import DCGAN, framed
from selfsup.networks.encoders import build_encoder
from selfsup.training.loop import autocast_of, train

SIZE = 32


def test_a_blind_discriminator_has_the_losses_of_a_coin() -> None:
    """With a zero logit: 2 ln 2 and accuracy 1/2 for the discriminator, ln 2 for the generator."""
    method = dcgan()
    torch.nn.init.zeros_(method.logit.weight)
    torch.nn.init.zeros_(method.logit.bias)
    first, second = list(method.losses(batch_of(torch.rand(8, 3, 36, 36))))
    assert isinstance(first, Objective)
    assert isinstance(second, Objective)
    assert first.loss.item() == pytest.approx(2 * math.log(2))
    assert first.metrics["d_accuracy"].item() == 0.5
    assert second.loss.item() == pytest.approx(math.log(2))
    assert (first.part, second.part) == ("encoder", "generator")


def test_real_and_generated_images_pass_separately() -> None:
    """What the discriminator says of real images does not depend on how the generated ones look."""
    method = dcgan(flip=False)
    seen: list[Tensor] = []

    def vector(images: Tensor) -> Tensor:
        seen.append(images)
        return torch.zeros(len(images), method.encoder.vector_width)

    method.encoder.vector = vector  # type: ignore[method-assign]
    images = torch.rand(8, 3, SIZE, SIZE)
    list(method.losses(batch_of(images)))
    assert [len(one) for one in seen] == [8, 8, 8]
    assert torch.allclose(seen[0], images, atol=1e-6)
    assert all(one.min() >= 0 and one.max() <= 1 for one in seen)
    assert not torch.equal(seen[1], seen[2])  # fresh codes for the generator's turn


def test_sides_take_turns_and_move_alone() -> None:
    """The generator's loss is asked of the discriminator as its step left it; each step moves one side."""
    method = dcgan()
    optimizers = method.optimizers(method.recipe)
    assert set(optimizers) == {"encoder", "generator"}
    losses = method.losses(batch_of(torch.rand(8, 3, SIZE, SIZE)))
    first = next(losses)
    generator = [p.clone() for p in method.generator.parameters()]
    weight = method.logit.weight.clone()
    first.loss.backward()
    assert all(p.grad is None for p in method.generator.parameters())
    optimizers["encoder"].step()
    assert not torch.equal(method.logit.weight, weight)
    moved = method.logit.weight.clone()
    second = next(losses)
    second.loss.backward(inputs=list(method.generator.parameters()))
    optimizers["generator"].step()
    assert torch.equal(method.logit.weight, moved)
    assert not all(torch.equal(p, q) for p, q in zip(method.generator.parameters(), generator, strict=True))
    torch.nn.init.zeros_(method.logit.weight)
    torch.nn.init.ones_(method.logit.bias)
    losses = method.losses(batch_of(torch.rand(8, 3, SIZE, SIZE)))
    next(losses)
    torch.nn.init.zeros_(method.logit.bias)  # as if a step had moved it
    assert next(losses).loss.item() == pytest.approx(math.log(2))


def test_generated_images_leave_no_trace_in_the_encoder() -> None:
    """Running statistics, which evaluation uses while training, are those of real images."""
    method = dcgan(flip=False)
    images = torch.rand(8, 3, SIZE, SIZE)
    list(method.losses(batch_of(images)))
    alone = dcgan()
    alone.encoder.vector(images)
    ours, theirs = dict(method.encoder.named_buffers()), dict(alone.encoder.named_buffers())
    for name, value in theirs.items():
        if "running" in name:
            assert torch.allclose(ours[name], value, atol=1e-6), name


def test_held_out_images_are_judged_as_in_training() -> None:
    """In eval mode too batch norm goes by the batch: with running statistics generated images were never judged."""
    method = dcgan(flip=False)
    torch.nn.init.normal_(method.logit.weight)
    images = torch.rand(8, 3, SIZE, SIZE)
    torch.manual_seed(1)
    training = next(method.losses(batch_of(images))).loss.item()
    before = {name: value.clone() for name, value in method.encoder.named_buffers()}
    method.eval()
    method.generator.train()  # its own statistics are not what is asked about
    torch.manual_seed(1)
    assert next(method.losses(batch_of(images))).loss.item() == pytest.approx(training, rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in method.encoder.named_buffers())


def test_codes_are_uniform() -> None:
    """Between -1 and 1, of the length asked for, one for each image."""
    method = dcgan(latent=7)
    seen: list[Tensor] = []
    method.generator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    method.generate(torch.rand(500, 3, SIZE, SIZE))
    (codes,) = seen
    assert codes.shape == (500, 7)
    assert codes.abs().max() <= 1
    assert codes.mean().abs() < 0.05
    assert codes.square().mean().item() == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": "hinge"},
        {"r1": 1.0},
        {"smoothing": 0.1},
        {"augment": "color,translation,cutout"},
        {"ema": 0.0, "discriminator_rate": 0.5},
    ],
)
def test_every_way_of_steadying_the_game_trains(arguments: dict[str, Any]) -> None:
    """Three steps in bfloat16 leave finite losses and move both sides; the rate of each is its own."""
    method = dcgan(**arguments)
    optimizers = method.optimizers(method.recipe)
    weights = [method.logit.weight.clone(), method.generator.first.weight.clone()]
    batches = (batch_of(torch.rand(8, 3, SIZE, SIZE)) for _ in range(3))
    for step in train(method, batches, optimizers, method.recipe, 0, autocast_of(torch.device("cpu"), "bfloat16")):
        assert all(torch.isfinite(objective.loss) for objective in step.objectives)
    assert not torch.equal(weights[0], method.logit.weight)
    assert not torch.equal(weights[1], method.generator.first.weight)
    rates = {part: optimizer.param_groups[0]["lr"] for part, optimizer in optimizers.items()}
    assert rates["encoder"] == pytest.approx(arguments.get("discriminator_rate", 1.0) * rates["generator"])
    if arguments.get("ema") == 0:
        assert torch.equal(method.average.average.first.weight, method.generator.first.weight)


def test_penalty_is_added_to_the_discriminators_loss() -> None:
    """Twice the weight, twice the penalty; nothing is added where nothing is trained."""
    images = torch.rand(8, 3, SIZE, SIZE)
    losses, untrained = [], []
    for r1 in (0.0, 10.0, 20.0):
        method = dcgan(r1=r1)
        torch.nn.init.normal_(method.logit.weight)
        torch.manual_seed(1)
        losses.append(next(method.losses(batch_of(images))).loss.item())
        torch.manual_seed(1)
        with torch.no_grad():
            untrained.append(next(method.losses(batch_of(images))).loss.item())
    assert losses[1] > losses[0] + 1e-3
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-3)
    assert untrained == pytest.approx([losses[0]] * 3)


def test_figure_shows_verdicts() -> None:
    """Two rows of eight framed tiles; green where taken for real, red where not."""
    (picture,) = dcgan().eval().figures(batch_of(torch.rand(10, 3, 36, 36))).values()
    assert picture.shape == (3, 2 * 36 + 2, 8 * 36 + 7 * 2)
    black = framed(torch.zeros(2, 3, SIZE, SIZE), torch.tensor([1.0, 0.0]))
    assert black[0, :, 0, 0].tolist() == [0, 1, 0]
    assert black[1, :, 0, 0].tolist() == [1, 0, 0]
    assert black[:, :, 2:-2, 2:-2].abs().max() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"latent": 0}, "1 to 100,000"),
        ({"r1": -1.0}, "r1 is 0 or above"),
        ({"ema": 1.5}, "a share"),
        ({"discriminator_rate": 0.0}, "above 0"),
        ({"smoothing": 0.1, "loss": "hinge"}, "for the logistic loss"),
        ({"smoothing": 0.7}, "a share in"),
        ({"augment": "blur"}, "color,translation,cutout"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    """A sentence says what is wrong and what would do."""
    with pytest.raises(InputError, match=says):
        dcgan(**arguments)


def dcgan(**arguments: Any) -> DCGAN:
    """Give the method on a small encoder, with a small generator."""
    torch.manual_seed(0)
    return DCGAN(build_encoder("small", SIZE, seed=0), **{"width": 4, "latent": 10, "loss": "logistic", **arguments})


def batch_of(images: Tensor) -> Batch:
    """Give images as a batch."""
    return Batch(images, torch.arange(len(images)), 0, 0.0)
