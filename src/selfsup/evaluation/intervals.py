"""95 % intervals of balanced accuracies over label draws and test images, by one bootstrap that all arms share."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Interval(NamedTuple):
    """A mean and where it may lie."""

    mean: float
    low: float
    high: float


class Bootstrap:
    """Draws label draws and test images (whole groups) with replacement, the same ones for every arm.

    Args:
        truth: class of each test image.
        classes: number of classes.
        groups: test images that belong together are drawn together.
        replicates: how often.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        truth: Int[np.ndarray, " T"],
        classes: int,
        groups: Int[np.ndarray, " T"] | None = None,
        replicates: int = 1000,
        seed: int = 0,
    ) -> None:
        self.truth, self.seed, self.replicates = truth, seed, replicates
        group_of = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
        count = int(group_of.max()) + 1
        rng = np.random.default_rng([seed, 1])
        weights = np.empty((replicates, len(truth)), np.float32)
        for weight in weights:
            weight[:] = np.bincount(rng.integers(0, count, count), minlength=count)[group_of]
        self._of_class = [np.flatnonzero(truth == label) for label in range(classes) if (truth == label).any()]
        self._weights = [weights[:, members] for members in self._of_class]

    def interval(self, predicted: Int[np.ndarray, "draws T"]) -> Interval:
        """Give the mean balanced accuracy over draws with its interval."""
        found = self._found(predicted)
        return self._summary(found.mean(1), self._replicates(predicted))

    def difference(self, one: Int[np.ndarray, "draws T"], other: Int[np.ndarray, "draws T"]) -> Interval:
        """Give by how much the first is better, paired by draw and test image."""
        found = self._found(one) - self._found(other)
        return self._summary(found.mean(1), self._replicates(one) - self._replicates(other))

    def _found(self, predicted: Int[np.ndarray, "draws T"]) -> Float[np.ndarray, "classes draws"]:
        right = predicted == self.truth
        return np.stack([right[:, members].mean(1) for members in self._of_class])

    def _replicates(self, predicted: Int[np.ndarray, "draws T"]) -> Float[np.ndarray, " R"]:
        right = (predicted == self.truth).astype(np.float32)
        recalls = np.full((len(self._weights), self.replicates, len(predicted)), np.nan)
        for recall, weight, members in zip(recalls, self._weights, self._of_class, strict=True):
            total = weight.sum(1, keepdims=True)
            np.divide(weight @ right[:, members].T, total, out=recall, where=total > 0)
        accuracy = np.nanmean(recalls, axis=0)  # [R, draws]
        rng = np.random.default_rng([self.seed, 2, len(predicted)])
        drawn = rng.integers(0, len(predicted), accuracy.shape)
        replicates: Float[np.ndarray, " R"] = np.take_along_axis(accuracy, drawn, axis=1).mean(1)
        return replicates

    def _summary(self, per_class: Float[np.ndarray, " classes"], replicates: Float[np.ndarray, " R"]) -> Interval:
        low, high = np.quantile(replicates, (0.025, 0.975))
        return Interval(float(per_class.mean()), float(low), float(high))
