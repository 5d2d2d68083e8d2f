"""The plan: what will be trained and for how many steps, measured once and then repeated exactly.

`plan.json` holds every field of `Plan`. A person may hand it to `--plan`; the same plan on the same images gives the
same numbers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from selfsup import methods as table
from selfsup.advice.supervision import plan_supervised, supervised_seconds
from selfsup.data.rounds import Rounds
from selfsup.errors import InputError
from selfsup.recipe import seconds as read_seconds
from selfsup.run import write_json

if TYPE_CHECKING:
    from selfsup.advice.trial import Exam

FORMAT = 1
NO_ROUNDS = Rounds(1)
"""Of methods that prepare nothing."""
FINALISTS = 3
"""Methods that get fresh seeds; with no more than these, screening has nothing to decide and is left out."""
FAMILIES = 2
"""Families kept among the finalists: contrastive and generative tasks start slowly, and early order can turn."""
SCREENING_SEED = 1000
"""Of the one run from which finalists are chosen; its numbers are never reported as a result."""


class Measured(NamedTuple):
    """What was found before the first step."""

    seconds_per_step: dict[str, float]
    rounds: dict[str, Rounds]
    """Of methods that prepare them with the images: how often, and how long that takes."""
    batch_size: dict[str, int]
    supervised_seconds: float
    """Of a step of training on the labels."""
    device: str
    precision: str
    layout: str
    threads: int
    memory_mb: float
    weights_mb: float
    """Of the encoder."""
    scattering_seconds: float = 0.0
    """Of the features of one image by fixed wavelets."""
    refused: Mapping[str, str] = MappingProxyType({})
    """Methods that cannot start on these images, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `advise` does; equal plans on equal images give equal numbers."""

    data: str
    images: str
    """Fingerprint of the images to pretrain on."""
    count: int
    labels: str | None
    labelled: str | None
    """Fingerprint of the labelled images, their classes and their split."""
    pool: int = 0
    test: int = 0
    encoder: str
    image_size: int
    store_size: int
    device: str
    precision: str
    layout: str
    threads: int
    budget: str
    methods: list[str]
    excluded: dict[str, str] = field(default_factory=dict)
    seconds_per_step: dict[str, float]
    rounds: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of methods that prepare rounds (clustering does): fields of `Rounds`."""
    steps: dict[str, int]
    batch_size: dict[str, int]
    screening_seed: int | None
    """None: there are no more methods than finalists, so all of them get fresh seeds at once."""
    seeds: list[int]
    finalists: int
    label_budgets: list[int | None] = field(default_factory=list)
    """Labels per class; null is all labels of the pool."""
    draws: int = 1
    draw_seed: int = 0
    pattern: str | None = None
    group: str | None = None
    frame_rate: float | None = None
    """Frames of videos that are pretrained on in a second; null: the usual number."""
    generator: str | None = None
    """Finished run of bigan that aetgan draws with."""
    generator_run: dict[str, Any] = field(default_factory=dict)
    """What is known of it, as `Generator` writes itself."""
    transductive: bool = False
    supervised: dict[str, Any] = field(default_factory=dict)
    """As `Supervised` writes itself."""
    scattering: bool | None = None
    """Whether fixed wavelets are a control: where their features of all labelled images take no longer than a run.
    Null: the plan is older than this control."""
    forecast: dict[str, float] = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)
    """One row for each run; `arm` is null for finalists that are not chosen yet."""
    references: list[dict[str, Any]] = field(default_factory=list)
    """Public weights, as `Reference` writes itself; they decide nothing of the others, and may be named later."""
    command: str = ""
    """Does the same, timing included, once more."""
    format: int = FORMAT

    def fingerprint(self) -> str:
        """Name everything that decides a result; measured times and forecasts do not."""
        left_out = (
            "seconds_per_step", "rounds", "forecast", "data", "labels", "budget", "excluded", "methods", "steps",
            "trials", "command", "references", "scattering", "generator", "generator_run",
        )  # fmt: skip
        kept = {name: value for name, value in asdict(self).items() if name not in left_out}
        if self.frame_rate is None:  # as in plans that are older than it
            del kept["frame_rate"]
        if self.generator is not None:
            kept["generator"] = self.generator_run["content"]
        return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def fixed(self) -> list[str]:
        """Name the controls without parameters."""
        return ["pixels", *(["scattering"] if self.scattering else [])]

    def write(self, file: Path) -> None:
        """Write `plan.json`."""
        write_json(file, asdict(self))


def read_plan(file: Path) -> Plan:
    """Read a plan.

    Raises:
        InputError: if the file is missing or is no plan.
    """
    if not file.is_file():
        raise InputError(f"There is no plan {str(file)!r}; give the plan.json of an earlier advise.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {f.name for f in fields(Plan)}
        plan = Plan(**{name: value for name, value in content.items() if name in names})
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{str(file)!r} is not a plan ({error}); give the plan.json of an earlier advise.") from error
    if plan.format != FORMAT:
        raise InputError(f"{str(file)!r} is a plan of format {plan.format}, this version reads {FORMAT}; leave it out.")
    for method in plan.methods:
        table.entry(method)
    return plan


def refuse_changes(before: Plan, now: Mapping[str, Any], methods: Sequence[str] | None, folder: Path) -> None:
    """Compare the settings of a plan on disk with those asked for; measured choices are kept.

    Raises:
        InputError: naming the first setting that differs.
    """
    for name, value in now.items():
        if getattr(before, name) == value:
            continue
        if name in ("images", "labelled"):
            which = "images" if name == "images" else "labelled images"
            raise InputError(
                f"The {which} are not those that the plan in {str(folder)!r} was made for; use another --out."
            )
        raise InputError(
            f"The advice in {str(folder)!r} was started with {name.replace('_', '-')} {_shown(getattr(before, name))}, "
            f"now {_shown(value)} was given; use the old value to resume it, or another --out."
        )
    planned = {*before.methods, *before.excluded}
    if methods is not None and set(methods) != planned:
        raise InputError(
            f"The advice in {str(folder)!r} was started with methods {','.join(sorted(planned))}, now "
            f"{','.join(methods)} was given; use the old ones to resume it, or another --out."
        )


def _shown(value: Any) -> str:
    return ",".join("all" if v is None else str(v) for v in value) if isinstance(value, list) else str(value)


def fix_steps(
    budget: str, seconds_per_step: Mapping[str, float], rounds: Mapping[str, Rounds] = MappingProxyType({})
) -> dict[str, int]:
    """Turn the time of one run into a number of steps for each method, once; what rounds take is paid from it."""
    time = read_seconds(budget)
    return {name: rounds.get(name, NO_ROUNDS).steps_within(time, taken) for name, taken in seconds_per_step.items()}


def forecast(plan: Plan, measured: Measured, store_mb: float, on_labels: float, wavelets: float) -> dict[str, float]:
    """Say what the plan will take: minutes, disk and memory.

    Args:
        plan: with steps.
        measured: times.
        store_mb: size of the decoded images.
        on_labels: seconds of training on the labels.
        wavelets: seconds of the features by fixed wavelets, if they are a control.
    """
    screened = plan.screening_seed is not None
    finalists = min(plan.finalists, len(plan.methods)) if plan.labels else 0
    each = {m: measured.rounds.get(m, NO_ROUNDS).total(plan.steps[m], plan.seconds_per_step[m]) for m in plan.methods}
    training = sum(each.values()) * screened + finalists * len(plan.seeds) * max(each.values())
    runs = len(plan.methods) * screened + finalists * len(plan.seeds)
    per_image = min(plan.seconds_per_step[m] / plan.batch_size[m] for m in plan.methods)
    probing = (runs + len(plan.seeds)) * ((plan.pool + plan.test) * per_image + 3.0) if plan.labels else 0.0
    return {
        "minutes": round((training + on_labels + probing + wavelets) / 60, 2),
        "pretraining_minutes": round(training / 60, 2),
        "supervised_minutes": round(on_labels / 60, 2),
        "disk_mb": round(store_mb + runs * 10 * measured.weights_mb, 1),
        "memory_mb": round(measured.memory_mb, 1),
    }


def make_plan(
    asked: Mapping[str, Any],
    described: Mapping[str, Any],
    kept: Sequence[str],
    excluded: Mapping[str, str],
    measured: Measured,
    exam: "Exam | None",
) -> Plan:
    """Fix everything before the first step.

    Args:
        asked: settings of `advise` that the plan holds.
        described: the fields that say which images the plan is for, and `store_mb`.
        kept: methods to try.
        excluded: other methods, with the reason.
        measured: times.
        exam: the labelled images.
    """
    # without labels nothing can be chosen: every method runs once, and its seed is the first
    screening = SCREENING_SEED if exam is None or len(kept) > asked["finalists"] else None
    facts = {name: value for name, value in described.items() if name != "store_mb"}
    plan = Plan(
        **asked, **facts, methods=list(kept), excluded=dict(excluded), screening_seed=screening,
        steps=fix_steps(asked["budget"], measured.seconds_per_step, measured.rounds),
        rounds={name: rounds._asdict() for name, rounds in measured.rounds.items()},
        seconds_per_step=measured.seconds_per_step, batch_size=measured.batch_size,
        device=measured.device, precision=measured.precision,
        layout=measured.layout, threads=measured.threads,
    )  # fmt: skip
    on_labels = wavelets = 0.0
    if exam is not None:
        wavelets = measured.scattering_seconds * (plan.pool + plan.test) * exam.pictures
        plan = replace(plan, scattering=wavelets <= read_seconds(plan.budget))
        wavelets *= bool(plan.scattering)
        draws = {budget: len(exam.keys(budget)) for budget in exam.sizes}
        sizes = {budget: round(labels * exam.pictures) for budget, labels in exam.sizes.items()}
        supervised = plan_supervised(plan, measured.supervised_seconds, sizes, draws)
        on_labels = supervised_seconds(supervised, draws, measured.supervised_seconds)
        plan = replace(plan, supervised=supervised.written())
    rows = [{"arm": method, "seed": screening} for method in kept] if screening is not None else []
    if exam is not None:
        chosen = list(kept) if screening is None else [None] * plan.finalists
        rows += [{"arm": method, "seed": seed} for seed in plan.seeds for method in chosen]
    return replace(plan, trials=rows, forecast=forecast(plan, measured, described["store_mb"], on_labels, wavelets))


def forecast_sentence(plan: Plan) -> str:
    """Say what is to come."""
    f = plan.forecast
    if not f:
        return f"{len(plan.methods)} methods, {plan.budget} each."
    return (
        f"Forecast: about {max(1, round(f['minutes']))} min ({f['pretraining_minutes']:.1f} of pretraining, "
        f"{f['supervised_minutes']:.1f} of training on labels), {f['disk_mb']:,.0f} MB of disk, "
        f"{f['memory_mb']:,.0f} MB of memory."
    )


def fingerprint(*parts: Sequence[str] | str) -> str:
    """Name content by a hash."""
    state = sha256()
    for part in parts:
        state.update(
            ("\n".join(part) if not isinstance(part, str) else part).encode("utf-8", "surrogateescape") + b"\0"
        )
    return state.hexdigest()[:16]
