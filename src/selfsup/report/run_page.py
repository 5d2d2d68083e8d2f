"""The page about one pretraining run, with its evaluations where there are any."""

from selfsup.report import baselines, controls, cost, curves, findings, health, probes, stages, tasks
from selfsup.report.arms import Arms
from selfsup.report.blocks import Headline, Listing, Page, Section
from selfsup.report.commands import evaluate_command, predict_command, run_commands
from selfsup.report.folders import RunFiles
from selfsup.report.probes import Probed
from selfsup.report.trust import run_honesty
from selfsup.report.values import number
from selfsup.report.words import count, duration, percent, points, sentence, stage, visible


def run_page(run: RunFiles) -> Page:
    """Put together the page of a run folder, finished or not, evaluated or not."""
    arms = Arms()
    arm = arms.get(run.arm, "control" if run.is_baseline else "method")
    probed = probes.read(run)
    found = curves.curve_points(probed.curves, arms)
    missing = f"Nothing was measured with labels yet; {evaluate_command(run)} does that."
    labelled = [
        stages.stages_section(probed.stages, arms, probed.per_class),
        controls.controls_section(probed.table(), arms, "", [], probed.per_class, probed.neighbours),
    ]
    measured = [
        curves.curves_section(found, probed.measure, probed.test_images, probed.chance, missing=missing),
        *(labelled if found else []),
    ]
    if run.is_baseline:
        sections = [
            *measured,
            *baselines.pictures_section(run, arms),
            tasks.neighbours_section(tasks.neighbour_pictures([run]), arms),
            findings.findings_section([*run.skipped, *probed.skipped], probed.notes, run.problems),
            run_commands(run),
            baselines.honesty(run, probed),
        ]
        made = baselines.headline(run, probed, _worth(probed))
        return Page(arm.label, visible(run.folder.resolve().name), made, sections)
    sections = [
        *measured,
        cost.cost_section(cost.cost_of_runs([run]), arms),
        tasks.tasks_section([run], arms),
        tasks.neighbours_section(tasks.neighbour_pictures([run]), arms),
        health.health_section([run], arms),
        findings.findings_section([*run.skipped, *probed.skipped], probed.notes, run.problems),
        run_commands(run),
        Section("honesty", "How far to trust this", [], [Listing(run_honesty(probed))]),
    ]
    title = arm.label if run.seed is None else f"{arm.label}, seed {run.seed}"
    return Page(title, visible(run.folder.resolve().name), _headline(run, probed), sections)


def _headline(run: RunFiles, probed: Probed) -> Headline:
    warnings = [visible(one) for one in health.health_texts(run, "warning")]
    if not run.finished:
        said = [f"The run has not finished: it {health.last_step(run)}."]
        next_step = "Start the same command again to go on where it stopped."
        return Headline("Still going", "quiet", said, next_step, caveats=warnings)
    badge, tone = ("Finished, with warnings", "mixed") if warnings else ("Finished", "good")
    solved = tasks.headline_sentences([run]) or [sentence(f"{visible(run.arm)} was trained")]
    if not probed.table():
        next_step, command = "Measure what the features are worth, with a few labels:", evaluate_command(run)
        return Headline(badge, tone, solved, next_step, command, _facts(run), warnings)
    next_step = "Sort the rest of a folder with the best probe:"
    return Headline(badge, tone, [*_worth(probed), *solved], next_step, predict_command(run), _facts(run), warnings)


def _worth(probed: Probed) -> list[str]:
    """Say what the features are worth, beside those of the same network untrained."""
    best = probed.best()
    if best is None:
        return []
    said = f"{percent(best.mean)} {probed.measure} with {curves.budget(best.per_class)} at {stage(best.stage)}"
    if best.above_untrained is not None:
        said += f", {points(best.above_untrained)} points against the same network untrained"
    return [said + "."]


def _facts(run: RunFiles) -> list[tuple[str, str]]:
    """The few numbers that say how large the run was."""
    summary = run.summary
    steps, seconds, seen = (number(summary.get(key)) for key in ("steps", "seconds", "images_seen"))
    facts = [
        ("encoder", visible(run.encoder.get("name") or run.config.get("encoder") or "")),
        ("steps", count(steps) if steps is not None else ""),
        ("images seen", count(seen) if seen is not None else ""),
        ("time", duration(seconds) if seconds is not None else ""),
    ]
    return [(name, value) for name, value in facts if value]
