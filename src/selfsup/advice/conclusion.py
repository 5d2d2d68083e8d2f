"""From answers to files: `verdict.json`, `results.json`, the best encoder and the report."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from selfsup.advice import generator, ranking, saving
from selfsup.advice import verdict as words
from selfsup.advice.carry_out import run_folder, validation_of
from selfsup.advice.found import Found
from selfsup.advice.games import unbalanced
from selfsup.advice.plan import Plan
from selfsup.advice.ranking import Decision
from selfsup.advice.resampling import Resampled
from selfsup.advice.second_opinion import disagreement
from selfsup.advice.tables import Judged, above_best, costs_of, failed_rows, results, table_rows
from selfsup.advice.trial import Bench, reason_of
from selfsup.advice.verdict import Verdict
from selfsup.progress import Progress
from selfsup.recipe import seconds as read_seconds
from selfsup.report.cost import GENERATED
from selfsup.run import read_yaml, write_json, write_text

LONGER = 10
"""How much longer the recommended run is than a trial."""


def conclude(found: Found, bench: Bench, out: Path, notes: Sequence[str], progress: Progress) -> Verdict:
    """Decide, and write everything down."""
    plan, exam = found.plan, found.exam
    failed = [failure.sentence() for failure in found.failures]
    if not found.trials:
        said = ["No trial could be finished, so there is no verdict.", *failed]
        verdict = Verdict(
            out, "unknown", said, next="See the reasons below; the same command tries again.", caveats=failed
        )
        write_json(out / "results.json", {"runs": [], "failed": failed_rows(found.failures), "notes": list(notes)})
        verdict.write()
        return verdict
    progress.note("Resampling.")
    resampled = found.resampled()
    decisions = {budget: ranking.decide(arms) for budget, arms in resampled.items()}
    missing = _missing(found, resampled[exam.largest])
    if missing:
        decisions = {b: d._replace(verdict="unknown", winner=None) for b, d in decisions.items()}
    budget = exam.largest
    decision, arms = decisions[budget], resampled[budget]
    savings = _savings(found, resampled)
    judged = Judged(resampled, found.with_references(), decisions, savings)
    disagreed = disagreement(found, arms)
    doubts = unbalanced(found)
    of_generator = generator.caveats_of(plan, costs_of(found))
    named = {decision.best, *decision.ties}
    stage = found.stage(decision.best, budget)
    recommended = decision.verdict in ("pretrain", "tie")
    a_run = run_folder(out, decision.best, next(iter(found.trials[decision.best])))
    command = train_longer(plan, decision.best, a_run) if recommended else ""
    sentences = words.decision_sentences(
        decision, arms, stage, budget, exam.sizes[budget], savings.get(decision.best, {}), exam.sizes
    )
    if missing:
        sentences = [
            f"There is no verdict, because {' and '.join(missing)} could not be had to compare with.",
            *sentences,
        ]
    groups = exam.test_groups
    test_groups = len(exam.test) if groups is None else len(np.unique(groups))
    verdict = Verdict(
        folder=out,
        verdict=decision.verdict,
        sentences=[
            *sentences, *(said for method, said in doubts.items() if method in named),
            *(of_generator if GENERATED in named else []),
            *words.smaller_budgets(decisions, resampled, exam.sizes), *_references(found, judged)
        ],
        next="The same command tries what failed again." if missing else _next(decision, arms),
        best=decision.best,
        winner=decision.winner,
        stage=stage,
        ties=decision.ties,
        per_class=budget,
        labels=exam.sizes[budget],
        table=table_rows(found, judged),
        disagreement=None if disagreed is None else disagreed.written(),
        caveats=[
            *words.caveats_of(arms, len(exam.test), test_groups, len(plan.seeds), plan.transductive),
            *([] if disagreed is None else [disagreed.sentence()]),
            *(said for method, said in doubts.items() if method not in named),
            *([] if GENERATED in named else of_generator), *_dropped(found), *found.left_out, *failed,
        ],
        command=command,
        transductive=plan.transductive,
    )  # fmt: skip
    write_json(out / "results.json", results(found, judged, notes, test_groups, out))
    for method, of_seed in found.trials.items():
        draw_neighbours(bench, run_folder(out, method, next(iter(of_seed))), out, method, progress)
    if recommended:
        _keep_best(found, bench, out, decision.best, stage or "", command)
    verdict.write()
    return verdict


def train_longer(plan: Plan, method: str, run: Path) -> str:
    """Give the command that trains a method longer on all images, read as a run of it read them."""
    time = LONGER * read_seconds(plan.budget)
    budget = f"{time / 3600:g}h" if time % 3600 == 0 else f"{time / 60:g}m" if time % 60 == 0 else f"{time:g}s"
    parts = [
        "selfsup", "pretrain", method, plan.data, "--encoder", plan.encoder, "--image-size", str(plan.image_size),
        "--budget", budget, "--out", f"runs/{method}-longer",
    ]  # fmt: skip
    config = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else {}
    for name in ("frame_rate", "group", "generator"):
        parts += [f"--{name.replace('_', '-')}", str(config[name])] if name in config else []
    return shlex.join(parts)


def _references(found: Found, judged: Judged) -> list[str]:
    """Say what each reference reaches, beside the best method."""
    budget = found.exam.largest
    best = judged.decisions[budget].best
    said = []
    for weights in found.references:
        arms = judged.with_references[budget]
        apart = above_best(arms, weights.name, best)
        said.append(words.reference_sentence(weights, arms.interval(weights.name), best, apart, found.plan.encoder))
    return said


def _next(decision: Decision, arms: Resampled) -> str:
    if decision.verdict == "pretrain":
        return "Train it longer on all images:"
    if decision.verdict == "tie":
        return "Any of the tied tasks will do; this trains the one with the highest mean longer on all images:"
    if decision.verdict == "unknown":
        return "Ask again with --seeds 3 or more."
    strongest = max(arms.names("control"), key=arms.mean, default="scratch")
    advice = words.CONTROL_ADVICE.get(strongest.partition(" ")[0], "")
    return f"Spend the time on more labels: {advice}." if advice else "Spend the time on more labels."


def _dropped(found: Found) -> list[str]:
    """Name the methods that were left behind after screening."""
    if not found.screened:
        return []
    said = [
        f"{words.name_of(s.method)} ({100 * s.validation:.1f} %{_aside(s.game)})"
        for s in found.screened
        if s.method not in found.trials and s.validation is not None
    ]
    if not said:
        return []
    return [f"Left behind after one screening run, by cross-validation inside the label pool: {', '.join(said)}."]


def _aside(said: Sequence[str]) -> str:
    """Put sentences behind a number, inside its brackets."""
    return "".join(f"; {one.rstrip('.')}" for one in said)


def _missing(found: Found, arms: Resampled) -> list[str]:
    """Name the controls without which nothing can be said."""
    wanted = [*found.plan.fixed, "untrained", *(["scratch"] if found.plan.supervised else [])]
    return [words.name_of(name) for name in wanted if name not in arms]


def _keep_best(found: Found, bench: Bench, out: Path, method: str, stage: str, command: str) -> None:
    """Keep the encoder of the seed that did best inside the label pool, never by the test images."""
    scores = validation_of(found.trials[method], found.exam)
    seed = max(scores, key=lambda s: scores[s])
    bench.keep(run_folder(out, method, seed), out / "best", stage, found.exam)
    write_text(out / "best" / "command.txt", command + "\n")


def draw_neighbours(bench: Bench, folder: Path, out: Path, method: str, progress: Progress) -> None:
    """Draw a neighbour sheet, if it is not there; a picture less is no reason to lose a verdict."""
    file = out / "sheets" / f"{method}-neighbours.png"
    if not file.is_file():
        try:
            bench.neighbours(folder, file)
        except Exception as error:
            progress.note(f"The neighbour sheet of {method} could not be drawn ({reason_of(error)}).")


def _savings(found: Found, resampled: Mapping[int | None, Resampled]) -> dict[str, dict[int | None, saving.Saving]]:
    if not any("scratch" in arms for arms in resampled.values()):
        return {}
    return {name: saving.label_savings(name, "scratch", resampled, found.exam.sizes) for name in found.trials}
