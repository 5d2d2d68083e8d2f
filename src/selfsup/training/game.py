"""Signs, in the rows of a run, that one side of a game has won or that the generator has collapsed."""

from collections.abc import Mapping, Sequence
from typing import Any

WON, BLIND = 0.98, 0.52
"""Accuracy of the discriminator over the last quarter of training: above the first it has won, below the other it does
no better than a guess."""
NO_LOSS, LOST = 0.05, 3.0
"""Loss of the discriminator below which it has won, and above which it has lost, whatever its form: a blind one has
0.69 to 2."""
FOOLED = 0.45
"""Accuracy of the discriminator below which it has lost: a guess would be right more often."""
COLLAPSED = 0.25
"""Distance between samples as a share of that between real images."""

SIGN = "game"
"""What a finding about a game is marked with, under `about`."""


def is_game(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows come from a method with a discriminator."""
    return any("d_accuracy" in row.get("metrics", {}) for row in rows)


def game_findings(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Say what was seen of the game over the last quarter of training, where it did not end in balance.

    Args:
        rows: of training, oldest first; those of methods without a discriminator give no findings.
    """
    last = rows[-max(1, len(rows) // 4) :]
    accuracy, diversity, loss, alone = (
        _mean(last, name) for name in ("d_accuracy", "diversity", "d_loss", "unary_accuracy")
    )
    if accuracy is None:
        return []
    lost = "" if loss is None else f" (its loss was {loss:.2g})"
    said = []
    if accuracy >= WON or (loss is not None and loss <= NO_LOSS):
        said.append(
            f"The discriminator has won: over the last quarter of training it told {accuracy:.1%} of real and "
            f"generated images right{lost}, which leaves the other side little to learn from. Features can be good "
            "all the same; let a probe decide. If the pictures look wrong, a lower --discriminator-rate holds it back."
        )
    elif accuracy <= FOOLED or (loss is not None and loss >= LOST):
        said.append(
            f"The generator has won: over the last quarter of training the discriminator told {accuracy:.1%} of real "
            f"and generated images right{lost}: it is beaten, so its verdict teaches nothing. If the pictures "
            "look wrong, a higher --discriminator-rate helps it."
        )
    if alone is not None and alone >= WON:
        said.append(
            "The discriminator of images without codes has won: over the last quarter of training it told "
            f"{alone:.1%} of real and generated images right, which leaves the generator little to learn from."
        )
    if diversity is not None and diversity <= COLLAPSED:
        said.append(
            "The generator has collapsed: over the last quarter of training its samples lay "
            f"{diversity:.2g} times as far apart as real images do."
        )
    warnings = [{"level": "warning", "about": SIGN, "text": text} for text in said]
    # a game in balance ends here too, so it is no sign of a lost one
    if not said and max(accuracy, alone or 0) <= BLIND:
        warnings = [
            {
                "level": "warning",
                "text": "The discriminator was no better than a guess: over the last quarter of training it told "
                f"{accuracy:.1%} of real and generated images right{lost}. Either it is beaten, or the samples cannot "
                "be told from real images; look at the pictures.",
            }
        ]
    return warnings


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row["metrics"][name] for row in rows if name in row.get("metrics", {})]
    return sum(values) / len(values) if values else None
