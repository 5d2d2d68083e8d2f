"""Synthetic imagery: three maps of each scene, a discriminator of features, and no gradient from real images."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from rendered import extra
from torch import Tensor

from selfsup.errors import InputError
from selfsup.method import Batch, Objective
from selfsup.methods.synthetic import Synthetic, measured
from selfsup.networks.encoders import build_encoder
from selfsup.networks.surfaces import TASKS
from selfsup.training.loop import autocast_of, train
from selfsup.training.pretrain import pretrain
from selfsup.views import truth

SIZE = 32


@pytest.mark.parametrize(
    ("name", "size"), [("small", 32), ("small", 96), ("alexnet", 48), ("resnet18", 40), ("convnext_atto", 64)]
)
def test_maps_have_the_side_of_the_picture(name: str, size: int) -> None:
    """Log depth, unit normals and logits, in float32 under bfloat16 too; every parameter of the encoder takes part."""
    method = Synthetic(build_encoder(name, size, seed=0), pool=4)
    with torch.autocast("cpu", torch.bfloat16):
        found = method.predict(*method.stages_of(torch.rand(2, 3, size, size)))
    assert {key: tuple(values.shape) for key, values in found.items()} == {
        key: (2, task.channels, size, size) for key, task in TASKS.items()
    }
    assert all(values.dtype == torch.float32 for values in found.values())
    lengths = torch.linalg.vector_norm(found["normals"], dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    torch.stack([values.square().mean() + values.mean() for values in found.values()]).sum().backward()
    assert [key for key, value in method.encoder.named_parameters() if value.grad is None] == []


def test_the_judged_stage_has_a_stride_of_16_or_less() -> None:
    """The last such one, unless another is asked for."""
    assert Synthetic(build_encoder("small", SIZE, seed=0)).stage == "stage4"
    deep = build_encoder("resnet18", 224, seed=0)
    method = Synthetic(deep, pool=2)
    assert method.stage == deep.stage_names[-2]
    assert tuple(method.of_scenes.maps.shape) == (2, 256, 14, 14)
    assert Synthetic(build_encoder("small", SIZE, seed=0), stage="stage2").of_images.maps.shape[1:] == (32, 16, 16)


def test_losses_are_the_weighted_sum() -> None:
    """Of the tasks and of the verdict that features of scenes are real; the discriminator has half of both errors."""
    method = synthetic(depth=2.0, normals=3.0, contours=5.0, adversarial=0.5, flip=False, gray=False).eval()
    batch = batch_of(4, SIZE)
    judging, making = all_of(method, batch)
    maps = truth.laid_out(batch.extra)
    stages, vector = method.stages_of(maps.pop("scenes"))
    predicted = method.predict(stages, vector)
    fake = method.discriminator(stages["stage4"])
    real = method.discriminator(method.stages_of(batch.images)[0]["stage4"])
    terms = [
        weight * TASKS[name].loss(predicted[name], maps[name]) for name, weight in zip(TASKS, (2, 3, 5), strict=True)
    ]
    expected = sum(terms) - 0.5 * fake.sigmoid().log().mean()
    assert making.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    told = -(real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean()) / 2
    assert judging.loss.item() == pytest.approx(told.item(), rel=1e-5)
    assert judging.chance == pytest.approx(math.log(2))


def test_each_side_steps_alone() -> None:
    """After the discriminator's step neither encoder nor heads have moved, and the other way round.

    What the verdict on scenes would teach the discriminator is never used: its gradient is dropped.
    """
    method = synthetic(adversarial=1.0)
    optimizers = method.optimizers(method.recipe)
    losses = method.losses(batch_of(8))
    for part in ("discriminator", "encoder"):
        before = {key: value.detach().clone() for key, value in method.named_parameters()}
        objective = next(losses)
        assert objective.part == part
        mine = [p for group in optimizers[part].param_groups for p in group["params"]]
        optimizers[part].zero_grad()
        objective.loss.backward(inputs=mine)
        optimizers[part].step()
        moved = {key for key, value in method.named_parameters() if not torch.equal(value, before[key])}
        of_judge = {key for key in before if key.startswith("discriminator.")}
        assert moved
        assert moved <= (of_judge if part == "discriminator" else set(before) - of_judge)


def test_the_second_verdict_is_that_of_the_discriminator_as_it_then_is() -> None:
    """A step between both losses changes what the encoder is told."""
    method = synthetic(adversarial=1.0)
    totals = []
    for changed in (False, True):
        torch.manual_seed(0)
        losses = method.losses(batch_of(8))
        next(losses)
        if changed:
            torch.nn.init.constant_(method.discriminator.layers[-1].bias, 3.0)
        totals.append(next(losses).loss.item())
    assert totals[1] < totals[0] - 0.5


def test_real_images_teach_the_encoder_nothing() -> None:
    """With other real images encoder and heads get the same gradients, to the bit; the discriminator does not."""
    gradients = []
    for seed in (1, 2):
        method = synthetic(adversarial=1.0)
        batch = batch_of(8)
        torch.manual_seed(seed)
        batch = batch._replace(images=torch.rand_like(batch.images))
        torch.manual_seed(0)
        judging, making = all_of(method, batch)
        judging.loss.backward(retain_graph=True)
        touched = [key for key, value in method.named_parameters() if value.grad is not None]
        assert touched
        assert all(key.startswith("discriminator.") for key in touched)
        judged = method.discriminator.layers[0].weight.grad
        assert judged is not None
        judged = judged.clone()
        making.loss.backward()
        gradients.append((judged, {key: value.grad for key, value in method.encoder.named_parameters()}))
    assert not torch.equal(gradients[0][0], gradients[1][0])
    for key, value in gradients[0][1].items():
        assert value is not None
        assert torch.equal(value, gradients[1][1][key]), key


def test_batch_norm_of_the_encoder_keeps_the_statistics_of_real_images() -> None:
    """Scenes go by their own batch, in training and after it, and leave no trace in what is kept."""
    method = synthetic(gray=False, flip=False)
    batch = batch_of(8, SIZE)
    all_of(method, batch)
    alone = synthetic()
    alone.encoder.stages(batch.images)
    theirs = dict(alone.encoder.named_buffers())
    for key, value in method.encoder.named_buffers():
        if "running" in key:
            torch.testing.assert_close(value, theirs[key])
    scenes = batch.extra["scenes"]
    training = method.stages_of(scenes)[1]
    torch.testing.assert_close(method.eval().stages_of(scenes)[1], training)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    all_of(method, batch)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


def test_one_domain_cannot_be_told_from_itself() -> None:
    """Where real images are such scenes, the discriminator is right half of the time and its loss stays at ln 2."""
    accuracy, loss = played(same=True)
    assert accuracy == pytest.approx(0.5, abs=0.06)
    assert loss == pytest.approx(math.log(2), abs=0.05)


def test_domains_that_differ_are_told_apart_where_nothing_is_adapted() -> None:
    """The discriminator alone comes to be right; with the encoder against it, by weight, it does not."""
    method = synthetic(gray=False, pool=0, stage="stage2")
    optimizer = torch.optim.Adam(method.discriminator.parameters(), 0.01)
    for seed in range(40):
        judging = next(method.losses(learnable(16, seed)))
        optimizer.zero_grad()
        judging.loss.backward()
        optimizer.step()
    assert judging.metrics["domain_accuracy"] > 0.97
    assert judging.loss < 0.2
    left_alone = played(same=False, adversarial=0.0)[0]
    assert left_alone > 0.85
    assert played(same=False, adversarial=20.0)[0] < left_alone - 0.05


def test_the_blind_guess_explains_nothing() -> None:
    """The headline is 0 for what scenes show on average, 1 for the truth; errors stand beside the blind ones."""
    method = synthetic(flip=False).eval()
    maps = truth.laid_out(batch_of(16, SIZE).extra)
    maps.pop("scenes")
    method.blind.learn(maps)
    exact = {
        "depth": torch.where(maps["depth"] > 0, maps["depth"], 1.0).log(),
        "normals": maps["normals"],
        "contours": 20 * maps["contours"] - 10,
    }
    guesses = method.blind.guess(maps)
    assert measured(maps, guesses, guesses)["explained"].item() == pytest.approx(0, abs=1e-6)
    found = {key: value.item() for key, value in measured(maps, exact, guesses).items()}
    assert found["explained"] == pytest.approx(1, abs=1e-3)
    assert found["depth_error"] == pytest.approx(0, abs=1e-5)
    assert found["normal_degrees"] < 0.1 < found["normal_degrees_blind"]
    assert found["contour_error"] == 0
    assert found["contour_error_blind"] > 0.1
    assert method.weighted(maps, guesses).item() > method.weighted(maps, exact).item()


def test_training_explains_more_than_the_blind_guess() -> None:
    """After some steps the maps follow the scenes, and the loss is below that of the blind guess."""
    method = synthetic()
    steps = run(method, [learnable(16, seed) for seed in range(30)])
    last = [objective for step in steps[-5:] for objective in step if objective.part == "encoder"]
    assert sum(o.metrics["explained"].item() for o in last) / 5 > 0.3
    assert all(o.chance is not None and o.loss.item() < o.chance for o in last)


def test_scenes_without_some_truth_train_the_other_heads() -> None:
    """What a folder lacks is left out of losses, metrics and pictures; scenes with nothing to learn are refused."""
    method = synthetic()
    batch = batch_of(8)
    some = batch._replace(extra={key: value for key, value in batch.extra.items() if key != "normals"})
    making = all_of(method, some)[1]
    assert torch.isfinite(making.loss)
    assert "normal_degrees" not in making.metrics
    assert method.eval().figures(some)
    with pytest.raises(InputError, match="have no normals to learn from"):
        all_of(synthetic(depth=0.0, contours=0.0), some)


def test_weights_of_the_trunk_load_into_the_plain_classifier() -> None:
    """Heads, discriminator and pools are no part of the encoder: of timm's network only the classifier is missing."""
    method = Synthetic(build_encoder("resnet18", 96, seed=0), pool=2)
    run(method, [batch_of(4, 96)])
    plain = timm.create_model("resnet18")
    missing, unexpected = plain.load_state_dict(method.encoder.inner.state_dict(), strict=False)
    assert sorted(missing) == ["fc.bias", "fc.weight"]
    assert unexpected == []


def test_gray_shows_one_channel() -> None:
    """Of each image, in all three; with `gray` off both domains are seen in colour."""
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    for gray in (True, False):
        method = synthetic(gray=gray, flip=False)
        method.encoder.register_forward_pre_hook(lambda _, given, gray=gray: seen[gray].append(given[0]))
        plain = method.encoder.inputs
        method.encoder.inputs = lambda x, gray=gray, plain=plain: (seen[gray].append(x), plain(x))[1]  # type: ignore[method-assign]
        all_of(method, batch_of(12, SIZE))
    for values in seen[True][:2]:
        assert torch.equal(values[:, 0], values[:, 1])
        assert torch.equal(values[:, 0], values[:, 2])
    batch = batch_of(12, SIZE)
    for values, colours in zip(seen[True][:2], (batch.extra["scenes"], batch.images), strict=True):
        chosen = {c for n in range(12) for c in range(3) if torch.equal(values[n, 0], colours[n, c])}
        assert chosen == {0, 1, 2}
    assert torch.equal(seen[False][0], batch.extra["scenes"])
    assert torch.equal(seen[False][1], batch.images)


def test_figures_show_truth_prediction_and_real_images() -> None:
    """Seven rows of scenes, four of real images, eight tiles each; also after no step at all."""
    scenes, real = synthetic().eval().figures(batch_of(10)).items()
    assert scenes[0] == "scenes with depth, normals, contours, true and predicted"
    assert scenes[1].shape == (3, 7 * SIZE + 6 * 2, 8 * SIZE + 7 * 2)
    assert real[1].shape == (3, 4 * SIZE + 3 * 2, 8 * SIZE + 7 * 2)


def test_a_run_reads_a_folder_of_scenes_beside_images(tmp_path: Path) -> None:
    """From the front door: files of scenes, images, a finished run with pictures; no normals, as in the folder."""
    for folder in ("rgb", "depth", "contour"):
        (tmp_path / "renders" / folder).mkdir(parents=True)
    seen = {name: values.numpy() for name, values in extra(42, SIZE).items()}
    for n in range(42):
        np.save(tmp_path / f"renders/rgb/{n}.npy", (255 * seen["scenes"][n]).astype(np.uint8))
        np.save(tmp_path / f"renders/depth/{n}.npy", seen["depth"][n])
        np.save(tmp_path / f"renders/contour/{n}.npy", seen["contours"][n, 0] + np.eye(SIZE))
    images = (255 * batch_of(160, SIZE).images.numpy()).astype(np.uint8)
    settings: dict[str, Any] = {
        "out": tmp_path / "run", "image_size": SIZE, "scenes": str(tmp_path / "renders"), "steps": 2,
        "batch_size": 16, "pool": 8, "cache": tmp_path / "cache", "device": "cpu", "threads": 1,
    }  # fmt: skip
    run = pretrain("synthetic", images, **settings)
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["headline"]["name"] == "explained"
    assert math.isfinite(summary["headline"]["value"])
    assert len(list((run.folder / "figures").iterdir())) == 2
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    named = {name for row in rows for name in row.get("metrics", {})}
    assert {"domain_accuracy", "depth_error", "depth_error_blind", "contour_error"} <= named
    assert "normal_degrees" not in named
    np.save(tmp_path / "renders/depth/0.npy", seen["depth"][0] + 1)
    with pytest.raises(InputError, match="have changed"):
        pretrain("synthetic", images, **settings)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"depth": -1.0}, "depth is a weight of 0 or above, got -1"),
        ({"adversarial": math.inf}, "adversarial is a weight"),
        ({"depth": 0.0, "normals": 0.0, "contours": 0.0}, "At least one of"),
        ({"stage": "conv5"}, "no stage 'conv5'; choose one of stage1"),
        ({"pool": -1}, "pool is 0 to 10,000"),
        ({"discriminator_rate": 0.0}, "above 0"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    """A sentence says what is wrong and what would do."""
    with pytest.raises(InputError, match=says):
        synthetic(**arguments)


def synthetic(**arguments: Any) -> Synthetic:
    """Give the method on a small encoder."""
    torch.manual_seed(0)
    return Synthetic(build_encoder("small", SIZE, seed=0), **{"pool": 16, **arguments})


def batch_of(count: int, side: int = 36, seed: int = 0) -> Batch:
    """Give random scenes with random truth beside random images."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, side, side, generator=generator)
    return Batch(images, torch.arange(count), seed, 0.2, extra(count, side, seed))


def learnable(count: int, seed: int) -> Batch:
    """Give scenes whose truth can be read off them: a bright square is near, faces right and has a contour."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(count, 4, 4, generator=generator) > 0.5
    near = place.repeat_interleave(9, 1).repeat_interleave(9, 2)[:, None].float()
    edge = torch.nn.functional.max_pool2d(near, 3, 1, 1) - near
    facing = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
    aside = torch.tensor([0.8, 0.0, -0.6]).view(1, 3, 1, 1)
    seen = {
        "scenes": (0.2 + 0.6 * near).expand(-1, 3, -1, -1),
        "depth": (5 - 3 * near)[:, 0],
        "normals": aside * near + facing * (1 - near),
        "contours": edge,
    }
    return Batch(torch.rand(count, 3, 36, 36, generator=generator), torch.arange(count), seed, 0.2, seen)


def played(same: bool, **arguments: Any) -> tuple[float, float]:
    """Play some steps on scenes, and on noise or on other such scenes; give accuracy and loss of the last ones."""
    method = synthetic(discriminator_rate=5.0, gray=False, stage="stage2", **arguments)

    def batch(seed: int) -> Batch:
        scenes = learnable(16, seed)
        return scenes._replace(images=learnable(16, 1000 + seed).extra["scenes"]) if same else scenes

    steps = run(method, [batch(seed) for seed in range(24)])
    judged = [objective for step in steps[-4:] for objective in step if objective.part == "discriminator"]
    accuracy = sum(o.metrics["domain_accuracy"].item() for o in judged) / 4
    return accuracy, sum(o.loss.item() for o in judged) / 4


def run(method: Synthetic, batches: list[Batch]) -> list[list[Objective]]:
    """Train on some batches."""
    optimizers = method.optimizers(method.recipe)
    whole = autocast_of(torch.device("cpu"), "float32")
    stream = (batch._replace(step=n) for n, batch in enumerate(batches))
    return [step.objectives for step in train(method, stream, optimizers, method.recipe, 0, whole)]


def all_of(method: Synthetic, batch: Batch) -> list[Objective]:
    """List all that a batch yields, without stepping."""
    torch.manual_seed(0)
    return list(method.losses(batch))
