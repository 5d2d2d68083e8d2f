"""Say what the numbers can bear: intervals in words, what cannot be seen, what was not measured."""

import math

from selfsup.report.folders import AdviceFiles, seeds_of
from selfsup.report.probes import Probed
from selfsup.report.values import number, rows, whole
from selfsup.report.words import listed, percent, plural, visible


def honesty(found: AdviceFiles) -> list[str]:
    """List what limits an advice."""
    results = found.results
    labelled = bool(rows(results.get("curves")))
    said = _intervals() if labelled else []
    test_images, points = whole(results.get("test_images")), number(results.get("detectable_points"))
    if labelled and test_images:
        said.append(_visible_difference(test_images, points))
    seeds = seeds_of(found)
    if found.runs and len(seeds) == 1:
        said.append(
            "Each task was trained from one seed: the spread of training is unknown, and no winner is declared."
        )
    elif labelled and len(seeds) > 1:
        fresh = (
            ", none of which took part in choosing the finalists"
            if found.plan.get("screening_seed") is not None
            else ""
        )
        said.append(f"Means are over {len(seeds)} seeds{fresh}.")
    said += _screening(found)
    if labelled:
        said += _transductive(found)
    else:
        said.append(
            "No labels were used, so nothing here says which task gives the better features; accuracies, losses and "
            "ranks of different tasks cannot be compared with each other."
        )
    if any(row.get("kind") == "reference" for row in rows(found.verdict.get("table"))):
        said.append(
            "References were trained elsewhere, for far longer and often with labels, and may have seen the test "
            "images: they show what can be had for nothing, not which task is better."
        )
    said.append("These are short runs: a task that starts slowly, as contrastive ones do, can overtake in longer ones.")
    said.append("Nothing was tuned to these images: each task ran with one recipe that was fixed beforehand.")
    return said


def run_honesty(probed: Probed) -> list[str]:
    """List what limits the page of one run."""
    said = ["This is one training run: how much another seed would change is unknown. selfsup advise compares several."]
    if not probed.curves:
        said.append(
            "How well the pretext task was solved says little about how useful the features are; only labels tell."
        )
    return [*said, *probe_honesty(probed)]


def probe_honesty(probed: Probed) -> list[str]:
    """List what limits the probes of one run, if there are any."""
    if not probed.curves:
        return []
    said = [
        "The intervals are 95 % intervals over draws of labels and test images, not over trainings: with other labels "
        "and other test images, about 95 of 100 such intervals would hold the true value of this very network."
    ]
    if probed.test_images:
        said.append(_visible_difference(probed.test_images, None))
    return said


def _intervals() -> list[str]:
    return [
        "The intervals are 95 % intervals over training seeds, draws of labels and test images together: repeated with "
        "others of each, about 95 of 100 such intervals would hold the true value.",
        "Arms are compared on the same draws of labels and the same test images; tasks that cannot be told "
        "from the best "
        "are called a tie. Overlapping bars alone do not mean a tie: differences are paired and narrower.",
        "Stage and strength of each probe were chosen inside the labelled pool; the test images only report.",
    ]


def _visible_difference(test_images: int, points: float | None) -> str:
    """Say what is too small to see; without a measured value, that of two independent shares near a half."""
    points = 100 * 1.96 * math.sqrt(0.5 / test_images) if points is None else points
    return f"With {plural(test_images, 'test image')}, differences below {points:.1f} points cannot be seen."


def _screening(found: AdviceFiles) -> list[str]:
    """Say how finalists were chosen, where they were."""
    screened = [row for row in rows(found.results.get("screening")) if row.get("arm")]
    dropped = [str(row["arm"]) for row in screened if row.get("finalist") is False]
    if not dropped:
        return []
    values = [(str(row["arm"]), number(row.get("validation"))) for row in screened]
    words = listed([f"{name} {percent(value)}" for name, value in values if value is not None])
    return [
        f"Finalists were chosen by one run of each task that is not reported, judged inside the labelled pool "
        f"({visible(words)}); {visible(listed(dropped))} did not become one."
    ]


def _transductive(found: AdviceFiles) -> list[str]:
    for content in (found.verdict, found.results, found.plan):
        if content.get("transductive") is True:
            return [
                "Transductive: the test images were among the unlabelled images trained on, so these numbers "
                "hold for this "
                "folder, not for new images."
            ]
        if content.get("transductive") is False:
            return ["Not transductive: the test images, and near-duplicates of them, were kept out of pretraining."]
    return []
