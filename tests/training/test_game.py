"""Games: what is said when one side has won or the generator has collapsed, and when nothing is."""

import pytest

from selfsup.training.game import SIGN, game_findings, is_game
from selfsup.training.health import findings


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({"d_accuracy": 0.8, "diversity": 0.9}, []),
        ({"d_accuracy": 0.995, "diversity": 0.9}, ["discriminator has won"]),
        ({"d_accuracy": 0.995, "diversity": 0.1}, ["discriminator has won", "collapsed"]),
        ({"d_accuracy": 0.8, "diversity": 0.1}, ["collapsed"]),
        ({"d_accuracy": 0.9, "d_loss": 0.01}, ["discriminator has won"]),
        ({"d_accuracy": 0.4, "d_loss": 1.5}, ["generator has won"]),
        ({"d_accuracy": 0.5, "d_loss": 50.0}, ["generator has won"]),
        ({"d_accuracy": 0.2, "diversity": 0.1}, ["generator has won", "collapsed"]),
        ({"d_accuracy": 0.8, "unary_accuracy": 0.99}, ["images without codes has won"]),
        ({"d_accuracy": 0.51, "unary_accuracy": 0.99}, ["images without codes has won"]),
        ({"d_accuracy": 0.51, "unary_accuracy": 0.8}, []),
        ({"accuracy": 1.0}, []),
    ],
)
def test_what_was_seen_is_said(ends: dict[str, float], words: list[str]) -> None:
    """Each sign has its sentence, marked as one about the game; other methods have none."""
    found = game_findings(rows({}, ends))
    assert len(found) == len(words)
    for finding, word in zip(found, words, strict=True):
        assert word in finding["text"]
        assert finding["about"] == SIGN
        assert finding["level"] == "warning"


def test_a_guessing_discriminator_is_shown_and_is_no_lost_game() -> None:
    """One half is also where a game in balance ends: `advise` must not call that out of balance."""
    for ends in ({"d_accuracy": 0.505}, {"d_accuracy": 0.505, "unary_accuracy": 0.5}):
        (finding,) = game_findings(rows({}, ends))
        assert "no better than a guess" in finding["text"]
        assert "about" not in finding


def test_only_the_end_counts() -> None:
    """A discriminator that had won at first and was caught up with has not won."""
    early, late = {"d_accuracy": 1.0, "diversity": 0.0}, {"d_accuracy": 0.8, "diversity": 0.9}
    assert game_findings(rows(early, late)) == []
    assert len(game_findings(rows(late, early))) == 2


def test_numbers_are_those_of_the_rows() -> None:
    """Accuracy, loss and diversity are told as they were."""
    first, second = game_findings(rows({}, {"d_accuracy": 0.99, "d_loss": 0.012, "diversity": 0.2}))
    assert "99.0%" in first["text"]
    assert "0.012" in first["text"]
    assert "probe" in first["text"]
    assert "0.2 times" in second["text"]


def test_a_rising_loss_means_nothing_in_a_game() -> None:
    """Each side's loss is the other's gain, so the sum may rise; elsewhere it is a sign of trouble."""
    rising = [{"step": k, "loss": 1.0 + k, "metrics": {}} for k in range(40)]
    game = [{**row, "metrics": {"d_accuracy": 0.8}} for row in rising]
    assert is_game(game)
    assert [finding["level"] for finding in findings(game, {}, 0.1)] == ["ok"]
    assert "loss rose" in findings(rising, {}, 0.1)[0]["text"]


def rows(early: dict[str, float], late: dict[str, float]) -> list[dict]:
    """Forty rows: thirty early ones and ten late ones."""
    return [{"step": k, "loss": 1.0, "metrics": early if k < 30 else late} for k in range(40)]
