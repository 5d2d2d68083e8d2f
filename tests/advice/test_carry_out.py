import json
from pathlib import Path

import numpy as np
import pytest
from advice_fakes import FakeBench, exam, fast_probe, measured, plan

from selfsup.advice import controls, trial
from selfsup.advice.carry_out import carry_out, choose_finalists, run_folder
from selfsup.advice.conclusion import conclude
from selfsup.advice.found import Found, Screened
from selfsup.advice.plan import Plan
from selfsup.advice.supervision import plan_supervised
from selfsup.advice.trial import Exam, read_answers
from selfsup.advice.unlabelled import without_labels
from selfsup.advice.verdict import Verdict
from selfsup.progress import silent

QUALITY = {"rotation": 0.6, "dae": 0.6, "simclr": 1.6, "untrained": 0.4, "pixels": 0.3}


@pytest.fixture(autouse=True)
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real probes take seconds; one test uses them."""
    if "real_probes" not in request.fixturenames:
        monkeypatch.setattr(trial, "probe", fast_probe)
        monkeypatch.setattr(controls, "probe", fast_probe)


@pytest.fixture
def real_probes() -> None:
    """Leave evaluation's probes in place."""


def bench_for(asked: Exam, quality: dict[str, float] = QUALITY, **words) -> FakeBench:
    return FakeBench(asked.labels, asked.test, quality, **words)


def do(bench: FakeBench, asked: Exam, out: Path, todo: Plan) -> tuple[Found, Verdict]:
    found = carry_out(todo, bench, asked, out, lambda sentence: None)
    return found, conclude(found, bench, out, [], silent)


def with_scratch(asked: Exam, **words) -> Plan:
    todo = plan(**words)
    draws = {budget: len(asked.keys(budget)) for budget in asked.sizes}
    supervised = plan_supervised(todo, 0.001, asked.sizes, draws)
    return plan(**words, supervised=supervised)


def test_a_planted_winner_is_found(tmp_path: Path, real_probes: None):
    """The verdict names it, its stage, its gain and the command; files say the same."""
    asked = exam(per_class=60, draws=1)

    _, verdict = do(bench_for(asked), asked, tmp_path, plan(seeds=2))

    assert (verdict.verdict, verdict.winner, verdict.ties, verdict.stage) == ("pretrain", "simclr", [], "stage2")
    assert verdict.sentences[0].startswith("SimCLR, stage 2: ")
    assert "above an untrained network" in verdict.sentences[0]
    assert verdict.command.startswith("selfsup pretrain simclr photos --encoder small --image-size 32 --budget 100s")
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert written["verdict"] == "pretrain"
    assert {row["arm"] for row in written["table"]} == {"rotation", "dae", "simclr", "untrained", "pixels"}
    assert all(row["low"] <= row["mean"] <= row["high"] for row in written["table"])


def test_a_method_is_compared_with_the_untrained_network_that_sees_the_same(tmp_path: Path):
    """Halves may be worth more untrained than a whole network: all are controls, and each gain is over its own."""
    asked = exam()
    quality = {**QUALITY, "splitbrain": 1.6, "untrained (halves)": 1.5}
    todo = plan(methods=("rotation", "splitbrain"))

    found, verdict = do(bench_for(asked, quality), asked, tmp_path, todo)

    assert list(found.untrained) == ["untrained", "untrained (halves)"]
    rows = {row["arm"]: row for row in verdict.table}
    assert rows["splitbrain"]["vs_untrained"]["mean"] < 0.1
    assert rows["rotation"]["vs_untrained"]["mean"] > 0
    assert "vs_untrained" not in rows["untrained"]
    assert "vs_untrained" not in rows["untrained (halves)"]
    assert verdict.verdict == "do_not_pretrain"
    assert sorted(f.name for f in (tmp_path / "controls").glob("untrained-halves-seed*.json"))


def test_a_planted_tie_is_called_a_tie(tmp_path: Path):
    asked = exam()
    quality = {**QUALITY, "rotation": 1.6}

    _, verdict = do(bench_for(asked, quality), asked, tmp_path, plan())

    assert (verdict.verdict, verdict.winner) == ("tie", None)
    assert sorted(verdict.ties) == ["rotation", "simclr"]
    assert "ties with it" in verdict.sentences[0]


def test_noise_labels_give_do_not_pretrain(tmp_path: Path):
    """Features full of structure, labels that have nothing to do with it."""
    asked = exam(noise_labels=True)
    structure = exam()
    bench = FakeBench(structure.labels, asked.test, QUALITY)

    _, verdict = do(bench, asked, tmp_path, plan())

    assert (verdict.verdict, verdict.winner, verdict.command) == ("do_not_pretrain", None, "")
    assert verdict.sentences[0].startswith("Do not pretrain: with all 240 labels")
    assert not (tmp_path / "best").exists()


def test_scattering_is_a_control_like_raw_pixels(tmp_path: Path):
    """It needs no seed, stands in every table, is kept on disk, and wins in words where it is the strongest."""
    asked = exam()
    bench = bench_for(asked, {**QUALITY, "simclr": 0.6, "scattering": 2.5})
    todo = plan(scattering=True)

    found, verdict = do(bench, asked, tmp_path, todo)

    written = json.loads((tmp_path / "results.json").read_text())
    (row,) = (row for row in verdict.table if row["arm"] == "scattering")
    assert (row["kind"], row["seeds"]) == ("control", 1)
    assert row["vs_untrained"]["mean"] > 0.1
    for name in ("curves", "stages", "neighbours"):
        assert {"pixels", "scattering"} <= {one["arm"] for one in written[name] if one["kind"] == "control"}
    assert verdict.verdict == "do_not_pretrain"
    assert "(untrained, raw pixels and scattering)" in verdict.sentences[0]
    assert verdict.sentences[1].startswith("The strongest control, scattering, reaches")
    assert "; scattering " in next(said for said in verdict.sentences if said.startswith("With 5 labels per class"))
    assert "a linear model on fixed wavelets does as well (selfsup baseline scattering" in verdict.next
    bench.fixed = None  # type: ignore[assignment,method-assign]
    again, _ = do(bench, asked, tmp_path, todo)
    assert np.array_equal(again.fixed["scattering"].predicted, found.fixed["scattering"].predicted)


def test_scattering_that_would_take_too_long_is_named(tmp_path: Path):
    asked = exam()

    _, verdict = do(bench_for(asked), asked, tmp_path, plan(scattering=False))

    assert "scattering" not in {row["arm"] for row in verdict.table}
    assert any(said.startswith("Scattering was left out") for said in verdict.caveats)


def test_one_seed_has_no_winner(tmp_path: Path):
    asked = exam()

    _, verdict = do(bench_for(asked), asked, tmp_path, plan(seeds=1))

    assert (verdict.verdict, verdict.winner) == ("unknown", None)
    assert verdict.sentences[0].startswith("Training spread unknown")
    assert not (tmp_path / "best").exists()


def test_the_same_plan_gives_the_same_numbers(tmp_path: Path):
    asked = exam()
    results = []
    for name in ("one", "two"):
        do(bench_for(asked), asked, tmp_path / name, with_scratch(asked))
        results.append((tmp_path / name / "results.json").read_text())

    assert results[0] == results[1]


def test_scratch_can_make_pretraining_not_worth_it(tmp_path: Path):
    """Better than untrained, but a network trained on the labels is better still."""
    asked = exam()
    bench = bench_for(asked, scratch={240: 0.97, 20: 0.5})
    todo = with_scratch(asked)
    todo = plan(supervised=plan_supervised(todo, 1e9, asked.sizes, {5: 2, None: 1})._replace(tuned_methods=0))

    _, verdict = do(bench, asked, tmp_path, todo)

    assert verdict.verdict == "do_not_pretrain"
    assert "training from scratch" in verdict.sentences[1]
    assert "train a network on the labels" in verdict.next


def test_fine_tuning_has_the_steps_and_tuning_of_scratch(tmp_path: Path):
    """Frozen against scratch alone would be apples to oranges."""
    asked = exam()
    bench = bench_for(asked, scratch={240: 0.5, 20: 0.4})

    _, verdict = do(bench, asked, tmp_path, with_scratch(asked))

    full = [call for call in bench.on_labels if call[2] == 240]
    scratch, tuned = ([call for call in full if (call[0] is None) == wanted] for wanted in (True, False))
    assert {call[0] for call in tuned} == {f"{m}-seed{s}" for m in ("rotation", "dae", "simclr") for s in range(3)}
    assert {call[3] for call in scratch} == {call[3] for call in tuned}
    assert [call[4] for call in scratch] == [None, 0.03, 0.03], "the rate is chosen once, inside the labels"
    kinds = {row["arm"]: row["kind"] for row in verdict.table}
    assert kinds["simclr fine-tuned"] == "finetuned"
    assert kinds["scratch"] == "control"


def test_label_saving_is_reported_in_words(tmp_path: Path):
    """Scratch never reaches what the winner does with 5 labels per class."""
    asked = exam()
    bench = bench_for(asked, {**QUALITY, "simclr": 3.0}, scratch={240: 0.6, 20: 0.4})

    _, verdict = do(bench, asked, tmp_path, with_scratch(asked))

    assert "With 5 labels per class, scratch needs more than 12x the labels." in verdict.sentences


def test_a_finished_trial_is_not_repeated(tmp_path: Path):
    """A second start trains nothing, probes nothing, and says the same."""
    asked = exam()
    todo = with_scratch(asked)
    do(bench_for(asked), asked, tmp_path, todo)
    first = (tmp_path / "verdict.json").read_text()
    again = bench_for(asked)
    again.features = again.untrained = again.fixed = None  # type: ignore[assignment,method-assign]

    _, verdict = do(again, asked, tmp_path, todo)

    assert (again.trained, again.on_labels) == ([], [])
    assert verdict.verdict == "pretrain"
    assert (tmp_path / "verdict.json").read_text() == first


def test_an_interrupted_advice_goes_on(tmp_path: Path):
    """Ctrl-C in the fourth trial: three are kept, the rest is done by the same call."""
    asked = exam()
    bench = bench_for(asked)
    train = bench.pretrain

    def stop_at_the_fourth(method: str, seed: int, folder: Path) -> None:
        if len(bench.trained) == 3:
            raise KeyboardInterrupt
        train(method, seed, folder)

    bench.pretrain = stop_at_the_fourth  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        do(bench, asked, tmp_path, plan())
    again = bench_for(asked)

    do(again, asked, tmp_path, plan())

    assert len(again.trained) == 6
    assert not set(again.trained) & set(bench.trained)


def test_other_labels_are_another_question(tmp_path: Path):
    """Answers on disk are not taken for answers to labels that have changed since."""
    asked = exam()
    do(bench_for(asked), asked, tmp_path, plan())
    folder = run_folder(tmp_path, "simclr", 0)
    assert any(read_answers(folder, json.loads((folder.parent / "simclr-seed0.json").read_text())["asked"]).rows)  # type: ignore[union-attr]

    assert read_answers(folder, "another question") is None


def test_half_written_answers_are_done_again(tmp_path: Path):
    asked = exam()
    do(bench_for(asked), asked, tmp_path, plan())
    first = (tmp_path / "results.json").read_text()
    (tmp_path / "trials" / "dae-seed1.npz").write_bytes(b"PK\x03\x04 cut")
    (tmp_path / "trials" / "rotation-seed0.json").write_text('{"asked": "')
    again = bench_for(asked)
    again.pretrain = lambda method, seed, folder: again.trained.append((method, seed))  # type: ignore[method-assign]

    do(again, asked, tmp_path, plan())

    assert sorted(again.trained) == [("dae", 1), ("rotation", 0)]
    assert (tmp_path / "results.json").read_text() == first


def test_a_failing_trial_is_named_and_loses_nothing_else(tmp_path: Path):
    asked = exam()
    bench = bench_for(asked, failing=frozenset({("simclr", 1), ("dae", 0), ("dae", 1), ("dae", 2)}))

    found, verdict = do(bench, asked, tmp_path, plan())

    assert (verdict.verdict, verdict.winner) == ("pretrain", "simclr")
    assert sorted(found.trials["simclr"]) == [0, 2]
    assert "dae" not in found.trials
    sentence = (
        "The trial of simclr with seed 1 failed (RuntimeError: simclr exploded); the same command tries it again."
    )
    assert sentence in verdict.caveats
    failed = json.loads((tmp_path / "results.json").read_text())["failed"]
    assert {(row["arm"], row["seed"]) for row in failed} == bench.failing


def test_all_trials_failing_is_said(tmp_path: Path):
    asked = exam()
    bench = bench_for(asked, failing=frozenset((m, s) for m in ("rotation", "dae", "simclr") for s in range(3)))

    _, verdict = do(bench, asked, tmp_path, plan())

    assert verdict.verdict == "unknown"
    assert verdict.sentences[0] == "No trial could be finished, so there is no verdict."
    assert len(verdict.caveats) == 9


def test_finalists_get_fresh_seeds_and_only_those_are_reported(tmp_path: Path):
    """The screening run, on whose luck a finalist was chosen, is in no mean."""
    asked = exam()
    bench = bench_for(asked)

    found, verdict = do(bench, asked, tmp_path, plan(finalists=2))

    assert bench.trained[:3] == [("rotation", 1000), ("dae", 1000), ("simclr", 1000)]
    assert {seed for _, seed in bench.trained[3:]} == {0, 1, 2}
    assert len(found.trials) == 2
    assert all(1000 not in of_seed for of_seed in found.trials.values())
    assert any(caveat.startswith("Left behind after one screening run") for caveat in verdict.caveats)
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert {run["role"] for run in runs if run["seed"] == 1000} == {"screening"}


def test_without_more_methods_than_finalists_nothing_is_screened(tmp_path: Path):
    asked = exam()
    bench = bench_for(asked)

    do(bench, asked, tmp_path, plan())

    assert len(bench.trained) == 9
    assert all(seed != 1000 for _, seed in bench.trained)


def test_finalists_are_the_best_inside_the_pool_of_two_families():
    """Two contrastive leaders leave room for another family (here: all methods but simclr are of others)."""
    scores = {"rotation": 0.5, "dae": 0.4, "simclr": 0.6}
    screened = [Screened(name, score, "stage2") for name, score in scores.items()]

    assert choose_finalists(screened, 2) == ["simclr", "rotation"]
    assert choose_finalists(screened, 1) == ["simclr"]


def test_a_second_family_is_kept(monkeypatch: pytest.MonkeyPatch):
    """The two best are of one family: the second makes way for the best of another."""
    from selfsup import methods

    families = {"a": "x", "b": "x", "c": "y", "d": "z"}
    entries = {name: methods.METHODS["rotation"]._replace(family=family) for name, family in families.items()}
    monkeypatch.setattr(methods, "METHODS", entries)
    screened = [Screened(name, score, "s") for name, score in (("a", 0.9), ("b", 0.8), ("d", 0.1), ("c", 0.2))]

    assert choose_finalists(screened, 2) == ["a", "c"]


def test_too_few_labels_to_screen_by_keep_every_method():
    screened = [Screened(name, None, "stage2") for name in ("rotation", "dae", "simclr")]

    assert choose_finalists(screened, 2) == ["rotation", "dae", "simclr"]


def test_the_test_images_decide_nothing(tmp_path: Path):
    """Other test labels change what is reported, not which stage, finalist or encoder was chosen."""
    asked = exam()
    turned = exam()
    labels = asked.labels.copy()
    labels[asked.test] = (labels[asked.test] + 1) % 4
    turned = Exam(labels, asked.classes, asked.pool, asked.test, asked.draws)

    one, _ = do(bench_for(asked), asked, tmp_path / "one", plan(finalists=2))
    other, _ = do(FakeBench(asked.labels, asked.test, QUALITY), turned, tmp_path / "two", plan(finalists=2))

    assert list(one.trials) == list(other.trials)
    assert {m: [a.chosen for a in t.values()] for m, t in one.trials.items()} == {
        m: [a.chosen for a in t.values()] for m, t in other.trials.items()
    }
    assert one.resampled()[None].mean("simclr") > other.resampled()[None].mean("simclr") + 0.3


def test_the_best_encoder_is_kept_with_its_command(tmp_path: Path):
    asked = exam()

    found, verdict = do(bench_for(asked), asked, tmp_path, plan())

    method, seed = (tmp_path / "best" / "encoder.safetensors").read_text().split()
    key = asked.keys(None)[0]
    scores = {s: a.validation(key) for s, a in found.trials["simclr"].items()}
    assert method == "simclr"
    assert scores[int(seed)] == max(scores.values())  # type: ignore[type-var]
    assert (tmp_path / "best" / "command.txt").read_text().strip() == verdict.command


def test_every_verdict_says_what_cannot_be_seen(tmp_path: Path):
    asked = exam()

    _, verdict = do(bench_for(asked), asked, tmp_path, plan())

    x = json.loads((tmp_path / "results.json").read_text())["detectable_points"]
    assert f"With 160 test images, differences below {x:.1f} points cannot be seen." in verdict.caveats
    assert 1 < x < 15


def test_a_missing_control_leaves_no_verdict(tmp_path: Path):
    """Nothing is recommended over a control that could not be measured."""
    asked = exam()
    bench = bench_for(asked)
    bench.fixed = None  # type: ignore[assignment,method-assign]

    _, verdict = do(bench, asked, tmp_path, plan())

    assert (verdict.verdict, verdict.winner, verdict.command) == ("unknown", None, "")
    assert verdict.sentences[0] == "There is no verdict, because raw pixels could not be had to compare with."
    assert any("The trial of raw pixels failed" in caveat for caveat in verdict.caveats)


def test_smaller_budgets_are_reported_too(tmp_path: Path):
    asked = exam()

    _, verdict = do(bench_for(asked), asked, tmp_path, plan())

    assert any(sentence.startswith("With 5 labels per class: SimCLR") for sentence in verdict.sentences)
    budgets = json.loads((tmp_path / "results.json").read_text())["budgets"]
    assert [row["per_class"] for row in budgets] == [5, None]


def test_two_classes_have_an_area_under_the_curve(tmp_path: Path):
    asked = exam(classes=2)
    labels = asked.labels

    _, verdict = do(FakeBench(labels, asked.test, QUALITY), asked, tmp_path, plan())

    area = {row["arm"]: row["auroc"] for row in verdict.table}
    assert 0.5 < area["simclr"] <= 1
    assert area["simclr"] > area["untrained"]


def test_without_labels_nothing_is_ranked(tmp_path: Path):
    """Task accuracy beside chance, sheets, and no winner."""
    asked = exam()
    bench = bench_for(asked, failing=frozenset({("dae", 1000)}))
    todo = plan(labels=None, labelled=None, screening_seed=1000)

    verdict = without_labels(todo, bench, tmp_path, [], silent)

    assert (verdict.verdict, verdict.best, verdict.winner, verdict.command) == ("unknown", None, None, "")
    assert verdict.sentences[0].startswith("Without labels it cannot be known")
    assert "Rotation: accuracy 0.5 (a blind guess: 0.25). No sign of collapse." in verdict.sentences
    assert [sheet.name for sheet in bench.sheets] == ["rotation-neighbours.png", "simclr-neighbours.png"]
    assert any("dae with seed 1000 failed" in caveat for caveat in verdict.caveats)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["curves"] == []
    assert [row["arm"] for row in results["tasks"]] == ["rotation", "simclr"]


def test_curves_hold_every_arm_at_every_budget(tmp_path: Path):
    asked = exam()
    bench = bench_for(asked, scratch={240: 0.6, 20: 0.4})

    do(bench, asked, tmp_path, with_scratch(asked))

    rows = json.loads((tmp_path / "results.json").read_text())["curves"]
    assert {(row["arm"], row["per_class"]) for row in rows if "fine-tuned" not in row["arm"]} == {
        (arm, budget) for arm in (*QUALITY, "scratch") for budget in (5, None)
    }
    assert all(0 <= row["low"] <= row["mean"] <= row["high"] <= 1 for row in rows)
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert len(stages) == 2 * (4 * 2 + 1)


def test_the_cost_of_scratch_stands_beside_that_of_the_methods(tmp_path: Path):
    """One training on all labels; after a resume it is still known, and without scratch there is no row."""
    asked = exam()
    for _ in range(2):
        do(bench_for(asked), asked, tmp_path / "with", with_scratch(asked))
        costs = json.loads((tmp_path / "with" / "results.json").read_text())["cost"]
        assert [(row["arm"], row["kind"]) for row in costs] == [
            ("rotation", "method"), ("dae", "method"), ("simclr", "method"), ("scratch", "control"),
        ]  # fmt: skip
        assert (costs[-1]["seconds"], costs[-1]["trunk_gflops"], costs[-1]["memory_mb"]) == (4.5, 77.0, None)
    do(bench_for(asked), asked, tmp_path / "without", plan())
    assert len(json.loads((tmp_path / "without" / "results.json").read_text())["cost"]) == 3


def test_measured_times_do_not_enter_the_fingerprint():
    """A plan timed on a slow day asks the same question."""
    assert plan().fingerprint() == plan(seconds_per_step={"rotation": 9.0}).fingerprint()
    assert plan().fingerprint() != plan(image_size=64).fingerprint()
    assert plan().fingerprint() != plan(frame_rate=5.0).fingerprint()
    assert measured(("rotation",)).threads == np.int64(1)
