"""An advice with a generator: aetgan is tried, and what its generator took and saw is said."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from advice_fakes import plan

from selfsup.advice.advise import advise
from selfsup.advice.bench import Workbench
from selfsup.advice.conclusion import train_longer
from selfsup.advice.generator import Generator, caveats_of, notes_of, open_generator
from selfsup.advice.material import open_material
from selfsup.advice.plan import read_plan
from selfsup.data.images import open_images
from selfsup.errors import InputError
from selfsup.networks.codes import FILE
from selfsup.report.cost import with_generator
from selfsup.run import Run
from selfsup.training.prepare import fingerprint_of
from selfsup.training.pretrain import pretrain

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 3, 36, 36)).astype(np.uint8)
LABELLED = (PIXELS, np.arange(48) % 2)
KNOWN = Generator("abc", "", 720.0, 5000.0)


@pytest.fixture(scope="module")
def bigan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generator") / "bigan"
    words: dict[str, Any] = {"image_size": 32, "store_size": 36, "threads": 1, "batch_size": 8, "steps": 3}
    pretrain("bigan", PIXELS, out=folder, latent=5, width=8, precision="float32", layout="contiguous", **words)
    return folder


def short(out: Path, **words: Any) -> Any:
    settings: dict[str, Any] = {
        "labels": LABELLED, "methods": ("rotation", "aetgan"), "budget": "0.2s", "image_size": 32, "seeds": 1,
        "label_budgets": (None,), "draws": 1, "threads": 1, "out": out, "cache": out.parent / "cache",
    }  # fmt: skip
    return advise(PIXELS, **{**settings, **words})


def test_aetgan_is_tried_with_a_generator_and_its_cost_is_counted(bigan: Path, tmp_path: Path):
    """It alone gets the generator; what that took and saw is in numbers and words, and it stays the same one."""
    out = tmp_path / "out"
    verdict = short(out, generator=bigan)

    made, results = read_plan(out / "plan.json"), json.loads((out / "results.json").read_text())
    assert made.methods == ["rotation", "aetgan"]
    assert results["failed"] == []
    assert shlex.split(made.command)[-4:-2] == ["--generator", str(bigan)]
    runs = {name: Run(out / "trials" / f"{name}-seed0") for name in made.methods}
    assert runs["aetgan"].config["generator"] == str(bigan)
    assert "generator" not in runs["rotation"].config
    assert shlex.split(train_longer(made, "aetgan", runs["aetgan"].folder))[-2:] == ["--generator", str(bigan)]

    cost, before = {row["arm"]: row for row in results["cost"]}, Run(bigan).summary
    for key in ("seconds", "trunk_gflops"):
        assert cost["aetgan"][key] == pytest.approx(runs["aetgan"].summary[key] + before[key])
        assert cost["rotation"][key] == runs["rotation"].summary[key]
    said = [line for line in str(verdict).splitlines() if "for the generator, once" in line]
    assert len(said) == 1
    assert any("may be too good" in line for line in verdict.caveats + verdict.sentences)
    assert [note for note in results["notes"] if "have the budget of the others for their own steps" in note]
    assert "which was trained once, before all runs" in (out / "report.html").read_text()

    short(out, generator=bigan)
    other = shutil.copytree(bigan, tmp_path / "other")
    for changed in (other, None):
        with pytest.raises(InputError, match=f"was started with generator {bigan}, now {changed} was given"):
            short(out, generator=changed)
    (other / FILE).write_bytes((other / FILE).read_bytes() + b"x")
    with pytest.raises(InputError, match="made for, or was trained on since"):
        short(tmp_path / "moved" / "out", plan=out / "plan.json", generator=other)


def test_a_generator_of_another_size_leaves_aetgan_out(bigan: Path):
    """With the reason, before any trial."""
    settings = {"encoder": "small", "image_size": 36, "device": "cpu", "threads": 1, "precision": "float32"}
    bench = Workbench(open_images(PIXELS, 36), None, None, {**settings, "generator": str(bigan)}, {})

    measured = bench.measure(["rotation", "aetgan"], with_labels=False)

    assert list(measured.seconds_per_step) == ["rotation"]
    assert "draws images of 32 pixels, and the encoder sees 36" in measured.refused["aetgan"]


def test_what_a_generator_took_is_said_with_its_part():
    rows = [{"arm": "rotation", "seconds": 600.0}, {"arm": "aetgan", "seconds": 600.0, "trunk_gflops": 4000.0}]
    made = plan(methods=("rotation", "aetgan"), generator="runs/bigan", generator_run=KNOWN.written())

    costs = with_generator(rows, made.generator_run)

    assert (costs[0]["seconds"], costs[1]["seconds"], costs[1]["trunk_gflops"]) == (600.0, 1320.0, 9000.0)
    assert caveats_of(made, costs) == [
        "A run of AET with a generator took 22 min, of which 12 min for the generator, once."
    ]
    assert "the 12 min that its generator took are not in it" in notes_of(made)[0]
    assert "is not checked against the test images" in notes_of(made)[1]
    assert "is not used" in notes_of(plan(generator="runs/bigan"))[0]
    assert caveats_of(plan(), with_generator(rows, {})) == notes_of(plan()) == []


def test_only_another_generator_changes_what_a_plan_is():
    """Where it lies and how long it took does not."""
    names = {
        plan(generator=place, generator_run=Generator(content, "", seconds, None).written()).fingerprint()
        for place, content, seconds in (("a", "x", 1.0), ("b", "x", 2.0), ("a", "y", 1.0))
    }
    assert len(names) == 2
    assert plan().fingerprint() not in names


def test_fingerprints_tell_whether_the_generator_saw_the_test_images(tmp_path: Path):
    """All of the folder, or what is left of it without test images; of any other folder nothing is known."""
    words: dict[str, Any] = {"image_size": 32, "store_size": 36, "label_budgets": [None], "draws": 1, "cache": tmp_path}
    material = open_material(PIXELS, LABELLED, **words)
    assert len(material.images) < len(PIXELS)
    saw = [
        Generator("abc", images, 1.0, None).beside(material).saw_test
        for images in (fingerprint_of(open_images(PIXELS, 36)), fingerprint_of(material.images), "else", "")
    ]
    assert saw == [True, False, None, None]
    transductive = open_material(PIXELS, LABELLED, transductive=True, **words)
    assert Generator("abc", fingerprint_of(transductive.images), 1.0, None).beside(transductive).saw_test is None


def test_a_generator_without_its_cost_is_refused(bigan: Path, tmp_path: Path):
    """Before anything is opened: a copy of its weights does not say what they took."""
    with pytest.raises(InputError, match="There is no generator at"):
        advise(tmp_path / "missing", out=tmp_path / "out", generator=tmp_path)
    shutil.copyfile(bigan / FILE, tmp_path / FILE)
    for content in (None, "{", '{"seconds": null}'):
        if content is not None:
            (tmp_path / "summary.json").write_text(content)
        with pytest.raises(InputError, match="took to train counts"):
            advise(tmp_path / "missing", out=tmp_path / "out", generator=tmp_path)
    assert open_generator(bigan / FILE) == open_generator(bigan)
