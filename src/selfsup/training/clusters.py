"""Signs, in the rows of a run, that a clustering has gone wrong: empty clusters, one for all, none that last."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

OCCUPIED = 0.9
"""Share of clusters that hold images below which it is said."""
LARGEST = 0.25
"""Share of the images in the largest cluster above which it is said."""
LASTING = 0.1
"""Agreement from round to round below which it is said, as a share of the way from chance to 1."""


def cluster_findings(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Say what is wrong with the clusters at the end of training.

    Args:
        rows: of training, oldest first; those of methods without clusters give no findings.
    """
    last = rows[-1].get("metrics", {}) if rows else {}
    if "occupied" not in last:
        return []
    said = []
    if last["occupied"] < OCCUPIED:
        said.append(
            f"Only {last['occupied']:.0%} of the clusters hold images: the features are too much alike for so many. "
            "Ask for fewer (--clusters), or a lower learning rate."
        )
    # a blind guess of the cluster has a loss of ln k: of two clusters one always holds half
    if last["largest"] > max(LARGEST, 2 * math.exp(-(rows[-1].get("chance") or math.inf))):
        said.append(
            f"One cluster holds {last['largest']:.0%} of the images: the features may have collapsed, or most images "
            "are alike."
        )
    if "agreement" in last:
        chance = last["agreement_by_chance"]
        if last["agreement"] - chance < LASTING * (1 - chance):
            said.append(
                f"Clusters do not last from one round to the next: they agree by {last['agreement']:.2f}, unrelated "
                f"ones by {chance:.2f}. Ask for fewer clusters, fewer rounds (--rounds) or longer training."
            )
    return [{"level": "warning", "text": text} for text in said]
