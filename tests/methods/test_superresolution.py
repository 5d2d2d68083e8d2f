"""Super-resolution: starts at the bicubic image and beats it; two players keep to their own weights."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from selfsup.data.images import open_images
from selfsup.errors import InputError
from selfsup.method import Batch, Objective
from selfsup.methods.superresolution import SuperResolution
from selfsup.networks.encoders import build_encoder, load_encoder, save_encoder
from selfsup.networks.srgan import Placed, SRDiscriminator
from selfsup.training import checkpoint
from selfsup.training.loop import autocast_of, train
from selfsup.training.optimizers import parameters_of
from selfsup.views import bicubic, crops

SIZE = 32
SMALL_BATCH = 8
NETWORKS = ("decoder", "srgan")


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("factor", [2, 4])
def test_training_starts_at_the_bicubic_image(network: str, factor: int) -> None:
    """Untrained networks add nothing: no gain, and the loss is that of bicubic enlargement."""
    method = superresolution(network=network, factor=factor)
    (objective,) = method.losses(batch_of(pictures(4)))
    assert objective.metrics["psnr_gain"].item() == pytest.approx(0, abs=1e-4)
    assert objective.loss.item() == pytest.approx(objective.chance, rel=1e-5)
    (held_out,) = method.eval().losses(batch_of(pictures(4)))
    assert held_out.metrics["ssim_gain"].item() == pytest.approx(0, abs=1e-5)


def test_squared_error_equals_a_loop_over_images() -> None:
    """In units of the encoder's deviation, one image at a time: shrunk, enlarged, and what the network adds."""
    method = superresolution(adversarial_from=1.0, flip=False).eval()
    torch.nn.init.normal_(method.decoder.colour.weight, std=0.05)
    images = pictures(3, SIZE)
    (objective,) = method.losses(batch_of(images))
    errors = []
    for clean in images:
        given = bicubic.enlarged(bicubic.shrunk(clean[None], 4), 4)
        made = method.encoder.normalize(given) + method.decoder(method.encoder(given))
        errors.append((made - method.encoder.normalize(clean)).square().mean())
    assert objective.loss.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)


def test_network_sees_no_more_than_the_small_image() -> None:
    """Images that are alike when small are enlarged alike."""
    method = superresolution().eval()
    seen: list[Tensor] = []
    method.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = pictures(2, SIZE)
    method.enlarge(method.blurred(images))
    (given,) = seen
    assert torch.allclose(bicubic.enlarged(bicubic.shrunk(images, 4), 4), given)
    assert given.shape == images.shape


@pytest.mark.parametrize("content", ["none", "discriminator"])
@pytest.mark.parametrize("network", NETWORKS)
def test_players_keep_to_their_own_weights(network: str, content: str) -> None:
    """The discriminator's step gives the generator no gradient, and the other way round; bce starts at ln 2 a term."""
    method = superresolution(network=network, content=content, adversary="logistic")
    optimizers = method.optimizers(method.recipe)
    losses = method.losses(batch_of(pictures(4), progress=0.9))
    first = next(losses)
    assert first.part == "discriminator"
    assert first.loss.item() == pytest.approx(2 * 0.693, abs=0.1 if network == "decoder" else 0.2)
    first.loss.backward()
    assert not any(p.grad is not None and p.grad.any() for p in parameters_of(optimizers["encoder"]))
    assert all(p.grad is not None for p in parameters_of(optimizers["discriminator"]))
    second = next(losses)
    assert second.part == "encoder"
    second.loss.backward(inputs=parameters_of(optimizers["encoder"]))
    assert all(p.grad is not None for p in parameters_of(optimizers["encoder"]))
    assert not list(losses)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_content_and_verdict_reach_the_generator(weight: float) -> None:
    """Without the squared error the content loss pulls at its last layer, and the verdict pulls elsewhere."""
    method = superresolution(content_share=1.0, adversarial_weight=weight)
    plain = superresolution(content_share=1.0, adversarial_weight=0.0)
    for one in (method, plain):
        stepped_through(one, pictures(4), 0.9)[-1].loss.backward()
    pull, without = method.decoder.colour.weight.grad, plain.decoder.colour.weight.grad
    assert pull is not None
    assert pull.any()
    assert torch.equal(pull, without) == (weight == 0)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("arguments", [{}, {"content_maps": 2}])
def test_content_is_the_difference_of_the_first_maps(network: str, arguments: dict[str, int]) -> None:
    """One by default: squared differences as a share of the true map's mean square, averaged over the maps."""
    method = superresolution(network=network, content_share=1.0, adversarial_weight=0.0, **arguments).eval()
    torch.nn.init.normal_(method.decoder.colour.weight, std=0.05)
    method.joined.fill_(True)
    method.content_scale.fill_(1.0)
    assert method.discriminator is not None
    seen: list[Tensor] = []
    hook = method.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    loss = stepped_through(method, pictures(4), 0.0)[-1].loss.item()
    hook.remove()
    real, fake = (method.discriminator.maps(images) for images in seen)
    count = arguments.get("content_maps", 1)
    shares = [((fake[n] - real[n]) ** 2).mean().item() / (real[n] ** 2).mean().item() for n in range(count)]
    assert loss == pytest.approx(sum(shares) / count, rel=1e-4)


def test_second_stage_starts_where_the_first_ended() -> None:
    """When the discriminator joins in, the generator gives what it gave, and the content loss is the squared error."""
    method = superresolution(adversarial_weight=0.0)
    torch.nn.init.normal_(method.decoder.colour.weight, std=0.05)
    images = pictures(8)
    before = stepped_through(method, images, progress=0.69)[-1]
    after = stepped_through(method, images, progress=0.7)[-1]
    for name in ("psnr_gain", "psnr"):
        assert after.metrics[name].item() == pytest.approx(before.metrics[name].item(), abs=1e-4)
    assert after.loss.item() == pytest.approx(before.loss.item(), rel=1e-4)


def test_eval_mode_shows_the_stage_that_training_is_in() -> None:
    """Looking at held-out images, whose progress means nothing, neither starts nor ends the game."""
    method = superresolution()
    images = pictures(8)
    assert [o.part for o in stepped_through(method.eval(), images, 0.9)] == ["encoder"]
    stepped_through(method.train(), images, 0.9)
    assert [o.part for o in stepped_through(method.eval(), images, 0.0)] == ["discriminator", "encoder"]


def test_no_discriminator_is_made_when_none_is_to_join() -> None:
    """One player, one optimizer."""
    method = superresolution(adversarial_from=1.0)
    assert method.discriminator is None
    assert list(method.optimizers(method.recipe)) == ["all"]
    assert [o.part for o in stepped_through(method, pictures(4), 0.99)] == ["all"]


def test_real_images_are_not_known_by_their_levels() -> None:
    """What the discriminator sees of stored images is no multiple of one level, nor is that of enlarged ones."""
    method = superresolution()
    seen: list[Tensor] = []
    assert method.discriminator is not None
    method.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    levels = (pictures(4, SIZE) * 255).round() / 255
    stepped_through(method, levels, 0.9)
    real, fake = (method.encoder.denormalize(images) for images in seen)
    off = (real * 255 - (real * 255).round()).abs()
    assert off.mean() == pytest.approx(0.25, abs=0.02)  # a stored level is 0 off, noise of one level 1/4 on average
    assert (real - fake).abs().mean() < 0.2


def test_named_run_is_looked_through_and_stays_as_it_is(tmp_path: Path) -> None:
    """Content features of a run: no weight of theirs is trained or changed, and the loss falls to 0 for the truth."""
    save_encoder(build_encoder("small", SIZE, seed=3), tmp_path)
    method = superresolution(content=str(tmp_path / "encoder.safetensors"))
    assert method.features is not None
    before = {name: value.clone() for name, value in method.features.state_dict().items()}
    trained = [p for optimizer in method.optimizers(method.recipe).values() for p in parameters_of(optimizer)]
    assert not any(p is own for p in trained for own in method.features.parameters())
    run_steps(method, 2)
    assert all(torch.equal(value, before[name]) for name, value in method.features.state_dict().items())
    real = method.encoder.normalize(pictures(2, SIZE))
    assert method.unlike(real, real, []).item() == 0
    assert method.remarks == ()


def test_labels_are_announced(tmp_path: Path) -> None:
    """With VGG's features a sentence says that labels come in; they come in again with what was learned so."""
    from selfsup.networks.content import VGG19

    save_file(VGG19().state_dict(), tmp_path / "vgg.safetensors")
    method = superresolution(content=str(tmp_path / "vgg.safetensors"))
    assert "Labels come in with" in method.remarks[0]
    save_encoder(method.encoder, tmp_path / "run")
    again = superresolution(content=str(tmp_path / "run" / "encoder.safetensors"))
    assert "Labels come in with" in again.remarks[0]
    assert load_encoder(tmp_path / "run").labels == again.encoder.labels == "used"
    assert superresolution().encoder.description().get("labels") is None


def test_paper_networks_stand_behind_the_encoder() -> None:
    """The encoder takes the place of the first convolution; all else is the paper's, on the small image's grid."""
    method = superresolution(network="srgan", factor=4)
    assert isinstance(method.decoder.first, Placed)
    assert isinstance(method.discriminator, SRDiscriminator)
    assert method.decoder.first(torch.rand(2, 128, 4, 4)).shape == (2, 64, 8, 8)


@pytest.mark.parametrize(
    ("network", "content", "steps", "lr"),
    [("decoder", "none", 60, 3e-3), ("decoder", "discriminator", 60, 3e-3), ("srgan", "none", 50, 1e-3)],
)
def test_short_training_beats_bicubic(network: str, content: str, steps: int, lr: float) -> None:
    """On a few rendered scenes: 3 dB nearer to the truth than bicubic enlargement, and still so with the adversary."""
    method = superresolution(flip=False, network=network, content=content)
    scenes = torch.from_numpy(open_images("plain-scenes:16", SIZE, store_size=SIZE).rows(range(8))).float() / 255
    run_steps(method, steps, images=scenes, lr=lr)
    method.eval()
    assert bool(method.joined)
    assert stepped_through(method, scenes, 0.0)[-1].metrics["psnr_gain"].item() > 3


def test_resumed_equals_uninterrupted_through_both_stages(tmp_path: Path) -> None:
    """To the bit, from a checkpoint after the discriminator has joined in."""
    straight = superresolution(adversarial_from=0.2)
    optimizers = straight.optimizers(straight.recipe)
    run_steps(straight, 3, total=6, optimizers=optimizers)
    assert bool(straight.joined)
    checkpoint.save(tmp_path, 3, straight, optimizers, None)
    run_steps(straight, 3, first=3, total=6, optimizers=optimizers)

    resumed = superresolution(seed=9, adversarial_from=0.2)
    again = resumed.optimizers(resumed.recipe)
    file = checkpoint.newest(tmp_path)
    assert file is not None
    checkpoint.load(file, resumed, again)
    run_steps(resumed, 3, first=3, total=6, optimizers=again)

    expected = straight.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())


def test_parameters_behind_the_last_map_learn_too() -> None:
    """Networks with layers behind their last map are decoded from map and vector, so that nothing is left as drawn."""
    method = SuperResolution(build_encoder("efficientnet_b0", SIZE, seed=0))
    assert method.context is not None
    torch.nn.init.normal_(method.decoder.colour.weight)
    stepped_through(method, pictures(4), 0.0)[-1].loss.backward()
    assert all(parameter.grad is not None for parameter in method.encoder.parameters())
    assert superresolution().context is None


def test_figure_has_a_row_each_for_bicubic_enlarged_and_original() -> None:
    """Three rows of eight tiles; the last one is the images themselves."""
    (picture,) = superresolution().eval().figures(batch_of(pictures(10))).values()
    assert picture.shape == (3, 3 * SIZE + 2 * 2, 8 * SIZE + 7 * 2)
    given = bicubic.enlarged(bicubic.shrunk(crops.center(pictures(10), SIZE), 4), 4)
    assert torch.allclose(picture[:, :SIZE, :SIZE], given[0])
    assert torch.allclose(picture[:, -SIZE:, :SIZE], crops.center(pictures(10), SIZE)[0])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"factor": 3}, "factor of 2 or 4"),
        ({"blocks": -1}, "0 blocks or more"),
        ({"adversarial_from": 1.5}, "share of training"),
        ({"content_share": 2.0}, "share of the loss"),
        ({"content_maps": 0}, "from 1 to 3"),
        ({"content_maps": 9, "network": "srgan"}, "from 1 to 8, .* got 9"),
        ({"adversarial_weight": -1.0}, "0 or above"),
        ({"content": "somewhere", "adversarial_from": 1.0}, "once the discriminator plays"),
        ({"content": "vgg"}, "no weights at vgg"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    """A sentence says what is wrong and what would do."""
    with pytest.raises(InputError, match=says):
        superresolution(**arguments)


def test_side_must_be_a_multiple_of_the_factor() -> None:
    """The sentence names the nearest side that does."""
    with pytest.raises(InputError, match="try --image-size 48"):
        SuperResolution(build_encoder("small", 50, seed=0), factor=4)


def superresolution(seed: int = 0, **arguments: Any) -> SuperResolution:
    """Give the method on a small encoder."""
    encoder = build_encoder("small", SIZE, seed=seed)
    torch.manual_seed(seed)
    return SuperResolution(encoder, **{"blocks": 1, **arguments})


def stepped_through(method: SuperResolution, images: Tensor, progress: float) -> list[Objective]:
    """Give all objectives of a batch, without stepping."""
    torch.manual_seed(0)
    objectives = list(method.losses(batch_of(images, progress)))
    assert all(isinstance(objective, Objective) for objective in objectives)
    return objectives


def run_steps(
    method: SuperResolution,
    steps: int,
    first: int = 0,
    total: int | None = None,
    optimizers: dict[str, Any] | None = None,
    images: Tensor | None = None,
    lr: float = 1e-3,
) -> None:
    """Train on a few batches."""
    recipe = replace(method.recipe, lr=lr)
    optimizers = optimizers or method.optimizers(recipe)
    total = total or steps

    def batches() -> Iterator[Batch]:
        for step in range(first, first + steps):
            rows = torch.arange(SMALL_BATCH) + SMALL_BATCH * step
            shown = pictures(SMALL_BATCH, step=step) if images is None else images[rows % len(images)]
            yield Batch(shown, rows, step, step / total)

    for _ in train(method, batches(), optimizers, recipe, 0, autocast_of(torch.device("cpu"), "float32")):
        pass


def pictures(count: int, size: int = 36, step: int = 0) -> Tensor:
    """Give random images that are smooth in places and have edges."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=size, mode="nearest").clamp(0, 1)


def batch_of(images: Tensor, progress: float = 0.0) -> Batch:
    """Give images as a batch."""
    return Batch(images, torch.arange(len(images)), 0, progress)
