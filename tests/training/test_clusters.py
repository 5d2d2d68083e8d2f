"""Clustering in a run: what is said of bad clusters, what rounds cost, and that a stop between them changes nothing."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from selfsup.advice.plan import fix_steps
from selfsup.data.rounds import Rounds
from selfsup.errors import Interrupted
from selfsup.progress import Silent
from selfsup.run import Run
from selfsup.training import checkpoint
from selfsup.training.clusters import cluster_findings
from selfsup.training.prepare import Prepared, forecast, prepare
from selfsup.training.pretrain import pretrain
from selfsup.training.rehearsal import Rehearsal

QUICK: dict[str, Any] = {
    "threads": 1, "precision": "float32", "layout": "contiguous", "batch_size": 16, "image_size": 32, "clusters": 8,
    "hidden": 0,
}  # fmt: skip
STEPS = 24
WELL = {"occupied": 1.0, "largest": 0.02, "agreement": 0.6, "agreement_by_chance": 0.3}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"occupied": 0.4}, ["Only 40% of the clusters hold images"]),
        ({"largest": 0.6}, ["One cluster holds 60% of the images"]),
        ({"agreement": 0.32}, ["do not last from one round to the next: they agree by 0.32, unrelated ones by 0.30"]),
    ],
)
def test_bad_clusters_are_named(change: dict[str, float], words: list[str]) -> None:
    """Each sign has its sentence, and a good clustering none; nor have methods without clusters."""
    found = cluster_findings([{"metrics": {}}, {"metrics": {**WELL, **change}}])
    assert [f["level"] for f in found] == ["warning"] * len(words)
    assert all(word in f["text"] for word, f in zip(words, found, strict=True))
    assert cluster_findings([{"metrics": {"accuracy": 0.5}}]) == []
    assert cluster_findings([]) == []


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Give smooth random images."""
    coarse = torch.rand(128, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(coarse, size=32, mode="bilinear") * 255).byte().numpy()


@pytest.fixture(scope="module")
def prepared(pictures: np.ndarray) -> Prepared:
    """Prepare a run of 3 rounds."""
    return prepare("deepcluster", pictures, steps=STEPS, **QUICK)


@pytest.fixture(scope="module")
def run(pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train it."""
    return pretrain("deepcluster", pictures, out=tmp_path_factory.mktemp("whole"), steps=STEPS, **QUICK)


def test_rounds_are_counted_in_the_arithmetic(prepared: Prepared) -> None:
    """A round is one pass of all images forward through the encoder, and the clustering on top of it."""
    rehearsal = Rehearsal(prepared.settings, prepared.images)
    count = len(prepared.images)
    per_image = 2 * 8.7e6 / 1e9  # multiplications of `small` at 32 px, and of its two channels a little less
    assert rehearsal.round.trunk_gflops == pytest.approx(per_image * count, rel=0.05)
    # k-means: multiply-adds of images, clusters, components and iterations
    kmeans = 2 * count * 8 * 64 * 20 / 1e9
    rest = rehearsal.round.gflops - rehearsal.round.trunk_gflops
    assert kmeans < rest < kmeans + 0.2 * rehearsal.round.trunk_gflops
    assert rehearsal.round.seconds > 0
    assert rehearsal.rounds == Rounds(count // 16, 100, rehearsal.round.seconds)


def test_few_images_stand_for_all(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a quarter of them embedded the count is the same."""
    from selfsup.training import rehearsal

    whole = Rehearsal(prepared.settings, prepared.images).round
    monkeypatch.setattr(rehearsal, "EMBEDDED", len(prepared.images) // 4)
    part = Rehearsal(prepared.settings, prepared.images).round
    assert part.trunk_gflops == pytest.approx(whole.trunk_gflops)
    assert part.gflops == pytest.approx(whole.gflops, rel=0.02)


def test_rounds_are_paid_from_the_budget(pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 s at half a second a step and 2 s a round, 3 rounds leave 14 s, enough for 28 steps."""
    from selfsup.training import prepare as preparing

    monkeypatch.setattr(preparing, "seconds_per_step", lambda *_, **__: [0.5])
    monkeypatch.setattr(Rehearsal, "rounds", property(lambda self: Rounds(self.batches.per_epoch, 100, 2.0)))
    fixed = prepare("deepcluster", pictures, budget="20s", **QUICK)
    assert (fixed.resolved["steps"], fixed.resolved["rounds"]) == (28, 3)


def test_a_forecast_holds_the_rounds(prepared: Prepared) -> None:
    """Beside the steps."""
    slow = prepared.resolved | {"seconds_per_step": 0.5, "seconds_per_round": 6.0}
    found = forecast(Prepared(**{**vars(prepared), "resolved": slow}))
    assert found["minutes"] == pytest.approx((STEPS * 0.5 + 3 * 6) / 60)


def test_a_plan_pays_rounds_from_the_budget() -> None:
    """In advise as in pretrain: of 10 s, 3 rounds leave 7."""
    steps = fix_steps("10s", {"rotation": 0.04, "deepcluster": 0.04}, {"deepcluster": Rounds(50, 100, 1.0)})
    assert steps == {"rotation": 250, "deepcluster": 175}


def test_a_run_says_what_its_rounds_took(run: Run, prepared: Prepared, pictures: np.ndarray) -> None:
    """Time, its share, and the arithmetic of steps and rounds together; other methods say nothing of it."""
    summary, resolved = run.summary, prepared.resolved
    assert summary["rounds"] == 3
    assert 0 < summary["round_share"] == pytest.approx(summary["round_seconds"] / summary["seconds"], abs=0.02)
    for what in ("gflops", "trunk_gflops"):
        expected = STEPS * resolved[f"{what}_per_step"] + 3 * resolved[f"{what}_per_round"]
        assert summary[what] == pytest.approx(expected, rel=1e-6)
    other = prepare("rotation", pictures, steps=1, batch_size=16, image_size=32)
    assert not [name for name in other.resolved if "round" in name]


@pytest.mark.parametrize("stop", [5, 8, 10])
def test_a_stopped_run_ends_with_the_same_bytes(run: Run, stop: int, tmp_path: Path, pictures: np.ndarray) -> None:
    """In the middle of a round or just before the next: labels, order and weights are those of a run without a stop."""

    class Stops(Silent):
        def step(self, what: str, done: int, total: int, row: object) -> None:
            if done == stop:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        pretrain("deepcluster", pictures, out=tmp_path, steps=STEPS, progress=Stops(), **QUICK)
    again = pretrain("deepcluster", pictures, out=tmp_path, steps=STEPS, **QUICK)
    one, other = (load_file(checkpoint.newest(r.folder / "checkpoint")) for r in (run, again))
    assert {"order", "method.labels", "method.centroids", "method.before.encoder.inner.stage1.0.weight"} <= set(one)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert again.summary["rounds"] == run.summary["rounds"]


def test_a_run_that_was_stopped_before_its_summary_knows_its_blind_guess(pictures: np.ndarray, tmp_path: Path) -> None:
    """Nothing is trained any more then, and the method itself has seen no batch; the guess is the largest cluster's."""
    enough = np.concatenate([pictures, 255 - pictures])  # some are held out of so many
    run = pretrain("deepcluster", enough, out=tmp_path / "run", steps=16, **QUICK)
    before = run.summary["headline"]
    assert before["held_out_images"] > 0
    assert before["chance"] == pytest.approx(run.metrics()[-1]["metrics"]["largest"], rel=1e-6)
    (run.folder / "summary.json").unlink()
    assert pretrain("deepcluster", enough, out=run.folder, steps=16, **QUICK).summary["headline"] == before
