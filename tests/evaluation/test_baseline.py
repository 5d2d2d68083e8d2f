"""Runs in which nothing is trained: everything that reads a run reads them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_samples import stripes
from PIL import Image
from safetensors.torch import load_file

import selfsup
from selfsup import cli
from selfsup.errors import InputError
from selfsup.evaluation.audit import audit
from selfsup.evaluation.baseline import baseline
from selfsup.evaluation.evaluate import evaluate
from selfsup.networks.encoders import load_encoder
from selfsup.report.report import write_report
from selfsup.training.pretrain import pretrain


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to write in, with striped images in class folders, and a cache."""
    place = tmp_path_factory.mktemp("baselines")
    pixels, labels = stripes(90)
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        file = place / "labelled" / "abc"[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.transpose(1, 2, 0)).save(file)
    return place


def made(place: Path, name: str, **settings) -> selfsup.run.Run:
    """Make a baseline of the images, or find it made."""
    words = {"image_size": 32, "cache": place / "cache", "device": "cpu", "out": place / name, **settings}
    return baseline(name, place / "labelled", **words)


def judged(place: Path, name: str) -> dict:
    """Evaluate a baseline."""
    words = {"label_budgets": (5, None), "draws": 2, "cache": place / "cache", "device": "cpu"}
    return evaluate(made(place, name), place / "labelled", **words)


def test_scattering_goes_the_whole_way(place):
    """Made, evaluated, exported, embedded, predicted and reported like any run, without a network beside it."""
    run = made(place, "scattering")
    result = judged(place, "scattering")
    words = {"cache": place / "cache", "device": "cpu"}
    vectors = np.load(selfsup.embed(run, place / "labelled", **words))["vectors"]
    predictions = selfsup.predict(run, place / "labelled", **words)
    exported = selfsup.export(run, out=place / "scattering.safetensors", cache=place / "cache")

    assert [arm["name"] for arm in result["arms"]] == ["scattering"]
    assert result["arms"][0]["stages"] == ["order0", "order1", "order2"]
    assert not any("vs_untrained" in row for row in result["intervals"])
    (best,) = (row for row in result["intervals"] if row["per_class"] is None and row["stage"] == "chosen")
    assert best["mean"] > 0.9  # stripes of three directions
    assert vectors.shape == (90, 243)
    assert predictions.images == 90
    assert load_file(exported.file) == {}
    assert "scattering has no tensors: the file says how to build it." in str(exported)
    assert load_encoder(exported.file).name == "scattering"
    summary = run.summary
    assert (summary["baseline"], summary["parameters"]) == ("scattering", 0)
    assert summary["images_per_second"] > 0
    assert [file.name for file in run.figures()] == ["scattering.png"]


def test_the_report_says_that_nothing_was_trained(place):
    """No tasks, no losses, no seeds of training; how to make it again; pictures and probes."""
    judged(place, "scattering")
    page = write_report(place / "scattering").read_text()

    for said in ("Nothing was trained", "selfsup baseline scattering --config", "lying edges are green", "order 1"):
        assert said in page.replace("\N{NO-BREAK SPACE}", " "), said
    for said in ("Health of the training", "What each task looked like", "What it cost", "one training run"):
        assert said not in page, said


@pytest.mark.parametrize("name", ["random", "pca"])
def test_filters_made_from_images_stand_beside_plain_random_ones(name, place):
    """Other weights than those of the same seed without a look at the images, which are kept beside them."""
    run = made(place, name)
    now, before = (load_file(run.folder / f"{file}.safetensors") for file in ("encoder", "untrained"))

    assert now.keys() == before.keys()
    assert not torch.equal(now["stage1.0.weight"], before["stage1.0.weight"])
    first = made(place, "untrained")
    assert torch.equal(load_file(first.folder / "encoder.safetensors")["stage1.0.weight"], before["stage1.0.weight"])


def test_filters_are_judged_beside_plain_random_ones(place):
    arms = [arm["name"] for arm in judged(place, "pca")["arms"]]

    assert arms == ["pca", "untrained"]
    assert [arm["name"] for arm in judged(place, "untrained")["arms"]] == ["untrained"]


@pytest.mark.parametrize(("name", "init"), [("untrained", None), ("pca", "pca")])
def test_untrained_is_what_stands_beside_a_run(name, init, place, tmp_path):
    """The same weights and norms, to the bit, that `pretrain` keeps as untrained with that seed and those images."""
    words = {"image_size": 32, "seed": 3, "cache": place / "cache", "device": "cpu"}
    run = pretrain("rotation", place / "labelled", out=tmp_path / "run", init=init, steps=1, batch_size=16, **words)
    mine = load_file(made(place, name, seed=3, out=tmp_path / "mine").folder / "encoder.safetensors")

    beside = load_file(run.folder / "untrained.safetensors")
    assert mine.keys() == beside.keys()
    assert all(torch.equal(mine[key], beside[key]) for key in mine)


def test_the_same_call_finds_what_is_made(place, tmp_path):
    """Nothing is made twice; other settings in the same folder are refused."""
    run = made(place, "pixels", out=tmp_path / "pixels")
    written = (run.folder / "summary.json").stat().st_mtime_ns
    made(place, "pixels", out=tmp_path / "pixels")

    assert (run.folder / "summary.json").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="was started with seed 0, now 1 was given"):
        made(place, "pixels", out=tmp_path / "pixels", seed=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("method: rotation\n")
    with pytest.raises(InputError, match="holds a run of rotation"):
        made(place, "pixels", out=tmp_path / "other")
    with pytest.raises(InputError, match="holds a baseline, pixels"):
        pretrain("rotation", place / "labelled", out=run.folder, steps=1, image_size=32, cache=place / "cache")


def test_what_cannot_be_is_refused(place, tmp_path):
    """One sentence each: an encoder of its own, an encoder without parameters, a task to audit."""
    with pytest.raises(InputError, match="is an encoder of its own, got --encoder nin"):
        made(place, "scattering", encoder="nin", out=tmp_path / "x")
    with pytest.raises(InputError, match="nothing to train"):
        made(place, "untrained", encoder="scattering", out=tmp_path / "x")
    assert cli.run(["baseline", "gabor", str(place / "labelled")]) == 2
    with pytest.raises(InputError, match="Nothing was trained in the baseline"):
        audit(made(place, "scattering"), place / "labelled")


@pytest.mark.parametrize("command", [["pretrain", "rotation"], ["advise"]])
def test_nothing_without_parameters_is_trained(command, place, capsys):
    """Refused before torch is loaded, with the command that does it."""
    assert cli.run([*command, str(place / "labelled"), "--encoder", "scattering"]) == 2
    said = capsys.readouterr().err

    assert "nothing to train; selfsup baseline scattering DATA" in said


def test_the_command_line_makes_one_again_from_its_settings(place, capsys):
    run = made(place, "pixels", image_size=40, out=place / "first")  # not what the images offer
    assert cli.run(["baseline", "pixels", "--config", str(run.folder / "config.yaml"), "--out", str(place / "again"),
                    "--cache", str(place / "cache"), "--quiet"]) == 0  # fmt: skip
    said = capsys.readouterr().out

    assert "pixels: made in" in said
    assert "no parameters" in said
    kept, again = (json.loads((folder / "encoder.json").read_text()) for folder in (run.folder, place / "again"))
    assert kept == again
    assert kept["image_size"] == 40
