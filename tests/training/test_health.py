"""Health: what is said of a run from its rows, without labels."""

import pytest
import torch

from selfsup.training.health import feature_spread, findings

LEARNED = {"headline": {"name": "accuracy", "value": 0.7, "chance": 0.25, "rises": True, "held_out_images": 500}}


def test_equal_features_have_no_spread() -> None:
    """Collapse: one direction, no deviation."""
    spread = feature_spread(torch.ones(50, 8))
    assert spread["feature_std"] == pytest.approx(0, abs=1e-6)
    assert spread["rank"] == pytest.approx(1, abs=1e-3)


def test_isotropic_features_are_spread_evenly() -> None:
    """Independent directions: deviation near 1 on the sphere's scale, rank near the width."""
    spread = feature_spread(torch.randn(4000, 8, generator=torch.Generator().manual_seed(0)))
    assert spread["feature_std"] == pytest.approx(1, abs=0.05)
    assert spread["rank"] == pytest.approx(8, abs=0.1)


def test_rank_counts_directions() -> None:
    """Two equally strong directions of eight are two."""
    features = torch.zeros(100, 8)
    features[:50, 0] = 1
    features[50:, 1] = 1
    assert feature_spread(features)["rank"] == pytest.approx(2, abs=0.01)


def test_healthy_run_is_called_healthy() -> None:
    """Nothing to say is said."""
    assert [f["level"] for f in findings(rows([2.0, 1.0]), LEARNED, 0.1)] == ["ok"]


@pytest.mark.parametrize(
    ("losses", "summary", "lr", "check", "word"),
    [
        ([2.0, 1.0], LEARNED, 0.0, {}, "learning rate is 0"),
        ([2.0, 1.0], {"headline": {**LEARNED["headline"], "value": 0.26}}, 0.1, {}, "not learned"),
        ([2.0, 1.0], LEARNED, 0.1, {"feature_std": 0.01}, "collapsed"),
        ([2.0, 1.0], LEARNED, 0.1, {"rank": 1.5}, "few directions"),
        ([1.0, 2.0], LEARNED, 0.1, {}, "loss rose"),
        ([2.0, 1.0], {**LEARNED, "waiting": 0.6}, 0.1, {}, "waited for data"),
    ],
)
def test_trouble_is_named(losses: list, summary: dict, lr: float, check: dict, word: str) -> None:
    """Each sign of trouble has its sentence."""
    found = findings(rows(losses, **check), summary, lr)
    assert [f["level"] for f in found] == ["warning"]
    assert word in found[0]["text"]


def rows(ends: list, **check: float) -> list[dict]:
    """Give rows of a run whose loss goes evenly from the first to the last value."""
    first, last = ends
    train = [{"step": k + 1, "loss": first + (last - first) * k / 39} for k in range(40)]
    seen = {"kind": "held_out", "step": 40, "loss": last, "feature_std": 0.8, "rank": 60.0, "width": 192, **check}
    return [*train, seen]
