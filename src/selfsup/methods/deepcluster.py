"""DeepCluster: cluster the features, learn the numbers of the clusters, and begin again."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from selfsup import clustering
from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Method, Objective
from selfsup.networks.encoders import Encoder
from selfsup.recipe import Recipe
from selfsup.views import color, crops, sheets
from selfsup.views.precision import in_full

PER_CLUSTER = 50
"""Images for each cluster where no number of clusters is asked for; the paper has 128."""
FEWEST, MOST = 10, 10_000
"""Clusters where no number is asked for; the second is the paper's."""
FEATURES = 4096
"""Of the paper's last layer."""
POOL = 1 << 22
"""Pixels of training images, about, among which the pictures look for members of clusters."""
SHOWN = 12
"""Clusters, and images of each, in a picture."""


class DeepCluster(Method):
    """Name the cluster of each image; clusters are those of the network's own features when the round began.

    Args:
        encoder: network to train.
        clusters: of k-means. None: one for every 50 images, 10 to 10,000.
        sees: `edges` of the gray image as in the paper, or `colour`, which makes clusters of colours easier.
        hidden: width of two layers between encoder and clusters, as AlexNet has them; what is clustered lies before
            their last ReLU. 0: none, the encoder's vector itself is clustered.
        components: whitened principal components that are clustered, never more than half of the features.
        iterations: of k-means.
        rounds: how often the images are clustered in a run, at most; every epoch of shorter runs.
        crop_min: smallest share of an image's area that a view shows.
        strength: of the colour jitter: brightness, contrast and saturation change by up to 0.8 times, hue by up to
            0.2 times this. None: 0.5 for colour, 0 for edges.
        flip: mirror half of the views.
        head_rate: learning rate of the last layer, in multiples of that of all others. None: 4096 over the number of
            features, so that its answers move as fast as those of the paper's 4096.

    Source: Caron, Bojanowski, Joulin and Douze, 2018, https://arxiv.org/abs/1807.05520
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.05,
        momentum=0.9,
        weight_decay=1e-5,
        schedule="constant",
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "accuracy"

    head: nn.Linear
    labels: Tensor
    centroids: Tensor
    mean: Tensor
    directions: Tensor
    round: Tensor
    agreement: Tensor
    by_chance: Tensor
    occupied: Tensor
    largest: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        clusters: int | None = None,
        sees: Literal["edges", "colour"] = "edges",
        hidden: int = 0,
        components: int = 256,
        iterations: int = 20,
        rounds: int = 100,
        crop_min: float = 0.2,
        strength: float | None = None,
        flip: bool = True,
        head_rate: float | None = None,
    ) -> None:
        super().__init__()
        if encoder.sees != sees:
            raise InputError(f"This deepcluster sees {sees}, got an encoder that sees {encoder.sees}; build it alike.")
        for name, value, least in (
            ("clusters", clusters, 2), ("hidden", hidden, 0), ("components", components, 1),
            ("iterations", iterations, 1), ("rounds", rounds, 1), ("strength", strength, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise InputError(f"deepcluster takes {name} from {least}, got {value:g}.")
        self.encoder = encoder
        self.neck = neck(encoder.vector_width, hidden) if hidden else nn.Identity()
        self.width = hidden or encoder.vector_width
        self.head_rate = FEATURES / self.width if head_rate is None else head_rate
        if not 0 < crop_min <= 1 or not self.head_rate > 0:
            raise InputError(
                f"deepcluster takes a crop_min above 0 up to 1 and a head_rate above 0, got {crop_min:g} and "
                f"{self.head_rate:g}."
            )
        self.components = min(components, max(1, self.width // 2))
        self.clusters, self.iterations, self.most_rounds = clusters, iterations, rounds
        self.crop_min, self.flip = crop_min, flip
        self.strength = (0.5 if sees == "colour" else 0.0) if strength is None else strength
        # the trunk as it was when the clusters were made: only by it can the cluster of a new image be told
        self.before = copy.deepcopy(Trunk(encoder, self.neck)).requires_grad_(False)

    def start(self, data: DataFacts) -> None:
        """Make room for the clusters; until the first round, the labels have no meaning."""
        k = self.clusters or max(min(FEWEST, data.count // 4), min(MOST, data.count // PER_CLUSTER))
        if not 2 <= k <= data.count:
            raise InputError(
                f"deepcluster makes 2 clusters or more, and at most one per image: got {k:,} of {data.count:,} images."
            )
        self.headline_chance = 1 / k  # type: ignore[misc]  # until held-out images are looked at
        like = self.encoder.mean
        self.head = nn.Linear(self.width, k).to(like)
        self._renew_head()
        self.register_buffer("labels", (torch.arange(data.count) % k).to(like.device))
        self.register_buffer("centroids", like.new_zeros(k, self.components))
        self.register_buffer("mean", like.new_zeros(self.width))
        self.register_buffer("directions", like.new_zeros(self.width, self.components))
        for name in ("round", "agreement", "by_chance", "occupied", "largest"):
            self.register_buffer(name, like.new_zeros(()))
        self.sample = data.sample

    def optimizers(self, recipe: Recipe) -> dict[str, Optimizer]:
        """Give the trunk the recipe's optimizer, the last layer plain SGD: renewed every round, it has no momentum."""
        trunk = recipe.build([*self.encoder.parameters(), *self.neck.parameters()])
        head = SGD(self.head.parameters(), recipe.peak_lr(), weight_decay=recipe.weight_decay)
        head.param_groups[0]["lr_factor"] = self.head_rate
        return {"trunk": trunk, "head": head}

    @torch.no_grad()
    def start_epoch(self, embed: Callable[[nn.Module], Tensor]) -> Tensor | None:
        """Cluster the features of all images anew, and let images come evenly from all clusters."""
        trunk = Trunk(self.encoder, self.neck).train(self.training)
        features = in_full(embed(trunk))
        for kept, now in zip(self.before.state_dict().values(), trunk.state_dict().values(), strict=True):
            kept.copy_(now)
        whiten = clustering.whitening(features, self.components)
        self.mean.copy_(whiten.mean)
        self.directions.copy_(whiten.directions)
        # the generator has just been seeded alike in every process
        seed = int(torch.randint(2**31 - 1, ()))
        found = clustering.kmeans(whiten(features), len(self.centroids), iterations=self.iterations, seed=seed)
        self._look_at(found.labels)
        self.centroids.copy_(found.centroids)
        self.labels.copy_(found.labels)
        self.round += 1
        self._renew_head()
        return clustering.even_order(self.labels)

    def _look_at(self, labels: Int[Tensor, " N"]) -> None:
        """Note how much the new labels have in common with the last ones, and how even the clusters are."""
        shuffled = labels[torch.randperm(len(labels)).to(labels.device)]
        self.agreement.fill_(clustering.agreement(self.labels, labels))
        self.by_chance.fill_(clustering.agreement(self.labels, shuffled))
        sizes = torch.bincount(labels, minlength=len(self.centroids))
        self.occupied.copy_((sizes > 0).float().mean())
        self.largest.copy_(sizes.max() / len(labels))

    def _renew_head(self) -> None:
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def losses(self, batch: Batch) -> Iterator[list[Objective]]:
        """Yield the cross-entropy of the images' clusters; held-out images are in that of the nearest centroid."""
        logits = self.logits(self.views(batch.images))
        if self.training:
            labels = self.labels[batch.index]
        else:
            labels = self.clusters_of(crops.center(batch.images, self.encoder.image_size))
            # always naming the largest cluster; not known before images are clustered, hence no class variable here
            self.headline_chance = self.largest.item()  # type: ignore[misc]
        loss = F.cross_entropy(logits, labels)
        metrics = {"accuracy": (logits.argmax(1) == labels).float().mean()}
        if self.round > 0:
            metrics |= {"occupied": self.occupied, "largest": self.largest}
        if self.round > 1:
            metrics |= {"agreement": self.agreement, "agreement_by_chance": self.by_chance}
        # one loss for two optimizers; the second is counted as 0 and has the same gradient
        yield [
            Objective(loss, "trunk", metrics, chance=math.log(logits.shape[1])),
            Objective(loss - loss.detach(), "head", chance=0.0),
        ]

    def logits(self, images: Float[Tensor, "B 3 s s"]) -> Float[Tensor, "B k"]:
        """Say how much each image looks like a member of each cluster."""
        return in_full(self.head(F.relu(self.neck(self.encoder.vector(images)))))

    def views(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 s s"]:
        """Crop, mirror and, where colours are seen, change them."""
        made = crops.random_resized_crop(images, self.encoder.image_size, scale=(self.crop_min, 1.0), flip=self.flip)
        by = 0.8 * self.strength
        return color.jitter(made, by, by, by, 0.2 * self.strength) if by > 0 else made

    @torch.no_grad()
    def clusters_of(self, images: Float[Tensor, "B 3 s s"]) -> Int[Tensor, " B"]:
        """Give the cluster of each clean image, by the network as it was when the clusters were made."""
        features = in_full(self.before.eval()(images))
        whiten = clustering.Whitening(self.mean, self.directions)
        return clustering.nearest(whiten(features), self.centroids)

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw clusters, and images between members of their cluster and of the one that was named."""
        size, k = self.encoder.image_size, len(self.centroids)
        pool = crops.center(self.sample(min(4096, max(64, POOL // size**2))), size)
        labels = torch.cat([self.clusters_of(part) for part in pool.split(256)])
        sizes = torch.bincount(labels, minlength=k)
        order = sizes.argsort(descending=True, stable=True)
        # evenly from the largest to the smallest of those that can fill a row, or simply the largest
        full = max(SHOWN, int((sizes >= SHOWN).sum()))
        rows = order[torch.linspace(0, min(full, k) - 1, min(SHOWN, k)).long()]
        shown = crops.center(batch.images, size)[:SHOWN]
        mine, named = self.clusters_of(shown), self.logits(shown).argmax(1)
        return {
            "clusters, one in each row": sheets.rows([members(pool, labels, cluster, SHOWN) for cluster in rows]),
            "images, three of their cluster, and three of the cluster that was named": sheets.rows(
                [
                    shown,
                    *torch.stack([members(pool, labels, cluster, 3) for cluster in mine], 1),
                    *torch.stack([members(pool, labels, cluster, 3) for cluster in named], 1),
                ]
            ),
        }


class Trunk(nn.Module):
    """What is clustered, and trained at the trunk's rate: the encoder's vector and the layers behind it."""

    def __init__(self, encoder: Encoder, neck: nn.Module) -> None:
        super().__init__()
        self.encoder, self.neck = encoder, neck

    def forward(self, images: Float[Tensor, "B 3 s s"]) -> Float[Tensor, "B D"]:
        """Give features before their last ReLU."""
        features: Tensor = self.neck(self.encoder.vector(images))
        return features


def neck(width: int, hidden: int) -> nn.Sequential:
    """Give two layers with batch norm, the second without its ReLU; they stand for the paper's fully connected ones."""
    layers = [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, hidden)]
    return nn.Sequential(*layers, nn.BatchNorm1d(hidden))


def members(
    images: Float[Tensor, "N 3 s s"], labels: Int[Tensor, " N"], cluster: Int[Tensor, ""], count: int
) -> Float[Tensor, "n 3 s s"]:
    """Give the first images of a cluster, white where there are no more."""
    found = images[labels == cluster][:count]
    return F.pad(found, (0, 0) * 3 + (0, count - len(found)), value=1.0)
