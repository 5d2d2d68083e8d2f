"""Inpainting: only the hole counts, only what is left is seen, and the mean colour is the line to beat."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup import processes
from selfsup.data.scenes import rendered
from selfsup.draws import mix
from selfsup.errors import InputError
from selfsup.method import Batch, Objective
from selfsup.methods.inpainting import Inpainting, compose
from selfsup.networks.encoders import build_encoder
from selfsup.recipe import Recipe
from selfsup.training import checkpoint
from selfsup.training.loop import as_list, autocast_of, train
from selfsup.training.optimizers import parameters_of, set_lr
from selfsup.views import crops, masks

SIZE = 32
KINDS: list[dict[str, Any]] = [{"mask": "centre"}, {"mask": "block"}, {"mask": "region", "overlap": 1}]


@pytest.fixture
def whole_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let views be the images themselves."""
    monkeypatch.setattr(crops, "random_crop", lambda images, size, pad, flip: images)


@pytest.mark.usefixtures("whole_images")
@pytest.mark.parametrize("arguments", KINDS)
def test_loss_equals_a_loop_over_pixels(arguments: dict[str, Any]) -> None:
    """Per image: squared errors in the hole, tenfold in the overlap around it, over the number of those pixels."""
    method = inpainting(**arguments)
    images, output = torch.rand(2, 3, SIZE, SIZE), torch.randn(2, 3, SIZE, SIZE)
    (hole,) = answering(method, output, images)
    total, around = 0.0, range(-method.overlap, method.overlap + 1)
    for n in range(2):
        dropped = {(y, x) for _, y, x in hole[n].nonzero().tolist()}
        whole = {(y + i, x + j) for y, x in dropped for i in around for j in around}
        whole = {(y, x) for y, x in whole if 0 <= y < SIZE and 0 <= x < SIZE}
        error = 0.0
        for y, x in whole:
            truth = (images[n, :, y, x] - method.encoder.mean) / method.encoder.std
            error += (output[n, :, y, x] - truth).square().mean().item() * (1 if (y, x) in dropped else 10)
        total += error / len(whole)
    assert one_loss(method, images).loss.item() == pytest.approx(total / 2, rel=1e-4)


def test_centre_at_128_weighs_the_ring_tenfold() -> None:
    """The released geometry: a 64 px patch of which the outer 4 px are in sight."""
    method = Inpainting(build_encoder("small", 128, seed=0), mask="centre")
    hole = method.hole(torch.zeros(1, 3, 128, 128))
    error = torch.zeros(1, 3, 128, 128, requires_grad=True)
    method.weighted(error, hole).backward()
    assert error.grad is not None
    weights = error.grad[0, 0] * 3 * 64**2
    expected = torch.zeros(128, 128)
    expected[32:96, 32:96] = 10
    expected[36:92, 36:92] = 1
    assert torch.allclose(weights, expected)


@pytest.mark.usefixtures("whole_images")
@pytest.mark.parametrize("mask", ["centre", "block", "region"])
def test_kept_pixels_do_not_count(mask: str) -> None:
    """Without an overlap, neither the target's nor the prediction's; a perfect hole has no loss and no gradient."""
    method = inpainting(mask=mask, overlap=0)
    images = torch.rand(4, 3, SIZE, SIZE)
    output = torch.randn(4, 3, SIZE, SIZE, requires_grad=True)
    (hole,) = answering(method, output, images)
    loss = one_loss(method, images).loss
    loss.backward()
    assert output.grad is not None
    assert output.grad[~hole.expand_as(images)].abs().max() == 0
    assert (output.grad[hole.expand_as(images)] != 0).all()
    elsewhere = compose(torch.rand_like(images), hole, images)
    assert one_loss(method, elsewhere).loss.item() == pytest.approx(loss.item(), rel=1e-6)
    answering(method, compose(output.detach(), hole, method.encoder.normalize(images)), images)
    assert one_loss(method, images).loss.item() == 0


@pytest.mark.parametrize("mask", ["centre", "block", "region"])
def test_dropped_pixels_are_not_seen(mask: str) -> None:
    """They are the fill exactly, 0 for the network; change them, and what is generated stays as it is."""
    method = inpainting(mask=mask).eval()
    images = torch.rand(4, 3, SIZE, SIZE)
    hole = method.hole(images)
    cut = method.cut_out(images, hole)
    everywhere = hole.expand_as(images)
    assert torch.equal(cut[~everywhere], images[~everywhere])
    assert torch.equal(cut[everywhere], method.encoder.mean.view(3, 1, 1).expand_as(images)[everywhere])
    assert method.encoder.normalize(cut)[everywhere].abs().max() == 0
    other = compose(images, hole, torch.rand_like(images))
    assert torch.equal(method.generate(other, hole), method.generate(images, hole))
    other = compose(torch.rand_like(images), hole, images)
    assert not torch.equal(method.generate(other, hole), method.generate(images, hole))


def test_a_far_corner_reaches_the_hole() -> None:
    """Through the bottleneck every pixel that is left has a say in every generated one."""
    method = inpainting(mask="centre").eval()
    images = torch.rand(1, 3, SIZE, SIZE, requires_grad=True)
    method.generate(images, method.hole(images))[0, :, 23, 23].sum().backward()
    assert images.grad is not None
    assert images.grad[0, :, :2, :2].abs().max() > 0


def test_composing_with_the_truth_gives_the_image() -> None:
    images = torch.rand(4, 3, SIZE, SIZE)
    hole = masks.region(images)
    assert torch.equal(compose(images, hole, images), images)


@pytest.mark.usefixtures("whole_images")
@pytest.mark.parametrize("arguments", KINDS)
def test_the_mean_colour_of_the_rest_costs_chance_and_gains_nothing(arguments: dict[str, Any]) -> None:
    """A network that fills the hole with the mean of what is left has the loss `chance` and gains 0 dB."""
    method = inpainting(**arguments)
    images = torch.rand(8, 3, SIZE, SIZE) * torch.rand(8, 3, 1, 1)
    hole = method.hole(images)
    method.hole = lambda _: hole  # type: ignore[method-assign]
    means = torch.stack([image[:, ~own[0]].mean(1) for image, own in zip(images, hole, strict=True)])[:, :, None, None]
    answering(method, method.encoder.normalize(means.expand_as(images)), images, hole)
    objective = one_loss(method, images)
    assert objective.loss.item() == pytest.approx(objective.chance, rel=1e-5)
    assert objective.metrics["psnr_gain"].item() == pytest.approx(0, abs=1e-4)


@pytest.mark.usefixtures("whole_images")
def test_gain_is_counted_in_the_hole_in_decibels() -> None:
    """Where the mean colour is off by 0.3 and the network by 0.03, 20 dB are gained, whatever it does elsewhere."""
    method = inpainting(mask="centre", overlap=0)
    images = torch.full((2, 3, SIZE, SIZE), 0.2)
    hole = method.hole(images)
    images = compose(images, hole, images + 0.3)
    output = compose(torch.randn_like(images), hole, method.encoder.normalize(images + 0.03))
    answering(method, output, images, hole)
    assert one_loss(method, images).metrics["psnr_gain"].item() == pytest.approx(20, abs=1e-3)


@pytest.mark.usefixtures("whole_images")
def test_constant_images_are_filled_without_error() -> None:
    method = inpainting(mask="region")
    images = torch.rand(4, 3, 1, 1).expand(4, 3, SIZE, SIZE)
    answering(method, method.encoder.normalize(images), images)
    objective = one_loss(method, images)
    assert objective.loss.item() == 0
    assert objective.chance == pytest.approx(0, abs=1e-9)
    assert objective.metrics["psnr_gain"].item() == 0  # errors below a level of 8 bits are none


@pytest.mark.parametrize("adversary", ["logistic", "hinge"])
@pytest.mark.parametrize("mask", ["centre", "block"])
def test_two_players(mask: str, adversary: str) -> None:
    """The weights of the paper (0.999 and 0.001), one verdict for both sides, ln 2 a term at the start."""
    torch.manual_seed(0)
    method = inpainting(mask=mask, adversarial=0.001, adversary=adversary)
    seen: list[Tensor] = []
    errors: list[Tensor] = []
    assert method.discriminator is not None
    method.discriminator.register_forward_hook(lambda module, given, logits: seen.append(logits))
    weighted = method.weighted
    method.weighted = lambda *given: errors.append(weighted(*given)) or errors[-1]  # type: ignore[method-assign,func-returns-value]
    (judge, generator) = objectives(method, torch.rand(16, 3, SIZE, SIZE))
    assert (judge.part, generator.part) == ("discriminator", "encoder")
    assert generator.chance is None
    real, fake = seen
    if adversary == "logistic":
        fooling = F.softplus(-fake).mean()
        assert judge.loss.item() == pytest.approx(2 * math.log(2), abs=0.15)
        assert torch.allclose(judge.loss, F.softplus(-real).mean() + F.softplus(fake).mean())
    else:
        fooling = -fake.mean()
        assert judge.loss.item() == pytest.approx(2, abs=0.3)
        assert torch.allclose(judge.loss, F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    assert torch.allclose(generator.loss, 0.999 * errors[0] + 0.001 * fooling, rtol=1e-6)
    assert 0 <= judge.metrics["d_accuracy"] <= 1


def test_discriminator_sees_the_patch_or_the_filled_image() -> None:
    """The square alone for centre holes, so that it cannot look for a seam; else the image with its hole filled."""
    images, values = torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE)
    centre, region = inpainting(mask="centre", adversarial=0.1), inpainting(mask="region", adversarial=0.1)
    hole = centre.hole(images)
    assert torch.equal(centre.judged(values, images, hole), values[:, :, 8:24, 8:24])
    assert torch.equal(centre.judged(images, images, hole), images[:, :, 8:24, 8:24])
    hole = region.hole(images)
    assert torch.equal(region.judged(values, images, hole), compose(images, hole, values))
    assert torch.equal(region.judged(images, images, hole), images)


def test_discriminator_learns_at_a_tenth_of_the_rate() -> None:
    """2e-4 against 2e-3, as in the paper; both sides move in the same step, each by its own loss."""
    method = inpainting(adversarial=0.001)
    optimizers = method.optimizers(method.recipe)
    for optimizer in optimizers.values():
        set_lr(optimizer, 2e-3)
    assert [group["lr"] for group in optimizers["discriminator"].param_groups] == [pytest.approx(2e-4)]
    assert [group["lr"] for group in optimizers["encoder"].param_groups] == [2e-3]
    owned = [id(p) for optimizer in optimizers.values() for p in parameters_of(optimizer)]
    assert sorted(owned) == sorted(id(p) for p in method.parameters())
    before = {name: value.detach().clone() for name, value in method.named_parameters()}
    run(method, optimizers, 0, 1)
    still = [name for name, value in method.named_parameters() if torch.equal(value, before[name])]
    assert still == []


def test_stopped_game_goes_on_exactly(tmp_path: Path) -> None:
    """With two players too, a run through a checkpoint equals one without, to the bit."""
    straight = inpainting(mask="centre", adversarial=0.01)
    optimizers = straight.optimizers(straight.recipe)
    run(straight, optimizers, 0, 2)
    checkpoint.save(tmp_path, 2, straight, optimizers, None)
    run(straight, optimizers, 2, 4)
    resumed = inpainting(mask="centre", adversarial=0.01, seed=9)
    again = resumed.optimizers(resumed.recipe)
    file = checkpoint.newest(tmp_path)
    assert file is not None
    checkpoint.load(file, resumed, again)
    run(resumed, again, 2, 4)
    expected = straight.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())


@pytest.mark.parametrize("mask", ["centre", "block", "region"])
def test_two_processes_play_the_same_game(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both players' gradients are the average of those of two processes with half the images each.

    Norms stand still here; that they see all processes, and whole runs without an adversary, are the contract's part.
    """
    method = inpainting(mask=mask, adversarial=0.1).double().eval()
    images = pictures(0).double()
    alone = both_gradients(method, images)
    monkeypatch.setattr(processes, "count", lambda: 2)
    halves = []
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        halves.append(both_gradients(method, images[8 * rank : 8 * rank + 8]))
    for whole, one, other in zip(alone, *halves, strict=True):
        assert torch.allclose(whole, (one + other) / 2, rtol=0, atol=1e-10)


def test_training_fills_rooms_better_than_the_mean_colour(tmp_path: Path) -> None:
    """After some steps on rendered scenes, unseen holes are filled half a decibel better than by one colour."""
    pixels, _ = rendered(320, SIZE, 0, tmp_path, workers=0)
    scenes = torch.from_numpy(pixels.copy()).float() / 255
    method = inpainting(flip=False).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(method.parameters(), 2e-3, (0.5, 0.999))
    precision = autocast_of(torch.device("cpu"), "bfloat16")
    for step in range(60):
        with precision():
            loss = one_loss(method, scenes[:256].roll(-64 * step, 0)[:64]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.eval()
    with precision(), torch.no_grad():
        assert one_loss(method, scenes[256:]).metrics["psnr_gain"].item() > 0.5


def test_parameters_behind_the_last_map_learn_too() -> None:
    """Networks with layers behind their last map are decoded from map and vector, so that nothing is left as drawn."""
    method = Inpainting(build_encoder("efficientnet_b0", SIZE, seed=0))
    one_loss(method, torch.rand(4, 3, SIZE, SIZE)).loss.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert inpainting().context is None


@pytest.mark.parametrize("mask", ["centre", "block", "region"])
def test_figure_has_a_row_each_for_cut_filled_and_original(mask: str) -> None:
    """Three rows of eight tiles; outside the holes all three are alike."""
    images = torch.rand(10, 3, SIZE, SIZE)
    (picture,) = inpainting(mask=mask).eval().figures(batch_of(images)).values()
    assert picture.shape == (3, 3 * SIZE + 2 * 2, 8 * SIZE + 7 * 2)
    rows = [picture[:, k * (SIZE + 2) :][:, :SIZE, :SIZE] for k in range(3)]
    assert torch.equal(rows[2], images[0])
    dropped = (rows[0] != rows[2]).any(0)
    assert 0.1 < dropped.float().mean() <= 0.25
    assert torch.equal(rows[1][:, ~dropped], rows[2][:, ~dropped])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"overlap": 8}, "overlap must be 0 to 7"),
        ({"overlap": -1}, "overlap must be 0 to 7"),
        ({"adversarial": 1.0}, "weight in"),
        ({"discriminator_rate": 0.0}, "must be above 0"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    """A sentence says what is wrong and what would do."""
    with pytest.raises(InputError, match=says):
        inpainting(**arguments)


def inpainting(seed: int = 0, **arguments: Any) -> Inpainting:
    """Give the method on a small encoder."""
    encoder = build_encoder("small", SIZE, seed=seed)
    torch.manual_seed(mix(seed, 1))
    return Inpainting(encoder, **arguments)


def answering(method: Inpainting, output: Tensor, images: Tensor, hole: Tensor | None = None) -> list[Tensor]:
    """Let the network generate a fixed output in fixed holes; give those."""
    fixed = method.hole(images) if hole is None else hole
    method.hole = lambda _: fixed  # type: ignore[method-assign]
    method.generate = lambda *_: output  # type: ignore[method-assign]
    return [fixed]


def objectives(method: Inpainting, images: Tensor) -> list[Objective]:
    """Give all objectives of a batch."""
    return [objective for yielded in method.losses(batch_of(images)) for objective in as_list(yielded)]


def one_loss(method: Inpainting, images: Tensor) -> Objective:
    """Give the one objective of a batch."""
    (objective,) = objectives(method, images)
    return objective


def batch_of(images: Tensor, step: int = 0) -> Batch:
    """Give images as a batch."""
    return Batch(images, torch.arange(len(images)), step, 0.0)


def both_gradients(method: Inpainting, images: Tensor) -> list[Tensor]:
    """Give the gradients of the discriminator's and of the generating networks' losses."""
    torch.manual_seed(5)
    parts = method.optimizers(method.recipe)
    return [
        gradient
        for objective in objectives(method, images)
        for gradient in torch.autograd.grad(objective.loss, parameters_of(parts[objective.part]), retain_graph=True)
    ]


def run(method: Inpainting, optimizers: dict[str, torch.optim.Optimizer], first: int, last: int) -> None:
    """Train on some batches."""
    recipe = Recipe(optimizer="adam", lr=1e-3, momentum=0.5)
    batches = (batch_of(pictures(step), step) for step in range(first, last))
    for _ in train(method, batches, optimizers, recipe, 0, autocast_of(torch.device("cpu"), "float32")):
        pass


def pictures(step: int) -> Tensor:
    """Draw 16 smooth random images."""
    coarse = torch.rand(16, 3, 5, 5, generator=torch.Generator().manual_seed(step))
    return F.interpolate(coarse, size=36, mode="bilinear").clamp(0, 1)
