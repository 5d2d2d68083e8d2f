"""The page about an advice: which pretext task, if any, and how sure one can be."""

from collections.abc import Sequence

from selfsup.report import controls, cost, curves, findings, health, stages, tasks
from selfsup.report.arms import Arms
from selfsup.report.blocks import Headline, Listing, Page, Section
from selfsup.report.commands import advice_commands
from selfsup.report.folders import AdviceFiles, RunFiles, reported_runs, seeds_of
from selfsup.report.trust import honesty
from selfsup.report.values import Json, mapping, names, number, rows, sentences, whole
from selfsup.report.words import count, plural, sentence, visible

BADGES = {
    "pretrain": ("Pretrain", "good"),
    "tie": ("A tie", "mixed"),
    "do_not_pretrain": ("Do not pretrain", "bad"),
    "unknown": ("Cannot be known yet", "quiet"),
}
NO_LABELS = (
    "Without labels it cannot be known how useful these features are, at any stage, and they were not compared "
    "with doing "
    "nothing; see below whether each task was learned at all."
)


def advice_page(found: AdviceFiles) -> Page:
    """Put together the page of an advice folder, finished or not."""
    arms = _arms(found)
    results, verdict = found.results, found.verdict
    runs = reported_runs(found)
    measure = visible(results.get("measure") or "balanced accuracy").replace("_", " ")
    test_images, per_class = whole(results.get("test_images")), whole(verdict.get("per_class"))
    missing = NO_LABELS if verdict and not found.plan.get("labels") else "Nothing was measured with labels yet."
    points = curves.curve_points(results.get("curves"), arms)
    winner = str(verdict.get("winner") or "")
    ties = names(verdict.get("ties")) if verdict.get("verdict") == "tie" else []
    labelled = [
        stages.stages_section(results.get("stages"), arms, per_class, str(verdict.get("stage") or "")),
        controls.controls_section(verdict.get("table"), arms, winner, ties, per_class, results.get("neighbours")),
    ]
    sections = [
        curves.curves_section(
            points, measure, test_images, number(results.get("chance")), _savings(results, arms), missing
        ),
        *(labelled if points else []),
        cost.cost_section(_costs(found, runs), arms),
        tasks.tasks_section(runs, arms),
        tasks.neighbours_section(tasks.neighbour_pictures(runs, found.sheets), arms),
        health.health_section(runs, arms),
        findings.findings_section(
            [file for run in found.runs for file in run.skipped], _notes(found), _problems(found)
        ),
        advice_commands(found, runs),
        Section("honesty", "How far to trust this", [], [Listing(honesty(found))]),
    ]
    return Page("Which pretext task?", visible(found.folder.resolve().name), _headline(found), sections)


def _arms(found: AdviceFiles) -> Arms:
    """Give colours in the order of the plan, so that a task keeps its colour from one report to the next."""
    arms = Arms()
    for name in [*names(found.plan.get("methods")), *sorted({run.arm for run in found.runs})]:
        arms.get(name, "method")
    for row in [*rows(found.results.get("curves")), *rows(found.verdict.get("table"))]:
        arms.get(str(row.get("arm", "?")), str(row.get("kind", "method")))
    return arms


def _headline(found: AdviceFiles) -> Headline:
    verdict = found.verdict
    said_already = sentences(verdict.get("caveats"))
    caveats = [sentence(visible(one)) for one in [*said_already, *_missing(found, " ".join(said_already))]]
    if not verdict:
        return _going(found, caveats)
    kind = str(verdict.get("verdict", "unknown"))
    badge, tone = BADGES.get(kind, (visible(kind), "quiet"))
    said = [sentence(visible(one)) for one in sentences(verdict.get("sentences"))] or [badge + "."]
    next_step, command = visible(verdict.get("next") or ""), visible(verdict.get("command") or "")
    return Headline(badge, tone, said, next_step, command, _facts(found), caveats)


def _going(found: AdviceFiles, caveats: list[str]) -> Headline:
    """Say how far an advice without a verdict has come."""
    done, planned = sum(run.finished for run in found.runs), _planned_runs(found.plan)
    finished = f"{count(done)} of {plural(planned, 'run')}" if planned else plural(done, "run")
    said = [f"There is no verdict yet: {finished} finished."]
    said += [visible(f"{run.name} {health.last_step(run)}.") for run in found.runs if not run.finished]
    next_step = "Start the same command again to go on where it stopped; what is finished is not repeated."
    return Headline("Still going", "quiet", said, next_step, caveats=caveats)


def _planned_runs(plan: Json) -> int:
    """Count the runs of a plan: a screening run of each method where there is one, and all seeds of the finalists."""
    methods, seeds = len(names(plan.get("methods"))), len(names(plan.get("seeds")))
    if plan.get("screening_seed") is None:
        return methods * seeds
    return methods + min(methods, whole(plan.get("finalists")) or methods) * seeds


def _facts(found: AdviceFiles) -> list[tuple[str, str]]:
    """The few numbers that say how large the trial was."""
    seeds, methods = seeds_of(found), {run.arm for run in found.runs}
    images, test_images = whole(found.plan.get("count")), whole(found.results.get("test_images"))
    points = number(found.results.get("detectable_points"))
    facts = [
        ("tasks tried", str(len(methods)) if methods else ""),
        ("seeds", str(len(seeds)) if seeds else ""),
        ("images", count(images) if images else ""),
        ("test images", count(test_images) if test_images else ""),
        ("smallest difference seen", f"{points:.1f} points" if points is not None else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _missing(found: AdviceFiles, said_already: str) -> list[str]:
    """Name every trial that failed and every method that was left out, unless the verdict has done so."""
    said = []
    for name, reason in mapping(found.plan.get("excluded")).items():
        if str(reason) not in said_already:
            said.append(f"{name} was left out: {reason}")
    for row in rows(found.results.get("failed")):
        reason = str(row.get("error") or "no reason was recorded")
        if reason not in said_already:
            seed = f", seed {row['seed']}," if row.get("seed") is not None else ""
            said.append(f"{row.get('arm', 'A trial')}{seed} failed and is missing here: {reason}")
    return said


def _savings(results: Json, arms: Arms) -> list[str]:
    """Say how many labels each method saves, at each budget where that could be told."""
    said = []
    for row in rows(results.get("label_saving")):
        if row.get("text"):
            name = arms.get(str(row.get("arm", "?")), "method").label
            said.append(sentence(f"{name}, {curves.budget(whole(row.get('per_class')))}: {row['text']}"))
    return said


def _costs(found: AdviceFiles, runs: Sequence[RunFiles]) -> list[Json]:
    """Take the cost from the results, or from the runs that are finished."""
    written = rows(found.results.get("cost"))
    return written or cost.with_generator(cost.cost_of_runs(runs), mapping(found.plan.get("generator_run")))


def _notes(found: AdviceFiles) -> list[str]:
    return [*sentences(found.plan.get("notes")), *sentences(found.results.get("notes"))]


def _problems(found: AdviceFiles) -> list[str]:
    return [*found.problems, *(f"{run.name}: {problem}" for run in found.runs for problem in run.problems)]
