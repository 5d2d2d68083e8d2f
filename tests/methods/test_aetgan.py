"""AET with a generator: a code moves an image in the space of a trained generator, and is read off again."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import code_space
from safetensors.torch import load_file

from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts
from selfsup.methods.aetgan import GeneratedAET
from selfsup.networks.codes import FILE, VARIANCE, CodeHead, explained, load_code_space, write_code_space
from selfsup.networks.encoders import build_encoder
from selfsup.training import checkpoint
from selfsup.training.loop import autocast_of, train
from selfsup.training.pretrain import pretrain

SIZE, CODES = 32, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("bigan")
    write_code_space(code_space(SIZE, CODES), place)
    return place


def built(folder: Path, **arguments) -> GeneratedAET:
    torch.manual_seed(0)
    return GeneratedAET(build_encoder("small", SIZE, seed=0), generator=folder, **arguments)


def test_labels_come_in_with_the_generator(tmp_path: Path) -> None:
    """If its encoder has them: this one then has them too, and a sentence says so."""
    space = code_space(SIZE, CODES)
    write_code_space(space, tmp_path)
    assert built(tmp_path).remarks == ()
    space.encoder.labels = "used"
    write_code_space(space, tmp_path)
    method = built(tmp_path)
    assert "Labels come in with the generator" in method.remarks[0]
    assert method.encoder.labels == "used"


def test_explained_is_r2_for_uniform_codes() -> None:
    """One less the mean squared error in units of 1/3, the variance of a number drawn from -1 to 1."""
    drawn = torch.tensor([[0.5, -1.0], [0.0, 0.25]])
    found = torch.tensor([[0.0, -1.0], [0.25, 0.25]])
    assert explained(found, drawn).item() == pytest.approx(1 - (0.25 + 0.0625) / 4 * 3)


def batch(count: int = 16, step: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=36, mode="bilinear").clamp(0, 1)
    return Batch(images, torch.arange(count), step, 0.0)


def test_a_code_space_comes_back_from_its_file_as_it_was(folder):
    """Codes and pictures are the same to the bit, and nothing of it can be trained."""
    before, after = code_space(SIZE, CODES), load_code_space(folder)
    images = batch().images[:, :, :SIZE, :SIZE]

    assert torch.equal(before.codes(images), after.codes(images))
    assert torch.equal(before.pictures(before.codes(images)), after.pictures(before.codes(images)))
    assert not any(weight.requires_grad for weight in after.parameters())
    assert not after.train().training
    assert load_code_space(folder / FILE).width == CODES


def test_codes_and_pictures_keep_to_their_ranges(folder):
    """Codes lie in (-1, 1), where codes are drawn; pictures in [0, 1]."""
    space = load_code_space(folder)
    codes = space.codes(batch(64).images[:, :, :SIZE, :SIZE])
    pictures = space.pictures(2 * torch.rand(64, CODES) - 1)

    assert codes.abs().max() < 1
    assert 0 <= pictures.min() <= pictures.max() <= 1
    assert pictures.std(0).mean() > 0.05  # else the tests below would see nothing move


def test_logits_of_logistic_spread_are_uniform_codes(folder, monkeypatch):
    """The head starts with the spread of a logistic variable, whose codes are spread evenly over (-1, 1)."""
    encoder = build_encoder("small", SIZE, seed=0)
    head = CodeHead(encoder, CODES)
    monkeypatch.setattr(encoder, "forward", lambda images: torch.randn(len(images), encoder.width, 4, 4))
    logits = head(encoder, torch.zeros(4096, 3, 1, 1))
    assert logits.std(0).tolist() == pytest.approx([math.pi / math.sqrt(3)] * CODES, rel=0.02)
    even = torch.linspace(0.01, 0.99, 50)[:, None].expand(50, CODES)
    space = load_code_space(folder)
    monkeypatch.setattr(space.head, "forward", lambda *_: torch.logit(even))
    torch.testing.assert_close(space.codes(torch.zeros(50, 3, SIZE, SIZE)), 2 * even - 1)


def test_loss_is_half_the_squared_distance_averaged_over_images(folder, monkeypatch):
    """As in the paper, for known codes and estimates; r2 is the explained share of a uniform code's variance."""
    method = built(folder)
    drawn, estimates = torch.rand(4, CODES) * 2 - 1, torch.randn(4, CODES)
    monkeypatch.setattr(method, "transform", lambda images: (drawn, images))
    monkeypatch.setattr(method, "estimate", lambda *_: estimates)

    (objective,) = method.losses(batch(4))

    expected = sum(((estimates[i] - drawn[i]) ** 2).sum() / 2 for i in range(4)) / 4
    assert objective.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert objective.metrics["r2"].item() == pytest.approx(1 - 2 * expected.item() / (CODES / 3), rel=1e-5)


def test_images_come_without_a_border(folder, monkeypatch):
    """White images stay white: the generator is never shown a black border, nor is it asked for one."""
    method, seen = built(folder), []
    monkeypatch.setattr(method, "transform", lambda images: (seen.append(images), (images[:, 0, 0, :CODES], images))[1])
    list(method.losses(batch(64)._replace(images=torch.ones(64, 3, SIZE, SIZE))))

    assert seen[0].min() > 0.99


def test_a_blind_guess_has_the_stated_chance(folder, monkeypatch):
    """The best constant is 0: its mean loss over many drawn codes is the chance line, its r2 0."""
    method = built(folder)
    monkeypatch.setattr(method, "estimate", lambda images, _: images.new_zeros(len(images), CODES))
    torch.manual_seed(1)
    found = [objective for step in range(40) for objective in method.losses(batch(64, step))]

    assert method.chance == pytest.approx(0.5 * VARIANCE * CODES)
    assert sum(o.loss.item() for o in found) / len(found) == pytest.approx(method.chance, rel=0.02)
    assert abs(sum(o.metrics["r2"].item() for o in found) / len(found)) < 0.02


def test_mixing_keeps_the_range_and_is_undone_by_the_code(folder):
    """Half of each code is in the mixture; without the drawn half the image's own code is left."""
    method = built(folder, amount=0.5)
    own, drawn = torch.rand(2, 100, CODES) * 2 - 1
    mixed = method.mixed(own, drawn)

    assert torch.allclose(mixed, (own + drawn) / 2, atol=1e-6)
    assert torch.allclose(method.unmixed(mixed, drawn), own, atol=1e-5)
    assert mixed.abs().max() <= 1
    assert torch.equal(built(folder, amount=1.0).mixed(own, drawn), drawn)


def test_transformed_pictures_are_the_generators_of_image_and_code(folder):
    """G of the mixed code, drawn afresh for every image; a code alone decides it when all of it is drawn."""
    method = built(folder, amount=1.0)
    images = batch().images[:, :, :SIZE, :SIZE]
    drawn, transformed = method.transform(images)

    assert torch.equal(transformed, load_code_space(folder).pictures(drawn))
    assert (drawn[1:] != drawn[:-1]).all()
    own = built(folder, amount=0.5)
    drawn, transformed = own.transform(images)
    space = load_code_space(folder)
    assert torch.equal(transformed, space.pictures(own.mixed(space.codes(images), drawn)))


def test_training_reads_codes_off_and_leaves_the_generator_alone(folder):
    """After 60 small steps some of the variance is explained, and not a bit of the code space has moved."""
    method = built(folder, amount=1.0)
    method.start(DataFacts(64, SIZE, lambda count: batch(count).images))
    before = {name: value.clone() for name, value in method.space.state_dict().items()}
    recipe = method.recipe
    last = [
        step.objectives[0].metrics["r2"].item()
        for step in train(
            method,
            (batch(32, step) for step in range(60)),
            method.optimizers(recipe),
            recipe,
            0,
            autocast_of(torch.device("cpu"), "float32"),
        )
    ][-10:]

    assert sum(last) / len(last) > 0.15
    assert all(torch.equal(value, before[name]) for name, value in method.space.state_dict().items())


def test_figures_undo_what_the_true_code_did(folder):
    """The last row is what the generator makes of the image's own code."""
    method = built(folder).eval()
    torch.manual_seed(0)
    ((title, picture),) = method.figures(batch(8)).items()
    images = batch(8).images[:, :, 2:34, 2:34]
    reconstructed = method.space.pictures(method.space.codes(images))

    assert title.startswith("image, transformed")
    rows = picture.shape[1] // 4
    shown = picture[:, -rows:, : picture.shape[2] // 8]
    inner = shown[:, : reconstructed.shape[2], : reconstructed.shape[3]]
    assert (
        min(
            (inner[:, y : y + 30, x : x + 30] - reconstructed[0][:, 1:31, 1:31]).abs().max()
            for y in range(inner.shape[1] - 29)
            for x in range(inner.shape[2] - 29)
        )
        < 1e-3
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"generator": None}, "none was given; train one with `selfsup pretrain bigan`"),
        ({"generator": Path("nowhere")}, "There is no generator at nowhere"),
        ({"generator": Path("x" * 300)}, r"xxx\.\.\. cannot be opened"),
        ({"amount": 0.0}, "amount is a share above 0 and at most 1, got 0.0"),
        ({"hidden": -1}, "hidden is a width, got -1"),
    ],
)
def test_what_cannot_work_is_one_sentence(folder, arguments, words):
    """It says what is wrong and what would do."""
    with pytest.raises(InputError, match=words):
        GeneratedAET(build_encoder("small", SIZE, seed=0), **{"generator": folder, **arguments})


def test_a_generator_of_another_size_or_file_is_refused(folder, tmp_path):
    """Sizes must be equal, and a file must be one that selfsup wrote."""
    with pytest.raises(InputError, match="draws images of 32 pixels, and the encoder sees 64; use --image-size 32"):
        GeneratedAET(build_encoder("small", 64, seed=0), generator=folder)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / FILE)
    with pytest.raises(InputError, match="holds no generator that selfsup wrote"):
        load_code_space(tmp_path)


def test_a_run_of_bigan_is_followed_by_one_of_aetgan(tmp_path):
    """The way of the command line: a folder is named, written down as text, and the same call goes on with it."""
    pixels = (batch(24).images.numpy() * 255).astype(np.uint8)
    words = {"encoder": "small", "image_size": 32, "store_size": 36, "threads": 1, "batch_size": 8, "steps": 2}
    words |= {"precision": "float32", "layout": "contiguous"}
    before = pretrain("bigan", pixels, out=tmp_path / "bigan", latent=5, width=8, **words)
    assert load_code_space(before.folder).width == 5
    space, trained = load_code_space(before.folder), load_file(checkpoint.newest(before.folder / "checkpoint"))  # type: ignore[arg-type]
    for part, module in (("encoder", space.encoder), ("code", space.head), ("average.average", space.generator)):
        for key, value in module.state_dict().items():  # statistics too: encoder and head were trained by the same ones
            assert torch.equal(value, trained[f"method.{part}.{key}"])

    run = pretrain("aetgan", pixels, out=tmp_path / "aetgan", generator=before.folder, **words)

    assert run.is_finished
    assert run.config["generator"] == str(before.folder)
    weights = (run.folder / "encoder.safetensors").read_bytes()
    again = pretrain("aetgan", pixels, out=tmp_path / "aetgan", generator=before.folder, **words)
    assert (again.folder / "encoder.safetensors").read_bytes() == weights
    with pytest.raises(InputError, match=r"was started with amount 0\.5, now 1\.0"):
        pretrain("aetgan", pixels, out=tmp_path / "aetgan", generator=before.folder, amount=1.0, **words)
