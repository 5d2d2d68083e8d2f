"""Runs whose game did not end in balance: they are ranked by their probe like all others, but not silently."""

from collections.abc import Mapping
from typing import Any

from selfsup.advice import verdict as words
from selfsup.advice.found import Found
from selfsup.training.game import SIGN


def unbalanced(found: Found) -> dict[str, str]:
    """Give a sentence for each ranked method in whose runs one side of the game won, or the generator collapsed."""
    said = {}
    for method, of_seed in found.trials.items():
        seen = {seed: signs(answers.cost) for seed, answers in of_seed.items()}
        ill = [seed for seed, texts in seen.items() if texts]
        if ill:
            count = "its only run" if len(of_seed) == 1 else f"{len(ill)} of its {len(of_seed)} runs"
            said[method] = (
                f"The game of {words.name_of(method)} did not end in balance in {count}, and it was ranked by its "
                f"probe all the same; seed {ill[0]}: {' '.join(seen[ill[0]])}"
            )
    return said


def signs(cost: Mapping[str, Any]) -> tuple[str, ...]:
    """Give what a run's summary says of its game, as sentences; nothing for a game in balance, or none."""
    return tuple(str(row["text"]) for row in cost.get("health", []) if row.get("about") == SIGN)
