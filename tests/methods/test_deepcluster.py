"""DeepCluster: labels belong to their images, clusters come evenly, the last layer is renewed and nothing else is."""

import math

import pytest
import torch
from torch import Tensor, nn

from selfsup import clustering
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts
from selfsup.methods.deepcluster import DeepCluster, Trunk
from selfsup.networks.encoders import build_encoder
from selfsup.training.loop import autocast_of, train

SIZE, COUNT, K = 32, 96, 8


def test_label_i_is_that_of_image_i() -> None:
    """By hand: clean features in eval mode, whitened, of length 1, each with its nearest centroid."""
    method = clustered()
    features = embed(Trunk(method.encoder, method.neck))
    whitened = (features - features.mean(0)) @ method.directions
    assert torch.allclose(whitened.T @ whitened / COUNT, torch.eye(method.components), atol=1e-3)
    points = whitened / whitened.norm(dim=1, keepdim=True)
    expected = [min(range(K), key=lambda k: float((p - method.centroids[k]).norm())) for p in points]
    assert method.labels.tolist() == expected
    assert torch.bincount(method.labels, minlength=K).min() > 0


def test_labels_are_found_by_the_numbers_of_images() -> None:
    """In whatever order images come, the loss is that of their own clusters."""
    method = clustered(crop_min=1.0, flip=False).train()
    images = pictures()[:, :, 2:-2, 2:-2]  # no larger than what the encoder sees, so that the view is the image
    rows = torch.tensor([5, 90, 17, 33, 2, 71, 64, 8])
    trunk, _ = objectives(method, Batch(images[rows], rows, 0, 0.0))
    logits = method.logits(images[rows])
    by_hand = torch.stack([-torch.log_softmax(row, 0)[method.labels[n]] for row, n in zip(logits, rows, strict=True)])
    assert trunk.loss.item() == pytest.approx(by_hand.mean().item(), rel=1e-4)


def test_a_fresh_last_layer_guesses() -> None:
    """The loss starts at ln k, as its chance says, and the second objective adds nothing to it."""
    method = clustered().train()
    trunk, head = objectives(method, Batch(pictures(), torch.arange(COUNT), 0, 0.0))
    assert trunk.loss.item() == pytest.approx(math.log(K), abs=0.25)
    assert trunk.chance == pytest.approx(math.log(K))
    assert (head.loss.item(), head.chance) == (0, 0)
    assert (trunk.part, head.part) == ("trunk", "head")


def test_both_parts_follow_the_same_loss() -> None:
    """The last layer's gradient is that of the trunk's loss, though its own loss is counted as 0."""
    method = clustered().train()
    trunk, head = objectives(method, Batch(pictures(), torch.arange(COUNT), 0, 0.0))
    one, other = (torch.autograd.grad(o.loss, method.head.weight, retain_graph=True)[0] for o in (trunk, head))
    assert torch.equal(one, other)
    assert one.abs().max() > 0


def test_a_round_renews_the_last_layer_and_nothing_else() -> None:
    """Weights and momentum of the trunk stay to the bit; the last layer is drawn anew and never had a momentum."""
    method = clustered().train()
    optimizers = method.optimizers(method.recipe)
    steps(method, optimizers, 3)
    trunk = {key: value.clone() for key, value in Trunk(method.encoder, method.neck).state_dict().items()}
    momentum = {p: s["momentum_buffer"].clone() for p, s in optimizers["trunk"].state.items()}
    assert momentum
    assert all(value.any() for value in momentum.values())
    before = method.head.weight.clone()

    torch.manual_seed(4)
    method.start_epoch(embed)

    assert all(torch.equal(v, trunk[k]) for k, v in Trunk(method.encoder, method.neck).state_dict().items())
    assert all(torch.equal(s["momentum_buffer"], momentum[p]) for p, s in optimizers["trunk"].state.items())
    assert method.head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not method.head.bias.any()
    assert not torch.equal(method.head.weight, before)
    assert method.head.weight in optimizers["head"].param_groups[0]["params"]  # still the one that is stepped
    assert not any(value is not None for s in optimizers["head"].state.values() for value in s.values())
    (group,) = optimizers["head"].param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0, False, method.recipe.weight_decay)


def test_images_come_evenly_from_all_clusters() -> None:
    """The order of a round has as many images as there are, and every cluster about equally often."""
    method = started()
    torch.manual_seed(1)
    order = method.start_epoch(embed)
    assert order is not None
    assert len(order) == COUNT
    counts = torch.bincount(method.labels[order], minlength=K)
    assert counts.max() == COUNT // K + 1
    assert counts.min() >= COUNT // K + 1 - K


def test_held_out_images_join_the_nearest_cluster() -> None:
    """Whatever their number is, and also when the trunk has moved on; for images trained on it is their own cluster."""
    method = clustered().train()
    steps(method, method.optimizers(method.recipe), 3)
    method.eval()
    assert torch.equal(method.clusters_of(clean(pictures())), method.labels)
    moved = clustering.nearest(
        clustering.Whitening(method.mean, method.directions)(embed(Trunk(method.encoder, method.neck))),
        method.centroids,
    )
    assert not torch.equal(moved, method.labels)  # three steps are enough to move some
    with torch.no_grad():
        torch.manual_seed(0)
        one = objectives(method, Batch(pictures(), torch.arange(COUNT), 0, 0.0))
        torch.manual_seed(0)
        other = objectives(method, Batch(pictures(), torch.zeros(COUNT, dtype=torch.int64), 0, 0.0))
    assert one[0].loss.item() == other[0].loss.item()
    assert method.headline_chance == pytest.approx(torch.bincount(method.labels).max().item() / COUNT)


def test_the_same_seed_gives_the_same_clusters() -> None:
    """And another one others."""
    one, again, other = clustered(seed=3), clustered(seed=3), clustered(seed=4)
    assert torch.equal(one.labels, again.labels)
    assert torch.equal(one.head.weight, again.head.weight)
    assert not torch.equal(one.labels, other.labels)


def test_what_is_told_of_the_clusters() -> None:
    """Agreement with the last round and by chance, share of clusters in use and of the largest, in every metric."""
    method = clustered().train()
    first = objectives(method, Batch(pictures(), torch.arange(COUNT), 0, 0.0))[0].metrics
    assert set(first) == {"accuracy", "occupied", "largest"}
    assert first["occupied"].item() == 1
    assert first["largest"].item() == pytest.approx(torch.bincount(method.labels).max().item() / COUNT)
    before = method.labels.clone()
    torch.manual_seed(9)
    method.start_epoch(embed)
    second = objectives(method, Batch(pictures(), torch.arange(COUNT), 0, 0.0))[0].metrics
    assert second["agreement"].item() == pytest.approx(clustering.agreement(before, method.labels), abs=1e-6)
    assert 0 < second["agreement_by_chance"] < second["agreement"] < 1


def test_number_of_clusters_follows_from_that_of_images() -> None:
    """One for 50 images, 10 at least, 10,000 at most, and of very few images one for four."""
    made = [started(count=count, clusters=None) for count in (60, 400, 10_000, 2_000_000, 20)]
    assert [len(method.centroids) for method in made] == [10, 10, 200, 10_000, 5]


def test_without_hidden_layers_the_vector_is_clustered() -> None:
    """As in networks without fully connected layers, and no more than half of its components."""
    method = clustered(hidden=0, components=256)
    assert method.width == method.encoder.vector_width
    assert torch.equal(Trunk(method.encoder, method.neck)(clean(pictures())), method.encoder.vector(clean(pictures())))
    assert method.directions.shape == (method.encoder.vector_width, method.encoder.vector_width // 2)


@pytest.mark.parametrize("hidden", [0, 64])
def test_fewer_features_get_a_higher_rate(hidden: int) -> None:
    """The last layer's rate is that of all others for 4096 features, as in the paper."""
    method = started(hidden=hidden)
    (group,) = method.optimizers(method.recipe)["head"].param_groups
    assert group["lr_factor"] == 4096 / (hidden or method.encoder.vector_width)
    (group,) = started(hidden=hidden, head_rate=2.0).optimizers(method.recipe)["head"].param_groups
    assert group["lr_factor"] == 2


def test_what_cannot_be_is_refused() -> None:
    """In a sentence."""
    with pytest.raises(InputError, match="sees edges, got an encoder that sees colour"):
        DeepCluster(build_encoder("small", SIZE, seed=0), sees="edges")
    with pytest.raises(InputError, match="takes clusters from 2, got 1"):
        started(clusters=1)
    with pytest.raises(InputError, match="at most one per image: got 500 of 96 images"):
        started(clusters=500)
    with pytest.raises(InputError, match="crop_min above 0"):
        started(crop_min=0.0)


def started(count: int = COUNT, **arguments: object) -> DeepCluster:
    """Give a method that knows its data and has not seen it."""
    arguments = {"clusters": K, "sees": "edges", "hidden": 40, "components": 6, **arguments}
    torch.manual_seed(0)
    encoder = build_encoder("small", SIZE, seed=0, sees=str(arguments["sees"]))
    method = DeepCluster(encoder, **arguments)  # type: ignore[arg-type]
    method.start(DataFacts(count, SIZE, lambda n: pictures()[:n]))
    return method.eval()


def clustered(seed: int = 1, **arguments: object) -> DeepCluster:
    """Give a method whose first round has begun."""
    method = started(**arguments)
    torch.manual_seed(seed)
    method.start_epoch(embed)
    return method


@torch.no_grad()
def embed(module: nn.Module) -> Tensor:
    """Give clean features as the program does."""
    was = module.training
    features: Tensor = module.eval()(clean(pictures()))
    module.train(was)
    return features


def steps(method: DeepCluster, optimizers: dict, count: int) -> None:
    """Train on the images for a few steps."""
    rows = torch.arange(COUNT)
    batches = (Batch(pictures()[rows], rows, step, 0.0) for step in range(count))
    for _ in train(method, batches, optimizers, method.recipe, 0, autocast_of(torch.device("cpu"), "float32")):
        pass


def objectives(method: DeepCluster, batch: Batch) -> list:
    """Give the objectives of a batch."""
    (found,) = method.losses(batch)
    return found


def pictures() -> Tensor:
    """Give smooth random images, larger than the encoder sees."""
    coarse = torch.rand(COUNT, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=36, mode="bilinear").clamp(0, 1)


def clean(images: Tensor) -> Tensor:
    """Give the middle of images."""
    return images[:, :, 2:-2, 2:-2]
