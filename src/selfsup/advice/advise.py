"""Which pretext task should I use on my images, if any? An equal-budget trial with controls, and a verdict."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfsup import methods as table
from selfsup.advice.carry_out import carry_out
from selfsup.advice.conclusion import conclude
from selfsup.advice.facts import choose_methods, folder_facts
from selfsup.advice.generator import Generator, notes_of, open_generator, refuse_other_generator
from selfsup.advice.material import Material, open_material
from selfsup.advice.plan import (
    Plan,
    forecast_sentence,
    make_plan,
    read_plan,
    refuse_changes,
)
from selfsup.advice.references import Reference, open_references, planned_references, refuse_other_weights
from selfsup.advice.unlabelled import without_labels
from selfsup.advice.verdict import Verdict
from selfsup.errors import InputError
from selfsup.memory import keep_pages
from selfsup.networks.names import reads_signals, refuse_training
from selfsup.progress import Progress, silent
from selfsup.recipe import seconds as read_seconds
from selfsup.report.report import write_report


def advise(
    data: Any = None,
    *,
    labels: Any = None,
    budget: str = "10m",
    methods: tuple[str, ...] | None = None,
    out: Path = Path("advice"),
    encoder: str = "small",
    image_size: int | None = None,
    store_size: int | None = None,
    seeds: int = 3,
    finalists: int = 3,
    label_budgets: tuple[int | None, ...] = (1, 5, 10, 50, 100, None),
    draws: int = 3,
    pattern: str | None = None,
    group: str | None = None,
    frame_rate: float | None = None,
    transductive: bool = False,
    generator: Path | None = None,
    reference: tuple[str, ...] = (),
    plan: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    layout: str = "auto",
    threads: int | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Verdict:
    """Try pretext tasks on your images with equal budgets, against honest controls, and say which to use, if any.

    The same call goes on where an earlier one stopped; finished trials are not repeated.

    Args:
        data: folder of images or videos, `.npy` file, array, dataset object, `scenes`, `plain-scenes` or
            `moving-scenes`; left out, the plan's.
        labels: labelled images or videos, for judging only: class folders, a CSV of path and label, or what `pattern`
            reads. Videos are judged clip by clip.
        budget: time of each run, such as `10m`.
        methods: pretext tasks to try; by default all that can work on the images.
        out: folder for trials, results, verdict and report.
        encoder: `small`, `alexnet`, `nin` or the name of a timm model.
        image_size: side in pixels of what the encoder sees.
        store_size: side in pixels at which images are decoded.
        seeds: runs of each finalist whose mean is reported; with one, no winner is declared.
        finalists: methods that get these runs, if there are more; chosen inside the labels by one run of each.
        label_budgets: labels per class to judge with, `all` for all of them.
        draws: label draws at each budget.
        pattern: regular expression with one group that finds the class in a file name, for flat folders.
        group: regular expression with one group that finds what belongs together (patient, scene) in a file name, with
            labels and without.
        frame_rate: frames that are taken of each second of the videos to pretrain on; by default 10, and never more
            than they have. Labelled clips are judged at 10.
        transductive: whether test images may be pretrained on.
        generator: folder of a finished run of bigan on images of the same size; with it aetgan is tried too, and what
            the generator took to train is counted in its cost.
        reference: safetensors files of public weights, probed as a marked reference outside the ranking; one whose
            architecture is not the encoder's is written `FILE.safetensors=resnet50`, with timm's name.
        plan: `plan.json` of an earlier advice, to repeat it exactly.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `float32` or `bfloat16`.
        layout: `auto`, `contiguous` or `channels_last`: how images lie in memory.
        threads: CPU threads.
        cache: folder of decoded images; by default the user's cache.
        progress: told what is being done.

    Returns:
        The verdict; `verdict.json`, `results.json` and `report.html` are in `out`.

    Raises:
        InputError: for settings, images or labels that cannot be used.
    """
    asked = {
        "encoder": encoder, "budget": budget, "seeds": list(range(seeds)), "finalists": finalists,
        "label_budgets": list(label_budgets), "draws": draws, "transductive": transductive,
        "pattern": pattern, "group": group, "frame_rate": frame_rate,
        "generator": None if generator is None else str(Path(generator).expanduser().absolute()),
    }  # fmt: skip
    _check(asked, methods, out)
    named = open_references(reference)
    given = read_plan(plan) if plan is not None else None
    before = read_plan(out / "plan.json") if (out / "plan.json").is_file() else None
    if given is not None and before is not None and _trials(given) != _trials(before):
        raise InputError(f"{str(out)!r} holds the advice of another plan; use another --out.")
    known = given or before
    if data is None and known is None:
        raise InputError("No images were given; name a folder, or a --plan that names it.")
    if named and labels is None and (known is None or known.labels is None):
        raise InputError("A reference is measured with labels, and none were given; add --labels or leave it out.")
    if known is not None and given is None:
        refuse_changes(known, asked, methods, out)
    keep_pages()
    rules: dict[str, Any] = dict(asked) if given is None else {name: getattr(given, name) for name in asked}
    rules["generator"] = asked["generator"] or rules["generator"]  # that of a given plan may lie elsewhere now
    drawing = _generator(rules["generator"], known)
    material = open_material(
        known.data if data is None and known is not None else data,
        given.labels if labels is None and given is not None else labels,
        image_size=image_size or (known.image_size if known else None),
        store_size=store_size or (known.store_size if known else None),
        label_budgets=rules["label_budgets"], draws=rules["draws"], transductive=rules["transductive"],
        pattern=rules["pattern"], group=rules["group"], frame_rate=rules["frame_rate"], cache=cache,
        progress=progress,
    )  # fmt: skip
    bench = _bench(
        material,
        known,
        {"encoder": encoder, "device": device, "precision": precision, "layout": layout, "threads": threads},
        {name: rules[name] for name in ("frame_rate", "generator")},
        progress,
    )
    references = _references(named, known, bench)
    if known is not None:
        refuse_changes(known, material.content(), None, out)
        final = replace(known, generator=rules["generator"])
    else:
        facts = replace(folder_facts(material.images, material.image_size), generator=drawing is not None)
        kept, excluded = choose_methods(methods, facts)
        progress.note(f"Timing a step of {', '.join(kept)}.")
        measured = bench.measure(kept, material.exam is not None)
        kept = [name for name in kept if name not in measured.refused]
        excluded |= measured.refused
        described = material.described()
        if drawing is not None:
            described["generator_run"] = drawing.beside(material).written()
        final = make_plan(asked, described, kept, excluded, measured, material.exam)
        final = replace(final, command=command_of(final, out))
        bench.steps = final.steps
    final = replace(final, references=[weights.written() for weights in references])
    if named:
        final = replace(final, command=command_of(final, out))
    final.write(out / "plan.json")
    return _carry_out(final, material, bench, out, progress)


def _check(asked: Mapping[str, Any], methods: tuple[str, ...] | None, out: Path) -> None:
    read_seconds(asked["budget"])
    refuse_training(asked["encoder"])
    if reads_signals(asked["encoder"]):
        raise InputError(
            f"advise compares tasks on images, and {asked['encoder']} reads signals; pretrain dae and evaluate it."
        )
    for name in ("finalists", "draws"):
        if asked[name] < 1:
            raise InputError(f"{name} must be at least 1, got {asked[name]}.")
    if not asked["seeds"]:
        raise InputError("seeds must be at least 1; 3 or more tell how much training varies.")
    for budget in asked["label_budgets"]:
        if budget is not None and budget < 1:
            raise InputError(f"A label budget is a number of labels per class from 1, or all, got {budget}.")
    for name in methods or ():
        table.entry(name)
    if out.exists() and not out.is_dir():
        raise InputError(f"{str(out)!r} is a file; give --out a folder.")


def command_of(plan: Plan, out: Path) -> str:
    """Give the command that asks this question."""
    given = {
        "labels": plan.labels, "budget": plan.budget, "methods": ",".join([*plan.methods, *plan.excluded]),
        "encoder": plan.encoder, "image-size": plan.image_size, "seeds": len(plan.seeds), "finalists": plan.finalists,
        "label-budgets": ",".join("all" if b is None else str(b) for b in plan.label_budgets), "draws": plan.draws,
        "pattern": plan.pattern, "group": plan.group, "frame-rate": plan.frame_rate,
        "generator": plan.generator, "out": out,
        "reference": ",".join(weights.given for weights in planned_references(plan.references)) or None,
    }  # fmt: skip
    flags = [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]
    return shlex.join(["selfsup", "advise", plan.data, *flags, *(["--transductive"] if plan.transductive else [])])


def _trials(plan: Plan) -> Plan:
    """Give a plan without what may be added to it later, and without where its generator lies."""
    return replace(plan, references=[], command="", generator=None)


def _generator(place: str | None, known: Plan | None) -> Generator | None:
    """Read what is known of a generator, before anything is opened; a plan knows it by its content."""
    if place is None:
        return None
    found = open_generator(Path(place))
    if known is not None:
        refuse_other_generator(known.generator_run, found, place)
    return found


def _references(named: Sequence[Reference], known: Plan | None, bench: Any) -> list[Reference]:
    """Load the weights that were named, before anything is trained; none named: those of the plan."""
    planned = [] if known is None else planned_references(known.references)
    if named or not planned:
        return [bench.described(weights) for weights in named]
    refuse_other_weights(planned, open_references([weights.given for weights in planned]))
    return planned


def _bench(
    material: Material, known: Plan | None, asked: Mapping[str, Any], of_some: Mapping[str, Any], progress: Progress
) -> Any:
    from selfsup.advice.bench import Workbench

    settings = {name: getattr(known, name) if known is not None else value for name, value in asked.items()}
    settings |= {"image_size": material.image_size, "group": material.group, **of_some}
    steps = dict(known.steps) if known else {}
    return Workbench(material.images, material.labelled, material.exam, settings, steps, progress, material.frames)


def _carry_out(plan: Plan, material: Material, bench: Any, out: Path, progress: Progress) -> Verdict:
    left_out = [f"{method} is left out: {reason}." for method, reason in plan.excluded.items()]
    notes = [*material.notes, *left_out, *notes_of(plan)]
    for note in [*notes, forecast_sentence(plan)]:
        progress.note(note)
    if material.exam is None:
        verdict = without_labels(plan, bench, out, notes, progress)
    else:
        verdict = conclude(carry_out(plan, bench, material.exam, out, progress.note), bench, out, notes, progress)
    write_report(out)
    return verdict
