"""Health: what is said of a run from its rows, without labels."""

import numpy as np
import pytest
import torch

from selfsup.data.store import ImageStore
from selfsup.methods.rotation import Rotation
from selfsup.networks.encoders import build_encoder
from selfsup.training.health import examine, feature_spread, findings

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
    """Two equally strong directions of eight are two, around whatever mean."""
    features = torch.zeros(100, 8)
    features[:50] = torch.eye(8)[0] * torch.tensor([1.0, -1.0]).repeat(25)[:, None]
    features[50:] = torch.eye(8)[1] * torch.tensor([1.0, -1.0]).repeat(25)[:, None]
    assert feature_spread(features)["rank"] == pytest.approx(2, abs=0.01)
    assert feature_spread(features + 20)["rank"] == pytest.approx(2, abs=0.01)


def test_a_common_mean_is_no_collapse_and_an_encoder_that_sees_nothing_is() -> None:
    """Features 20 times further from 0 than from each other still differ in all directions; of a constant, none do."""
    method = Rotation(build_encoder("small", 32, seed=0))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    names = [str(number) for number in range(64)]
    images = ImageStore(pixels, names, names, [], [], "", [None] * 64)

    def said(spread: dict[str, float]) -> str:
        return findings(rows([2.0, 1.0], **spread), LEARNED, 0.1)[0]["text"]

    spread = torch.randn(256, 128, generator=torch.Generator().manual_seed(0))
    assert "Nothing unusual" in said(feature_spread(spread + 20))
    assert "few directions" in said(feature_spread(spread[:, :1] * spread[0] + 5))
    for parameter in method.encoder.parameters():
        parameter.data.zero_()
    seen = examine(method, images, 16, torch.device("cpu"))
    assert "collapsed" in said({name: seen[name] for name in ("feature_std", "rank", "width")})
    assert "collapsed" in said(feature_spread(torch.ones(256, 128) + 1e-4 * spread))


def test_healthy_run_is_called_healthy() -> None:
    """Nothing to say is said."""
    assert [f["level"] for f in findings(rows([2.0, 1.0]), LEARNED, 0.1)] == ["ok"]


@pytest.mark.parametrize(
    ("losses", "summary", "lr", "check", "word"),
    [
        ([2.0, 1.0], LEARNED, 0.0, {}, "learning rate is 0"),
        ([2.0, 1.0], {"headline": {**LEARNED["headline"], "value": 0.26}}, 0.1, {}, "not learned"),
        ([2.0, 1.0], LEARNED, 0.1, {"feature_std": 0.004}, "collapsed"),
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
