"""Exemplar: labels by image, a softmax at chance and by hand, triplets by loops, and a headline for held-out images."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import processes
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Objective
from selfsup.methods.exemplar import NO_CLASS, Exemplar, over_classes, triplet
from selfsup.networks.encoders import build_encoder

UNCHANGED = {"shift": 0.0, "scale": 1.0, "rotation": 0.0, "contrast": 1.0, "power": 1.0, "factor": 1.0,
             "addition": 0.0, "hue": 0.0}  # fmt: skip


@pytest.mark.parametrize("count", [64, 8000])
def test_untrained_head_guesses_at_chance(count: int) -> None:
    """Uniform logits: ln N, 8.987 for 8,000 classes; more images make no more classes than asked for."""
    method = exemplar(count, surrogates=8000)
    assert method.classifier is not None
    nn.init.zeros_(method.classifier.weight)
    objective = one_loss(method, pictures(8))
    assert objective.loss.item() == pytest.approx(math.log(count), abs=1e-5)
    assert objective.chance == pytest.approx(math.log(count))
    if count == 8000:
        assert objective.chance == pytest.approx(8.987, abs=1e-3)
        assert exemplar(50_000, surrogates=8000).classifier.out_features == 8000  # type: ignore[union-attr]


def test_copies_have_the_class_of_their_image() -> None:
    """A classifier that knows one class per image is right for every copy of it, whatever the order of the batch."""
    method = exemplar(6, copies=3, **UNCHANGED)
    batch = pictures(6)
    batch = batch._replace(images=batch.images[[4, 2, 0, 5, 1, 3]], index=torch.tensor([4, 2, 0, 5, 1, 3]))
    with torch.no_grad():
        method.encoder.eval()
        vectors = method.encoder.vector(method.copies_of(pictures(6).images)[::3])
        vectors = vectors - vectors.mean(0)
        assert method.classifier is not None
        method.classifier.weight.copy_(torch.linalg.pinv(vectors).T * 100)
        method.classifier.bias.copy_(
            -method.classifier.weight @ method.encoder.vector(pictures(6).images[..., 2:34, 2:34]).mean(0)
        )
    objective = one_loss(method, batch)
    assert objective.metrics["accuracy"].item() == 1
    assert objective.loss.item() < 0.01
    assert objective.metrics["matching"].item() == 1


def test_loss_equals_a_loop_over_copies() -> None:
    """Minus the logarithm of the softmax of each copy's own class, one by one."""
    method = exemplar(40)
    method.encoder.eval()
    torch.manual_seed(1)
    objective = one_loss(method, pictures(4))
    torch.manual_seed(1)
    total = 0.0
    assert method.classifier is not None
    for number, copy in enumerate(method.copies_of(pictures(4).images)):
        logits = method.classifier(method.encoder.vector(copy[None]))[0].tolist()
        total -= math.log(math.exp(logits[number // 2]) / sum(math.exp(x) for x in logits))
    assert objective.loss.item() == pytest.approx(total / 8, rel=1e-5)


def test_more_images_than_classes() -> None:
    """Evenly spread images are the classes, labels are 0 to N - 1 without gaps, and only they come in an epoch."""
    method = exemplar(10, surrogates=4)
    assert method.seeds.tolist() == [0, 2, 5, 7]
    assert method.classes_of(torch.arange(10)).tolist() == [0, -1, 1, -1, -1, 2, -1, 3, -1, -1]
    order = method.start_epoch(lambda _: torch.empty(0))
    assert order is not None
    assert order.shape == (10,)
    assert sorted(order[:4].tolist()) == sorted(order[4:8].tolist()) == [0, 2, 5, 7]
    assert order.tolist() != method.seeds.repeat(3)[:10].tolist()
    assert exemplar(10).start_epoch(lambda _: torch.empty(0)) is None
    assert exemplar(10, form="triplet").start_epoch(lambda _: torch.empty(0)) is None


def test_images_without_a_class_do_not_count() -> None:
    logits = torch.randn(4, 5)
    labels = torch.tensor([2, NO_CLASS, 0, NO_CLASS])
    torch.testing.assert_close(over_classes(logits, labels), F.cross_entropy(logits[[0, 2]], labels[[0, 2]]))
    assert over_classes(logits, torch.full((4,), NO_CLASS)).item() == 0


def test_held_out_images_are_matched_not_named() -> None:
    """In eval mode no class is asked for: two fresh copies are matched, at chance 1/B, and the loss is theirs."""
    method = exemplar(64).eval()
    objective = one_loss(method, pictures(8)._replace(index=torch.arange(1000, 1008)))
    assert "accuracy" not in objective.metrics
    assert objective.chance == pytest.approx(math.log(8))
    assert method.headline_chance == 1 / 8
    known = exemplar(64, **UNCHANGED).eval()
    assert one_loss(known, pictures(8)).metrics["matching"].item() == 1


def test_matching_and_held_out_loss_equal_loops() -> None:
    method = exemplar(64).eval()
    torch.manual_seed(1)
    objective = one_loss(method, pictures(7))
    torch.manual_seed(1)
    vectors = method.encoder.vector(method.copies_of(pictures(7).images))
    right, total = 0, 0.0
    for i in range(7):
        cosines = [F.cosine_similarity(vectors[2 * i], vectors[2 * j + 1], dim=0).item() for j in range(7)]
        right += max(range(7), key=lambda j: cosines[j]) == i
        total -= math.log(math.exp(10 * cosines[i]) / sum(math.exp(10 * c) for c in cosines))
    assert objective.metrics["matching"].item() == pytest.approx(right / 7)
    assert objective.loss.item() == pytest.approx(total / 7, rel=1e-4)


@pytest.mark.parametrize("copies", [2, 3])
def test_triplet_loss_equals_loops(copies: int) -> None:
    """Semi-hard negatives of normalized vectors: the nearest that is farther than the pair, else the farthest.

    All three vectors of a triplet are moved.
    """
    embeddings = torch.randn(4 * copies, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rows = [row / (row @ row).sqrt() for row in embeddings.requires_grad_()]
    errors, fallbacks = [], 0
    for a in range(len(rows)):
        far = [(rows[a] - rows[n]).square().sum() for n in range(len(rows)) if n // copies != a // copies]
        for p in range(len(rows)):
            if p != a and p // copies == a // copies:
                near = (rows[a] - rows[p]).square().sum()
                farther = [d for d in far if d > near]
                fallbacks += not farther
                errors.append((0.5 + near - (min(farther) if farther else max(far))).clamp(min=0))
    losses = triplet(embeddings, copies, 0.5), torch.stack(errors).mean()
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, embeddings) for loss in losses))
    assert 0 < fallbacks < len(errors)


def test_triplet_limits() -> None:
    """Equal vectors cost the margin; equal copies of orthogonal images nothing; the length does not matter."""
    assert triplet(torch.ones(8, 5), 2, 0.5).item() == pytest.approx(0.5)
    axes = torch.eye(4).repeat_interleave(2, 0)
    assert triplet(axes, 2, 0.5).item() == 0
    some = torch.randn(8, 5)
    torch.testing.assert_close(triplet(some * torch.rand(8, 1).add(0.1), 2, 0.5), triplet(some, 2, 0.5))


def test_triplets_of_two_processes_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = torch.randn(12, 5, dtype=torch.float64)
    alone = triplet(embeddings, 2, 0.5)
    everyone = F.normalize(embeddings, dim=1)
    losses = []
    for rank in (0, 1):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(processes, "gather_with_gradient", lambda _: everyone)
        losses.append(triplet(embeddings[6 * rank : 6 * rank + 6], 2, 0.5))
    torch.testing.assert_close(sum(losses) / 2, alone)


def test_triplet_form_has_no_classifier_and_one_loss_for_all_images() -> None:
    method = exemplar(50_000, form="triplet", copies=3)
    assert method.classifier is None
    objective = one_loss(method, pictures(6))
    assert objective.chance == 0.5
    assert method.headline in objective.metrics
    assert one_loss(method.eval(), pictures(6)).chance == 0.5


@pytest.mark.parametrize("form", ["softmax", "triplet"])
def test_learning_makes_copies_alike(form: Any) -> None:
    """A few steps on simple pictures beat the untrained network at its own loss."""
    torch.manual_seed(0)
    method, batch = exemplar(8, form=form, power=1.5), pictures(8)
    optimizer = torch.optim.SGD(method.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(25):
        objective = one_loss(method, batch)
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.step()
        losses.append(objective.loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_principal_colours_come_from_the_data() -> None:
    """Found once, of pixels that vary in one colour only: that is the strongest direction."""
    method = Exemplar(build_encoder("small", 32, seed=0))
    colour = torch.tensor([0.6, 0.8, 0.0]).view(3, 1, 1)
    asked: list[int] = []

    def sample(count: int) -> Tensor:
        asked.append(count)
        return 0.2 + torch.rand(count, 1, 36, 36) * 0.5 * colour

    method.start(DataFacts(64, 32, sample))
    assert asked == [64]
    torch.testing.assert_close(method.directions[:, 2].abs(), colour.flatten(), atol=1e-3, rtol=0)
    torch.testing.assert_close(method.mean, 0.2 + 0.25 * colour.flatten(), atol=0.01, rtol=0)


def test_figure_shows_the_image_itself_when_nothing_is_changed() -> None:
    """Unchanged copies: five equal rows."""
    method = exemplar(8, **UNCHANGED).eval()
    with torch.no_grad():
        (picture,) = method.figures(pictures(8)).values()
    rows = picture.unfold(1, 32, 34)
    for row in range(1, 5):
        torch.testing.assert_close(rows[:, row], rows[:, 0], atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"surrogates": 50_000}, "--form triplet"),
        ({"surrogates": 1}, "surrogates"),
        ({"copies": 1}, "copies"),
        ({"scale": 0.7}, "scale"),
        ({"shift": -0.1}, "shift"),
        ({"margin": 0.0}, "margin"),
    ],
)
def test_impossible_arguments_are_refused_by_name(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        exemplar(8, **wrong)


def test_a_single_image_has_no_triplets() -> None:
    with pytest.raises(InputError, match="at least 2"):
        triplet(torch.randn(3, 4), 3, 0.5)


def exemplar(count: int, **arguments: Any) -> Exemplar:
    torch.manual_seed(0)
    method = Exemplar(build_encoder("small", 32, seed=0), **arguments)
    method.start(DataFacts(count, 32, lambda few: pictures(min(few, 16)).images))
    return method


def one_loss(method: Exemplar, batch: Batch) -> Objective:
    (objective,) = method.losses(batch)
    return objective


def pictures(count: int) -> Batch:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    images: Tensor = F.interpolate(coarse, size=36, mode="bilinear").clamp(0, 1)
    return Batch(images, torch.arange(count), 0, 0.0)
