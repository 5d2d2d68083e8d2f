"""The demo: advice on rendered scenes, in a few minutes on a laptop."""

from pathlib import Path
from typing import TYPE_CHECKING

from selfsup.progress import Progress, silent

if TYPE_CHECKING:
    from selfsup.advice.verdict import Verdict

SCENES = "scenes:3000"
IMAGE_SIZE = 32
"""Four times cheaper than 64 pixels: a laptop sees hundreds of steps instead of dozens."""
METHODS = ("rotation", "dae", "simclr")


def demo(
    *, out: Path = Path("demo"), budget: str = "8s", device: str = "auto", progress: Progress = silent
) -> "Verdict":
    """Advise on 3,000 rendered scenes with three methods, and write the report.

    Args:
        out: folder for the trials, the verdict and report.html.
        budget: time of each run.
        device: `cpu`, `cuda` or `auto`.
        progress: told what is being done.
    """
    from selfsup.advice.advise import advise

    return advise(
        SCENES,
        labels=SCENES,
        methods=METHODS,
        image_size=IMAGE_SIZE,
        budget=budget,
        label_budgets=(5, 20, None),
        draws=2,
        out=out,
        device=device,
        progress=progress,
    )
