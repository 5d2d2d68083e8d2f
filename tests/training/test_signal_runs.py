"""From signals to a run folder and its evaluation: the same road as that of images."""

import csv
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from waveforms import waves

from selfsup.advice.advise import advise
from selfsup.errors import InputError, Interrupted
from selfsup.evaluation.embed import embed
from selfsup.evaluation.evaluate import evaluate
from selfsup.evaluation.predict import predict
from selfsup.export.timm import export
from selfsup.networks.encoders import load_encoder
from selfsup.progress import Silent
from selfsup.report.report import write_report
from selfsup.run import Run
from selfsup.training.prepare import forecast, prepare
from selfsup.training.pretrain import pretrain

QUICK = {"encoder": "small1d", "threads": 1, "precision": "float32", "layout": "contiguous", "batch_size": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of signals and one of labelled signals."""
    folder = tmp_path_factory.mktemp("data")
    for name, count, seed in (("plain", 400, 0), ("labelled", 150, 1)):
        signals, kinds = waves(count, seed=seed)
        (folder / name).mkdir()
        np.save(folder / name / "signals.npy", signals)
        np.save(folder / name / "labels.npy", kinds)
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train for a few seconds."""
    words = {"steps": 100, "lr": 5e-3, "noise": "masking", "amount": 0.5, "block": 8, **QUICK}
    return pretrain("dae", data / "plain", out=tmp_path_factory.mktemp("runs") / "waves", **words)


def test_statistics_stay_with_the_run_and_the_encoder(finished: Run, data: Path) -> None:
    """Mean and deviation of each channel are measured once, and the untrained network has the same."""
    signals = np.load(data / "plain" / "signals.npy").astype(np.float64)
    resolved = finished.config["resolved"]
    assert resolved["mean"] == pytest.approx(signals.mean((0, 2)).tolist(), rel=1e-6)
    assert resolved["std"] == pytest.approx(signals.std((0, 2)).tolist(), rel=1e-6)
    for file in ("encoder.safetensors", "untrained.safetensors"):
        assert load_encoder(finished.folder / file).colours == {name: resolved[name] for name in ("mean", "std")}
    assert finished.config["image_size"] == finished.config["store_size"] == 64


def test_run_cleans_signals_and_draws_them(finished: Run) -> None:
    """The task is learned, measured on held-out signals, counted and drawn as lines in one wide picture."""
    summary = finished.summary
    assert summary["headline"]["value"] > 1
    assert summary["headline"]["held_out_images"] == 20
    assert 0 < summary["trunk_gflops"] < summary["gflops"]
    (figure,) = finished.figures()
    with Image.open(figure) as picture:
        assert picture.width > 900
        assert picture.height < 300


def test_evaluation_prediction_and_vectors(finished: Run, data: Path, tmp_path: Path) -> None:
    """Every stage is probed beside the untrained network; predictions and vectors name the rows."""
    result = evaluate(finished, data / "labelled", label_budgets=(None,), draws=1, cache=tmp_path)
    assert [arm["name"] for arm in result["arms"]] == ["dae", "untrained"]
    assert result["arms"][0]["stages"] == ["stage1", "stage2", "stage3", "stage4"]
    probes = {(row["stage"], row["probe"]) for row in result["arms"][1]["rows"]}
    assert {("stage4", "linear"), ("stage1", "knn20")} <= probes
    chosen = {item["arm"]: item["mean"] for item in result["intervals"] if item["stage"] == "chosen"}
    assert chosen["dae"] > 0.6  # of three classes

    found = predict(finished, data / "labelled", cache=tmp_path)
    with found.file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows[:2]] == ["000000", "000001"]
    right = np.mean([row["label"] == str(kind) for row, kind in zip(rows, waves(150, seed=1)[1], strict=True)])
    assert right > 0.6

    vectors = np.load(embed(finished, waves(10, seed=2)[0], tmp_path / "v.npz"))["vectors"]
    expected = load_encoder(finished.folder).eval().vector(torch.from_numpy(waves(10, seed=2)[0]))
    assert np.allclose(vectors, expected.detach().numpy(), atol=1e-5)
    assert write_report(finished.folder, out=tmp_path / "report.html").stat().st_size > 10_000


def test_export_loads_again(finished: Run, data: Path, tmp_path: Path) -> None:
    """With selfsup, which gives the same features of the run's own signals."""
    report = export(finished, out=tmp_path / "e.safetensors")
    assert report.largest_difference == 0
    assert report.source == str(data / "plain")
    assert "torch.rand(1, 2, 64)" in report.snippet


class _StopsAtFive(Silent):
    """Presses Ctrl-C after five steps."""

    def step(self, what: str, done: int, total: int, row: object) -> None:
        if done == 5:
            signal.raise_signal(signal.SIGINT)


def test_resumed_run_equals_one_that_was_not_stopped(data: Path, tmp_path: Path) -> None:
    """To the byte, also with excerpts and tied weights, and whatever was drawn in between."""
    words = {"steps": 12, "image_size": 48, "tied": True, **QUICK}
    straight = pretrain("dae", data / "plain", out=tmp_path / "straight", **words)

    with pytest.raises(Interrupted):
        pretrain("dae", data / "plain", out=tmp_path / "stopped", progress=_StopsAtFive(), **words)
    torch.rand(3)
    resumed = pretrain("dae", data / "plain", out=tmp_path / "stopped", **words)
    weights = [(run.folder / "encoder.safetensors").read_bytes() for run in (straight, resumed)]
    assert weights[0] == weights[1]


def test_dry_run_says_what_it_would_take(data: Path) -> None:
    prepared = prepare("dae", data / "plain", steps=100, **QUICK)
    found = forecast(prepared)
    assert found["settings"]["store_size"] == 64
    assert 0.2 < found["disk_mb"] < 20


def test_methods_for_images_say_so(data: Path) -> None:
    """Before anything is opened; advise too."""
    with pytest.raises(InputError, match=r"rotation needs images, .* small1d reads signals; .* with dae"):
        pretrain("rotation", data / "plain", steps=1, **QUICK)
    with pytest.raises(InputError, match="advise compares tasks on images"):
        advise(data / "plain", encoder="small1d", budget="1m")


def test_signals_of_another_kind_are_refused(finished: Run, data: Path) -> None:
    """Other channels, shorter ones, labels without signals, protocols for images."""
    with pytest.raises(InputError, match="1 channels, and the encoder reads 2"):
        embed(finished, waves(20, channels=1)[0])
    with pytest.raises(InputError, match="signals of 40 samples, and the encoder reads 64"):
        embed(finished, waves(20, 40)[0])
    with pytest.raises(InputError, match=r"no labels of signals; give a folder with signals.npy"):
        evaluate(finished, data / "labelled" / "labels.npy")
    with pytest.raises(InputError, match="protocol zhang is for images"):
        evaluate(finished, data / "labelled", protocols=["zhang"])
