"""The generator that `aetgan` changes images with: a finished run of bigan, whose own training counts as a cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsup.advice.references import fingerprint_of_file
from selfsup.advice.verdict import name_of
from selfsup.errors import InputError
from selfsup.report.cost import GENERATED
from selfsup.report.values import mapping, number
from selfsup.report.words import SPACE, duration
from selfsup.run import Run

if TYPE_CHECKING:
    from selfsup.advice.material import Material
    from selfsup.advice.plan import Plan
    from selfsup.data.images import ImageStore


@dataclass(frozen=True)
class Generator:
    """What a plan holds of a generator beside its place."""

    content: str
    """Fingerprint of its file."""
    images: str
    """Fingerprint of the images that it was trained on; empty where the run does not say."""
    seconds: float
    """That its training took."""
    trunk_gflops: float | None
    """Of the encoder that was trained with it, as the cost of other runs counts them."""
    saw_test: bool | None = None
    """Whether test images were among its images; None: unknown, or of no account."""

    def beside(self, material: "Material") -> "Generator":
        """Find out whether it saw the test images, as far as fingerprints of whole folders tell."""
        if material.opened is None or not self.images:
            return self
        if self.images in _fingerprints(material.images):
            return replace(self, saw_test=False)
        return replace(self, saw_test=True) if self.images in _fingerprints(material.opened) else self

    def written(self) -> dict[str, Any]:
        """Give what `plan.json` holds."""
        return asdict(self)


def open_generator(place: Path) -> Generator:
    """Read what a finished run of bigan left, without loading its weights.

    Args:
        place: the run's folder, or the file of the generator in it.

    Raises:
        InputError: if there is no generator, or what its training took is not known.
    """
    from selfsup.networks.codes import FILE
    from selfsup.networks.files import file_in

    file = file_in(place, FILE)
    if not file.is_file():
        raise InputError(f"There is no generator at {file}; give the folder of a finished run of bigan.")
    run = Run(file.parent)
    try:
        summary = run.summary if run.is_finished else {}
    except ValueError:
        summary = {}
    seconds = number(summary.get("seconds"))
    if seconds is None:
        raise InputError(
            f"What the generator at {file} took to train counts, and {file.parent / 'summary.json'} does not say it; "
            "give the folder of the run of bigan itself, not a copy of its weights."
        )
    config = run.config if (file.parent / "config.yaml").is_file() else {}
    images = str(mapping(config.get("resolved")).get("images") or "")
    return Generator(fingerprint_of_file(file), images, seconds, number(summary.get("trunk_gflops")))


def refuse_other_generator(planned: Mapping[str, Any], now: Generator, place: Path | str) -> None:
    """Compare the generator of a plan with the one that is there now.

    Raises:
        InputError: if it is another, or was trained on since.
    """
    if planned.get("content") != now.content:
        raise InputError(
            f"The generator at {str(place)!r} is not the one that the plan was made for, or was trained on since; "
            "use another --out, and no --plan."
        )


def notes_of(plan: "Plan") -> list[str]:
    """Say what of a generator was not in the budget of the trials, and whether it knows the test images."""
    if plan.generator is None or GENERATED in plan.excluded:
        return []
    if GENERATED not in plan.methods:
        return [f"The generator is not used, because {GENERATED} is not among the methods."]
    taken = _time(plan.generator_run["seconds"])
    notes = [
        f"The runs of {GENERATED} have the budget of the others for their own steps; the {taken} that its generator "
        "took are not in it, and are counted in its cost."
    ]
    if plan.labels is None or plan.transductive:
        return notes
    return [*notes, _LEAK[plan.generator_run["saw_test"]]]


_LEAK = {
    None: f"What the generator of {GENERATED} was trained on is not checked against the test images.",
    False: f"The generator of {GENERATED} was trained on the images that are pretrained on here, test images left out.",
    True: f"The generator of {GENERATED} was trained on these images before the test images were taken out, so the "
    f"numbers of {GENERATED} may be too good; a bigan run among the trials of an advice has not seen them.",
}


def caveats_of(plan: "Plan", costs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say beside a verdict what the generator took, and that it knows the test images where it does.

    Args:
        plan: with a generator or without.
        costs: rows of the cost; none of them is of the method with a generator where no run of it was finished.
    """
    said = []
    for row in costs:
        if row["arm"] == GENERATED and "generator" in row and row["seconds"] is not None:
            taken = _time(row["generator"]["seconds"])
            said.append(
                f"A run of {name_of(GENERATED)} took {_time(row['seconds'])}, of which {taken} for the generator, once."
            )
            if plan.generator_run.get("saw_test"):
                said.append(_LEAK[True])
    return said


def _fingerprints(images: "ImageStore") -> set[str]:
    """Name images as a run does that was told what belongs together, and as one that was not."""
    from selfsup.training.prepare import fingerprint_of

    return {fingerprint_of(images), fingerprint_of(replace(images, groups=None))}


def _time(seconds: float) -> str:
    return duration(seconds).replace(SPACE, " ")
