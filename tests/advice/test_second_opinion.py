"""Whether two probes that name different methods are said to disagree."""

import json
from pathlib import Path

import numpy as np
import pytest
from advice_fakes import FakeBench, exam, fast_probe, plan

from selfsup.advice import controls, trial
from selfsup.advice.carry_out import carry_out
from selfsup.advice.conclusion import conclude
from selfsup.advice.trial import Answers, Exam, Features
from selfsup.advice.verdict import Verdict
from selfsup.progress import silent

LINEAR = {"rotation": 1.0, "dae": 0.6, "simclr": 1.6, "untrained": 0.4, "pixels": 0.3}


def advised(
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    nearest: dict[str, float],
    linear: dict[str, float] = LINEAR,
    seeds: int = 3,
) -> Verdict:
    """Advise where nearest neighbours see features of another quality than the linear probe does."""
    asked = exam()
    bench, other = (FakeBench(asked.labels, asked.test, quality) for quality in (linear, {**linear, **nearest}))
    seen: dict[int, Features] = {}
    own, theirs = bench._features, other._features

    def features(name: str, seed: int) -> Features:
        found = own(name, seed)
        seen[id(found)] = theirs(name, seed)
        kept.append(found)
        return found

    kept: list[Features] = []
    bench._features = features  # type: ignore[method-assign]

    def probe(found: Features, exam: Exam) -> Answers:
        answers = fast_probe(found, exam)
        near = fast_probe(seen.get(id(found), found), exam)
        takes = np.array([row["probe"] == "knn10" for row in answers.rows])
        return Answers(answers.rows, np.where(takes[:, None], near.predicted, answers.predicted), answers.chosen)

    monkeypatch.setattr(trial, "probe", probe)
    monkeypatch.setattr(controls, "probe", probe)
    return conclude(carry_out(plan(seeds=seeds), bench, asked, out, lambda said: None), bench, out, [], silent)


def said(verdict: Verdict) -> list[str]:
    return [caveat for caveat in verdict.caveats if caveat.startswith("Two probes disagree")]


def test_probes_that_name_other_winners_are_said_to_disagree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    verdict = advised(tmp_path, monkeypatch, {"rotation": 2.0, "simclr": 0.5})

    (sentence,) = said(verdict)
    assert (verdict.verdict, verdict.winner) == ("pretrain", "simclr")
    assert "by 10 nearest neighbours at the same stages rotation (rotation " in sentence
    assert "by the linear probe SimCLR;" in sentence
    written = json.loads((tmp_path / "verdict.json").read_text())["disagreement"]
    assert (written["probe"], written["linear"], written["other"]) == ("knn10", ["simclr"], ["rotation"])
    rotation, simclr = written["table"]
    assert rotation["arm"] == "rotation"
    assert rotation["low"] > simclr["high"]


@pytest.mark.parametrize(
    ("nearest", "linear"),
    [
        ({}, LINEAR),
        ({"rotation": 1.6}, LINEAR),  # a tie by neighbours that holds the winner
        ({"rotation": 2.0, "simclr": 0.5}, {**LINEAR, "rotation": 1.6}),  # a tie by the linear probe that holds theirs
    ],
    ids=["agree", "tie by neighbours", "tie by the linear probe"],
)
def test_a_tie_is_no_disagreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nearest: dict[str, float], linear: dict[str, float]
):
    verdict = advised(tmp_path, monkeypatch, nearest, linear)

    assert said(verdict) == []
    assert json.loads((tmp_path / "verdict.json").read_text())["disagreement"] is None


def test_with_one_seed_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Intervals that do not know how training varies cannot tell two winners apart."""
    assert said(advised(tmp_path, monkeypatch, {"rotation": 2.0, "simclr": 0.5}, seeds=1)) == []
