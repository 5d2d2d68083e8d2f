"""A game that did not end in balance: the verdict names the method, and ranks it by its probe all the same."""

from pathlib import Path
from typing import Any

import pytest
from advice_fakes import FakeBench, exam, fast_probe, plan

from selfsup.advice import controls, trial
from selfsup.advice.carry_out import carry_out
from selfsup.advice.conclusion import conclude
from selfsup.advice.plan import Plan
from selfsup.advice.verdict import Verdict
from selfsup.progress import silent
from selfsup.training.game import SIGN

QUALITY = {"rotation": 0.6, "bigan": 1.6, "dae": 0.6, "simclr": 0.5, "untrained": 0.4, "pixels": 0.3}
WON = "The discriminator has won."


class Lopsided(FakeBench):
    """In some runs the discriminator wins."""

    won: frozenset[str]

    def cost(self, folder: Path) -> dict[str, Any]:
        other = {"level": "warning", "text": "Training waited for data."}
        game = [{"level": "warning", "about": SIGN, "text": WON}] if folder.name in self.won else []
        return {**super().cost(folder), "health": [other, *game]}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "probe", fast_probe)
    monkeypatch.setattr(controls, "probe", fast_probe)


def asked(out: Path, todo: Plan, *won: str) -> Verdict:
    questions = exam()
    bench = Lopsided(questions.labels, questions.test, QUALITY)
    bench.won = frozenset(won)
    return conclude(carry_out(todo, bench, questions, out, lambda _: None), bench, out, [], silent)


def test_the_best_method_is_named_in_the_verdict(tmp_path: Path) -> None:
    """It stays the best, by its probe, and a sentence of the verdict says in how many runs the game was lost."""
    verdict = asked(tmp_path, plan(("rotation", "bigan")), "bigan-seed0", "bigan-seed2")
    assert verdict.winner == "bigan"
    (said,) = [sentence for sentence in verdict.sentences if WON in sentence]
    assert "BiGAN" in said
    assert "2 of its 3 runs" in said
    assert "seed 0" in said
    assert not any(WON in caveat or "waited" in caveat for caveat in verdict.caveats)


def test_another_method_is_named_among_the_caveats(tmp_path: Path) -> None:
    verdict = asked(tmp_path, plan(("dae", "bigan")), "dae-seed1")
    assert not any(WON in sentence for sentence in verdict.sentences)
    (said,) = [caveat for caveat in verdict.caveats if WON in caveat]
    assert "denoising" in said
    assert "1 of its 3 runs" in said


def test_a_method_left_behind_is_named_with_its_reason(tmp_path: Path) -> None:
    """Screening ranks too."""
    todo = plan(("rotation", "bigan", "dae", "simclr"), finalists=2)
    verdict = asked(tmp_path, todo, "simclr-seed1000")
    (left,) = [caveat for caveat in verdict.caveats if caveat.startswith("Left behind")]
    assert "SimCLR" in left
    assert "%; The discriminator has won)" in left


def test_games_in_balance_are_not_mentioned(tmp_path: Path) -> None:
    verdict = asked(tmp_path, plan(("rotation", "bigan")))
    assert not any("game" in text for text in [*verdict.sentences, *verdict.caveats])
