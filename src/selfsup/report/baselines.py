"""What the page of a run says where nothing was trained."""

from selfsup.report.arms import Arms
from selfsup.report.blocks import Headline, Listing, Section
from selfsup.report.commands import evaluate_command, predict_command
from selfsup.report.folders import RunFiles
from selfsup.report.probes import Probed
from selfsup.report.tasks import gallery
from selfsup.report.trust import probe_honesty
from selfsup.report.values import number
from selfsup.report.words import count, duration, short, visible

ABOUT = {
    "scattering": "Scattering: wavelets, moduli and averages that are fixed by design. It has no parameters.",
    "pixels": "Raw pixels: the image itself, averaged down to 16 x 16 places at most.",
    "untrained": "A network of random weights, its batch norms estimated on the images.",
    "random": "A network of random filters, scaled layer by layer by what they read of the images.",
    "pca": "A network whose filters are principal directions of patches of the images, layer by layer.",
    "kmeans": "A network whose filters are cluster centres of patches of the images, layer by layer.",
}
FIXED = ("scattering", "pixels")
"""Baselines in which nothing is drawn at random."""


def headline(run: RunFiles, probed: Probed, worth: list[str]) -> Headline:
    """Say what it is, that nothing was trained, and what it reaches."""
    if not run.finished:
        return Headline("Not finished", "quiet", ["The same command makes it anew."])
    said = [*worth, ABOUT.get(run.arm, visible(run.arm)), "Nothing was trained."]
    if not probed.table():
        return Headline(
            "A baseline", "quiet", said, "Measure what the features are worth, with a few labels:",
            evaluate_command(run), _facts(run),
        )  # fmt: skip
    next_step = "Sort the rest of a folder with the best probe:"
    return Headline("A baseline", "quiet", said, next_step, predict_command(run), _facts(run))


def pictures_section(run: RunFiles, arms: Arms) -> list[Section]:
    """Show what was drawn of the features, if anything was."""
    if not run.figures:
        return []
    said = ["Each column is an image; below it what the encoder keeps of it."]
    if run.arm == "scattering":
        said = [
            "Each column is an image; below it its averages (order 0), then the strength of edges at each scale, the "
            "finest first (order 1): lying edges are green, upright ones violet, and pale where no direction leads."
        ]
    return [Section("figures", "What it finds", said, [gallery(run, arms)])]


def honesty(run: RunFiles, probed: Probed) -> Section:
    """List what limits the page."""
    first = (
        "Nothing was trained or drawn at random, so there is no spread of training: another seed would change nothing."
        if run.arm in FIXED
        else "These are the weights of one seed: how much another would change is unknown."
    )
    said = [first, *probe_honesty(probed)]
    if probed.curves:
        said.append(
            "Published numbers of such baselines often have a trained head (several layers, kernels chosen with "
            "labels) behind them; these are of a linear model on frozen features."
        )
    return Section("honesty", "How far to trust this", [], [Listing(said)])


def _facts(run: RunFiles) -> list[tuple[str, str]]:
    summary = run.summary
    seconds, speed, parameters = (number(summary.get(key)) for key in ("seconds", "images_per_second", "parameters"))
    facts = [
        ("encoder", visible(run.encoder.get("name") or run.config.get("encoder") or "")),
        ("parameters", count(parameters) if parameters is not None else ""),
        ("time to make", duration(seconds) if seconds is not None else ""),
        ("images/s", (short(speed) if speed < 100 else count(speed)) if speed is not None else ""),
    ]
    return [(name, value) for name, value in facts if value]
