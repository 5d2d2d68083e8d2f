"""Carry out a plan: trials, finalists, fresh seeds, controls, and the numbers that the verdict rests on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from selfsup import methods as table
from selfsup.advice import controls
from selfsup.advice import verdict as words
from selfsup.advice.arms import Kind, untrained_that_sees
from selfsup.advice.found import Found, Screened
from selfsup.advice.games import signs
from selfsup.advice.plan import FAMILIES, Plan, fingerprint
from selfsup.advice.references import planned_references
from selfsup.advice.supervision import read_supervised
from selfsup.advice.trial import Answers, Bench, Exam, attempt, run_trial

Say = Callable[[str], None]


def carry_out(plan: Plan, bench: Bench, exam: Exam, out: Path, say: Say) -> Found:
    """Do all trials and controls of a plan; what is done already is read from disk.

    Args:
        plan: what to do.
        bench: trains and computes features.
        exam: the labelled images, their test part and the draws of labels.
        out: folder of the advice.
        say: told each step in a sentence.
    """
    found = Found(exam, plan)
    finalists = _screen(plan, bench, exam, out, found, say)
    total = len(finalists) * len(plan.seeds)
    for number, (seed, method) in enumerate((seed, method) for seed in plan.seeds for method in finalists):
        say(f"Trial {number + 1} of {total}: {method}, seed {seed}.")
        answers = _trial(plan, bench, exam, out, method, seed, found)
        if answers is not None:
            found.trials.setdefault(method, {})[seed] = answers
    found.trials = {method: found.trials[method] for method in finalists if method in found.trials}
    _controls(plan, bench, exam, out, found, say)
    for weights in planned_references(plan.references):
        say(f"Reference: {weights.name}.")
        answers = controls.reference(bench, exam, weights, out / "controls", asked_of(plan, exam), found.failures)
        if answers is not None:
            found.references[weights] = answers
    return found


def asked_of(plan: Plan, exam: Exam, method: str = "", seed: int | None = None) -> str:
    """Name everything that decides the answers of one arm."""
    own = f"{method} {seed} {plan.steps.get(method)}"
    draws = [f"{key}:{','.join(map(str, positions))}" for key, positions in exam.draws.items()]
    parts = [",".join(map(str, part)) for part in (exam.labels, exam.pool, exam.test)]
    return fingerprint(plan.fingerprint(), own, draws, parts, str(exam.seed))


def run_folder(out: Path, method: str, seed: int) -> Path:
    """Name the run folder of a trial."""
    return out / "trials" / f"{method}-seed{seed}"


def _trial(plan: Plan, bench: Bench, exam: Exam, out: Path, method: str, seed: int, found: Found) -> Answers | None:
    asked = asked_of(plan, exam, method, seed)
    return attempt(
        lambda: run_trial(bench, method, seed, exam, run_folder(out, method, seed), asked), method, seed, found.failures
    )


def _screen(plan: Plan, bench: Bench, exam: Exam, out: Path, found: Found, say: Say) -> list[str]:
    """Run every method once and give the finalists; without a screening seed, all methods are."""
    if plan.screening_seed is None:
        return list(plan.methods)
    for number, method in enumerate(plan.methods):
        say(f"Screening {number + 1} of {len(plan.methods)}: {method}.")
        answers = _trial(plan, bench, exam, out, method, plan.screening_seed, found)
        if answers is not None:
            key = exam.keys(exam.largest)[0]
            judged = Screened(method, answers.validation(key), answers.chosen[key], signs(answers.cost))
            found.screened.append(judged)
    return choose_finalists(found.screened, plan.finalists)


def choose_finalists(screened: Sequence[Screened], count: int, families: int = FAMILIES) -> list[str]:
    """Choose the methods with the highest cross-validated accuracy inside the label pool, of two families or more.

    With too few labels to cross-validate nothing can be chosen, and every method is a finalist.
    """
    if any(one.validation is None for one in screened):
        return [one.method for one in screened]
    order = sorted(screened, key=lambda one: -(one.validation or 0.0))
    chosen = [one.method for one in order[:count]]
    for one in order[count:]:
        families_of = [table.entry(name).family for name in chosen]
        if len(set(families_of)) >= min(families, count):
            break
        if table.entry(one.method).family not in families_of:
            chosen[-1] = one.method
    return chosen


def _controls(plan: Plan, bench: Bench, exam: Exam, out: Path, found: Found, say: Say) -> None:
    folder = out / "controls"
    asked = asked_of(plan, exam)
    say(f"Controls: {words.listed([*map(words.name_of, plan.fixed), 'untrained encoders'])}.")
    for name in plan.fixed:
        known = controls.fixed(bench, exam, name, folder, asked, found.failures)
        if known is not None:
            found.fixed[name] = known
    if plan.scattering is False:
        found.left_out.append("Scattering was left out: its features of the labelled images take longer than a run.")
    for sees in dict.fromkeys(["colour", *(table.sees(method) for method in found.trials)]):
        answers = controls.untrained(bench, exam, plan.seeds, folder, asked, found.failures, sees)
        if answers:
            found.untrained[untrained_that_sees(sees)] = answers
    if not plan.supervised:
        return
    supervised = read_supervised(plan.supervised)
    found.left_out += supervised.left_out

    def train(
        name: str, budget: int | None, repeats: int, seeds: Sequence[int], start: Callable[[int], Path] | None
    ) -> None:
        say(f"{name[:1].upper()}{name[1:]} with {words.budget_words(budget, exam.sizes[budget])}.")
        kind: Kind = "control" if start is None else "finetuned"
        trained = controls.on_labels(
            bench, exam, supervised, budget, repeats, seeds, name, start, folder, asked, found.failures
        )
        if trained is not None:
            found.trained.setdefault((name, kind), {})[budget] = trained

    for budget, repeats in supervised.scratch.items():
        train("scratch", budget, repeats, plan.seeds, None)
    for method in best_inside(found)[: supervised.tuned_methods]:
        seeds = list(found.trials[method])
        repeats = min(supervised.tuned_repeats, max(1, len(seeds)))

        def start(seed: int, method: str = method) -> Path:
            return run_folder(out, method, seed)

        train(f"{method} fine-tuned", exam.largest, repeats, seeds, start)


def validation_of(answers: Mapping[int, Answers], exam: Exam) -> dict[int, float]:
    """Give the cross-validated accuracy inside the label pool for each seed; 0 where it is not known."""
    key = exam.keys(exam.largest)[0]
    return {seed: one.validation(key) or 0.0 for seed, one in answers.items()}


def best_inside(found: Found) -> list[str]:
    """Order the finalists by what is known inside the label pool."""
    score = {m: float(np.mean(list(validation_of(a, found.exam).values()))) for m, a in found.trials.items()}
    return sorted(found.trials, key=lambda method: -score[method])
