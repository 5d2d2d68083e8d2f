"""How good predictions are: accuracy, balanced accuracy, area under the ROC curve."""

import numpy as np
from jaxtyping import Float, Int


def accuracy(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"]) -> float:
    """Give the share of right predictions."""
    return float((truth == predicted).mean())


def balanced_accuracy(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], classes: int) -> float:
    """Give the mean over classes of the share found of each; classes without images do not count."""
    of_class = np.bincount(truth, minlength=classes)
    found = np.bincount(truth[truth == predicted], minlength=classes)
    present = of_class > 0
    return float((found[present] / of_class[present]).mean())


def auroc(truth: Int[np.ndarray, " N"], scores: Float[np.ndarray, " N"]) -> float | None:
    """Give the chance that an image of class 1 scores above one of class 0, ties as one half.

    Returns:
        None where one of the two classes has no images.
    """
    positives = int((truth == 1).sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    _, place, repeats = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(repeats) - (repeats - 1) / 2  # ranks from 1, equal scores share their mean
    above = mean_rank[place][truth == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
