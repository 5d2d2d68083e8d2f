"""The whole way, with real training: small and short, so numbers mean nothing, but files and rules are real."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import moving
import numpy as np
import pytest
from films import drifting, write_film

from selfsup.advice import material
from selfsup.advice.advise import advise
from selfsup.advice.conclusion import train_longer
from selfsup.advice.plan import read_plan
from selfsup.data.store import ImageStore
from selfsup.errors import InputError
from selfsup.evaluation.evaluate import evaluate
from selfsup.evaluation.predict import predict
from selfsup.run import Run


def discs_and_squares(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 120, (count, 3, 36, 36)).astype(np.uint8), np.arange(count) % 2
    rows, columns = np.mgrid[:36, :36]
    for image, label in zip(pixels, labels, strict=True):
        y, x = rng.integers(10, 26, 2)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 64
        image[:, disc if label else (abs(rows - y) < 7) & (abs(columns - x) < 7)] = 220
    return pixels, labels


IMAGES = discs_and_squares(64)


def batch_of_rotation(out: Path) -> int:
    return json.loads((out / "plan.json").read_text())["batch_size"]["rotation"]


def short(out: Path, cache: Path, **words):
    settings = {
        "labels": IMAGES, "methods": ("rotation",), "budget": "0.4s", "image_size": 32, "seeds": 2,
        "label_budgets": (5, None), "draws": 1, "threads": 1, "out": out, "cache": cache,
    }  # fmt: skip
    return advise(IMAGES[0], **{**settings, **words})


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("advice")
    short(folder / "out", folder / "cache")
    return folder / "out", folder / "cache"


def test_an_advice_leaves_what_it_promises(first: tuple[Path, Path]):
    out, _ = first
    verdict = json.loads((out / "verdict.json").read_text())
    results = json.loads((out / "results.json").read_text())

    assert verdict["verdict"] in ("pretrain", "tie", "do_not_pretrain")
    assert {row["arm"] for row in verdict["table"]} >= {"rotation", "pixels", "untrained", "scratch"}
    assert {run["folder"] for run in results["runs"]} == {"trials/rotation-seed0", "trials/rotation-seed1"}
    assert results["failed"] == []
    assert (out / "report.html").stat().st_size > 1000
    assert (out / "sheets" / "rotation-neighbours.png").is_file()
    assert (out / "trials" / "rotation-seed1" / "encoder.safetensors").is_file()
    costs = {row["arm"]: row for row in results["cost"]}
    assert list(costs) == ["rotation", "scratch"]
    # a quarter of the views of rotation's four turns, for the same number of steps and images
    images = {"rotation": batch_of_rotation(out), "scratch": min(128, results["curves"][-1]["labels"])}
    per_image = {arm: row["trunk_gflops"] / row["steps"] / images[arm] for arm, row in costs.items()}
    assert per_image["scratch"] == pytest.approx(per_image["rotation"] / 4, rel=1e-3)
    assert costs["scratch"]["seconds"] > 0


def test_a_reference_joins_a_finished_advice(first: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is trained, no other number moves, and its name, whatever it is, is no markup in the report."""
    out, cache = shutil.copytree(first[0], tmp_path / "out"), first[1]
    weights = tmp_path / '<b onload=x> & "w.safetensors'
    shutil.copyfile(out / "trials" / "rotation-seed1" / "encoder.safetensors", weights)
    before = json.loads((out / "verdict.json").read_text())
    monkeypatch.setattr("selfsup.advice.bench.pretrain", None)
    monkeypatch.setattr("selfsup.advice.bench.train_supervised", None)

    short(out, cache, reference=(str(weights),))

    verdict = json.loads((out / "verdict.json").read_text())
    row = verdict["table"].pop()
    assert verdict["table"] == before["table"]
    assert (row["arm"], row["kind"], row["architecture"], row["same_architecture"]) == (
        weights.name, "reference", "small", True,
    )  # fmt: skip
    assert "with the same architecture" in verdict["sentences"][-1]
    page = (out / "report.html").read_text()
    assert "&lt;b onload=x&gt; &amp;" in page
    assert "<b onload" not in page
    plan = json.loads((out / "plan.json").read_text())
    assert "--reference" in plan["command"]

    short(out, cache)  # keeps it
    assert json.loads((out / "verdict.json").read_text())["table"][-1] == row
    weights.write_bytes((out / "trials" / "rotation-seed0" / "encoder.safetensors").read_bytes())
    with pytest.raises(InputError, match="are not those that the plan was made for"):
        short(out, cache)


def test_memory_is_kept_where_nothing_is_left_to_train(first: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    """Not only `pretrain` asks for it: an advice that is read from disk and an evaluation do too."""
    out, cache = first
    asked = []
    for module in ("advice.advise", "evaluation.evaluate"):
        monkeypatch.setattr(f"selfsup.{module}.keep_pages", lambda module=module: asked.append(module))

    short(out, cache)
    evaluate(out / "trials" / "rotation-seed0", IMAGES, label_budgets=(5,), draws=1, cache=cache, device="cpu",
             out=out / "evaluated.json")  # fmt: skip

    assert asked == ["advice.advise", "evaluation.evaluate"]


def test_the_plan_holds_what_was_measured(first: tuple[Path, Path]):
    plan = json.loads((first[0] / "plan.json").read_text())

    assert plan["seconds_per_step"]["rotation"] > 0
    assert plan["steps"]["rotation"] == max(1, int(0.4 / plan["seconds_per_step"]["rotation"]))
    assert "auto" not in (plan["precision"], plan["layout"], plan["device"])
    assert plan["threads"] == 1
    assert set(plan["forecast"]) >= {"minutes", "disk_mb", "memory_mb"}
    assert plan["command"].startswith("selfsup advise ")


def test_the_same_call_again_trains_nothing(first: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    out, cache = first
    before = (out / "verdict.json").read_text()
    monkeypatch.setattr("selfsup.advice.bench.pretrain", None)
    monkeypatch.setattr("selfsup.advice.bench.train_supervised", None)

    short(out, cache)

    assert (out / "verdict.json").read_text() == before


def test_the_same_plan_gives_the_same_numbers(first: tuple[Path, Path], tmp_path: Path):
    """In another folder, from nothing but the plan: bit for bit."""
    out, cache = first

    advise(IMAGES[0], labels=IMAGES, plan=out / "plan.json", out=tmp_path / "again", cache=cache)

    one, other = (json.loads((folder / "results.json").read_text()) for folder in (out, tmp_path / "again"))
    assert one["curves"] == other["curves"]
    assert one["stages"] == other["stages"]
    weights = [folder / "trials" / "rotation-seed1" / "encoder.safetensors" for folder in (out, tmp_path / "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_changed_setting_is_refused(first: tuple[Path, Path]):
    out, cache = first

    with pytest.raises(InputError, match="was started with draws 1, now 2"):
        short(out, cache, draws=2)


def test_a_plan_for_other_images_is_refused(first: tuple[Path, Path], tmp_path: Path):
    other = (IMAGES[0][::-1].copy() // 2, IMAGES[1])

    with pytest.raises(InputError, match="are not those that the plan in"):
        advise(other[0], labels=other, plan=first[0] / "plan.json", out=tmp_path, cache=first[1])


def test_the_kept_encoder_predicts(first: tuple[Path, Path], tmp_path: Path):
    """What `best/` holds sorts the rest of a folder."""
    from selfsup.advice.bench import Workbench

    out, cache = first
    opened = material.open_material(
        IMAGES[0], IMAGES, image_size=32, store_size=36, label_budgets=[None], draws=1, cache=cache
    )
    assert opened.exam is not None
    settings = {"encoder": "small", "image_size": 32, "device": "cpu", "threads": 1}
    bench = Workbench(opened.images, opened.labelled, opened.exam, settings, {})

    bench.keep(out / "trials" / "rotation-seed0", tmp_path / "best", "stage3", opened.exam)

    found = predict(tmp_path / "best", IMAGES[0], tmp_path / "predictions.csv", cache=cache)
    assert found.images == 64
    assert set(found.of_class) == {"0", "1"}


def test_a_method_that_cannot_start_is_left_out_and_the_others_are_timed(monkeypatch: pytest.MonkeyPatch):
    """Clips in which nothing moves are nothing to ask about; that is no reason to try nothing."""
    from selfsup.advice.bench import Workbench

    monkeypatch.setattr("selfsup.training.rehearsal.NOTED", 0.0)
    still = moving.squares(4, speed=0.0)
    names = [f"{number:03}" for number in range(len(still.pixels))]
    images = ImageStore(still.pixels, names, names, [], [], "still", [None] * len(names), clips=still.clips)
    settings = {"encoder": "small", "image_size": 32, "device": "cpu", "threads": 1, "precision": "float32"}
    bench = Workbench(images, None, None, settings, {})

    measured = bench.measure(["shuffle", "rotation", "tracking"], with_labels=False)

    assert list(measured.seconds_per_step) == list(measured.rounds) == ["rotation"]
    assert measured.rounds["rotation"].before > 0
    assert list(measured.refused) == ["shuffle", "tracking"]
    assert "moves" in measured.refused["shuffle"]
    with pytest.raises(InputError, match="No method can be tried: shuffle: "):
        bench.measure(["shuffle"], with_labels=False)


def test_without_labels_tasks_and_neighbours_are_shown(
    first: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of the methods that can start; of others the plan and the report have the reason."""

    def refuse(*_: object) -> None:
        raise InputError("There is nothing to ask.")

    monkeypatch.setattr("selfsup.methods.simclr.SimCLR.start", refuse)
    verdict = short(tmp_path, first[1], labels=None, methods=("simclr", "rotation"))

    plan = json.loads((tmp_path / "plan.json").read_text())
    assert (plan["methods"], plan["excluded"]) == (["rotation"], {"simclr": "There is nothing to ask"})
    assert list(plan["steps"]) == ["rotation"]
    assert "There is nothing to ask" in (tmp_path / "report.html").read_text()
    assert (verdict.verdict, verdict.command) == ("unknown", "")
    assert any(sentence.startswith("Rotation: accuracy ") for sentence in verdict.sentences)
    assert (tmp_path / "sheets" / "rotation-neighbours.png").is_file()
    assert (tmp_path / "report.html").is_file()


def test_every_run_has_the_rate_and_the_groups_of_the_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are in the plan and in each run's settings; another rate is another advice, which nothing is opened for."""
    for seed in range(8):
        write_film(tmp_path / "films" / f"{'ab'[seed % 2]}{seed}.mkv", drifting(8, seed, 36))
    words: dict = {"methods": ("rotation",), "budget": "0.2s", "image_size": 32, "threads": 1, "cache": tmp_path / "c"}
    words |= {"out": tmp_path / "out", "group": "([ab])", "frame_rate": 5.0}

    advise(tmp_path / "films", **words)

    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    run = Run(tmp_path / "out" / "trials" / "rotation-seed1000")
    assert (plan["frame_rate"], plan["count"]) == (5.0, 32)
    assert "--frame-rate 5.0" in plan["command"]
    assert (run.config["frame_rate"], run.config["group"]) == (5.0, "([ab])")
    assert shlex.split(train_longer(read_plan(tmp_path / "out" / "plan.json"), "rotation", run.folder))[-4:] == [
        "--frame-rate", "5.0", "--group", "([ab])",
    ]  # fmt: skip
    advise(tmp_path / "films", **words)
    monkeypatch.setattr("selfsup.advice.advise.open_material", None)
    for other in (None, 10.0):
        with pytest.raises(InputError, match=f"was started with frame-rate 5.0, now {other} was given"):
            advise(tmp_path / "films", **{**words, "frame_rate": other})


def test_frames_in_folders_have_a_rate_for_those_who_read_clips(tmp_path: Path):
    """As in pretrain, which refuses it where such frames are images."""
    from selfsup.advice.bench import Workbench

    film = moving.squares(4)
    names = [f"{number:03}" for number in range(len(film.pixels))]
    kept = [tmp_path / name for name in names]
    of_folders = ImageStore(film.pixels, names, names, [], [], "film", kept, clips=film.clips)
    of_videos = replace(of_folders, sources=[None] * len(names))

    for images, rates in ((of_folders, [None, 25.0]), (of_videos, [25.0, 25.0])):
        bench = Workbench(images, None, None, {"frame_rate": 25.0}, {})
        assert [bench._settings_of(name)["frame_rate"] for name in ("rotation", "shuffle")] == rates


def test_images_have_no_frame_rate(tmp_path: Path):
    with pytest.raises(InputError, match="A frame rate of 5 was asked for, but what is read of the array is no videos"):
        short(tmp_path / "out", tmp_path / "cache", frame_rate=5.0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"budget": "soon"}, "A time is a number"),
        ({"methods": ("rotatoin",)}, "did you mean rotation"),
        ({"label_budgets": (0,)}, "A label budget is a number"),
        ({"reference": ("resnet18.pth",)}, "ends in .safetensors"),
        ({"reference": (__file__,)}, "ends in .safetensors"),
    ],
)
def test_a_slip_is_a_sentence_before_anything_is_opened(tmp_path: Path, words: dict, sentence: str):
    with pytest.raises(InputError, match=sentence):
        advise(tmp_path / "missing", out=tmp_path / "out", **words)


def test_a_reference_without_labels_is_a_sentence(tmp_path: Path):
    (tmp_path / "w.safetensors").write_bytes(b"")

    with pytest.raises(InputError, match="measured with labels, and none were given"):
        advise(tmp_path / "missing", out=tmp_path / "out", reference=(str(tmp_path / "w.safetensors"),))


def test_no_images_and_no_plan_is_a_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="No images were given"):
        advise(out=tmp_path / "out")
