"""DAE: the target is clean, the noise is what the paper says, and copying the input is the line to beat."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.errors import InputError
from selfsup.method import Batch, Objective
from selfsup.methods.dae import DenoisingAutoencoder, emphasized, psnr_gain
from selfsup.networks.encoders import build_encoder
from selfsup.networks.tied import TiedDecoder
from selfsup.views import crops, noise

SIZE = 32
KINDS: list[dict[str, Any]] = [
    {"noise": "gaussian"},
    {"noise": "masking", "block": 4, "emphasis": "double"},
    {"noise": "salt_and_pepper", "emphasis": "full"},
    {"noise": "gaussian", "loss": "cross_entropy"},
]


@pytest.fixture
def whole_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let views be the images themselves."""
    monkeypatch.setattr(crops, "random_crop", lambda images, size, pad, flip: images)


@pytest.mark.usefixtures("whole_images")
@pytest.mark.parametrize("arguments", KINDS)
def test_loss_equals_a_loop_over_pixels(arguments: dict[str, Any]) -> None:
    """The formula of the paper, one value at a time: error against the clean image, weighted where it was corrupted."""
    method = dae(**arguments).eval()
    clean = torch.rand(2, 3, 8, 8)  # few pixels to loop over; the network is not asked
    output = torch.randn(2, 3, 8, 8)
    seen = answering(method, output)
    objective = one_loss(method, clean)
    (corrupted,) = seen
    at_changed, at_kept = {"none": (1, 1), "double": (1, 0.5), "full": (1, 0)}[arguments.get("emphasis", "none")]
    total = 0.0
    for i, c, y, x in torch.cartesian_prod(*map(torch.arange, clean.shape)).tolist():
        value, guess = clean[i, c, y, x].item(), output[i, c, y, x].item()
        changed = any(corrupted[i, k, y, x] != clean[i, k, y, x] for k in range(3))
        if method.loss == "cross_entropy":
            z = 1 / (1 + math.exp(-guess))
            error = -value * math.log(z) - (1 - value) * math.log(1 - z)
        else:
            mean, std = method.encoder.mean[c].item(), method.encoder.std[c].item()
            error = (guess - (value - mean) / std) ** 2
        total += error * (at_changed if changed else at_kept)
    assert objective.loss.item() == pytest.approx(total / clean.numel(), rel=1e-5)


@pytest.mark.usefixtures("whole_images")
@pytest.mark.parametrize("kind", ["gaussian", "masking", "salt_and_pepper"])
def test_no_noise_is_a_plain_autoencoder(kind: str) -> None:
    """With amount 0 the network sees the clean image itself, and the loss is the plain error."""
    method = dae(noise=kind, amount=0.0).eval()
    images = torch.rand(4, 3, SIZE, SIZE)
    objective = one_loss(method, images)
    expected = F.mse_loss(method.reconstruct(images), method.encoder.normalize(images))
    assert torch.allclose(objective.loss, expected)
    assert torch.equal(method.corrupt(images)[0], images)


@pytest.mark.parametrize("arguments", KINDS)
def test_target_is_untouched_by_noise(arguments: dict[str, Any]) -> None:
    """The corrupted image lies elsewhere in memory and the clean one is as before."""
    method = dae(**arguments)
    images = torch.rand(4, 3, SIZE, SIZE)
    before = images.clone()
    corrupted, _ = method.corrupt(images)
    assert corrupted.data_ptr() != images.data_ptr()
    assert torch.equal(images, before)
    assert not torch.equal(corrupted, images)


def test_noise_is_fresh_and_seeded() -> None:
    """Two calls differ, the same seed gives the same noise."""
    method = dae()
    images = torch.rand(4, 3, SIZE, SIZE)
    torch.manual_seed(0)
    one, other = method.corrupt(images)[0], method.corrupt(images)[0]
    torch.manual_seed(0)
    assert torch.equal(method.corrupt(images)[0], one)
    assert not torch.equal(one, other)


def test_encoder_adds_no_noise() -> None:
    """What is kept from the run gives the same features twice; corruption belongs to the task."""
    method = dae().eval()
    images = torch.rand(4, 3, SIZE, SIZE)
    assert torch.equal(method.encoder.vector(images), method.encoder.vector(images))


def test_gaussian_noise_is_in_units_of_the_encoder() -> None:
    """What the network sees is the normalized image plus noise of deviation sigma, not clipped."""
    method = dae(amount=0.5)
    images = torch.rand(16, 3, SIZE, SIZE)
    added = method.encoder.normalize(method.corrupt(images)[0]) - method.encoder.normalize(images)
    assert added.mean((0, 2, 3)).abs().max() < 0.02
    assert torch.allclose(added.std((0, 2, 3)), torch.full((3,), 0.5), atol=0.02)
    assert method.corrupt(images)[0].max() > 1


def test_masked_pixels_are_zero_for_the_network() -> None:
    """Erased pixels are 0 after normalization, exactly the share asked for; kept ones are as they were."""
    method = dae(noise="masking", amount=0.25, block=4)
    images = torch.rand(4, 3, SIZE, SIZE)
    corrupted, changed = method.corrupt(images)
    assert changed is not None
    everywhere = changed.expand_as(images)
    assert method.encoder.normalize(corrupted)[everywhere].abs().max() < 1e-6
    assert torch.equal(corrupted[~everywhere], images[~everywhere])
    assert changed.float().mean((1, 2, 3)).tolist() == [0.25] * 4


@pytest.mark.usefixtures("whole_images")
@pytest.mark.parametrize(("kind", "amount"), [("gaussian", 0.4), ("masking", 0.3), ("salt_and_pepper", 0.3)])
def test_copying_costs_chance_and_gains_nothing(kind: str, amount: float) -> None:
    """A network that returns its input has the loss `chance`: sigma^2, or the share times E[x^2], and gains 0 dB."""
    method = dae(noise=kind, amount=amount)
    seen: list[Tensor] = []
    method.reconstruct = lambda images: seen.append(images) or method.encoder.normalize(images)  # type: ignore[method-assign,func-returns-value]
    images = torch.rand(64, 3, SIZE, SIZE)
    objective = one_loss(method, images)
    assert objective.chance is not None
    assert objective.loss.item() == pytest.approx(objective.chance, rel=0.02)
    assert objective.metrics["psnr_gain"].item() == pytest.approx(0, abs=1e-3)
    assert objective.metrics["mse"].item() == pytest.approx(objective.chance, rel=0.02)
    if kind == "gaussian":
        assert objective.chance == pytest.approx(amount**2)
    if kind == "masking":
        power = method.encoder.normalize(images).square().mean().item()
        assert objective.chance == pytest.approx(amount * power, rel=0.02)


@pytest.mark.usefixtures("whole_images")
def test_perfect_reconstruction_has_no_error() -> None:
    """The squared error is 0 at the clean image, however strong the noise."""
    method = dae(amount=2.0)
    images = torch.rand(2, 3, SIZE, SIZE)
    answering(method, method.encoder.normalize(images))
    objective = one_loss(method, images)
    assert objective.loss.item() == 0
    assert objective.metrics["psnr_gain"].item() > 50


@pytest.mark.usefixtures("whole_images")
def test_cross_entropy_ends_at_the_entropy_of_the_image() -> None:
    """It is least where output and image agree: ln 2 per value for a mid-gray image, and more on either side."""
    method = dae(loss="cross_entropy")
    losses = {}
    for logit in (-0.1, 0.0, 0.1):
        answering(method, torch.full((2, 3, SIZE, SIZE), logit))
        losses[logit] = one_loss(method, torch.full((2, 3, SIZE, SIZE), 0.5)).loss.item()
    assert losses[0.0] == pytest.approx(math.log(2))
    assert losses[0.0] < min(losses[-0.1], losses[0.1])


def test_emphasis() -> None:
    """Weights 1 and 1 are the plain mean; with 1 and 0 kept pixels have no gradient."""
    errors = torch.rand(2, 3, 4, 4, requires_grad=True)
    changed = torch.rand(2, 1, 4, 4) < 0.5
    assert torch.equal(emphasized(errors, changed, 1.0, 1.0), errors.mean())
    emphasized(errors, changed, 1.0, 0.0).backward()
    assert errors.grad is not None
    assert errors.grad[~changed.expand_as(errors)].abs().max() == 0
    assert errors.grad[changed.expand_as(errors)].min() > 0
    double = emphasized(errors, changed, 1.0, 0.5)
    full, plain = emphasized(errors, changed, 1.0, 0.0), errors.mean()
    assert torch.allclose(double, (full + plain) / 2)


def test_gain_is_counted_per_image_in_decibels() -> None:
    """A tenth of the squared error is 10 dB; images count alike, whatever their noise."""
    clean = torch.zeros(2, 3, 4, 4)
    corrupted = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 1.0)])
    left = torch.tensor([0.1 * 0.1**2, 1.0])[:, None].expand(2, 3)
    assert psnr_gain(left, corrupted, clean).item() == pytest.approx(5, rel=1e-4)


def test_best_linear_denoiser_is_the_ridge_like_map() -> None:
    """Least squares from noisy to clean images finds S (S + sigma^2 I)^-1, S the covariance of the images."""
    torch.manual_seed(0)
    count, sigma = 60_000, 0.7
    mixing = torch.randn(12, 12, dtype=torch.float64)
    clean = (torch.randn(count, 12, dtype=torch.float64) @ mixing.T).view(count, 3, 2, 2)
    std = torch.ones(3, dtype=torch.float64)
    noisy = noise.gaussian(clean, sigma, std).view(count, 12)
    found = torch.linalg.lstsq(noisy, clean.view(count, 12)).solution.T
    covariance = mixing @ mixing.T
    expected = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(12, dtype=torch.float64))
    assert torch.allclose(found, expected, atol=0.02)


@pytest.mark.usefixtures("whole_images")
def test_training_beats_copying() -> None:
    """On pictures of few degrees of freedom some steps gain half a decibel (1.0 to 1.5 with seeds 0 to 5)."""
    torch.manual_seed(0)
    objective = trained(dae(amount=1.0), 20)
    assert objective.chance is not None
    assert objective.loss.item() < objective.chance
    assert objective.metrics["psnr_gain"].item() > 0.5


def test_parameters_behind_the_last_map_learn_too() -> None:
    """Networks with layers behind their last map are decoded from map and vector, so that nothing is left as drawn."""
    method = DenoisingAutoencoder(build_encoder("efficientnet_b0", SIZE, seed=0))
    assert method.context is not None
    one_loss(method, torch.rand(4, 3, SIZE, SIZE)).loss.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert dae().context is None


@pytest.mark.usefixtures("whole_images")
@pytest.mark.parametrize("name", ["small", "small1d"])
def test_tied_weight_is_one_parameter_with_gradients_of_both_uses(name: str) -> None:
    """W and W' stay one tensor while it trains, and its gradient is the sum of those as encoder and as decoder."""
    encoder = build_encoder(name, SIZE, seed=0)
    method = DenoisingAutoencoder(encoder, tied=True).eval()
    assert isinstance(method.decoder, TiedDecoder)
    inputs = torch.rand(4, *encoder.shape)
    weight = next(module.weight for module in encoder.modules() if isinstance(module, nn.Conv1d | nn.Conv2d))

    def gradient(stop: str) -> Tensor:
        with torch.no_grad():
            copy = deepcopy(encoder.inner)
        last_map = encoder(inputs)
        stopped = last_map.detach() if stop == "encoder" else last_map
        output = method.decoder(stopped, copy if stop == "decoder" else encoder.inner)
        error = (output - encoder.normalize(inputs)).square().mean()
        (found,) = torch.autograd.grad(error, [weight], allow_unused=True)
        return found

    both, as_decoder, as_encoder = gradient(""), gradient("encoder"), gradient("decoder")
    assert as_decoder.abs().max() > 0
    assert torch.allclose(both, as_decoder + as_encoder, atol=1e-6)
    assert sum(parameter is weight for parameter in method.parameters()) == 1
    assert sum(value.shape == weight.shape for value in method.decoder.state_dict().values()) == 0


@pytest.mark.usefixtures("whole_images")
def test_tied_training_beats_copying() -> None:
    """As without, and by more: some steps on simple pictures gain 2 dB (3.7 to 5.9 with seeds 0 to 5)."""
    torch.manual_seed(0)
    objective = trained(dae(amount=1.0, tied=True), 20)
    assert objective.metrics["psnr_gain"].item() > 2


def test_cleaned_waves_have_a_better_signal_to_noise_ratio() -> None:
    """Sine waves in noise of their own size: the output's ratio exceeds the input's by more than 3 dB."""
    torch.manual_seed(0)
    method = DenoisingAutoencoder(build_encoder("small1d", 64, seed=0, mean=[0.0], std=[0.7]), amount=1.0)
    trained(method, 60, sines)
    clean = sines(64)
    noisy, _ = method.eval().corrupt(clean)
    with torch.no_grad():
        cleaned = method.pixels(method.reconstruct(noisy))
    power = clean.square().mean()
    before, after = (10 * torch.log10(power / (given - clean).square().mean()) for given in (noisy, cleaned))
    assert before.item() == pytest.approx(0, abs=0.5)
    assert after.item() > before.item() + 3


@pytest.mark.parametrize("kind", ["gaussian", "masking", "salt_and_pepper"])
def test_copying_a_signal_costs_chance_and_gains_nothing(kind: str) -> None:
    """The line to beat holds for signals too, in whatever units: here in millionths."""
    encoder = build_encoder("small1d", 64, seed=0, mean=[2e-6], std=[0.7e-6])
    method = DenoisingAutoencoder(encoder, noise=kind, amount=0.4)  # type: ignore[arg-type]
    method.reconstruct = encoder.normalize  # type: ignore[method-assign]
    objective = one_loss(method, 1e-6 * sines(64) + 2e-6)
    assert objective.chance is not None
    assert objective.metrics["mse"].item() == pytest.approx(objective.chance, rel=0.05)
    assert objective.metrics["psnr_gain"].item() == pytest.approx(0, abs=1e-3)


def test_gain_of_signals_does_not_depend_on_their_units() -> None:
    """Half of the noise left is 6 dB, in millionths as in units."""
    for unit in (1.0, 1e-6):
        encoder = build_encoder("small1d", 64, seed=0, mean=[0.0], std=[0.7 * unit])
        method = DenoisingAutoencoder(encoder)
        clean = unit * sines(16)
        method.reconstruct = lambda x, e=encoder, c=clean: e.normalize((x + c) / 2)  # type: ignore[method-assign]
        assert one_loss(method, clean).metrics["psnr_gain"].item() == pytest.approx(20 * math.log10(2), abs=1e-3)


def test_figure_of_signals_is_drawn_in_lines() -> None:
    """Three rows of three plots, mostly white."""
    method = DenoisingAutoencoder(build_encoder("small1d", 64, seed=0)).eval()
    (picture,) = method.figures(batch_of(sines(10))).values()
    assert picture.shape == (3, 3 * 90 + 2 * 4, 3 * 300 + 2 * 4)
    assert (picture > 0.99).float().mean() > 0.8


def test_figure_has_a_row_each_for_clean_corrupted_and_cleaned() -> None:
    """Three rows of eight tiles."""
    (picture,) = dae().eval().figures(batch_of(torch.rand(10, 3, 36, 36))).values()
    assert picture.shape == (3, 3 * SIZE + 2 * 2, 8 * SIZE + 7 * 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"amount": -0.1}, "must be 0 or above"),
        ({"noise": "masking", "amount": 1.5}, "share in"),
        ({"noise": "masking", "block": 0}, "block must be"),
        ({"block": 4}, "is for masking"),
        ({"emphasis": "full"}, "every pixel"),
        ({"tied": True, "name": "resnet18"}, "need an encoder of plain convolutions .* got resnet18; leave --tied out"),
        ({"loss": "cross_entropy", "name": "small1d"}, "which signals do not have; use --loss squared"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    """A sentence says what is wrong and what would do."""
    with pytest.raises(InputError, match=says):
        dae(**arguments)


def dae(name: str = "small", **arguments: Any) -> DenoisingAutoencoder:
    """Give the method on an encoder, by default a small one."""
    return DenoisingAutoencoder(build_encoder(name, SIZE, seed=0), **arguments)


def answering(method: DenoisingAutoencoder, output: Tensor) -> list[Tensor]:
    """Let the network give a fixed output; list what it is shown."""
    seen: list[Tensor] = []

    def reconstruct(images: Tensor) -> Tensor:
        seen.append(images)
        return output

    method.reconstruct = reconstruct  # type: ignore[method-assign]
    return seen


def one_loss(method: DenoisingAutoencoder, images: Tensor) -> Objective:
    """Give the one objective of a batch."""
    (objective,) = method.losses(batch_of(images))
    assert isinstance(objective, Objective)
    return objective


def trained(method: DenoisingAutoencoder, steps: int, draw: Callable[[int], Tensor] | None = None) -> Objective:
    """Take some steps, by default on simple pictures; give the last objective."""
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(steps):
        objective = one_loss(method, (draw or gradients_of_light)(16))
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.step()
    return objective


def sines(count: int) -> Tensor:
    """Draw sine waves of any phase, 2 to 4 turns in 64 samples."""
    turns, phase = 2 + 2 * torch.rand(count, 1), torch.rand(count, 1)
    return torch.sin(2 * math.pi * (turns * torch.arange(64) / 64 + phase))[:, None]


def gradients_of_light(count: int) -> Tensor:
    """Draw images that change evenly from left to right, between two random colours."""
    ends = torch.rand(count, 3, 1, 2)
    line = torch.linspace(0, 1, SIZE)
    return (ends[..., :1] * (1 - line) + ends[..., 1:] * line).expand(count, 3, SIZE, SIZE)


def batch_of(images: Tensor) -> Batch:
    """Give images as a batch."""
    return Batch(images, torch.arange(len(images)), 0, 0.0)
